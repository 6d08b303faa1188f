use std::collections::BTreeMap;

use super::*;
use crate::algebra::composition::{
    Bounded, ComponentShare, DomainShare, Interval, LatencyQuantile, NodeResult, Proven, SuccessCurve,
};
use crate::distribution::histogram::ClassicHistogram;
use crate::journey::component::Component;
use crate::journey::evidence::{ComponentEvidence, Counts};
use crate::journey::fixture;
use crate::journey::governance::Dependence;
use crate::journey::objective::{AvailabilityObjective, LatencyObjective, Objectives};
use crate::journey::operator::{Branch, ParameterId};
use crate::unit::{Quantile, Window};

fn p(value: f64) -> Probability {
    Probability::new(value).unwrap()
}

fn window(text: &str) -> Window {
    text.parse().unwrap()
}

/// A series of `a` and `b`, and `c` that nobody calls; 99 % available, p99 within 400 ms.
fn journey() -> Journey {
    let called = Operator::Series([0, 1].map(ComponentId).map(Operator::Component).to_vec());
    Journey {
        name: "checkout".to_owned(),
        objectives: Objectives {
            availability: Some(AvailabilityObjective {
                window: window("30d"),
                target: p(0.99),
                observed: None,
            }),
            latency: Some(LatencyObjective {
                window: window("30d"),
                quantile: Quantile::new(0.99).unwrap(),
                threshold: Seconds::new(0.4).unwrap(),
                observed: None,
            }),
        },
        windows: ["5m", "30m", "1h"].map(window).to_vec(),
        quantiles: vec![Quantile::new(0.99).unwrap()],
        ..fixture::journey(called, ["a", "b", "c"].map(Component::new).to_vec())
    }
}

fn counted() -> ComponentEvidence {
    let latency = ClassicHistogram::new(vec![0.1], vec![999.0, 999.0]).unwrap();
    let counts = Counts::new(1000.0, 999.0, Some(latency), None).unwrap();
    ComponentEvidence::measured(Measurement::Counts(counts))
}

fn figure() -> ComponentEvidence {
    ComponentEvidence::measured(Measurement::Figure(p(0.999)))
}

fn evidence(a: ComponentEvidence, b: ComponentEvidence) -> Evidence {
    let unused = ComponentEvidence::vacuous(Reason::Absent);
    Evidence { window: window("5m"), time: None, components: vec![a, b, unused], parameters: Vec::new() }
}

fn bounded<T>([pessimistic, estimate, optimistic]: [T; 3]) -> Bounded<T> {
    Bounded { estimate, pessimistic, optimistic }
}

/// Pessimistic, estimate, optimistic.
fn composition(availability: [f64; 3], p99: [f64; 3]) -> Composition {
    let availability = bounded(availability.map(p));
    let share = |name: &str, share: f64| ComponentShare {
        name: name.to_owned(),
        availability,
        sensitivity: 1.0,
        budget_share: share,
        latency_share: 1.0 - share,
    };
    let curve = SuccessCurve { times: Vec::new(), within: Vec::new(), ever: Probability::ONE };
    Composition {
        availability,
        availability_by_dependence: BTreeMap::from([(
            Dependence::Independent,
            Interval { lower: p(0.0), upper: p(1.0) },
        )]),
        proven: Proven { availability: availability.estimate, slower_than_objective: None },
        latency: vec![LatencyQuantile {
            quantile: Quantile::new(0.99).unwrap(),
            value: bounded(p99.map(|t| Seconds::new(t).unwrap())),
            by_dependence: BTreeMap::new(),
        }],
        curves: bounded([curve.clone(), curve.clone(), curve]),
        root: NodeResult {
            label: "Series".to_owned(),
            keyword: "series",
            formula: "",
            availability,
            by_dependence: BTreeMap::new(),
            latency_estimate: Seconds::ZERO,
            children: Vec::new(),
        },
        components: vec![share("a", 0.2), share("b", 0.7), share("c", 0.1)],
        domains: Vec::new(),
        allocation: None,
        width: crate::algebra::composition::Width::default(),
        warnings: Vec::new(),
    }
}

