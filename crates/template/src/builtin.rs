//! Go's built-in template functions, but for `and`, `or` and `call`, which the evaluator does itself.

use std::cmp::Ordering;

use crate::gofmt;
use crate::html::{escape_html, escape_js, escape_query};
use crate::value::Value;

/// Everything that can be called without being added.
pub(crate) const NAMES: [&str; 19] = [
    "and", "or", "not", "call", "len", "index", "slice", "print", "printf", "println", "html", "js",
    "urlquery", "eq", "ne", "lt", "le", "gt", "ge",
];

/// Why a call came to nothing.
pub(crate) enum Refused {
    /// A result would be longer than allowed.
    TooLong,
    /// The number or types of the arguments do not fit.
    Count(String),
    /// The function failed.
    Error(String),
    /// There is no such function.
    Unknown,
}

impl From<String> for Refused {
    fn from(message: String) -> Self {
        Self::Error(message)
    }
}

impl From<gofmt::TooLong> for Refused {
    fn from(_: gofmt::TooLong) -> Self {
        Self::TooLong
    }
}

pub(crate) fn call(name: &str, args: &[Value], max_bytes: usize) -> Result<Value, Refused> {
    let at_least = |wanted: usize| {
        if args.len() < wanted {
            let given = args.len();
            return Err(Refused::Count(format!(
                "wrong number of args for {name}: want at least {wanted} got {given}"
            )));
        }
        Ok(())
    };
    let exactly = |wanted: usize| {
        if args.len() != wanted {
            let given = args.len();
            return Err(Refused::Count(format!(
                "wrong number of args for {name}: want {wanted} got {given}"
            )));
        }
        Ok(())
    };
    let text = || match args {
        [Value::String(text)] => Ok(text.to_string()),
        _ => gofmt::sprint(args, max_bytes),
    };
    match name {
        "not" => {
            exactly(1)?;
            Ok(Value::Bool(!args[0].truth()))
        }
        "len" => {
            exactly(1)?;
            Ok(Value::Int(len(&args[0])? as i64))
        }
        "index" => {
            at_least(1)?;
            Ok(index(&args[0], &args[1..])?)
        }
        "slice" => {
            at_least(1)?;
            Ok(slice(&args[0], &args[1..])?)
        }
        "print" => Ok(gofmt::sprint(args, max_bytes)?.into()),
        "println" => Ok(gofmt::sprintln(args, max_bytes)?.into()),
        "printf" => {
            at_least(1)?;
            let Value::String(format) = &args[0] else {
                let given = args[0].type_name();
                return Err(Refused::Count(match args[0] {
                    Value::Nil => "invalid value; expected string".to_owned(),
                    _ => format!("wrong type for value; expected string; got {given}"),
                }));
            };
            Ok(gofmt::sprintf(format, &args[1..], max_bytes)?.into())
        }
        "html" => Ok(escape_html(&text()?).into()),
        "js" => Ok(escape_js(&text()?).into()),
        "urlquery" => Ok(escape_query(&text()?).into()),
        "eq" => {
            at_least(1)?;
            Ok(Value::Bool(eq(&args[0], &args[1..])?))
        }
        "ne" => {
            exactly(2)?;
            Ok(Value::Bool(!eq(&args[0], &args[1..])?))
        }
        "lt" | "le" | "gt" | "ge" => {
            exactly(2)?;
            let order = compare(&args[0], &args[1])?;
            let holds = match name {
                "lt" => order == Some(Ordering::Less),
                "le" => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                // Go defines these by the other two, so that they hold for NaN.
                "gt" => !matches!(order, Some(Ordering::Less | Ordering::Equal)),
                _ => order != Some(Ordering::Less),
            };
            Ok(Value::Bool(holds))
        }
        _ => Err(Refused::Unknown),
    }
}

fn len(value: &Value) -> Result<usize, String> {
    match value.underlying() {
        Value::String(text) => Ok(text.len()),
        Value::List(items) => Ok(items.len()),
        Value::Map(map) => Ok(map.entries.len()),
        Value::Nil => Err("len of nil pointer".to_owned()),
        _ => Err(format!("len of type {}", value.type_name())),
    }
}

