//! Time intervals: when a route is muted or active.
//!
//! Every field that is given must hold; inside a field one of its ranges must. Source: the Alertmanager manual,
//! "Time interval settings".

use std::ops::RangeInclusive;

use jiff::tz::TimeZone;
use model::Timestamp;
use serde::Deserialize;

/// One interval. Fields that are empty hold at any time.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeInterval {
    /// Times of day.
    pub times: Vec<TimeRange>,
    /// Days of the week: `monday`, `monday:friday`.
    pub weekdays: Vec<Weekdays>,
    /// Days of the month, negative ones count from its end: `1:5`, `-3:-1`.
    pub days_of_month: Vec<DaysOfMonth>,
    /// Months by name or number: `january:march`, `5`.
    pub months: Vec<Months>,
    /// Years: `2020:2022`.
    pub years: Vec<Years>,
    /// The time zone in which all of this is meant, UTC when absent; `Local` is this machine's.
    pub location: Option<Location>,
}

/// Minutes of the day, `start` included, `end` not.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RawTimeRange")]
pub struct TimeRange {
    start: u16,
    end: u16,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTimeRange {
    #[serde(default)]
    start_time: String,
    #[serde(default)]
    end_time: String,
}

/// Sunday is 0.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Weekdays(RangeInclusive<i32>);

/// From 1 up, or from -31 to -1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct DaysOfMonth(RangeInclusive<i32>);

/// January is 1.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Months(RangeInclusive<i32>);

/// Of the Gregorian calendar.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Years(RangeInclusive<i32>);

/// A time zone by its name in the tz database.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub struct Location {
    name: String,
    zone: TimeZone,
}

impl TimeInterval {
    /// Whether the instant is inside.
    pub fn contains(&self, at: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.ms()) else { return false };
        let zone = self.location.as_ref().map_or(TimeZone::UTC, |location| location.zone.clone());
        let at = instant.to_zoned(zone);
        let minute = at.hour() as u16 * 60 + at.minute() as u16;
        let in_times = self.times.iter().any(|range| (range.start..range.end).contains(&minute));
        let last_day = i32::from(at.days_in_month());
        let day = i32::from(at.day());
        let in_days = self.days_of_month.iter().any(|range| range.contains(day, last_day));
        let in_months = self.months.iter().any(|range| range.0.contains(&i32::from(at.month())));
        let weekday = i32::from(at.weekday().to_sunday_zero_offset());
        let in_weekdays = self.weekdays.iter().any(|range| range.0.contains(&weekday));
        let in_years = self.years.iter().any(|range| range.0.contains(&i32::from(at.year())));
        (self.times.is_empty() || in_times)
            && (self.days_of_month.is_empty() || in_days)
            && (self.months.is_empty() || in_months)
            && (self.weekdays.is_empty() || in_weekdays)
            && (self.years.is_empty() || in_years)
    }
}

/// Whether one of several intervals contains the instant.
pub fn any_contains(intervals: &[TimeInterval], at: Timestamp) -> bool {
    intervals.iter().any(|interval| interval.contains(at))
}

impl DaysOfMonth {
    /// Negative days count from the month's end; a range is cut to the month.
    fn contains(&self, day: i32, last_day: i32) -> bool {
        let resolve = |day: i32| if day < 0 { last_day + 1 + day } else { day };
        let (start, end) = (resolve(*self.0.start()), resolve(*self.0.end()));
        start <= last_day && (start.max(1)..=end.min(last_day)).contains(&day)
    }
}

impl TryFrom<RawTimeRange> for TimeRange {
    type Error = String;
    fn try_from(raw: RawTimeRange) -> Result<Self, String> {
        if raw.start_time.is_empty() || raw.end_time.is_empty() {
            return Err("both start and end times must be provided".into());
        }
        let (start, end) = (minutes(&raw.start_time)?, minutes(&raw.end_time)?);
        if start >= end {
            return Err("start time cannot be equal or greater than end time".into());
        }
        Ok(Self { start, end })
    }
}

/// `HH:MM` up to `24:00`.
fn minutes(text: &str) -> Result<u16, String> {
    let parts = || {
        let (hours, minutes) = text.split_once(':')?;
        let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(hours) || !digits(minutes) {
            return None;
        }
        let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
        (minutes < 60 && (hours < 24 || (hours == 24 && minutes == 0))).then_some(hours * 60 + minutes)
    };
    parts().ok_or_else(|| format!("couldn't parse timestamp {text}, invalid format"))
}

/// `a` or `a:b`, each read by `value`.
fn range(
    text: &str,
    value: impl Fn(&str) -> Result<i32, String>,
) -> Result<(i32, i32, String, String), String> {
    let text = text.to_lowercase();
    let mut parts = text.split(':');
    let (start, end) = match (parts.next(), parts.next(), parts.next()) {
        (Some(one), None, _) => (one, one),
        (Some(start), Some(end), None) => (start, end),
        _ => return Err(format!("{text:?} is not a valid range: write one value or start:end")),
    };
    Ok((value(start)?, value(end)?, start.to_owned(), end.to_owned()))
}

