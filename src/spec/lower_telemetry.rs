//! A component's telemetry: a histogram, a preset, or separate queries.

use super::intent::{ComponentRecord, Matchers, TelemetryRecord};
use super::scalar::{MetricName, Query};
use super::word::{HistogramTypeWord, PresetName, Scope, Unit};
use crate::document::decode::{At, Decoder};
use crate::document::diagnostic::Code;
use crate::journey::component::{HistogramType, LatencyScope, LatencyUnit, Telemetry};
use crate::openslo::query::has_placeholder as has_window;
use crate::promql::query::Query as ParsedQuery;
use crate::series::{MatchOp, Matcher};
use crate::unit::Window;

/// The longest query, in bytes.
const MAX_QUERY_BYTES: usize = 8 * 1024;
/// The greatest compiled size of a matcher's regular expression, in bytes.
const MAX_REGEX_BYTES: usize = 1 << 20;

/// The same fields, wherever they are written.
struct Fields<'a> {
    preset: Option<&'a At<PresetName>>,
    histogram: Option<&'a At<MetricName>>,
    matchers: Option<&'a Matchers>,
    success: Option<&'a Matchers>,
    unit: Option<&'a At<Unit>>,
    histogram_type: Option<&'a At<HistogramTypeWord>>,
    good: Option<&'a At<Query>>,
    total: Option<&'a At<Query>>,
    latency: Option<&'a At<Query>>,
    failure_latency: Option<&'a At<Query>>,
    scope: Option<&'a At<Scope>>,
}

macro_rules! fields {
    ($record:expr) => {
        Fields {
            preset: $record.preset.as_ref(),
            histogram: $record.histogram.as_ref(),
            matchers: $record.matchers.as_ref(),
            success: $record.success.as_ref(),
            unit: $record.unit.as_ref(),
            histogram_type: $record.histogram_type.as_ref(),
            good: $record.good.as_ref(),
            total: $record.total.as_ref(),
            latency: $record.latency.as_ref(),
            failure_latency: $record.failure_latency.as_ref(),
            scope: $record.scope.as_ref(),
        }
    };
}

fn fields(component: &ComponentRecord) -> Fields<'_> {
    let nested: Option<&TelemetryRecord> = component.telemetry.as_ref();
    nested.map_or_else(|| fields!(component), |telemetry| fields!(telemetry))
}

/// What the component's latency contains.
pub(crate) fn scope(component: &ComponentRecord) -> LatencyScope {
    let fields = fields(component);
    match fields.latency {
        Some(latency) if fields.good.is_none() && latency.value.0 == "inclusive" => LatencyScope::Inclusive,
        _ => fields.scope.map_or(LatencyScope::Exclusive, |scope| scope.value.0),
    }
}

