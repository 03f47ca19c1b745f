//! Attribute values as texts.

use crate::proto::{Fields, Malformed, Value, text};

/// Lists in lists may go this deep.
const MAX_DEPTH: usize = 16;

/// A key and its value's message.
pub(super) fn key_value(body: &[u8]) -> Result<(&str, &[u8]), Malformed> {
    let (mut key, mut value): (&str, &[u8]) = ("", &[]);
    let mut fields = Fields(body);
    while let Some((number, field)) = fields.next()? {
        match number {
            1 => key = text(field.bytes()?)?,
            2 => value = field.bytes()?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// The text when the value is one, which needs no copy.
pub(super) fn plain(value: &[u8]) -> Result<Option<&str>, Malformed> {
    let mut fields = Fields(value);
    match fields.next()? {
        None => Ok(Some("")),
        Some((1, Value::Bytes(bytes))) if fields.0.is_empty() => text(bytes).map(Some),
        _ => Ok(None),
    }
}

/// Appends a value: texts as they are, lists and maps as JSON, bytes in base64.
pub(super) fn push(out: &mut String, value: &[u8], depth: usize) -> Result<(), Malformed> {
    if depth > MAX_DEPTH {
        return Err(Malformed("attribute values are nested too deep"));
    }
    let nested = depth > 0;
    let mut fields = Fields(value);
    let mut any = false;
    while let Some((number, field)) = fields.next()? {
        any = true;
        match number {
            1 if nested => push_json_text(out, text(field.bytes()?)?),
            1 => out.push_str(text(field.bytes()?)?),
            2 => out.push_str(if field.varint()? == 0 { "false" } else { "true" }),
            3 => out.push_str(&field.int()?.to_string()),
            4 => push_double(out, field.double()?),
            5 => {
                out.push('[');
                let mut items = Fields(field.bytes()?);
                let mut first = true;
                while let Some((number, item)) = items.next()? {
                    if number == 1 {
                        if !std::mem::take(&mut first) {
                            out.push(',');
                        }
                        push(out, item.bytes()?, depth + 1)?;
                    }
                }
                out.push(']');
            }
            6 => {
                let mut pairs = Vec::new();
                let mut items = Fields(field.bytes()?);
                while let Some((number, item)) = items.next()? {
                    if number == 1 {
                        pairs.push(key_value(item.bytes()?)?);
                    }
                }
                pairs.sort_by_key(|(key, _)| *key);
                out.push('{');
                for (i, (key, item)) in pairs.into_iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    push_json_text(out, key);
                    out.push(':');
                    push(out, item, depth + 1)?;
                }
                out.push('}');
            }
            7 if nested => {
                out.push('"');
                push_base64(out, field.bytes()?);
                out.push('"');
            }
            7 => push_base64(out, field.bytes()?),
            _ => {}
        }
    }
    if nested && !any {
        out.push_str("null");
    }
    Ok(())
}

fn push_json_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// As JSON numbers are written: plain digits between 1e-6 and 1e21.
fn push_double(out: &mut String, value: f64) {
    let size = value.abs();
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{value:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => {
                out.push_str(digits);
                out.push_str("e+");
                out.push_str(exponent);
            }
            _ => out.push_str(&text),
        }
    } else {
        out.push_str(&value.to_string());
    }
}

/// Base64 with padding. Source: RFC 4648.
pub(super) fn push_base64(out: &mut String, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, b| bits << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            if i <= chunk.len() {
                out.push(char::from(ALPHABET[(bits >> (18 - 6 * i)) as usize & 63]));
            } else {
                out.push('=');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_and_bytes() {
        for (value, expected) in
            [(1.0, "1"), (0.25, "0.25"), (1e21, "1e+21"), (1e-7, "1e-7"), (-2.5e300, "-2.5e+300"), (0.0, "0")]
        {
            let mut out = String::new();
            push_double(&mut out, value);
            assert_eq!(out, expected);
        }
        for (bytes, expected) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"\xff\xff\xff\xff", "/////w=="),
        ] {
            let mut out = String::new();
            push_base64(&mut out, bytes);
            assert_eq!(out, expected);
        }
    }
}
