//! Linear scans of a query's text before anything recursive sees it.
//!
//! The parser recurses (it overflows the stack at some 3,000 nested calls), and so do the walks over its tree. The
//! bounds here keep both far from that, whatever the text.

use super::keyword::{is_keyword, is_operator};

/// The longest query that is parsed, in bytes.
pub const MAX_QUERY_BYTES: usize = 8 * 1024;

/// The deepest nesting of brackets.
pub const MAX_DEPTH: usize = 64;

/// The most operators: each may add a level to the tree without a bracket, as do `[…]` of subqueries.
pub const MAX_OPERATORS: usize = 256;

/// Why a text is not parsed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// Too many bytes.
    #[error(
        "the query has {bytes} bytes, allowed are {limit}: shorten it or move parts into recording rules"
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// Brackets nested too deeply.
    #[error("{position}: the query nests deeper than {MAX_DEPTH} levels")]
    TooDeep {
        /// The first bracket beyond the limit.
        position: Position,
    },
    /// Too many operators.
    #[error("{position}: the query has more than {MAX_OPERATORS} operators")]
    TooManyOperators {
        /// The first operator beyond the limit.
        position: Position,
    },
    /// A bracket without its counterpart, or a string without its end.
    #[error("{position}: parse error: {fault}")]
    Unbalanced {
        /// Where.
        position: Position,
        /// What is wrong there.
        fault: String,
    },
}

/// Line and column (in characters), both from 1, as Prometheus writes positions in parse errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
}

impl Position {
    /// The position of a byte offset in `text`.
    #[must_use]
    pub fn of(text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        Self { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Checks a text of at most `max_bytes` against all bounds.
///
/// # Errors
/// The first violated bound.
pub fn check(text: &str, max_bytes: usize) -> Result<(), GuardError> {
    if text.len() > max_bytes {
        return Err(GuardError::TooLong { bytes: text.len(), limit: max_bytes });
    }
    let mut open: Vec<(u8, usize)> = Vec::new();
    let mut operators = 0;
    for token in Tokens::new(text) {
        let (at, token) = token.map_err(|at| GuardError::Unbalanced {
            position: Position::of(text, at),
            fault: "unterminated quoted string".to_owned(),
        })?;
        let mut operator = |at| {
            operators += 1;
            if operators > MAX_OPERATORS {
                return Err(GuardError::TooManyOperators { position: Position::of(text, at) });
            }
            Ok(())
        };
        match token {
            Token::Symbol(bracket @ (b'(' | b'[' | b'{')) => {
                open.push((bracket, at));
                if open.len() > MAX_DEPTH {
                    return Err(GuardError::TooDeep { position: Position::of(text, at) });
                }
                if bracket == b'[' {
                    operator(at)?;
                }
            }
            Token::Symbol(bracket @ (b')' | b']' | b'}')) => {
                let counterpart = match bracket {
                    b')' => b'(',
                    b']' => b'[',
                    _ => b'{',
                };
                if open.pop().is_none_or(|(bracket, _)| bracket != counterpart) {
                    let fault = format!("unexpected {:?}", char::from(bracket));
                    return Err(GuardError::Unbalanced { position: Position::of(text, at), fault });
                }
            }
            Token::Symbol(b'+' | b'-' | b'*' | b'/' | b'%' | b'^' | b'<' | b'>' | b'=' | b'!' | b'@') => {
                operator(at)?;
            }
            Token::Word(word) if is_operator(word) => operator(at)?,
            Token::Word(_) | Token::Symbol(_) | Token::Text(_) => {}
        }
    }
    match open.pop() {
        None => Ok(()),
        Some((bracket, at)) => Err(GuardError::Unbalanced {
            position: Position::of(text, at),
            fault: format!("{:?} is never closed", char::from(bracket)),
        }),
    }
}

/// What a linear scan tells about the series that a text may select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Concerns {
    /// A name that is ours stands in the text outside of comments, as a word or inside a string.
    pub named: bool,
    /// There is a selector without a literal metric name, or `__name__` is matched.
    pub nameless: bool,
}

impl Concerns {
    /// Whether nothing can be said without parsing.
    #[must_use]
    pub const fn any(self) -> bool {
        self.named || self.nameless
    }
}

/// Scans `text` for names that are ours and for selectors without a literal name, in linear time and without parsing.
/// Errs on the side of parsing: what only looks like such a selector is reported too.
#[must_use]
pub fn concerns(text: &str, is_ours: impl Fn(&str) -> bool) -> Concerns {
    let mut found = Concerns::default();
    // Whether it is a name is looked up where a brace follows alone.
    let mut word_before = None;
    let in_string = |quoted: &str| quoted.split(|c: char| !c.is_ascii() || !is_word(c as u8)).any(&is_ours);
    for token in Tokens::new(text) {
        let token = match token {
            Ok((_, token)) => token,
            // An unterminated string: let the parser, or the upstream, say so.
            Err(at) => Token::Text(&text[at..]),
        };
        match token {
            Token::Word(word) => {
                found.named |= is_ours(word);
                found.nameless |= word == "__name__";
                word_before = Some(word);
            }
            Token::Text(quoted) => {
                found.named |= in_string(quoted);
                found.nameless |= quoted.contains("__name__");
                word_before = None;
            }
            Token::Symbol(b'{') => {
                found.nameless |= word_before.take().is_none_or(is_keyword);
            }
            Token::Symbol(_) => word_before = None,
        }
    }
    found
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Token<'a> {
    /// Letters, digits, `_`, `:` and `.`: names, keywords, numbers, durations.
    Word(&'a str),
    /// A string with its quotes.
    Text(&'a str),
    /// Any other byte that is not white space.
    Symbol(u8),
}

/// Tokens with their byte offsets; comments and white space are skipped. An unterminated string yields `Err` with its
/// offset, and ends the tokens.
pub(crate) struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    pub(crate) const fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    fn quoted(&mut self, quote: u8) -> Result<(usize, Token<'a>), usize> {
        let (bytes, start) = (self.text.as_bytes(), self.at);
        let mut at = start + 1;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'\\' if quote != b'`' => at += 2,
                _ if byte == quote => {
                    self.at = at + 1;
                    return Ok((start, Token::Text(&self.text[start..self.at])));
                }
                _ => at += 1,
            }
        }
        self.at = bytes.len();
        Err(start)
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Result<(usize, Token<'a>), usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        loop {
            let start = self.at;
            match *bytes.get(start)? {
                byte if byte.is_ascii_whitespace() => self.at += 1,
                b'#' => {
                    let line = bytes[start..].iter().position(|&byte| byte == b'\n');
                    self.at = line.map_or(bytes.len(), |length| start + length);
                }
                quote @ (b'"' | b'\'' | b'`') => return Some(self.quoted(quote)),
                byte if is_word(byte) => {
                    let length = bytes[start..].iter().position(|&byte| !is_word(byte));
                    self.at = length.map_or(bytes.len(), |length| start + length);
                    return Some(Ok((start, Token::Word(&self.text[start..self.at]))));
                }
                byte => {
                    self.at += 1;
                    return Some(Ok((start, Token::Symbol(byte))));
                }
            }
        }
    }
}

/// Bytes beyond ASCII are no word: they would cut a character. They are legal in strings and comments alone.
const fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> GuardError {
        check(text, MAX_QUERY_BYTES).unwrap_err()
    }

