//! From documents to a catalog: every fault with its place, and on to the next.

use std::collections::{BTreeMap, BTreeSet};

use super::catalog::{Catalog, Ratio, Slo};
use super::query::{QueryFault, for_any_window};
use crate::document::decode::Decoder;
use crate::document::diagnostic::{Code, did_you_mean};
use crate::document::parse::parse;
use crate::document::tree::{self, Content, Document, NodeId, Plain};
use crate::document::{Diagnostic, Place, SourceFile};
use crate::unit::{Probability, Window};

/// The version that is read.
pub(crate) const VERSION: &str = "openslo/v1";

/// Kinds of the standard that no journey needs.
const UNUSED_KINDS: [&str; 5] =
    ["Service", "AlertPolicy", "AlertCondition", "AlertNotificationTarget", "BudgetAdjustment"];

/// Types of data sources whose queries are PromQL.
const PROMETHEUS_LIKE: [&str; 6] = ["prometheus", "thanos", "cortex", "mimir", "victoriametrics", "promql"];

/// Reads every `openslo/v1` document of the files; documents of other versions and kinds are left to others.
///
/// An SLO with an error is left out, a name that is taken again too. Faults are those of OpenSLO documents alone: YAML
/// that cannot be parsed is reported by whoever reads the file as a spec.
#[must_use]
pub fn load(files: &[SourceFile]) -> (Catalog, Vec<Diagnostic>) {
    let mut reader = Reader::default();
    let read: Vec<(&SourceFile, Vec<Document>)> =
        files.iter().filter(|file| super::concerns(file)).map(|file| (file, parse(file).0)).collect();
    // SLOs refer to what may be declared after them.
    for (file, documents) in &read {
        for document in documents.iter().filter(|document| version(document) == VERSION) {
            let mut decoder = Decoder::new(file, document);
            reader.declare(&mut decoder);
            reader.diagnostics.extend(decoder.finish());
        }
    }
    for (file, documents) in &read {
        for document in documents.iter().filter(|d| version(d) == VERSION && kind(d) == "SLO") {
            let mut decoder = Decoder::new(file, document);
            if let Some(slo) = reader.slo(&mut decoder).filter(|_| decoder.errors() == 0) {
                reader.catalog.slos.entry(slo.name.clone()).or_insert(slo);
            }
            reader.diagnostics.extend(decoder.finish());
        }
    }
    (reader.catalog, reader.diagnostics)
}

fn version(document: &Document) -> &str {
    root_text(document, "apiVersion")
}

fn kind(document: &Document) -> &str {
    root_text(document, "kind")
}

fn root_text<'d>(document: &'d Document, key: &str) -> &'d str {
    document.get(document.root(), key).and_then(|node| document.text(node)).unwrap_or_default()
}

/// A named document that others refer to.
struct Declared {
    place: Place,
    /// For a DataSource its type, for an SLI its ratio.
    source_type: String,
    ratio: Option<Ratio>,
}

#[derive(Default)]
struct Reader {
    catalog: Catalog,
    sources: BTreeMap<String, Declared>,
    indicators: BTreeMap<String, Declared>,
    names: BTreeMap<(String, String), Place>,
    diagnostics: Vec<Diagnostic>,
}

