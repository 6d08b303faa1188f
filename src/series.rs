//! Labels, samples, series and the grid on which they are evaluated: the vocabulary of Prometheus.

use std::collections::BTreeMap;
use std::fmt;

use crate::unit::{Timestamp, Window};

/// The label that holds a series' name.
pub const NAME: &str = "__name__";

/// A set of labels, sorted by name. An empty value is an absent label, as in Prometheus.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Labels(BTreeMap<String, String>);

impl Labels {
    /// No labels.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The labels of a series called `name`.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self::new().with(NAME, name)
    }

    /// The same labels with `name` set; an empty value removes it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets `name`; an empty value removes it.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        if value.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name.to_owned(), value);
        }
    }

    /// The value of `name`; empty where the label is absent.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// Name and value in the order of names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// How many labels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Labels {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut labels = Self::new();
        for (name, value) in pairs {
            labels.set(&name.into(), value);
        }
        labels
    }
}

/// As PromQL writes it: `name{a="b"}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.get(NAME))?;
        let mut separator = "{";
        for (name, value) in self.iter().filter(|(name, _)| *name != NAME) {
            write!(f, "{separator}{name}={}", quoted(value))?;
            separator = ", ";
        }
        match (separator, self.get(NAME)) {
            ("{", "") => f.write_str("{}"),
            ("{", _) => Ok(()),
            _ => f.write_str("}"),
        }
    }
}

/// A PromQL string literal in double quotes.
#[must_use]
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_quoted(text, &mut out);
    out
}

/// [`quoted`], behind what `out` holds.
fn push_quoted(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = text;
    while let Some(at) = rest.find(['"', '\\', '\n']) {
        out.push_str(&rest[..at]);
        out.push_str(match rest.as_bytes()[at] {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            _ => "\\n",
        });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl MatchOp {
    /// The operator's spelling in PromQL.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A matcher as text: `name op "value"`. Compiled matchers live in [`crate::promql`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Matcher {
    /// The label compared.
    pub name: String,
    /// How.
    pub op: MatchOp,
    /// With what.
    pub value: String,
}

impl Matcher {
    /// As [`fmt::Display`] prints it, behind what `out` holds.
    pub fn push_to(&self, out: &mut String) {
        out.push_str(&self.name);
        out.push_str(self.op.as_str());
        push_quoted(&self.value, out);
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(self.name.len() + self.value.len() + 4);
        self.push_to(&mut text);
        f.write_str(&text)
    }
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// When.
    pub time: Timestamp,
    /// What. Never NaN for a synthetic series, except for [`STALE_NAN_BITS`].
    pub value: f64,
}

/// The bit pattern with which Prometheus marks the end of a series (`model/value.StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Samples of one set of labels, in the order of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// Its identity.
    pub labels: Labels,
    /// Strictly increasing in time.
    pub samples: Vec<Sample>,
}

/// Evaluation times `start, start + step, …` up to and including `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StepGrid {
    start: Timestamp,
    end: Timestamp,
    step: Window,
}

/// A grid whose end lies before its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("end timestamp must not be before start time")]
pub struct EndBeforeStart;

impl StepGrid {
    /// Checks `start ≤ end`.
    ///
    /// # Errors
    /// [`EndBeforeStart`].
    pub fn new(start: Timestamp, end: Timestamp, step: Window) -> Result<Self, EndBeforeStart> {
        if start <= end { Ok(Self { start, end, step }) } else { Err(EndBeforeStart) }
    }

    /// The grid of one point.
    #[must_use]
    pub fn instant(at: Timestamp, step: Window) -> Self {
        Self { start: at, end: at, step }
    }

    /// The first point.
    #[must_use]
    pub const fn start(&self) -> Timestamp {
        self.start
    }

    /// The bound that no point exceeds (not always a point itself).
    #[must_use]
    pub const fn end(&self) -> Timestamp {
        self.end
    }

    /// The distance of two points.
    #[must_use]
    pub const fn step(&self) -> Window {
        self.step
    }

    /// How many points there are; at least one.
    #[must_use]
    pub fn points(&self) -> usize {
        let span = self.end.millis().abs_diff(self.start.millis());
        usize::try_from(span / self.step.millis()).unwrap_or(usize::MAX).saturating_add(1)
    }

    /// The points in rising order.
    pub fn iter(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let (start, step) = (self.start, i64::try_from(self.step.millis()).unwrap_or(i64::MAX));
        (0..self.points())
            .map(move |i| start.plus_millis(i64::try_from(i).unwrap_or(i64::MAX).saturating_mul(step)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_print_as_promql_and_drop_empty_values() {
        let labels = Labels::named("up").with("job", "a\"b\\c").with("instance", "");
        assert_eq!(labels.to_string(), r#"up{job="a\"b\\c"}"#);
        assert_eq!(Labels::named("up").to_string(), "up");
        assert_eq!(Labels::new().to_string(), "{}");
    }

    #[test]
    fn a_grid_holds_its_start_and_nothing_beyond_its_end() {
        let at = Timestamp::from_millis;
        let grid = StepGrid::new(at(1_000), at(46_000), Window::from_millis(15_000).unwrap()).unwrap();
        assert_eq!(grid.iter().map(Timestamp::millis).collect::<Vec<_>>(), [1_000, 16_000, 31_000, 46_000]);
        assert!(StepGrid::new(at(1), at(0), Window::from_millis(1).unwrap()).is_err());
    }
}
