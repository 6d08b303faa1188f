//! What an upstream's own words say about a journey's telemetry: pure rules over facts that the caller asked for.

use std::collections::BTreeMap;

use crate::document::Place;
use crate::document::diagnostic::{Code, Diagnostic, did_you_mean, nearest};
use crate::journey::Journey;
use crate::journey::component::{Component, HistogramType, LatencyUnit, Telemetry};
use crate::journey::governance::PROVEN_BY_ONE_ERROR;
use crate::journey::variant::Variant;
use crate::series::{MatchOp, Matcher};
use crate::unit::Window;

/// Over which window the usual traffic is counted.
pub const TRAFFIC_WINDOW: &str = "1h";

/// What the upstream says about one histogram.
#[derive(Debug, Clone, Default)]
pub struct HistogramFacts {
    /// Every metric name of the upstream.
    pub names: Vec<String>,
    /// The labels of the series of its buckets, whatever the matchers.
    pub labels: Vec<String>,
    /// The values of each label that a matcher names, over the same series.
    pub values: BTreeMap<String, Vec<String>>,
    /// The `le` of the series that match, as text; an empty one for series without it, as those of native histograms.
    pub edges: Vec<String>,
    /// How many calls [`TRAFFIC_WINDOW`] held, where that is known.
    pub traffic: Option<f64>,
}

/// What the upstream says about one query.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryFacts {
    /// It refuses the query, in its own words.
    Refused(String),
    /// The `le` of each series of the answer, empty where there is none.
    Series(Vec<String>),
}

/// Everything wrong with the telemetry of a component that is one histogram.
#[must_use]
pub fn histogram_findings(
    journey: &Journey,
    component: &Component,
    place: &Place,
    facts: &HistogramFacts,
) -> Vec<Diagnostic> {
    let Some(Telemetry::Histogram { metric, matchers, success, unit, histogram_type }) = &component.telemetry
    else {
        return Vec::new();
    };
    let buckets = histogram_type.series_name(metric);
    if !facts.names.contains(&buckets) {
        return vec![no_metric(metric, *histogram_type, place, &facts.names)];
    }
    let mut findings = missing_labels(&buckets, matchers, success, place, &facts.labels);
    if !findings.is_empty() {
        return findings;
    }
    if facts.edges.is_empty() {
        findings.push(no_match(&buckets, matchers, place, facts));
        return findings;
    }
    // Native buckets go as far as the calls did.
    if *histogram_type == HistogramType::Classic {
        findings.extend(edge_findings(journey, &format!("`{buckets}`"), *unit, place, &facts.edges));
    }
    findings.extend(traffic_findings(journey, component, place, facts.traffic));
    findings
}

/// What is wrong with the selector of a component of a variant; that the component itself is measured is
/// [`histogram_findings`]' to say. A variant without series is no fault, since it comes and goes with its rollout; one whose
/// labels no series ever had is likely misspelt.
#[must_use]
pub fn variant_findings(
    variant: &Variant,
    component: &Component,
    place: &Place,
    facts: &HistogramFacts,
) -> Vec<Diagnostic> {
    let Some(Telemetry::Histogram { metric, matchers, histogram_type, .. }) = &component.telemetry else {
        return Vec::new();
    };
    let buckets = histogram_type.series_name(metric);
    if !facts.names.contains(&buckets) {
        return Vec::new();
    }
    let labels = facts.labels.iter().map(String::as_str);
    let wanted = variant.matchers.iter().filter(|matcher| !matches_absent(matcher)).map(|m| &m.name);
    let mut findings: Vec<Diagnostic> = wanted
        .chain(&variant.pod_hash_label)
        .filter(|name| !facts.labels.contains(*name))
        .map(|name| {
            let message =
                format!("variant `{}`: no series of `{buckets}` has the label `{name}`", variant.name);
            let help = did_you_mean(name, labels.clone())
                .or_else(|| Some(format!("its labels are {}", facts.labels.join(", "))));
            place.finding(Code::UnseenVariant, message, help)
        })
        .collect();
    if findings.is_empty() && facts.edges.is_empty() {
        let found = no_match(&buckets, matchers, place, facts);
        let message = format!("variant `{}`: {}; right while it does not run", variant.name, found.message);
        findings.push(place.finding(Code::IdleVariant, message, found.help));
    }
    findings
}

