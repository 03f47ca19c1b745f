//! Clocks that jump, and bounds of tenants.

use model::duration::PromDuration;
use model::{ErrorKind, RejectReason, TenantId, Timestamp};
use tsdb::config::{Limits, TenantLimits};

use crate::support::{World, batch, bits};

const DAY: i64 = 86_400_000;

#[test]
fn a_clock_that_jumps_ahead_and_back_loses_nothing_and_shuts_no_door() {
    let mut world = World::new();
    world.config.retention = PromDuration(3 * DAY);
    let t = world.now();
    let db = world.open();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    // A year ahead, with samples of that time from a sender that trusts the same clock.
    world.clock.set(t + 365 * DAY);
    db.maintain(Timestamp(world.now())).unwrap();
    assert_eq!(world.read(&db, vec![])[0].1, bits(&[(t, 1.0)]));
    // And back: samples of now are accepted, though newer ones were.
    world.append(&db, &[("ahead", t + 365 * DAY, 1.0)]).unwrap();
    world.clock.set(t + 1000);
    let answer = world.append(&db, &[("a", t + 1000, 2.0)]).unwrap();
    assert_eq!((answer.accepted, answer.rejected_count), (1, 0), "{:?}", answer.rejected);
    db.maintain(Timestamp(world.now())).unwrap();
    // Back before all that is there: what is sent now is too old, refused with a reason, and nothing else is lost.
    world.clock.set(t - 10 * DAY);
    let answer = world.append(&db, &[("a", t - 10 * DAY, 3.0)]).unwrap();
    assert!(answer.rejected.iter().all(|r| r.reason == RejectReason::TooOld) || answer.accepted == 1);
    db.maintain(Timestamp(world.now())).unwrap();
    drop(db);
    let db = world.open();
    let found = world.read(&db, vec![]);
    let of = |name: &str| found.iter().find(|(n, _)| n == name).unwrap().1.clone();
    assert!(bits(&[(t, 1.0), (t + 1000, 2.0)]).iter().all(|s| of("a").contains(s)));
    assert_eq!(of("ahead"), bits(&[(t + 365 * DAY, 1.0)]));
}

#[test]
fn a_tenant_has_bounds_of_its_own() {
    let mut world = World::new();
    let own = TenantLimits { tenant: "small".into(), limits: Limits { series: 1, ..Limits::default() } };
    world.config.tenant_limits = vec![own.clone()];
    let t = world.now();
    let db = world.open();
    let two = batch(&[("a", t, 1.0), ("b", t, 1.0)]);
    let small = TenantId::new("small").unwrap();
    let answer = db.append(&small, &two).unwrap();
    assert_eq!((answer.accepted, answer.rejected[0].reason), (1, RejectReason::SeriesLimit));
    assert_eq!(db.append(&world.tenant, &two).unwrap().accepted, 2);
    drop(db);
    world.config.tenant_limits.push(own);
    let err = world.try_open().err().unwrap();
    assert_eq!(err.kind(), ErrorKind::Invalid);
    assert!(err.to_string().contains("small is there twice"), "{err}");
}
