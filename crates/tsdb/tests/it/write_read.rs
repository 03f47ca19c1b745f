//! What is written is read: order, duplicates, limits, references, histograms, exemplars, metadata.

use std::sync::Arc;

use model::histogram::Span;
use model::{
    Batch, Exemplar, Histogram, Labels, MatchOp, Matcher, Metadata, MetricType, RejectReason, STALE_NAN,
    Samples, SeriesRef, Timestamp,
};

use crate::support::{ALL, World, batch, bits, labels};

#[test]
fn samples_come_back_bit_for_bit_before_and_after_a_restart() {
    let world = World::new();
    let t = world.now();
    let stale = f64::from_bits(STALE_NAN);
    let samples = [
        ("up{job=a}", t, 1.0),
        ("up{job=b}", t, -0.0),
        ("up{job=a}", t + 1, stale),
        ("up{job=b}", t + 1, 0.1),
    ];
    let expected = vec![
        (r#"up{job="a"}"#.to_owned(), bits(&[(t, 1.0), (t + 1, stale)])),
        (r#"up{job="b"}"#.to_owned(), bits(&[(t, -0.0), (t + 1, 0.1)])),
    ];
    {
        let db = world.open();
        assert_eq!(world.append(&db, &samples).unwrap().accepted, 4);
        assert_eq!(world.read(&db, vec![]), expected);
    }
    let db = world.open();
    assert_eq!((db.recovered().series, db.recovered().samples), (2, 4));
    assert_eq!(world.read(&db, vec![]), expected);
    db.flush().unwrap();
    assert_eq!(world.read(&db, vec![]), expected);
    drop(db);
    let db = world.open();
    assert_eq!((db.recovered().sealed_files, db.recovered().samples), (1, 0));
    assert_eq!(world.read(&db, vec![]), expected);
}

#[test]
fn a_reference_is_as_good_as_labels_and_an_unknown_one_is_told() {
    let world = World::new();
    let db = world.open();
    let t = world.now();
    let appended = world.append(&db, &[("a", t, 1.0), ("b", t, 1.0)]).unwrap();
    let mut by_ref = Batch::new();
    for series in appended.refs.iter().flatten() {
        by_ref.add_series_ref(*series);
    }
    by_ref.add_series_ref(SeriesRef(1 << 40));
    (0..3).for_each(|series| by_ref.push_float(series, t + 1, 2.0));
    let again = db.append(&world.tenant, &by_ref).unwrap();
    assert_eq!((again.accepted, again.unknown_refs), (2, vec![2]));
    assert_eq!(again.refs, vec![appended.refs[0], appended.refs[1], None]);
    assert_eq!(world.read(&db, vec![Matcher::equal("__name__", "a")])[0].1, bits(&[(t, 1.0), (t + 1, 2.0)]));
}

#[test]
fn late_duplicate_old_and_future_samples_have_their_answers() {
    let world = World::new();
    let db = world.open();
    let t = world.now();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    let reasons = |samples: &[(&str, i64, f64)]| {
        let answer = world.append(&db, samples).unwrap();
        (answer.accepted, answer.rejected.iter().map(|r| r.reason).collect::<Vec<_>>())
    };
    assert_eq!(reasons(&[("a", t, 1.0)]), (1, vec![]));
    assert_eq!(reasons(&[("a", t, 2.0)]), (0, vec![RejectReason::DuplicateTimestamp]));
    assert_eq!(reasons(&[("a", t - 1000, 3.0)]), (1, vec![]));
    assert_eq!(reasons(&[("a", t - 1_800_001, 3.0)]), (0, vec![RejectReason::TooOld]));
    assert_eq!(reasons(&[("new", t - 1_800_001, 3.0)]), (0, vec![RejectReason::TooOld]));
    assert_eq!(reasons(&[("a", t + 600_001, 3.0)]), (0, vec![RejectReason::TooNew]));
    db.flush().unwrap();
    // Late against what is sealed: merged when it is read, and what was there first stays.
    assert_eq!(reasons(&[("a", t - 500, 4.0), ("a", t - 200, 5.0)]), (2, vec![]));
    let all = bits(&[(t - 1000, 3.0), (t - 500, 4.0), (t - 200, 5.0), (t, 1.0)]);
    assert_eq!(world.read(&db, vec![])[0].1, all);
}

#[test]
fn a_clock_that_jumps_back_does_not_stop_writing() {
    let world = World::new();
    let db = world.open();
    let t = world.now();
    world.clock.set(t + 7_200_000);
    world.append(&db, &[("a", t + 7_200_000, 1.0)]).unwrap();
    world.clock.set(t);
    assert_eq!(world.append(&db, &[("a", t, 2.0)]).unwrap().accepted, 1);
}

#[test]
fn limits_refuse_with_their_reason() {
    let mut world = World::new();
    world.config.limits.series = 4;
    world.config.limits.series_per_metric = 2;
    world.config.limits.labels_per_series = 3;
    world.config.limits.label_name_bytes = 10;
    world.config.limits.label_value_bytes = 5;
    let db = world.open();
    let t = world.now();
    let reason =
        |series: &str| world.append(&db, &[(series, t, 1.0)]).unwrap().rejected.first().map(|r| r.reason);
    assert_eq!(reason("a{x=1}"), None);
    assert_eq!(reason("a{x=2}"), None);
    assert_eq!(reason("a{x=3}"), Some(RejectReason::MetricSeriesLimit));
    assert_eq!(reason("b{x=1,y=1,z=1}"), Some(RejectReason::TooManyLabels));
    assert_eq!(reason("b{x=123456}"), Some(RejectReason::LabelTooLong));
    assert_eq!(reason("b{x2345678901=1}"), Some(RejectReason::LabelTooLong));
    assert_eq!(reason("b"), None);
    assert_eq!(reason("c"), None);
    assert_eq!(reason("d"), Some(RejectReason::SeriesLimit));
    assert_eq!(reason("c"), None);
    let mut unsorted = Batch::new();
    let series = unsorted.add_series_sorted([("z", "1"), ("__name__", "a")]);
    unsorted.push_float(series, t, 1.0);
    let answer = db.append(&world.tenant, &unsorted).unwrap();
    assert_eq!(answer.rejected[0].reason, RejectReason::InvalidLabels);
}

fn histogram(count: f64) -> Arc<Histogram> {
    Arc::new(Histogram {
        schema: 1,
        count,
        sum: 2.5,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive: vec![count - 1.0, 1.0],
        ..Histogram::default()
    })
}

#[test]
fn histograms_starts_exemplars_and_metadata_survive_seal_and_restart() {
    let world = World::new();
    let t = world.now();
    let mut db = world.open();
    let mut batch = Batch::new();
    let series = batch.add_series(&labels("latency{job=a}"));
    let other = batch.add_series(&labels("requests_total{job=a}"));
    for i in 0..3 {
        batch.push_histogram(series, t + i, histogram(3.0 + i as f64));
    }
    batch.push_float(other, t, 5.0);
    batch.push_start(other, t, t - 1000);
    let labels_of = Labels::from_pairs([("trace_id", "abc")]);
    batch.push_exemplar(other, Exemplar { labels: labels_of.clone(), value: 0.5, at: Timestamp(t) });
    let about = Metadata { kind: MetricType::Counter, help: "How many.".into(), unit: String::new() };
    batch.push_metadata("requests", about.clone());
    assert_eq!(db.append(&world.tenant, &batch).unwrap().accepted, 4);
    for round in 0..4 {
        let select = model::seam::Select {
            matchers: vec![],
            start: Timestamp(0),
            end: Timestamp::MAX,
            hints: Default::default(),
        };
        let found = db.select(&world.tenant, &[select], &model::Budget::unlimited()).unwrap();
        let mut out = Samples::default();
        assert_eq!(found[0].series.len(), 2, "round {round}");
        for at in 0..2 {
            found[0].series.read(at, &mut out).unwrap();
            if found[0].series.labels(at).metric_name() == "latency" {
                assert_eq!(out.times, vec![t, t + 1, t + 2]);
                assert_eq!(out.histogram(1), Some(&histogram(4.0)));
            } else {
                assert_eq!(out.start(0), Some(t - 1000));
            }
        }
        let exemplars = db.exemplars(&world.tenant, &[], ALL);
        assert_eq!(exemplars[0].exemplars[0].labels, labels_of, "round {round}");
        assert_eq!(db.metadata(&world.tenant, None, 0)["requests"], vec![about.clone()]);
        if round % 2 == 0 {
            drop(db);
            db = world.open();
        } else {
            db.flush().unwrap();
        }
    }
}

#[test]
fn matchers_names_and_values() {
    let world = World::new();
    let db = world.open();
    let t = world.now();
    let all = ["a{x=1,y=1}", "a{x=2}", "b{x=10}", "b{y=2}", "c"];
    let samples: Vec<_> = all.iter().map(|s| (*s, t, 1.0)).collect();
    world.append(&db, &samples).unwrap();
    let m = |name: &str, op, value: &str| Matcher::new(name, op, value).unwrap();
    use MatchOp::{Equal, NotEqual, NotRegex, Regex};
    let cases: Vec<(Vec<Matcher>, Vec<usize>)> = vec![
        (vec![], vec![0, 1, 2, 3, 4]),
        (vec![m("__name__", Equal, "a")], vec![0, 1]),
        (vec![m("x", Equal, "")], vec![3, 4]),
        (vec![m("x", NotEqual, "")], vec![0, 1, 2]),
        (vec![m("x", NotEqual, "1")], vec![1, 2, 3, 4]),
        (vec![m("x", Regex, "1.*")], vec![0, 2]),
        (vec![m("x", Regex, "1|2")], vec![0, 1]),
        (vec![m("x", Regex, "|1")], vec![0, 3, 4]),
        (vec![m("x", NotRegex, "1.*")], vec![1, 3, 4]),
        (vec![m("x", Regex, ".+"), m("y", NotEqual, "1")], vec![1, 2]),
        (vec![m("nope", Equal, "")], vec![0, 1, 2, 3, 4]),
        (vec![m("nope", Equal, "x")], vec![]),
        (vec![m("__name__", Regex, "a|b"), m("y", Regex, "[0-9]")], vec![0, 3]),
    ];
    for (matchers, expected) in cases {
        let mut expected: Vec<_> = expected.into_iter().map(|at| labels(all[at]).to_string()).collect();
        expected.sort();
        let text = format!("{matchers:?}");
        let found: Vec<_> = world.read(&db, matchers).into_iter().map(|(name, _)| name).collect();
        assert_eq!(found, expected, "{text}");
    }
    let names =
        |selectors: &[model::Selector]| db.label_names(&world.tenant, selectors, ALL, 0).unwrap().names;
    assert_eq!(names(&[]), ["__name__", "x", "y"]);
    assert_eq!(names(&[vec![m("__name__", Equal, "c")]]), ["__name__"]);
    let values = db.label_values(&world.tenant, "x", &[vec![m("__name__", Equal, "a")]], ALL, 0).unwrap();
    assert_eq!(values.names, ["1", "2"]);
    let limited = db.label_values(&world.tenant, "x", &[], ALL, 1).unwrap();
    assert_eq!((limited.names.len(), limited.warnings.len()), (1, 1));
    assert_eq!(db.series(&world.tenant, &[], ALL, 0).unwrap().0.len(), 5);
}

#[test]
fn a_snapshot_does_not_change() {
    let world = World::new();
    let db = world.open();
    let t = world.now();
    world.append(&db, &[("a", t, 1.0), ("b", t, 1.0)]).unwrap();
    let select = model::seam::Select {
        matchers: vec![],
        start: Timestamp(0),
        end: Timestamp::MAX,
        hints: Default::default(),
    };
    let before = db.select(&world.tenant, &[select], &model::Budget::unlimited()).unwrap();
    world.append(&db, &[("a", t + 1, 2.0), ("a", t - 1, 0.0), ("c", t, 1.0)]).unwrap();
    db.flush().unwrap();
    world.append(&db, &[("a", t + 2, 2.0)]).unwrap();
    let mut out = Samples::default();
    assert_eq!(before[0].series.len(), 2);
    before[0].series.read(0, &mut out).unwrap();
    assert_eq!(out.times, vec![t]);
}

#[test]
fn series_of_one_target_promise_equal_times() {
    let world = World::new();
    let db = world.open();
    let t = world.now();
    for i in 0..40 {
        world.append(&db, &[("a{instance=x}", t + i, 1.0), ("b{instance=x}", t + i, i as f64)]).unwrap();
        if i == 20 {
            db.flush().unwrap();
        }
    }
    world.append(&db, &[("c{instance=x}", t + 39, 1.0)]).unwrap();
    let select = model::seam::Select {
        matchers: vec![],
        start: Timestamp(0),
        end: Timestamp::MAX,
        hints: Default::default(),
    };
    let found = db.select(&world.tenant, &[select], &model::Budget::unlimited()).unwrap();
    let mut ids = Vec::new();
    for at in 0..3 {
        let mut out = Samples::default();
        found[0].series.read(at, &mut out).unwrap();
        ids.push(out.times_id);
    }
    assert!(ids[0] != 0 && ids[0] == ids[1] && ids[0] != ids[2], "{ids:?}");
}

#[test]
fn tenants_do_not_see_each_other() {
    let world = World::new();
    let db = world.open();
    let t = world.now();
    world.append(&db, &[("a", t, 1.0)]).unwrap();
    let other = model::TenantId::new("other").unwrap();
    db.append(&other, &batch(&[("b", t, 1.0)])).unwrap();
    assert_eq!(world.read(&db, vec![]).len(), 1);
    assert_eq!(db.tenants().len(), 2);
    drop(db);
    assert_eq!(world.open().recovered().tenants, 2);
}
