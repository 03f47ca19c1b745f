//! Floats as Go prints them, which Prometheus' messages and labels contain.

/// Go's `%g`: the shortest digits that read back the same, with an exponent below 1e-4 and from 1e6 on.
pub fn go_g(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let (negative, digits, exponent) = shortest(value);
    let sign = if negative { "-" } else { "" };
    if !(-4..6).contains(&exponent) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let exponent_sign = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{exponent_sign}{:02}", exponent.abs());
    }
    go_f(value)
}

/// Go's `strconv.FormatFloat(value, 'f', -1, 64)`: the shortest digits, never an exponent.
pub fn go_f(value: f64) -> String {
    special(value).map_or_else(|| format!("{value}"), str::to_owned)
}

/// A label value for a float, as OpenMetrics wants it: `1.0`, `0.5`, `1e+06`, `+Inf`.
pub fn open_metrics(value: f64) -> String {
    let text = go_g(value);
    if value.is_finite() && !text.contains(['.', 'e']) { text + ".0" } else { text }
}

/// Go's `%.2g`.
pub fn go_g2(value: f64) -> String {
    if let Some(text) = special(value) {
        return text.to_owned();
    }
    let text = format!("{value:.1e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..2).contains(&exponent) {
        let rounded: f64 = text.parse().unwrap_or(value);
        return format!("{rounded}");
    }
    let mantissa = mantissa.strip_suffix(".0").unwrap_or(mantissa);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

fn special(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value == f64::INFINITY {
        Some("+Inf")
    } else if value == f64::NEG_INFINITY {
        Some("-Inf")
    } else if value == 0.0 {
        Some(if value.is_sign_negative() { "-0" } else { "0" })
    } else {
        None
    }
}

/// Sign, significant digits and decimal exponent.
fn shortest(value: f64) -> (bool, String, i32) {
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (value < 0.0, mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_as_go_does() {
        for (value, expected) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (100000.0, "100000"),
            (1e6, "1e+06"),
            (1_234_567.5, "1.2345675e+06"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (-0.0, "-0"),
        ] {
            assert_eq!(go_g(value), expected);
        }
        assert_eq!(go_f(1e22), "10000000000000000000000");
        assert_eq!(open_metrics(1.0), "1.0");
        assert_eq!(open_metrics(0.25), "0.25");
        assert_eq!(go_g2(0.123), "0.12");
        assert_eq!(go_g2(123.0), "1.2e+02");
        assert_eq!(go_g2(7.0), "7");
    }
}
