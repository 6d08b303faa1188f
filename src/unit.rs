//! Quantities with their units and invariants: a bare `f64` never says whether it is a probability or a time.

use std::fmt;
use std::str::FromStr;

/// Why a quantity was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum UnitError {
    /// The number lies outside the quantity's range.
    #[error("{value} is not a {quantity} (allowed: {allowed})")]
    Range {
        /// What was being constructed.
        quantity: &'static str,
        /// What was given.
        value: f64,
        /// The legal range.
        allowed: &'static str,
    },
    /// The text is not a spelling of the quantity.
    #[error("`{text}` is not a {quantity} (allowed: {allowed})")]
    Syntax {
        /// What was being parsed.
        quantity: &'static str,
        /// What was given.
        text: String,
        /// The legal spellings.
        allowed: &'static str,
    },
}

/// A probability in `[0, 1]`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Probability(f64);

impl Probability {
    /// Never.
    pub const ZERO: Self = Self(0.0);
    /// Always.
    pub const ONE: Self = Self(1.0);

    /// Checks `0 ≤ value ≤ 1`; NaN is refused.
    ///
    /// # Errors
    /// [`UnitError::Range`] outside of it.
    pub fn new(value: f64) -> Result<Self, UnitError> {
        if (0.0..=1.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(UnitError::Range { quantity: "probability", value, allowed: "0 to 1" })
        }
    }

    /// A computed probability: rounding noise beyond `[0, 1]` is cut off. NaN becomes 0 in release builds
    /// and panics in debug builds, since a NaN here is always a bug of the caller.
    #[must_use]
    pub fn saturating(value: f64) -> Self {
        debug_assert!(!value.is_nan(), "a computed probability is NaN");
        if value > 0.0 { Self(value.min(1.0)) } else { Self(0.0) }
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// `1 − p`.
    #[must_use]
    pub fn complement(self) -> Self {
        Self(1.0 - self.0)
    }
}

/// A length of time in seconds, in `[0, +∞]`; infinity is a legal latency bound.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Seconds(f64);

impl Seconds {
    /// No time.
    pub const ZERO: Self = Self(0.0);
    /// No finite bound.
    pub const INFINITY: Self = Self(f64::INFINITY);

    /// Checks `value ≥ 0`; NaN is refused.
    ///
    /// # Errors
    /// [`UnitError::Range`] for negative values and NaN.
    pub fn new(value: f64) -> Result<Self, UnitError> {
        if value >= 0.0 {
            Ok(Self(value))
        } else {
            Err(UnitError::Range { quantity: "duration in seconds", value, allowed: "0 to +Inf" })
        }
    }

    /// From whole milliseconds.
    #[must_use]
    pub fn from_millis(ms: u64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
        Self(ms as f64 / 1000.0)
    }

    /// The bare number of seconds.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Whether this is a finite time.
    #[must_use]
    pub const fn is_finite(self) -> bool {
        self.0.is_finite()
    }
}

/// Spelled as in the language: `200ms`, `1.5s`, `+Inf`.
impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == f64::INFINITY {
            return f.write_str("+Inf");
        }
        if self.0 != 0.0 && self.0 < 1.0 {
            let ms = (self.0 * 1e9).round() / 1e6;
            write!(f, "{ms}ms")
        } else {
            write!(f, "{}s", self.0)
        }
    }
}

/// `200ms`, `0.5s`, `1m30s`; a unit is required, fractions are allowed.
impl FromStr for Seconds {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let fault = || UnitError::Syntax {
            quantity: "duration",
            text: text.to_owned(),
            allowed: "a number with a unit, such as 200ms, 0.5s, 1m30s",
        };
        let ms = duration_millis(text, true).ok_or_else(fault)?;
        Self::new(ms / 1000.0).map_err(|_| fault())
    }
}

/// A quantile level in the open interval `(0, 1)`.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Quantile(f64);

impl Quantile {
    /// Checks `0 < value < 1`.
    ///
    /// # Errors
    /// [`UnitError::Range`] outside of it.
    pub fn new(value: f64) -> Result<Self, UnitError> {
        if value > 0.0 && value < 1.0 {
            Ok(Self(value))
        } else {
            Err(UnitError::Range { quantity: "quantile", value, allowed: "above 0 and below 1" })
        }
    }

    /// The bare level, such as 0.99.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// The text of the `quantile` label: the shortest decimal, such as `0.99`.
impl fmt::Display for Quantile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// `p50`, `p99`, `p99.9` (the decimal point is shifted as text, so that `p99.9` is exactly 0.999), or `0.99`.
impl FromStr for Quantile {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let fault = || UnitError::Syntax {
            quantity: "quantile",
            text: text.to_owned(),
            allowed: "p50, p99, p99.9, … or a decimal such as 0.99",
        };
        let plain = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        let value = match text.strip_prefix(['p', 'P']) {
            Some(percent) => {
                let (whole, fraction) = percent.split_once('.').unwrap_or((percent, ""));
                if !plain(whole) || whole.len() > 2 || !(fraction.is_empty() || plain(fraction)) {
                    return Err(fault());
                }
                format!("0.{whole:0>2}{fraction}")
            }
            None => text.to_owned(),
        };
        value.parse().ok().and_then(|value| Self::new(value).ok()).ok_or_else(fault)
    }
}

/// A range of time over which evidence is summed, in whole milliseconds, above 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window(u64);

impl Window {
    /// Prometheus' default evaluation interval.
    pub const MINUTE: Self = Self(60_000);
    /// Prometheus' default lookback.
    pub const FIVE_MINUTES: Self = Self(5 * 60_000);

