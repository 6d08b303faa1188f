//! From files to journeys.

use serde_json::Value;

use super::{Diagnostic, Severity, SourceFile};
use crate::journey::Journey;
use crate::journey::component::{
    Component, ComponentId, ComponentKind, LatencyScope, LatencyUnit, Telemetry,
};
use crate::journey::domain::{DomainId, DomainLatency, FailureDomain};
use crate::journey::governance::{
    BucketError, BurnRatePolicy, BurnRateTier, Dependence, EvaluationMode, Governance,
};
use crate::journey::objective::{AvailabilityObjective, LatencyObjective, Objectives};
use crate::journey::operator::Operator;
use crate::series::{MatchOp, Matcher};
use crate::unit::{Probability, Seconds, Window};

/// What was understood, and everything that is to be said about it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// One for each valid JourneyIntent.
    pub journeys: Vec<Journey>,
    /// In the order of files and places.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads all documents of all files. A journey with an error is left out.
#[must_use]
pub fn load(files: &[SourceFile]) -> Loaded {
    let mut loaded = Loaded::default();
    for file in files {
        let read = serde_saphyr::from_str::<Value>(&file.text)
            .map_err(|error| error.to_string())
            .and_then(|document| journey(&document).ok_or_else(|| "not a JourneyIntent".to_owned()));
        match read {
            Ok(journey) => loaded.journeys.push(journey),
            Err(message) => loaded.diagnostics.push(Diagnostic {
                severity: Severity::Error,
                code: "E003",
                file: file.path.clone(),
                line: 0,
                column: 0,
                path: String::new(),
                message,
                help: None,
            }),
        }
    }
    loaded
}

fn window(text: &str) -> Option<Window> {
    text.parse().ok()
}

