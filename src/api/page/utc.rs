//! Times of day for people, in UTC.

use crate::unit::Timestamp;

/// `2026-03-01 09:30:15 UTC`.
#[must_use]
pub(crate) fn date_and_time(at: Timestamp) -> String {
    let seconds = at.millis().div_euclid(1000);
    let (day, within) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, date) = civil(day);
    let (hour, minute, second) = (within / 3600, within / 60 % 60, within % 60);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// The Gregorian date of a day since 1970-01-01. Years are taken to begin in March, so that the leap day is their
/// last; 400 of them have exactly 146,097 days.
fn civil(day: i64) -> (i64, i64, i64) {
    let since_era_start = day + 719_468;
    let era = since_era_start.div_euclid(146_097);
    let of_era = since_era_start.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_agree_with_the_calendar_also_on_leap_days_and_before_the_epoch() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (-1, "1969-12-31 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_210_096, "2024-02-29 12:34:56 UTC"),
            (1_767_225_599, "2025-12-31 23:59:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
        ] {
            assert_eq!(date_and_time(Timestamp::from_millis(seconds * 1000)), text);
        }
    }
}
