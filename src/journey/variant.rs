//! Variants: a journey as some of its traffic sees it, such as what a canary serves.
//!
//! A variant is evaluated as a journey of its own, whose components of that variant read other series. So nothing of the
//! journey's own evidence can stand in for what is missing of a variant's: a canary without traffic is a component of which
//! nothing is known.

use super::Journey;
use super::component::{ComponentId, Telemetry};
use crate::series::Matcher;

/// Stands between the name of a journey and that of its variant; no name holds it.
const SEPARATOR: char = '@';

/// A variant as declared.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The value of the `variant` label.
    pub name: String,
    /// The components that come in this variant; their telemetry is a histogram, or unknown.
    pub components: Vec<ComponentId>,
    /// What distinguishes their series, instead of the component's own matchers of the same labels.
    pub matchers: Vec<Matcher>,
    /// The label of these series that holds the hash of the pod template, where there is one.
    pub pod_hash_label: Option<String>,
}

/// The values of the labels `journey` and `variant` of the journey called `name`; the latter is empty unless it is a
/// variant of another.
#[must_use]
pub fn labels_of(name: &str) -> (&str, &str) {
    name.split_once(SEPARATOR).unwrap_or((name, ""))
}

impl Journey {
    /// The journey, and behind it one for each of its variants, called `<journey>@<variant>`. All have the digest of the
    /// whole.
    #[must_use]
    pub fn with_variants(self) -> Vec<Self> {
        let variants: Vec<Self> = self.variants.iter().map(|variant| self.as_seen_by(variant)).collect();
        std::iter::once(self).chain(variants).collect()
    }

    fn as_seen_by(&self, variant: &Variant) -> Self {
        let mut journey = Self { variants: Vec::new(), ..self.clone() };
        journey.name = format!("{}{SEPARATOR}{}", self.name, variant.name);
        // What users saw end to end is not told apart by variant.
        if let Some(objective) = &mut journey.objectives.availability {
            objective.observed = None;
        }
        if let Some(objective) = &mut journey.objectives.latency {
            objective.observed = None;
        }
        for id in &variant.components {
            let telemetry =
                journey.components.get_mut(id.0).and_then(|component| component.telemetry.as_mut());
            if let Some(Telemetry::Histogram { matchers, .. }) = telemetry {
                matchers.retain(|own| variant.matchers.iter().all(|matcher| matcher.name != own.name));
                matchers.extend(variant.matchers.iter().cloned());
            }
        }
        journey
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::component::{Component, HistogramType, LatencyUnit};
    use crate::journey::fixture;
    use crate::journey::operator::Operator;
    use crate::series::MatchOp;

    fn matcher(name: &str, value: &str) -> Matcher {
        Matcher { name: name.to_owned(), op: MatchOp::Equal, value: value.to_owned() }
    }

    #[test]
    fn a_variant_replaces_matchers_of_its_labels_and_adds_the_others_where_it_applies() {
        let component = |name: &str| Component {
            telemetry: Some(Telemetry::Histogram {
                metric: "m".to_owned(),
                matchers: vec![matcher("service", name), matcher("rollout", "any")],
                success: Vec::new(),
                unit: LatencyUnit::Seconds,
                histogram_type: HistogramType::Classic,
            }),
            ..Component::new(name)
        };
        let operands = [0, 1].map(|at| Operator::Component(ComponentId(at)));
        let mut journey =
            fixture::journey(Operator::Series(operands.to_vec()), ["a", "b"].map(component).to_vec());
        journey.variants = vec![Variant {
            name: "canary".to_owned(),
            components: vec![ComponentId(1)],
            matchers: vec![matcher("rollout", "canary"), matcher("zone", "z1")],
            pod_hash_label: None,
        }];
        let all = journey.clone().with_variants();
        assert_eq!(all.len(), 2);
        assert_eq!(all[0], journey);
        assert_eq!(labels_of(&all[0].name), ("case", ""));
        assert_eq!(labels_of(&all[1].name), ("case", "canary"));
        assert_eq!(all[1].components[0], journey.components[0]);
        let Some(Telemetry::Histogram { matchers, .. }) = &all[1].components[1].telemetry else { panic!() };
        assert_eq!(matchers, &[matcher("service", "b"), matcher("rollout", "canary"), matcher("zone", "z1")]);
    }
}
