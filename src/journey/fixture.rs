//! Journeys for unit tests.

use super::Journey;
use super::component::Component;
use super::governance::{BucketError, BurnRatePolicy, Dependence, EvaluationMode, Governance};
use super::objective::Objectives;
use super::operator::Operator;
use crate::unit::Probability;

/// A journey `case` under the default governance without burn-rate tiers: no objectives, windows, domains or parameters.
pub(crate) fn journey(operator: Operator, components: Vec<Component>) -> Journey {
    Journey {
        name: "case".to_owned(),
        labels: Vec::new(),
        objectives: Objectives::default(),
        windows: Vec::new(),
        quantiles: Vec::new(),
        latency_buckets: Vec::new(),
        operator,
        components,
        domains: Vec::new(),
        parameters: Vec::new(),
        variants: Vec::new(),
        governance: Governance {
            evaluation_mode: EvaluationMode::default(),
            dependence: Dependence::default(),
            bucket_error: BucketError::default(),
            confidence: Probability::saturating(0.95),
            min_model_confidence: Probability::saturating(0.5),
            burn_rate_policy: BurnRatePolicy {
                budget_window: "30d".parse().unwrap(),
                page: Vec::new(),
                ticket: Vec::new(),
                links: Default::default(),
            },
            rollout_gate: None,
        },
        digest: String::new(),
    }
}
