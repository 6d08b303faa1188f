//! How a text is spelled in YAML, so that every reader takes it for that text.

use std::fmt::Write as _;

/// Several lines that a literal block holds as they are.
pub(super) fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.contains('\n')
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && text.chars().all(|c| c == '\n' || !c.is_control())
}

/// The ASCII characters that mean nothing within a plain scalar, `:` before a space excepted.
const HARMLESS: [bool; 128] = {
    let mut harmless = [false; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        harmless[byte as usize] = byte.is_ascii_alphanumeric();
        byte += 1;
    }
    let others = b" _./-+()%,;'=<>:";
    let mut index = 0;
    while index < others.len() {
        harmless[others[index] as usize] = true;
        index += 1;
    }
    harmless
};

/// Whether a plain scalar is read as this text, by YAML 1.1 too.
pub(super) fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"];
    const LONGEST_WORD: usize = 5;
    match text.bytes().next() {
        Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'/') => {}
        Some(b'0'..=b'9') => return is_duration(text),
        _ => return false,
    }
    let (mut before, mut ascii) = (b'a', true);
    for byte in text.bytes() {
        match HARMLESS.get(usize::from(byte)) {
            Some(true) if before != b':' || byte != b' ' => {}
            Some(_) => return false,
            None => ascii = false,
        }
        before = byte;
    }
    let letters = |c: char| c.is_ascii() || c.is_alphanumeric() || c == '×';
    !matches!(before, b' ' | b':')
        && (ascii || text.chars().all(letters))
        && !(text.len() <= LONGEST_WORD && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)))
}

/// `5m`, `1h30m`: digits and units in turn, which is no number in any YAML.
fn is_duration(text: &str) -> bool {
    let units = text.split(|c: char| c.is_ascii_digit()).filter(|unit| !unit.is_empty());
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase())
        && units.clone().all(|unit| ["ms", "s", "m", "h", "d", "w", "y"].contains(&unit))
}

/// The text in quotes, behind what `out` holds.
pub(super) fn quoted(text: &str, out: &mut String) {
    let control = if text.is_ascii() {
        text.bytes().any(|byte| byte.is_ascii_control())
    } else {
        text.chars().any(char::is_control)
    };
    if !control {
        // PromQL is full of double quotes.
        let single = text.bytes().any(|byte| matches!(byte, b'"' | b'\\'));
        let quote = if single { '\'' } else { '"' };
        out.push(quote);
        if single {
            for (index, part) in text.split('\'').enumerate() {
                out.push_str(if index > 0 { "''" } else { "" });
                out.push_str(part);
            }
        } else {
            out.push_str(text);
        }
        out.push(quote);
        return;
    }
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
