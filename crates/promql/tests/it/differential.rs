//! Random queries over random data, against an evaluator that is slow and plain: one instant at a time, every sample of
//! every series looked at, nothing shared. Floats only; names are dropped at once.
//!
//! `SEED=91 cargo test -p promql differential` repeats one run; `ROUNDS` sets how many queries are tried.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;

use model::sample::STALE_NAN;
use model::{Budget, Labels, Timestamp, Value, is_stale};
use promql::ast::{Aggregate, AggregateOp, Binary, BinaryOp, Cardinality, Modifiers, VectorSelector};
use promql::script::Storage;
use promql::{
    EvalOptions, Expr, FunctionId, Limits, Options, QueryValue, Times, ValueType, evaluate, parse, plan,
};

const MINUTE: i64 = 60_000;

/// A small generator; the same numbers for the same seed everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 16
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

type Data = Vec<(Labels, Vec<(i64, f64)>)>;

/// Counters and gauges with gaps, resets, staleness markers and a rare NaN or infinity.
fn data(random: &mut Random) -> Data {
    let mut all = Vec::new();
    for name in ["a", "b"] {
        for at in 0..6 {
            let host = (at % 3).to_string();
            let mode = ["x", "y"][at / 3];
            let labels =
                Labels::from_pairs([("__name__", name), ("metric", name), ("host", &host), ("mode", mode)]);
            let (mut samples, mut time, mut value) = (Vec::new(), random.below(30_000) as i64, 0.0);
            while time < 60 * MINUTE {
                value = match random.below(40) {
                    0 => 0.0,
                    1 => f64::from_bits(STALE_NAN),
                    2 => f64::NAN,
                    3 => f64::INFINITY,
                    4 => -7.5,
                    _ if f64::is_finite(value) => value + random.below(50) as f64 / 4.0,
                    _ => 1.0,
                };
                samples.push((time, value));
                time += if random.below(25) == 0 { 7 * MINUTE } else { 10_000 + random.below(25_000) as i64 };
            }
            all.push((labels, samples));
        }
    }
    all
}

fn selector(random: &mut Random) -> String {
    let name = random.of(&["a", "b", "{__name__=~\"a|b\"}"]);
    let tests = random.of(&["", "", "host=\"1\"", "mode=\"x\"", "host!=\"0\",mode=~\"y|z\""]);
    match (name.strip_suffix('}'), tests) {
        (_, "") => name.to_owned(),
        (Some(start), tests) => format!("{start},{tests}}}"),
        (None, tests) => format!("{name}{{{tests}}}"),
    }
}

fn modifiers(random: &mut Random) -> &'static str {
    random.of(&["", "", "", " offset 3m", " offset -2m", " @ 1200", " @ start()", " @ end() offset 1m"])
}

/// A random instant vector expression.
fn vector(random: &mut Random, depth: usize) -> String {
    if depth == 0 {
        return format!("{}{}", selector(random), modifiers(random));
    }
    let depth = depth - 1;
    match random.below(11) {
        0..=2 => {
            let function = random.of(&RANGE_FUNCTIONS);
            let range = random.of(&["1m", "5m", "13m", "90s"]);
            if random.below(4) == 0 {
                let step = random.of(&["1m", "45s", ""]);
                format!("{function}(({})[{range}:{step}]{})", vector(random, depth), modifiers(random))
            } else {
                format!("{function}({}[{range}]{})", selector(random), modifiers(random))
            }
        }
        3..=5 => {
            let op = random.of(&["sum", "avg", "min", "max", "count", "group", "stddev", "stdvar"]);
            let by = random.of(&["", " by (host)", " without (host)", " by (mode, host)", " without ()"]);
            format!("{op}{by} ({})", vector(random, depth))
        }
        6 => format!("{}({})", random.of(&["abs", "-", "floor", "sgn"]), vector(random, depth)),
        7 => {
            let op = random.of(&["+", "*", "/", "-", ">", "<=", "== bool", "!=", "%"]);
            let scalar = random.of(&["2", "-0.5", "time()", "scalar(a{host=\"1\",mode=\"x\"})"]);
            if random.below(2) == 0 {
                format!("({}) {op} {scalar}", vector(random, depth))
            } else {
                format!("{scalar} {op} ({})", vector(random, depth))
            }
        }
        8 => {
            let op = random.of(&["+", "*", "/", ">", "== bool", "<"]);
            let on = random.of(&["", "ignoring (metric)", "on (host, mode)", "ignoring (metric, mode)"]);
            format!("({}) {op} {on} ({})", vector(random, depth), vector(random, depth))
        }
        9 => {
            let op = random.of(&["and", "or", "unless"]);
            let on = random.of(&["", "on (host)", "ignoring (metric)"]);
            format!("({}) {op} {on} ({})", vector(random, depth), vector(random, depth))
        }
        _ => format!("quantile by (mode) ({}, {})", random.of(&["0.5", "0", "1"]), vector(random, depth)),
    }
}