impl Reader {
    /// Names, and what SLOs refer to.
    fn declare(&mut self, decoder: &mut Decoder<'_>) {
        let document = decoder.document;
        let kind = kind(document).to_owned();
        if UNUSED_KINDS.contains(&kind.as_str()) {
            let message = format!("{VERSION} {kind} is understood, but nothing of it is used");
            decoder.report(Code::UnusedOpenSlo, document.root(), message, None);
            return;
        }
        if !matches!(kind.as_str(), "SLO" | "SLI" | "DataSource") {
            let at = document.get(document.root(), "kind").unwrap_or(document.root());
            let known = || ["SLO", "SLI", "DataSource"].into_iter().chain(UNUSED_KINDS);
            let allowed: Vec<_> = known().collect();
            let message = format!(
                "{VERSION} has no kind `{}`; allowed: {}",
                tree::shortened(&kind),
                allowed.join(", ")
            );
            decoder.report(Code::NotAllowed, at, message, did_you_mean(&kind, known()));
            return;
        }
        let Some((name, at)) = name(decoder) else { return };
        let place = Place::of(decoder.file, document, at);
        if let Some(other) = self.names.get(&(kind.clone(), name.clone())) {
            let message = format!(
                "the {kind} `{name}` is declared twice; the other stands at {}:{}:{}",
                other.file, other.line, other.column
            );
            decoder.report(Code::DuplicateName, at, message, Some("leave one of them out".to_owned()));
            return;
        }
        self.names.insert((kind.clone(), name.clone()), place.clone());
        let spec = document.get(document.root(), "spec");
        match kind.as_str() {
            "DataSource" => {
                let source_type = spec
                    .and_then(|spec| text(decoder, spec, "type", true))
                    .map(|(text, _)| text)
                    .unwrap_or_default();
                self.sources.insert(name, Declared { place, source_type, ratio: None });
            }
            "SLI" => {
                let ratio = spec.and_then(|spec| self.indicator(decoder, spec, &name));
                self.indicators.insert(name, Declared { place, source_type: String::new(), ratio });
            }
            _ => {}
        }
    }

    fn slo(&self, decoder: &mut Decoder<'_>) -> Option<Slo> {
        let document = decoder.document;
        let root = document.root();
        let (name, at) = quiet_name(document)?;
        let place = Place::of(decoder.file, document, at);
        if self.names.get(&("SLO".to_owned(), name.clone())) != Some(&place) {
            return None;
        }
        let Some(spec) = document.get(root, "spec") else {
            decoder.report(Code::MissingField, root, "the field `spec` is missing", None);
            return None;
        };
        let threshold = self.threshold(decoder, spec);
        let by_slices = self.by_slices(decoder, spec);
        let ratio = match (document.get(spec, "indicator"), document.get(spec, "indicatorRef")) {
            (Some(inline), None) => {
                document.get(inline, "spec").and_then(|indicator| self.indicator(decoder, indicator, &name))
            }
            (None, Some(reference)) => self.referred(decoder, reference),
            (Some(_), Some(reference)) => {
                let message =
                    "the fields indicator and indicatorRef exclude each other; allowed: one of them";
                decoder.report(Code::Conflict, reference, message, None);
                None
            }
            (None, None) => {
                let message = "one of the fields indicator, indicatorRef is needed";
                decoder.report(Code::MissingField, spec, message, None);
                None
            }
        };
        let target = targets(decoder, spec).filter(|_| !threshold && !by_slices);
        let window = time_window(decoder, spec);
        Some(Slo { name, target, window, ratio, place })
    }

    /// An SLO on a threshold promises something about a metric, not a share of calls.
    fn threshold(&self, decoder: &mut Decoder<'_>, spec: NodeId) -> bool {
        let document = decoder.document;
        let metric = document
            .get(spec, "indicator")
            .and_then(|indicator| document.get(indicator, "spec"))
            .and_then(|indicator| document.get(indicator, "thresholdMetric"));
        let Some(metric) = metric else { return false };
        let message =
            "a thresholdMetric is no share of calls: this SLO supplies neither a contract nor a ratio";
        let help = "describe the availability by a ratioMetric".to_owned();
        decoder.report(Code::UnusableIndicator, metric, message, Some(help));
        true
    }

    /// Budgets of time slices promise a share of time.
    fn by_slices(&self, decoder: &mut Decoder<'_>, spec: NodeId) -> bool {
        let Some((method, at)) = text(decoder, spec, "budgetingMethod", false) else { return false };
        match method.as_str() {
            "Occurrences" => false,
            "Timeslices" | "RatioTimeslices" => {
                let message = format!(
                    "the target of budgetingMethod {method} is a share of time, not of calls: it is not taken as a contract"
                );
                decoder.report(Code::UnusableIndicator, at, message, Some("use Occurrences".to_owned()));
                true
            }
            _ => {
                let words = ["Occurrences", "Timeslices", "RatioTimeslices"];
                let help = did_you_mean(&method, words);
                decoder.refuse(Code::NotAllowed, at, &words.join(", "), help);
                true
            }
        }
    }

