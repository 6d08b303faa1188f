//! Where the ranges of a query stand in its text.

use std::ops::Range;

use super::guard::{Token, Tokens};

/// The places between the brackets of every `[…]`, in their order; brackets inside strings and comments do not count.
pub(crate) fn ranges(text: &str) -> Vec<Range<usize>> {
    let mut open = None;
    let mut found = Vec::new();
    for (at, token) in Tokens::new(text).map_while(Result::ok) {
        match token {
            Token::Symbol(b'[') => open = Some(at + 1),
            Token::Symbol(b']') => found.extend(open.take().map(|start| start..at)),
            _ => {}
        }
    }
    found
}
