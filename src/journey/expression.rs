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

use std::fmt;

use super::operator::{AttemptsFate, Jitter, MAX_FANOUT};
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Mark(char),
    End,
}

impl Token<'_> {
    fn describe(self) -> String {
        match self {
            Self::Word(word) => format!("`{}`", word.chars().take(60).collect::<String>()),
            Self::Mark(mark) => format!("`{mark}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// Tokens with one of lookahead. Offsets count characters.
struct Reader<'a> {
    rest: &'a str,
    at: usize,
    next: Token<'a>,
    next_at: usize,
    terms: usize,
}

type Parsed<T> = Result<T, ExpressionError>;

/// What stands before the `;` of a Retry.
#[derive(Default)]
struct RetryFigures {
    attempts: u32,
    per_try_timeout: Option<Written<Seconds>>,
    base: Option<Written<Seconds>>,
    factor: Option<Written<f64>>,
    max: Option<Written<Seconds>>,
    jitter: Option<Jitter>,
    fate: Option<AttemptsFate>,
}

impl<'a> Reader<'a> {
    fn new(text: &'a str) -> Self {
        let mut reader = Self { rest: text, at: 0, next: Token::End, next_at: 0, terms: 0 };
        reader.advance();
        reader
    }

    fn advance(&mut self) {
        let trimmed = self.rest.trim_start();
        self.at += self.rest[..self.rest.len() - trimmed.len()].chars().count();
        self.next_at = self.at;
        let word =
            trimmed.bytes().position(|byte| !is_name_byte(byte) && byte != b'+').unwrap_or(trimmed.len());
        let length = if word > 0 {
            self.next = Token::Word(&trimmed[..word]);
            self.at += word;
            word
        } else if let Some(mark) = trimmed.chars().next() {
            self.next = Token::Mark(mark);
            self.at += 1;
            mark.len_utf8()
        } else {
            self.next = Token::End;
            0
        };
        self.rest = &trimmed[length..];
    }

    fn unexpected<T>(&self, allowed: impl Into<String>) -> Parsed<T> {
        Err(ExpressionError { at: self.next_at, found: self.next.describe(), allowed: allowed.into() })
    }

    fn mark(&mut self, mark: char) -> Parsed<()> {
        if self.next == Token::Mark(mark) {
            self.advance();
            return Ok(());
        }
        self.unexpected(format!("`{mark}`"))
    }

    fn word<T>(&mut self, allowed: &str, read: impl FnOnce(&'a str) -> Option<T>) -> Parsed<T> {
        let value = match self.next {
            Token::Word(word) => read(word),
            Token::Mark(_) | Token::End => None,
        };
        let Some(value) = value else { return self.unexpected(allowed) };
        self.advance();
        Ok(value)
    }

    /// `key=` ahead?
    fn key(&self) -> Option<&'a str> {
        match self.next {
            Token::Word(word) if self.rest.trim_start().starts_with('=') => Some(word),
            _ => None,
        }
    }

    fn duration(&mut self) -> Parsed<Written<Seconds>> {
        self.word("a duration such as 200ms or 0.5s", duration)
    }

    fn operand(&mut self, depth: usize) -> Parsed<Expression> {
        let at = self.next_at;
        self.terms += 1;
        if depth > MAX_DEPTH || self.terms > MAX_TERMS {
            let allowed = if depth > MAX_DEPTH {
                format!("operators nested at most {MAX_DEPTH} deep")
            } else {
                format!("at most {MAX_TERMS} operators and components")
            };
            return Err(ExpressionError { at, found: "one more".to_owned(), allowed });
        }
        let word = self.word("a component or an operator", |word| is_name(word).then_some(word))?;
        if self.next != Token::Mark('(') {
            return Ok(Expression { at, term: Term::Component(word.to_owned()) });
        }
        if !KEYWORDS.contains(&word) {
            return Err(ExpressionError {
                at,
                found: format!("`{word}(`"),
                allowed: format!("the operators {}", KEYWORDS.join(", ")),
            });
        }
        self.advance();
        let term = self.operator(word, depth)?;
        self.mark(')')?;
        Ok(Expression { at, term })
    }

    /// `a, b, …` up to the closing parenthesis, which is left.
    fn operands(&mut self, depth: usize) -> Parsed<Vec<Expression>> {
        let mut all = vec![self.operand(depth + 1)?];
        while self.next == Token::Mark(',') {
            if all.len() >= MAX_FANOUT {
                return self.unexpected(format!("at most {MAX_FANOUT} operands"));
            }
            self.advance();
            all.push(self.operand(depth + 1)?);
        }
        if self.next == Token::Mark(')') { Ok(all) } else { self.unexpected("`,` or `)`") }
    }

    fn boxed(&mut self, depth: usize) -> Parsed<Box<Expression>> {
        self.operand(depth + 1).map(Box::new)
    }

    /// `a, b` with exactly two operands.
    fn pair(&mut self, depth: usize) -> Parsed<(Box<Expression>, Box<Expression>)> {
        let first = self.boxed(depth)?;
        self.mark(',')?;
        Ok((first, self.boxed(depth)?))
    }

    /// `key=value;` where it stands.
    fn annotation(&mut self, key: &'static str, value: &'static str) -> Parsed<bool> {
        if self.key().is_none() {
            return Ok(false);
        }
        let allowed = format!("`{key}={value};`");
        self.word(&allowed, |word| (word == key).then_some(()))?;
        self.mark('=')?;
        self.word(&allowed, |word| (word == value).then_some(()))?;
        self.mark(';')?;
        Ok(true)
    }

    /// One small function an operator and no more than one of them in a frame: a level of nesting must cost little
    /// stack, also without optimisation.
    fn operator(&mut self, keyword: &str, depth: usize) -> Parsed<Term> {
        let read: fn(&mut Self, usize) -> Parsed<Term> = match keyword {
            "Series" => Self::series,
            "Parallel" => Self::parallel,
            "Cond" => Self::cond,
            "Race" => Self::race,
            "KofN" => Self::k_of_n,
            "Timeout" => Self::timeout,
            "Fallback" => Self::fallback,
            "Retry" => Self::retry,
            "Hedge" => Self::hedge,
            "Optional" => Self::optional,
            _ => Self::repeat,
        };
        read(self, depth)
    }

    fn series(&mut self, depth: usize) -> Parsed<Term> {
        self.operands(depth).map(Term::Series)
    }

    fn parallel(&mut self, depth: usize) -> Parsed<Term> {
        let join = self.annotation("join", "all")?;
        self.operands(depth).map(|branches| Term::Parallel { join, branches })
    }

    fn race(&mut self, depth: usize) -> Parsed<Term> {
        let hedged = self.annotation("semantics", "hedged")?;
        self.operands(depth).map(|branches| Term::Race { hedged, branches })
    }

    fn k_of_n(&mut self, depth: usize) -> Parsed<Term> {
        let k = self.word("how many must succeed, a whole number", |word| word.parse().ok())?;
        self.mark(';')?;
        self.operands(depth).map(|branches| Term::KofN { k, branches })
    }

    fn timeout(&mut self, depth: usize) -> Parsed<Term> {
        let after = self.duration()?;
        self.mark(';')?;
        let body = self.boxed(depth)?;
        let fallback = if self.next == Token::Mark(',') {
            self.advance();
            Some(self.boxed(depth)?)
        } else {
            None
        };
        Ok(Term::Timeout { after, body, fallback })
    }

    fn fallback(&mut self, depth: usize) -> Parsed<Term> {
        self.pair(depth).map(|(body, fallback)| Term::Fallback { body, fallback })
    }

    fn hedge(&mut self, depth: usize) -> Parsed<Term> {
        let delay = self.duration()?;
        self.mark(';')?;
        self.pair(depth).map(|(body, alternate)| Term::Hedge { delay, body, alternate })
    }

    fn optional(&mut self, depth: usize) -> Parsed<Term> {
        let timeout = self.duration()?;
        self.mark(';')?;
        self.boxed(depth).map(|body| Term::Optional { timeout, body })
    }

    fn cond(&mut self, depth: usize) -> Parsed<Term> {
        let mut shares = Vec::new();
        loop {
            let share =
                self.word("a probability, the name of a parameter, or `_`", |word| match number(word) {
                    Some(number) => Some(Share::Number(number)),
                    None if word == "_" => Some(Share::Remainder),
                    None => is_parameter_name(word).then(|| Share::Parameter(word.to_owned())),
                })?;
            shares.push(share);
            if self.next != Token::Mark(',') || shares.len() >= MAX_FANOUT {
                break;
            }
            self.advance();
        }
        if self.next != Token::Mark(';') {
            return self
                .unexpected("`,` or `;`: the probabilities stand before a `;`, as in `Cond(.2; a, b)`");
        }
        self.advance();
        let start = self.next_at;
        let bodies = self.operands(depth)?;
        if bodies.len() == shares.len() + 1 {
            shares.push(Share::Remainder);
        } else if bodies.len() != shares.len() {
            return Err(ExpressionError {
                at: start,
                found: format!("{} branches for {} probabilities", bodies.len(), shares.len()),
                allowed: "one probability a branch; the last one may be left out".to_owned(),
            });
        }
        Ok(Term::Cond(shares.into_iter().zip(bodies).collect()))
    }

    fn retry(&mut self, depth: usize) -> Parsed<Term> {
        let figures = self.retry_figures()?;
        self.mark(';')?;
        let body = self.boxed(depth)?;
        let RetryFigures { attempts, per_try_timeout, base, factor, max, jitter, fate } = *figures;
        let backoff = base.map(|base| Box::new(WrittenBackoff { base, factor, max, jitter }));
        Ok(Term::Retry { attempts, per_try_timeout, backoff, fate, body })
    }

    fn retry_figures(&mut self) -> Parsed<Box<RetryFigures>> {
        let mut figures = Box::new(RetryFigures {
            attempts: self.word("the number of attempts", |word| word.parse().ok())?,
            ..RetryFigures::default()
        });
        let mut position = 0;
        while self.next == Token::Mark(',') {
            self.advance();
            let at = self.next_at;
            let Some(key) = self.key() else {
                let slot = match position {
                    0 => &mut figures.per_try_timeout,
                    1 => &mut figures.base,
                    _ => return self.unexpected("a named figure such as `factor=2`"),
                };
                position += 1;
                *slot = Some(self.word("a duration such as 200ms, or a named figure", duration)?);
                continue;
            };
            self.advance();
            self.mark('=')?;
            position = 2;
            if !self.named_retry_figure(key, &mut figures)? {
                return Err(ExpressionError {
                    at,
                    found: format!("`{key}=`"),
                    allowed: "perTryTimeout, backoff, factor, max, jitter, attemptsFate, each once"
                        .to_owned(),
                });
            }
        }
        if figures.base.is_none()
            && (figures.factor.is_some() || figures.max.is_some() || figures.jitter.is_some())
        {
            return self.unexpected("`backoff=…` beside factor, max and jitter");
        }
        Ok(figures)
    }

    /// Reads the value of `key=`; false where the key is unknown or was given before.
    fn named_retry_figure(&mut self, key: &str, figures: &mut RetryFigures) -> Parsed<bool> {
        Ok(match key {
            "perTryTimeout" => figures.per_try_timeout.replace(self.duration()?).is_none(),
            "backoff" => figures.base.replace(self.duration()?).is_none(),
            "factor" => figures.factor.replace(self.word("a number of at least 1", number)?).is_none(),
            "max" => figures.max.replace(self.duration()?).is_none(),
            "jitter" => {
                let jitter = self.word("`none` or `full`", |word| match word {
                    "none" => Some(Jitter::None),
                    "full" => Some(Jitter::Full),
                    _ => None,
                })?;
                figures.jitter.replace(jitter).is_none()
            }
            "attemptsFate" => {
                let fate = self.word("`shared` or `independent`", |word| match word {
                    "shared" => Some(AttemptsFate::Shared),
                    "independent" => Some(AttemptsFate::Independent),
                    _ => None,
                })?;
                figures.fate.replace(fate).is_none()
            }
            _ => false,
        })
    }

    fn repeat(&mut self, depth: usize) -> Parsed<Term> {
        let counts = if self.key().is_none() {
            Repetitions::Count(self.word("how often, a whole number", |word| word.parse().ok())?)
        } else {
            let mut counts = Vec::new();
            loop {
                let count = self.word("how often, a whole number", |word| word.parse().ok())?;
                self.mark('=')?;
                counts.push((count, self.word("a probability", number)?));
                if self.next != Token::Mark(',') || counts.len() >= MAX_FANOUT {
                    break;
                }
                self.advance();
            }
            Repetitions::Distribution(counts)
        };
        self.mark(';')?;
        Ok(Term::Repeat { counts, body: self.boxed(depth)? })
    }
}

impl Expression {
    /// Reads the text form, at most [`MAX_DEPTH`] deep and [`MAX_TERMS`] large.
    ///
    /// # Errors
    /// The first place at which it cannot be read, and what could stand there.
    pub fn parse(text: &str) -> Result<Self, ExpressionError> {
        let mut reader = Reader::new(text);
        let expression = reader.operand(1)?;
        if reader.next == Token::End { Ok(expression) } else { reader.unexpected("the end") }
    }

    /// The operator's head as the text form writes it: `Timeout(200ms)`, `Race`, or the component's name.
    fn figures(&self) -> String {
        let shared = |fate: &AttemptsFate| match fate {
            AttemptsFate::Shared => "attemptsFate=shared",
            AttemptsFate::Independent => "attemptsFate=independent",
        };
        match &self.term {
            Term::Component(_) | Term::Series(_) | Term::Fallback { .. } => String::new(),
            Term::Parallel { join, .. } => if *join { "join=all" } else { "" }.to_owned(),
            Term::Race { hedged, .. } => if *hedged { "semantics=hedged" } else { "" }.to_owned(),
            Term::KofN { k, .. } => k.to_string(),
            Term::Timeout { after: figure, .. }
            | Term::Hedge { delay: figure, .. }
            | Term::Optional { timeout: figure, .. } => figure.text.clone(),
            Term::Cond(branches) => {
                let trailing = branches.len() > 1
                    && branches.last().is_some_and(|(share, _)| matches!(share, Share::Remainder));
                let shown = branches.len() - usize::from(trailing);
                let shares: Vec<_> = branches[..shown]
                    .iter()
                    .map(|(share, _)| match share {
                        Share::Number(number) => number.text.as_str(),
                        Share::Parameter(name) => name,
                        Share::Remainder => "_",
                    })
                    .collect();
                shares.join(", ")
            }
            Term::Retry { attempts, per_try_timeout, backoff, fate, .. } => {
                let mut figures = vec![attempts.to_string()];
                if let Some(per_try) = per_try_timeout {
                    figures.push(per_try.text.clone());
                }
                if let Some(backoff) = backoff {
                    let named = if per_try_timeout.is_some() { "" } else { "backoff=" };
                    figures.push(format!("{named}{}", backoff.base.text));
                    figures.extend(backoff.factor.iter().map(|factor| format!("factor={}", factor.text)));
                    figures.extend(backoff.max.iter().map(|max| format!("max={}", max.text)));
                    figures.extend(backoff.jitter.iter().map(|jitter| match jitter {
                        Jitter::None => "jitter=none".to_owned(),
                        Jitter::Full => "jitter=full".to_owned(),
                    }));
                }
                figures.extend(fate.iter().map(|fate| shared(fate).to_owned()));
                figures.join(", ")
            }
            Term::Repeat { counts: Repetitions::Count(count), .. } => count.to_string(),
            Term::Repeat { counts: Repetitions::Distribution(counts), .. } => {
                let counts: Vec<_> = counts.iter().map(|(count, p)| format!("{count}={}", p.text)).collect();
                counts.join(", ")
            }
        }
    }

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

    /// The text form over several lines, where one line would exceed `width` characters: operands that do not fit
    /// stand on lines of their own, indented by two.
    #[must_use]
    pub fn pretty(&self, width: usize) -> String {
        let mut out = String::new();
        self.write_pretty(width, 0, &mut out);
        out
    }

    fn write_pretty(&self, width: usize, indent: usize, out: &mut String) {
        let line = self.to_string();
        let operands = self.operands();
        if operands.is_empty() || indent + line.chars().count() <= width {
            out.push_str(&line);
            return;
        }
        let figures = self.figures();
        out.push_str(self.keyword());
        out.push('(');
        if !figures.is_empty() {
            out.push_str(&figures);
            out.push(';');
        }
        for (i, operand) in operands.iter().enumerate() {
            out.push_str(if i == 0 { "\n" } else { ",\n" });
            out.extend(std::iter::repeat_n(' ', indent + 2));
            operand.write_pretty(width, indent + 2, out);
        }
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent));
        out.push(')');
    }
}

/// The text form on one line.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keyword())?;
        let operands = self.operands();
        if operands.is_empty() {
            return Ok(());
        }
        let figures = self.figures();
        f.write_str("(")?;
        if !figures.is_empty() {
            write!(f, "{figures}; ")?;
        }
        for (i, operand) in operands.into_iter().enumerate() {
            write!(f, "{}{operand}", if i == 0 { "" } else { ", " })?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
