//! Numbers and times as Go prints them.

use std::fmt::Write as _;

use crate::unit::Timestamp;

/// Appends `value` as Prometheus prints sample values: the shortest decimal that reads back the same, with an
/// exponent of at least two digits below 1e-6 and from 1e21 (Go's `'f'` and `'e'` formats), `NaN`, `+Inf`, `-Inf`.
pub fn write_float(out: &mut String, value: f64) {
    let magnitude = value.abs();
    if value.is_nan() {
        out.push_str("NaN");
    } else if value.is_infinite() {
        out.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = match exponent.strip_prefix('-') {
            Some(digits) => ('-', digits),
            None => ('+', exponent),
        };
        let _ = write!(out, "{mantissa}e{sign}{digits:0>2}");
    } else {
        let _ = write!(out, "{value}");
    }
}

/// [`write_float`] into a new text.
#[must_use]
pub fn float(value: f64) -> String {
    let mut out = String::new();
    write_float(&mut out, value);
    out
}

/// Appends `time` in seconds: whole, or with three decimals, never with an exponent (client_golang reads one as
/// a time in 1970, silently).
pub fn write_time(out: &mut String, time: Timestamp) {
    let ms = time.millis();
    let (whole, fraction) = (ms.unsigned_abs() / 1000, ms.unsigned_abs() % 1000);
    let sign = if ms < 0 { "-" } else { "" };
    let _ = match fraction {
        0 => write!(out, "{sign}{whole}"),
        _ => write!(out, "{sign}{whole}.{fraction:03}"),
    };
}

/// Reads a sample value; `None` for anything that Prometheus would not print.
#[must_use]
pub fn parse_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "+Inf" | "Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        _ if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) => {
            text.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_go_prints_them() {
        // strconv.AppendFloat(v, 'f' or 'e', -1, 64), as documented by Go's own tests.
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e-6, "0.000001"),
            (9.99e-7, "9.99e-07"),
            (1e-7, "1e-07"),
            (-1.5e-300, "-1.5e-300"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.234e21, "1.234e+21"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(float(value), text);
            let back = parse_float(text).unwrap();
            assert!(back.to_bits() == value.to_bits() || back.is_nan() && value.is_nan(), "{text}");
        }
    }

    #[test]
    fn what_go_would_not_print_is_not_a_number() {
        for text in ["", "nan", "inf", "infinity", "0x10", "1_000", " 1", "1 ", "e", "--1", "1,5"] {
            assert_eq!(parse_float(text), None, "{text}");
        }
    }

    #[test]
    fn times_have_three_decimals_or_none_and_never_an_exponent() {
        for (ms, text) in [
            (0, "0"),
            (1_435_781_430_781, "1435781430.781"),
            (1_435_781_430_000, "1435781430"),
            (5, "0.005"),
            (-1_500, "-1.500"),
            (i64::MAX, "9223372036854775.807"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            let mut out = String::new();
            write_time(&mut out, Timestamp::from_millis(ms));
            assert_eq!(out, text);
        }
    }
}
