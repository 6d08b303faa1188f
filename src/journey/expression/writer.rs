//! The text form is written, on one line or on several.

use std::fmt;

use super::{Expression, Repetitions, Share, Term};
use crate::journey::operator::{AttemptsFate, Jitter};

impl Expression {
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