fn no_metric(metric: &str, stored: HistogramType, place: &Place, names: &[String]) -> Diagnostic {
    let known = |name: &str| names.iter().any(|known| known == name);
    let buckets = stored.series_name(metric);
    let message =
        format!("`{metric}` exists upstream, but has no `{buckets}`: it is not a {stored} histogram");
    match stored {
        HistogramType::Classic if known(metric) || known(&format!("{metric}_count")) => {
            let help =
                "name a histogram with `le` buckets, or write `histogramType: native` for a native one";
            return place.finding(Code::NotAHistogram, message, Some(help.to_owned()));
        }
        HistogramType::Native if known(&HistogramType::Classic.series_name(metric)) => {
            let help = "leave `histogramType` out: it is a classic histogram".to_owned();
            return place.finding(Code::NotAHistogram, message, Some(help));
        }
        HistogramType::Classic | HistogramType::Native => {}
    }
    let histograms = names.iter().filter_map(|name| name.strip_suffix("_bucket"));
    let message = format!("there is no series `{buckets}` upstream");
    place.finding(Code::NoSeries, message, did_you_mean(metric, histograms))
}

/// Whether a series without the label can match.
fn matches_absent(matcher: &Matcher) -> bool {
    match matcher.op {
        MatchOp::Equal => matcher.value.is_empty(),
        MatchOp::NotEqual => !matcher.value.is_empty(),
        MatchOp::Regex | MatchOp::NotRegex => {
            let empty =
                regex::Regex::new(&format!("^(?:{})$", matcher.value)).is_ok_and(|regex| regex.is_match(""));
            empty == (matcher.op == MatchOp::Regex)
        }
    }
}

fn missing_labels(
    buckets: &str,
    matchers: &[Matcher],
    success: &[Matcher],
    place: &Place,
    labels: &[String],
) -> Vec<Diagnostic> {
    let exists = |matcher: &&Matcher| labels.contains(&matcher.name);
    // A condition of success on a label that no series has is met by every request, also by failures; that is wrong
    // unless another condition tells them apart, or the absence is what is asked for.
    let told_apart = success.iter().any(|matcher| exists(&matcher));
    let suspicious = success.iter().filter(|matcher| {
        let asks_for_absence = matcher.op == MatchOp::Equal && matcher.value.is_empty();
        !matches_absent(matcher) || !(told_apart || asks_for_absence)
    });
    let wanted = matchers.iter().filter(|matcher| !matches_absent(matcher)).chain(suspicious);
    wanted
        .filter(|matcher| !exists(matcher))
        .map(|matcher| {
            let message = format!("no series of `{buckets}` has the label `{}`", matcher.name);
            let help = did_you_mean(&matcher.name, labels.iter().map(String::as_str))
                .or_else(|| Some(format!("its labels are {}", labels.join(", "))));
            place.finding(Code::NoLabel, message, help)
        })
        .collect()
}

fn no_match(buckets: &str, matchers: &[Matcher], place: &Place, facts: &HistogramFacts) -> Diagnostic {
    let shown: Vec<_> = matchers.iter().map(ToString::to_string).collect();
    let message = format!("nothing matches `{buckets}{{{}}}` upstream", shown.join(","));
    let strange = matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal).find_map(|matcher| {
        let values = facts.values.get(&matcher.name)?;
        (!values.contains(&matcher.value)).then_some((matcher, values))
    });
    let help = strange.map(|(matcher, values)| {
        let known = values.iter().map(String::as_str);
        nearest(&matcher.value, known.clone()).map_or_else(
            || format!("`{}` is one of {}", matcher.name, known.take(10).collect::<Vec<_>>().join(", ")),
            |value| format!("did you mean `{}=\"{value}\"`?", matcher.name),
        )
    });
    place.finding(Code::NoSeries, message, help)
}

