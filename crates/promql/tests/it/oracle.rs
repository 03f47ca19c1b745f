//! The parser against crate `promql-parser`, which follows Prometheus' grammar too.

use promql::{Expr, Options, parse};
use promql_parser::parser as other;

/// The other parser's tree in the notation of [`ours`].
fn theirs(expr: &other::Expr) -> String {
    use other::Expr as E;
    match expr {
        E::NumberLiteral(node) => number(node.val),
        E::StringLiteral(node) => format!("{:?}", node.val),
        E::VectorSelector(node) => format!("selector({})", node.name.as_deref().unwrap_or_default()),
        E::MatrixSelector(node) => {
            format!("range({}, {})", node.vs.name.as_deref().unwrap_or_default(), node.range.as_millis())
        }
        E::Subquery(node) => {
            let step = node.step.map(|step| step.as_millis().to_string()).unwrap_or_default();
            format!("subquery({}, {}, {step})", theirs(&node.expr), node.range.as_millis())
        }
        E::Call(node) => {
            let args: Vec<String> = node.args.args.iter().map(|arg| theirs(arg)).collect();
            format!("{}({})", node.func.name, args.join(", "))
        }
        E::Aggregate(node) => {
            let param = node.param.as_ref().map(|param| theirs(param) + ", ").unwrap_or_default();
            format!("{}({param}{})", node.op, theirs(&node.expr))
        }
        E::Binary(node) => format!("({} {} {})", theirs(&node.lhs), node.op, theirs(&node.rhs)),
        E::Unary(node) => format!("-{}", theirs(&node.expr)),
        E::Paren(node) => format!("[{}]", theirs(&node.expr)),
        E::Extension(_) => "extension".to_owned(),
    }
}

fn ours(expr: &Expr) -> String {
    match expr {
        Expr::Number(node) => number(node.value),
        Expr::String(node) => format!("{:?}", node.value),
        Expr::Vector(node) => format!("selector({})", node.name.as_deref().unwrap_or_default()),
        Expr::Matrix(node) => {
            format!("range({}, {})", node.selector.name.as_deref().unwrap_or_default(), node.range.ms)
        }
        Expr::Subquery(node) => {
            let step = node.step.as_ref().map(|step| step.ms.to_string()).unwrap_or_default();
            format!("subquery({}, {}, {step})", ours(&node.expr), node.range.ms)
        }
        Expr::Call(node) => {
            let args: Vec<String> = node.args.iter().map(ours).collect();
            format!("{}({})", node.function.name, args.join(", "))
        }
        Expr::Aggregate(node) => {
            let param = node.param.as_ref().map(|param| ours(param) + ", ").unwrap_or_default();
            format!("{}({param}{})", node.op, ours(&node.expr))
        }
        Expr::Binary(node) => format!("({} {} {})", ours(&node.lhs), node.op, ours(&node.rhs)),
        // The other tree has no node for a leading plus.
        Expr::Unary(node) => format!("{}{}", if node.negative { "-" } else { "" }, ours(&node.expr)),
        Expr::Paren(node) => format!("[{}]", ours(&node.expr)),
        Expr::StepInvariant(inner) => ours(inner),
    }
}

fn number(value: f64) -> String {
    if value.is_nan() { "NaN".to_owned() } else { format!("{value:?}") }
}

/// What the other parser lacks or reads otherwise.
const LACKS: &[&str] = &[
    "step()",
    "range()",
    "start()",
    "end()",
    "min_of",
    "max_of",
    "smoothed",
    "anchored",
    "</",
    ">/",
    "ts_of_",
    "mad_over",
    "first_over",
    "histogram_quantiles",
    "integral",
    "info(",
    "fill",
    "1_0",
    "start_timestamp",
    "\\xc5",
];

#[test]
fn both_read_the_same_trees() {
    let options = Options::all();
    let mut queries: Vec<String> = EXPRESSIONS.iter().map(|&query| query.to_owned()).collect();
    queries.extend(super::conformance::queries().into_iter().map(|(query, _)| query));
    let (mut compared, mut unread) = (0, Vec::new());
    for query in queries {
        if LACKS.iter().any(|part| query.contains(part)) {
            continue;
        }
        let (mine, other) = (parse(&query, &options), other::parse(&query));
        match (mine, other) {
            (Ok(mine), Ok(other)) => {
                compared += 1;
                assert_eq!(ours(&mine), theirs(&other), "{query}");
            }
            (Ok(_), Err(err)) => unread.push(format!("{query}: {err}")),
            (Err(err), Ok(_)) => panic!("only the other parser reads {query}: {err}"),
            (Err(_), Err(_)) => compared += 1,
        }
    }
    println!("{compared} compared; {} that only we read: {unread:#?}", unread.len());
    assert!(compared >= EXPRESSIONS.len() - 1, "too few expressions are read by both");
}

const EXPRESSIONS: &[&str] = &[
    "1 + 2 * 3 ^ 4 ^ 5 - 6 / 7 % 8 atan2 9",
    "a or b and c unless d == bool e > f",
    "-a ^ 2 * -b",
    "sum by (a, b) (rate(x{y=~\"z.*\", w!=\"\"}[5m] offset 1h))",
    "topk without (a) (5, b) / ignoring (c) group_left (d) e",
    "count_values(\"v\", a) + on () group_right b",
    "histogram_quantile(0.9, sum by (le) (rate(x_bucket[5m])))",
    "max_over_time(rate(a[5m])[1h:1m] @ 100 offset -5m)",
    "(a)",
    "{__name__=~\"a|b\", c=\"d\"}",
    "label_replace(a, \"b\", \"$1\", 'c', `(.*)`)",
    "time() - timestamp(a) > 5 * 60",
    "absent(a{b=\"c\"}) or vector(0)",
    "quantile(0.5, a) == quantile by (x) (NaN, Inf - -Inf)",
    "sum(a) by (b) + avg(c) without (d)",
    "0x1f + 0755 + 1e3 + .5",
    "a[5m:]",
    "a @ 1 + b @ -2.5",
    "rate(a)",
    "sum(1)",
    "a +",
    "a{",
    "a[5m] + 1",
    "1 == 2",
    "foo{a=\"b\"}[5m",
    "sum by a (b)",
];
