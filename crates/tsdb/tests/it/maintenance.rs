//! Cuts, idle series, retention, deletion, statistics, snapshots.

use model::duration::PromDuration;
use model::seam::TimeRange;
use model::{Matcher, Timestamp};

use crate::support::{ALL, World, bits};

const HOUR: i64 = 3_600_000;

/// Writes `a` once a minute for `hours`, with maintenance every 10 minutes.
fn write_hours(world: &World, db: &tsdb::Db, hours: i64) -> Vec<(i64, f64)> {
    let start = world.now();
    let mut written = Vec::new();
    for minute in 0..hours * 60 {
        let t = start + minute * 60_000;
        world.clock.set(t);
        world.append(db, &[("a{instance=x}", t, minute as f64), ("b{instance=x}", t, 0.5)]).unwrap();
        written.push((t, minute as f64));
        if minute % 10 == 0 {
            db.maintain(Timestamp(t)).unwrap();
        }
    }
    written
}

fn read_a(world: &World, db: &tsdb::Db) -> Vec<(i64, u64)> {
    world
        .read(db, vec![Matcher::equal("__name__", "a")])
        .pop()
        .map(|(_, samples)| samples)
        .unwrap_or_default()
}

#[test]
fn hours_go_to_blocks_and_read_as_before() {
    let world = World::new();
    let db = world.open();
    let written = write_hours(&world, &db, 9);
    let stats = db.stats(&world.tenant, 10).unwrap();
    assert!(stats.blocks >= 1 && stats.min_time.unwrap() > written[0].0, "{stats:?}");
    assert_eq!(read_a(&world, &db), bits(&written));
    drop(db);
    let db = world.open();
    assert!(db.recovered().blocks >= 1 && db.recovered().quarantined.is_empty());
    assert_eq!(db.recovered().orphans, 0);
    assert_eq!(read_a(&world, &db), bits(&written));
    let (from, to) = (written[100].0, written[200].0);
    let part = world.read_range(&db, vec![Matcher::equal("__name__", "a")], from, to);
    assert_eq!(part[0].1, bits(&written[101..=200]));
    let limited = TimeRange { start: Timestamp(from), end: Timestamp(to) };
    assert_eq!(db.series(&world.tenant, &[], limited, 0).unwrap().0.len(), 2);
    assert_eq!(db.label_values(&world.tenant, "instance", &[], limited, 0).unwrap().names, ["x"]);
}

#[test]
fn memory_follows_the_active_series() {
    let world = World::new();
    let db = world.open();
    let start = world.now();
    let mut most = 0;
    for generation in 0..40 {
        let t = start + generation * HOUR / 2;
        world.clock.set(t);
        let series: Vec<String> =
            (0..50).map(|pod| format!("cpu{{instance=node,pod=p{generation}-{pod}}}")).collect();
        let samples: Vec<_> = series.iter().map(|s| (s.as_str(), t, 1.0)).collect();
        assert_eq!(world.append(&db, &samples).unwrap().accepted, 50);
        db.maintain(Timestamp(t)).unwrap();
        most = most.max(db.stats(&world.tenant, 1).unwrap().series);
    }
    assert!(most <= 50 * 8, "{most}");
    assert_eq!(world.read(&db, vec![]).len(), 50 * 40);
    let logs: u64 = world
        .disk
        .files()
        .into_iter()
        .filter(|(p, _)| p.to_string_lossy().contains("series-"))
        .map(|(_, len)| len)
        .sum();
    assert!(logs < 40 * 50 * 15, "the series log has {logs} bytes");
    drop(db);
    let db = world.open();
    assert_eq!(world.read(&db, vec![]).len(), 50 * 40);
    // A series that comes back after it was dropped is itself.
    let t = world.now();
    world.append(&db, &[("cpu{instance=node,pod=p0-0}", t, 2.0)]).unwrap();
    let found = world.read(&db, vec![Matcher::equal("pod", "p0-0")]);
    assert_eq!((found.len(), found[0].1.len()), (1, 2));
}

