//! Journeys and evidence for the tests of the core, written down briefly.

use emac::algebra::compose::Composer;
use emac::algebra::composition::Composition;
use emac::distribution::histogram::ClassicHistogram;
use emac::journey::Journey;
use emac::journey::component::{Component, ComponentId, ComponentKind, LatencyScope};
use emac::journey::domain::{DomainId, DomainLatency, FailureDomain};
use emac::journey::evidence::{ComponentEvidence, Counts, Evidence, Measurement};
use emac::journey::governance::{BucketError, BurnRatePolicy, Dependence, EvaluationMode, Governance};
use emac::journey::objective::Objectives;
use emac::journey::operator::{Branch, BranchProbability, Operator};
use emac::unit::{Probability, Quantile, Seconds, Window};

pub(crate) fn probability(p: f64) -> Probability {
    Probability::new(p).unwrap()
}

pub(crate) fn quantile(q: f64) -> Quantile {
    Quantile::new(q).unwrap()
}

pub(crate) fn time(t: f64) -> Seconds {
    Seconds::new(t).unwrap()
}

/// Leaf number `index`.
pub(crate) fn leaf(index: usize) -> Operator {
    Operator::Component(ComponentId(index))
}

/// Leaves `0..n`.
pub(crate) fn leaves(n: usize) -> Vec<Operator> {
    (0..n).map(leaf).collect()
}

pub(crate) fn cond(branches: Vec<(f64, Operator)>) -> Operator {
    Operator::Cond(
        branches
            .into_iter()
            .map(|(p, body)| Branch { probability: BranchProbability::Fixed(probability(p)), body })
            .collect(),
    )
}

/// A journey under construction.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) journey: Journey,
    pub(crate) evidence: Evidence,
}

impl Case {
    /// No components yet.
    pub(crate) fn new(operator: Operator) -> Self {
        let window: Window = "5m".parse().unwrap();
        Self {
            journey: Journey {
                name: "case".to_owned(),
                labels: Vec::new(),
                objectives: Objectives::default(),
                windows: vec![window],
                quantiles: [0.5, 0.9, 0.99, 0.999].map(quantile).to_vec(),
                latency_buckets: Vec::new(),
                operator,
                components: Vec::new(),
                domains: Vec::new(),
                parameters: Vec::new(),
                variants: Vec::new(),
                governance: Governance {
                    evaluation_mode: EvaluationMode::Conservative,
                    dependence: Dependence::SharedFate,
                    bucket_error: BucketError::Interpolate,
                    confidence: probability(0.95),
                    min_model_confidence: probability(0.5),
                    burn_rate_policy: BurnRatePolicy {
                        budget_window: "30d".parse().unwrap(),
                        page: Vec::new(),
                        ticket: Vec::new(),
                        links: Default::default(),
                    },
                    rollout_gate: None,
                },
                digest: String::new(),
            },
            evidence: Evidence { window, time: None, components: Vec::new(), parameters: Vec::new() },
        }
    }

    pub(crate) fn domain(mut self, name: &str, latency: DomainLatency) -> Self {
        self.journey.domains.push(FailureDomain {
            name: name.to_owned(),
            declared: true,
            description: None,
            latency,
        });
        self
    }

    pub(crate) fn component(mut self, measurement: Measurement, domains: &[usize]) -> Self {
        self.journey.components.push(Component {
            name: format!("c{}", self.journey.components.len()),
            kind: ComponentKind::Service,
            atomic_slo_ref: None,
            contract: None,
            domains: domains.iter().map(|&domain| DomainId(domain)).collect(),
            telemetry: None,
            scope: LatencyScope::Exclusive,
        });
        self.evidence.components.push(ComponentEvidence::measured(measurement));
        self
    }

    pub(crate) fn components(mut self, n: usize, measurement: &Measurement, domains: &[usize]) -> Self {
        for _ in 0..n {
            self = self.component(measurement.clone(), domains);
        }
        self
    }

    pub(crate) fn figure(self, availability: f64, domains: &[usize]) -> Self {
        self.component(Measurement::Figure(probability(availability)), domains)
    }

    pub(crate) fn policy(mut self, dependence: Dependence, buckets: BucketError) -> Self {
        self.journey.governance.dependence = dependence;
        self.journey.governance.bucket_error = buckets;
        self
    }

    pub(crate) fn compose(&self) -> Composition {
        self.journey.check().unwrap();
        Composer::new().compose(&self.journey, &self.evidence, &[])
    }
}

/// Calls whose successes take a time with this distribution function, seen through edges fine enough (half a
/// percent of `end` each) that only the composition matters; failures, if any, take `failures`.
pub(crate) fn measured(availability: f64, end: f64, cdf: impl Fn(f64) -> f64) -> Measurement {
    measured_with_failures(availability, end, cdf, None)
}

pub(crate) fn measured_with_failures(
    availability: f64,
    end: f64,
    cdf: impl Fn(f64) -> f64,
    failures: Option<&dyn Fn(f64) -> f64>,
) -> Measurement {
    let total = 1e12;
    let histogram = |cdf: &dyn Fn(f64) -> f64| {
        let edges: Vec<f64> = (1..=200).map(|k| f64::from(k) / 200.0 * end).collect();
        let counts = edges.iter().map(|&t| cdf(t) * total).chain([total]).collect();
        ClassicHistogram::new(edges, counts).unwrap()
    };
    Measurement::Counts(
        Counts::new(total, availability * total, Some(histogram(&cdf)), failures.map(histogram)).unwrap(),
    )
}

/// Exponential with this rate.
pub(crate) fn exponential(availability: f64, rate: f64) -> Measurement {
    measured(availability, 30.0 / rate, move |t| -f64::exp_m1(-rate * t))
}

/// The estimate of a latency quantile in seconds.
pub(crate) fn estimate(composition: &Composition, q: f64) -> f64 {
    composition.latency_at(quantile(q)).unwrap().value.estimate.get()
}