const RANGE_FUNCTIONS: [&str; 12] = [
    "rate",
    "increase",
    "delta",
    "sum_over_time",
    "avg_over_time",
    "min_over_time",
    "max_over_time",
    "count_over_time",
    "last_over_time",
    "present_over_time",
    "changes",
    "resets",
];

/// One instant's vector. An error stands for any.
type Vector = Vec<(Labels, f64)>;
type Answer<T> = Result<T, ()>;

/// The evaluator that is obviously right.
struct Plain<'d> {
    data: &'d Data,
    start: i64,
    end: i64,
}

impl Plain<'_> {
    fn reference(&self, modifiers: &Modifiers, at: i64) -> i64 {
        use promql::ast::At;
        let at = match modifiers.at {
            None => at,
            Some(At::Time(time)) => time.0,
            Some(At::Start) => self.start,
            Some(At::End) => self.end,
        };
        at - modifiers.offset.as_ref().map_or(0, |offset| offset.ms)
    }

    fn selected(&self, selector: &VectorSelector) -> impl Iterator<Item = &(Labels, Vec<(i64, f64)>)> {
        let selector = selector.matchers.clone();
        self.data.iter().filter(move |(labels, _)| model::matcher::selects(&selector, labels))
    }

    fn scalar(&self, expr: &Expr, at: i64) -> Answer<f64> {
        match expr {
            Expr::Number(number) => Ok(number.value),
            Expr::Paren(paren) => self.scalar(&paren.expr, at),
            Expr::Unary(unary) => Ok(if unary.negative { -1.0 } else { 1.0 } * self.scalar(&unary.expr, at)?),
            Expr::Call(call) if call.function.id == FunctionId::Time => Ok(at as f64 / 1000.0),
            Expr::Call(call) => Ok(match self.vector(&call.args[0], at)?.as_slice() {
                [(_, value)] => *value,
                _ => f64::NAN,
            }),
            other => panic!("no scalar: {other}"),
        }
    }

    fn vector(&self, expr: &Expr, at: i64) -> Answer<Vector> {
        match expr {
            Expr::Paren(paren) => self.vector(&paren.expr, at),
            Expr::Vector(selector) => {
                let reference = self.reference(&selector.modifiers, at);
                let newest = |samples: &[(i64, f64)]| {
                    let before = samples.iter().rfind(|(time, _)| *time <= reference)?;
                    (before.0 > reference - 5 * MINUTE && !is_stale(before.1)).then_some(before.1)
                };
                let found =
                    self.selected(selector).filter_map(|(labels, s)| Some((labels.clone(), newest(s)?)));
                Ok(found.collect())
            }
            Expr::Unary(unary) => {
                let all = self.vector(&unary.expr, at)?;
                if !unary.negative {
                    return Ok(all);
                }
                unique(all.into_iter().map(|(labels, value)| (labels.without_name(), -value)).collect())
            }
            Expr::Call(call) if call.args[0].value_type() == ValueType::Matrix => {
                self.range(call.function.id, &call.args[0], at)
            }
            Expr::Call(call) => {
                let f = match call.function.id {
                    FunctionId::Abs => f64::abs,
                    FunctionId::Floor => f64::floor,
                    FunctionId::Sgn => |v: f64| {
                        if v > 0.0 {
                            1.0
                        } else if v < 0.0 {
                            -1.0
                        } else {
                            v
                        }
                    },
                    other => panic!("no such function: {other:?}"),
                };
                let all = self.vector(&call.args[0], at)?;
                unique(all.into_iter().map(|(labels, value)| (labels.without_name(), f(value))).collect())
            }
            Expr::Aggregate(node) => self.aggregate(node, at),
            Expr::Binary(node) => self.binary(node, at),
            other => panic!("no vector: {other}"),
        }
    }

    /// The samples of each series in the window that ends at its reference time, and that time.
    fn windows(&self, expr: &Expr, at: i64) -> Answer<(Data, i64, i64)> {
        let mut all: BTreeMap<Labels, Vec<(i64, f64)>> = BTreeMap::new();
        let (end, range) = match expr {
            Expr::Matrix(node) => {
                let end = self.reference(&node.selector.modifiers, at);
                for (labels, samples) in self.selected(&node.selector) {
                    let inside = samples.iter().filter(|(time, value)| {
                        *time > end - node.range.ms && *time <= end && !is_stale(*value)
                    });
                    all.insert(labels.clone(), inside.copied().collect());
                }
                (end, node.range.ms)
            }
            Expr::Subquery(node) => {
                let end = self.reference(&node.modifiers, at);
                let step = node.step.as_ref().map_or(MINUTE, |step| step.ms);
                for time in end - node.range.ms + 1..=end {
                    if time.rem_euclid(step) == 0 {
                        for (labels, value) in self.vector(&node.expr, time)? {
                            all.entry(labels).or_default().push((time, value));
                        }
                    }
                }
                (end, node.range.ms)
            }
            Expr::Paren(node) => return self.windows(&node.expr, at),
            other => panic!("no range: {other}"),
        };
        Ok((all.into_iter().filter(|(_, samples)| !samples.is_empty()).collect(), end, range))
    }

    fn range(&self, function: FunctionId, arg: &Expr, at: i64) -> Answer<Vector> {
        let (all, end, range) = self.windows(arg, at)?;
        let mut result = Vec::new();
        for (labels, samples) in all {
            let values = || samples.iter().map(|(_, value)| *value);
            let pairs = || samples.windows(2).map(|pair| (pair[0].1, pair[1].1));
            let best = |better: fn(f64, f64) -> bool| {
                values().fold(
                    f64::NAN,
                    |best, value| if best.is_nan() || better(value, best) { value } else { best },
                )
            };
            let value = match function {
                FunctionId::SumOverTime => values().sum(),
                FunctionId::AvgOverTime => values().sum::<f64>() / samples.len() as f64,
                FunctionId::MinOverTime => best(|a, b| a < b),
                FunctionId::MaxOverTime => best(|a, b| a > b),
                FunctionId::CountOverTime => samples.len() as f64,
                FunctionId::PresentOverTime => 1.0,
                FunctionId::LastOverTime => samples[samples.len() - 1].1,
                FunctionId::Changes => {
                    pairs().filter(|(a, b)| a != b && !(a.is_nan() && b.is_nan())).count() as f64
                }
                FunctionId::Resets => pairs().filter(|(a, b)| b < a).count() as f64,
                _ => {
                    let counter = function != FunctionId::Delta;
                    let (first, last) = (samples[0], samples[samples.len() - 1]);
                    if samples.len() < 2 {
                        continue;
                    }
                    let mut increase = last.1 - first.1;
                    if counter {
                        increase += pairs().filter(|(a, b)| b < a).map(|(a, _)| a).sum::<f64>();
                    }
                    let sampled = (last.0 - first.0) as f64;
                    let gap = sampled / (samples.len() - 1) as f64;
                    let reach = |distance: f64| if distance < gap * 1.1 { distance } else { gap / 2.0 };
                    let mut before = reach((first.0 - (end - range)) as f64);
                    if counter && increase > 0.0 && first.1 >= 0.0 {
                        before = before.min(sampled * (first.1 / increase));
                    }
                    let total = increase * (sampled + before + reach((end - last.0) as f64)) / sampled;
                    if function == FunctionId::Rate { total / (range as f64 / 1000.0) } else { total }
                }
            };
            let labels = if function == FunctionId::LastOverTime { labels } else { labels.without_name() };
            result.push((labels, value));
        }
        unique(result)
    }

    fn aggregate(&self, node: &Aggregate, at: i64) -> Answer<Vector> {
        let mut groups: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
        for (labels, value) in self.vector(&node.expr, at)? {
            let listed = |name: &str| node.grouping.iter().any(|n| n == name);
            let key =
                labels.filtered(|name| listed(name) != node.without && !(node.without && name == "__name__"));
            groups.entry(key).or_default().push(value);
        }
        let param = node.param.as_ref().map(|param| self.scalar(param, at)).transpose()?;
        let of = |values: &mut Vec<f64>| {
            let count = values.len() as f64;
            let mean = values.iter().sum::<f64>() / count;
            let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
            match node.op {
                AggregateOp::Sum => values.iter().sum(),
                AggregateOp::Avg => mean,
                AggregateOp::Count => count,
                AggregateOp::Group => 1.0,
                // `min` and `max` of the standard library pass over NaN, too.
                AggregateOp::Min => values.iter().copied().fold(f64::NAN, f64::min),
                AggregateOp::Max => values.iter().copied().fold(f64::NAN, f64::max),
                AggregateOp::Stdvar => variance,
                AggregateOp::Stddev => variance.sqrt(),
                _ => {
                    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or_else(|| b.is_nan().cmp(&a.is_nan())));
                    let rank = param.unwrap_or(f64::NAN) * (count - 1.0);
                    let (low, high) =
                        (rank.floor() as usize, (rank.floor() as usize + 1).min(values.len() - 1));
                    values[low] * (1.0 - rank.fract()) + values[high] * rank.fract()
                }
            }
        };
        Ok(groups.into_iter().map(|(labels, mut values)| (labels, of(&mut values))).collect())
    }

    fn binary(&self, node: &Binary, at: i64) -> Answer<Vector> {
        let operate = |a: f64, b: f64| match node.op {
            BinaryOp::Add => (a + b, true),
            BinaryOp::Sub => (a - b, true),
            BinaryOp::Mul => (a * b, true),
            BinaryOp::Div => (a / b, true),
            BinaryOp::Mod => (a % b, true),
            BinaryOp::Greater => (a, a > b),
            BinaryOp::Less => (a, a < b),
            BinaryOp::LessEqual => (a, a <= b),
            BinaryOp::Equal => (a, a == b),
            BinaryOp::NotEqual => (a, a != b),
            other => panic!("no such operator: {other}"),
        };
        let arithmetic = !node.op.is_comparison();
        let drops = arithmetic || node.return_bool;
        let finish = |labels: &Labels, kept: f64, (value, holds): (f64, bool)| {
            let value = if node.return_bool {
                f64::from(u8::from(holds))
            } else if arithmetic {
                value
            } else {
                kept
            };
            (holds || node.return_bool)
                .then(|| (if drops { labels.without_name() } else { labels.clone() }, value))
        };
        match (node.lhs.value_type(), node.rhs.value_type()) {
            (ValueType::Vector, ValueType::Scalar) => {
                let (left, right) = (self.vector(&node.lhs, at)?, self.scalar(&node.rhs, at)?);
                unique(left.iter().filter_map(|(l, v)| finish(l, *v, operate(*v, right))).collect())
            }
            (ValueType::Scalar, ValueType::Vector) => {
                let (left, right) = (self.scalar(&node.lhs, at)?, self.vector(&node.rhs, at)?);
                unique(right.iter().filter_map(|(l, v)| finish(l, *v, operate(left, *v))).collect())
            }
            _ => {
                let matching = node.matching.clone().unwrap_or_default();
                let key = |labels: &Labels| {
                    labels.filtered(|name| {
                        matching.labels.iter().any(|n| n == name) == matching.on
                            && (matching.on || name != "__name__")
                    })
                };
                let (left, right) = (self.vector(&node.lhs, at)?, self.vector(&node.rhs, at)?);
                let has =
                    |side: &Vector, labels: &Labels| side.iter().any(|(other, _)| key(other) == key(labels));
                match node.op {
                    BinaryOp::And => return Ok(left.into_iter().filter(|(l, _)| has(&right, l)).collect()),
                    BinaryOp::Unless => {
                        return Ok(left.into_iter().filter(|(l, _)| !has(&right, l)).collect());
                    }
                    BinaryOp::Or => {
                        let more: Vec<_> = right.into_iter().filter(|(l, _)| !has(&left, l)).collect();
                        return Ok(left.into_iter().chain(more).collect());
                    }
                    _ => {}
                }
                assert_eq!(matching.cardinality, Cardinality::OneToOne);
                if left.is_empty() || right.is_empty() {
                    return Ok(Vec::new());
                }
                let keys: Vec<Labels> = right.iter().map(|(labels, _)| key(labels)).collect();
                if keys.iter().enumerate().any(|(at, key)| keys[..at].contains(key)) {
                    return Err(());
                }
                let mut matched = Vec::new();
                let mut result = Vec::new();
                for (labels, value) in &left {
                    let Some(other) = keys.iter().position(|one| *one == key(labels)) else { continue };
                    if matched.contains(&other) {
                        return Err(());
                    }
                    matched.push(other);
                    let kept = labels.filtered(|name| {
                        matching.labels.iter().any(|n| n == name) == matching.on
                            && !(drops && name == "__name__")
                    });
                    result.extend(finish(&kept, *value, operate(*value, right[other].1)));
                }
                unique(result)
            }
        }
    }
}

