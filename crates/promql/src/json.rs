//! Expressions as JSON, in the shape of Prometheus' `/api/v1/parse_query`.
//!
//! Source: prometheus `web/api/v1/translate_ast.go`. Durations and times are milliseconds. Duration expressions hold what
//! they hold at the time: 0 before [`Expr::resolve`].

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::ast::{At, Duration, Expr, Extend, Modifiers, ValueType, VectorMatching, VectorSelector};
use crate::functions::Function;

impl Serialize for Expr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Self::StepInvariant(inner) = self {
            return inner.serialize(serializer);
        }
        let mut map = serializer.serialize_map(None)?;
        let kind = match self {
            Self::Number(_) => "numberLiteral",
            Self::String(_) => "stringLiteral",
            Self::Vector(_) => "vectorSelector",
            Self::Matrix(_) => "matrixSelector",
            Self::Subquery(_) => "subquery",
            Self::Call(_) => "call",
            Self::Aggregate(_) => "aggregation",
            Self::Binary(_) => "binaryExpr",
            Self::Unary(_) => "unaryExpr",
            Self::Paren(_) | Self::StepInvariant(_) => "parenExpr",
        };
        map.serialize_entry("type", kind)?;
        match self {
            Self::Number(node) => map.serialize_entry("val", &Digits(node.value))?,
            Self::String(node) => map.serialize_entry("val", &node.value)?,
            Self::Vector(node) => selector(&mut map, node)?,
            Self::Matrix(node) => {
                map.serialize_entry("range", &node.range.ms)?;
                selector(&mut map, &node.selector)?;
            }
            Self::Subquery(node) => {
                map.serialize_entry("expr", &node.expr)?;
                map.serialize_entry("range", &node.range.ms)?;
                map.serialize_entry("step", &node.step.as_ref().map_or(0, |step: &Duration| step.ms))?;
                modifiers(&mut map, &node.modifiers)?;
            }
            Self::Call(node) => {
                map.serialize_entry("func", node.function)?;
                map.serialize_entry("args", &node.args)?;
            }
            Self::Aggregate(node) => {
                map.serialize_entry("op", node.op.as_str())?;
                map.serialize_entry("expr", &node.expr)?;
                map.serialize_entry("param", &node.param)?;
                map.serialize_entry("grouping", &node.grouping)?;
                map.serialize_entry("without", &node.without)?;
            }
            Self::Binary(node) => {
                map.serialize_entry("op", node.op.as_str())?;
                map.serialize_entry("lhs", &node.lhs)?;
                map.serialize_entry("rhs", &node.rhs)?;
                map.serialize_entry("matching", &node.matching)?;
                map.serialize_entry("bool", &node.return_bool)?;
            }
            Self::Unary(node) => {
                map.serialize_entry("op", if node.negative { "-" } else { "+" })?;
                map.serialize_entry("expr", &node.expr)?;
            }
            Self::Paren(node) => map.serialize_entry("expr", &node.expr)?,
            Self::StepInvariant(_) => {}
        }
        map.end()
    }
}

/// The fields that both kinds of selector have.
fn selector<M: SerializeMap>(map: &mut M, selector: &VectorSelector) -> Result<(), M::Error> {
    #[derive(Serialize)]
    struct Matcher<'a> {
        name: &'a str,
        value: &'a str,
        #[serde(rename = "type")]
        op: &'a str,
    }
    let matchers: Vec<Matcher<'_>> = selector
        .matchers
        .iter()
        .map(|matcher| Matcher { name: matcher.name(), value: matcher.value(), op: matcher.op().as_str() })
        .collect();
    map.serialize_entry("name", selector.name.as_deref().unwrap_or_default())?;
    map.serialize_entry("matchers", &matchers)?;
    map.serialize_entry("anchored", &(selector.extend == Some(Extend::Anchored)))?;
    map.serialize_entry("smoothed", &(selector.extend == Some(Extend::Smoothed)))?;
    modifiers(map, &selector.modifiers)
}

fn modifiers<M: SerializeMap>(map: &mut M, modifiers: &Modifiers) -> Result<(), M::Error> {
    let (timestamp, word) = match modifiers.at {
        None => (None, None),
        Some(At::Time(time)) => (Some(time.ms()), None),
        Some(At::Start) => (None, Some("start")),
        Some(At::End) => (None, Some("end")),
    };
    map.serialize_entry("offset", &modifiers.offset_ms())?;
    map.serialize_entry("timestamp", &timestamp)?;
    map.serialize_entry("startOrEnd", &word)
}

/// A number as a text, because JSON has no infinities.
struct Digits(f64);

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl std::fmt::Display for Digits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::print::number(self.0, f)
    }
}

impl Serialize for VectorMatching {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Fill {
            lhs: Option<f64>,
            rhs: Option<f64>,
        }
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("card", self.cardinality.as_str())?;
        map.serialize_entry("labels", &self.labels)?;
        map.serialize_entry("on", &self.on)?;
        map.serialize_entry("include", &self.include)?;
        map.serialize_entry("fillValues", &Fill { lhs: self.fill_left, rhs: self.fill_right })?;
        map.end()
    }
}

impl Serialize for ValueType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Serialize for Function {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.name)?;
        map.serialize_entry("argTypes", self.args)?;
        map.serialize_entry("variadic", &self.variadic)?;
        map.serialize_entry("returnType", &self.returns)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::options::Options;
    use crate::parser::parse;

    fn ast(input: &str) -> Value {
        serde_json::to_value(parse(input, &Options::all()).unwrap()).unwrap()
    }

    #[test]
    fn the_shape_is_that_of_parse_query() {
        assert_eq!(
            ast("sum by (a) (rate(x{b!=\"c\"}[5m] @ 1.5 offset 1m)) > bool 2"),
            json!({
                "type": "binaryExpr",
                "op": ">",
                "bool": true,
                "matching": null,
                "rhs": {"type": "numberLiteral", "val": "2"},
                "lhs": {
                    "type": "aggregation",
                    "op": "sum",
                    "param": null,
                    "grouping": ["a"],
                    "without": false,
                    "expr": {
                        "type": "call",
                        "func": {"name": "rate", "argTypes": ["matrix"], "variadic": 0, "returnType": "vector"},
                        "args": [{
                            "type": "matrixSelector",
                            "name": "x",
                            "range": 300_000,
                            "offset": 60_000,
                            "timestamp": 1500,
                            "startOrEnd": null,
                            "anchored": false,
                            "smoothed": false,
                            "matchers": [
                                {"name": "b", "value": "c", "type": "!="},
                                {"name": "__name__", "value": "x", "type": "="}
                            ]
                        }]
                    }
                }
            })
        );
        assert_eq!(
            ast("a * on (x) group_left (y) fill_right (0) b")["matching"],
            json!({
                "card": "many-to-one", "labels": ["x"], "on": true, "include": ["y"],
                "fillValues": {"lhs": null, "rhs": 0.0}
            })
        );
        assert_eq!(ast("-(a)")["type"], "unaryExpr");
        assert_eq!(ast("a[1h:5m] @ end()")["startOrEnd"], "end");
        assert_eq!(ast("Inf")["val"], "+Inf");
        assert_eq!(ast("\"x\""), json!({"type": "stringLiteral", "val": "x"}));
    }
}
