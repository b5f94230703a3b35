//! Days and times of day from milliseconds since the Unix epoch.

use std::fmt;

use columba_core::units::Timestamp;

/// Now, on both clocks and on the wall.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// For spans of time; never goes back.
    pub now: Timestamp,
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// Seconds that local time is ahead of UTC.
    pub utc_offset_s: i32,
}

/// A day of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day {
    /// Year.
    pub year: i32,
    /// Month, 1 to 12.
    pub month: u8,
    /// Day of the month, 1 to 31.
    pub day: u8,
}

/// A local day and time of day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LocalTime {
    /// The day.
    pub day: Day,
    /// Hour, 0 to 23.
    pub hour: u8,
    /// Minute, 0 to 59.
    pub minute: u8,
    /// Second, 0 to 59.
    pub second: u8,
}

const SECONDS_PER_DAY: i64 = 86_400;
const WEEKDAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl LocalTime {
    /// The local time of `unix_ms` where clocks are `utc_offset_s` ahead of UTC.
    #[must_use]
    pub fn at(unix_ms: u64, utc_offset_s: i32) -> Self {
        let seconds = i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX / 2);
        let local = seconds.saturating_add(i64::from(utc_offset_s));
        let of_day = local.rem_euclid(SECONDS_PER_DAY);
        let part = |value: i64| u8::try_from(value).unwrap_or(0);
        Self {
            day: Day::from_days(local.div_euclid(SECONDS_PER_DAY)),
            hour: part(of_day / 3600),
            minute: part(of_day / 60 % 60),
            second: part(of_day % 60),
        }
    }
}

impl fmt::Display for LocalTime {
    /// Hours and minutes, as beside a message.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.hour, self.minute)
    }
}

impl Day {
    /// The day so many days after 1 January 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
    #[must_use]
    pub fn from_days(days: i64) -> Self {
        let shifted = days.saturating_add(719_468);
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 {
            shifted_month + 3
        } else {
            shifted_month - 9
        };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year: i32::try_from(year).unwrap_or(i32::MAX),
            month: u8::try_from(month).unwrap_or(1),
            day: u8::try_from(day).unwrap_or(1),
        }
    }

    /// Days after 1 January 1970.
    #[must_use]
    pub fn days(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.year) - i64::from(month <= 2);
        let era = year.div_euclid(400);
        let of_era = year.rem_euclid(400);
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let of_year = (153 * shifted_month + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// How a day rule reads on the day `today`: "Today", "Yesterday", or the date in full.
    #[must_use]
    pub fn title(self, today: Self) -> String {
        match today.days() - self.days() {
            0 => "Today".to_owned(),
            1 => "Yesterday".to_owned(),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for Day {
    /// Like `Sunday, 22 November 2026`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weekday = usize::try_from((self.days() + 3).rem_euclid(7)).unwrap_or(0);
        let month = MONTHS
            .get(usize::from(self.month).saturating_sub(1))
            .unwrap_or(&"");
        write!(
            f,
            "{}, {} {month} {}",
            WEEKDAYS[weekday], self.day, self.year
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_times_are_those_of_the_calendar() {
        let at = |seconds: u64, offset| LocalTime::at(seconds * 1000, offset);
        assert_eq!(at(0, 0).day.to_string(), "Thursday, 1 January 1970");
        assert_eq!(
            at(951_782_400, 0).day.to_string(),
            "Tuesday, 29 February 2000"
        );
        assert_eq!(
            at(1_795_372_999, 0).day.to_string(),
            "Sunday, 22 November 2026"
        );
        assert_eq!(at(1_795_372_999, 0).to_string(), "18:43");
        assert_eq!(at(1_795_372_999, 6 * 3600).day.day, 23);
        assert_eq!(at(0, -3600).day.to_string(), "Wednesday, 31 December 1969");
        assert_eq!(at(0, -3600).hour, 23);
    }

    #[test]
    fn every_day_comes_back() {
        for days in (-800_000..800_000).step_by(37) {
            assert_eq!(Day::from_days(days).days(), days);
        }
    }

    #[test]
    fn near_days_have_names() {
        let today = Day::from_days(20_000);
        assert_eq!(today.title(today), "Today");
        assert_eq!(Day::from_days(19_999).title(today), "Yesterday");
        assert!(Day::from_days(19_998).title(today).contains(','));
    }
}
