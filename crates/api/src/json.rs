//! Streaming JSON in Prometheus' shapes: no tree in memory, one buffer that is flushed as it fills.

use model::{Histogram, Labels};
use promql::histogram::buckets::Kind;

/// Appends a JSON string.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    utf8(out, text.as_bytes());
}

/// Appends a string whose bytes are known to be text.
fn utf8(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    // Mostly there is nothing to escape, which many bytes at once tell.
    let special = |byte: u8| (byte < 0x20) | (byte == b'"') | (byte == b'\\') | (byte == 0x7f);
    if !bytes.iter().fold(false, |any, &byte| any | special(byte)) {
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    let mut plain = 0;
    for (i, &byte) in bytes.iter().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0..=0x1f | 0x7f => b"",
            _ => continue,
        };
        out.extend_from_slice(&bytes[plain..i]);
        if escape.is_empty() {
            out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
        } else {
            out.extend_from_slice(escape);
        }
        plain = i + 1;
    }
    out.extend_from_slice(&bytes[plain..]);
    out.push(b'"');
}

/// Appends a label set as an object, in the order of names.
pub(crate) fn labels(out: &mut Vec<u8>, labels: &Labels) {
    out.push(b'{');
    for (i, (name, value)) in labels.iter_bytes().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        utf8(out, name);
        out.push(b':');
        utf8(out, value);
    }
    out.push(b'}');
}

/// Appends a list of strings.
pub(crate) fn strings<'a>(out: &mut Vec<u8>, items: impl IntoIterator<Item = &'a str>) {
    out.push(b'[');
    for (i, item) in items.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        string(out, item);
    }
    out.push(b']');
}

/// Appends milliseconds as seconds: `1435781451.781`, `1435781451`.
pub(crate) fn timestamp(out: &mut Vec<u8>, ms: i64) {
    if ms < 0 {
        out.push(b'-');
    }
    let ms = ms.unsigned_abs();
    let mut buffer = itoa::Buffer::new();
    out.extend_from_slice(buffer.format(ms / 1000).as_bytes());
    let rest = ms % 1000;
    if rest != 0 {
        out.push(b'.');
        out.extend_from_slice(&[
            b'0' + (rest / 100) as u8,
            b'0' + (rest / 10 % 10) as u8,
            b'0' + (rest % 10) as u8,
        ]);
    }
}

/// Appends a float as the text that Prometheus' API gives: the shortest digits that read back the same, an exponent
/// below 1e-6 and from 1e21 on, `NaN`, `+Inf`, `-Inf`. Without quotes.
pub(crate) fn float(out: &mut Vec<u8>, value: f64) {
    if !value.is_finite() {
        let text: &[u8] = if value.is_nan() {
            b"NaN"
        } else if value > 0.0 {
            b"+Inf"
        } else {
            b"-Inf"
        };
        out.extend_from_slice(text);
        return;
    }
    // Whole numbers are most of what is stored.
    if value.fract() == 0.0 && value.abs() < 9e15 {
        if value == 0.0 && value.is_sign_negative() {
            out.push(b'-');
        }
        let mut buffer = itoa::Buffer::new();
        out.extend_from_slice(buffer.format(value as i64).as_bytes());
        return;
    }
    let magnitude = value.abs();
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(value);
    let exponent = !(1e-6..1e21).contains(&magnitude);
    if exponent || text.contains('e') {
        write_digits(out, text, exponent);
    } else {
        out.extend_from_slice(text.strip_suffix(".0").unwrap_or(text).as_bytes());
    }
}

/// Rewrites the shortest digits in `text` (`-1.5e-7`, `1.5e20`) in Go's `e` or `f` form.
fn write_digits(out: &mut Vec<u8>, text: &str, exponent_form: bool) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut exponent: i32 = exponent.parse().expect("the formatter wrote a number");
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => mantissa,
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    exponent += whole.len() as i32;
    let zeros = digits.iter().take_while(|d| **d == b'0').count().min(digits.len() - 1);
    digits.drain(..zeros);
    exponent -= zeros as i32;
    while digits.len() > 1 && digits.last() == Some(&b'0') {
        digits.pop();
    }
    // Now the value is 0.digits × 10^exponent.
    if exponent_form {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        let exponent = exponent - 1;
        out.push(b'e');
        out.push(if exponent < 0 { b'-' } else { b'+' });
        out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
    } else if exponent <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + exponent.unsigned_abs() as usize, b'0');
        out.extend_from_slice(&digits);
    } else {
        let whole = exponent as usize;
        for i in 0..whole.max(digits.len()) {
            if i == whole {
                out.push(b'.');
            }
            out.push(digits.get(i).copied().unwrap_or(b'0'));
        }
    }
}

