//! The texts of evidence queries.

use std::collections::BTreeSet;

use crate::journey::component::HistogramType;
use crate::promql::guard::MAX_QUERY_BYTES;
use crate::promql::matcher::MatcherSet;
use crate::promql::query::Query;
use crate::series::{MatchOp, Matcher, NAME};
use crate::unit::Window;

/// The label of a classic bucket's upper edge.
pub const LE: &str = "le";

/// Some series of one histogram: its base name and matchers, sorted and unique, so that equal sets of
/// matchers are equal selectors.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Selector {
    /// The histogram's name without `_bucket`.
    pub metric: String,
    /// How it is stored.
    pub histogram_type: HistogramType,
    /// Sorted and unique.
    pub matchers: Vec<Matcher>,
}

impl Selector {
    /// Sorts the matchers.
    pub fn new<'a>(
        metric: &str,
        histogram_type: HistogramType,
        matchers: impl IntoIterator<Item = &'a Matcher>,
    ) -> Self {
        let unique: BTreeSet<Matcher> = matchers.into_iter().cloned().collect();
        Self { metric: metric.to_owned(), histogram_type, matchers: unique.into_iter().collect() }
    }

    /// The vector selector of the buckets, narrowed further by `extra`.
    fn buckets(&self, extra: &[Matcher]) -> String {
        let name = self.histogram_type.series_name(&self.metric);
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
    fn is_classic(&self) -> bool {
        self.shared.histogram_type == HistogramType::Classic
    }

    fn by(&self, le: bool) -> String {
        let mut labels = if le && self.is_classic() { vec![LE] } else { Vec::new() };
        labels.extend(self.members.as_ref().map(|(label, _)| label.as_str()));
        if labels.is_empty() { String::new() } else { format!(" by ({})", labels.join(", ")) }
    }

    /// The selector of all buckets, or, of classic ones, of those that count every call.
    fn buckets(&self, every_call: bool) -> String {
        let mut extra = Vec::new();
        if let Some((label, values)) = &self.members {
            let quoted: Vec<String> = values.iter().map(|value| quoted_regex(value)).collect();
            extra.push(Matcher { name: label.clone(), op: MatchOp::Regex, value: quoted.join("|") });
        }
        if every_call && self.is_classic() {
            extra.push(Matcher { name: LE.to_owned(), op: MatchOp::Equal, value: "+Inf".to_owned() });
        }
        self.shared.buckets(&extra)
    }

    /// How many calls fell into each bucket over the window.
    #[must_use]
    pub fn increase(&self, window: Window) -> String {
        format!("sum{} (increase({}[{window}]))", self.by(true), self.buckets(false))
    }

    /// How many series have each bucket now: where the counts differ, some instance lacks an edge. Native buckets of
    /// different resolutions are merged by the upstream, exactly, so that nobody needs to ask.
    #[must_use]
    pub fn layout(&self) -> Option<String> {
        self.is_classic().then(|| format!("count{} ({})", self.by(true), self.buckets(false)))
    }

    /// The time of the newest sample.
    #[must_use]
    pub fn newest(&self) -> String {
        format!("max{} (timestamp({}))", self.by(false), self.buckets(true))
    }

    /// How many samples the busiest series has in `span`: gives the scrape interval.
    #[must_use]
    pub fn samples(&self, span: Window) -> String {
        format!("max{} (count_over_time({}[{span}]))", self.by(false), self.buckets(true))
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

/// The selectors of a query of the spec, as text; `None` where it cannot be read (an upstream may know more than this
/// crate's parser), empty where it reads no series.
#[must_use]
pub fn selectors_of(query: &str) -> Option<Vec<String>> {
    let query = Query::parse(query, MAX_QUERY_BYTES).ok()?;
    let text = |selector: &MatcherSet| {
        let matchers: Vec<String> = selector.matchers().iter().map(ToString::to_string).collect();
        format!("{{{}}}", matchers.join(","))
    };
    Some(query.selectors().iter().map(text).collect())
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
            shared: Selector::new("m", HistogramType::Classic, &[equal("job", "x")]),
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
        let batch =
            Batch { shared: Selector::new("http.duration", HistogramType::Classic, &[]), members: None };
        assert_eq!(batch.layout().unwrap(), r#"count by (le) ({__name__="http.duration_bucket"})"#);
        let batch = Batch { shared: Selector::new("m", HistogramType::Classic, &[]), members: None };
        assert_eq!(batch.samples(window("5m")), r#"max (count_over_time(m_bucket{le="+Inf"}[5m]))"#);
    }

    #[test]
    fn a_native_histogram_is_asked_for_whole_and_has_no_layout() {
        let batch = Batch {
            shared: Selector::new("m", HistogramType::Native, &[equal("job", "x")]),
            members: Some(("service".into(), vec!["a".into(), "b".into()])),
        };
        let selector = r#"m{job="x",service=~"a|b"}"#;
        assert_eq!(batch.increase(window("5m")), format!("sum by (service) (increase({selector}[5m]))"));
        assert_eq!(batch.newest(), format!("max by (service) (timestamp({selector}))"));
        assert_eq!(batch.layout(), None);
    }

    #[test]
    fn the_selectors_of_a_declared_query_are_those_it_reads() {
        let text = r#"sum(increase(a{x!~"b\\.c"}[5m] offset 1m)) / clamp_min(sum(increase({y="1"}[5m])), 1)"#;
        let expected = [r#"{__name__="a",x!~"b\\.c"}"#, r#"{y="1"}"#];
        assert_eq!(selectors_of(text).unwrap(), expected);
        assert_eq!(selectors_of("vector(1)"), Some(Vec::new()));
        assert_eq!(selectors_of("sum(a[5m"), None);
        assert_eq!(selectors_of(&"(".repeat(5000)), None);
    }
}
