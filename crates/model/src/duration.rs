//! Durations as Prometheus writes them: `1h30m`, `15s`, `100ms`, `0`.

use std::fmt;

/// Milliseconds, read and written as Prometheus does. Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PromDuration(pub i64);

/// The text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDuration {
    /// Nothing was given.
    #[error("empty duration string")]
    Empty,
    /// Not `<number><unit>…` with units in descending order.
    #[error("not a valid duration string: {0:?}")]
    Syntax(String),
    /// Longer than 292 years.
    #[error("duration out of range: {0:?}")]
    Range(String),
}

const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 24 * 3_600_000),
    ("w", 7 * 24 * 3_600_000),
    ("d", 24 * 3_600_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl PromDuration {
    /// Reads `1y2w3d4h5m6s7ms` (each unit at most once, in this order) or `0`.
    ///
    /// # Errors
    /// [`InvalidDuration`] says how the text differs from that.
    pub fn parse(text: &str) -> Result<Self, InvalidDuration> {
        let syntax = || InvalidDuration::Syntax(text.to_owned());
        let range = || InvalidDuration::Range(text.to_owned());
        match text {
            "" => return Err(InvalidDuration::Empty),
            "0" => return Ok(Self(0)),
            _ => {}
        }
        let (mut rest, mut total, mut next_unit) = (text, 0i64, 0);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_lowercase).count();
            let (unit, tail) = tail.split_at(letters);
            let at = UNITS.iter().position(|(name, _)| *name == unit).ok_or_else(syntax)?;
            if digits == 0 || at < next_unit {
                return Err(syntax());
            }
            let number: i64 = number.parse().map_err(|_| range())?;
            total = number.checked_mul(UNITS[at].1).and_then(|ms| total.checked_add(ms)).ok_or_else(range)?;
            next_unit = at + 1;
            rest = tail;
        }
        // Prometheus counts nanoseconds in 64 bits.
        if total > i64::MAX / 1_000_000 { Err(range()) } else { Ok(Self(total)) }
    }

    /// Milliseconds.
    pub const fn ms(self) -> i64 {
        self.0
    }

    /// As the standard library's type.
    pub fn to_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.max(0) as u64)
    }
}

impl fmt::Display for PromDuration {
    /// The shortest text that reads back the same; years and weeks only when nothing smaller is left.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut ms = self.0;
        for (unit, size) in UNITS {
            let exact_only = matches!(unit, "y" | "w");
            if ms >= size && (!exact_only || ms % size == 0) {
                write!(f, "{}{unit}", ms / size)?;
                ms %= size;
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for PromDuration {
    type Err = InvalidDuration;
    fn from_str(text: &str) -> Result<Self, InvalidDuration> {
        Self::parse(text)
    }
}

impl serde::Serialize for PromDuration {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for PromDuration {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = PromDuration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as 15s or 1h30m")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<PromDuration, E> {
                PromDuration::parse(text).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<PromDuration, E> {
                PromDuration::parse(&number.to_string()).map_err(E::custom)
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<PromDuration, E> {
                PromDuration::parse(&number.to_string()).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl schemars::JsonSchema for PromDuration {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Duration".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "format": "duration" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_prometheus_reads() {
        let cases = [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("324ms", Some(324)),
            ("5m", Some(300_000)),
            ("1h30m", Some(5_400_000)),
            ("1y", Some(365 * 86_400_000)),
            ("3w2d1h", Some((23 * 24 + 1) * 3_600_000)),
            ("1m30", None),
            ("1m1h", None),
            ("1m1m", None),
            ("-5m", None),
            ("5", None),
            ("", None),
            ("1.5h", None),
            ("294y", None),
            ("1µs", None),
        ];
        for (text, ms) in cases {
            assert_eq!(PromDuration::parse(text).ok().map(PromDuration::ms), ms, "{text:?}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        for text in ["0s", "1ms", "15s", "1m30s", "1h", "1d12h", "8d", "2w", "1y", "366d", "1h100ms"] {
            assert_eq!(PromDuration::parse(text).unwrap().to_string(), text);
        }
    }
}
