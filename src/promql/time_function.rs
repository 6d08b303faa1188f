//! Parts of a date: the proleptic Gregorian calendar in UTC.

/// What a date function tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatePart {
    Year,
    Month,
    DayOfMonth,
    DayOfYear,
    /// Sunday is 0.
    DayOfWeek,
    DaysInMonth,
    Hour,
    Minute,
}

const DAY: i64 = 86_400;

impl DatePart {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "year" => Self::Year,
            "month" => Self::Month,
            "day_of_month" => Self::DayOfMonth,
            "day_of_year" => Self::DayOfYear,
            "day_of_week" => Self::DayOfWeek,
            "days_in_month" => Self::DaysInMonth,
            "hour" => Self::Hour,
            "minute" => Self::Minute,
            _ => return None,
        })
    }

    /// The part at whole `seconds` since the epoch; a fraction is cut off towards zero. NaN and what 64 bits do not
    /// hold is the time at which Prometheus' calendar wraps around: 2^63 seconds, in the year 292277026596.
    pub(crate) fn of(self, seconds: f64) -> f64 {
        const WRAPPED: i128 = 1 << 63;
        #[expect(clippy::cast_possible_truncation, reason = "in range")]
        let seconds = if (-9.2e18..9.2e18).contains(&seconds) { seconds as i128 } else { WRAPPED };
        let (days, second) = (seconds.div_euclid(i128::from(DAY)), seconds.rem_euclid(i128::from(DAY)));
        #[expect(clippy::cast_possible_truncation, reason = "days of 64-bit seconds, and seconds of a day")]
        let (days, second) = (days as i64, second as i64);
        let (year, month, day) = civil(days);
        let part = match self {
            Self::Year => year,
            Self::Month => month,
            Self::DayOfMonth => day,
            Self::DayOfYear => days - days_before(year, 1) + 1,
            // 1970-01-01 was a Thursday.
            Self::DayOfWeek => (days + 4).rem_euclid(7),
            Self::DaysInMonth => match month {
                12 => 31,
                _ => days_before(year, month + 1) - days_before(year, month),
            },
            Self::Hour => second / 3_600,
            Self::Minute => second % 3_600 / 60,
        };
        #[expect(clippy::cast_precision_loss, reason = "years of 64-bit seconds have 12 digits")]
        let part = part as f64;
        part
    }
}

/// Days in an era of 400 years.
const ERA: i64 = 146_097;
/// From 0000-03-01, where eras begin here so that leap days come last, to 1970-01-01.
const EPOCH: i64 = 719_468;

/// Year, month and day of a day number since the epoch.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + EPOCH;
    let (era, day_of_era) = (shifted.div_euclid(ERA), shifted.rem_euclid(ERA));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / (ERA - 1)) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months counted from March have 153 days in five.
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The day number of the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = (month + 9) % 12;
    let day_of_year = (153 * from_march + 2) / 5;
    era * ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(seconds: f64) -> [f64; 8] {
        use DatePart::*;
        [Year, Month, DayOfMonth, DayOfYear, DayOfWeek, DaysInMonth, Hour, Minute]
            .map(|part| part.of(seconds))
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        // From `date -u -d @… '+%Y %m %d %j %w … %H %M'`.
        assert_eq!(all(0.0), [1970.0, 1.0, 1.0, 1.0, 4.0, 31.0, 0.0, 0.0]);
        assert_eq!(all(951_782_400.0), [2000.0, 2.0, 29.0, 60.0, 2.0, 29.0, 0.0, 0.0]);
        assert_eq!(all(4_107_542_400.0), [2100.0, 3.0, 1.0, 60.0, 1.0, 31.0, 0.0, 0.0]);
        assert_eq!(all(1_767_225_599.9), [2025.0, 12.0, 31.0, 365.0, 3.0, 31.0, 23.0, 59.0]);
        assert_eq!(all(-1.0), [1969.0, 12.0, 31.0, 365.0, 3.0, 31.0, 23.0, 59.0]);
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = civil(-800_000);
        for day in -799_999..800_000 {
            let now = civil(day);
            assert_eq!(days_before(now.0, now.1) + now.2 - 1, day);
            assert!(now > before, "{day}");
            before = now;
        }
    }

    #[test]
    fn no_time_is_too_far_away() {
        // As Go's `time.Unix(math.MinInt64, 0).UTC()`, which is what Prometheus makes of them.
        for seconds in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(all(seconds), [292_277_026_596.0, 12.0, 4.0, 339.0, 0.0, 31.0, 15.0, 30.0]);
        }
    }
}