    fn referred(&self, decoder: &mut Decoder<'_>, reference: NodeId) -> Option<Ratio> {
        let Some(name) = decoder.document.text(reference).map(str::to_owned) else {
            decoder.refuse(Code::WrongType, reference, "the name of an SLI", None);
            return None;
        };
        match self.indicators.get(&name) {
            Some(indicator) => indicator.ratio.clone(),
            None => {
                let help = did_you_mean(&name, self.indicators.keys().map(String::as_str));
                let message = format!("no OpenSLO document declares the SLI `{name}`");
                decoder.report(Code::UnresolvedReference, reference, message, help);
                None
            }
        }
    }

    /// The ratio that an SLI's spec measures; `None` where it gives none, which is reported.
    fn indicator(&self, decoder: &mut Decoder<'_>, spec: NodeId, owner: &str) -> Option<Ratio> {
        let document = decoder.document;
        let Some(ratio) = document.get(spec, "ratioMetric") else {
            if document.get(spec, "thresholdMetric").is_none() {
                let message = "one of the fields ratioMetric, thresholdMetric is needed";
                decoder.report(Code::MissingField, spec, message, None);
            }
            return None;
        };
        let has = |field: &str| document.get(ratio, field).is_some();
        if has("raw") || has("rawType") {
            return self.raw(decoder, ratio);
        }
        let counter = match document.get(ratio, "counter") {
            None => {
                let message = format!("the field `counter` is missing in the ratioMetric of `{owner}`");
                let help =
                    "`counter: true` where the queries select counters, false where they are numbers already";
                decoder.report(Code::MissingField, ratio, message, Some(help.to_owned()));
                return None;
            }
            Some(at) => match document.plain(at) {
                Some(Plain::Bool(counter)) => counter,
                _ => {
                    decoder.refuse(Code::WrongType, at, "true or false", None);
                    return None;
                }
            },
        };
        let total = self.metric(decoder, ratio, "total", counter);
        match (has("good"), has("bad")) {
            (true, false) => {
                let good = self.metric(decoder, ratio, "good", counter);
                Some(Ratio::Counts { good: good?, total: total? })
            }
            (false, true) => {
                let bad = self.metric(decoder, ratio, "bad", counter);
                let (bad, total) = (bad?, total?);
                let at = document.get(ratio, "bad").unwrap_or(ratio);
                let message =
                    "only bad calls are counted: where their series is absent, every call counts as good";
                let help = "count the good ones, or make sure that the series of bad calls always exists";
                decoder.report(Code::AbsentMeansGood, at, message, Some(help.to_owned()));
                let good = format!("({total}) - (({bad}) or ({total}) * 0)");
                Some(Ratio::Counts { good, total })
            }
            (good, _) => {
                let (code, message) = if good {
                    (Code::Conflict, "the fields good and bad exclude each other; allowed: one of them")
                } else {
                    (Code::MissingField, "one of the fields good, bad, raw is needed")
                };
                decoder.report(code, ratio, message, None);
                None
            }
        }
    }

    /// A share that is already computed.
    fn raw(&self, decoder: &mut Decoder<'_>, ratio: NodeId) -> Option<Ratio> {
        let raw_type = text(decoder, ratio, "rawType", true);
        let raw = self.metric(decoder, ratio, "raw", false)?;
        let (raw_type, at) = raw_type?;
        let message =
            "a raw share says nothing of how many calls stand behind it: the bounds hold no sampling error";
        let help = "count good and total calls".to_owned();
        decoder.report(Code::ShareWithoutCounts, at, message, Some(help));
        match raw_type.as_str() {
            "success" => Some(Ratio::Share(raw)),
            "failure" => Some(Ratio::Share(format!("1 - ({raw})"))),
            _ => {
                let words = ["success", "failure"];
                decoder.refuse(Code::NotAllowed, at, &words.join(", "), did_you_mean(&raw_type, words));
                None
            }
        }
    }