const GOOD: [f64; 3] = [0.995, 0.997, 0.999];
const FAST: [f64; 3] = [0.39, 0.3, 0.2];

fn verdict(evidence: &Evidence, availability: [f64; 3], p99: [f64; 3]) -> Judgement {
    judge(&journey(), evidence, &composition(availability, p99))
}

#[test]
fn bounds_that_meet_their_objectives_pass_and_say_so() {
    let judgement = verdict(&evidence(counted(), counted()), GOOD, FAST);
    assert_eq!(judgement.verdict, Verdict::Pass);
    assert_eq!(
        judgement.reason,
        "pessimistic availability 99.5 % meets the objective 99 %; \
         pessimistic p99 390ms meets the objective 400ms"
    );
}

#[test]
fn a_bound_at_its_objective_meets_it() {
    let at = verdict(&evidence(counted(), counted()), [0.99, 0.99, 0.99], [0.4, 0.4, 0.4]);
    assert_eq!(at.verdict, Verdict::Pass);
}

#[test]
fn a_pessimistic_miss_blocks_and_names_bound_objective_and_dominant_component() {
    let judgement = verdict(&evidence(counted(), counted()), [0.98, 0.997, 0.999], FAST);
    assert_eq!(judgement.verdict, Verdict::Block);
    assert_eq!(
        judgement.reason,
        "pessimistic availability 98 % is below the objective 99 % (dominant: b, 70 % of the unavailability)"
    );
    let judgement = verdict(&evidence(counted(), counted()), GOOD, [f64::INFINITY, 0.3, 0.2]);
    assert_eq!(judgement.verdict, Verdict::Block);
    assert_eq!(
        judgement.reason,
        "pessimistic p99 +Inf exceeds the objective 400ms (dominant: c, 90 % of the latency)"
    );
}

#[test]
fn a_domain_that_costs_more_than_any_component_is_named_before_it() {
    let mut composition = composition([0.98, 0.997, 0.999], FAST);
    let domain = |name: &str, budget_share| DomainShare {
        name: name.to_owned(),
        sensitivity: 1.0,
        budget_share,
        together_share: 0.0,
    };
    composition.domains = vec![domain("zone", 0.3), domain("payment-network", 0.83)];
    let judgement = judge(&journey(), &evidence(counted(), counted()), &composition);
    assert_eq!(
        judgement.reason,
        "pessimistic availability 98 % is below the objective 99 % \
         (dominant: failure domain payment-network, 83 %; component b, 70 % of the unavailability)"
    );
}

#[test]
fn a_narrow_miss_shows_the_digits_that_miss() {
    let text = |bound, target| percentages(bound, target).0;
    assert_eq!(text(0.992_514_49, 0.995), "99.251 %");
    assert_eq!(text(0.994_999_9, 0.995), "99.49999 %");
    assert_eq!(text(0.5, 0.5), "50 %");
    assert_eq!(text(1.0, 0.999), "100 %");
}

#[test]
fn a_permissive_policy_blocks_only_where_the_optimistic_bound_misses() {
    let mut journey = journey();
    journey.governance.evaluation_mode = EvaluationMode::Permissive;
    let evidence = evidence(counted(), counted());
    let of = |availability, p99| judge(&journey, &evidence, &composition(availability, p99)).verdict;
    assert_eq!(of([0.1, 0.5, 0.999], [f64::INFINITY, 2.0, 0.4]), Verdict::Pass);
    assert_eq!(of([0.1, 0.5, 0.9], FAST), Verdict::Block);
    assert_eq!(of(GOOD, [3.0, 2.0, 0.41]), Verdict::Block);
}

