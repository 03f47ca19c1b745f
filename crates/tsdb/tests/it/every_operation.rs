//! The same day of a database, stopped at each of its disk operations in turn.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::duration::PromDuration;
use model::seam::TimeRange;
use model::{Matcher, Timestamp};
use tsdb::config::TierConfig;
use tsdb::disk::Crash;
use tsdb::{Db, Disk, tools};

use crate::support::World;

const MINUTE: i64 = 60_000;

fn world() -> World {
    let mut world = World::new();
    world.config.wal.segment_bytes = 4096;
    world.config.block_range = PromDuration(10 * MINUTE);
    world.config.retention = PromDuration(4 * 86_400_000);
    world.config.out_of_order_window = PromDuration(5 * MINUTE);
    world.config.tiers = vec![TierConfig { resolution: PromDuration(5 * MINUTE), ..TierConfig::default() }];
    // Two hours before midnight, so that a day is complete in the end.
    let day = 86_400_000;
    world.clock.set((world.now() / day + 1) * day - 120 * MINUTE);
    world
}

/// Places with their values: what was acknowledged, and what was sent at all.
#[derive(Default)]
struct Sent {
    acknowledged: BTreeMap<(String, i64), u64>,
    all: BTreeMap<(String, i64), u64>,
}

/// Appends, seals, cuts, merges, deletes, makes a tier; goes on whatever the disk says.
fn live(world: &World, db: &Arc<Db>, sent: &mut Sent) {
    for round in 0..40i64 {
        world.clock.set(world.now() + 4 * MINUTE);
        let now = world.now();
        let samples: Vec<(&str, i64, f64)> =
            [("a{instance=1}", 0), ("b{instance=1}", 0), ("c{instance=2}", 1000)]
                .into_iter()
                .map(|(name, before)| (name, now - before, round as f64 / 2.0))
                .chain((round % 7 == 3).then_some(("late{instance=1}", now - 2 * MINUTE, 7.5)))
                .collect();
        let outcome = world.append(db, &samples);
        for (name, time, value) in samples {
            let place = (crate::support::labels(name).to_string(), time);
            if outcome.is_ok() {
                sent.acknowledged.insert(place.clone(), value.to_bits());
            }
            sent.all.insert(place, value.to_bits());
        }
        if round % 5 == 4 {
            let _refused = db.maintain(Timestamp(now));
        }
        if round == 20 {
            let selector = vec![Matcher::equal("__name__", "c")];
            let range = TimeRange { start: Timestamp(now - 30 * MINUTE), end: Timestamp(now - 20 * MINUTE) };
            let outcome = db.delete_series(&world.tenant, &[selector], range);
            let within = |place: &(String, i64)| {
                place.0.starts_with("c{") && (range.start.ms()..=range.end.ms()).contains(&place.1)
            };
            // When it failed, some may be hidden or not: nothing is promised of them any more.
            sent.acknowledged.retain(|place, _| !within(place));
            if outcome.is_ok() {
                sent.all.retain(|place, _| !within(place));
            }
        }
    }
}

fn check(world: &World, sent: &Sent, what: &str) {
    let db = world.try_open().or_else(|_| world.try_open()).unwrap_or_else(|err| panic!("{what}: {err}"));
    assert!(db.recovered().quarantined.is_empty(), "{what}: {:?}", db.recovered());
    let mut found = BTreeMap::new();
    for (series, samples) in world.read(&db, vec![]) {
        for (time, value) in samples {
            assert_eq!(sent.all.get(&(series.clone(), time)), Some(&value), "{what}: {series} at {time}");
            found.insert((series.clone(), time), value);
        }
    }
    for (place, value) in &sent.acknowledged {
        assert_eq!(found.get(place), Some(value), "{what}: {place:?} was acknowledged");
    }
    // It goes on from there.
    let now = world.now() + 1;
    world.append(&db, &[("after{instance=9}", now, 1.0)]).unwrap_or_else(|err| panic!("{what}: {err}"));
    db.maintain(Timestamp(now)).unwrap_or_else(|err| panic!("{what}: {err}"));
    drop(db);
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let damage: Vec<_> =
        tools::verify_data(&disk, "data".as_ref()).unwrap().into_iter().flat_map(|f| f.damage).collect();
    assert!(damage.is_empty(), "{what}: {damage:?}");
}

#[test]
fn a_stop_at_any_operation_loses_nothing_and_leaves_nothing_half_done() {
    let mut at = 0;
    loop {
        let world = world();
        let mut sent = Sent::default();
        let db = world.open();
        world.disk.crash_after(at);
        live(&world, &db, &mut sent);
        let crashed = world.disk.has_crashed();
        drop(db);
        let crash = if at % 2 == 0 { Crash::PowerLoss { seed: at + 1 } } else { Crash::Kill };
        world.disk.restart(crash);
        check(&world, &sent, &format!("operation {at}"));
        if !crashed {
            break;
        }
        // Every one of the first, which differ most, then every third.
        at += if at < 60 { 1 } else { 3 };
    }
    assert!(at > 200, "{at}");
}

#[test]
fn an_error_of_any_operation_costs_that_operation_and_nothing_else() {
    let mut at = 0;
    loop {
        let world = world();
        let mut sent = Sent::default();
        let db = world.open();
        let before = world.disk.operations();
        world.disk.fail_once_after(at);
        live(&world, &db, &mut sent);
        let done = world.disk.operations() - before;
        // What was refused is not served by the process that refused it.
        for (series, samples) in world.read(&db, vec![]) {
            for (time, _) in samples {
                let place = (series.clone(), time);
                let may = sent.acknowledged.contains_key(&place) || series.starts_with("c{");
                assert!(may, "operation {at}: {place:?} was refused and is served");
            }
        }
        drop(db);
        world.disk.restart(Crash::Kill);
        check(&world, &sent, &format!("operation {at}"));
        if done < at {
            break;
        }
        at += if at < 60 { 1 } else { 5 };
    }
    assert!(at > 200, "{at}");
}
