//! The samples of an evaluation: which number of a composition stands in which series.
//!
//! The public contract of the series is the catalog; this is its other half. A quantity that the core does not
//! provide has no sample: a missing series is visible, an invented one is not.

use crate::algebra::composition::{Bounded, ByDependence, Composition, Side};
use crate::algebra::verdict::{Verdict, judge, model_confidence};
use crate::journey::Journey;
use crate::journey::evidence::Reason;
use crate::journey::variant::labels_of;
use crate::series::Labels;
use crate::unit::{Probability, Seconds, Window};

use super::catalog as name;
use super::evaluation::{BudgetEvaluation, Evaluation, WindowEvaluation};

/// Every synthetic sample of one evaluation, in a fixed order: the same journey with the same windows answered yields
/// the same labels in the same places. External labels are not attached.
///
/// Values are probabilities, seconds, ratios and flags; never NaN. Latencies, burn rates and the age of evidence may
/// be `+Inf`. Where a window could not be answered only its gate is there, and says review.
#[must_use]
pub fn samples(evaluation: &Evaluation) -> Vec<(Labels, f64)> {
    let mut out = Samples { journey: &evaluation.journey, rendered: Vec::new() };
    out.objectives();
    out.remaining(evaluation.budget.as_deref());
    out.budgets(&evaluation.windows);
    for window in &evaluation.windows {
        out.window(window);
    }
    out.gates(&evaluation.windows);
    out.meta(evaluation);
    out.rendered
}

/// The text of an `le` label: `+Inf`, or the shortest decimal.
#[must_use]
pub fn le_label(edge: Seconds) -> String {
    if edge.is_finite() { edge.get().to_string() } else { "+Inf".to_owned() }
}

struct Samples<'a> {
    journey: &'a Journey,
    rendered: Vec<(Labels, f64)>,
}

