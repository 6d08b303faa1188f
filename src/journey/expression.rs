//! The written form of an operator tree, with names where [`super::operator`] has ids: what the tree form and the text
//! form of the language have in common, so that each converts to the other without loss.
//!
//! Text: `Series(front, Cond(p_hit; cache, catalog), Timeout(200ms; Race(paya, payb), queue))`. What stands before a
//! `;` are the operator's figures, what stands behind it are its operands. Figures keep their spelling.
//!
//! | operator | text |
//! |---|---|
//! | series, parallel, race | `Series(a, b)`, `Parallel(a, b)`, `Race(a, b)`; `Parallel(join=all; a, b)` and `Race(semantics=hedged; a, b)` say it aloud |
//! | cond | `Cond(p; a, b)`, `Cond(.2, .5; a, b, c)`; the branch without a probability is the last or marked: `Cond(_, .5; a, b)` |
//! | kofn | `KofN(2; a, b, c)` |
//! | timeout, fallback | `Timeout(200ms; a)`, `Timeout(200ms; a, b)`, `Fallback(a, b)` |
//! | retry | `Retry(3; a)`, `Retry(3, 100ms; a)`, `Retry(3, 100ms, 50ms; a)`; beside or instead: `perTryTimeout=100ms, backoff=50ms, factor=2, max=1s, jitter=full, attemptsFate=independent` |
//! | hedge, optional | `Hedge(50ms; a, b)`, `Optional(100ms; a)` |
//! | repeat | `Repeat(3; a)`, `Repeat(1=0.7, 2=0.3; a)` |

mod reader;
mod writer;

use super::operator::{AttemptsFate, Jitter};
use crate::unit::Seconds;

/// The deepest nesting of operators.
pub const MAX_DEPTH: usize = 256;
/// The most operators and components of one expression.
pub const MAX_TERMS: usize = 100_000;

/// A figure and its spelling. Two are equal where they are spelled alike.
#[derive(Debug, Clone)]
pub struct Written<T> {
    /// What it means.
    pub value: T,
    /// How it is written.
    pub text: String,
}

impl<T> PartialEq for Written<T> {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// How a branch's probability is written.
#[derive(Debug, Clone, PartialEq)]
pub enum Share {
    /// As a number.
    Number(Written<f64>),
    /// As the name of a parameter.
    Parameter(String),
    /// Not at all: what the others leave.
    Remainder,
}

/// How a wait between attempts is written.
#[derive(Debug, Clone, PartialEq)]
pub struct WrittenBackoff {
    /// The wait after the first attempt.
    pub base: Written<Seconds>,
    /// Growth per attempt.
    pub factor: Option<Written<f64>>,
    /// The longest wait.
    pub max: Option<Written<Seconds>>,
    /// Random spread.
    pub jitter: Option<Jitter>,
}

/// How often a Repeat repeats.
#[derive(Debug, Clone, PartialEq)]
pub enum Repetitions {
    /// Always that often.
    Count(u32),
    /// That often with that probability.
    Distribution(Vec<(u32, Written<f64>)>),
}

/// A node of the written tree. Two are equal where they say the same, wherever they stand.
#[derive(Debug, Clone)]
pub struct Expression {
    /// Where it was read: characters from the start of the text, or whatever its maker counts.
    pub at: usize,
    /// What it says.
    pub term: Term,
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.term == other.term
    }
}

/// What a node says; the meaning is that of [`super::operator::Operator`]'s variant of the same name.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the fields are those of the operators of the same names")]
pub enum Term {
    Component(String),
    Series(Vec<Expression>),
    /// With `join: all` written out or not.
    Parallel {
        join: bool,
        branches: Vec<Expression>,
    },
    Cond(Vec<(Share, Expression)>),
    /// With `semantics: hedged` written out or not.
    Race {
        hedged: bool,
        branches: Vec<Expression>,
    },
    KofN {
        k: usize,
        branches: Vec<Expression>,
    },
    Timeout {
        after: Written<Seconds>,
        body: Box<Expression>,
        fallback: Option<Box<Expression>>,
    },
    Fallback {
        body: Box<Expression>,
        fallback: Box<Expression>,
    },
    Retry {
        attempts: u32,
        per_try_timeout: Option<Written<Seconds>>,
        backoff: Option<Box<WrittenBackoff>>,
        fate: Option<AttemptsFate>,
        body: Box<Expression>,
    },
    Hedge {
        delay: Written<Seconds>,
        body: Box<Expression>,
        alternate: Box<Expression>,
    },
    Optional {
        timeout: Written<Seconds>,
        body: Box<Expression>,
    },
    Repeat {
        counts: Repetitions,
        body: Box<Expression>,
    },
}

/// The keywords of the text form.
pub const KEYWORDS: [&str; 11] = [
    "Series", "Parallel", "Cond", "Race", "KofN", "Timeout", "Fallback", "Retry", "Hedge", "Optional",
    "Repeat",
];

/// Why a text is not an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("found {found}; allowed: {allowed}")]
pub struct ExpressionError {
    /// Characters from the start of the text.
    pub at: usize,
    /// What stands there.
    pub found: String,
    /// What may stand there.
    pub allowed: String,
}

/// Whether `name` can name a component or a parameter: 1 to 128 of `A–Z a–z 0–9 _ . / : @ -`, beginning with a letter,
/// digit or underscore.
#[must_use]
pub fn is_name(name: &str) -> bool {
    name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && name.bytes().all(is_name_byte)
}