    /// One metric's query for any window; `None` where it cannot be asked of a Prometheus.
    fn metric(&self, decoder: &mut Decoder<'_>, ratio: NodeId, field: &str, counter: bool) -> Option<String> {
        let document = decoder.document;
        let Some(metric) = document.get(ratio, field) else {
            decoder.report(Code::MissingField, ratio, format!("the field `{field}` is missing"), None);
            return None;
        };
        let Some(source) = document.get(metric, "metricSource") else {
            decoder.report(Code::MissingField, metric, "the field `metricSource` is missing", None);
            return None;
        };
        let mut kind = text(decoder, source, "type", false);
        if let Some((name, at)) = text(decoder, source, "metricSourceRef", false) {
            match self.sources.get(&name) {
                Some(declared) => {
                    if let Some((kind, at)) = &kind
                        && !kind.eq_ignore_ascii_case(&declared.source_type)
                    {
                        let message = format!(
                            "the type is {kind} here and {} in the DataSource `{name}` at {}:{}",
                            declared.source_type, declared.place.file, declared.place.line
                        );
                        decoder.report(Code::Conflict, *at, message, None);
                    }
                    kind = kind.or_else(|| Some((declared.source_type.clone(), at)));
                }
                // It may be declared where nobody told us to look; the query is what counts.
                None if kind.is_some() => {}
                None => {
                    let help = did_you_mean(&name, self.sources.keys().map(String::as_str));
                    let message = format!("no OpenSLO document declares the DataSource `{name}`");
                    decoder.report(Code::UnresolvedReference, at, message, help);
                }
            }
        }
        if let Some((kind, at)) = kind
            && !PROMETHEUS_LIKE.contains(&kind.to_ascii_lowercase().as_str())
        {
            let message = format!("a {kind} cannot be asked for evidence: the indicator supplies no ratio");
            decoder.report(Code::UnusableIndicator, at, message, None);
            return None;
        }
        let query = document
            .get(source, "spec")
            .and_then(|spec| document.get(spec, "query").or_else(|| document.get(spec, "promql")));
        let Some((query, at)) = query.and_then(|at| Some((document.text(at)?, at))) else {
            let at = document.get(source, "spec").unwrap_or(source);
            decoder.report(Code::MissingField, at, "the field `query` is missing", None);
            return None;
        };
        match for_any_window(query, counter) {
            Ok(query) => Some(query),
            Err(fault) => {
                let help = match &fault {
                    QueryFault::Unreadable(_) => None,
                    _ => Some("write `sum(increase(…[{{window}}]))`".to_owned()),
                };
                let message = format!("{fault}: the indicator supplies no ratio");
                decoder.report(Code::UnusableIndicator, at, message, help);
                None
            }
        }
    }
}

/// `metadata.name` and its place; reports where it is missing, or legal here but not in the standard's own library.
fn name(decoder: &mut Decoder<'_>) -> Option<(String, NodeId)> {
    let document = decoder.document;
    let root = document.root();
    let Some(metadata) = document.get(root, "metadata") else {
        decoder.report(Code::MissingField, root, "the field `metadata` is missing", None);
        return None;
    };
    let (name, at) = text(decoder, metadata, "name", true)?;
    if !is_dns_label(&name) {
        let message =
            format!("`{}` is no RFC 1123 label: other tools for OpenSLO reject it", tree::shortened(&name));
        decoder.report(Code::ForeignName, at, message, Some("use a-z, 0-9 and - only".to_owned()));
    }
    Some((name, at))
}

fn quiet_name(document: &Document) -> Option<(String, NodeId)> {
    let at = document.get(document.get(document.root(), "metadata")?, "name")?;
    Some((document.text(at)?.to_owned(), at))
}

/// RFC 1123: at most 63 lower-case letters, digits and `-`, not at the ends.
fn is_dns_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

/// A field that is text.
fn text(decoder: &mut Decoder<'_>, mapping: NodeId, field: &str, required: bool) -> Option<(String, NodeId)> {
    let document = decoder.document;
    match document.get(mapping, field) {
        None => {
            if required {
                decoder.report(Code::MissingField, mapping, format!("the field `{field}` is missing"), None);
            }
            None
        }
        Some(at) => match document.plain(at) {
            Some(Plain::Text(text)) if !text.is_empty() => Some((text.to_owned(), at)),
            _ => {
                decoder.refuse(Code::WrongType, at, "text", None);
                None
            }
        },
    }
}

