//! A journey's model as a document in the words of the language.

use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::formula;
use crate::journey::component::{Component, ComponentKind, LatencyScope, LatencyUnit, Telemetry};
use crate::journey::domain::{DomainLatency, FailureDomain};
use crate::journey::governance::{BucketError, BurnRateTier, EvaluationMode};
use crate::journey::operator::{BranchProbability, Operator};
use crate::journey::variant::Variant;
use crate::journey::{Journey, Parameter};

/// The model as JSON.
#[must_use]
pub fn document(journey: &Journey) -> Value {
    serde_json::to_value(Model(journey)).unwrap_or_default()
}

/// The model as it is evaluated: defaults filled in, references resolved. It is written as it is walked, since a fleet's
/// models are larger than all else that is reported of them.
#[derive(Debug, Clone, Copy)]
pub struct Model<'a>(pub &'a Journey);

impl Serialize for Model<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let journey = self.0;
        let mut model = serializer.serialize_struct("Model", 12)?;
        model.serialize_field("name", &journey.name)?;
        model.serialize_field("digest", &journey.digest)?;
        model
            .serialize_field("labels", &Entries(|| journey.labels.iter().map(|(key, value)| (key, value))))?;
        model.serialize_field("objectives", &objectives(journey))?;
        model.serialize_field("windows", &texts(&journey.windows))?;
        model.serialize_field("quantiles", &journey.quantiles.iter().map(|q| q.get()).collect::<Vec<_>>())?;
        let edges: Vec<f64> = journey.latency_buckets.iter().map(|edge| edge.get()).collect();
        model.serialize_field("latencyBuckets", &edges)?;
        model.serialize_field("operator", &OperatorFields { journey, node: &journey.operator })?;
        let components = || journey.components.iter().map(|c| (&c.name, ComponentFields::of(journey, c)));
        model.serialize_field("components", &Entries(components))?;
        let domains: Vec<_> = journey.domains.iter().map(DomainFields::of).collect();
        model.serialize_field("failureDomains", &domains)?;
        let parameters = || {
            let fields =
                |parameter: &Parameter| json!({"value": parameter.value, "promql": parameter.promql});
            journey.parameters.iter().map(move |parameter| (&parameter.name, fields(parameter)))
        };
        model.serialize_field("parameters", &Entries(parameters))?;
        if !journey.variants.is_empty() {
            let variants = || journey.variants.iter().map(|v| (&v.name, VariantFields::of(journey, v)));
            model.serialize_field("variants", &Entries(variants))?;
        }
        model.serialize_field("governance", &governance(journey))?;
        model.end()
    }
}

/// A mapping of what a function yields.
struct Entries<F>(F);

impl<K: Serialize, V: Serialize, I: Iterator<Item = (K, V)>, F: Fn() -> I> Serialize for Entries<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map((self.0)())
    }
}

fn texts<T: std::fmt::Display>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

#[derive(Serialize)]
struct ComponentFields<'a> {
    kind: &'static str,
    #[serde(rename = "atomicSLORef")]
    slo: Option<&'a str>,
    contract: Option<f64>,
    #[serde(rename = "failureDomains")]
    domains: Vec<&'a str>,
    latency: &'static str,
    telemetry: Option<TelemetryFields<'a>>,
}

impl<'a> ComponentFields<'a> {
    fn of(journey: &'a Journey, component: &'a Component) -> Self {
        let domains = component.domains.iter().filter_map(|id| journey.domains.get(id.0));
        Self {
            kind: match component.kind {
                ComponentKind::Service => "service",
                ComponentKind::ExternalDependency => "external_dependency",
            },
            slo: component.atomic_slo_ref.as_deref(),
            contract: component.contract.map(|contract| contract.get()),
            domains: domains.map(|domain| domain.name.as_str()).collect(),
            latency: match component.scope {
                LatencyScope::Exclusive => "exclusive",
                LatencyScope::Inclusive => "inclusive",
            },
            telemetry: component.telemetry.as_ref().map(TelemetryFields::of),
        }
    }
}

#[derive(Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
enum TelemetryFields<'a> {
    Histogram {
        histogram: &'a str,
        histogram_type: String,
        matchers: Vec<String>,
        success: Vec<String>,
        unit: &'static str,
    },
    Queries {
        good: &'a Option<String>,
        total: &'a Option<String>,
        latency: &'a Option<String>,
        failure_latency: &'a Option<String>,
        unit: &'static str,
    },
    Ratio {
        ratio: &'a str,
    },
}

impl<'a> TelemetryFields<'a> {
    fn of(telemetry: &'a Telemetry) -> Self {
        let named = |unit| match unit {
            LatencyUnit::Seconds => "seconds",
            LatencyUnit::Milliseconds => "milliseconds",
        };
        match telemetry {
            Telemetry::Histogram { metric, matchers, success, unit, histogram_type } => Self::Histogram {
                histogram: metric,
                histogram_type: histogram_type.to_string(),
                matchers: texts(matchers),
                success: texts(success),
                unit: named(*unit),
            },
            Telemetry::Queries { good, total, latency, failure_latency, unit } => {
                Self::Queries { good, total, latency, failure_latency, unit: named(*unit) }
            }
            Telemetry::Ratio { query } => Self::Ratio { ratio: query },
        }
    }
}

