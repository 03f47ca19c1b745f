//! Writes expressions: on one line (`Display`), or split over lines ([`prettify`]).
//!
//! What is written reads back as the same tree. The layout is that of Prometheus' `format_query`.

use std::fmt::{self, Display, Formatter, Write};

use model::MatchOp;
use model::duration::PromDuration;
use model::labels::{METRIC_NAME, Quoted, is_legacy_label_name};

use crate::ast::{
    Aggregate, At, Binary, Cardinality, Duration, DurationExpr, Expr, MatrixSelector, Modifiers,
    NumberLiteral, StringLiteral, Subquery, VectorMatching, VectorSelector,
};

/// Longer expressions are split over lines.
const MAX_LINE: usize = 100;

/// Deeper levels are indented no further, so that the text's length stays in proportion.
const MAX_INDENT: usize = 40;

/// The expression with long parts split over lines, two spaces a level.
pub fn prettify(expr: &Expr) -> String {
    let mut out = String::new();
    pretty(expr, 0, &mut out);
    out
}

fn pretty(expr: &Expr, level: usize, out: &mut String) {
    let indent = "  ".repeat(level.min(MAX_INDENT));
    let splits = match expr {
        Expr::Aggregate(_) | Expr::Binary(_) | Expr::Call(_) | Expr::Subquery(_) | Expr::Paren(_) => {
            write!(Room(MAX_LINE), "{expr}").is_err()
        }
        Expr::Unary(_) | Expr::StepInvariant(_) => true,
        _ => false,
    };
    if !splits {
        out.push_str(&format!("{indent}{expr}"));
        return;
    }
    match expr {
        Expr::Aggregate(node) => {
            out.push_str(&format!("{indent}{}(\n", Operator(node)));
            if let Some(param) = &node.param {
                pretty(param, level + 1, out);
                out.push_str(",\n");
            }
            pretty(&node.expr, level + 1, out);
            out.push_str(&format!("\n{indent})"));
        }
        Expr::Binary(node) => {
            pretty(&node.lhs, level + 1, out);
            out.push_str(&format!("\n{indent}{}\n", BinaryOperator(node)));
            pretty(&node.rhs, level + 1, out);
        }
        Expr::Call(node) => {
            out.push_str(&format!("{indent}{}(\n", node.function.name));
            for (index, arg) in node.args.iter().enumerate() {
                if index > 0 {
                    out.push_str(",\n");
                }
                pretty(arg, level + 1, out);
            }
            out.push_str(&format!("\n{indent})"));
        }
        Expr::Subquery(node) => {
            pretty(&node.expr, level, out);
            out.push_str(&SubqueryRange(node).to_string());
        }
        Expr::Paren(node) => {
            out.push_str(&format!("{indent}(\n"));
            pretty(&node.expr, level + 1, out);
            out.push_str(&format!("\n{indent})"));
        }
        Expr::Unary(node) => {
            out.push_str(&indent);
            out.push(if node.negative { '-' } else { '+' });
            let mut operand = String::new();
            pretty(&node.expr, level, &mut operand);
            out.push_str(operand.trim_start());
        }
        Expr::StepInvariant(inner) => pretty(inner, level, out),
        _ => unreachable!("other expressions are not split"),
    }
}

/// Takes this many bytes and refuses more.
struct Room(usize);

impl Write for Room {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(fmt::Error)?;
        Ok(())
    }
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(node) => node.fmt(f),
            Self::String(node) => node.fmt(f),
            Self::Vector(node) => node.fmt(f),
            Self::Matrix(node) => node.fmt(f),
            Self::Subquery(node) => write!(f, "{}{}", node.expr, SubqueryRange(node)),
            Self::Call(node) => {
                write!(f, "{}(", node.function.name)?;
                for (index, arg) in node.args.iter().enumerate() {
                    if index > 0 {
                        f.write_str(", ")?;
                    }
                    arg.fmt(f)?;
                }
                f.write_str(")")
            }
            Self::Aggregate(node) => {
                write!(f, "{}(", Operator(node))?;
                if let Some(param) = &node.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", node.expr)
            }
            Self::Binary(node) => write!(f, "{} {} {}", node.lhs, BinaryOperator(node), node.rhs),
            Self::Unary(node) => write!(f, "{}{}", if node.negative { "-" } else { "+" }, node.expr),
            Self::Paren(node) => write!(f, "({})", node.expr),
            Self::StepInvariant(inner) => inner.fmt(f),
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let ms = self.value.abs() * 1000.0;
        if self.is_duration && ms.fract() == 0.0 && ms < i64::MAX as f64 {
            let sign = if self.value.is_sign_negative() && self.value != 0.0 { "-" } else { "" };
            return write!(f, "{sign}{}", PromDuration(ms as i64));
        }
        number(self.value, f)
    }
}