/// As [`is_name`], for parameters: not beginning with a digit, so that none can be taken for a number, and not `_`.
#[must_use]
pub fn is_parameter_name(name: &str) -> bool {
    is_name(name) && name != "_" && !name.starts_with(|c: char| c.is_ascii_digit())
}

const fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'/' | b':' | b'@' | b'-')
}

/// A number as both forms write it: digits with a point and an exponent, no sign.
#[must_use]
pub fn number(text: &str) -> Option<Written<f64>> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    let starts = text.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    let value = text.parse::<f64>().ok().filter(|value| plain && starts && value.is_finite())?;
    Some(Written { value, text: text.to_owned() })
}

/// A duration as both forms write it.
#[must_use]
pub fn duration(text: &str) -> Option<Written<Seconds>> {
    let value = text.parse::<Seconds>().ok().filter(|value| value.is_finite())?;
    Some(Written { value, text: text.to_owned() })
}

impl Expression {
    /// The operator's keyword in the text form; a component's name.
    #[must_use]
    pub fn keyword(&self) -> &str {
        match &self.term {
            Term::Component(name) => name,
            Term::Series(_) => "Series",
            Term::Parallel { .. } => "Parallel",
            Term::Cond(_) => "Cond",
            Term::Race { .. } => "Race",
            Term::KofN { .. } => "KofN",
            Term::Timeout { .. } => "Timeout",
            Term::Fallback { .. } => "Fallback",
            Term::Retry { .. } => "Retry",
            Term::Hedge { .. } => "Hedge",
            Term::Optional { .. } => "Optional",
            Term::Repeat { .. } => "Repeat",
        }
    }

    /// The direct operands in their order.
    #[must_use]
    pub fn operands(&self) -> Vec<&Self> {
        match &self.term {
            Term::Component(_) => Vec::new(),
            Term::Series(all)
            | Term::Parallel { branches: all, .. }
            | Term::Race { branches: all, .. }
            | Term::KofN { branches: all, .. } => all.iter().collect(),
            Term::Cond(branches) => branches.iter().map(|(_, body)| body).collect(),
            Term::Timeout { body, fallback, .. } => {
                std::iter::once(&**body).chain(fallback.as_deref()).collect()
            }
            Term::Fallback { body, fallback: second } | Term::Hedge { body, alternate: second, .. } => {
                vec![body, second]
            }
            Term::Retry { body, .. } | Term::Optional { body, .. } | Term::Repeat { body, .. } => vec![body],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::operator::MAX_FANOUT;

    #[test]
    fn every_operator_is_read_and_written_alike() {
        for text in [
            "a",
            "Series(Frontend, Cond(p_hit; Cache, Catalog), Timeout(200ms; Race(PayA, PayB), Queue))",
            "Parallel(a, b)",
            "Parallel(join=all; a, b)",
            "Race(semantics=hedged; a, b)",
            "Cond(.2, .5; a, b, c)",
            "Cond(_, .5; a, b)",
            "Cond(0.5, 5e-1; a, b)",
            "Cond(_; a)",
            "KofN(2; a, b, c)",
            "Timeout(1m30s; a)",
            "Fallback(a, b)",
            "Retry(3; a)",
            "Retry(3, 100ms; a)",
            "Retry(3, 100ms, 50ms; a)",
            "Retry(3, backoff=50ms, factor=2, max=1s, jitter=full, attemptsFate=independent; a)",
            "Hedge(50ms; a, b)",
            "Optional(100ms; a)",
            "Repeat(3; a)",
            "Repeat(1=0.7, 2=0.3; k8s/svc.ns:8080)",
        ] {
            let expression = Expression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(expression.to_string(), text);
            assert_eq!(Expression::parse(&expression.pretty(20)).as_ref(), Ok(&expression), "{text}");
        }
    }

    #[test]
    fn a_fault_names_its_place_and_what_is_allowed() {
        for (text, at, allowed) in [
            ("", 0, "a component or an operator"),
            ("Series(a b)", 9, "`,` or `)`"),
            ("Series(a, b", 11, "`,` or `)`"),
            ("Series()", 7, "a component or an operator"),
            ("Serie(a)", 0, "the operators Series"),
            ("Timeout(200; a)", 8, "a duration"),
            ("KofN(a, b)", 5, "how many"),
            ("Cond(a, b)", 9, "before a `;`"),
            ("Cond(.1, .2; a)", 13, "one probability a branch"),
            ("Retry(2, factor=2; a)", 17, "`backoff=…`"),
            ("Retry(2, factor=2, factor=2; a)", 19, "each once"),
            ("a b", 2, "the end"),
            ("é", 0, "a component or an operator"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert_eq!(error.at, at, "{text}: {error}");
            assert!(error.allowed.contains(allowed), "{text}: {error}");
        }
    }

    #[test]
    fn depth_and_size_are_limited() {
        let nested = |n: usize| format!("{}a{}", "Series(".repeat(n), ")".repeat(n));
        assert!(Expression::parse(&nested(MAX_DEPTH - 1)).is_ok());
        assert!(Expression::parse(&nested(MAX_DEPTH)).unwrap_err().allowed.contains("256"));
        assert!(Expression::parse(&nested(10_000)).is_err());
        let wide = format!("Series({})", vec!["a"; MAX_FANOUT + 1].join(","));
        assert!(Expression::parse(&wide).unwrap_err().allowed.contains("10000"));
        let large =
            format!("Series({})", vec![format!("Series({})", vec!["a"; 9_999].join(",")); 11].join(","));
        assert!(Expression::parse(&large).unwrap_err().allowed.contains("100000"));
    }
}