impl Samples<'_> {
    /// A NaN would be a bug of the core. It is left out, so that the series goes stale instead of lying.
    fn push<const N: usize>(&mut self, name: &str, labels: [(&str, &str); N], value: f64) {
        debug_assert!(!value.is_nan(), "{name} is NaN");
        if value.is_nan() {
            return;
        }
        let (journey, variant) = labels_of(&self.journey.name);
        let mut all = Labels::named(name).with("journey", journey);
        if !variant.is_empty() {
            all.set("variant", variant);
        }
        for (label, text) in labels {
            all.set(label, text);
        }
        self.rendered.push((all, value));
    }

    fn objectives(&mut self) {
        let journey = self.journey;
        if let Some(objective) = &journey.objectives.availability {
            self.push(name::OBJECTIVE_AVAILABILITY, [], objective.target.get());
        }
        if let Some(objective) = &journey.objectives.latency {
            let quantile = objective.quantile.to_string();
            self.push(name::OBJECTIVE_LATENCY, [("quantile", &quantile)], objective.threshold.get());
        }
    }

    /// What the part of the objective's window that there is evidence of leaves of what may be lost in it; below 0 once
    /// more was lost.
    fn remaining(&mut self, budget: Option<&BudgetEvaluation>) {
        let Some((objective, budget)) = self.journey.objectives.availability.as_ref().zip(budget) else {
            return;
        };
        for (side, family) in [
            (Side::Pessimistic, name::ERROR_BUDGET_REMAINING_PESSIMISTIC),
            (Side::Estimate, name::ERROR_BUDGET_REMAINING_ESTIMATE),
        ] {
            let lost = budget.composition.availability.side(side).complement();
            self.push(family, [], 1.0 - burn_rate(lost, objective.target.complement()));
        }
    }

    /// By the longest window answered: budgets should not jump with every quiet minute.
    fn budgets(&mut self, answered: &[WindowEvaluation]) {
        let Some(longest) = answered.last() else { return };
        let Some(allocation) = &longest.composition.allocation else { return };
        for (component, availability) in self.journey.components.iter().zip(&allocation.components) {
            if let Some(availability) = availability {
                self.push(
                    name::COMPONENT_BUDGET,
                    [("component", &*component.name)],
                    shown(availability.get()),
                );
            }
        }
    }

    fn window(&mut self, evaluation: &WindowEvaluation) {
        let window = evaluation.window.to_string();
        let composition = &*evaluation.composition;
        self.availability(&window, composition);
        self.latency(&window, composition);
        self.burn_rates(&window, composition);
        self.shares(&window, composition);
    }

    fn availability(&mut self, window: &str, composition: &Composition) {
        for (side, family) in [
            (Side::Pessimistic, name::AVAILABILITY_PESSIMISTIC),
            (Side::Estimate, name::AVAILABILITY_ESTIMATE),
            (Side::Optimistic, name::AVAILABILITY_OPTIMISTIC),
        ] {
            self.push(family, [("window", window)], composition.availability.side(side).get());
        }
        self.bounds(
            name::AVAILABILITY_BOUND,
            window,
            None,
            &composition.availability_by_dependence,
            Probability::get,
        );
    }

    fn latency(&mut self, window: &str, composition: &Composition) {
        let journey = self.journey;
        let asked =
            composition.latency.iter().filter(|latency| journey.quantiles.contains(&latency.quantile));
        for latency in asked {
            let quantile = latency.quantile.to_string();
            for (side, family) in [
                (Side::Pessimistic, name::LATENCY_PESSIMISTIC),
                (Side::Estimate, name::LATENCY_ESTIMATE),
                (Side::Optimistic, name::LATENCY_OPTIMISTIC),
            ] {
                let labels = [("window", window), ("quantile", &*quantile)];
                self.push(family, labels, latency.value.side(side).get());
            }
            self.bounds(name::LATENCY_BOUND, window, Some(&quantile), &latency.by_dependence, Seconds::get);
        }
        for (side, family) in [
            (Side::Pessimistic, name::LATENCY_PESSIMISTIC_BUCKET),
            (Side::Estimate, name::LATENCY_ESTIMATE_BUCKET),
            (Side::Optimistic, name::LATENCY_OPTIMISTIC_BUCKET),
        ] {
            let curve = composition.curves.side(side);
            for &edge in journey.latency_buckets.iter().filter(|edge| edge.is_finite()) {
                self.push(family, [("window", window), ("le", &le_label(edge))], curve.at(edge).get());
            }
            self.push(family, [("window", window), ("le", "+Inf")], curve.ever.get());
        }
    }

    fn bounds<T: Copy>(
        &mut self,
        family: &str,
        window: &str,
        quantile: Option<&str>,
        by_dependence: &ByDependence<T>,
        number: impl Fn(T) -> f64,
    ) {
        for (dependence, interval) in by_dependence {
            for (side, value) in [("lower", interval.lower), ("upper", interval.upper)] {
                let labels = [
                    ("window", window),
                    ("quantile", quantile.unwrap_or_default()),
                    ("dependence", dependence.as_str()),
                    ("side", side),
                ];
                self.push(family, labels, number(value));
            }
        }
    }

    fn burn_rates(&mut self, window: &str, composition: &Composition) {
        let journey = self.journey;
        if let Some(objective) = &journey.objectives.availability {
            for (side, family) in [
                (Side::Pessimistic, name::ERROR_BUDGET_BURN_RATE_PESSIMISTIC),
                (Side::Estimate, name::ERROR_BUDGET_BURN_RATE_ESTIMATE),
            ] {
                let lost = composition.availability.side(side).complement();
                self.push(family, [("window", window)], burn_rate(lost, objective.target.complement()));
            }
            let proven =
                burn_rate(composition.proven.availability.complement(), objective.target.complement());
            self.push(name::ERROR_BUDGET_BURN_RATE_LOWER_CONFIDENCE, [("window", window)], proven);
        }
        if let Some(objective) = &journey.objectives.latency {
            let allowed = Probability::saturating(1.0 - objective.quantile.get());
            for (side, family) in [
                (Side::Pessimistic, name::LATENCY_BUDGET_BURN_RATE_PESSIMISTIC),
                (Side::Estimate, name::LATENCY_BUDGET_BURN_RATE_ESTIMATE),
            ] {
                let slow = composition.slower_than(side, objective.threshold);
                self.push(family, [("window", window)], burn_rate(slow, allowed));
            }
            if let Some(slow) = composition.proven.slower_than_objective {
                let proven = burn_rate(slow, allowed);
                self.push(name::LATENCY_BUDGET_BURN_RATE_LOWER_CONFIDENCE, [("window", window)], proven);
            }
        }
    }

    fn shares(&mut self, window: &str, composition: &Composition) {
        for component in &composition.components {
            let labels = [("window", window), ("component", &*component.name)];
            let Bounded { estimate, pessimistic, optimistic } = component.availability;
            self.push(name::COMPONENT_AVAILABILITY_PESSIMISTIC, labels, kept(pessimistic, f64::floor));
            self.push(name::COMPONENT_AVAILABILITY_ESTIMATE, labels, kept(estimate, f64::round));
            self.push(name::COMPONENT_AVAILABILITY_OPTIMISTIC, labels, kept(optimistic, f64::ceil));
            self.push(name::COMPONENT_SENSITIVITY, labels, shown(component.sensitivity));
            self.push(name::COMPONENT_BUDGET_SHARE, labels, shown(component.budget_share));
            self.push(name::COMPONENT_LATENCY_SHARE, labels, shown(component.latency_share));
        }
        let width = composition.width;
        for (source, share) in
            [("samples", width.samples), ("buckets", width.buckets), ("dependence", width.dependence)]
        {
            self.push(name::WIDTH_SHARE, [("window", window), ("source", source)], share);
        }
        for domain in &composition.domains {
            let labels = [("window", window), ("domain", &*domain.name)];
            self.push(name::DOMAIN_BUDGET_SHARE, labels, shown(domain.budget_share));
        }
    }

    /// One state set for each window of the journey, also for those that could not be answered.
    fn gates(&mut self, answered: &[WindowEvaluation]) {
        let journey = self.journey;
        for &window in &journey.windows {
            let current = verdict(journey, window, answered);
            let window = window.to_string();
            for verdict in Verdict::ALL {
                let labels = [("window", &*window), ("verdict", verdict.as_str())];
                self.push(name::GATE, labels, flag(verdict == current));
            }
        }
    }

    fn meta(&mut self, evaluation: &Evaluation) {
        let journey = self.journey;
        let age = evaluation.evidence_age.unwrap_or(Seconds::INFINITY);
        self.push(name::EVIDENCE_AGE, [], age.get());
        for reason in Reason::ALL {
            let concerned = evaluation.flaws.iter().filter(|flaw| flaw.reason == reason);
            let labels = [("reason", reason.as_str())];
            self.push(name::EVIDENCE_MISSING, labels, flag(concerned.clone().next().is_some()));
            let mut components: Vec<_> = concerned.filter_map(|flaw| flaw.component).collect();
            components.sort_unstable();
            components.dedup();
            for id in components {
                if let Some(component) = journey.components.get(id.0) {
                    let labels = [("reason", reason.as_str()), ("component", &*component.name)];
                    self.push(name::EVIDENCE_MISSING, labels, 1.0);
                }
            }
        }
        let confidence =
            evaluation.windows.iter().map(|window| model_confidence(journey, &window.evidence).get());
        self.push(name::CONFIDENCE, [], confidence.reduce(f64::min).unwrap_or(0.0));
        let model = &evaluation.model;
        let labels = [
            ("digest", &*model.digest),
            ("accepted", if model.accepted { "true" } else { "false" }),
            ("revision", &model.revision.to_string()),
        ];
        self.push(name::MODEL_INFO, labels, 1.0);
    }
}

