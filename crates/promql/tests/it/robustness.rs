//! Every function, aggregation and operator over series that mix floats with histograms of all kinds: nothing panics, and
//! the answer does not depend on the number of threads.

use std::sync::atomic::AtomicBool;

use model::{Budget, Labels, Timestamp};
use promql::ast::{AggregateOp, ValueType};
use promql::functions::FUNCTIONS;
use promql::script::{Storage, series};
use promql::{EvalOptions, Limits, Options, Times, evaluate, parse, plan};

/// Samples each 30 s.
const SERIES: [(&str, &str); 9] = [
    ("float", "1+2x10 0+3x10 stale _x5 NaN Inf -Inf 5x10"),
    (
        "exponential",
        "{{schema:1 sum:4 count:4 buckets:[1 2 1]}}+{{schema:1 sum:2 count:3 buckets:[1 1 1]}}x20 {{count:1 sum:1 buckets:[1]}}x9",
    ),
    ("coarse", "{{schema:-2 sum:4 count:9 z_bucket:2 z_bucket_w:1 buckets:[1 2 1] n_buckets:[1 2]}}x20"),
    ("zero", "{{schema:3 sum:4 count:4 z_bucket:4 z_bucket_w:0.1}}x10 {{}}x5"),
    (
        "custom",
        "{{schema:-53 sum:3 count:4 custom_values:[1 5] buckets:[1 2 1]}}x10 {{schema:-53 sum:3 count:9 custom_values:[5 7 9] buckets:[1 2 1 5]}}x9",
    ),
    (
        "gauge",
        "{{sum:4 count:4 buckets:[1 2 1] counter_reset_hint:gauge}}x5 {{sum:2 count:2 buckets:[0 2] counter_reset_hint:reset}}x5",
    ),
    (
        "mixed",
        "1x4 {{sum:1 count:1 buckets:[1]}}x4 2 {{schema:-53 count:1 sum:1 custom_values:[2] buckets:[1]}}x4 3x9",
    ),
    ("nan", "{{sum:NaN count:9 buckets:[1 2 1]}}x9 {{sum:Inf count:Inf buckets:[Inf 2 1]}}x4"),
    ("empty", "{{}}x4 stale 1 _ _ 2"),
];

fn storage() -> Storage {
    let mut storage = Storage::new();
    for (at, (kind, items)) in SERIES.iter().enumerate() {
        for le in ["", "0.5", "+Inf", "bad"] {
            let labels = [("__name__", "m"), ("kind", kind), ("le", le), ("group", ["x", "y"][at % 2])];
            for (index, item) in series::items(items).expect("items").into_iter().enumerate() {
                let value = match item {
                    series::Item::Float(value) => model::Value::Float(value),
                    series::Item::Histogram { histogram, .. } => model::Value::Histogram(histogram),
                    series::Item::Gap => continue,
                };
                let start = if at % 3 == 0 { index as i64 * 30_000 - 20_000 } else { 0 };
                storage.insert(&Labels::from_pairs(labels), index as i64 * 30_000 + 1, value, start);
            }
        }
    }
    storage
}

fn queries() -> Vec<String> {
    let mut all = Vec::new();
    let vectors =
        ["m", "m{kind=\"mixed\"}", "m{le=\"\"}", "sum by (kind) (m)", "m{kind=\"none\"}", "m smoothed"];
    let ranges = [
        "m[3m]",
        "m{kind=\"exponential\"}[1s]",
        "m[5m:20s]",
        "m[4m] anchored",
        "m[4m] smoothed",
        "m[4m] @ 300",
    ];
    for function in FUNCTIONS {
        let (least, _) = function.arg_count();
        let firsts: &[&str] = match function.args.first() {
            Some(ValueType::Vector) => &vectors,
            Some(ValueType::Matrix) => &ranges,
            _ => &["0.5"],
        };
        for first in firsts {
            let mut args: Vec<&str> = vec![first];
            for kind in function.args.iter().skip(1).take(least.saturating_sub(1)) {
                args.push(match kind {
                    ValueType::Scalar => "0.4",
                    ValueType::String => "\"kind\"",
                    ValueType::Vector => "m",
                    ValueType::Matrix => "m[3m]",
                });
            }
            args.truncate(least);
            all.push(format!("{}({})", function.name, args.join(", ")));
        }
    }
    for op in AggregateOp::ALL {
        let param = match op {
            AggregateOp::CountValues => "\"v\", ",
            op if op.has_param() => "0.7 * 2, ",
            _ => "",
        };
        for vector in vectors.iter().chain(&["rate(m[3m])", "m - m offset 1m", "-m", "m @ 120"]) {
            all.push(format!("{op} by (group) ({param}{vector})"));
            all.push(format!("{op} ({param}{vector})"));
        }
    }
    let operators = [
        "+", "-", "*", "/", "%", "^", "atan2", "==", "!=", ">", "<=", "> bool", "</", ">/", "and", "or",
        "unless",
    ];
    for op in operators {
        all.push(format!("m {op} m offset 2m"));
        all.push(format!("m {op} on (kind, le) group_left m"));
        if !matches!(op, "and" | "or" | "unless") {
            all.push(format!("m {op} 2"));
            all.push(format!("scalar(m{{kind=\"float\",le=\"\"}}) {op} m"));
            all.push(format!("m{{kind=\"custom\"}} {op} fill(3) m{{kind=\"zero\"}}"));
        }
    }
    all
}