fn journey(document: &Value) -> Option<Journey> {
    let spec = document.get("spec")?;
    let empty = serde_json::Map::new();
    let map =
        |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_else(|| empty.clone());
    let mut domains: Vec<FailureDomain> = Vec::new();
    for rule in spec.pointer("/failureDomains/rules").and_then(Value::as_array).into_iter().flatten() {
        domains.push(FailureDomain {
            name: rule.get("name")?.as_str()?.to_owned(),
            declared: rule.get("kind").and_then(Value::as_str) != Some("inferred"),
            description: None,
            latency: DomainLatency::Shared,
        });
    }
    let mut components = Vec::new();
    for (name, declared) in map(spec.get("components")) {
        let mut of = Vec::new();
        for domain in declared.get("failureDomains").and_then(Value::as_array).into_iter().flatten() {
            let domain = domain.as_str()?;
            of.push(DomainId(domains.iter().position(|d| d.name == domain).unwrap_or_else(|| {
                domains.push(FailureDomain {
                    name: domain.to_owned(),
                    declared: false,
                    description: None,
                    latency: DomainLatency::Shared,
                });
                domains.len() - 1
            })));
        }
        let matchers = |value: Option<&Value>| {
            map(value)
                .iter()
                .filter_map(|(name, value)| {
                    let text = value.as_str()?;
                    let (op, value) = match text {
                        _ if text.starts_with("!~") => (MatchOp::NotRegex, text[2..].trim_matches('"')),
                        _ if text.starts_with("=~") => (MatchOp::Regex, text[2..].trim_matches('"')),
                        _ if text.starts_with("!=") => (MatchOp::NotEqual, text[2..].trim_matches('"')),
                        _ => (MatchOp::Equal, text),
                    };
                    Some(Matcher { name: name.clone(), op, value: value.to_owned() })
                })
                .collect()
        };
        let telemetry = declared.get("telemetry").and_then(|telemetry| {
            let text = |key| telemetry.get(key).and_then(Value::as_str).map(str::to_owned);
            Some(match text("histogram") {
                Some(metric) => Telemetry::Histogram {
                    metric,
                    matchers: matchers(telemetry.get("matchers")),
                    success: matchers(telemetry.get("success")),
                    unit: LatencyUnit::Seconds,
                },
                None => Telemetry::Queries {
                    good: text("good"),
                    total: text("total"),
                    latency: text("latency"),
                    failure_latency: text("failureLatency"),
                    unit: LatencyUnit::Seconds,
                },
            })
        });
        components.push(Component {
            name,
            kind: match declared.get("kind").and_then(Value::as_str) {
                Some("external_dependency") => ComponentKind::ExternalDependency,
                _ => ComponentKind::Service,
            },
            atomic_slo_ref: declared.get("atomicSLORef").and_then(Value::as_str).map(str::to_owned),
            contract: None,
            domains: of,
            telemetry,
            scope: LatencyScope::Exclusive,
        });
    }
    let operator = operator(spec.get("operator")?, &components)?;
    let latency = match spec.pointer("/objectives/latency") {
        None => None,
        Some(latency) => Some(LatencyObjective {
            window: window(latency.get("window")?.as_str()?)?,
            quantile: latency.pointer("/objective/metric")?.as_str()?.parse().ok()?,
            threshold: Seconds::new(latency.pointer("/objective/threshold")?.as_f64()?).ok()?,
            observed: None,
        }),
    };
    let availability = match spec.pointer("/objectives/availability") {
        None => None,
        Some(availability) => Some(AvailabilityObjective {
            window: window(availability.get("window")?.as_str()?)?,
            target: Probability::new(availability.get("target")?.as_f64()?).ok()?,
            observed: None,
        }),
    };
    let tier = |burn_rate, long: &str, short: &str| {
        Some(BurnRateTier { burn_rate, long_window: window(long)?, short_window: window(short)? })
    };
    let mut quantiles: Vec<_> =
        ["p50", "p90", "p99"].into_iter().filter_map(|quantile| quantile.parse().ok()).collect();
    let mut latency_buckets: Vec<_> = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]
        .into_iter()
        .filter_map(|edge| Seconds::new(edge).ok())
        .collect();
    if let Some(latency) = &latency {
        quantiles.push(latency.quantile);
        latency_buckets.push(latency.threshold);
    }
    quantiles.sort_by(|a, b| a.get().total_cmp(&b.get()));
    quantiles.dedup();
    latency_buckets.sort_by(|a, b| a.get().total_cmp(&b.get()));
    latency_buckets.dedup();
    let windows = match spec.get("windows").and_then(Value::as_array) {
        Some(windows) => windows.iter().map(|w| window(w.as_str()?)).collect::<Option<Vec<_>>>()?,
        None => ["5m", "30m", "1h", "2h", "6h", "1d", "3d"].into_iter().filter_map(window).collect(),
    };
    let journey = Journey {
        name: document.pointer("/metadata/name")?.as_str()?.to_owned(),
        labels: Vec::new(),
        objectives: Objectives { availability, latency },
        windows,
        quantiles,
        latency_buckets,
        operator,
        components,
        domains,
        parameters: Vec::new(),
        governance: Governance {
            evaluation_mode: EvaluationMode::Conservative,
            dependence: Dependence::SharedFate,
            bucket_error: BucketError::Bound,
            confidence: Probability::new(0.95).ok()?,
            min_model_confidence: Probability::new(0.5).ok()?,
            burn_rate_policy: BurnRatePolicy {
                budget_window: window("30d")?,
                page: vec![tier(14.4, "1h", "5m")?, tier(6.0, "6h", "30m")?],
                ticket: vec![tier(3.0, "1d", "2h")?, tier(1.0, "3d", "6h")?],
            },
            rollout_gate: None,
        },
        digest: {
            use sha2::Digest as _;
            sha2::Sha256::digest(document.to_string()).iter().map(|byte| format!("{byte:02x}")).collect()
        },
    };
    journey.check().ok()?;
    Some(journey)
}

fn operator(value: &Value, components: &[Component]) -> Option<Operator> {
    if let Some(name) = value.get("ref") {
        let name = name.as_str()?;
        return components.iter().position(|c| c.name == name).map(|i| Operator::Component(ComponentId(i)));
    }
    let all = |key: &str| {
        value
            .get(key)?
            .as_array()?
            .iter()
            .map(|child| operator(child, components))
            .collect::<Option<Vec<_>>>()
    };
    match value.get("type")?.as_str()? {
        "series" => all("steps").map(Operator::Series),
        "parallel" => all("branches").map(Operator::Parallel),
        "race" => all("branches").map(Operator::Race),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_checkout_loads() {
        let path = "../shared/reference/checkout/spec/emac.checkout.yaml";
        let Ok(text) = std::fs::read_to_string(path) else { return };
        let loaded = load(&[SourceFile { path: path.to_owned(), text }]);
        assert_eq!(loaded.diagnostics, []);
        assert_eq!(loaded.journeys[0].components.len(), 5);
    }
}
