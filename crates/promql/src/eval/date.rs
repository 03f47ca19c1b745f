//! The civil calendar in UTC, for the date functions.
//!
//! Source: H. Hinnant, "chrono-compatible low-level date algorithms"; the proleptic Gregorian calendar.

/// A point in time, to the minute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    pub(crate) year: i64,
    /// 1–12
    pub(crate) month: u32,
    /// 1–31
    pub(crate) day: u32,
    pub(crate) hour: u32,
    pub(crate) minute: u32,
    /// 0 is Sunday.
    pub(crate) weekday: u32,
}

impl Date {
    /// From seconds since the epoch.
    pub(crate) fn from_seconds(seconds: i64) -> Self {
        let days = seconds.div_euclid(86_400);
        let second = seconds.rem_euclid(86_400) as u32;
        // Years start in March here, so that the leap day is the last.
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year,
            month,
            day,
            hour: second / 3600,
            minute: second / 60 % 60,
            weekday: (days + 4).rem_euclid(7) as u32,
        }
    }

    fn is_leap(self) -> bool {
        self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0)
    }

    pub(crate) fn days_in_month(self) -> u32 {
        match self.month {
            2 => 28 + u32::from(self.is_leap()),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }

    /// 1–366
    pub(crate) fn day_of_year(self) -> u32 {
        let before = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334][self.month as usize - 1];
        before + self.day + u32::from(self.month > 2 && self.is_leap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        let date = |seconds| {
            let d = Date::from_seconds(seconds);
            (d.year, d.month, d.day, d.hour, d.minute, d.weekday, d.day_of_year(), d.days_in_month())
        };
        assert_eq!(date(0), (1970, 1, 1, 0, 0, 4, 1, 31));
        assert_eq!(date(951_782_400), (2000, 2, 29, 0, 0, 2, 60, 29));
        assert_eq!(date(1_735_689_599), (2024, 12, 31, 23, 59, 2, 366, 31));
        assert_eq!(date(-1), (1969, 12, 31, 23, 59, 3, 365, 31));
        assert_eq!(date(-2_203_891_200).0, 1900);
    }
}
