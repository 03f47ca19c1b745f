//! The database against a map: append in any order, seal, reopen, crash at any operation; the answers are the same.

use std::collections::{BTreeMap, BTreeSet};

use model::duration::PromDuration;
use proptest::prelude::*;
use tsdb::config::Durability;
use tsdb::disk::Crash;

use crate::support::{World, batch, labels};

#[derive(Clone, Debug)]
enum Step {
    /// `(series, offset of the time, value)`.
    Append(Vec<(u8, i64, i8)>),
    Flush,
    Reopen,
    /// The clock moves on and background work is done.
    Maintain(i64),
    /// Samples of a series in `now + offset ..= now + offset + length` are deleted.
    Delete(u8, i64, i64),
    /// Deleted samples are made to go for good.
    Clean,
    /// The machine stops at the nth disk operation from now.
    CrashAfter(u64),
    /// The nth disk operation fails once.
    FailAfter(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let sample = (0u8..6, -40i64..40, -3i8..3);
    prop_oneof![
        10 => prop::collection::vec(sample, 1..12).prop_map(Step::Append),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        4 => (0i64..50_000).prop_map(Step::Maintain),
        1 => (0u8..6, -60_000i64..5_000, 0i64..40_000).prop_map(|(s, o, l)| Step::Delete(s, o, l)),
        1 => Just(Step::Clean),
        2 => (0u64..30).prop_map(Step::CrashAfter),
        1 => (0u64..20).prop_map(Step::FailAfter),
    ]
}

const SERIES: [&str; 6] = [
    "a{job=x,instance=1}",
    "b{job=x,instance=1}",
    "c{job=x,instance=1}",
    "a{job=x,instance=2}",
    "b{job=x,instance=2}",
    "lonely",
];

/// What a place may hold: whether something must be there, and which values it can have.
#[derive(Default, Debug)]
struct Cell {
    must: bool,
    values: BTreeSet<u64>,
}

type Expected = BTreeMap<(String, i64), Cell>;

fn check(found: &[(String, Vec<(i64, u64)>)], expected: &Expected) -> Result<(), TestCaseError> {
    let mut seen = BTreeSet::new();
    for (series, samples) in found {
        prop_assert!(samples.windows(2).all(|w| w[0].0 < w[1].0), "times do not ascend");
        for &(time, value) in samples {
            let cell = expected.get(&(series.clone(), time));
            prop_assert!(cell.is_some(), "{series} has a sample at {time} that nobody wrote");
            prop_assert!(
                cell.unwrap().values.contains(&value),
                "{series} at {time} has a value that nobody wrote"
            );
            seen.insert((series.clone(), time));
        }
    }
    for (place, cell) in expected {
        prop_assert!(!cell.must || seen.contains(place), "{place:?} was acknowledged and is lost");
    }
    Ok(())
}

fn run(steps: Vec<Step>, durability: Durability, loss: Option<u64>) -> Result<(), TestCaseError> {
    let mut world = World::new();
    world.config.wal.durability = durability;
    world.config.wal.segment_bytes = 4096;
    world.config.block_range = PromDuration(60_000);
    world.config.retention = PromDuration(86_400_000);
    world.config.out_of_order_window = PromDuration(20_000);
    let mut deleted: Vec<(String, i64, i64)> = Vec::new();
    let mut expected = Expected::new();
    let mut db = Some(world.open());
    for (number, step) in steps.into_iter().enumerate() {
        match step {
            Step::Append(samples) => {
                let samples: Vec<_> = samples
                    .into_iter()
                    .map(|(series, offset, value)| {
                        (SERIES[series as usize], world.now() + offset * 300, f64::from(value) / 2.0)
                    })
                    .collect();
                let outcome = db.as_ref().map(|db| db.append(&world.tenant, &batch(&samples)));
                let mut order: Vec<&str> = Vec::new();
                for (series, ..) in &samples {
                    if !order.contains(series) {
                        order.push(series);
                    }
                }
                for &(series, time, value) in &samples {
                    let cell = expected.entry((labels(series).to_string(), time)).or_default();
                    match &outcome {
                        Some(Ok(answer)) => {
                            let at = order.iter().position(|s| *s == series).unwrap() as u32;
                            let refused =
                                answer.rejected.iter().any(|r| r.series == at && r.time == Some(time));
                            // A refused sample may share its place with an accepted one of the same batch.
                            if !cell.must {
                                cell.values.insert(value.to_bits());
                            }
                            // A late sample may lie in a range that was deleted before.
                            let hidden = deleted.iter().any(|(name, from, to)| {
                                *name == labels(series).to_string() && (*from..=*to).contains(&time)
                            });
                            if hidden {
                                continue;
                            }
                            cell.must |= !refused || answer.accepted == samples.len();
                        }
                        Some(Err(_)) => {
                            cell.values.insert(value.to_bits());
                        }
                        None => {}
                    }
                }
            }
            Step::Flush => {
                if let Some(db) = &db {
                    // A failing disk may refuse; nothing is lost then, which the next check sees.
                    let _outcome = db.flush();
                }
            }
            Step::Maintain(ms) => {
                world.clock.set(world.now() + ms);
                if let Some(db) = &db {
                    let _outcome = db.maintain(model::Timestamp(world.now()));
                }
            }
            Step::Delete(series, offset, length) => {
                let text = SERIES[series as usize];
                let name = labels(text).to_string();
                let start = world.now() + offset;
                let newest = expected.keys().map(|(_, time)| *time).max().unwrap_or(i64::MIN);
                let end = (start + length).min(newest);
                let selector: model::Selector =
                    labels(text).iter().map(|(n, v)| model::Matcher::equal(n, v)).collect();
                let selector =
                    if text == "lonely" { vec![model::Matcher::equal("__name__", text)] } else { selector };
                let range = model::seam::TimeRange {
                    start: model::Timestamp(start),
                    end: model::Timestamp(start + length),
                };
                let outcome = db.as_ref().map(|db| db.delete_series(&world.tenant, &[selector], range));
                let within = |place: &(String, i64)| place.0 == name && (start..=end).contains(&place.1);
                match outcome {
                    Some(Ok(())) => expected.retain(|place, _| !within(place)),
                    // It may have been written before the disk failed.
                    Some(Err(_)) => {
                        expected.iter_mut().filter(|(p, _)| within(p)).for_each(|(_, c)| c.must = false)
                    }
                    None => {}
                }
                deleted.push((name, start, end));
            }
            Step::Clean => {
                if let Some(db) = &db {
                    let _outcome = db.clean_tombstones();
                }
            }
            Step::Reopen => {
                drop(db.take());
                if !world.disk.has_crashed() {
                    world.disk.restart(Crash::Kill);
                }
                db = world.try_open().ok();
            }
            Step::CrashAfter(n) => world.disk.crash_after(n),
            Step::FailAfter(n) => world.disk.fail_once_after(n),
        }
        if world.disk.has_crashed() {
            drop(db.take());
            let seed = loss.map(|seed| seed.wrapping_mul(number as u64 + 1));
            world.disk.restart(seed.map_or(Crash::Kill, |seed| Crash::PowerLoss { seed }));
        }
        if db.is_none() {
            // A single failure may hit the opening; the next try is clean.
            db = Some(
                world
                    .try_open()
                    .or_else(|_| world.try_open())
                    .map_err(|e| TestCaseError::fail(e.to_string()))?,
            );
        }
        let db = db.as_ref().unwrap();
        check(&world.read(db, vec![]), &expected)?;
    }
    world.disk.restart(loss.map_or(Crash::Kill, |seed| Crash::PowerLoss { seed }));
    drop(db.take());
    check(&world.read(&world.open(), vec![]), &expected)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_was_acknowledged_survives_a_kill(
        steps in prop::collection::vec(step(), 1..25),
        durability in prop::sample::select(vec![Durability::Always, Durability::Interval, Durability::Os]),
    ) {
        run(steps, durability, None)?;
    }

    #[test]
    fn what_was_acknowledged_survives_a_power_loss(
        steps in prop::collection::vec(step(), 1..25),
        seed in any::<u64>(),
    ) {
        run(steps, Durability::Always, Some(seed))?;
    }
}