/// What automation may do by this window: review where it could not be answered.
#[must_use]
pub fn verdict(journey: &Journey, window: Window, answered: &[WindowEvaluation]) -> Verdict {
    answered.iter().find(|evaluation| evaluation.window == window).map_or(Verdict::Review, |evaluation| {
        judge(journey, &evaluation.evidence, &evaluation.composition).verdict
    })
}

/// `lost / allowed`. Where nothing is allowed, any loss burns infinitely fast and none does not burn.
fn burn_rate(lost: Probability, allowed: Probability) -> f64 {
    match (lost.get() > 0.0, allowed.get() > 0.0) {
        (_, true) => lost.get() / allowed.get(),
        (true, false) => f64::INFINITY,
        (false, false) => 0.0,
    }
}

/// A share or sensitivity to 16 significant binary digits: at most 1 part in 30,000 towards 0. They rank contributors and
/// bound nothing; their other digits are noise that kept samples would have to store.
fn shown(share: f64) -> f64 {
    f64::from_bits(share.to_bits() & !((1 << 37) - 1))
}

/// A component's availability to a multiple of 2⁻³² (2.3e-10), bounds outward: fewer digits to store of what there is most
/// of.
fn kept(availability: Probability, rounded: fn(f64) -> f64) -> f64 {
    const PARTS: f64 = 4_294_967_296.0;
    rounded(availability.get() * PARTS) / PARTS
}

