//! Times as the API writes them.

use model::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Error;

const MS_PER_DAY: i64 = 86_400_000;
/// 10000-01-01, the first day that RFC 3339 cannot write.
const END_MS: i64 = 253_402_300_800_000;

/// RFC 3339 with milliseconds, as the API writes times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub Timestamp);

impl Time {
    /// The text, for a time from 1970 to 9999: a list of a hundred thousand alerts has three times as many of them.
    fn text(self) -> Option<[u8; 24]> {
        let ms = u64::try_from(self.0.ms()).ok().filter(|_| self.0.ms() < END_MS)?;
        let (days, in_day) = (ms / MS_PER_DAY as u64, ms % MS_PER_DAY as u64);
        let (year, month, day) = date(days);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        let mut put = |at: usize, digits: usize, mut number: u64| {
            for place in (at..at + digits).rev() {
                text[place] = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        put(0, 4, year);
        put(5, 2, month);
        put(8, 2, day);
        put(11, 2, in_day / 3_600_000);
        put(14, 2, in_day / 60_000 % 60);
        put(17, 2, in_day / 1000 % 60);
        put(20, 3, in_day % 1000);
        Some(text)
    }
}

/// Year, month and day of a number of days since 1970-01-01. Counted in years that begin in March, so that a leap day is
/// the last of its year; 719,468 days are between 0000-03-01 and 1970-01-01, 146,097 in 400 years.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Some(text) = self.text()
            && let Ok(text) = std::str::from_utf8(&text)
        {
            return serializer.serialize_str(text);
        }
        let at = jiff::Timestamp::from_millisecond(self.0.ms()).unwrap_or(jiff::Timestamp::MAX);
        serializer.collect_str(&format_args!("{at:.3}"))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Time {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self, Error> {
        let at: jiff::Timestamp =
            text.parse().map_err(|err| Error::Invalid(format!("{text:?} is no RFC 3339 time: {err}")))?;
        Ok(Self(Timestamp(at.as_millisecond())))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(ms: i64) {
        let at = jiff::Timestamp::from_millisecond(ms).unwrap();
        let text = serde_json::to_string(&Time(Timestamp(ms))).unwrap();
        assert_eq!(text, format!("\"{at:.3}\""), "{ms}");
    }

    proptest! {
        #[test]
        fn as_a_calendar_says(ms in -62_135_596_800_000_i64..253_402_000_000_000) {
            check(ms);
        }
    }

    #[test]
    fn at_the_edges() {
        // Leap days of 2000 and 2024, the first of March after each, the end of 1999 and of 9998.
        for text in
            ["2000-02-29", "2000-03-01", "2024-02-29", "2024-03-01", "2100-03-01", "2099-12-31", "9998-12-31"]
        {
            let start: jiff::Timestamp = format!("{text}T00:00:00Z").parse().unwrap();
            check(start.as_millisecond());
            check(start.as_millisecond() + MS_PER_DAY - 1);
        }
        for ms in [0, -1, 1] {
            check(ms);
        }
        // Later than any calendar goes: the latest time there is.
        assert!(serde_json::to_string(&Time(Timestamp::MAX)).unwrap().starts_with("\"9999-12-3"));
    }
}
