//! Lines of a terminal: a label and columns of numbers, paragraphs that wrap.

use std::borrow::Cow;
use std::fmt::Write as _;

/// The width in columns that lines keep within.
pub const WIDTH: usize = 100;
/// The width of a number's column, with the space before it.
pub(super) const NUMBER: usize = 13;

/// Behind an empty line, a title and the heads of its columns.
pub(super) fn section(out: &mut String, title: &str, first: usize, heads: &[&str]) {
    line(out, "");
    row(out, title, first, heads);
}

/// A label, and numbers to the right of their columns.
pub(super) fn row(out: &mut String, label: &str, first: usize, cells: &[impl AsRef<str>]) {
    row_then(out, label, first, cells, "");
}

/// A row and a free text, which is cut to what is left of the line.
pub(super) fn row_then(out: &mut String, label: &str, first: usize, cells: &[impl AsRef<str>], text: &str) {
    let label = cut(label, first.saturating_sub(1));
    out.push_str(&label);
    let gap = first.saturating_sub(width(&label));
    spaces(out, gap);
    let mut columns = width(&label) + gap;
    for cell in cells {
        let cell = cell.as_ref();
        let gap = NUMBER.saturating_sub(width(cell)).max(1);
        spaces(out, gap);
        out.push_str(cell);
        columns += gap + width(cell);
    }
    if !text.is_empty() {
        let _ = write!(out, "  {}", cut(text, WIDTH.saturating_sub(columns + 2)));
    }
    end(out);
}

fn spaces(out: &mut String, count: usize) {
    const SPACES: &str = "                                                                ";
    let mut left = count;
    while left > SPACES.len() {
        out.push_str(SPACES);
        left -= SPACES.len();
    }
    out.push_str(&SPACES[..left]);
}

/// At most `most` columns; what is cut off is marked.
fn cut(text: &str, most: usize) -> Cow<'_, str> {
    if width(text) <= most {
        return Cow::Borrowed(text);
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// Columns, one a character: names are ASCII in practice, and a wide one only costs alignment.
pub(super) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.chars().count() }
}

/// Without control characters: a name must not move the cursor.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let control = |byte: &u8| byte.is_ascii_control();
    if text.as_bytes().iter().any(control) || (!text.is_ascii() && text.chars().any(char::is_control)) {
        text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
    } else {
        Cow::Borrowed(text)
    }
}

/// `head` and the text behind it, wrapped and indented below it.
pub(super) fn paragraph(out: &mut String, head: &str, text: &str) {
    const INDENT: usize = 4;
    let whole = format!("{head}{text}");
    for (index, part) in wrapped(&printable(&whole), WIDTH - INDENT).into_iter().enumerate() {
        spaces(out, if index == 0 { 0 } else { INDENT });
        line(out, part);
    }
}

/// Broken at spaces into lines of at most `most` columns; leading spaces stay, a longer word is broken where the line
/// ends.
pub(super) fn wrapped(text: &str, most: usize) -> Vec<&str> {
    let mut lines = Vec::new();
    // Of the line that is being filled: where it starts, its columns, and whether it holds more than spaces.
    let (mut start, mut columns, mut begun) = (0, 0, false);
    let mut at = 0;
    for word in text.split_inclusive(' ') {
        if begun && columns + width(word.trim_end()) > most {
            lines.push(text[start..at].trim_end());
            (start, columns, begun) = (at, 0, false);
        }
        // A word of ASCII that fits needs no look at its characters.
        if word.is_ascii() && columns + word.len() <= most {
            at += word.len();
            columns += word.len();
            begun |= word != " ";
            continue;
        }
        for c in word.chars() {
            if columns >= most && c != ' ' {
                lines.push(&text[start..at]);
                (start, columns) = (at, 0);
            }
            at += c.len_utf8();
            columns += 1;
            begun |= c != ' ';
        }
    }
    lines.push(text[start..].trim_end());
    lines
}

/// One line, without spaces at its end.
pub(super) fn line(out: &mut String, text: &str) {
    out.push_str(text);
    end(out);
}

/// Ends the line that is being written.
fn end(out: &mut String) {
    while out.ends_with(' ') {
        out.pop();
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapped_text_keeps_its_words_and_its_width() {
        let text = "one two three four five six seven eight nine ten";
        let lines = wrapped(text, 12);
        assert!(lines.iter().all(|line| line.chars().count() <= 12), "{lines:?}");
        assert_eq!(lines.join(" "), text);
        assert_eq!(wrapped("abcdefgh ij", 3), ["abc", "def", "gh", "ij"]);
    }

    #[test]
    fn control_characters_of_a_name_never_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }
}