/// A number in decimal digits, `+Inf`, `-Inf` or `NaN`.
pub(crate) fn number(value: f64, f: &mut Formatter<'_>) -> fmt::Result {
    match value {
        f64::INFINITY => f.write_str("+Inf"),
        f64::NEG_INFINITY => f.write_str("-Inf"),
        value => write!(f, "{value}"),
    }
}

impl Display for StringLiteral {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Some(bytes) = &self.not_utf8 else { return Quoted(&self.value).fmt(f) };
        f.write_str("\"")?;
        for chunk in bytes.utf8_chunks() {
            let quoted = Quoted(chunk.valid()).to_string();
            f.write_str(&quoted[1..quoted.len() - 1])?;
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str("\"")
    }
}

/// A selector without `@` and `offset`.
struct Bare<'a>(&'a VectorSelector);

impl Display for Bare<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = self.0;
        let name = selector.name.as_deref().unwrap_or_default();
        f.write_str(name)?;
        let outside = |matcher: &model::Matcher| {
            matcher.name() == METRIC_NAME && matcher.op() == MatchOp::Equal && matcher.value() == name
        };
        let mut matchers: Vec<String> = selector
            .matchers
            .iter()
            .filter(|matcher| name.is_empty() || !outside(matcher))
            .map(ToString::to_string)
            .collect();
        if matchers.is_empty() && !name.is_empty() {
            return Ok(());
        }
        matchers.sort();
        write!(f, "{{{}}}", matchers.join(","))
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", Bare(self), Extended(self), self.modifiers)
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let selector = &self.selector;
        write!(f, "{}[{}]{}{}", Bare(selector), self.range, Extended(selector), selector.modifiers)
    }
}

struct Extended<'a>(&'a VectorSelector);

impl Display for Extended<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.extend {
            Some(extend) => write!(f, " {}", extend.as_str()),
            None => Ok(()),
        }
    }
}

impl Display for Modifiers {
    /// With a space before each.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.at {
            None => {}
            Some(At::Time(time)) => {
                let (sign, ms) = (if time.ms() < 0 { "-" } else { "" }, time.ms().unsigned_abs());
                write!(f, " @ {sign}{}.{:03}", ms / 1000, ms % 1000)?;
            }
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
        }
        match &self.offset {
            Some(Duration { expr: DurationExpr::Literal(_), ms: 0 }) | None => Ok(()),
            Some(offset) => write!(f, " offset {offset}"),
        }
    }
}

struct SubqueryRange<'a>(&'a Subquery);

impl Display for SubqueryRange<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:", self.0.range)?;
        if let Some(step) = &self.0.step {
            step.fmt(f)?;
        }
        write!(f, "]{}", self.0.modifiers)
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.expr {
            DurationExpr::Literal(number) if self.ms == 0 && number.value != 0.0 => self.expr.fmt(f),
            DurationExpr::Literal(_) => {
                let sign = if self.ms < 0 { "-" } else { "" };
                write!(f, "{sign}{}", PromDuration(self.ms.saturating_abs()))
            }
            expr => expr.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(number) => number.fmt(f),
            Self::Step(_) => f.write_str("step()"),
            Self::Range(_) => f.write_str("range()"),
            Self::Negative(inner, _) => write!(f, "-{inner}"),
            Self::Binary(node) => write!(f, "{} {} {}", node.lhs, node.op, node.rhs),
            Self::MinMax(node) => {
                write!(f, "{}({}, {})", if node.is_min { "min_of" } else { "max_of" }, node.lhs, node.rhs)
            }
            Self::Paren(inner, _) => write!(f, "({inner})"),
        }
    }
}

/// An aggregation's operator with `by` or `without`.
struct Operator<'a>(&'a Aggregate);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let node = self.0;
        node.op.fmt(f)?;
        match (node.without, node.grouping.is_empty()) {
            (true, _) => write!(f, " without ({}) ", LabelNames(&node.grouping)),
            (false, false) => write!(f, " by ({}) ", LabelNames(&node.grouping)),
            (false, true) => Ok(()),
        }
    }
}

/// A binary operator with everything that may stand behind it.
struct BinaryOperator<'a>(&'a Binary);

