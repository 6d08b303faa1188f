//! A journey's model as JSON, in the words of the language.

use serde_json::{Map, Value, json};

use super::formula;
use crate::journey::Journey;
use crate::journey::component::{ComponentKind, LatencyScope, Telemetry};
use crate::journey::domain::DomainLatency;
use crate::journey::governance::{BucketError, BurnRateTier, EvaluationMode};
use crate::journey::operator::{BranchProbability, Operator};

/// The model as it is evaluated: defaults filled in, references resolved.
#[must_use]
pub fn document(journey: &Journey) -> Value {
    let components: Map<String, Value> = journey
        .components
        .iter()
        .map(|component| {
            let domains: Vec<_> = component
                .domains
                .iter()
                .filter_map(|id| journey.domains.get(id.0))
                .map(|domain| domain.name.as_str())
                .collect();
            let value = json!({
                "kind": match component.kind {
                    ComponentKind::Service => "service",
                    ComponentKind::ExternalDependency => "external_dependency",
                },
                "atomicSLORef": component.atomic_slo_ref,
                "contract": component.contract.map(|contract| contract.get()),
                "failureDomains": domains,
                "latency": match component.scope {
                    LatencyScope::Exclusive => "exclusive",
                    LatencyScope::Inclusive => "inclusive",
                },
                "telemetry": component.telemetry.as_ref().map(telemetry),
            });
            (component.name.clone(), value)
        })
        .collect();
    json!({
        "name": journey.name,
        "digest": journey.digest,
        "labels": journey.labels.iter().cloned().map(|(k, v)| (k, Value::String(v))).collect::<Map<_, _>>(),
        "objectives": objectives(journey),
        "windows": journey.windows.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "quantiles": journey.quantiles.iter().map(|quantile| quantile.get()).collect::<Vec<_>>(),
        "operator": operator(journey, &journey.operator),
        "components": components,
        "failureDomains": journey.domains.iter().map(|domain| json!({
            "name": domain.name,
            "kind": if domain.declared { "declared" } else { "inferred" },
            "description": domain.description,
            "latency": match domain.latency {
                DomainLatency::Shared => json!("shared"),
                DomainLatency::Correlation(rho) => json!({"correlation": rho}),
                DomainLatency::Independent => json!("independent"),
            },
        })).collect::<Vec<_>>(),
        "parameters": journey.parameters.iter().map(|parameter| {
            (parameter.name.clone(), json!({"value": parameter.value, "promql": parameter.promql}))
        }).collect::<Map<_, _>>(),
        "governance": governance(journey),
    })
}

fn objectives(journey: &Journey) -> Value {
    json!({
        "availability": journey.objectives.availability.as_ref().map(|objective| json!({
            "window": objective.window.to_string(),
            "target": objective.target.get(),
        })),
        "latency": journey.objectives.latency.as_ref().map(|objective| json!({
            "window": objective.window.to_string(),
            "quantile": objective.quantile.to_string(),
            "threshold": objective.threshold.get(),
        })),
    })
}

fn telemetry(telemetry: &Telemetry) -> Value {
    match telemetry {
        Telemetry::Histogram { metric, matchers, success, .. } => json!({
            "histogram": metric,
            "matchers": matchers.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "success": success.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Telemetry::Queries { good, total, latency, failure_latency, .. } => json!({
            "good": good,
            "total": total,
            "latency": latency,
            "failureLatency": failure_latency,
        }),
        Telemetry::Ratio { query } => json!({"ratio": query}),
    }
}

/// The tree, each operator by its keyword and head.
fn operator(journey: &Journey, node: &Operator) -> Value {
    if let Operator::Component(_) = node {
        return json!({"ref": formula::head(journey, node)});
    }
    let mut value = json!({"type": node.keyword(), "head": formula::head(journey, node)});
    if let Operator::Cond(branches) = node {
        let probability = |probability| match probability {
            BranchProbability::Fixed(p) => json!(p.get()),
            BranchProbability::Parameter(id) => {
                json!(journey.parameters.get(id.0).map(|parameter| parameter.name.as_str()))
            }
            BranchProbability::Remainder => Value::Null,
        };
        value["probabilities"] = branches.iter().map(|branch| probability(branch.probability)).collect();
    }
    value["operands"] = node.children().into_iter().map(|operand| operator(journey, operand)).collect();
    value
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