/// Appends `[seconds,"value"]`.
pub(crate) fn float_point(out: &mut Vec<u8>, ms: i64, value: f64) {
    out.push(b'[');
    timestamp(out, ms);
    out.extend_from_slice(b",\"");
    float(out, value);
    out.extend_from_slice(b"\"]");
}

/// Appends `[seconds,{"count":…,"sum":…,"buckets":[[boundaries,lower,upper,count],…]}]`.
/// `time` is the text of the seconds.
pub(crate) fn histogram_point(out: &mut Vec<u8>, time: &[u8], histogram: &Histogram) {
    out.push(b'[');
    out.extend_from_slice(time);
    out.push(b',');
    histogram_value(out, histogram);
    out.push(b']');
}

fn histogram_value(out: &mut Vec<u8>, histogram: &Histogram) {
    let quoted = |out: &mut Vec<u8>, value: f64| {
        out.push(b'"');
        float(out, value);
        out.push(b'"');
    };
    out.extend_from_slice(b"{\"count\":");
    quoted(out, histogram.count);
    out.extend_from_slice(b",\"sum\":");
    quoted(out, histogram.sum);
    let mut first = true;
    for bucket in promql::histogram::ascending(histogram).into_iter().filter(|bucket| bucket.count != 0.0) {
        out.extend_from_slice(if first { b",\"buckets\":[" } else { b"," });
        first = false;
        // 0: (lower, upper]; 1: [lower, upper); 3: closed at both ends.
        let boundaries = match bucket.kind {
            Kind::Positive => b'0',
            Kind::Negative => b'1',
            Kind::Zero => b'3',
        };
        out.extend_from_slice(&[b'[', boundaries, b',']);
        quoted(out, bucket.lower);
        out.push(b',');
        quoted(out, bucket.upper);
        out.push(b',');
        quoted(out, bucket.count);
        out.push(b']');
    }
    if !first {
        out.push(b']');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        write(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn label_sets_are_objects() {
        let long = "v".repeat(300);
        let set = Labels::from_pairs([("b", "x\"y"), ("a", "é"), ("c", long.as_str())]);
        let mut out = Vec::new();
        labels(&mut out, &set);
        assert_eq!(String::from_utf8(out).unwrap(), format!(r#"{{"a":"é","b":"x\"y","c":"{long}"}}"#));
    }

    #[test]
    fn floats_are_written_as_go_writes_them() {
        let cases: [(f64, &str); 20] = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-17.25, "-17.25"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1.5e-7, "1.5e-7"),
            (-2e-9, "-2e-9"),
            (123_456_789.125, "123456789.125"),
            (9007199254740993.0, "9007199254740992"),
            (1e20, "100000000000000000000"),
            (1.5e20, "150000000000000000000"),
            (1e21, "1e+21"),
            (1.25e100, "1.25e+100"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(|out| float(out, value)), expected);
        }
    }

    #[test]
    fn every_float_reads_back_the_same() {
        let mut bits = 0x9e37_79b9_7f4a_7c15u64;
        for _ in 0..20_000 {
            bits = bits.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            let value = f64::from_bits(bits);
            if value.is_finite() {
                let written = text(|out| float(out, value));
                assert_eq!(written.parse::<f64>().unwrap().to_bits(), value.to_bits(), "{written}");
            }
        }
    }

    #[test]
    fn timestamps_have_milliseconds_only_when_they_need_them() {
        for (ms, expected) in
            [(1_435_781_451_781, "1435781451.781"), (1000, "1"), (1010, "1.010"), (-1500, "-1.500"), (0, "0")]
        {
            assert_eq!(text(|out| timestamp(out, ms)), expected);
        }
    }

    #[test]
    fn strings_are_escaped() {
        assert_eq!(text(|out| string(out, "a\"b\\c\n\u{1}é")), r#""a\"b\\c\n\u0001é""#);
    }
}