/// The lowest target: of several promises the weakest is relied on.
fn targets(decoder: &mut Decoder<'_>, spec: NodeId) -> Option<Probability> {
    let document = decoder.document;
    let Some(objectives) = document.get(spec, "objectives") else {
        decoder.report(Code::MissingField, spec, "the field `objectives` is missing", None);
        return None;
    };
    let Content::Sequence(items) = &document.node(objectives).content else {
        decoder.refuse(Code::WrongType, objectives, "a list", None);
        return None;
    };
    if items.is_empty() {
        decoder.refuse(Code::ItemCount, objectives, "at least one item", None);
    }
    items
        .iter()
        .filter_map(|item| target(decoder, *item))
        .reduce(|a, b| if b.get() < a.get() { b } else { a })
}

fn target(decoder: &mut Decoder<'_>, objective: NodeId) -> Option<Probability> {
    let document = decoder.document;
    let (field, scale) = match (document.get(objective, "target"), document.get(objective, "targetPercent")) {
        (Some(at), None) => (at, 1.0),
        (None, Some(at)) => (at, 100.0),
        (Some(_), Some(at)) => {
            let message = "the fields target and targetPercent exclude each other; allowed: one of them";
            decoder.report(Code::Conflict, at, message, None);
            return None;
        }
        (None, None) => {
            let message = "one of the fields target, targetPercent is needed";
            decoder.report(Code::MissingField, objective, message, None);
            return None;
        }
    };
    let Some(Plain::Number(value)) = document.plain(field) else {
        decoder.refuse(Code::WrongType, field, "a number", None);
        return None;
    };
    let share = value / scale;
    if share > 0.0 && share < 1.0 {
        return Probability::new(share).ok();
    }
    let help =
        (scale == 1.0 && (1.0..100.0).contains(&value)).then(|| "a percentage is targetPercent".to_owned());
    decoder.refuse(Code::OutOfRange, field, &format!("a number above 0 and below {scale}"), help);
    None
}

/// The duration of the first time window.
fn time_window(decoder: &mut Decoder<'_>, spec: NodeId) -> Option<Window> {
    let document = decoder.document;
    let windows = document.get(spec, "timeWindow")?;
    let Content::Sequence(items) = &document.node(windows).content else {
        decoder.refuse(Code::WrongType, windows, "a list", None);
        return None;
    };
    let mut seen = BTreeSet::new();
    for item in items {
        let (text, at) = text(decoder, *item, "duration", true)?;
        match duration(&text) {
            Some(window) => {
                seen.insert(window);
            }
            None => decoder.refuse(
                Code::Malformed,
                at,
                "a whole number of m, h, d, w, M (30d), Q (90d) or Y (365d)",
                None,
            ),
        }
    }
    seen.into_iter().next()
}

/// A duration of the standard: `28d`, `1M`.
fn duration(text: &str) -> Option<Window> {
    let unit = text.chars().next_back()?;
    let count: u64 = text[..text.len() - unit.len_utf8()].parse().ok()?;
    let minutes: u64 = match unit {
        'm' => 1,
        'h' => 60,
        'd' => 1_440,
        'w' => 7 * 1_440,
        'M' => 30 * 1_440,
        'Q' => 90 * 1_440,
        'Y' => 365 * 1_440,
        _ => return None,
    };
    Window::from_millis(count.checked_mul(minutes)?.checked_mul(60_000)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_those_of_the_standard() {
        for (text, printed) in [("30m", "30m"), ("28d", "4w"), ("1M", "30d"), ("1Q", "90d"), ("1Y", "1y")] {
            assert_eq!(duration(text).map(|w| w.to_string()).as_deref(), Some(printed), "{text}");
        }
        for text in ["", "d", "1.5d", "30", "1s", "0d", "-1d", "1é"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }

    #[test]
    fn names_of_the_standards_library_are_dns_labels() {
        assert!(is_dns_label("front-availability"));
        for name in ["", "slo.front", "Front", "-a", "a-"] {
            assert!(!is_dns_label(name), "{name}");
        }
    }
}