fn edge_findings(
    journey: &Journey,
    what: &str,
    unit: LatencyUnit,
    place: &Place,
    edges: &[String],
) -> Vec<Diagnostic> {
    if edges.iter().any(String::is_empty) {
        let message = format!("{what} has series without the label `le`: it is not a classic histogram");
        let help = "sum it `by (le)`".to_owned();
        return vec![place.finding(Code::NotAHistogram, message, Some(help))];
    }
    let read: Vec<f64> = edges.iter().filter_map(|edge| edge.parse().ok()).collect();
    if !read.iter().any(|edge: &f64| edge.is_infinite()) {
        let message = format!("{what} has no bucket `le=\"+Inf\"`: the number of all calls is unknown");
        return vec![place.finding(Code::NotAHistogram, message, None)];
    }
    let last = read.iter().copied().filter(|edge| edge.is_finite()).fold(0.0, f64::max) * unit.in_seconds();
    let Some(objective) = &journey.objectives.latency else { return Vec::new() };
    if last >= objective.threshold.get() {
        return Vec::new();
    }
    let message = format!(
        "the last finite bucket of {what} ends at {last}s, below the objective of {}: slower calls have no bound",
        objective.threshold
    );
    vec![place.finding(
        Code::LowEdge,
        message,
        Some("add buckets beyond the objective, or check `unit`".to_owned()),
    )]
}

fn traffic_findings(
    journey: &Journey,
    component: &Component,
    place: &Place,
    traffic: Option<f64>,
) -> Option<Diagnostic> {
    let traffic = traffic?;
    if traffic <= 0.0 {
        let message = format!("`{}` had no calls within {TRAFFIC_WINDOW}", component.name);
        return Some(place.finding(Code::NoTraffic, message, None));
    }
    let budget = journey.objectives.availability.as_ref()?.target.complement().get();
    let hour: Window = TRAFFIC_WINDOW.parse().ok()?;
    let tier = journey.governance.burn_rate_policy.page.iter().find(|tier| {
        let calls = traffic * tier.long_window.seconds().get() / hour.seconds().get();
        // The alert needs both: that fast a burn, and proof of any.
        !tier.disabled
            && 1.0 / (calls * budget) > tier.burn_rate
            && PROVEN_BY_ONE_ERROR / (calls * budget) > 1.0
    })?;
    let message = format!(
        "`{}` has {traffic:.0} calls within {TRAFFIC_WINDOW}: at this traffic a single error proves and exceeds the burn \
         rate {} over {}",
        component.name, tier.burn_rate, tier.long_window
    );
    let help = "a longer window or a ticket suits low traffic better".to_owned();
    Some(place.finding(Code::SingleErrorPages, message, Some(help)))
}

