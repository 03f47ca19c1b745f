//! Sizes in bytes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A number of bytes as Prometheus writes it: `10MB`, `1GiB`, `512B`; all units are powers of 1024. 0 means "no limit".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// Reads a size.
    ///
    /// # Errors
    /// What is wrong, in Prometheus' words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "0" {
            return Ok(Self(0));
        }
        let mut rest = text;
        let mut total = 0f64;
        if text.is_empty() {
            return Err("units: invalid ".into());
        }
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(u8::is_ascii_alphabetic).count();
            let (unit, tail) = tail.split_at(letters);
            let number: f64 = number.parse().map_err(|_| format!("units: invalid {text}"))?;
            let power = match unit {
                "B" => 0,
                "KB" | "KiB" => 1,
                "MB" | "MiB" => 2,
                "GB" | "GiB" => 3,
                "TB" | "TiB" => 4,
                "PB" | "PiB" => 5,
                "EB" | "EiB" => 6,
                _ => return Err(format!("units: unknown unit {unit} in {text}")),
            };
            total += number * 1024f64.powi(power);
            if letters == 0 {
                return Err(format!("units: invalid {text}"));
            }
            rest = tail;
        }
        if total >= u64::MAX as f64 {
            Err(format!("units: {text} is too large"))
        } else {
            Ok(Self(total as u64))
        }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let (mut size, mut unit) = (self.0, 0);
        while size >= 1024 && size.is_multiple_of(1024) {
            size /= 1024;
            unit += 1;
        }
        write!(f, "{size}{}", units[unit])
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for ByteSize {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ByteSize".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string" })
    }
}
