//! Examples and properties of the parser.

use proptest::prelude::*;

use super::*;
use crate::ast::ValueType;

fn parse_all(input: &str) -> Result<Expr, ParseErrors> {
    parse(input, &Options::all())
}

/// The tree with every operation in parentheses.
fn shape(expr: &Expr) -> String {
    match expr {
        Expr::Number(node) => node.value.to_string(),
        Expr::String(node) => format!("{:?}", node.value),
        Expr::Vector(node) => {
            let offset =
                node.modifiers.offset.as_ref().map(|d| format!(" offset {}", d.ms)).unwrap_or_default();
            let at = node.modifiers.at.map(|at| format!(" @ {at:?}")).unwrap_or_default();
            format!("{}{at}{offset}", node.name.as_deref().unwrap_or("{}"))
        }
        Expr::Matrix(node) => {
            format!("{}[{}]", shape(&Expr::Vector(Box::new(node.selector.clone()))), node.range.ms)
        }
        Expr::Subquery(node) => format!(
            "({})[{}:{}]",
            shape(&node.expr),
            node.range.ms,
            node.step.as_ref().map(|s| s.ms.to_string()).unwrap_or_default()
        ),
        Expr::Call(node) => {
            format!("{}({})", node.function.name, node.args.iter().map(shape).collect::<Vec<_>>().join(", "))
        }
        Expr::Aggregate(node) => format!("{}({})", node.op, shape(&node.expr)),
        Expr::Binary(node) => format!("({} {} {})", shape(&node.lhs), node.op, shape(&node.rhs)),
        Expr::Unary(node) => format!("({}{})", if node.negative { "-" } else { "+" }, shape(&node.expr)),
        Expr::Paren(node) => shape(&node.expr),
        Expr::StepInvariant(inner) => shape(inner),
    }
}

#[test]
fn operators_bind_as_the_manual_says() {
    let cases = [
        ("a + b * c ^ d ^ e", "(a + (b * (c ^ (d ^ e))))"),
        ("a - b - c", "((a - b) - c)"),
        ("a or b and c unless d == e", "(a or ((b and c) unless (d == e)))"),
        ("-2 ^ 2", "(-(2 ^ 2))"),
        ("-2 * 3", "(-2 * 3)"),
        ("2 ^ -1 * 3", "((2 ^ -1) * 3)"),
        ("-a offset 5m", "(-a offset 300000)"),
        ("- -1", "1"),
        ("a offset 2 ^ 2", "(a offset 2000 ^ 2)"),
        ("a offset -2 ^ 2", "(a offset -2000 ^ 2)"),
        ("a offset 1m + 2", "(a offset 60000 + 2)"),
        ("a atan2 b / c % d", "(((a atan2 b) / c) % d)"),
        ("h </ 1 + 2", "(h </ (1 + 2))"),
        ("a[5m:1m] @ 10 offset 1m", "(a)[300000:60000]"),
        ("rate(a[5m])[1h:]", "(rate(a[300000]))[3600000:]"),
        ("a @ start()", "a @ Start"),
        ("a @ -1.5", "a @ Time(Timestamp(-1500))"),
        ("sum by (x) (a) + b", "(sum(a) + b)"),
        ("a + fill(0) b", "(a + b)"),
        ("a + fill", "(a + fill)"),
        ("offset offset 5m", "offset offset 300000"),
        ("start + end", "(start + end)"),
        ("start() + end()", "(start() + end())"),
        ("sum", "sum"),
        ("5m", "300"),
        ("1 == bool 2", "(1 == 2)"),
        ("SUM(a) BY (b)", "sum(a)"),
        ("min_of(1, 2)", "min_of(1, 2)"),
    ];
    for (input, expected) in cases {
        let expr = parse_all(input).unwrap_or_else(|err| panic!("{input}: {err}"));
        assert_eq!(shape(&expr), expected, "{input}");
    }
}