const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

impl TryFrom<String> for Weekdays {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let day = |text: &str| {
            let at = WEEKDAYS.iter().position(|name| *name == text);
            at.map(|at| at as i32).ok_or_else(|| format!("{text} is not a valid weekday"))
        };
        let (start, end, first, last) = range(&text, day)?;
        if start > end {
            return Err(format!("start day {first} cannot be before end day {last}"));
        }
        Ok(Self(start..=end))
    }
}

impl TryFrom<String> for DaysOfMonth {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let day = |text: &str| {
            let day: i32 = text.parse().map_err(|_| format!("{text} is not a valid day of the month"))?;
            if day == 0 || !(-31..=31).contains(&day) {
                return Err(format!("{day} is not a valid day of the month: out of range"));
            }
            Ok(day)
        };
        let (start, end, ..) = range(&text, day)?;
        if start < 0 && end > 0 {
            return Err("end day must be negative if start day is negative".into());
        }
        // Against the shortest month, as Alertmanager does, so that no range is empty in some months by surprise.
        let resolve = |day: i32| if day < 0 { 28 + day } else { day };
        if resolve(start) > resolve(end) {
            return Err(format!("end day {end} is always before start day {start}"));
        }
        Ok(Self(start..=end))
    }
}

impl TryFrom<String> for Months {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let month = |text: &str| {
            if let Some(at) = MONTHS.iter().position(|name| *name == text) {
                return Ok(at as i32 + 1);
            }
            let number: Option<i32> = text.parse().ok().filter(|month| (1..=12).contains(month));
            number.ok_or_else(|| format!("{text} is not a valid month"))
        };
        let (start, end, first, last) = range(&text, month)?;
        if start > end {
            return Err(format!("end month {last} is before start month {first}"));
        }
        Ok(Self(start..=end))
    }
}

impl TryFrom<String> for Years {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let year = |text: &str| text.parse().map_err(|_| format!("{text} is not a valid year"));
        let (start, end, first, last) = range(&text, year)?;
        if start > end {
            return Err(format!("end year {last} is before start year {first}"));
        }
        Ok(Self(start..=end))
    }
}

impl TryFrom<String> for Location {
    type Error = String;
    fn try_from(name: String) -> Result<Self, String> {
        let zone = match name.as_str() {
            "" | "UTC" => TimeZone::UTC,
            "Local" => TimeZone::system(),
            _ => TimeZone::get(&name).map_err(|err| format!("unknown time zone {name:?}: {err}"))?,
        };
        Ok(Self { name, zone })
    }
}

impl Location {
    /// As written.
    pub fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn read(yaml: &str) -> TimeInterval {
        yaml::read(yaml).unwrap()
    }

    #[test]
    fn fields_join_by_and_ranges_by_or() {
        let hours = read("times: [{start_time: '09:00', end_time: '17:00'}]\nweekdays: ['monday:friday']");
        assert!(hours.contains(at("2026-11-20T09:00:00Z")));
        assert!(!hours.contains(at("2026-11-20T17:00:00Z")), "the end is not included");
        assert!(!hours.contains(at("2026-11-22T10:00:00Z")), "a Sunday");
        assert!(read("{}").contains(at("2026-11-22T10:00:00Z")));
        assert!(
            read("times: [{start_time: '00:00', end_time: '24:00'}]").contains(at("2026-11-22T23:59:59Z"))
        );
    }

    #[test]
    fn negative_days_count_from_the_end() {
        let last = read("days_of_month: ['-3:-1']");
        assert!(last.contains(at("2026-02-26T00:00:00Z")) && !last.contains(at("2026-02-25T00:00:00Z")));
        let late = read("days_of_month: ['30:31']");
        assert!(!late.contains(at("2026-02-28T00:00:00Z")) && late.contains(at("2026-03-31T00:00:00Z")));
    }

    #[test]
    fn locations_shift() {
        let sydney = read("times: [{start_time: '09:00', end_time: '10:00'}]\nlocation: Australia/Sydney");
        assert!(sydney.contains(at("2026-11-21T22:30:00Z")));
        assert!(!sydney.contains(at("2026-11-21T09:30:00Z")));
    }

    #[test]
    fn nonsense_is_refused() {
        for yaml in [
            "days_of_month: ['5:1']",
            "days_of_month: ['32']",
            "days_of_month: ['1:-31']",
            "months: ['0']",
            "months: ['march:january']",
            "weekdays: ['funday']",
            "weekdays: ['friday:monday']",
            "weekdays: ['monday:tuesday:friday']",
            "years: ['x']",
            "times: [{start_time: '10:00', end_time: '10:00'}]",
            "times: [{start_time: '10:00'}]",
            "times: [{start_time: '24:01', end_time: '24:02'}]",
            "location: 'Middle/Earth'",
            "hours: [1]",
        ] {
            assert!(yaml::read::<TimeInterval>(yaml).is_err(), "{yaml}");
        }
    }
}