#[test]
fn nothing_panics_and_threads_change_nothing() {
    let storage = storage();
    let at = Timestamp(330_000);
    let range = Times::Range { start: Timestamp(-60_000), end: Timestamp(900_000), step_ms: 110_000 };
    let mut answered = 0;
    for query in queries() {
        let Ok(expr) = parse(&query, &Options::all()) else { continue };
        for times in [Times::Instant(at), range] {
            for options in
                [EvalOptions::all(), EvalOptions { type_and_unit_labels: true, ..EvalOptions::default() }]
            {
                let answer = |threads| {
                    let plan = plan(&expr, times, &options).map_err(|err| err.to_string())?;
                    let limits = Limits { threads, ..Limits::default() };
                    let selected = storage.fetch(plan.selects());
                    let cancel = AtomicBool::new(false);
                    let result = evaluate(&plan, selected, &limits, &Budget::unlimited(), &cancel);
                    let result = result.map_err(|err| err.to_string())?;
                    let texts = result.annotations.warnings(&query, 0).len();
                    Ok::<_, String>(format!("{:?} {texts} {}", result.value, result.stats.samples))
                };
                let (one, four) = (answer(1), answer(4));
                assert_eq!(one, four, "{query}");
                answered += usize::from(one.is_ok());
            }
        }
    }
    assert!(answered > 500, "{answered}");
}

#[test]
fn limits_are_kept_and_named() {
    let storage = storage();
    let expr = parse("sum(m) + on () group_right m", &Options::all()).expect("a query");
    let plan = plan(&expr, Times::Instant(Timestamp(100_000)), &EvalOptions::all()).expect("a plan");
    let run = |limits: &Limits, budget, cancelled| {
        let cancel = AtomicBool::new(cancelled);
        let result = evaluate(&plan, storage.fetch(plan.selects()), limits, budget, &cancel);
        result.map(|_| ()).expect_err("a limit").to_string()
    };
    let roomy = Limits::default();
    let unlimited = Budget::unlimited();
    let tight = Budget::new("query memory (query.max_bytes)", 64, None);
    assert!(
        run(&Limits { max_samples: 3, ..roomy.clone() }, &unlimited, false).contains("query.max_samples")
    );
    assert!(run(&Limits { max_series: 3, ..roomy.clone() }, &unlimited, false).contains("query.max_series"));
    assert!(run(&roomy, &tight, false).contains("query.max_bytes"));
    assert!(run(&roomy, &unlimited, true).contains("canceled"));
    let past = Limits { deadline: Some(std::time::Instant::now()), ..roomy };
    assert!(run(&past, &unlimited, false).contains("timed out"));
}

/// Groups smaller and larger than a task, so that partial results meet; against sums over all series.
#[test]
fn groups_that_span_tasks_are_whole() {
    let mut storage = Storage::new();
    let mut groups: std::collections::BTreeMap<String, Vec<f64>> = std::collections::BTreeMap::new();
    for at in 0..2600u32 {
        // One series, three, a few hundred, and more than two tasks' worth; in an order that mixes them.
        let group = match at * 7919 % 2600 {
            0 => "one",
            1..4 => "three",
            4..400 => "some",
            400..2000 => "many",
            _ => "rest",
        };
        let value = f64::from(at * 31 % 977);
        let labels = Labels::from_pairs([("__name__", "m"), ("at", &at.to_string()), ("group", group)]);
        for step in 0..3 {
            let value = model::Value::Float(value + f64::from(step));
            storage.insert(&labels, 60_000 * i64::from(step), value, 0);
        }
        groups.entry(group.to_owned()).or_default().push(value);
    }
    let run = |query: &str, threads| {
        let expr = parse(query, &Options::all()).expect("a query");
        let times = Times::Range { start: Timestamp(0), end: Timestamp(120_000), step_ms: 60_000 };
        let plan = plan(&expr, times, &EvalOptions::all()).expect("a plan");
        let limits = Limits { threads, ..Limits::default() };
        let cancel = AtomicBool::new(false);
        let result = evaluate(&plan, storage.fetch(plan.selects()), &limits, &Budget::unlimited(), &cancel);
        result.expect("an answer").value.series().to_vec()
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    type Expected<'a> = &'a dyn Fn(&[f64]) -> f64;
    let cases: [(&str, Expected<'_>); 9] = [
        ("sum", &|values| values.iter().sum()),
        ("avg", &|values| mean(values)),
        ("count", &|values| values.len() as f64),
        ("min", &|values| values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("max", &|values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
        ("group", &|_| 1.0),
        ("stdvar", &|values| {
            let mean = mean(values);
            values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / values.len() as f64
        }),
        ("quantile(0,", &|values| values.iter().copied().fold(f64::INFINITY, f64::min)),
        ("topk(1,", &|values| values.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
    ];
    for (op, expected) in cases {
        let query = match op.strip_suffix(',') {
            None => format!("{op} by (group) (m)"),
            Some(start) => start.replacen('(', " by (group) (", 1) + ", m)",
        };
        let answer = run(&query, 1);
        for threads in [2, 5] {
            assert_eq!(format!("{answer:?}"), format!("{:?}", run(&query, threads)), "{query}");
        }
        assert_eq!(answer.len(), groups.len(), "{query}");
        for series in &answer {
            let values = &groups[series.labels.get("group").expect("a group")];
            for (step, &(_, value)) in series.floats.iter().enumerate() {
                let shifted: Vec<f64> = values.iter().map(|value| value + step as f64).collect();
                let expected = expected(&shifted);
                assert!((value - expected).abs() <= 1e-9 * expected.abs(), "{query} {series:?}: {expected}");
            }
        }
    }
    assert_eq!(run("count(m)", 3)[0].floats, [(0, 2600.0), (60_000, 2600.0), (120_000, 2600.0)]);
}
