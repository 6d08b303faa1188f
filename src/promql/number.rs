//! Numbers as Go writes and reads them, where they become part of labels or messages.

/// `%g` and `%v` of Go's `fmt`: the shortest decimal, with an exponent below 1e-4 and from 1e6.
pub(crate) fn go_g(value: f64) -> String {
    if let Some(text) = not_finite(value) {
        return text.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if value == 0.0 || (-4..6).contains(&exponent) {
        return value.to_string();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// `strconv.FormatFloat(value, 'f', -1, 64)`: never an exponent.
pub(crate) fn go_f(value: f64) -> String {
    not_finite(value).map_or_else(|| value.to_string(), str::to_owned)
}

fn not_finite(value: f64) -> Option<&'static str> {
    if value.is_nan() {
        Some("NaN")
    } else if value.is_infinite() {
        Some(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        None
    }
}

/// `strconv.ParseFloat`, as far as bucket bounds need it: decimals, `Inf`, `NaN`.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_go_writes_them() {
        // From Go's `fmt.Sprintf("%g", x)` and `strconv.FormatFloat(x, 'f', -1, 64)`.
        for (value, g, f) in [
            (1.1, "1.1", "1.1"),
            (-3.0, "-3", "-3"),
            (123_456.0, "123456", "123456"),
            (1_234_567.0, "1.234567e+06", "1234567"),
            (1e-5, "1e-05", "0.00001"),
            (0.0001, "0.0001", "0.0001"),
            (0.0, "0", "0"),
            (1.5e300, "1.5e+300", &format!("15{}", "0".repeat(299))),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
            (f64::NAN, "NaN", "NaN"),
        ] {
            assert_eq!((go_g(value).as_str(), go_f(value).as_str()), (g, f));
        }
    }
}