fn index(value: &Value, keys: &[Value]) -> Result<Value, String> {
    let mut value = value.clone();
    for key in keys {
        value = match (value.underlying(), key) {
            (Value::Nil, _) => return Err("index of untyped nil".to_owned()),
            (Value::List(items), key) => items
                [position(key, items.len().saturating_sub(1), "index")?.min(items.len())..]
                .first()
                .cloned()
                .ok_or_else(|| format!("index out of range: {key}"))?,
            (Value::String(text), key) => {
                let at = position(key, text.len().saturating_sub(1), "index")?;
                let byte = text.as_bytes().get(at).ok_or_else(|| format!("index out of range: {key}"))?;
                Value::Int(i64::from(*byte))
            }
            (Value::Map(map), Value::String(key)) => match map.entries.get(&**key) {
                Some(value) => value.clone(),
                None if map.of_strings => Value::from(""),
                None => Value::Nil,
            },
            (Value::Map(_), Value::Nil) => {
                return Err("value is nil; should be of type string".to_owned());
            }
            (Value::Map(_), key) => {
                return Err(format!("value has type {}; should be string", key.type_name()));
            }
            _ => return Err(format!("can't index item of type {}", value.type_name())),
        };
    }
    Ok(value)
}

/// An integer argument that may be at most `max`.
fn position(key: &Value, max: usize, verb: &str) -> Result<usize, String> {
    match key {
        Value::Int(at) => match usize::try_from(*at) {
            Ok(at) if at <= max => Ok(at),
            _ => Err(format!("index out of range: {at}")),
        },
        Value::Nil => Err(format!("cannot {verb} slice/array with nil")),
        _ => Err(format!("cannot {verb} slice/array with type {}", key.type_name())),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let inner = value.underlying();
    let len = match &inner {
        Value::String(text) => text.len(),
        Value::List(items) => items.len(),
        Value::Nil => return Err("slice of untyped nil".to_owned()),
        _ => return Err(format!("can't slice item of type {}", value.type_name())),
    };
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    if bounds.len() == 3 && matches!(inner, Value::String(_)) {
        return Err("cannot 3-index slice a string".to_owned());
    }
    let start = bounds.first().map_or(Ok(0), |at| position(at, len, "slice"))?;
    let end = bounds.get(1).map_or(Ok(len), |at| position(at, len, "slice"))?;
    if let Some(at) = bounds.get(2)
        && end > position(at, len, "slice")?
    {
        return Err(format!("invalid slice index: {end} > {at}"));
    }
    if start > end {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    Ok(match inner {
        Value::String(text) => String::from_utf8_lossy(&text.as_bytes()[start..end]).into_owned().into(),
        Value::List(items) => Value::list(items[start..end].iter().cloned()),
        _ => Value::Nil,
    })
}

fn eq(first: &Value, others: &[Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".to_owned());
    }
    let left = first.underlying();
    for other in others {
        let equal = match (&left, &other.underlying()) {
            (Value::Nil, Value::Nil) => true,
            (Value::Nil, _) | (_, Value::Nil) => false,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b,
            (Value::String(a), Value::String(b)) => a == b,
            (Value::List(_) | Value::Map(_) | Value::Function(_), _) => {
                return Err(format!("non-comparable type {first}: {}", first.type_name()));
            }
            (_, Value::List(_) | Value::Map(_) | Value::Function(_)) => {
                return Err(format!("non-comparable type {other}: {}", other.type_name()));
            }
            (Value::Object(_), Value::Object(_)) => match (first, other) {
                // Instants are the same when they are the same instant.
                (Value::Object(object), _) => match object.call("Equal", std::slice::from_ref(other)) {
                    Some(Ok(Value::Bool(same))) => same,
                    _ => first.to_string() == other.to_string() && first.type_name() == other.type_name(),
                },
                _ => false,
            },
            _ => return Err("incompatible types for comparison".to_owned()),
        };
        if equal {
            return Ok(true);
        }
    }
    Ok(false)
}

fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (&a.underlying(), &b.underlying()) {
        (Value::Int(a), Value::Int(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::String(a), Value::String(b)) => Ok(Some(a.cmp(b))),
        (
            Value::Int(_) | Value::Float(_) | Value::String(_) | Value::Bool(_),
            Value::Int(_) | Value::Float(_) | Value::String(_) | Value::Bool(_),
        ) if std::mem::discriminant(&a.underlying()) != std::mem::discriminant(&b.underlying()) => {
            Err("incompatible types for comparison".to_owned())
        }
        _ => Err("invalid type for comparison".to_owned()),
    }
}