    /// Checks that the window is not empty and at most 100 years.
    ///
    /// # Errors
    /// [`UnitError::Range`] outside of it.
    pub fn from_millis(ms: u64) -> Result<Self, UnitError> {
        const MAX: u64 = 100 * 365 * 86_400_000;
        if (1..=MAX).contains(&ms) {
            Ok(Self(ms))
        } else {
            #[expect(clippy::cast_precision_loss, reason = "only for the message")]
            let value = ms as f64;
            Err(UnitError::Range { quantity: "window in milliseconds", value, allowed: "1 ms to 100y" })
        }
    }

    /// The length in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// The length in seconds.
    #[must_use]
    pub fn seconds(self) -> Seconds {
        Seconds::from_millis(self.0)
    }
}

/// As Prometheus prints durations (`common/model.Duration`): `60m` is `1h`, `90m` is `1h30m`; years, weeks and
/// days only where they divide the whole.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for (unit, length, exact) in [
            ("y", 365 * 86_400_000, true),
            ("w", 7 * 86_400_000, true),
            ("d", 86_400_000, false),
            ("h", 3_600_000, false),
            ("m", 60_000, false),
            ("s", 1_000, false),
            ("ms", 1, false),
        ] {
            if exact && !rest.is_multiple_of(length) {
                continue;
            }
            if rest >= length {
                // Without the formatter: compiled files are full of windows.
                f.write_str(itoa::Buffer::new().format(rest / length))?;
                f.write_str(unit)?;
                rest %= length;
            }
        }
        Ok(())
    }
}

/// A Prometheus duration: `5m`, `1h30m`, `30d`, whole numbers, each unit once and in falling order.
impl FromStr for Window {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let fault = || UnitError::Syntax {
            quantity: "window",
            text: text.to_owned(),
            allowed: "a Prometheus duration such as 5m, 1h30m, 30d",
        };
        let ms = duration_millis(text, false).ok_or_else(fault)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded below")]
        if ms < 1e16 { Self::from_millis(ms as u64).map_err(|_| fault()) } else { Err(fault()) }
    }
}

/// Parses `1h30m`-like text: units in falling order, each at most once.
fn duration_millis(text: &str, fractional: bool) -> Option<f64> {
    const UNITS: [(&str, f64); 7] = [
        ("y", 365.0 * 86_400_000.0),
        ("w", 7.0 * 86_400_000.0),
        ("d", 86_400_000.0),
        ("h", 3_600_000.0),
        ("m", 60_000.0),
        ("s", 1_000.0),
        ("ms", 1.0),
    ];
    if text.is_empty() || text.len() > 64 {
        return None;
    }
    let (mut rest, mut next_unit, mut total) = (text, 0, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !(c.is_ascii_digit() || fractional && c == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let at = UNITS.iter().position(|(unit, _)| *unit == &rest[..letters])?;
        if at < next_unit {
            return None;
        }
        (next_unit, total, rest) = (at + 1, total + number * UNITS[at].1, &rest[letters..]);
    }
    Some(total)
}

/// A point in time: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }

    /// Seconds since the epoch, as Prometheus' `timestamp()`.
    #[must_use]
    pub fn seconds(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
        let ms = self.0 as f64;
        ms / 1000.0
    }

    /// Later by `ms` (earlier where negative), clamped to the representable range.
    #[must_use]
    pub const fn plus_millis(self, ms: i64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// The greatest multiple of `interval` that is not after this time.
    #[must_use]
    pub fn floor_to(self, interval: Window) -> Self {
        let step = i64::try_from(interval.millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(self.0.rem_euclid(step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_outside_the_unit_interval_are_refused() {
        for value in [-1e-300, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY] {
            assert!(Probability::new(value).is_err(), "{value}");
        }
        assert_eq!(Probability::saturating(1.0 + 1e-12).get(), 1.0);
    }

    #[test]
    fn quantiles_are_read_without_binary_rounding() {
        for (text, value) in [("p50", 0.5), ("p5", 0.05), ("p99", 0.99), ("p99.9", 0.999), ("0.95", 0.95)] {
            assert_eq!(text.parse::<Quantile>().unwrap().get(), value, "{text}");
        }
        for text in ["p100", "p0", "p", "p-1", "p9e1", "1", "0", "", "p99.", "NaN"] {
            assert_eq!(text.parse::<Quantile>().is_ok(), text == "p99.", "{text}");
        }
    }

    #[test]
    fn windows_print_as_prometheus_prints_durations() {
        for (text, printed) in [
            ("60m", "1h"),
            ("90m", "1h30m"),
            ("30d", "30d"),
            ("1w", "1w"),
            ("8d", "8d"),
            ("1500ms", "1s500ms"),
        ] {
            assert_eq!(text.parse::<Window>().unwrap().to_string(), printed);
        }
        for text in ["", "5", "m", "0s", "5m1h", "1m1m", "-5m", "1.5h", "99999999999y", "5 m"] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_may_be_fractional_and_print_as_they_are_written() {
        for (text, value) in [("200ms", 0.2), ("0.5s", 0.5), ("1m30s", 90.0), ("1.5s", 1.5)] {
            assert_eq!(text.parse::<Seconds>().unwrap().get(), value);
        }
        assert_eq!(Seconds::new(0.2).unwrap().to_string(), "200ms");
        assert_eq!(Seconds::INFINITY.to_string(), "+Inf");
        assert!("5".parse::<Seconds>().is_err());
        assert!("1.2.3s".parse::<Seconds>().is_err());
    }

    #[test]
    fn grid_points_lie_at_multiples_of_the_interval_also_before_the_epoch() {
        let interval = Window::from_millis(15_000).unwrap();
        assert_eq!(Timestamp::from_millis(44_999).floor_to(interval).millis(), 30_000);
        assert_eq!(Timestamp::from_millis(-1).floor_to(interval).millis(), -15_000);
    }
}
