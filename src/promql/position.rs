//! Where the arguments of calls stand in the text: the parser's tree does not say, and warnings name the place.

use super::guard::{Token, Tokens};
use super::keyword::{is_any, is_between_operands};

/// The places of the arguments of every function call and aggregation of a text, in the order in which the calls'
/// names appear.
#[derive(Debug, Clone, Default)]
pub(crate) struct Positions {
    /// For each call, the token with which each argument starts.
    calls: Vec<Vec<usize>>,
    /// The byte offset of each token.
    offsets: Vec<usize>,
}

impl Positions {
    /// Scans a text that the parser accepts.
    pub(crate) fn of(text: &str) -> Self {
        let tokens: Vec<(usize, Token<'_>)> = Tokens::new(text).map_while(Result::ok).collect();
        let mut positions =
            Self { calls: Vec::new(), offsets: tokens.iter().map(|(offset, _)| *offset).collect() };
        // The call that each open bracket belongs to.
        let mut open: Vec<Option<usize>> = Vec::new();
        // An aggregation whose grouping stands before its arguments.
        let mut awaiting: Option<(usize, usize)> = None;
        for (index, (_, token)) in tokens.iter().enumerate() {
            let next = tokens.get(index + 1).map(|(_, token)| *token);
            match *token {
                Token::Word(word) if word_before_at(&tokens, index) || is_between_operands(word) => {}
                Token::Word(_) => match next {
                    Some(Token::Symbol(b'(')) => {
                        positions.calls.push(Vec::new());
                        awaiting = Some((positions.calls.len() - 1, open.len()));
                    }
                    Some(Token::Word(by)) if is_any(by, &["by", "without"]) => {
                        let group_opens = tokens.get(index + 2).map(|(_, token)| *token);
                        if matches!(group_opens, Some(Token::Symbol(b'('))) {
                            positions.calls.push(Vec::new());
                        }
                    }
                    _ => {}
                },
                Token::Symbol(b'(') => {
                    let call = match (before(&tokens, index), awaiting) {
                        (Some(Token::Word(word)), Some((call, depth)))
                            if depth == open.len() && !is_between_operands(word) =>
                        {
                            awaiting = None;
                            Some(call)
                        }
                        (Some(Token::Symbol(b')')), _) => positions.waiting_for_arguments(),
                        _ => None,
                    };
                    open.push(call);
                    positions.start_argument(call, index + 1);
                }
                Token::Symbol(b'[' | b'{') => open.push(None),
                Token::Symbol(b')' | b']' | b'}') => {
                    open.pop();
                }
                Token::Symbol(b',') => {
                    let call = open.last().copied().flatten();
                    positions.start_argument(call, index + 1);
                }
                _ => {}
            }
        }
        positions
    }

    /// A bracket that directly follows another: the arguments of the aggregation whose grouping just ended.
    fn waiting_for_arguments(&self) -> Option<usize> {
        self.calls.last().is_some_and(Vec::is_empty).then(|| self.calls.len() - 1)
    }

    fn start_argument(&mut self, call: Option<usize>, token: usize) {
        if let Some(starts) = call.and_then(|call| self.calls.get_mut(call)) {
            starts.push(token);
        }
    }

    /// The byte offset of an argument inside `parentheses` pairs of parentheses; 0 where it is unknown.
    pub(crate) fn argument(&self, call: usize, argument: usize, parentheses: usize) -> usize {
        let token = self.calls.get(call).and_then(|starts| starts.get(argument));
        token.and_then(|token| self.offsets.get(token + parentheses)).copied().unwrap_or_default()
    }
}

fn before<'a>(tokens: &[(usize, Token<'a>)], index: usize) -> Option<Token<'a>> {
    index.checked_sub(1).map(|before| tokens[before].1)
}

/// `@ start()` and `@ end()`.
fn word_before_at(tokens: &[(usize, Token<'_>)], index: usize) -> bool {
    matches!(before(tokens, index), Some(Token::Symbol(b'@')))
}

/// `line:column`, both from 1, the column in bytes: as Prometheus writes it in warnings.
pub(crate) fn line_and_column(text: &str, offset: usize) -> String {
    let before = text.as_bytes().get(..offset).unwrap_or_default();
    let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    format!("{line}:{column}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Vec<Vec<&str>> {
        let positions = Positions::of(text);
        let call = |call: usize| {
            let count = positions.calls[call].len();
            (0..count).map(|argument| text.split_at(positions.argument(call, argument, 0)).1).collect()
        };
        (0..positions.calls.len()).map(call).collect()
    }

    #[test]
    fn arguments_are_found_in_the_order_of_their_calls() {
        assert_eq!(arguments("f(1, g(2))"), [vec!["1, g(2))", "g(2))"], vec!["2))"]]);
        assert_eq!(
            arguments("sum by (a, b) (x) + on(a) group_left(b) y"),
            [vec!["x) + on(a) group_left(b) y"]]
        );
        assert_eq!(arguments("topk(3, x) by (a)"), [vec!["3, x) by (a)", "x) by (a)"]]);
        assert_eq!(arguments("topk by (a) (3, f(x))"), [vec!["3, f(x))", "f(x))"], vec!["x))"]]);
        assert_eq!(arguments("x @ start() and (y)"), [] as [Vec<&str>; 0]);
        assert_eq!(arguments("f(x{a=\"(\", b=\",\"}[5m])"), [vec!["x{a=\"(\", b=\",\"}[5m])"]]);
        assert_eq!(arguments("sum(count by (a) (x)) by (b)").len(), 2);
        assert_eq!(arguments("(f((x)))"), [vec!["(x)))"]]);
        assert_eq!(Positions::of("f((x))").argument(0, 0, 1), 3);
        assert_eq!(arguments("time() + f(1)"), [vec![") + f(1)"], vec!["1)"]]);
    }

    #[test]
    fn places_are_lines_and_columns() {
        assert_eq!(line_and_column("a\nbc", 3), "2:2");
        assert_eq!(line_and_column("abc", 0), "1:1");
    }
}
