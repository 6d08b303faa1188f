//! Numbers as people and machines read them.
//!
//! Machines get every digit, and infinity as the string `+Inf`, since JSON has no such number. People get as many
//! digits as tell an availability of five nines from one of six, or a latency from the next.

use serde::Serializer;

use crate::unit::{Probability, Seconds};

/// A probability with eight decimals, such as `0.99747706`; exactly 0 and 1 without.
#[must_use]
pub fn decimals(p: Probability) -> String {
    match p.get() {
        0.0 => "0".to_owned(),
        1.0 => "1".to_owned(),
        value => format!("{value:.8}"),
    }
}

/// A probability as a percentage that keeps three significant digits of what is missing to 100 %: `99.747 %`,
/// `99.99983 %`, `42.1 %`. It never rounds to 100 % what is below it.
#[must_use]
pub fn percent(p: Probability) -> String {
    let percent = 100.0 * p.get();
    let missing = 100.0 - percent;
    if missing <= 0.0 {
        return "100 %".to_owned();
    }
    if missing < 1e-8 {
        return "> 99.99999999 %".to_owned();
    }
    if percent == 0.0 {
        return "0 %".to_owned();
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0…10 first")]
    let places = (2.0 - missing.log10().floor()).clamp(1.0, 10.0) as usize;
    let text = format!("{percent:.places$}");
    format!("{} %", trimmed(&text))
}

/// A share of a whole, to a tenth of a percent below 10 %: `0.4 %`, `42 %`.
#[must_use]
pub fn share(fraction: f64) -> String {
    let percent = 100.0 * fraction;
    match percent.abs() {
        0.0 => "0 %".to_owned(),
        tiny if tiny < 0.05 => "< 0.1 %".to_owned(),
        small if small < 9.95 => format!("{percent:.1} %"),
        _ => format!("{percent:.0} %"),
    }
}

/// A time with three significant digits and a unit that keeps it short: `38.2 ms`, `1.24 s`, `3.5 min`, `+Inf`.
#[must_use]
pub fn seconds(time: Seconds) -> String {
    let value = time.get();
    if value.is_infinite() {
        return "+Inf".to_owned();
    }
    if value == 0.0 {
        return "0 s".to_owned();
    }
    let (scaled, unit) = match value {
        v if v < 0.999_5e-3 => (v * 1e6, "µs"),
        v if v < 0.999_5 => (v * 1e3, "ms"),
        v if v < 119.5 => (v, "s"),
        v if v < 7170.0 => (v / 60.0, "min"),
        v => (v / 3600.0, "h"),
    };
    format!("{} {unit}", significant(scaled, 3))
}

/// A burn rate: `< 0.01×`, `0.42×`, `14.4×`, `250×`.
#[must_use]
pub fn times(rate: f64) -> String {
    match rate {
        r if r.is_infinite() => "∞×".to_owned(),
        0.0 => "0×".to_owned(),
        r if r < 0.01 => "< 0.01×".to_owned(),
        r if r < 1.0 => format!("{r:.2}×"),
        r => format!("{}×", significant(r, 3)),
    }
}

/// A count: whole where it is whole or large, with thousands apart by a thin space.
#[must_use]
pub fn count(value: f64) -> String {
    if value.fract() != 0.0 && value < 100.0 {
        return significant(value, 3);
    }
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push('\u{202f}');
        }
        out.push(digit);
    }
    out
}

/// Up to `digits` significant digits, without trailing zeros and without an exponent.
#[must_use]
pub fn significant(value: f64, digits: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return if value == 0.0 { "0".to_owned() } else { format!("{value}") };
    }
    #[expect(clippy::cast_possible_truncation, reason = "a decimal exponent lies within ±324")]
    let exponent = value.abs().log10().floor() as i32;
    let places = usize::try_from((digits - 1 - exponent).max(0)).unwrap_or(0);
    trimmed(&format!("{value:.places$}")).to_owned()
}

/// A number of a formula: up to eight decimals, without trailing zeros.
#[must_use]
pub fn operand(value: f64) -> String {
    if value != 0.0 && value.abs() < 1e-8 {
        return format!("{value:.3e}");
    }
    trimmed(&format!("{value:.8}")).to_owned()
}

/// Without the zeros that end a fraction.
fn trimmed(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

/// Every digit of a probability.
pub(super) fn probability<S: Serializer>(p: &Probability, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(p.get())
}

/// Every digit of a time in seconds, or `"+Inf"`.
pub(crate) fn time<S: Serializer>(time: &Seconds, serializer: S) -> Result<S::Ok, S::Error> {
    real(&time.get(), serializer)
}

/// As [`time`], where there is one.
pub(super) fn time_or_null<S: Serializer>(time: &Option<Seconds>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => real(&time.get(), serializer),
        None => serializer.serialize_none(),
    }
}

/// Every digit of a probability, where there is one.
pub(super) fn probability_or_null<S: Serializer>(
    p: &Option<Probability>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match p {
        Some(p) => serializer.serialize_f64(p.get()),
        None => serializer.serialize_none(),
    }
}

/// Every digit of a number, where there is one.
pub(super) fn real_or_null<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => real(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Every digit of a number, or `"+Inf"`, `"-Inf"`; nothing in a derivation is NaN.
pub(super) fn real<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() {
        serializer.serialize_f64(*value)
    } else {
        serializer.serialize_str(if *value > 0.0 { "+Inf" } else { "-Inf" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_keep_the_digits_that_matter_and_never_round_up_to_all() {
        for (p, text) in [
            (0.0, "0 %"),
            (0.421, "42.1 %"),
            (0.995, "99.5 %"),
            (0.997_477_06, "99.748 %"),
            (0.999_998_34, "99.999834 %"),
            (0.999_999_999_87, "99.999999987 %"),
            (1.0 - 1e-14, "> 99.99999999 %"),
            (1.0, "100 %"),
        ] {
            assert_eq!(percent(Probability::new(p).unwrap()), text, "{p}");
        }
    }

    #[test]
    fn times_have_three_digits_and_a_unit_that_keeps_them_short() {
        for (value, text) in [
            (0.0, "0 s"),
            (0.000_042, "42 µs"),
            (0.038_24, "38.2 ms"),
            (0.999_7, "1 s"),
            (1.236, "1.24 s"),
            (90.0, "90 s"),
            (210.0, "3.5 min"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(seconds(Seconds::new(value).unwrap()), text);
        }
    }

    #[test]
    fn operands_and_counts_are_exact_where_they_can_be() {
        assert_eq!(operand(0.997_477_058_76), "0.99747706");
        assert_eq!(operand(0.8), "0.8");
        assert_eq!(operand(3e-10), "3.000e-10");
        assert_eq!(count(1_234_567.0), "1\u{202f}234\u{202f}567");
        assert_eq!(count(99_950.4), "99\u{202f}950");
        assert_eq!(count(2.5), "2.5");
        assert_eq!(times(14.4), "14.4×");
        assert_eq!(times(0.000_01), "< 0.01×");
        assert_eq!(share(0.000_1), "< 0.1 %");
    }
}