#[test]
fn retention_deletes_by_age_and_by_size() {
    let mut world = World::new();
    world.config.retention = PromDuration(4 * HOUR);
    let db = world.open();
    let written = write_hours(&world, &db, 12);
    let found = read_a(&world, &db);
    assert!(found[0].0 > written[0].0 && found.len() >= 4 * 60, "{}", found.len());
    drop(db);
    world.config.retention_bytes = 1;
    let db = world.open();
    db.maintain(Timestamp(world.now())).unwrap();
    assert_eq!(db.stats(&world.tenant, 1).unwrap().blocks, 1);
}

#[test]
fn a_deletion_is_seen_at_once_and_then_physical() {
    let world = World::new();
    let db = world.open();
    let written = write_hours(&world, &db, 5);
    let selector = vec![Matcher::equal("__name__", "a")];
    let range = TimeRange { start: Timestamp(written[10].0), end: Timestamp(written[250].0) };
    db.delete_series(&world.tenant, std::slice::from_ref(&selector), range).unwrap();
    let mut left: Vec<_> = written[..10].iter().chain(&written[251..]).copied().collect();
    assert_eq!(read_a(&world, &db), bits(&left));
    assert_eq!(world.read(&db, vec![Matcher::equal("__name__", "b")])[0].1.len(), written.len());
    let before = db.stats(&world.tenant, 1).unwrap().blocks_samples;
    assert!(db.clean_tombstones().unwrap() > 0);
    assert!(db.stats(&world.tenant, 1).unwrap().blocks_samples < before);
    drop(db);
    let db = world.open();
    assert_eq!(read_a(&world, &db), bits(&left));
    // Once the head is past the range, nothing is left of the deletion but its effect.
    left.extend(write_hours(&world, &db, 6).into_iter().filter(|(t, _)| *t > written[written.len() - 1].0));
    db.clean_tombstones().unwrap();
    assert_eq!(read_a(&world, &db), bits(&left));
    let stored = world.disk.files().into_iter().find(|(p, _)| p.ends_with("tombstones.json")).unwrap();
    assert!(stored.1 < 60, "{stored:?}");
    assert!(db.delete_series(&world.tenant, &[], ALL).is_err());
}

#[test]
fn a_snapshot_opens_as_a_folder_of_its_own() {
    let mut world = World::new();
    let db = world.open();
    let written = write_hours(&world, &db, 5);
    db.snapshot("copy".as_ref(), tsdb::Copied::All).unwrap();
    assert!(db.snapshot("copy".as_ref(), tsdb::Copied::All).is_err());
    db.snapshot("blocks".as_ref(), tsdb::Copied::Blocks).unwrap();
    world.append(&db, &[("a{instance=x}", world.now() + 1, 7.0), ("later", world.now(), 1.0)]).unwrap();
    drop(db);
    world.config.path = "copy".into();
    let db = world.open();
    assert_eq!(read_a(&world, &db), bits(&written));
    assert_eq!(world.append(&db, &[("a{instance=x}", world.now() + 5, 7.0)]).unwrap().accepted, 1);
    drop(db);
    // Without the head there is less, and it opens as well.
    world.config.path = "blocks".into();
    let db = world.open();
    let read = read_a(&world, &db);
    assert!(!read.is_empty() && read.len() < written.len(), "{}", read.len());
    assert_eq!(read, bits(&written[..read.len()]));
}

#[test]
fn statistics_name_what_costs_most() {
    let world = World::new();
    let db = world.open();
    let t = world.now();
    world.append(&db, &[("a{x=1}", t, 1.0), ("a{x=2}", t, 1.0), ("b{x=1}", t - 5, 1.0)]).unwrap();
    let stats = db.stats(&world.tenant, 2).unwrap();
    assert_eq!((stats.series, stats.label_pairs), (3, 4));
    assert_eq!((stats.min_time, stats.max_time), (Some(t - 5), Some(t)));
    let first = |counts: &[tsdb::stats::Count]| (counts[0].name.clone(), counts[0].value);
    assert_eq!(first(&stats.series_by_metric), ("a".to_owned(), 2));
    assert_eq!(first(&stats.values_by_label), ("__name__".to_owned(), 2));
    assert_eq!(first(&stats.series_by_pair), ("__name__=a".to_owned(), 2));
    assert_eq!(first(&stats.bytes_by_label), ("__name__".to_owned(), 27));
}
