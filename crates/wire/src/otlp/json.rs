//! OTLP/JSON, rewritten as the protobuf message that it stands for, so that there is one decoder.
//!
//! Source: the OpenTelemetry protocol, "JSON Protobuf Encoding": names in lowerCamelCase, trace and span ids in hexadecimal, 64-bit
//! integers as texts or numbers, enums as numbers, unknown fields ignored.

use serde_json::{Map, Value};

use crate::proto::Writer;

/// Rewrites an `ExportMetricsServiceRequest`.
///
/// # Errors
/// In words, with the field's path: what is no JSON, or of another type than its field.
pub fn to_protobuf(body: &[u8]) -> Result<Vec<u8>, String> {
    let value: Value = serde_json::from_slice(body).map_err(|err| format!("the body is no JSON: {err}"))?;
    let root = Place { name: "the request", up: None };
    let mut out = Writer::default();
    let request = object(&value, &root)?;
    each(request, "resourceMetrics", &root, |item, at| {
        out.message(1, |out| resource_metrics(out, object(item, at)?, at))
    })?;
    Ok(out.0)
}

/// Where in the message we are, for errors.
#[derive(Clone, Copy)]
struct Place<'p> {
    name: &'p str,
    up: Option<&'p Place<'p>>,
}

impl Place<'_> {
    fn wrong(&self, expected: &str, got: &Value) -> String {
        let mut names = vec![self.name];
        let mut at = self.up;
        while let Some(place) = at {
            names.push(place.name);
            at = place.up;
        }
        // The root's name is for its own errors only.
        if names.len() > 1 {
            names.pop();
        }
        names.reverse();
        let mut shown = got.to_string();
        if let Some((end, _)) = shown.char_indices().nth(40) {
            shown.truncate(end);
        }
        format!("{}: expected {expected}, got {shown}", names.join("."))
    }
}

type Object = Map<String, Value>;

fn object<'v>(value: &'v Value, at: &Place<'_>) -> Result<&'v Object, String> {
    value.as_object().ok_or_else(|| at.wrong("an object", value))
}

/// Calls `work` with a field that is there and not null.
fn with<'v>(
    object: &'v Object,
    name: &str,
    up: &Place<'_>,
    work: impl FnOnce(&'v Value, &Place<'_>) -> Result<(), String>,
) -> Result<(), String> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(value) => work(value, &Place { name, up: Some(up) }),
    }
}

/// Calls `work` for each item of a list.
fn each<'v>(
    object: &'v Object,
    name: &str,
    up: &Place<'_>,
    mut work: impl FnMut(&'v Value, &Place<'_>) -> Result<(), String>,
) -> Result<(), String> {
    with(object, name, up, |value, at| match value.as_array() {
        Some(items) => items.iter().try_for_each(|item| work(item, at)),
        None => Err(at.wrong("a list", value)),
    })
}

fn text(out: &mut Writer, number: u64, object: &Object, name: &str, up: &Place<'_>) -> Result<(), String> {
    with(object, name, up, |value, at| {
        let text = value.as_str().ok_or_else(|| at.wrong("a text", value))?;
        out.bytes(number, text.as_bytes());
        Ok(())
    })
}

fn as_u64(value: &Value, at: &Place<'_>) -> Result<u64, String> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        // 1e3 and 5.0 are integers too.
        _ => value
            .as_u64()
            .or_else(|| value.as_f64().filter(|f| f.fract() == 0.0 && *f >= 0.0).map(|f| f as u64)),
    };
    number.ok_or_else(|| at.wrong("an integer that is not negative", value))
}

fn as_i64(value: &Value, at: &Place<'_>) -> Result<i64, String> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        _ => value.as_i64().or_else(|| value.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64)),
    };
    number.ok_or_else(|| at.wrong("an integer", value))
}

fn as_f64(value: &Value, at: &Place<'_>) -> Result<f64, String> {
    let number = match value {
        Value::String(text) => match text.as_str() {
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            "NaN" => Some(f64::from_bits(model::sample::NORMAL_NAN)),
            text => text.parse().ok(),
        },
        _ => value.as_f64(),
    };
    number.ok_or_else(|| at.wrong("a number", value))
}

fn fixed(out: &mut Writer, number: u64, object: &Object, name: &str, up: &Place<'_>) -> Result<(), String> {
    with(object, name, up, |value, at| {
        out.fixed64(number, as_u64(value, at)?);
        Ok(())
    })
}

fn double(out: &mut Writer, number: u64, object: &Object, name: &str, up: &Place<'_>) -> Result<(), String> {
    with(object, name, up, |value, at| {
        out.double(number, as_f64(value, at)?);
        Ok(())
    })
}

