//! Tiers through the database: made, chosen, exact, kept when the samples are gone.

use model::duration::PromDuration;
use model::seam::{Select, SelectHints};
use model::{Budget, Samples, Timestamp};
use tsdb::Db;
use tsdb::config::TierConfig;

use crate::support::World;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The points that a selector in `function` sees of the only series, and the warnings.
fn seen(
    world: &World,
    db: &Db,
    function: &'static str,
    start: i64,
    end: i64,
    step: i64,
) -> (Vec<(i64, f64)>, Vec<String>) {
    let hints = SelectHints { function, range_ms: step, step_ms: step, limit: 0 };
    let select = Select { matchers: Vec::new(), start: Timestamp(start), end: Timestamp(end), hints };
    let selected = db.select(&world.tenant, &[select], &Budget::unlimited()).unwrap();
    let mut out = Samples::default();
    assert_eq!(selected[0].series.len(), 1);
    selected[0].series.read(0, &mut out).unwrap();
    let points = out.times.iter().copied().zip(out.values.iter().copied());
    (points.filter(|(t, _)| *t > start && *t <= end).collect(), selected[0].warnings.clone())
}

#[test]
fn a_day_becomes_a_tier_that_answers_and_outlives_its_samples() {
    let mut world = World::new();
    world.config.retention = PromDuration(3 * DAY);
    world.config.tiers =
        vec![TierConfig { resolution: PromDuration(HOUR), retention: PromDuration(100 * DAY) }];
    let day = (world.now() / DAY + 1) * DAY;
    let db = world.open();
    let mut raw: Vec<(i64, f64)> = Vec::new();
    // A counter with a reset every 100 minutes, over a day and some hours.
    for minute in 1..=28 * 60i64 {
        let time = day + minute * MINUTE;
        world.clock.set(time);
        let value = (minute % 100) as f64;
        world.append(&db, &[("c{instance=1}", time, value)]).unwrap();
        raw.push((time, value));
        if minute % 60 == 0 {
            db.maintain(Timestamp(time)).unwrap();
        }
    }
    let hours = |of: fn(&[(i64, f64)]) -> f64| -> Vec<(i64, f64)> {
        (1..=24)
            .map(|hour| {
                let end = day + hour * HOUR;
                let window: Vec<_> =
                    raw.iter().copied().filter(|(t, _)| *t > end - HOUR && *t <= end).collect();
                (end, of(&window))
            })
            .collect()
    };
    let max = hours(|w| w.iter().map(|p| p.1).fold(f64::MIN, f64::max));
    let sum = hours(|w| w.iter().map(|p| p.1).sum());
    let end = day + DAY;
    assert_eq!(seen(&world, &db, "max_over_time", day, end, HOUR), (max.clone(), vec![]));
    assert_eq!(seen(&world, &db, "sum_over_time", day, end, HOUR), (sum.clone(), vec![]));
    let (averages, _) = seen(&world, &db, "avg_over_time", day, end, HOUR);
    assert_eq!(averages.len(), 24 * 60);
    // Between the steps, and for functions that a tier does not answer exactly, the samples themselves, while they are there.
    assert_eq!(seen(&world, &db, "max_over_time", day + 1, end + 1, HOUR).0, raw[..24 * 60]);
    assert_eq!(seen(&world, &db, "rate", day, end, HOUR), (raw[..24 * 60].to_vec(), vec![]));
    // What is beyond the tier's days comes from samples in the same answer.
    let (both, _) = seen(&world, &db, "max_over_time", day, day + 28 * HOUR, HOUR);
    assert_eq!(both[..24], max[..]);
    assert_eq!(both[24..], raw[24 * 60..]);

    // A week later the samples are gone and the tier is not.
    let later = day + 8 * DAY;
    world.clock.set(later);
    world.append(&db, &[("c{instance=1}", later, 1.0)]).unwrap();
    db.maintain(Timestamp(later)).unwrap();
    db.maintain(Timestamp(later)).unwrap();
    drop(db);
    let db = world.open();
    assert_eq!(seen(&world, &db, "max_over_time", day, end, HOUR), (max, vec![]));
    let (rate, warnings) = seen(&world, &db, "rate", day, end, HOUR);
    assert!(warnings[0].contains("one value every 1h"), "{warnings:?}");
    let added = |points: &[(i64, f64)]| -> f64 {
        points.windows(2).map(|w| if w[1].1 < w[0].1 { w[1].1 } else { w[1].1 - w[0].1 }).sum()
    };
    let from = raw.iter().position(|p| p.0 == day + HOUR).unwrap();
    let of_tier = rate.iter().position(|p| p.0 == day + HOUR).unwrap();
    assert_eq!(added(&rate[of_tier..]), added(&raw[from..24 * 60]));
}
