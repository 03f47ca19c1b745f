//! Floats as Prometheus reads and writes them.

/// Powers of ten that a float holds exactly.
const POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// Reads a float: decimal, `Inf` and `NaN` in any case. `None` for anything else, and for what is too large for a float.
/// Hexadecimal and `_` are refused, as the exposition formats do.
pub fn parse_float(text: &[u8]) -> Option<f64> {
    if let Some(value) = parse_short(text) {
        return Some(value);
    }
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    if value.is_finite() {
        return Some(value);
    }
    let unsigned = text.trim_start_matches(['+', '-']);
    if value.is_nan() {
        // Go knows no sign of NaN.
        return (unsigned.len() == text.len()).then_some(f64::from_bits(model::sample::NORMAL_NAN));
    }
    // "1e999" is an error, "Inf" is not.
    unsigned.as_bytes().first().is_some_and(u8::is_ascii_alphabetic).then_some(value)
}

/// The common case: up to 15 digits with at most one point. Exact, because both parts are exact floats (Clinger 1990).
fn parse_short(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa = 0u64;
    let mut decimals = None;
    let mut count = 0;
    for &byte in digits {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa * 10 + u64::from(byte - b'0');
                count += 1;
                if let Some(decimals) = &mut decimals {
                    *decimals += 1;
                }
            }
            b'.' if decimals.is_none() => decimals = Some(0usize),
            _ => return None,
        }
    }
    if count == 0 || count > 15 {
        return None;
    }
    let value = match decimals {
        None | Some(0) => mantissa as f64,
        Some(n) => mantissa as f64 / POW10[n],
    };
    Some(if negative { -value } else { value })
}

/// Reads an unsigned or negative decimal integer.
pub fn parse_int(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Appends a float for a sample's value: shortest digits, an exponent of at least two digits below 1e-4 and from 1e21 on.
pub fn push_float(out: &mut String, value: f64) {
    format_g(out, value, 21);
}

/// Appends a float as OpenMetrics' canonical label values want it: as Go's `'g'` with a `.0` where there would be neither
/// point nor exponent. `le` and `quantile` are normalised to this.
pub fn push_label_float(out: &mut String, value: f64) {
    let start = out.len();
    format_g(out, value, 6);
    if value.is_finite() && !out[start..].contains(['.', 'e']) {
        out.push_str(".0");
    }
}

/// Shortest digits that read back as `value`; exponent form below 1e-4 and from 10^`limit` on (Go's `'g'` with shortest
/// digits: 6).
fn format_g(out: &mut String, value: f64, limit: i32) {
    use std::fmt::Write;
    if value.is_nan() {
        out.push_str("NaN");
        return;
    }
    if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        return;
    }
    // `{:e}` gives the shortest digits: `-1.25e-7`.
    let mut shortest = String::new();
    write!(shortest, "{value:e}").expect("writing to a string does not fail");
    let (mantissa, exponent) = shortest.split_once('e').expect("`{:e}` writes an exponent");
    let exponent: i32 = exponent.parse().expect("`{:e}` writes a decimal exponent");
    if value == 0.0 || (-4..limit).contains(&exponent) {
        write!(out, "{value}").expect("writing to a string does not fail");
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        write!(out, "{mantissa}e{sign}{:02}", exponent.abs()).expect("writing to a string does not fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_go_reads() {
        let good = [
            ("0", 0.0),
            ("-1", -1.0),
            ("+1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("1e5", 1e5),
            ("1E-3", 1e-3),
            ("123456789012345", 123_456_789_012_345.0),
            ("0.1", 0.1),
            ("Inf", f64::INFINITY),
            ("-inf", f64::NEG_INFINITY),
            ("+Infinity", f64::INFINITY),
            ("00000000000000000000001", 1.0),
        ];
        for (text, value) in good {
            assert_eq!(parse_float(text.as_bytes()), Some(value), "{text}");
        }
        assert_eq!(parse_float(b"nAn").unwrap().to_bits(), model::sample::NORMAL_NAN);
        for bad in ["", ".", "-", "1_2", "0x1", "0x1p3", "1e999", "+nan", "1 ", "true", "infi", "1e"] {
            assert_eq!(parse_float(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn label_floats_are_canonical() {
        let cases = [
            (1.0, "1.0"),
            (0.005, "0.005"),
            (100_000.0, "100000.0"),
            (1e6, "1e+06"),
            (2.5e7, "2.5e+07"),
            (1e-5, "1e-05"),
            (f64::INFINITY, "+Inf"),
            (-1.0, "-1.0"),
            (1_234_567.0, "1.234567e+06"),
            (0.0, "0.0"),
        ];
        for (value, text) in cases {
            let mut out = String::new();
            push_label_float(&mut out, value);
            assert_eq!(out, text);
        }
    }

    proptest! {
        #[test]
        fn the_short_way_agrees_with_the_long(text in "-?[0-9]{0,9}\\.?[0-9]{0,9}") {
            if let Some(value) = parse_short(text.as_bytes()) {
                prop_assert_eq!(value.to_bits(), text.parse::<f64>().unwrap().to_bits());
            }
        }

        #[test]
        fn what_is_written_reads_back(bits in any::<u64>()) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            for write in [push_float, push_label_float] {
                let mut out = String::new();
                write(&mut out, value);
                prop_assert_eq!(parse_float(out.as_bytes()), Some(value));
            }
        }
    }
}