fn varint(out: &mut Writer, number: u64, object: &Object, name: &str, up: &Place<'_>) -> Result<(), String> {
    with(object, name, up, |value, at| {
        out.varint(number, as_u64(value, at)?);
        Ok(())
    })
}

fn sint(out: &mut Writer, number: u64, object: &Object, name: &str, up: &Place<'_>) -> Result<(), String> {
    with(object, name, up, |value, at| {
        out.sint(number, as_i64(value, at)?);
        Ok(())
    })
}

fn attributes(
    out: &mut Writer,
    number: u64,
    object: &Object,
    name: &str,
    up: &Place<'_>,
) -> Result<(), String> {
    each(object, name, up, |item, at| out.message(number, |out| key_value(out, self::object(item, at)?, at)))
}

fn key_value(out: &mut Writer, pair: &Object, at: &Place<'_>) -> Result<(), String> {
    text(out, 1, pair, "key", at)?;
    with(pair, "value", at, |value, at| out.message(2, |out| any(out, object(value, at)?, at)))
}

/// The JSON parser bounds how deep this goes.
fn any(out: &mut Writer, value: &Object, at: &Place<'_>) -> Result<(), String> {
    text(out, 1, value, "stringValue", at)?;
    with(value, "boolValue", at, |value, at| {
        out.varint(2, u64::from(value.as_bool().ok_or_else(|| at.wrong("true or false", value))?));
        Ok(())
    })?;
    with(value, "intValue", at, |value, at| {
        out.varint(3, as_i64(value, at)? as u64);
        Ok(())
    })?;
    double(out, 4, value, "doubleValue", at)?;
    with(value, "arrayValue", at, |value, at| {
        out.message(5, |out| {
            each(object(value, at)?, "values", at, |item, at| {
                out.message(1, |out| any(out, object(item, at)?, at))
            })
        })
    })?;
    with(value, "kvlistValue", at, |value, at| {
        out.message(6, |out| attributes(out, 1, object(value, at)?, "values", at))
    })?;
    with(value, "bytesValue", at, |value, at| {
        let bytes = value.as_str().and_then(from_base64).ok_or_else(|| at.wrong("base64", value))?;
        out.bytes(7, &bytes);
        Ok(())
    })
}

fn resource_metrics(out: &mut Writer, one: &Object, at: &Place<'_>) -> Result<(), String> {
    with(one, "resource", at, |value, at| {
        out.message(1, |out| attributes(out, 1, object(value, at)?, "attributes", at))
    })?;
    each(one, "scopeMetrics", at, |item, at| {
        out.message(2, |out| scope_metrics(out, object(item, at)?, at))
    })?;
    text(out, 3, one, "schemaUrl", at)
}

fn scope_metrics(out: &mut Writer, one: &Object, at: &Place<'_>) -> Result<(), String> {
    with(one, "scope", at, |value, at| {
        let scope = object(value, at)?;
        out.message(1, |out| {
            text(out, 1, scope, "name", at)?;
            text(out, 2, scope, "version", at)?;
            attributes(out, 3, scope, "attributes", at)
        })
    })?;
    each(one, "metrics", at, |item, at| out.message(2, |out| metric(out, object(item, at)?, at)))?;
    text(out, 3, one, "schemaUrl", at)
}

