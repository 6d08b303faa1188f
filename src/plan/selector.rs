//! The texts of evidence queries.

use std::collections::BTreeSet;

use crate::series::{MatchOp, Matcher, NAME};
use crate::unit::Window;

/// The label of a classic bucket's upper edge.
pub const LE: &str = "le";

/// Some series of one classic histogram: its base name and matchers, sorted and unique, so that equal sets of
/// matchers are equal selectors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// The histogram's name without `_bucket`.
    pub metric: String,
    /// Sorted and unique.
    pub matchers: Vec<Matcher>,
}

impl Selector {
    /// Sorts the matchers.
    pub fn new<'a>(metric: &str, matchers: impl IntoIterator<Item = &'a Matcher>) -> Self {
        let unique: BTreeSet<Matcher> = matchers.into_iter().cloned().collect();
        Self { metric: metric.to_owned(), matchers: unique.into_iter().collect() }
    }

    /// The vector selector of the buckets, narrowed further by `extra`.
    fn buckets(&self, extra: &[Matcher]) -> String {
        let name = format!("{}_bucket", self.metric);
        let mut all: Vec<String> = Vec::with_capacity(self.matchers.len() + extra.len() + 1);
        let plain = is_plain_name(&name);
        if !plain {
            let matcher = Matcher { name: NAME.to_owned(), op: MatchOp::Equal, value: name.clone() };
            all.push(matcher.to_string());
        }
        all.extend(self.matchers.iter().chain(extra).map(ToString::to_string));
        let head = if plain { name.as_str() } else { "" };
        format!("{head}{{{}}}", all.join(","))
    }
}

/// Whether a name needs no quotes in PromQL.
fn is_plain_name(name: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.chars().all(legal) && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// Series that one query asks for together: either one selector, or several that differ in the value of one label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Batch {
    /// What all members share; without the label that differs.
    pub shared: Selector,
    /// The label that differs and its values, sorted and unique.
    pub members: Option<(String, Vec<String>)>,
}

impl Batch {
    fn by(&self, le: bool) -> String {
        let mut labels = if le { vec![LE] } else { Vec::new() };
        labels.extend(self.members.as_ref().map(|(label, _)| label.as_str()));
        if labels.is_empty() { String::new() } else { format!(" by ({})", labels.join(", ")) }
    }

    fn buckets(&self, le: Option<&str>) -> String {
        let mut extra = Vec::new();
        if let Some((label, values)) = &self.members {
            let quoted: Vec<String> = values.iter().map(|value| quoted_regex(value)).collect();
            extra.push(Matcher { name: label.clone(), op: MatchOp::Regex, value: quoted.join("|") });
        }
        if let Some(le) = le {
            extra.push(Matcher { name: LE.to_owned(), op: MatchOp::Equal, value: le.to_owned() });
        }
        self.shared.buckets(&extra)
    }

    /// How many calls fell into each bucket over the window.
    #[must_use]
    pub fn increase(&self, window: Window) -> String {
        format!("sum{} (increase({}[{window}]))", self.by(true), self.buckets(None))
    }

    /// How many series have each bucket now: where the counts differ, some instance lacks an edge.
    #[must_use]
    pub fn layout(&self) -> String {
        format!("count{} ({})", self.by(true), self.buckets(None))
    }

    /// The time of the newest sample.
    #[must_use]
    pub fn newest(&self) -> String {
        format!("max{} (timestamp({}))", self.by(false), self.buckets(Some("+Inf")))
    }

    /// How many samples the busiest series has in `span`: gives the scrape interval.
    #[must_use]
    pub fn samples(&self, span: Window) -> String {
        format!("max{} (count_over_time({}[{span}]))", self.by(false), self.buckets(Some("+Inf")))
    }
}

/// `text` as a regular expression that matches exactly itself (RE2, as Go's `regexp.QuoteMeta`).
#[must_use]
pub fn quoted_regex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '.' | '+' | '*' | '?' | '(' | ')' | '|' | '[' | ']' | '{' | '}' | '^' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A query of the spec with `window` in place of `{{window}}`, `{{ .window }}` and the like.
#[must_use]
pub fn with_window(query: &str, window: Window) -> String {
    let (mut out, mut rest) = (String::with_capacity(query.len()), query);
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        match after.split_once("}}") {
            Some((name, tail)) if name.trim().trim_start_matches('.') == "window" => {
                out.push_str(&window.to_string());
                rest = tail;
            }
            _ => {
                out.push_str("{{");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    fn equal(name: &str, value: &str) -> Matcher {
        Matcher { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned() }
    }

    #[test]
    fn a_batch_asks_for_its_members_by_quoted_regex_and_groups_by_their_label() {
        let batch = Batch {
            shared: Selector::new("m", &[equal("job", "x")]),
            members: Some(("service".into(), vec!["a.b".into(), "c|\"d".into()])),
        };
        assert_eq!(
            batch.increase(window("5m")),
            r#"sum by (le, service) (increase(m_bucket{job="x",service=~"a\\.b|c\\|\"d"}[5m]))"#
        );
        assert_eq!(
            batch.newest(),
            r#"max by (service) (timestamp(m_bucket{job="x",service=~"a\\.b|c\\|\"d",le="+Inf"}))"#
        );
    }

    #[test]
    fn a_lone_selector_is_asked_for_as_it_stands() {
        let batch = Batch { shared: Selector::new("http.duration", &[]), members: None };
        assert_eq!(batch.layout(), r#"count by (le) ({__name__="http.duration_bucket"})"#);
        let batch = Batch { shared: Selector::new("m", &[]), members: None };
        assert_eq!(batch.samples(window("5m")), r#"max (count_over_time(m_bucket{le="+Inf"}[5m]))"#);
    }

    #[test]
    fn every_spelling_of_the_window_is_replaced_and_nothing_else() {
        for text in ["x[{{window}}]", "x[{{ .window }}]", "x[{{.window}}]", "x[{{ window }}]"] {
            assert_eq!(with_window(text, window("60m")), "x[1h]", "{text}");
        }
        for text in ["x[{{windows}}]", "x[{{window", "{{a}}"] {
            assert_eq!(with_window(text, window("1h")), text);
        }
        assert_eq!(with_window("{{ {{window}}", window("5m")), "{{ 5m");
    }
}
