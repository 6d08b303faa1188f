//! The derivation report: every number with its formula, inputs and assumption, what the policy can and cannot see, and
//! which artifact rests on which nodes of the operator tree.

use super::alert::shared_domains;
use super::decimal::{complement, exact};
use super::tier::{Budget, Reach, Tier, tiers};
use super::yaml::{Yaml, from_json, map};
use crate::derive::number::significant;
use crate::derive::{Derivation, evidence_file, model};
use crate::journey::Journey;
use crate::journey::evidence::Evidence;

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

    pub(crate) fn yaml(&self) -> Yaml {
        let derivation = serde_json::to_value(self.derivation).unwrap_or_default();
        let verdict = &self.derivation.verdict;
        let dominant = self.dominant().into_iter().map(|(kind, name, share)| {
            map([("kind", kind.into()), ("name", name.into()), ("share", share.into())])
        });
        let objectives = &self.journey.objectives;
        map([
            ("apiVersion", "emac.dev/v1alpha1".into()),
            ("kind", "DerivationReport".into()),
            ("metadata", map([("name", self.journey.name.as_str().into())])),
            (
                "spec",
                map([
                    (
                        "decision",
                        map([
                            ("verdict", verdict.verdict.as_str().into()),
                            ("reason", verdict.reason.as_str().into()),
                            ("confidence", verdict.confidence.get().into()),
                            ("dominant", Yaml::List(dominant.collect())),
                        ]),
                    ),
                    (
                        "errorBudget",
                        objectives.availability.as_ref().map_or_else(
                            || Yaml::Plain("null".to_owned()),
                            |o| Yaml::Plain(complement(o.target.get())),
                        ),
                    ),
                    ("policy", Yaml::List(self.policy.iter().map(|row| row.yaml()).collect())),
                    ("artifacts", Yaml::List(self.artifacts.iter().map(ArtifactRow::yaml).collect())),
                    ("model", from_json(&model::document(self.journey))),
                    ("evidence", from_json(&evidence_file::document(self.journey, self.evidence))),
                    ("derivation", from_json(&derivation)),
                ]),
            ),
        ])
    }
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
    fn yaml(&self) -> Yaml {
        let Reach { can_fire, smallest_outage_seconds, spent, single_error_below } = self.reach;
        let rounded = |value: f64| Yaml::Plain(significant(value, 4));
        map([
            ("budget", self.budget.name().into()),
            ("tier", self.tier.label.as_str().into()),
            ("severity", self.tier.severity.as_str().into()),
            ("burnRate", Yaml::Plain(exact(self.tier.rate))),
            ("longWindow", self.tier.long.to_string().into()),
            ("shortWindow", self.tier.short.to_string().into()),
            ("canFire", can_fire.into()),
            ("smallestOutageSeconds", rounded(smallest_outage_seconds)),
            ("budgetSpentWhenItFires", rounded(spent)),
            ("singleErrorFiresBelowRequests", rounded(single_error_below)),
        ])
    }
}

impl ArtifactRow {
    fn yaml(&self) -> Yaml {
        let nodes = self.rests_on.iter().map(|node| node.as_str().into()).collect();
        map([("path", self.path.as_str().into()), ("restsOn", Yaml::List(nodes))])
    }
}

/// Which nodes an artifact rests on: the root for what reads the journey's own numbers, components and domains where it
/// reads their shares.
fn rests_on(journey: &Journey, derivation: &Derivation, path: &str) -> Vec<String> {
    let root = format!("operator {}", derivation.derivation.operator);
    let mut nodes = vec![root];
    if path.contains("/prometheus/") {
        nodes.push("governance.alerts".to_owned());
    }
    if path.contains("/argo/") {
        nodes.push("governance.progressiveDelivery.gate".to_owned());
    }
    if path.ends_with("alerts.yaml") || path.ends_with("dashboard.json") {
        nodes.extend(journey.components.iter().map(|component| format!("component {}", component.name)));
        if shared_domains(journey) {
            nodes.extend(journey.domains.iter().map(|domain| format!("failure domain {}", domain.name)));
        }
    }
    if path.ends_with("recording-rules.yaml")
        && journey.objectives.availability.as_ref().is_some_and(|objective| objective.observed.is_some())
    {
        nodes.push("objectives.availability.sli".to_owned());
    }
    nodes
}