#[derive(Serialize)]
struct DomainFields<'a> {
    name: &'a str,
    kind: &'static str,
    description: Option<&'a str>,
    latency: Value,
}

impl<'a> DomainFields<'a> {
    fn of(domain: &'a FailureDomain) -> Self {
        Self {
            name: &domain.name,
            kind: if domain.declared { "declared" } else { "inferred" },
            description: domain.description.as_deref(),
            latency: match domain.latency {
                DomainLatency::Shared => json!("shared"),
                DomainLatency::Correlation(rho) => json!({"correlation": rho}),
                DomainLatency::Independent => json!("independent"),
            },
        }
    }
}

#[derive(Serialize)]
struct VariantFields<'a> {
    components: Vec<&'a str>,
    matchers: Vec<String>,
    #[serde(rename = "podHashLabel")]
    pod_hash_label: Option<&'a str>,
}

impl<'a> VariantFields<'a> {
    fn of(journey: &'a Journey, variant: &'a Variant) -> Self {
        let components = variant.components.iter().filter_map(|id| journey.components.get(id.0));
        Self {
            components: components.map(|component| component.name.as_str()).collect(),
            matchers: texts(&variant.matchers),
            pod_hash_label: variant.pod_hash_label.as_deref(),
        }
    }
}

/// The tree, each operator by its keyword and head.
struct OperatorFields<'a> {
    journey: &'a Journey,
    node: &'a Operator,
}

impl Serialize for OperatorFields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { journey, node } = *self;
        let head = formula::head(journey, node);
        if let Operator::Component(_) = node {
            let mut fields = serializer.serialize_struct("Reference", 1)?;
            fields.serialize_field("ref", &head)?;
            return fields.end();
        }
        let mut fields = serializer.serialize_struct("Operator", 4)?;
        fields.serialize_field("type", node.keyword())?;
        fields.serialize_field("head", &head)?;
        if let Operator::Cond(branches) = node {
            let probability = |probability| match probability {
                BranchProbability::Fixed(p) => json!(p.get()),
                BranchProbability::Parameter(id) => {
                    json!(journey.parameters.get(id.0).map(|parameter| parameter.name.as_str()))
                }
                BranchProbability::Remainder => Value::Null,
            };
            let all: Vec<_> = branches.iter().map(|branch| probability(branch.probability)).collect();
            fields.serialize_field("probabilities", &all)?;
        }
        let operands: Vec<_> = node.children().into_iter().map(|node| Self { journey, node }).collect();
        fields.serialize_field("operands", &operands)?;
        fields.end()
    }
}

fn objectives(journey: &Journey) -> Value {
    json!({
        "availability": journey.objectives.availability.as_ref().map(|objective| json!({
            "window": objective.window.to_string(),
            "target": objective.target.get(),
            "sli": objective.observed.as_ref().map(|(good, total)| json!({
                "goodEventQuery": good,
                "totalEventQuery": total,
            })),
        })),
        "latency": journey.objectives.latency.as_ref().map(|objective| json!({
            "window": objective.window.to_string(),
            "quantile": objective.quantile.to_string(),
            "threshold": objective.threshold.get(),
        })),
    })
}

fn governance(journey: &Journey) -> Value {
    let governance = &journey.governance;
    let tiers = |tiers: &[BurnRateTier]| -> Value {
        let tier = |tier: &BurnRateTier| {
            json!({
                "burnRate": tier.burn_rate,
                "longWindow": tier.long_window.to_string(),
                "shortWindow": tier.short_window.to_string(),
                "severity": tier.severity,
                "disabled": tier.disabled,
            })
        };
        tiers.iter().map(tier).collect()
    };
    json!({
        "evaluationMode": match governance.evaluation_mode {
            EvaluationMode::Conservative => "conservative",
            EvaluationMode::Permissive => "permissive",
        },
        "dependence": governance.dependence.as_str(),
        "bucketError": match governance.bucket_error {
            BucketError::Bound => "bound",
            BucketError::Interpolate => "interpolate",
        },
        "confidence": governance.confidence.get(),
        "minModelConfidence": governance.min_model_confidence.get(),
        "burnRatePolicy": {
            "sloBudgetWindow": governance.burn_rate_policy.budget_window.to_string(),
            "page": tiers(&governance.burn_rate_policy.page),
            "ticket": tiers(&governance.burn_rate_policy.ticket),
            "runbookURL": governance.burn_rate_policy.links.runbook_url,
            "dashboardURL": governance.burn_rate_policy.links.dashboard_url,
        },
        "rolloutGate": governance.rollout_gate.map(|gate| json!({
            "maxCanaryBurnRate": gate.max_canary_burn_rate,
            "maxP99LatencySeconds": gate.max_p99_latency_seconds,
        })),
    })
}
