//! Many writers, readers and background work at the same time; the asynchronous seams.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Barrier};

use model::seam::{Select, SelectHints};
use model::{Appender, Budget, Matcher, Querier, Samples, Timestamp};
use tsdb::disk::Crash;

use crate::support::{ALL, World, batch};

/// Says "done" however the test ends, so that the other threads end too.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn writers_readers_and_maintenance_do_not_disturb_one_another() {
    let world = World::new();
    let db = world.open();
    let base = world.now();
    let (writers, rounds) = (4, 300);
    let (done, newest) = (AtomicBool::new(false), AtomicI64::new(base));
    let barrier = Barrier::new(writers as usize + 2);
    let abreast = Barrier::new(writers as usize);
    std::thread::scope(|scope| {
        let end = Done(&done);
        let writing: Vec<_> = (0..writers)
            .map(|writer| {
                let (world, db, barrier, newest, abreast) = (&world, &db, &barrier, &newest, &abreast);
                scope.spawn(move || {
                    barrier.wait();
                    for round in 0..rounds {
                        // None falls behind the out-of-order window.
                        if round % 10 == 0 {
                            abreast.wait();
                        }
                        let t = base + round * 60_000;
                        // Half of the series are one writer's own, half are everybody's, in the same groups.
                        let own = format!("own{{writer=w{writer},instance=i{}}}", round % 3);
                        let shared = format!("shared{{instance=i{}}}", round % 3);
                        let samples =
                            [(own.as_str(), t + writer, writer as f64), (shared.as_str(), t + writer, 1.5)];
                        world.clock.set(newest.fetch_max(t, Ordering::SeqCst).max(t));
                        assert_eq!(world.append(db, &samples).unwrap().accepted, 2);
                    }
                })
            })
            .collect();
        let (world, db, barrier, done, newest) = (&world, &db, &barrier, &done, &newest);
        scope.spawn(move || {
            barrier.wait();
            while !done.load(Ordering::SeqCst) {
                db.maintain(Timestamp(newest.load(Ordering::SeqCst))).unwrap();
            }
        });
        scope.spawn(move || {
            barrier.wait();
            let mut seen = 0;
            while !done.load(Ordering::SeqCst) {
                let found = world.read(db, vec![Matcher::equal("__name__", "shared")]);
                let samples: usize = found.iter().map(|(_, samples)| samples.len()).sum();
                assert!(samples >= seen, "a reader saw {seen} samples and then {samples}");
                seen = samples;
            }
        });
        for thread in writing {
            thread.join().unwrap();
        }
        drop(end);
    });
    for restart in [false, true] {
        let db = if restart {
            world.disk.restart(Crash::PowerLoss { seed: 3 });
            world.open()
        } else {
            Arc::clone(&db)
        };
        let samples: usize = world.read(&db, vec![]).iter().map(|(_, samples)| samples.len()).sum();
        assert_eq!(samples as i64, 2 * writers * rounds, "restart: {restart}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_seams_answer_from_many_tasks() {
    let world = Arc::new(World::new());
    let db = world.open();
    let t = world.now();
    let tasks: Vec<_> = (0..20)
        .map(|task| {
            let (world, db) = (Arc::clone(&world), Arc::clone(&db));
            tokio::spawn(async move {
                for i in 0..20 {
                    let name = format!("m{task}");
                    let batch = batch(&[(name.as_str(), t + i, 1.0)]);
                    let answer = Appender::append(&*db, &world.tenant, &batch).await.unwrap();
                    assert_eq!(answer.accepted, 1);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let select =
        Select { matchers: vec![], start: Timestamp(0), end: Timestamp::MAX, hints: SelectHints::default() };
    let budget = Budget::new("query", 1 << 20, None);
    let found = Querier::select(&*db, &world.tenant, std::slice::from_ref(&select), &budget).await.unwrap();
    assert!(budget.used_bytes() > 0);
    let mut out = Samples::default();
    let total: usize = (0..found[0].series.len())
        .map(|at| {
            found[0].series.read(at, &mut out).unwrap();
            out.len()
        })
        .sum();
    assert_eq!(total, 400);
    drop(found);
    assert_eq!(budget.used_bytes(), 0);
    let tiny = Budget::new("query", 100, None);
    let refused = Querier::select(&*db, &world.tenant, &[select], &tiny).await.err().unwrap();
    assert_eq!(refused.kind(), model::ErrorKind::Limit);
    assert_eq!(Querier::label_names(&*db, &world.tenant, &[], ALL, 0).await.unwrap().names, ["__name__"]);
}