impl Display for BinaryOperator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let node = self.0;
        node.op.fmt(f)?;
        if node.return_bool {
            f.write_str(" bool")?;
        }
        node.matching.as_ref().map_or(Ok(()), |matching| matching.fmt(f))
    }
}

impl Display for VectorMatching {
    /// With a space before each part.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let group = match self.cardinality {
            Cardinality::ManyToOne => Some("group_left"),
            Cardinality::OneToMany => Some("group_right"),
            Cardinality::OneToOne | Cardinality::ManyToMany => None,
        };
        if self.on || !self.labels.is_empty() || group.is_some() {
            write!(f, " {} ({})", if self.on { "on" } else { "ignoring" }, LabelNames(&self.labels))?;
        }
        if let Some(group) = group {
            write!(f, " {group} ({})", LabelNames(&self.include))?;
        }
        let mut fill = |word: &str, value: f64| -> fmt::Result {
            write!(f, " {word} (")?;
            number(value, f)?;
            f.write_str(")")
        };
        let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
        match (self.fill_left, self.fill_right) {
            (Some(left), Some(right)) if same(left, right) => fill("fill", left),
            (left, right) => {
                left.map_or(Ok(()), |left| fill("fill_left", left))?;
                right.map_or(Ok(()), |right| fill("fill_right", right))
            }
        }
    }
}

struct LabelNames<'a>(&'a [String]);

impl Display for LabelNames<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            match is_legacy_label_name(name) {
                true => f.write_str(name)?,
                false => Quoted(name).fmt(f)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;
    use crate::parser::parse;

    fn print(input: &str) -> String {
        parse(input, &Options::all()).unwrap_or_else(|err| panic!("{input}: {err}")).to_string()
    }

    #[test]
    fn expressions_are_written_in_one_way() {
        let cases = [
            ("sum(a)by(b,c)", "sum by (b, c) (a)"),
            ("SUM without() (a)", "sum without () (a)"),
            ("sum by () (a)", "sum(a)"),
            ("topk(5,a)", "topk(5, a)"),
            ("a{z='1',b=~`x`}", r#"a{b=~"x",z="1"}"#),
            (r#"{"a.b", "c d"!="e"}"#, r#"{"c d"!="e",__name__="a.b"}"#),
            ("sum by (\"a.b\") (x)", r#"sum by ("a.b") (x)"#),
            ("a[90s:] offset -90 @ 1.5", "a[1m30s:] @ 1.500 offset -1m30s"),
            ("a[5m] @ start() smoothed", "a[5m] smoothed @ start()"),
            ("a @ -1", "a @ -1.000"),
            ("a>bool b", "a > bool b"),
            ("a*on(x)group_left()b", "a * on (x) group_left () b"),
            ("a*ignoring()group_right(y)b", "a * ignoring () group_right (y) b"),
            ("a + fill_left(1) fill_right(2) b", "a + fill_left (1) fill_right (2) b"),
            ("a + fill(-0.5) b", "a + fill (-0.5) b"),
            ("1e3 + 0x10 - Inf", "1000 + 16 - +Inf"),
            ("1h30m + 1", "1h30m + 1"),
            ("-a ^ 2", "-a ^ 2"),
            ("a[min_of(step()*2,1h)-(3)]", "a[min_of(step() * 2, 1h) - (3)]"),
            ("a offset -(1m+2)", "a offset -(1m + 2)"),
            ("label_replace(a, \"\\xff\\n\", `b`, 'c', 'd')", r#"label_replace(a, "\xff\n", "b", "c", "d")"#),
        ];
        for (input, expected) in &cases {
            assert_eq!(print(input), *expected, "{input}");
            assert_eq!(print(expected), *expected, "{input}");
        }
    }

    #[test]
    fn long_expressions_are_split() {
        let long = "x".repeat(60);
        let pretty = |input: &str| prettify(&parse(input, &Options::all()).unwrap());
        assert_eq!(pretty("sum(a)+b"), "sum(a) + b");
        assert_eq!(
            pretty(
                &format!("topk by (a) (5, -rate(({long} or {long})[5m:]) > bool on (y) 1{long})")
                    .replace("> bool on (y) 1", "> bool on (y) c")
            ),
            format!(
                "topk by (a) (\n  5,\n    -rate(\n      (\n          {long}\n        or\n          {long}\n      )[5m:]\n    )\n  > bool on (y)\n    c{long}\n)"
            )
        );
    }
}
