//! Literals that the parser would misread, found before it sees them: it panics at durations that are no finite
//! number, drops the parts of durations that overflow, and reads bytes of strings as characters.

use super::guard::{Token, Tokens};

/// The longest duration, in seconds: 300 years.
const MAX_SECONDS: f64 = 300.0 * 365.0 * 86_400.0;

/// What is wrong with a literal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LiteralFault {
    /// A duration beyond 300 years, negative, or no number.
    #[error("duration out of range (allowed: above 0, at most 300y)")]
    Duration,
    /// A string with escapes that make no UTF-8.
    #[error("string is no UTF-8: escapes above \\x7f and \\177 stand for bytes, use \\u for characters")]
    NotUtf8,
    /// Such a string as the label of `count_values`.
    #[error("invalid label name {0}")]
    LabelName(String),
}

/// Looks at every duration and string.
///
/// # Errors
/// The byte offset of the first that the parser would misread.
pub(crate) fn check(text: &str) -> Result<(), (usize, LiteralFault)> {
    let tokens: Vec<(usize, Token<'_>)> = Tokens::new(text).map_while(Result::ok).collect();
    // Between brackets a colon parts a subquery's range from its step; elsewhere it is a letter of a name.
    let mut in_brackets = false;
    for (index, (at, token)) in tokens.iter().enumerate() {
        match token {
            Token::Symbol(b'[') => in_brackets = true,
            Token::Symbol(b']') => in_brackets = false,
            Token::Text(quoted) if has_byte_escapes(quoted) => {
                let fault = if is_label_of_count_values(&tokens, index) {
                    LiteralFault::LabelName((*quoted).to_owned())
                } else {
                    LiteralFault::NotUtf8
                };
                return Err((*at, fault));
            }
            Token::Word(word) if is_duration_place(&tokens, index, in_brackets) => {
                // `1e` of `1e+300`: no duration needs an exponent.
                let exponent = word.ends_with(['e', 'E']) && word.starts_with(|c: char| c.is_ascii_digit());
                if exponent || !word.split(':').all(is_in_range) {
                    return Err((*at, LiteralFault::Duration));
                }
            }
            // A duration as a number: `5m` is 300.
            Token::Word(word) if word.starts_with(|c: char| c.is_ascii_digit()) && !units_fit(word) => {
                return Err((*at, LiteralFault::Duration));
            }
            _ => {}
        }
    }
    Ok(())
}

/// After `[` or `offset`, with or without a sign.
fn is_duration_place(tokens: &[(usize, Token<'_>)], index: usize, in_brackets: bool) -> bool {
    let before = |back: usize| index.checked_sub(back).map(|before| tokens[before].1);
    let opens = |token: Option<Token<'_>>| match token {
        Some(Token::Symbol(b'[')) => true,
        Some(Token::Word(word)) => {
            word.eq_ignore_ascii_case("offset")
                || in_brackets && (word.starts_with(':') || word.ends_with(':'))
        }
        _ => false,
    };
    opens(before(1)) || matches!(before(1), Some(Token::Symbol(b'+' | b'-'))) && opens(before(2))
}

/// The first argument of `count_values`, with the grouping before it or not.
fn is_label_of_count_values(tokens: &[(usize, Token<'_>)], index: usize) -> bool {
    let opens = |token: &(usize, Token<'_>)| matches!(token.1, Token::Symbol(b'('));
    let names = |token: &(usize, Token<'_>)| matches!(token.1, Token::Word(word) if word.eq_ignore_ascii_case("count_values"));
    let Some((last, before)) = tokens[..index].split_last() else { return false };
    opens(last)
        && match before.last() {
            Some((_, Token::Symbol(b')'))) => before
                .iter()
                .rposition(opens)
                .and_then(|open| open.checked_sub(2))
                .is_some_and(|at| names(&before[at])),
            Some(token) => names(token),
            None => false,
        }
}

fn is_in_range(text: &str) -> bool {
    match text.parse::<f64>() {
        // Also `inf`, `nan` and `1e300`.
        Ok(seconds) => (0.0..=MAX_SECONDS).contains(&seconds),
        Err(_) => units_fit(text),
    }
}

/// Whether each number of `1h30m` is small enough for the parser not to drop its part.
fn units_fit(text: &str) -> bool {
    if text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0X") {
        return true;
    }
    let mut seconds = 0.0;
    let mut rest = text;
    while let Some(digits) = rest.find(|c: char| !c.is_ascii_digit()) {
        let Ok(number) = rest[..digits].parse::<u32>() else { return digits == 0 };
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "y" => 31_536_000.0,
            "w" => 604_800.0,
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 0.001,
            // No duration: the parser says what it is.
            _ => return true,
        };
        seconds += f64::from(number) * unit;
        rest = &rest[letters..];
    }
    seconds <= MAX_SECONDS
}

/// Whether a quoted string has `\x80` to `\xff` or `\200` to `\377`.
fn has_byte_escapes(quoted: &str) -> bool {
    if quoted.starts_with('`') {
        return false;
    }
    let bytes = quoted.as_bytes();
    let mut at = 0;
    while let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        at += offset + 1;
        match (bytes.get(at), bytes.get(at + 1)) {
            (Some(b'x'), Some(b'8' | b'9' | b'a'..=b'f' | b'A'..=b'F'))
            | (Some(b'2' | b'3'), Some(b'0'..=b'7')) => {
                return true;
            }
            _ => at += 1,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_would_crash_or_shrink_are_refused() {
        for text in [
            "x[Inf]",
            "x[NaN]",
            "x[1e300]",
            "x[1e+300]",
            "x[-1]",
            "x offset 1e99",
            "x offset -NaN",
            "x[5m:inf]",
            "x[1h99999999999s]",
            "x[5000y]",
            "1h99999999999s",
            "x[5m: inf]",
        ] {
            let negative = text == "x[-1]";
            assert_eq!(check(text).is_err(), !negative, "{text}");
        }
        for text in [
            "x[5m]",
            "x[300]",
            "x[5m:]",
            "x[5m:1m] offset -5m",
            "1e300",
            "0x1f",
            "x[1h30m] offset 1.5",
            "inf",
        ] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_number_behind_a_name_with_a_colon_at_its_end_is_no_duration() {
        for text in [":i + 3.3e+37", "job:x: - 1e10", "x[5m] + :i + 99999999999", "x[5m:1m] + :i * 1e300"] {
            assert_eq!(check(text), Ok(()), "{text}");
        }
        for text in ["x[5m:+1e10]", "x[5m: 1e300]", "x[99999999999:1m]"] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_that_are_no_utf8_are_refused() {
        assert!(check(r#"x{a="\xff"}"#).is_err() && check(r"x{a='\377'}").is_err());
        let fault = |text| check(text).unwrap_err().1.to_string();
        assert_eq!(fault(r#"count_values("a\xc5z", x)"#), r#"invalid label name "a\xc5z""#);
        assert_eq!(fault(r#"count_values by (b) ("\xc5", x)"#), r#"invalid label name "\xc5""#);
        assert!(check(r#"x{a="\x41\\xff\u00ff\101"}"#).is_ok() && check(r"x{a=`\xff`}").is_ok());
    }
}
