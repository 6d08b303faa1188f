//! An [`Expression`] as the tree form, in block style.

use crate::journey::expression::{Expression, Repetitions, Share, Term, Written, WrittenBackoff};
use crate::journey::operator::{AttemptsFate, Jitter};
use crate::unit::Seconds;

use crate::document::tree::is_text;

/// Lines of YAML, without line ends, each indented by `indent` and more.
pub(crate) fn lines(expression: &Expression, indent: usize) -> Vec<String> {
    let mut out = Lines { lines: Vec::new() };
    out.step(expression, None, indent, "");
    out.lines
}

/// A scalar as YAML: plain where it stays the same text, else in single quotes.
pub(crate) fn scalar(text: &str) -> String {
    // Names and figures hold neither quotes nor white space, so a trailing colon is all that could mean more.
    if is_text(text) && !text.ends_with(':') { text.to_owned() } else { format!("'{text}'") }
}

struct Lines {
    lines: Vec<String>,
}

impl Lines {
    fn push(&mut self, indent: usize, dash: &str, line: &str) {
        // The dash takes the place of the last two columns of the indentation.
        let spaces = indent - dash.len();
        self.lines.push(format!("{}{dash}{line}", " ".repeat(spaces)));
    }

    /// One step; `dash` stands before its first line in a list.
    fn step(&mut self, expression: &Expression, share: Option<&Share>, indent: usize, dash: &str) {
        let mut fields = Vec::new();
        match share {
            Some(Share::Number(number)) => fields.push(format!("probability: {}", number.text)),
            Some(Share::Parameter(name)) => fields.push(format!("probability: {}", scalar(name))),
            Some(Share::Remainder) | None => {}
        }
        fields.push(match &expression.term {
            Term::Component(name) => format!("ref: {}", scalar(name)),
            _ => format!("type: {}", expression.keyword().to_lowercase()),
        });
        fields.extend(figures(&expression.term));
        let mut dash = dash;
        for field in fields {
            self.push(indent, dash, &field);
            dash = "";
        }
        match &expression.term {
            Term::Component(_) => {}
            Term::Series(all) => self.list("steps", all.iter().map(|step| (step, None)), indent),
            Term::Parallel { branches, .. } | Term::Race { branches, .. } | Term::KofN { branches, .. } => {
                self.list("branches", branches.iter().map(|step| (step, None)), indent);
            }
            Term::Cond(branches) => {
                self.list("branches", branches.iter().map(|(share, step)| (step, Some(share))), indent);
            }
            Term::Timeout { body, fallback, .. } => {
                self.field("body", body, indent);
                if let Some(fallback) = fallback {
                    self.field("fallback", fallback, indent);
                }
            }
            Term::Fallback { body, fallback } => {
                self.field("body", body, indent);
                self.field("fallback", fallback, indent);
            }
            Term::Hedge { body, alternate, .. } => {
                self.field("body", body, indent);
                self.field("alternate", alternate, indent);
            }
            Term::Retry { body, .. } | Term::Optional { body, .. } | Term::Repeat { body, .. } => {
                self.field("body", body, indent);
            }
        }
    }

    fn list<'a>(
        &mut self,
        name: &str,
        steps: impl Iterator<Item = (&'a Expression, Option<&'a Share>)>,
        indent: usize,
    ) {
        self.push(indent, "", &format!("{name}:"));
        for (step, share) in steps {
            self.step(step, share, indent + 4, "- ");
        }
    }

    fn field(&mut self, name: &str, step: &Expression, indent: usize) {
        self.push(indent, "", &format!("{name}:"));
        self.step(step, None, indent + 2, "");
    }
}

/// The fields of an operator that are not operands.
fn figures(term: &Term) -> Vec<String> {
    let duration = |name: &str, figure: &Written<Seconds>| format!("{name}: {}", scalar(&figure.text));
    match term {
        Term::Component(_) | Term::Series(_) | Term::Cond(_) | Term::Fallback { .. } => Vec::new(),
        Term::Parallel { join, .. } => join.then(|| "join: all".to_owned()).into_iter().collect(),
        Term::Race { hedged, .. } => hedged.then(|| "semantics: hedged".to_owned()).into_iter().collect(),
        Term::KofN { k, .. } => vec![format!("k: {k}")],
        Term::Timeout { after, .. } => vec![duration("after", after)],
        Term::Hedge { delay, .. } => vec![duration("delay", delay)],
        Term::Optional { timeout, .. } => vec![duration("timeout", timeout)],
        Term::Retry { attempts, per_try_timeout, backoff, fate, .. } => {
            let mut fields = vec![format!("attempts: {attempts}")];
            fields.extend(per_try_timeout.iter().map(|after| duration("perTryTimeout", after)));
            if let Some(backoff) = backoff {
                fields.extend(backoff_fields(backoff));
            }
            fields.extend(fate.iter().map(|fate| match fate {
                AttemptsFate::Shared => "attemptsFate: shared".to_owned(),
                AttemptsFate::Independent => "attemptsFate: independent".to_owned(),
            }));
            fields
        }
        Term::Repeat { counts: Repetitions::Count(count), .. } => vec![format!("count: {count}")],
        Term::Repeat { counts: Repetitions::Distribution(counts), .. } => {
            let mut fields = vec!["counts:".to_owned()];
            fields.extend(counts.iter().map(|(count, share)| format!("  {count}: {}", share.text)));
            fields
        }
    }
}

fn backoff_fields(backoff: &WrittenBackoff) -> Vec<String> {
    let WrittenBackoff { base, factor, max, jitter } = backoff;
    if factor.is_none() && max.is_none() && jitter.is_none() {
        return vec![format!("backoff: {}", scalar(&base.text))];
    }
    let mut fields = vec!["backoff:".to_owned(), format!("  base: {}", scalar(&base.text))];
    fields.extend(factor.iter().map(|factor| format!("  factor: {}", factor.text)));
    fields.extend(max.iter().map(|max| format!("  max: {}", scalar(&max.text))));
    fields.extend(jitter.iter().map(|jitter| match jitter {
        Jitter::None => "  jitter: none".to_owned(),
        Jitter::Full => "  jitter: full".to_owned(),
    }));
    fields
}
