//! Two processes, torn tails, flipped bytes, full and read-only disks, no file descriptors, files in the way of folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{ErrorKind, Matcher, Timestamp};
use tsdb::disk::{Crash, Refusal};
use tsdb::{Db, Disk};

use crate::support::{ALL, World, bits};

#[test]
fn a_second_process_gets_a_clear_error() {
    let world = World::new();
    let db = world.open();
    let err = world.try_open().err().unwrap();
    assert!(err.to_string().contains("in use by another process"), "{err}");
    drop(db);
    drop(world.open());
}

#[test]
fn a_second_process_gets_a_clear_error_from_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let config = tsdb::Config { path: dir.path().to_owned(), ..tsdb::Config::default() };
        let metrics = tsdb::Metrics::new(&mut prometheus_client::registry::Registry::default());
        let clock = std::sync::Arc::new(model::time::SystemClock);
        tsdb::Db::open(config, clock, std::sync::Arc::new(tsdb::RealDisk), metrics)
    };
    let first = open().unwrap();
    let err = open().err().unwrap();
    assert!(err.to_string().contains(&std::process::id().to_string()), "{err}");
    drop(first);
    open().unwrap();
}

fn segments(world: &World) -> Vec<(PathBuf, u64)> {
    world.disk.files().into_iter().filter(|(p, _)| p.extension().is_some_and(|e| e == "wal")).collect()
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_served() {
    let world = World::new();
    let t = world.now();
    let db = world.open();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    let whole = segments(&world)[0].1;
    world.append(&db, &[("a", t + 1, 2.0)]).unwrap();
    drop(db);
    let (path, len) = segments(&world).pop().unwrap();
    for cut in whole + 1..len {
        let disk: &dyn tsdb::Disk = &world.disk;
        let bytes = disk.read(&path).unwrap();
        disk.append(&path).unwrap().truncate(cut).unwrap();
        let db = world.open();
        assert_eq!(db.recovered().torn_bytes, cut - whole);
        assert_eq!(world.read(&db, vec![])[0].1, bits(&[(t, 1.0)]));
        drop(db);
        disk.create(&path).unwrap().write_all(&bytes).unwrap();
    }
}

#[test]
fn a_flipped_byte_in_the_log_is_quarantined_and_the_rest_served() {
    let world = World::new();
    let t = world.now();
    let db = world.open();
    for i in 0..800 {
        let value = 0.1 + i as f64;
        world.append(&db, &[("a{instance=1}", t + i, value), ("b{instance=2}", t + i, value)]).unwrap();
    }
    drop(db);
    let all = segments(&world);
    assert!(all.len() >= 2, "{all:?}");
    world.disk.flip(&all[0].0, all[0].1 / 2, 4).unwrap();
    for round in 0..2 {
        let db = world.open();
        assert_eq!(db.recovered().quarantined.len(), usize::from(round == 0));
        let found = world.read(&db, vec![]);
        let (first, last) = (found[0].1[0].0, found[0].1.last().unwrap().0);
        assert_eq!((found.len(), first, last), (2, t, t + 799), "round {round}");
        assert!((150..800).contains(&found[0].1.len()), "{}", found[0].1.len());
    }
}

#[test]
fn garbage_in_the_place_of_the_last_segment_is_no_torn_write() {
    let world = World::new();
    let t = world.now();
    let db = world.open();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    drop(db);
    let (path, len) = segments(&world).pop().unwrap();
    for at in 0..len {
        world.disk.flip(&path, at, 0xa5).unwrap();
    }
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let damaged = |disk: &Arc<dyn Disk>| {
        let checked = tsdb::tools::verify_data(disk, &world.config.path).unwrap();
        checked.iter().filter(|file| !file.damage.is_empty()).count()
    };
    assert_eq!(damaged(&disk), 1);
    let db = world.open();
    assert_eq!((db.recovered().quarantined.len(), db.recovered().torn_bytes), (1, 0));
    assert_eq!(world.append(&db, &[("a", t + 1, 2.0)]).unwrap().accepted, 1);
    drop(db);
    assert_eq!(damaged(&disk), 0);
}

#[test]
fn what_a_damaged_series_log_names_comes_back_with_a_good_one() {
    let world = World::new();
    let t = world.now();
    let db = world.open();
    world.append(&db, &[("a{instance=1}", t, 1.0)]).unwrap();
    db.flush().unwrap();
    world.append(&db, &[("a{instance=1}", t + 1, 2.0), ("b{instance=2}", t + 1, 3.0)]).unwrap();
    drop(db);
    let is_log = |path: &Path| path.to_string_lossy().contains("series-");
    let (log, _) = world.disk.files().into_iter().find(|(path, _)| is_log(path)).unwrap();
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let good = disk.read(&log).unwrap();
    // In the first frame, behind the header.
    world.disk.flip(&log, 28 + 9, 0xff).unwrap();
    let db = world.open();
    assert_eq!(db.recovered().quarantined.len(), 1);
    assert!(world.read(&db, vec![]).len() < 2);
    // Seals take the segments away from where they were.
    db.flush().unwrap();
    drop(db);
    let kept = world
        .disk
        .files()
        .into_iter()
        .filter(|(path, _)| path.to_string_lossy().contains("quarantine/head-1"));
    let kept: Vec<PathBuf> = kept.map(|(path, _)| path).collect();
    assert!(kept.iter().any(|path| path.extension().is_some_and(|e| e == "wal")), "{kept:?}");
    assert!(kept.iter().any(|path| path.extension().is_some_and(|e| e == "sealed")), "{kept:?}");
    // As a tenant of another folder, with the log as it was.
    let from = kept[0].ancestors().find(|path| path.ends_with("head-1")).unwrap().to_owned();
    let to = PathBuf::from("mended/default");
    for path in &kept {
        let at = to.join(path.strip_prefix(&from).unwrap());
        disk.create_dir_all(at.parent().unwrap()).unwrap();
        disk.create(&at).unwrap().write_all(&disk.read(path).unwrap()).unwrap();
    }
    disk.create(&to.join("wal").join(log.file_name().unwrap())).unwrap().write_all(&good).unwrap();
    let mut mended = world;
    mended.config.path = "mended".into();
    let db = mended.open();
    assert_eq!(db.recovered().quarantined.len(), 0);
    assert_eq!(mended.read(&db, vec![]).iter().map(|series| series.1.len()).sum::<usize>(), 3);
}

#[test]
fn a_flipped_byte_in_a_sealed_file_is_quarantined_and_the_rest_served() {
    let world = World::new();
    let t = world.now();
    let db = world.open();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    db.flush().unwrap();
    world.append(&db, &[("a", t + 1, 2.0)]).unwrap();
    drop(db);
    let sealed = world.disk.files().into_iter().find(|(p, _)| p.extension().is_some_and(|e| e == "sealed"));
    let (path, len) = sealed.unwrap();
    for at in 8..len {
        world.disk.flip(&path, at, 1).unwrap();
        let db = world.open();
        assert_eq!(db.recovered().quarantined.len(), 1, "byte {at}");
        assert_eq!(world.read(&db, vec![])[0].1, bits(&[(t + 1, 2.0)]));
        let moved = db.recovered().quarantined[0].clone();
        drop(db);
        let disk: &dyn tsdb::Disk = &world.disk;
        disk.rename(&moved, &path).unwrap();
        world.disk.flip(&path, at, 1).unwrap();
    }
}

#[test]
fn a_flipped_byte_in_the_log_of_series_loses_series_but_never_mixes_them() {
    let build = || {
        let world = World::new();
        let t = world.now();
        let db = world.open();
        for (at, name) in ["a{instance=1}", "b{instance=1}", "c{instance=2}"].into_iter().enumerate() {
            world.append(&db, &[(name, t, at as f64)]).unwrap();
            db.flush().unwrap();
            world.append(&db, &[(name, t + 1, at as f64)]).unwrap();
        }
        (world, t)
    };
    let (world, _) = build();
    let name = |(p, _): &(PathBuf, u64)| p.to_string_lossy().contains("series-");
    let len = world.disk.files().into_iter().find(name).unwrap().1;
    let mut served = 0;
    for at in 0..len {
        let (world, t) = build();
        let (path, _) = world.disk.files().into_iter().find(name).unwrap();
        world.disk.flip(&path, at, 1).unwrap();
        for round in 0..3 {
            let db = world.open();
            assert_eq!(
                db.recovered().quarantined.len() + usize::from(db.recovered().torn_bytes > 0),
                usize::from(round == 0),
                "byte {at}"
            );
            let found = world.read(&db, vec![]);
            for (name, samples) in &found {
                let value = ["a", "b", "c", "new"].iter().position(|n| name.starts_with(n)).unwrap() as f64;
                assert!(samples.iter().all(|&(_, v)| v == value.to_bits()), "byte {at}: {name} {samples:?}");
            }
            served += found.len();
            // New series must not get the places of lost ones.
            let new = ["new{instance=1}", "new{instance=2}", "new{instance=3}"];
            let samples: Vec<_> = new.iter().map(|n| (*n, t + 2 + round, 3.0)).collect();
            assert_eq!(world.append(&db, &samples).unwrap().accepted, 3);
        }
    }
    assert!(served as u64 > len * 6, "{served}");
}

#[test]
fn a_full_disk_refuses_writes_answers_queries_and_recovers_by_itself() {
    let mut world = World::new();
    world.config.wal.segment_bytes = 4096;
    let t = world.now();
    let db = world.open();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    world.disk.set_capacity(Some(world.disk.used_bytes() + 100));
    let mut accepted = vec![(t, 1.0)];
    let mut refused = 0;
    for i in 1..200 {
        match world.append(&db, &[("a", t + i, 0.1 * i as f64)]) {
            Ok(answer) => {
                assert_eq!(answer.accepted, 1);
                accepted.push((t + i, 0.1 * i as f64));
            }
            Err(err) => {
                assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
                refused += 1;
            }
        }
    }
    assert!(refused > 150 && accepted.len() > 1, "{refused}");
    assert_eq!(world.read(&db, vec![])[0].1[0], (t, 1f64.to_bits()));
    world.disk.set_capacity(None);
    world.append(&db, &[("a", t + 500, 5.0)]).unwrap();
    accepted.push((t + 500, 5.0));
    // A sample that was refused is accepted, and logged, when it is sent again.
    world.append(&db, &[("a", t + 199, 0.1 * 199.0)]).unwrap();
    accepted.insert(accepted.len() - 1, (t + 199, 0.1 * 199.0));
    drop(db);
    world.disk.restart(Crash::PowerLoss { seed: 7 });
    assert_eq!(world.read(&world.open(), vec![])[0].1, bits(&accepted));
}

#[test]
fn a_read_only_disk_refuses_writes_answers_queries_and_recovers_by_itself() {
    let world = World::new();
    let t = world.now();
    let db = world.open();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    db.flush().unwrap();
    world.append(&db, &[("a", t + 1, 2.0)]).unwrap();
    world.disk.set_refusal(Some(Refusal::Changes));
    for i in 2..5 {
        let err = world.append(&db, &[("a", t + i, 3.0)]).unwrap_err();
        assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
        assert_eq!(world.read(&db, vec![])[0].1, bits(&[(t, 1.0), (t + 1, 2.0)]));
        assert!(db.flush().is_err());
        // Whether there is anything to do or not.
        drop(db.maintain(Timestamp(t + i)));
    }
    world.disk.set_refusal(None);
    world.append(&db, &[("a", t + 4, 4.0)]).unwrap();
    db.flush().unwrap();
    drop(db);
    // What cannot be written to is not opened: the error says what was tried.
    world.disk.restart(Crash::Kill);
    world.disk.set_refusal(Some(Refusal::Changes));
    let err = format!("{:?}", world.try_open().err().unwrap());
    assert!(err.contains("ReadOnlyFilesystem") && err.contains("data"), "{err}");
    world.disk.set_refusal(None);
    assert_eq!(world.read(&world.open(), vec![])[0].1, bits(&[(t, 1.0), (t + 1, 2.0), (t + 4, 4.0)]));
}

#[test]
fn without_file_descriptors_nothing_acknowledged_is_lost_and_it_recovers_by_itself() {
    let mut world = World::new();
    world.config.wal.segment_bytes = 4096;
    let t = world.now();
    let db = world.open();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    world.disk.set_refusal(Some(Refusal::Opening));
    let mut accepted = vec![(t, 1.0)];
    let mut refused = 0;
    for i in 1..600 {
        let value = 0.1 * i as f64;
        match world.append(&db, &[("a", t + i, value)]) {
            Ok(_) => accepted.push((t + i, value)),
            Err(err) => {
                // The segment that is open takes samples; the next one cannot be made.
                assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
                refused += 1;
            }
        }
        if i % 100 == 0 {
            assert!(db.flush().is_err());
            // Whether there is anything to do or not.
            drop(db.maintain(Timestamp(t + i)));
            assert_eq!(world.read(&db, vec![])[0].1, bits(&accepted));
        }
    }
    assert!(refused > 0 && accepted.len() > 1, "{refused} of 599 refused");
    world.disk.set_refusal(None);
    world.append(&db, &[("a", t + 600, 5.0)]).unwrap();
    accepted.push((t + 600, 5.0));
    db.flush().unwrap();
    assert_eq!(world.read(&db, vec![])[0].1, bits(&accepted));
    drop(db);
    world.disk.restart(Crash::PowerLoss { seed: 7 });
    assert_eq!(world.read(&world.open(), vec![])[0].1, bits(&accepted));
}

#[test]
fn a_file_in_the_place_of_a_tenants_folder_is_refused_at_the_start() {
    let world = World::new();
    let disk: &dyn tsdb::Disk = &world.disk;
    disk.create_dir_all("data".as_ref()).unwrap();
    disk.create("data/default".as_ref()).unwrap();
    let err = world.try_open().err().unwrap().to_string();
    assert!(err.contains("data/default") && err.contains("not a folder"), "{err}");
    // Other files are none of storage's business.
    disk.rename("data/default".as_ref(), "data/notes".as_ref()).unwrap();
    drop(world.open());
}

/// A batch that the full disk refuses leaves nothing behind what `seed` stored; once there is room it is accepted.
fn refused_then_accepted(seed: impl Fn(&World, &Db, i64), batch: impl Fn(i64) -> model::Batch) {
    let mut world = World::new();
    world.config.wal.segment_bytes = 4096;
    let t = world.now();
    let db = world.open();
    seed(&world, &db, t);
    let before = world.read(&db, vec![]);
    let names = |db: &Db| db.label_values(&world.tenant, "__name__", &[], ALL, 0).unwrap().names;
    let exemplars = |db: &Db| {
        let all = vec![vec![Matcher::new("__name__", model::MatchOp::Regex, ".+").unwrap()]];
        db.exemplars(&world.tenant, &all, ALL).iter().map(|s| s.exemplars.len()).sum::<usize>()
    };
    let (before_names, before_exemplars) = (names(&db), exemplars(&db));
    let metadata = db.metadata(&world.tenant, None, 0);
    world.disk.set_capacity(Some(world.disk.used_bytes()));
    for _ in 0..3 {
        let err = db.append(&world.tenant, &batch(t)).err().unwrap();
        assert_eq!(err.kind(), ErrorKind::Unavailable, "{err}");
        assert_eq!(world.read(&db, vec![]), before);
        assert_eq!(names(&db), before_names);
        assert_eq!(exemplars(&db), before_exemplars);
        assert_eq!(db.metadata(&world.tenant, None, 0), metadata);
        // A seal while the disk refuses takes nothing of it either.
        assert!(db.flush().is_err());
        assert_eq!(world.read(&db, vec![]), before);
    }
    world.disk.set_capacity(None);
    let appended = db.append(&world.tenant, &batch(t)).unwrap();
    assert_eq!(appended.accepted, batch(t).sample_count());
    let after = world.read(&db, vec![]);
    assert_ne!(after, before);
    drop(db);
    world.disk.restart(Crash::PowerLoss { seed: 3 });
    assert_eq!(world.read(&world.open(), vec![]), after);
}

#[test]
fn a_refused_batch_is_not_served() {
    let samples = |t: i64| {
        crate::support::batch(&[
            ("a{instance=1}", t + 10, 2.5),
            ("a{instance=1}", t + 20, 3.5),
            ("late{instance=1}", t + 5, 9.0),
            ("new{instance=1}", t + 10, 1.0),
            ("new{instance=2}", t + 10, 1.0),
        ])
    };
    refused_then_accepted(
        |world, db, t| {
            world.append(db, &[("a{instance=1}", t, 1.0), ("late{instance=1}", t + 8, 7.0)]).unwrap();
        },
        samples,
    );
    // The older samples are sealed, so their newest is to be read from the disk.
    refused_then_accepted(
        |world, db, t| {
            world.append(db, &[("a{instance=1}", t, 1.0), ("late{instance=1}", t + 8, 7.0)]).unwrap();
            db.flush().unwrap();
            world.append(db, &[("b{instance=1}", t, 1.0)]).unwrap();
        },
        samples,
    );
}

#[test]
fn histograms_exemplars_and_metadata_of_a_refused_batch_are_not_served() {
    let histogram = |count: f64| {
        std::sync::Arc::new(model::Histogram {
            count,
            sum: 1.0,
            positive_spans: vec![model::histogram::Span { offset: 0, length: 1 }],
            positive: vec![count],
            ..model::Histogram::default()
        })
    };
    refused_then_accepted(
        |world, db, t| {
            let mut batch = crate::support::batch(&[("b{instance=1}", t, 1.0)]);
            let h = batch.add_series(&crate::support::labels("h{instance=1}"));
            batch.push_histogram(h, t, histogram(1.0));
            db.append(&world.tenant, &batch).unwrap();
        },
        |t| {
            let mut batch = crate::support::batch(&[("b{instance=1}", t + 1, 1.0)]);
            let h = batch.add_series(&crate::support::labels("h{instance=1}"));
            batch.push_histogram(h, t + 1, histogram(2.0));
            batch.push_start(h, t + 1, t - 5);
            let labels = model::Labels::from_pairs([("trace_id", "7")]);
            batch.push_exemplar(0, model::Exemplar { labels, value: 1.0, at: Timestamp(t + 1) });
            batch.push_metadata("b", model::Metadata { help: "help".into(), ..model::Metadata::default() });
            batch
        },
    );
}
