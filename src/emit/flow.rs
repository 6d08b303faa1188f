//! Records on one line of YAML, written straight into the text: what reports repeat for each component and each operator.
//!
//! One line a record keeps a report's diff in one piece: what an edit changes are neighbours, and what it leaves alone
//! takes no more lines than a diff shows around them.

use std::fmt::Write as _;

use super::yaml_scalar::anywhere;

/// A mapping between braces. Its writer ends it with [`Flow::end`] or [`Flow::end_line`].
pub(super) struct Flow<'o> {
    out: &'o mut String,
    empty: bool,
}

impl<'o> Flow<'o> {
    /// Begins behind `lead`, such as `  - ` or `  name: `.
    pub(super) fn new(out: &'o mut String, lead: &str) -> Self {
        out.push_str(lead);
        out.push('{');
        Self { out, empty: true }
    }

    fn key(&mut self, key: &str) {
        if !self.empty {
            self.out.push_str(", ");
        }
        self.empty = false;
        anywhere(key, self.out);
        self.out.push_str(": ");
    }

    /// A text, quoted where it would read as something else.
    pub(super) fn text(&mut self, key: &str, text: &str) -> &mut Self {
        self.key(key);
        anywhere(text, self.out);
        self
    }

    /// A number with every digit; an infinity as a text.
    pub(super) fn number(&mut self, key: &str, value: f64) -> &mut Self {
        self.key(key);
        number(self.out, value);
        self
    }

    /// Numbers that are often the same: those are spelled once and copied.
    pub(super) fn numbers<const N: usize>(&mut self, numbers: [(&str, f64); N]) -> &mut Self {
        let mut last: Option<(f64, std::ops::Range<usize>)> = None;
        for (key, value) in numbers {
            self.key(key);
            match &last {
                Some((known, at)) if known.to_bits() == value.to_bits() => {
                    self.out.extend_from_within(at.clone());
                }
                _ => {
                    let from = self.out.len();
                    number(self.out, value);
                    last = Some((value, from..self.out.len()));
                }
            }
        }
        self
    }

    /// As [`Flow::number`], where there is one.
    pub(super) fn optional(&mut self, key: &str, value: Option<f64>) -> &mut Self {
        if let Some(value) = value {
            self.number(key, value);
        }
        self
    }

    pub(super) fn flag(&mut self, key: &str, value: bool) -> &mut Self {
        self.key(key);
        self.out.push_str(if value { "true" } else { "false" });
        self
    }

    /// A list of texts.
    pub(super) fn texts<'t>(&mut self, key: &str, texts: impl IntoIterator<Item = &'t str>) -> &mut Self {
        self.key(key);
        self.out.push('[');
        for (index, text) in texts.into_iter().enumerate() {
            self.out.push_str(if index > 0 { ", " } else { "" });
            anywhere(text, self.out);
        }
        self.out.push(']');
        self
    }

    /// A mapping within this one.
    pub(super) fn map(&mut self, key: &str, fill: impl FnOnce(&mut Flow<'_>)) -> &mut Self {
        self.key(key);
        let mut inner = Flow::new(self.out, "");
        fill(&mut inner);
        inner.end();
        self
    }

    pub(super) fn end(&mut self) {
        self.out.push('}');
    }

    pub(super) fn end_line(&mut self) {
        self.out.push_str("}\n");
    }
}

/// A number with every digit, without an exponent where it is not tiny; an infinity as a text.
pub(super) fn number(out: &mut String, value: f64) {
    /// Below this, zeros hide the digits.
    const SMALL: f64 = 1e-9;
    if value == 0.0 {
        out.push('0');
    } else if value == 1.0 {
        out.push('1');
    } else if !value.is_finite() {
        out.push_str(if value > 0.0 { "\"+Inf\"" } else { "\"-Inf\"" });
    } else if value.abs() < SMALL {
        // YAML 1.1 reads a number with an exponent only where it has a point.
        let text = format!("{value:e}");
        out.push_str(&if text.contains('.') { text } else { text.replace('e', ".0e") });
    } else {
        let _ = write!(out, "{value}");
    }
}
