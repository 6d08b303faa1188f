//! The derivation report: every number with its formula, inputs and assumption, what the policy can and cannot see, and
//! which artifact rests on which nodes of the operator tree.

use indexmap::IndexMap;
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::alert::shared_domains;
use super::decimal::complement;
use super::tier::{Budget, Reach, Tier, tiers};
use super::yaml::{self, Layout};
use crate::derive::allocation::AllocationResult;
use crate::derive::derivation::{
    AvailabilityResult, ComponentResult, DomainResult, EvidenceResult, LatencyResult, ObjectiveResults,
    WarningResult,
};
use crate::derive::distribution::DistributionPoint;
use crate::derive::model::Model;
use crate::derive::number::{significant, time};
use crate::derive::step::Step;
use crate::derive::width::WidthResult;
use crate::derive::{Derivation, evidence_file};
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::unit::{Probability, Seconds};

/// What both forms of the report are drawn from.
pub(crate) struct Report<'a> {
    pub(crate) journey: &'a Journey,
    pub(crate) derivation: &'a Derivation,
    pub(crate) policy: Vec<PolicyRow>,
    pub(crate) artifacts: Vec<ArtifactRow>,
    evidence: &'a Evidence,
}

/// One tier of one budget.
pub(crate) struct PolicyRow {
    pub(crate) budget: Budget,
    pub(crate) tier: Tier,
    pub(crate) reach: Reach,
}

/// One artifact and what it comes from.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ArtifactRow {
    pub(crate) path: String,
    /// Names of nodes of the operator tree, or of parts of the spec.
    pub(crate) rests_on: Vec<String>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(
        journey: &'a Journey,
        evidence: &'a Evidence,
        derivation: &'a Derivation,
        written: &[String],
    ) -> Self {
        let policy = tiers(journey)
            .into_iter()
            .flat_map(|tier| {
                Budget::of(journey).into_iter().map(move |budget| {
                    let reach = tier.reach(journey, budget);
                    PolicyRow { budget, tier: tier.clone(), reach }
                })
            })
            .collect();
        let artifacts = written
            .iter()
            .map(|path| ArtifactRow { path: path.clone(), rests_on: rests_on(journey, derivation, path) })
            .collect();
        Self { journey, derivation, policy, artifacts, evidence }
    }

    /// The dominant failure domain and component, with their shares of the unavailability.
    pub(crate) fn dominant(&self) -> Vec<(&'static str, &str, f64)> {
        let greatest = |shares: Vec<(&'static str, &'a str, f64)>| {
            shares.into_iter().filter(|share| share.2 > 0.0).reduce(|a, b| if b.2 > a.2 { b } else { a })
        };
        let domains = self.derivation.domains.iter();
        let components = self.derivation.components.iter();
        let domain = greatest(domains.map(|d| ("failure domain", d.name.as_str(), d.budget_share)).collect());
        let component =
            greatest(components.map(|c| ("component", c.name.as_str(), c.budget_share)).collect());
        let mut both: Vec<_> = domain.into_iter().chain(component).collect();
        both.sort_by(|a, b| b.2.total_cmp(&a.2));
        both
    }

    /// As YAML, behind what `out` holds.
    pub(crate) fn write(&self, out: &mut String) {
        let verdict = &self.derivation.verdict;
        let dominant = self.dominant().into_iter();
        let document = Document {
            api_version: "emac.dev/v1alpha1",
            kind: "DerivationReport",
            metadata: Metadata { name: &self.journey.name },
            spec: Spec {
                decision: Decision {
                    verdict: verdict.verdict.as_str(),
                    reason: &verdict.reason,
                    confidence: verdict.confidence.get(),
                    dominant: dominant.map(|(kind, name, share)| Dominant { kind, name, share }).collect(),
                },
                error_budget: self
                    .journey
                    .objectives
                    .availability
                    .as_ref()
                    .and_then(|objective| number(&complement(objective.target.get()))),
                policy: self.policy.iter().map(PolicyRow::document).collect(),
                artifacts: &self.artifacts,
                model: Model(self.journey),
                evidence: evidence_file::document(self.journey, self.evidence),
                derivation: Reported::of(self.derivation),
            },
        };
        yaml::render(&document, Layout::Compact, out);
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    api_version: &'static str,
    kind: &'static str,
    metadata: Metadata<'a>,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    decision: Decision<'a>,
    error_budget: Option<f64>,
    policy: Vec<PolicyDocument<'a>>,
    artifacts: &'a [ArtifactRow],
    model: Model<'a>,
    evidence: Value,
    derivation: Reported<'a>,
}

/// The derivation without what the report says elsewhere: the verdict, the model, and a flaw of a component's evidence a
/// second time among the warnings.
#[derive(Serialize)]
struct Reported<'a> {
    window: &'a str,
    availability: &'a AvailabilityResult,
    latency: &'a IndexMap<String, LatencyResult>,
    components: &'a [ComponentResult],
    warnings: Vec<&'a WarningResult>,
    objectives: &'a ObjectiveResults,
    domains: &'a [DomainResult],
    allocation: Option<&'a AllocationResult>,
    width: &'a WidthResult,
    distribution: &'a [DistributionPoint],
    evidence: &'a EvidenceResult,
    derivation: Node<'a>,
}