fn unique(vector: Vector) -> Answer<Vector> {
    let twice =
        vector.iter().enumerate().any(|(at, (labels, _))| vector[..at].iter().any(|(l, _)| l == labels));
    if twice { Err(()) } else { Ok(vector) }
}

type Points = BTreeMap<Labels, Vec<(i64, f64)>>;

fn ours(storage: &Storage, expr: &Expr, times: Times, threads: usize) -> Result<Points, String> {
    let plan = plan(expr, times, &EvalOptions::default()).map_err(|err| err.to_string())?;
    let limits = Limits { threads, ..Limits::default() };
    let selected = storage.fetch(plan.selects());
    let result = evaluate(&plan, selected, &limits, &Budget::unlimited(), &AtomicBool::new(false));
    let (QueryValue::Matrix(series) | QueryValue::Vector(series)) =
        result.map_err(|err| err.to_string())?.value
    else {
        return Err("no vector".to_owned());
    };
    Ok(series.into_iter().map(|series| (series.labels, series.floats)).collect())
}

fn same(ours: &Points, plain: &Points) -> bool {
    let close = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3)
    };
    ours.keys().eq(plain.keys())
        && ours.values().zip(plain.values()).all(|(ours, plain)| {
            ours.len() == plain.len() && ours.iter().zip(plain).all(|(a, b)| a.0 == b.0 && close(a.1, b.1))
        })
}

