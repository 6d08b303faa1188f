//! Decimals as people write them: exact, never `0.0050000000000000044`.

/// The shortest decimal that reads back as this number, without an exponent.
pub(crate) fn exact(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    format!("{value}")
}

/// A whole number behind what `out` holds: files of rules hold thousands of them, and most have a few digits.
pub(crate) fn push_count(value: u64, out: &mut String) {
    out.push_str(itoa::Buffer::new().format(value));
}

/// `1 − value` in decimal arithmetic: 0.995 leaves 0.005. `value` lies in `[0, 1]`.
pub(crate) fn complement(value: f64) -> String {
    let text = exact(value);
    let Some((whole, fraction)) = text.split_once('.') else {
        return exact(1.0 - value);
    };
    if whole != "0" {
        return exact(1.0 - value);
    }
    // Ten's complement, digit by digit from the right.
    let mut digits: Vec<u8> = fraction.bytes().map(|digit| b'9' - digit).collect();
    for digit in digits.iter_mut().rev() {
        if *digit == 9 {
            *digit = 0;
        } else {
            *digit += 1;
            break;
        }
    }
    let mut out = String::from("0.");
    out.extend(digits.iter().map(|digit| char::from(b'0' + digit)));
    out.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_all_their_digits() {
        for value in [0, 7, 10, 100, 12_345, 999_999, u64::MAX] {
            let mut out = String::new();
            push_count(value, &mut out);
            assert_eq!(out, value.to_string());
        }
    }

    #[test]
    fn what_is_left_of_one_is_exact() {
        for (value, left) in [
            (0.995, "0.005"),
            (0.999, "0.001"),
            (0.9, "0.1"),
            (0.9995, "0.0005"),
            (0.999_99, "0.00001"),
            (0.25, "0.75"),
            (0.0, "1"),
            (1.0, "0"),
        ] {
            assert_eq!(complement(value), left);
        }
        assert_eq!(exact(14.4), "14.4");
        assert_eq!(exact(1e-7), "0.0000001");
    }
}