#[test]
fn errors_say_where_and_what() {
    let cases = [
        ("", "unknown position: parse error: no expression found in input"),
        (" # only a comment", "1:1: parse error: no expression found in input"),
        ("a +", "1:4: parse error: unexpected end of input"),
        ("a\n + +)", "2:5: parse error: unexpected right parenthesis ')'"),
        ("sum(a +)", r#"1:8: parse error: unexpected ")" in aggregation"#),
        ("sum by a (b)", r#"1:8: parse error: unexpected identifier "a" in grouping opts, expected "(""#),
        ("sum by (5) (b)", r#"1:9: parse error: unexpected number "5" in grouping opts, expected label"#),
        (
            "sum by (a b) (b)",
            r#"1:11: parse error: unexpected identifier "b" in grouping opts, expected "," or ")""#,
        ),
        ("a{b}", r#"1:4: parse error: unexpected "}" in label matching, expected label matching operator"#),
        ("a{b=c}", r#"1:5: parse error: unexpected identifier "c" in label matching, expected string"#),
        ("a{,}", r#"1:3: parse error: unexpected "," in label matching, expected identifier or "}""#),
        (
            r#"a{b="c" d="e"}"#,
            r#"1:9: parse error: unexpected identifier "d" in label matching, expected "," or "}""#,
        ),
        (
            "a offset b",
            r#"1:10: parse error: unexpected identifier "b" in offset, expected number, duration, step(), or range()"#,
        ),
        ("a @ b", r#"1:5: parse error: unexpected identifier "b" in @, expected timestamp"#),
        (
            "a[]",
            r#"1:3: parse error: unexpected "]" in subquery or range selector, expected number, duration, step(), or range()"#,
        ),
        (
            "a[5m 5m]",
            r#"1:6: parse error: unexpected duration "5m" in subquery or range, expected ":" or "]""#,
        ),
        ("a[0]", "1:3: parse error: duration must be greater than 0"),
        ("a[1m/0]", "1:5: parse error: division by zero"),
        ("(a)[5m]", "1:4: parse error: ranges only allowed for vector selectors"),
        ("a offset 1m [5m]", "1:13: parse error: no offset modifiers allowed before range"),
        ("a @ 1 [5m]", "1:7: parse error: no @ modifiers allowed before range"),
        ("a offset 1m offset 2m", "1:1: parse error: offset may not be set multiple times"),
        ("a @ 1 @ 2", "1:1: parse error: @ <timestamp> may not be set multiple times"),
        (
            "(a) offset 1m",
            "1:1: parse error: offset modifier must be preceded by an instant vector selector or range vector selector or a subquery",
        ),
        ("nope(a)", r#"1:1: parse error: unknown function with name "nope""#),
        (
            "rate(a)",
            r#"1:6: parse error: expected type range vector in call to function "rate", got instant vector"#,
        ),
        ("rate(a[5m], 1)", r#"1:1: parse error: expected 1 argument(s) in call to "rate", got 2"#),
        (
            "label_join(a, \"b\")",
            r#"1:1: parse error: expected at least 3 argument(s) in call to "label_join", got 2"#,
        ),
        ("round(a, 1, 2)", r#"1:1: parse error: expected at most 2 argument(s) in call to "round", got 3"#),
        ("round(a,)", "1:8: parse error: trailing commas not allowed in function call args"),
        ("sum()", "1:1: parse error: no arguments for aggregate expression provided"),
        (
            "topk(a)",
            "1:1: parse error: wrong number of arguments for aggregate expression provided, expected 2, got 1",
        ),
        ("sum(1)", "1:5: parse error: expected type instant vector in aggregation expression, got scalar"),
        ("topk(a, b)", "1:6: parse error: expected type scalar in aggregation parameter, got instant vector"),
        ("1 == 2", "1:3: parse error: comparisons between scalars must use BOOL modifier"),
        ("a + bool b", "1:3: parse error: bool modifier can only be used on comparison operators"),
        ("a + on(x) 1", "1:1: parse error: vector matching only allowed between instant vectors"),
        ("1 and a", r#"1:1: parse error: set operator "and" not allowed in binary scalar expression"#),
        ("a and on(x) group_left b", r#"1:1: parse error: no grouping allowed for "and" operation"#),
        (
            "a + on(x) group_left(x) b",
            r#"1:3: parse error: label "x" must not occur in ON and GROUP clause at once"#,
        ),
        ("a or fill(0) b", "1:1: parse error: filling in missing series not allowed for set operators"),
        (
            "a[5m] + 1",
            "1:1: parse error: binary expression must contain only scalar and instant vector types",
        ),
        (
            "-\"a\"",
            r#"1:1: parse error: unary expression only allowed on expressions of type scalar or instant vector, got "string""#,
        ),
        ("1[5m:]", "1:1: parse error: subquery is only allowed on instant vector, got scalar instead"),
        ("{}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        ("{a=~\".*\"}", "1:1: parse error: vector selector must contain at least one non-empty matcher"),
        (r#"a{__name__="b"}"#, r#"1:1: parse error: metric name must not be set twice: "a" or "b""#),
        ("info(a, b)", "1:9: parse error: expected label selectors only, got vector selector instead"),
        ("a anchored smoothed", "1:1: parse error: anchored and smoothed modifiers cannot be used together"),
        ("1h1h", "1:1: parse error: not a valid duration string: \"1h1h\""),
    ];
    for (input, expected) in cases {
        match parse_all(input) {
            Ok(expr) => panic!("{input} was read as {}", shape(&expr)),
            Err(err) => assert_eq!(err.to_string(), expected, "{input}"),
        }
    }
}

#[test]
fn experimental_parts_are_off_by_default() {
    let cases = [
        ("mad_over_time(a[5m])", r#"function "mad_over_time" is not enabled"#),
        (
            "limitk(1, a)",
            "limitk() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
        ),
        ("a[1m+2m]", "experimental duration expression is not enabled"),
        ("a offset step()", "experimental duration expression is not enabled"),
        ("a[5m] anchored", "anchored modifier is experimental and not enabled"),
        ("a + fill(0) b", "binop fill modifiers are experimental and not enabled"),
    ];
    for (input, message) in cases {
        let err = parse(input, &Options::default()).unwrap_err();
        assert_eq!(err.first().message, message);
        assert!(parse_all(input).is_ok(), "{input}");
    }
}

#[test]
fn selectors_keep_their_matchers() {
    let matchers = |input: &str| -> Vec<String> {
        parse_selector(input, &Options::all()).unwrap().iter().map(|m| m.to_string()).collect()
    };
    assert_eq!(
        matchers(r#"up{job=~"a|b", "x.y"!='z',}"#),
        [r#"job=~"a|b""#, r#""x.y"!="z""#, r#"__name__="up""#]
    );
    assert_eq!(matchers(r#"{"my.metric"}"#), [r#"__name__="my.metric""#]);
    assert_eq!(matchers("{}"), [] as [&str; 0]);
    assert!(parse_selector("up[5m]", &Options::all()).is_err());
    assert!(parse_selector("up{a=~\"(\"}", &Options::all()).is_err());
}

#[test]
fn label_sets_end_where_they_end() {
    let labels = |input: &str| {
        parse_labels(input, &Options::all()).map(|(l, end)| (l.to_string(), input[end..].to_owned()))
    };
    assert_eq!(labels("up{a=\"b\"} 1 2"), Ok((r#"up{a="b"}"#.to_owned(), " 1 2".to_owned())));
    assert_eq!(labels("up 0x1g"), Ok(("up".to_owned(), " 0x1g".to_owned())));
    assert_eq!(labels("{} 5"), Ok(("{}".to_owned(), " 5".to_owned())));
    assert_eq!(labels(r#"{"a.b", c='d'}@st"#), Ok((r#"{"a.b", c="d"}"#.to_owned(), "@st".to_owned())));
    assert!(labels("{a}").is_err() && labels("5").is_err());
}

#[test]
fn spans_cover_what_was_written() {
    let input = "1 + sum by (a) ( rate(x{a=\"b\"}[5m] @ 1 offset 1m) )  ";
    let expr = parse_all(input).unwrap();
    let mut texts = Vec::new();
    expr.walk(&mut |node| {
        let span = node.span();
        texts.push(&input[span.start as usize..span.end as usize]);
    });
    assert_eq!(
        texts,
        [
            "1 + sum by (a) ( rate(x{a=\"b\"}[5m] @ 1 offset 1m) )",
            "1",
            "sum by (a) ( rate(x{a=\"b\"}[5m] @ 1 offset 1m) )",
            "rate(x{a=\"b\"}[5m] @ 1 offset 1m)",
            "x{a=\"b\"}[5m] @ 1 offset 1m",
        ]
    );
}

#[test]
fn types_follow_from_the_parts() {
    for (input, expected) in [
        ("1 + 2", ValueType::Scalar),
        ("a + 2", ValueType::Vector),
        ("-(a[5m:])", ValueType::Matrix),
        ("scalar(a)", ValueType::Scalar),
        ("\"x\"", ValueType::String),
        ("a[5m]", ValueType::Matrix),
    ] {
        if let Ok(expr) = parse_all(input) {
            assert_eq!(expr.value_type(), expected, "{input}");
        }
    }
}

#[test]
fn depth_and_length_are_bounded() {
    let deep = |n: usize| format!("{}a{}", "(".repeat(n), ")".repeat(n));
    let max = Options::all().max_depth;
    assert!(parse_all(&deep(max - 1)).is_ok());
    for input in [
        deep(max + 1),
        deep(300_000),
        "-".repeat(300_000),
        format!("a{}", "[1m:]".repeat(5000)),
        format!("a{}", "+a".repeat(400_000)),
        format!("a[{}1m{}]", "(".repeat(300_000), ")".repeat(300_000)),
        format!("a[1m{}]", "+1m".repeat(300_000)),
        "sum(".repeat(200_000),
    ] {
        let err = parse_all(&input).unwrap_err().to_string();
        assert!(err.contains("max_depth"), "{err}");
    }
    let long = format!("a{}", "+a".repeat(max * MAX_CHAIN - 2));
    assert!(parse_all(&long).is_ok());
    let err = parse_all(&" ".repeat(2 << 20)).unwrap_err().to_string();
    assert!(err.contains("max_query_bytes"), "{err}");
}

/// Texts of expressions, by type: what a grammar-aware user might write.
fn vector() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z_:][a-z0-9_:]{0,4}",
        Just("{\"a.b\", c=~\"d|e.*\"}".to_owned()),
        Just("sum".to_owned()),
        Just("x{y!=\"z\\n\"} @ end()".to_owned()),
        Just("x offset -(step() * 2)".to_owned()),
        Just("x @ -12.345 offset 1w".to_owned()),
    ];
    leaf.prop_recursive(5, 40, 3, |inner| {
        let op = proptest::sample::select(vec![
            "+",
            "-",
            "*",
            "/",
            "%",
            "^",
            "atan2",
            "==",
            "!= bool",
            "<",
            ">= bool",
            "and",
            "or",
            "unless",
            "</",
            ">/",
            "+ on (a)",
            "* ignoring (a, b) group_left (c)",
            "/ on () group_right ()",
            "+ fill (-1.5)",
            "- on (\"a.b\") fill_left (1) fill_right (Inf)",
        ]);
        let aggregate = proptest::sample::select(vec![
            "sum",
            "avg by (a)",
            "count without ()",
            "group by (\"x.y\", z)",
            "max without (a)",
        ]);
        let range = proptest::sample::select(vec![
            "5m",
            "1h30m",
            "500ms",
            "1m + 2m * 3",
            "min_of(step(), 5m)",
            "(1h) - range() % 7",
            "1h:",
            "2m:30s",
            "1h:(1m)",
        ]);
        let scalar = proptest::sample::select(vec![
            "1",
            "-2.5e3",
            "5m",
            "NaN",
            "scalar(a)",
            "(1 + 2)",
            "pi()",
            "0x1f",
        ]);
        prop_oneof![
            (inner.clone(), op, inner.clone()).prop_map(|(a, op, b)| format!("{a} {op} {b}")),
            (inner.clone(), scalar.clone()).prop_map(|(a, s)| format!("{s} * {a} > {s}")),
            inner.clone().prop_map(|a| format!("({a})")),
            inner.clone().prop_map(|a| format!("-{a}")),
            (aggregate, inner.clone()).prop_map(|(op, a)| format!("{op} ({a})")),
            (scalar.clone(), inner.clone()).prop_map(|(k, a)| format!("topk by (b) ({k}, {a})")),
            (range, scalar, inner.clone()).prop_map(|(r, s, a)| match r.contains(':') {
                true => format!("quantile_over_time({s}, ({a})[{r}] @ start())"),
                false => format!("rate(m{{a=\"b\"}}[{r}] offset 5m) + abs({a})"),
            }),
            inner.prop_map(|a| format!("label_replace({a}, \"a\", '$1', `b`, \"\\x41\")")),
        ]
    })
}

/// The tree without positions.
fn without_spans(expr: &Expr) -> String {
    let text = format!("{expr:?}");
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("Span { start: ") {
        out.push_str(before);
        rest = after.split_once('}').map_or("", |(_, tail)| tail);
    }
    out + rest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn what_is_printed_reads_back_the_same(input in vector()) {
        // Some combinations have no meaning (`a and fill (1) b`); those are no subject here.
        let Ok(expr) = parse_all(&input) else { return Ok(()) };
        for printed in [expr.to_string(), crate::print::prettify(&expr)] {
            let again = parse_all(&printed).map_err(|err| TestCaseError::fail(format!("{printed}: {err}")))?;
            prop_assert_eq!(without_spans(&again), without_spans(&expr), "{} printed as {}", input, printed);
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(input in "\\PC{0,60}") {
        if let Err(err) = parse_all(&input) {
            prop_assert!(err.first().span.start as usize <= input.len(), "{err}");
        }
    }

    #[test]
    fn no_sequence_of_words_makes_the_parser_panic(
        words in proptest::collection::vec(
            proptest::sample::select(vec![
                "a", "sum", "by", "on", "(", ")", "[", "]", "{", "}", "5m", "1", ":", ",", "+", "-", "^", "offset",
                "@", "start", "step", "range", "min_of", "fill", "bool", "group_left", "=", "=~", "\"x\"", "'", "`",
                "rate", "and", "</", "anchored", "smoothed", "#", "\n", "0x", "1e", "\\", "é", "info", "inf", "!",
            ]),
            0..25,
        ),
        space in any::<bool>(),
    ) {
        let input = words.join(if space { " " } else { "" });
        if let Err(err) = parse_all(&input) {
            prop_assert!(err.first().span.start as usize <= input.len(), "{err}");
        }
    }
}