const fn flag(on: bool) -> f64 {
    if on { 1.0 } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Arc;

    use super::*;
    use crate::algebra::composition::{
        ComponentShare, DomainShare, Interval, LatencyQuantile, NodeResult, Proven, SuccessCurve,
    };
    use crate::journey::component::{Component, ComponentId};
    use crate::journey::evidence::{ComponentEvidence, Evidence, Measurement};
    use crate::journey::fixture;
    use crate::journey::governance::*;
    use crate::journey::objective::*;
    use crate::journey::operator::Operator;
    use crate::synthetic::catalog;
    use crate::synthetic::evaluation::{Flaw, ModelInfo};
    use crate::unit::{Quantile, Timestamp};

    fn p(value: f64) -> Probability {
        Probability::new(value).unwrap()
    }

    fn s(value: f64) -> Seconds {
        Seconds::new(value).unwrap()
    }

    fn minutes(count: u64) -> Window {
        Window::from_millis(count * 60_000).unwrap()
    }

    fn journey() -> Journey {
        let called = Operator::Series([0, 1].map(ComponentId).map(Operator::Component).to_vec());
        Journey {
            name: "checkout".to_owned(),
            objectives: Objectives {
                availability: Some(AvailabilityObjective {
                    window: minutes(30 * 1440),
                    target: p(0.999),
                    observed: None,
                }),
                latency: Some(LatencyObjective {
                    window: minutes(30 * 1440),
                    quantile: Quantile::new(0.99).unwrap(),
                    threshold: s(0.8),
                    observed: None,
                }),
            },
            windows: vec![minutes(5), minutes(60)],
            quantiles: vec![Quantile::new(0.99).unwrap()],
            latency_buckets: vec![s(0.5), s(0.8), s(1.0)],
            digest: "abc".to_owned(),
            ..fixture::journey(called, ["front", "pay"].map(Component::new).to_vec())
        }
    }

    fn bounded<T>(pessimistic: T, estimate: T, optimistic: T) -> Bounded<T> {
        Bounded { estimate, pessimistic, optimistic }
    }

    fn composition() -> Composition {
        let availability = bounded(p(0.99), p(0.998), p(0.9995));
        let curve = |ever: f64| SuccessCurve {
            times: vec![0.4, 0.8, 1.2],
            within: vec![0.5 * ever, 0.96 * ever, ever],
            ever: p(ever),
        };
        Composition {
            availability,
            availability_by_dependence: BTreeMap::from([(
                Dependence::SharedFate,
                Interval { lower: p(0.99), upper: p(0.9995) },
            )]),
            proven: Proven { availability: p(0.9985), slower_than_objective: Some(p(0.03)) },
            latency: vec![LatencyQuantile {
                quantile: Quantile::new(0.99).unwrap(),
                value: bounded(Seconds::INFINITY, s(1.1), s(0.9)),
                by_dependence: BTreeMap::from([(
                    Dependence::Independent,
                    Interval { lower: s(0.9), upper: s(1.2) },
                )]),
            }],
            curves: bounded(curve(0.99), curve(0.998), curve(0.9995)),
            root: NodeResult {
                label: "Series".to_owned(),
                keyword: "series",
                formula: "",
                availability,
                by_dependence: BTreeMap::new(),
                latency_estimate: s(1.1),
                children: Vec::new(),
            },
            components: vec![ComponentShare {
                name: "pay".to_owned(),
                availability,
                sensitivity: 0.997,
                budget_share: 0.75,
                latency_share: 0.5,
            }],
            domains: vec![DomainShare {
                name: "psp".to_owned(),
                sensitivity: 0.9,
                budget_share: 0.25,
                together_share: 0.2,
            }],
            allocation: None,
            width: crate::algebra::composition::Width::default(),
            warnings: Vec::new(),
        }
    }

    fn evaluation(answered: bool) -> Evaluation {
        let journey = Arc::new(journey());
        let evidence = Evidence {
            window: minutes(5),
            time: None,
            components: vec![ComponentEvidence::measured(Measurement::Figure(p(0.999))); 2],
            parameters: Vec::new(),
        };
        let window = WindowEvaluation {
            window: minutes(5),
            evidence: Arc::new(evidence),
            composition: Arc::new(composition()),
        };
        let flaw = |reason, component| Flaw { reason, component };
        Evaluation {
            journey,
            model: ModelInfo { digest: "abc".to_owned(), accepted: true, revision: 3 },
            time: Timestamp::from_millis(15_000),
            windows: if answered { vec![window] } else { Vec::new() },
            evidence_age: answered.then(|| s(12.5)),
            flaws: vec![
                flaw(Reason::Absent, Some(ComponentId(0))),
                flaw(Reason::Absent, Some(ComponentId(1))),
                flaw(Reason::Model, None),
            ],
            budget: answered.then(|| {
                Arc::new(BudgetEvaluation {
                    time: Timestamp::from_millis(0),
                    window: minutes(30 * 1440),
                    composition: Arc::new(composition()),
                    in_part: Vec::new(),
                })
            }),
        }
    }

    fn rendered(evaluation: &Evaluation) -> BTreeMap<String, f64> {
        let samples = samples(evaluation);
        let by_text: BTreeMap<_, _> = samples.iter().map(|(labels, v)| (labels.to_string(), *v)).collect();
        assert_eq!(by_text.len(), samples.len(), "two samples share their labels");
        by_text
    }

    #[test]
    fn each_number_stands_in_the_series_that_the_contract_names() {
        let samples = rendered(&evaluation(true));
        for (series, value) in [
            (r#"emac_journey_availability_pessimistic{journey="checkout", window="5m"}"#, 0.99),
            (r#"emac_journey_availability_estimate{journey="checkout", window="5m"}"#, 0.998),
            (r#"emac_journey_availability_optimistic{journey="checkout", window="5m"}"#, 0.9995),
            // 0.01 and 0.002 are lost of the 0.001 that may be.
            (r#"emac_journey_error_budget_remaining_pessimistic{journey="checkout"}"#, -9.0),
            (r#"emac_journey_error_budget_remaining_estimate{journey="checkout"}"#, -1.0),
            (
                r#"emac_journey_latency_pessimistic_seconds{journey="checkout", quantile="0.99", window="5m"}"#,
                f64::INFINITY,
            ),
            (
                r#"emac_journey_latency_estimate_seconds{journey="checkout", quantile="0.99", window="5m"}"#,
                1.1,
            ),
            (
                r#"emac_journey_latency_pessimistic_seconds_bucket{journey="checkout", le="+Inf", window="5m"}"#,
                0.99,
            ),
            (
                r#"emac_journey_latency_pessimistic_seconds_bucket{journey="checkout", le="0.8", window="5m"}"#,
                0.96 * 0.99,
            ),
            (
                r#"emac_journey_latency_estimate_seconds_bucket{journey="checkout", le="1", window="5m"}"#,
                0.98 * 0.998,
            ),
            (
                r#"emac_journey_latency_optimistic_seconds_bucket{journey="checkout", le="0.5", window="5m"}"#,
                0.615 * 0.9995,
            ),
            (
                r#"emac_journey_availability_bound{dependence="shared_fate", journey="checkout", side="lower", window="5m"}"#,
                0.99,
            ),
            (
                r#"emac_journey_latency_bound_seconds{dependence="independent", journey="checkout", quantile="0.99", side="upper", window="5m"}"#,
                1.2,
            ),
            (r#"emac_journey_objective_availability{journey="checkout"}"#, 0.999),
            (r#"emac_journey_objective_latency_seconds{journey="checkout", quantile="0.99"}"#, 0.8),
            (r#"emac_journey_error_budget_burn_rate_pessimistic{journey="checkout", window="5m"}"#, 10.0),
            (r#"emac_journey_error_budget_burn_rate_estimate{journey="checkout", window="5m"}"#, 2.0),
            (r#"emac_journey_latency_budget_burn_rate_pessimistic{journey="checkout", window="5m"}"#, 4.0),
            (r#"emac_journey_latency_budget_burn_rate_estimate{journey="checkout", window="5m"}"#, 4.0),
            (
                r#"emac_journey_component_budget_share{component="pay", journey="checkout", window="5m"}"#,
                0.75,
            ),
            (r#"emac_journey_domain_budget_share{domain="psp", journey="checkout", window="5m"}"#, 0.25),
            (r#"emac_journey_evidence_age_seconds{journey="checkout"}"#, 12.5),
            (r#"emac_journey_evidence_missing{journey="checkout", reason="absent"}"#, 1.0),
            (r#"emac_journey_evidence_missing{component="pay", journey="checkout", reason="absent"}"#, 1.0),
            (r#"emac_journey_evidence_missing{journey="checkout", reason="model"}"#, 1.0),
            (r#"emac_journey_evidence_missing{journey="checkout", reason="stale"}"#, 0.0),
            (
                r#"emac_journey_model_info{accepted="true", digest="abc", journey="checkout", revision="3"}"#,
                1.0,
            ),
        ] {
            let found = samples.get(series).unwrap_or_else(|| panic!("no {series}"));
            assert!(*found == value || (found - value).abs() < 1e-9, "{series} is {found}, not {value}");
        }
        assert!(!samples.contains_key(
            r#"emac_journey_evidence_missing{component="pay", journey="checkout", reason="stale"}"#
        ));
    }

    #[test]
    fn exactly_one_verdict_is_set_for_each_window_and_an_unanswered_one_asks_for_review() {
        let samples = rendered(&evaluation(true));
        for window in ["5m", "1h"] {
            let state = |verdict: &str| {
                samples[&format!(
                    r#"emac_journey_gate{{journey="checkout", verdict="{verdict}", window="{window}"}}"#
                )]
            };
            assert_eq!(state("pass") + state("block") + state("review"), 1.0);
            // 0.99 misses 0.999, and the evidence suffices for an availability.
            assert_eq!(state("block"), if window == "5m" { 1.0 } else { 0.0 });
            assert_eq!(state("review"), if window == "5m" { 0.0 } else { 1.0 });
        }
    }

    #[test]
    fn without_an_answer_only_statements_about_evidence_and_model_remain() {
        let evaluation = evaluation(false);
        let names: BTreeSet<_> =
            samples(&evaluation).iter().map(|(labels, _)| labels.get("__name__").to_owned()).collect();
        assert!(names.iter().all(|name| catalog::is_meta(name)), "{names:?}");
        assert_eq!(names.len(), 7, "{names:?}");
        let samples = rendered(&evaluation);
        assert_eq!(samples[r#"emac_journey_evidence_age_seconds{journey="checkout"}"#], f64::INFINITY);
        assert_eq!(samples[r#"emac_journey_confidence{journey="checkout"}"#], 0.0);
    }

    #[test]
    fn every_sample_belongs_to_a_declared_family() {
        for (labels, _) in samples(&evaluation(true)) {
            assert!(catalog::is_synthetic(labels.get("__name__")), "{labels}");
            for (name, _) in labels.iter().filter(|(name, _)| *name != "__name__") {
                assert!(catalog::LABELS.contains(&name), "{labels}");
            }
        }
    }

    #[test]
    fn nothing_allowed_burns_infinitely_fast_only_where_something_is_lost() {
        assert_eq!(burn_rate(p(0.1), p(0.0)), f64::INFINITY);
        assert_eq!(burn_rate(p(0.0), p(0.0)), 0.0);
        assert!((burn_rate(p(0.02), p(0.001)) - 20.0).abs() < 1e-12);
    }

    #[test]
    fn availabilities_of_components_are_rounded_outward_and_by_less_than_one_call_in_a_billion() {
        let window = &rendered(&evaluation(true));
        let of = |side: &str| {
            let found = window.iter().find(|(labels, _)| {
                labels.contains(&format!("component_availability_{side}")) && labels.contains("pay")
            });
            *found.unwrap().1
        };
        for (kept, exact) in [("pessimistic", 0.99), ("estimate", 0.998), ("optimistic", 0.9995)] {
            assert!((of(kept) - exact).abs() < 1e-9, "{kept}");
            // What is not kept costs nothing.
            assert_eq!(of(kept).to_bits() & 0xf_ffff, 0, "{kept}");
        }
        assert!(of("pessimistic") <= 0.99 && of("optimistic") >= 0.9995);
        for exact in [0.0, 1.0] {
            assert_eq!([f64::floor, f64::ceil].map(|rounded| kept(p(exact), rounded)), [exact; 2]);
        }
    }
}
