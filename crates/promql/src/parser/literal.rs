//! Numbers, durations and quoted texts.

use std::str::Chars;

use model::duration::PromDuration;

/// A number as the lexer cut it out. The error is the words after "error parsing number: ".
pub(super) fn number(text: &str) -> Result<f64, String> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        _ => {}
    }
    let digits: String = lower.chars().filter(|&c| c != '_').collect();
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16)
            .map(|n| n as f64)
            .map_err(|_| format!("hexadecimal number {text} does not fit in 64 bits"));
    }
    // A leading zero means octal, unless the digits are not octal or there is a point or an exponent.
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b.is_ascii_digit());
    if octal && let Ok(number) = i64::from_str_radix(&digits, 8) {
        return Ok(number as f64);
    }
    match digits.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(number),
        Ok(_) => Err(format!("{text} is out of the range of a 64-bit float")),
        Err(_) => Err(format!("{text} is not a number")),
    }
}

/// A duration as the lexer cut it out, in seconds. The error is the whole message.
pub(super) fn duration(text: &str) -> Result<f64, String> {
    PromDuration::parse(text).map(|duration| duration.ms() as f64 / 1000.0).map_err(|err| err.to_string())
}

/// The bytes that a quoted text means. The lexer has checked quotes and escapes.
pub(crate) fn unquote(text: &str) -> Vec<u8> {
    let inner = &text[1..text.len() - 1];
    if text.starts_with('`') || !inner.contains('\\') {
        return inner.as_bytes().to_vec();
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => escape(&mut chars, &mut out),
            c => push(&mut out, c),
        }
    }
    out
}

fn escape(chars: &mut Chars<'_>, out: &mut Vec<u8>) {
    let Some(c) = chars.next() else { return };
    let code_point = |code: u32| char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    match c {
        'a' => out.push(0x07),
        'b' => out.push(0x08),
        'f' => out.push(0x0c),
        'n' => out.push(b'\n'),
        'r' => out.push(b'\r'),
        't' => out.push(b'\t'),
        'v' => out.push(0x0b),
        '0'..='7' => out.push(digits(chars, 2, 8, c.to_digit(8).unwrap_or(0)) as u8),
        'x' => out.push(digits(chars, 2, 16, 0) as u8),
        'u' => push(out, code_point(digits(chars, 4, 16, 0))),
        'U' => push(out, code_point(digits(chars, 8, 16, 0))),
        other => push(out, other),
    }
}

fn digits(chars: &mut Chars<'_>, count: usize, base: u32, start: u32) -> u32 {
    chars.take(count).filter_map(|c| c.to_digit(base)).fold(start, |n, digit| n.wrapping_mul(base) + digit)
}

fn push(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let cases = [
            ("0x1F", 31.0),
            ("0755", 493.0),
            ("08", 8.0),
            ("010.5", 10.5),
            ("1_000", 1000.0),
            ("1_0e1", 100.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("Inf", f64::INFINITY),
            ("99999999999999999999", 1e20),
        ];
        for (text, value) in cases {
            assert_eq!(number(text), Ok(value), "{text}");
        }
        assert!(number("NaN").unwrap().is_nan());
        assert!(number("1e999").is_err() && number("0xffffffffffffffffff").is_err());
    }

    #[test]
    fn escapes_are_go_s() {
        assert_eq!(unquote(r#""a\n\x41\101\u00e4\U0001F600\\\"""#), "a\nAA\u{e4}\u{1f600}\\\"".as_bytes());
        assert_eq!(unquote(r"`a\n`"), br"a\n");
        assert_eq!(unquote(r#""\xff""#), [0xff]);
        assert_eq!(unquote(r"'\''"), b"'");
    }
}