    #[test]
    fn nesting_operators_and_length_are_bounded() {
        let nested = |depth: usize| format!("{}x{}", "(".repeat(depth), ")".repeat(depth));
        assert_eq!(check(&nested(MAX_DEPTH), MAX_QUERY_BYTES), Ok(()));
        assert!(matches!(fault(&nested(MAX_DEPTH + 1)), GuardError::TooDeep { .. }));
        for operator in ["+", "-", " or ", " ATAN2 ", "[1m:]", "@1 "] {
            let chain = format!("x{}", operator.repeat(MAX_OPERATORS + 1));
            assert!(matches!(fault(&chain), GuardError::TooManyOperators { .. }), "{operator}");
        }
        assert!(matches!(fault(&"x".repeat(MAX_QUERY_BYTES + 1)), GuardError::TooLong { .. }));
    }

    #[test]
    fn brackets_in_strings_and_comments_do_not_count() {
        let text = format!(r#"x{{a="{0}", b='\'{0}', c=`\`}} # {0}"#, "(".repeat(100));
        assert_eq!(check(&text, MAX_QUERY_BYTES), Ok(()));
    }

    #[test]
    fn a_bracket_or_string_without_its_end_is_reported_with_its_place() {
        assert_eq!(fault("sum(\n  é(x").to_string(), r#"2:4: parse error: '(' is never closed"#);
        assert_eq!(fault("x{a=\"b}").to_string(), "1:5: parse error: unterminated quoted string");
        assert_eq!(fault("x{a)").to_string(), "1:4: parse error: unexpected ')'");
    }

    #[test]
    fn only_texts_that_may_select_a_synthetic_series_are_worth_parsing() {
        let concerns = |text| {
            let found = concerns(text, |name| name == "emac_journey_gate");
            (found.named, found.nameless)
        };
        for text in [
            "up",
            "sum by (job) (rate(x{a=\"{}\"}[5m]))",
            "1+1",
            "up # {emac_journey_gate}",
            "x and y{a=\"b\"}",
            "x {a=\"b\"}",
            "emac_journey_gate_x",
            "emac_build_info",
        ] {
            assert_eq!(concerns(text), (false, false), "{text}");
        }
        for text in [
            "{job=\"a\"}",
            "x and {job=\"a\"}",
            "sum({a=\"b\"})",
            "x{__name__=~\"a\"}",
            "count by (__name__)(x)",
            "-{a=\"b\"}",
            "{\"up\"}",
        ] {
            assert_eq!(concerns(text), (false, true), "{text}");
        }
        assert_eq!(concerns("emac_journey_gate"), (true, false));
        assert_eq!(concerns("{__name__=\"emac_journey_gate\"}"), (true, true));
        assert_eq!(concerns("label_replace(up, \"a\", \"emac_journey_gate\", \"\", \"\")"), (true, false));
        assert_eq!(concerns("x{a=\"emac_journey_gate"), (true, false));
    }
}