/// A node of the operator tree. Of a component, which no dependence changes, the numbers that enter its operator.
struct Node<'a>(&'a Step);

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Step {
            operator,
            keyword,
            formula,
            latency_formula,
            substituted,
            inputs,
            availability,
            latency_estimate,
            children,
        } = self.0;
        let mut fields = serializer.serialize_struct("Node", 8)?;
        if children.is_empty() {
            let AvailabilityResult { estimate, pessimistic, optimistic, .. } = *availability;
            let [estimate, pessimistic, optimistic] =
                [estimate, pessimistic, optimistic].map(Probability::get);
            fields.serialize_field("component", operator)?;
            fields.serialize_field("availability", &Sides { estimate, pessimistic, optimistic })?;
        } else {
            fields.serialize_field("operator", operator)?;
            fields.serialize_field("keyword", keyword)?;
            fields.serialize_field("formula", formula)?;
            fields.serialize_field("latency_formula", latency_formula)?;
            fields.serialize_field("substituted", substituted)?;
            fields.serialize_field("inputs", inputs)?;
            fields.serialize_field("availability", availability)?;
        }
        fields.serialize_field("latency_estimate", &Time(*latency_estimate))?;
        fields.serialize_field("children", &children.iter().map(Node).collect::<Vec<_>>())?;
        fields.end()
    }
}

#[derive(Serialize)]
struct Sides {
    estimate: f64,
    pessimistic: f64,
    optimistic: f64,
}

struct Time(Seconds);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        time(&self.0, serializer)
    }
}

impl<'a> Reported<'a> {
    fn of(derivation: &'a Derivation) -> Self {
        Self {
            window: &derivation.window,
            availability: &derivation.availability,
            latency: &derivation.latency,
            components: &derivation.components,
            warnings: derivation.warnings.iter().filter(|warning| !warning.is_of_evidence()).collect(),
            objectives: &derivation.objectives,
            domains: &derivation.domains,
            allocation: derivation.allocation.as_ref(),
            width: &derivation.width,
            distribution: &derivation.distribution,
            evidence: &derivation.evidence,
            derivation: Node(&derivation.derivation),
        }
    }
}

#[derive(Serialize)]
struct Decision<'a> {
    verdict: &'static str,
    reason: &'a str,
    confidence: f64,
    dominant: Vec<Dominant<'a>>,
}

#[derive(Serialize)]
struct Dominant<'a> {
    kind: &'static str,
    name: &'a str,
    share: f64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PolicyDocument<'a> {
    budget: &'static str,
    tier: &'a str,
    severity: &'a str,
    burn_rate: f64,
    long_window: String,
    short_window: String,
    can_fire: bool,
    smallest_outage_seconds: Option<f64>,
    budget_spent_when_it_fires: Option<f64>,
    single_error_fires_below_requests: Option<f64>,
}

/// The number that a decimal says.
fn number(decimal: &str) -> Option<f64> {
    decimal.parse().ok()
}

impl Budget {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::Latency => "latency",
        }
    }
}

impl PolicyRow {
    fn document(&self) -> PolicyDocument<'_> {
        let Reach { can_fire, smallest_outage_seconds, spent, single_error_below } = self.reach;
        let rounded = |value: f64| number(&significant(value, 4));
        PolicyDocument {
            budget: self.budget.name(),
            tier: &self.tier.label,
            severity: &self.tier.severity,
            burn_rate: self.tier.rate,
            long_window: self.tier.long.to_string(),
            short_window: self.tier.short.to_string(),
            can_fire,
            smallest_outage_seconds: rounded(smallest_outage_seconds),
            budget_spent_when_it_fires: rounded(spent),
            single_error_fires_below_requests: rounded(single_error_below),
        }
    }
}

/// Which nodes an artifact rests on: the root for what reads the journey's own numbers, components and domains where it
/// reads their shares.
fn rests_on(journey: &Journey, derivation: &Derivation, path: &str) -> Vec<String> {
    let root = format!("operator {}", derivation.derivation.operator);
    let mut nodes = vec![root];
    if path.contains("/prometheus/") || path.contains("/promtool/") {
        nodes.push("governance.alerts".to_owned());
    }
    if path.contains("/argo/") {
        nodes.push("governance.progressiveDelivery.gate".to_owned());
    }
    if path.ends_with("alerts.yaml") || path.ends_with("dashboard.json") {
        nodes.push("every component".to_owned());
        if shared_domains(journey) {
            nodes.push("every failure domain".to_owned());
        }
    }
    if path.ends_with("recording-rules.yaml")
        && journey.objectives.availability.as_ref().is_some_and(|objective| objective.observed.is_some())
    {
        nodes.push("objectives.availability.sli".to_owned());
    }
    nodes
}