/// Everything wrong with a query; `buckets` where it must return `le` series of this unit.
#[must_use]
pub fn query_findings(
    journey: &Journey,
    field: &str,
    buckets: Option<LatencyUnit>,
    place: &Place,
    facts: &QueryFacts,
) -> Vec<Diagnostic> {
    let code = |code, message: String| vec![place.finding(code, message, None)];
    match facts {
        QueryFacts::Refused(words) => {
            code(Code::NoSeries, format!("the upstream refuses the query `{field}`: {words}"))
        }
        QueryFacts::Series(edges) if edges.is_empty() => {
            code(Code::NoSeries, format!("the query `{field}` yields nothing upstream"))
        }
        QueryFacts::Series(edges) => match buckets {
            Some(unit) => edge_findings(journey, &format!("the answer to `{field}`"), unit, place, edges),
            None if edges.len() > 1 => code(
                Code::NoSeries,
                format!("the query `{field}` yields {} series; allowed: one number", edges.len()),
            ),
            None => Vec::new(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{SourceFile, load};

    fn findings(telemetry: &str, facts: &HistogramFacts) -> Vec<String> {
        let text = format!(
            "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: a}}\nspec:\n  expression: a\n  \
             objectives:\n    availability: {{window: 30d, target: 0.99}}\n    latency: {{window: 30d, objective: \
             {{metric: p99, threshold: 400ms}}}}\n  components: {{a: {{telemetry: {telemetry}}}}}\n"
        );
        let loaded = load(&[SourceFile { path: "a.yaml".to_owned(), text }]);
        let (journey, places) = (&loaded.journeys[0], &loaded.places[0]);
        histogram_findings(journey, &journey.components[0], &places.components[0], facts)
            .into_iter()
            .map(|finding| format!("{} {}", finding.code, finding.help.unwrap_or(finding.message)))
            .collect()
    }

    fn facts() -> HistogramFacts {
        let owned = |all: &[&str]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        HistogramFacts {
            names: owned(&["rq_seconds_bucket", "rq_seconds_count", "gauge"]),
            labels: owned(&["service", "code", "le"]),
            values: BTreeMap::from([("service".to_owned(), owned(&["front", "cart"]))]),
            edges: owned(&["0.1", "1", "+Inf"]),
            traffic: Some(100_000.0),
        }
    }

    #[test]
    fn sound_telemetry_has_no_findings() {
        let sound = "{histogram: rq_seconds, matchers: {service: front}, success: {code: '!~\"5..\"'}}";
        assert_eq!(findings(sound, &facts()), Vec::<String>::new());
    }

    #[test]
    fn what_does_not_exist_is_named_with_the_nearest_that_does() {
        let empty = HistogramFacts { edges: Vec::new(), ..facts() };
        for (telemetry, facts, expected) in [
            ("{histogram: rq_secnds}", facts(), "E301 did you mean `rq_seconds`?"),
            (
                "{histogram: gauge}",
                facts(),
                "E303 name a histogram with `le` buckets, or write `histogramType: native` for a native one",
            ),
            ("{histogram: rq_seconds, matchers: {servce: front}}", facts(), "E302 did you mean `service`?"),
            ("{histogram: rq_seconds, success: {cod: '!~\"5..\"'}}", facts(), "E302 did you mean `code`?"),
            (
                "{histogram: rq_seconds, matchers: {service: fornt}}",
                empty,
                "E301 did you mean `service=\"front\"`?",
            ),
        ] {
            assert_eq!(findings(telemetry, &facts), [expected], "{telemetry}");
        }
    }

    #[test]
    fn an_absent_label_may_be_asked_for() {
        let preset = "{histogram: rq_seconds, success: {error_type: '', code: '!~\"5..\"'}}";
        assert_eq!(findings(preset, &facts()), Vec::<String>::new());
    }

    #[test]
    fn edges_and_traffic_are_looked_at() {
        let with = |edges: &[&str], traffic| HistogramFacts {
            edges: edges.iter().map(ToString::to_string).collect(),
            traffic,
            ..facts()
        };
        let telemetry = "{histogram: rq_seconds}";
        let code = |facts| findings(telemetry, &facts).iter().map(|f| f[..4].to_owned()).collect::<Vec<_>>();
        assert_eq!(code(with(&["", "+Inf"], None)), ["E303"]);
        assert_eq!(code(with(&["0.1", "1"], None)), ["E303"]);
        assert_eq!(code(with(&["0.1", "0.25", "+Inf"], None)), ["W417"]);
        assert_eq!(code(with(&["0.4", "+Inf"], Some(0.0))), ["W419"]);
        // One error in n calls burns 1/(n · 0.01), above 14.4 where n < 6.9, and proves 0.0513/(n · 0.01), above 1 where
        // n < 5.13.
        assert_eq!(code(with(&["0.4", "+Inf"], Some(5.0))), ["W418"]);
        assert_eq!(code(with(&["0.4", "+Inf"], Some(6.0))), Vec::<String>::new());
        assert_eq!(code(with(&["0.4", "+Inf"], Some(17.0))), Vec::<String>::new());
        let milliseconds = "{histogram: rq_seconds, unit: milliseconds}";
        assert_eq!(findings(milliseconds, &with(&["100", "250", "+Inf"], None)).len(), 1);
        assert_eq!(findings(milliseconds, &with(&["100", "500", "+Inf"], None)).len(), 0);
    }
}
