//! How a text is spelled in YAML, so that every reader takes it for that text.

use std::fmt::Write as _;

/// Several lines that a literal block holds as they are.
pub(super) fn is_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    body.as_bytes().contains(&b'\n')
        && !body.starts_with([' ', '\n'])
        && !body.ends_with('\n')
        && !text.bytes().fold(false, |found, byte| found | (byte.is_ascii_control() & (byte != b'\n')))
        && (text.is_ascii() || text.chars().all(|c| c == '\n' || !c.is_control()))
}

/// What a byte may mean within a plain scalar, as bits that add up over a text.
mod meaning {
    /// It may end the scalar, or begin something else.
    pub(super) const SYNTAX: u8 = 1;
    /// Part of a character that is not ASCII: a letter or something else.
    pub(super) const WIDE: u8 = 2;
    /// `:`, which ends a key where a space follows.
    pub(super) const COLON: u8 = 4;
    /// `,`, which separates entries between braces and brackets.
    pub(super) const COMMA: u8 = 8;
}

const MEANINGS: [u8; 256] = {
    let mut meanings = [meaning::SYNTAX; 256];
    let mut byte = 0_u8;
    while byte < 255 {
        if byte.is_ascii_alphanumeric() {
            meanings[byte as usize] = 0;
        } else if byte >= 128 {
            meanings[byte as usize] = meaning::WIDE;
        }
        byte += 1;
    }
    let others = b" _./-+()%;'=<>";
    let mut index = 0;
    while index < others.len() {
        meanings[others[index] as usize] = 0;
        index += 1;
    }
    meanings[b':' as usize] = meaning::COLON;
    meanings[b',' as usize] = meaning::COMMA;
    meanings
};

/// How a text may stand without quotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Plain {
    Anywhere,
    /// Not between braces or brackets, where its comma would end it.
    InBlocks,
    Nowhere,
}

/// Whether and where a plain scalar is read as this text, by YAML 1.1 too.
pub(super) fn plain(text: &str) -> Plain {
    const WORDS: [&str; 10] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n", "~"];
    const LONGEST_WORD: usize = 5;
    let bytes = text.as_bytes();
    match bytes.first() {
        Some(b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'/') => {}
        Some(b'0'..=b'9') if is_duration(text) => return Plain::Anywhere,
        _ => return Plain::Nowhere,
    }
    let mut found = 0;
    for byte in bytes {
        found |= MEANINGS[usize::from(*byte)];
        // PromQL soon meets a brace.
        if found & meaning::SYNTAX != 0 {
            return Plain::Nowhere;
        }
    }
    let letters = |c: char| c.is_ascii() || c.is_alphanumeric() || c == '×';
    if matches!(bytes.last(), Some(b' ' | b':'))
        || (found & meaning::COLON != 0 && bytes.windows(2).any(|pair| pair == b": "))
        || (found & meaning::WIDE != 0 && !text.chars().all(letters))
        || (bytes.len() <= LONGEST_WORD && WORDS.iter().any(|word| word.eq_ignore_ascii_case(text)))
    {
        return Plain::Nowhere;
    }
    if found & meaning::COMMA == 0 { Plain::Anywhere } else { Plain::InBlocks }
}

/// `5m`, `1h30m`: digits and units in turn, which is no number in any YAML.
fn is_duration(text: &str) -> bool {
    let units = text.split(|c: char| c.is_ascii_digit()).filter(|unit| !unit.is_empty());
    text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_digit() || c.is_ascii_lowercase())
        && units.clone().all(|unit| ["ms", "s", "m", "h", "d", "w", "y"].contains(&unit))
}

/// A text as it may stand up to the end of a line.
pub(super) fn in_block(text: &str, out: &mut String) {
    if plain(text) == Plain::Nowhere {
        quoted(text, out);
    } else {
        out.push_str(text);
    }
}

/// A text as it may stand anywhere on a line, also between braces.
pub(super) fn anywhere(text: &str, out: &mut String) {
    if plain(text) == Plain::Anywhere {
        out.push_str(text);
    } else {
        quoted(text, out);
    }
}

/// The text in quotes, behind what `out` holds.
fn quoted(text: &str, out: &mut String) {
    let control = text.bytes().fold(false, |found, byte| found | byte.is_ascii_control())
        || (!text.is_ascii() && text.chars().any(char::is_control));
    if !control {
        // PromQL is full of double quotes.
        let single = text.bytes().fold(false, |found, byte| found | matches!(byte, b'"' | b'\\'));
        let quote = if single { '\'' } else { '"' };
        out.push(quote);
        if single && text.as_bytes().contains(&b'\'') {
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
