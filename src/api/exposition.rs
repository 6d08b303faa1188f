//! `/journeys/metrics`: the current synthetic values, to be scraped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, header};

use super::reply;
use super::state::ApiState;
use crate::series::{Labels, NAME};
use crate::synthetic::{catalog, render};
use crate::wire::prometheus_json::number;

/// The text format of Prometheus.
pub(crate) const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// OpenMetrics, where the client asks for it.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// `/journeys/metrics`
///
/// Without timestamps, since with them Prometheus writes no stale marker. A journey whose newest evaluation is too old
/// has only its meta series: the others end, visibly.
pub(crate) async fn journeys(State(state): State<ApiState>, headers: HeaderMap) -> Response {
    let open_metrics = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|accept| accept.to_str().is_ok_and(|accept| accept.contains("application/openmetrics-text")));
    let (format, content_type) =
        if open_metrics { (Format::OpenMetrics, OPEN_METRICS) } else { (Format::Text, TEXT) };
    reply::own(200, content_type, write(&current(&state), format))
}

/// The newest samples with external labels.
pub(crate) fn current(state: &ApiState) -> Vec<(Labels, f64)> {
    let settings = state.engine().settings();
    let delay = i64::try_from(settings.delay.as_millis()).unwrap_or(i64::MAX);
    let interval = i64::try_from(settings.interval.millis()).unwrap_or(i64::MAX);
    // The newest point that is offered may be one interval and the delay old, and its evaluation may take another.
    let oldest = state.now().plus_millis(delay.saturating_add(interval.saturating_mul(2)).saturating_neg());
    let newest = state.now().plus_millis(interval);
    let mut all = Vec::new();
    for evaluation in state.engine().latest() {
        // One of a time that has not come was evaluated before the clock was set back.
        let fresh = (oldest..=newest).contains(&evaluation.time);
        for (mut labels, value) in render::samples(&evaluation) {
            if fresh || catalog::is_meta(labels.get(NAME)) {
                for (name, text) in settings.external_labels.iter() {
                    if labels.get(name).is_empty() {
                        labels.set(name, text);
                    }
                }
                all.push((labels, value));
            }
        }
    }
    all
}

/// How samples are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// The text format.
    Text,
    /// OpenMetrics.
    OpenMetrics,
    /// The text format with an empty `instance` where a series has none.
    Federated,
}

/// Samples in exposition format, family by family.
pub(crate) fn write(samples: &[(Labels, f64)], format: Format) -> String {
    let open_metrics = format == Format::OpenMetrics;
    let mut by_family: BTreeMap<&str, Vec<&(Labels, f64)>> = BTreeMap::new();
    for sample in samples {
        by_family.entry(sample.0.get(NAME)).or_default().push(sample);
    }
    let mut out = String::new();
    for (name, samples) in by_family {
        if let Some(family) = catalog::family(name) {
            let help = family.help.replace('\\', "\\\\");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", family.kind.as_str());
            // OpenMetrics allows a unit only where the name ends with it.
            if open_metrics && name.ends_with(&format!("_{}", family.unit)) {
                let _ = writeln!(out, "# UNIT {name} {}", family.unit);
            }
        }
        for (labels, value) in samples {
            out.push_str(name);
            let mut separator = '{';
            for (label, text) in labels.iter().filter(|(label, _)| *label != NAME) {
                let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(out, "{separator}{label}=\"{text}\"");
                separator = ',';
            }
            if format == Format::Federated && labels.get("instance").is_empty() {
                let _ = write!(out, "{separator}instance=\"\"");
                separator = ',';
            }
            if separator == ',' {
                out.push('}');
            }
            out.push(' ');
            number::write_float(&mut out, *value);
            out.push('\n');
        }
    }
    if open_metrics {
        out.push_str("# EOF\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<(Labels, f64)> {
        let latency = "emac_journey_latency_estimate_seconds";
        vec![
            (Labels::named("emac_journey_gate").with("journey", "a\"b\\c\nd").with("verdict", "pass"), 1.0),
            (Labels::named(latency).with("journey", "x").with("quantile", "0.99"), f64::INFINITY),
            (Labels::named("emac_journey_gate").with("journey", "x").with("verdict", "pass"), 0.0),
        ]
    }

    #[test]
    fn a_family_stands_together_under_its_help_and_type() {
        let text = write(&samples(), Format::Text);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 7);
        assert_eq!(lines[1], "# TYPE emac_journey_gate gauge");
        assert_eq!(lines[2], r#"emac_journey_gate{journey="a\"b\\c\nd",verdict="pass"} 1"#);
        assert_eq!(lines[3], r#"emac_journey_gate{journey="x",verdict="pass"} 0"#);
        assert_eq!(lines[6], r#"emac_journey_latency_estimate_seconds{journey="x",quantile="0.99"} +Inf"#);
    }

    #[test]
    fn open_metrics_has_units_and_an_end() {
        let text = write(&samples(), Format::OpenMetrics);
        assert!(text.contains("# UNIT emac_journey_latency_estimate_seconds seconds\n"));
        assert!(!text.contains("# UNIT emac_journey_gate"));
        assert!(text.ends_with("# EOF\n"));
    }
}
