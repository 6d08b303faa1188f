//! The text form is read: recursive descent over tokens, with one of lookahead.

use super::{
    Expression, ExpressionError, KEYWORDS, MAX_DEPTH, MAX_TERMS, Repetitions, Share, Term, Written,
    WrittenBackoff, duration, is_name, is_name_byte, is_parameter_name, number,
};
use crate::journey::operator::{AttemptsFate, Jitter, MAX_FANOUT};
use crate::unit::Seconds;

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
}