/// The telemetry, where there is any and it is well-formed.
pub(crate) fn lower(component: &ComponentRecord, decoder: &mut Decoder<'_>) -> Option<Telemetry> {
    let fields = fields(component);
    let selecting = fields.matchers.map(|all| matchers(all, decoder)).unwrap_or_default();
    let success = fields.success.map(|all| matchers(all, decoder));
    let unit = fields.unit.map(|unit| unit.value.0);
    let stored = fields.histogram_type.map(|stored| stored.value.0).unwrap_or_default();
    if let Some(preset) = fields.preset {
        let mut telemetry = preset.value.0.telemetry(selecting);
        match &mut telemetry {
            Telemetry::Histogram { success: of_preset, unit: unit_of_preset, histogram_type, .. } => {
                if let Some(success) = success {
                    *of_preset = success;
                }
                *histogram_type = stored;
                *unit_of_preset = unit.unwrap_or(*unit_of_preset);
            }
            Telemetry::Ratio { .. } => {}
            Telemetry::Queries { unit: unit_of_preset, .. } => {
                *unit_of_preset = unit.unwrap_or(*unit_of_preset);
                if let Some(written) = fields.histogram_type.filter(|_| stored == HistogramType::Native) {
                    let message = "this preset reads classic buckets; allowed: `histogramType: classic`";
                    let help = "write the queries good, total and latency".to_owned();
                    decoder.report(Code::OperatorRule, written.at, message, Some(help));
                }
                if let Some((first, _)) = fields.success.and_then(|success| success.0.first()) {
                    let message = "this preset counts successes by the class of the status, not by labels";
                    let help = "leave `success` out, or write the queries good, total and latency".to_owned();
                    decoder.report(Code::OperatorRule, first.at, message, Some(help));
                }
            }
        }
        return Some(telemetry);
    }
    if let Some(histogram) = fields.histogram {
        let metric = &histogram.value.0;
        if let Some(base) = ["_bucket", "_count", "_sum"].iter().find_map(|end| metric.strip_suffix(end)) {
            let message = format!("`{metric}` is one series of a histogram; allowed: its base name");
            decoder.report(Code::OperatorRule, histogram.at, message, Some(format!("write `{base}`")));
        }
        return Some(Telemetry::Histogram {
            metric: metric.clone(),
            matchers: selecting,
            success: success.unwrap_or_default(),
            unit: unit.unwrap_or(LatencyUnit::Seconds),
            histogram_type: stored,
        });
    }
    fields.good.or(fields.total)?;
    let mut query = |query: Option<&At<Query>>| {
        let query = query?;
        if !has_window(&query.value.0) {
            let message =
                "the query does not say over which window it counts; allowed: `{{window}}` as the range";
            let help =
                "write `increase(…[{{window}}])`: it is asked for each window of the journey".to_owned();
            decoder.report(Code::NoWindowInQuery, query.at, message, Some(help));
        }
        check_promql(query, decoder);
        Some(query.value.0.clone())
    };
    Some(Telemetry::Queries {
        good: query(fields.good),
        total: query(fields.total),
        latency: query(fields.latency),
        failure_latency: query(fields.failure_latency),
        unit: unit.unwrap_or(LatencyUnit::Seconds),
    })
}

/// Matchers with valid regular expressions.
pub(crate) fn matchers(all: &Matchers, decoder: &mut Decoder<'_>) -> Vec<Matcher> {
    let mut read = Vec::with_capacity(all.0.len());
    for (name, value) in &all.0 {
        let Some(value) = value else { continue };
        let matcher = value.value.named(&name.value.0);
        if matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex) {
            let check = |regex: &str| {
                let anchored = format!("^(?:{regex})$");
                regex::RegexBuilder::new(&anchored).size_limit(MAX_REGEX_BYTES).build().map(drop)
            };
            if let Err(error) = decoder.check_regex(&matcher.value, check) {
                let fault = error.to_string();
                let fault = fault.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                let message = format!("`{}` is not a regular expression: {fault}", matcher.value);
                decoder.report(Code::InvalidRegex, value.at, message, None);
            }
        }
        read.push(matcher);
    }
    read
}

/// The query with a range where its window stands (`{{window}}`, `{{ .window }}` and the like).
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
    out + rest
}

/// A warning where the query cannot be read: an upstream may know more than this crate's parser.
pub(crate) fn check_promql(query: &At<Query>, decoder: &mut Decoder<'_>) {
    let Ok(window) = Window::from_millis(300_000) else { return };
    if let Err(error) = ParsedQuery::parse(&with_window(&query.value.0, window), MAX_QUERY_BYTES) {
        let message = format!("this cannot be read as PromQL, though the upstream may know more: {error}");
        decoder.report(Code::UnreadablePromql, query.at, message, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_may_be_written_in_several_ways() {
        for query in ["x[{{window}}]", "x[{{ .window }}]", "{{a}} x[{{.window}}]"] {
            assert!(has_window(query), "{query}");
            assert!(with_window(query, Window::from_millis(300_000).unwrap()).contains("x[5m]"), "{query}");
        }
        for query in ["x[5m]", "x[{{window]", "x[{{windows}}]"] {
            assert!(!has_window(query), "{query}");
        }
    }

    #[test]
    fn every_spelling_of_the_window_is_replaced_and_nothing_else() {
        for text in ["x[{{window}}]", "x[{{ .window }}]", "x[{{.window}}]", "x[{{ window }}]"] {
            assert_eq!(with_window(text, "60m".parse().unwrap()), "x[1h]", "{text}");
        }
        for text in ["x[{{windows}}]", "x[{{window", "{{a}}"] {
            assert_eq!(with_window(text, "1h".parse().unwrap()), text);
        }
        assert_eq!(with_window("{{ {{window}}", "5m".parse().unwrap()), "{{ 5m");
    }
}