#[test]
fn missing_evidence_asks_for_a_review_before_anything_is_compared() {
    let mut flawed = counted();
    flawed.reasons = vec![Reason::Partial];
    let nothing =
        ComponentEvidence { measurement: Measurement::Vacuous, reasons: Vec::new(), from_window: None };
    for (component, reason) in [
        (ComponentEvidence::vacuous(Reason::NoTraffic), "evidence is missing: b (no_traffic)"),
        (flawed, "evidence is missing: b (partial)"),
        (nothing, "evidence is missing: b (nothing measured)"),
    ] {
        for availability in [GOOD, [0.0, 0.0, 0.0]] {
            let judgement = verdict(&evidence(counted(), component.clone()), availability, FAST);
            assert_eq!((judgement.verdict, judgement.reason.as_str()), (Verdict::Review, reason));
        }
    }
}

#[test]
fn evidence_of_one_interval_ago_and_a_measured_overflow_are_judged() {
    let mut aged = counted();
    aged.reasons = vec![Reason::Stale, Reason::OverflowBucket];
    assert_eq!(verdict(&evidence(aged, counted()), GOOD, FAST).verdict, Verdict::Pass);
}

#[test]
fn figures_suffice_for_availability_alone() {
    let figures = evidence(figure(), counted());
    let judgement = verdict(&figures, [0.98, 0.997, 0.999], FAST);
    assert_eq!(judgement.verdict, Verdict::Block, "a known miss of availability needs no latency");
    let judgement = verdict(&figures, GOOD, FAST);
    assert_eq!(judgement.verdict, Verdict::Review);
    assert_eq!(judgement.reason, "the latency objective lacks evidence: a (no latency)");

    let mut journey = journey();
    journey.objectives.latency = None;
    assert_eq!(judge(&journey, &figures, &composition(GOOD, FAST)).verdict, Verdict::Pass);
}

#[test]
fn a_probability_that_nobody_measured_asks_for_a_review() {
    let mut journey = journey();
    journey.parameters = vec![crate::journey::Parameter {
        name: "p_hit".to_owned(),
        value: None,
        promql: Some("cache_hits".to_owned()),
    }];
    let branch = |probability, id| Branch { probability, body: Operator::Component(ComponentId(id)) };
    journey.operator = Operator::Cond(vec![
        branch(BranchProbability::Parameter(ParameterId(0)), 0),
        branch(BranchProbability::Remainder, 1),
    ]);
    let mut evidence = evidence(counted(), counted());
    evidence.parameters = vec![None];
    let judgement = judge(&journey, &evidence, &composition(GOOD, FAST));
    assert_eq!(judgement.verdict, Verdict::Review);
    assert_eq!(judgement.reason, "evidence is missing: parameter p_hit (unknown)");
    evidence.parameters = vec![Some(0.8)];
    assert_eq!(judge(&journey, &evidence, &composition(GOOD, FAST)).verdict, Verdict::Pass);
}

#[test]
fn a_journey_without_objectives_is_never_passed() {
    let mut journey = journey();
    journey.objectives = Objectives::default();
    let judgement = judge(&journey, &evidence(counted(), counted()), &composition(GOOD, FAST));
    assert_eq!(judgement.verdict, Verdict::Review);
}

#[test]
fn each_step_of_the_ladder_lowers_the_confidence_of_the_whole() {
    let mut longer = counted();
    longer.from_window = Some(window("1h"));
    let confidence = |b| model_confidence(&journey(), &evidence(counted(), b)).get();
    assert_eq!(confidence(counted()), 1.0);
    assert!((confidence(longer.clone()) - 0.64).abs() < 1e-12, "5m to 30m to 1h are two steps");
    assert_eq!(confidence(ComponentEvidence::vacuous(Reason::Absent)), 0.0);

    let mut journey = journey();
    journey.governance.min_model_confidence = p(0.7);
    let judgement = judge(&journey, &evidence(counted(), longer), &composition(GOOD, FAST));
    assert_eq!(judgement.verdict, Verdict::Review);
}