#[test]
fn random_queries_agree_with_the_plain_evaluator() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let first: u64 = number("SEED").unwrap_or(1);
    let rounds = number("ROUNDS").unwrap_or(150);
    let mut compared = 0;
    for seed in first..first + rounds {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.next();
        }
        let data = data(&mut random);
        let mut storage = Storage::new();
        for (labels, samples) in &data {
            for &(time, value) in samples {
                storage.insert(labels, time, Value::Float(value), 0);
            }
        }
        let depth = 1 + random.below(3);
        let query = vector(&mut random, depth);
        let expr = parse(&query, &Options::all()).unwrap_or_else(|err| panic!("seed {seed}: {query}: {err}"));
        let start = random.below(50) as i64 * MINUTE / 2;
        let step = [15_000, 61_000, 7 * MINUTE][random.below(3)];
        let end = start + step * random.below(12) as i64;
        let plain = Plain { data: &data, start, end };
        let mut points = Ok(Points::new());
        for at in (start..=end).step_by(step as usize) {
            match (plain.vector(&expr, at), &mut points) {
                (Ok(vector), Ok(points)) => {
                    for (labels, value) in vector {
                        points.entry(labels).or_default().push((at, value));
                    }
                }
                _ => points = Err(()),
            }
        }
        let times = Times::Range { start: Timestamp(start), end: Timestamp(end), step_ms: step };
        let results: Vec<_> =
            [1, 3].into_iter().map(|threads| ours(&storage, &expr, times, threads)).collect();
        match (&results[0], &points) {
            (Ok(ours), Ok(plain)) => {
                compared += plain.values().map(Vec::len).sum::<usize>();
                assert!(
                    same(ours, plain),
                    "seed {seed}: {query}\n{start}..{end} {step}\n{ours:?}\n{plain:?}"
                );
                let threaded = results[1].as_ref().expect("as with one thread");
                let bits = |points: &Points| format!("{points:?}");
                assert_eq!(bits(ours), bits(threaded), "seed {seed}: {query}: threads change the answer");
            }
            // Two series may become one at different times only, which is found at once or never.
            (Err(_), Err(())) => {}
            (Ok(_), Err(())) => panic!("seed {seed}: {query}: should fail"),
            (Err(err), Ok(_)) => panic!("seed {seed}: {query}: should not fail: {err}"),
        }
    }
    assert!(compared > 0, "nothing was compared");
}