fn metric(out: &mut Writer, one: &Object, at: &Place<'_>) -> Result<(), String> {
    text(out, 1, one, "name", at)?;
    text(out, 2, one, "description", at)?;
    text(out, 3, one, "unit", at)?;
    type PointWriter = fn(&mut Writer, &Object, &Place<'_>) -> Result<(), String>;
    let forms: [(u64, &str, PointWriter); 5] = [
        (5, "gauge", number_point),
        (7, "sum", number_point),
        (9, "histogram", histogram_point),
        (10, "exponentialHistogram", exponential_point),
        (11, "summary", summary_point),
    ];
    for (number, name, point) in forms {
        with(one, name, at, |value, at| {
            let data = object(value, at)?;
            out.message(number, |out| {
                each(data, "dataPoints", at, |item, at| {
                    out.message(1, |out| point(out, object(item, at)?, at))
                })?;
                varint(out, 2, data, "aggregationTemporality", at)?;
                with(data, "isMonotonic", at, |value, at| {
                    out.varint(
                        3,
                        u64::from(value.as_bool().ok_or_else(|| at.wrong("true or false", value))?),
                    );
                    Ok(())
                })
            })
        })?;
    }
    Ok(())
}

fn number_point(out: &mut Writer, point: &Object, at: &Place<'_>) -> Result<(), String> {
    fixed(out, 2, point, "startTimeUnixNano", at)?;
    fixed(out, 3, point, "timeUnixNano", at)?;
    value(out, 4, 6, point, at)?;
    exemplars(out, 5, point, at)?;
    attributes(out, 7, point, "attributes", at)?;
    varint(out, 8, point, "flags", at)
}

/// `asDouble` or `asInt`.
fn value(
    out: &mut Writer,
    double_number: u64,
    int: u64,
    point: &Object,
    at: &Place<'_>,
) -> Result<(), String> {
    double(out, double_number, point, "asDouble", at)?;
    with(point, "asInt", at, |value, at| {
        out.fixed64(int, as_i64(value, at)? as u64);
        Ok(())
    })
}

fn histogram_point(out: &mut Writer, point: &Object, at: &Place<'_>) -> Result<(), String> {
    fixed(out, 2, point, "startTimeUnixNano", at)?;
    fixed(out, 3, point, "timeUnixNano", at)?;
    fixed(out, 4, point, "count", at)?;
    double(out, 5, point, "sum", at)?;
    each(point, "bucketCounts", at, |item, at| {
        out.fixed64(6, as_u64(item, at)?);
        Ok(())
    })?;
    each(point, "explicitBounds", at, |item, at| {
        out.double(7, as_f64(item, at)?);
        Ok(())
    })?;
    exemplars(out, 8, point, at)?;
    attributes(out, 9, point, "attributes", at)?;
    varint(out, 10, point, "flags", at)
}

fn exponential_point(out: &mut Writer, point: &Object, at: &Place<'_>) -> Result<(), String> {
    attributes(out, 1, point, "attributes", at)?;
    fixed(out, 2, point, "startTimeUnixNano", at)?;
    fixed(out, 3, point, "timeUnixNano", at)?;
    fixed(out, 4, point, "count", at)?;
    double(out, 5, point, "sum", at)?;
    sint(out, 6, point, "scale", at)?;
    fixed(out, 7, point, "zeroCount", at)?;
    for (number, name) in [(8, "positive"), (9, "negative")] {
        with(point, name, at, |value, at| {
            let buckets = object(value, at)?;
            out.message(number, |out| {
                sint(out, 1, buckets, "offset", at)?;
                each(buckets, "bucketCounts", at, |item, at| {
                    out.varint(2, as_u64(item, at)?);
                    Ok(())
                })
            })
        })?;
    }
    varint(out, 10, point, "flags", at)?;
    exemplars(out, 11, point, at)?;
    double(out, 14, point, "zeroThreshold", at)
}

fn summary_point(out: &mut Writer, point: &Object, at: &Place<'_>) -> Result<(), String> {
    fixed(out, 2, point, "startTimeUnixNano", at)?;
    fixed(out, 3, point, "timeUnixNano", at)?;
    fixed(out, 4, point, "count", at)?;
    double(out, 5, point, "sum", at)?;
    each(point, "quantileValues", at, |item, at| {
        let pair = object(item, at)?;
        out.message(6, |out| {
            double(out, 1, pair, "quantile", at)?;
            double(out, 2, pair, "value", at)
        })
    })?;
    attributes(out, 7, point, "attributes", at)?;
    varint(out, 8, point, "flags", at)
}

fn exemplars(out: &mut Writer, number: u64, point: &Object, at: &Place<'_>) -> Result<(), String> {
    each(point, "exemplars", at, |item, at| {
        let one = object(item, at)?;
        out.message(number, |out| {
            fixed(out, 2, one, "timeUnixNano", at)?;
            value(out, 3, 6, one, at)?;
            for (number, name) in [(4, "spanId"), (5, "traceId")] {
                with(one, name, at, |value, at| {
                    let bytes =
                        value.as_str().and_then(from_hex).ok_or_else(|| at.wrong("hexadecimal", value))?;
                    out.bytes(number, &bytes);
                    Ok(())
                })?;
            }
            attributes(out, 7, one, "filteredAttributes", at)
        })
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let (pairs, rest) = digits.as_deref()?.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| high << 4 | low).collect())
}

/// Base64, standard or for URLs, with or without padding. Source: RFC 4648.
pub fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| {
        Some(u32::from(match b {
            b'A'..=b'Z' => b - b'A',
            b'a'..=b'z' => b - b'a' + 26,
            b'0'..=b'9' => b - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        }))
    };
    let digits: Option<Vec<u32>> = text.trim_end_matches('=').bytes().map(digit).collect();
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    for chunk in digits?.chunks(4) {
        if chunk.len() == 1 {
            return None;
        }
        let bits = chunk.iter().fold(0, |bits, d| bits << 6 | d) << (6 * (4 - chunk.len()));
        out.extend_from_slice(bits.to_be_bytes().get(1..chunk.len())?);
    }
    Some(out)
}
