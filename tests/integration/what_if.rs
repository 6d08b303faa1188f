//! What a journey would be: compositions of what is supposed, and the ends of what each component alone may do.

use std::process::{Command, Output};

use emac::algebra::compose::Composer;
use emac::derive::explain;
use emac::derive::what_if::{Supposition, WhatIf, what_if};
use emac::distribution::histogram::ClassicHistogram;
use emac::journey::component::ComponentId;
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::{Counts, Measurement, SuppositionError};
use emac::journey::objective::{AvailabilityObjective, LatencyObjective, Objectives};
use emac::journey::operator::Operator;
use serde_json::Value;

use crate::journey_builder::{Case, leaf, leaves, probability, quantile, time};

/// 10,000 calls through some buckets, of which so many succeed, `slowdown` times as slow as the first.
fn measured(good_share: f64, slowdown: f64) -> Measurement {
    const CALLS: f64 = 10_000.0;
    let edges: Vec<f64> =
        [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5].map(|edge| edge * slowdown).into();
    let good = good_share * CALLS;
    let counts = edges.iter().map(|t| good * (1.0 - (-t / (0.03 * slowdown)).exp())).chain([good]).collect();
    let histogram = ClassicHistogram::new(edges, counts).unwrap();
    Measurement::Counts(Counts::new(CALLS, good, Some(histogram), None).unwrap())
}

fn with_objectives(mut case: Case, target: f64, threshold: f64) -> Case {
    let window = "30d".parse().unwrap();
    case.journey.objectives = Objectives {
        availability: Some(AvailabilityObjective { window, target: probability(target), observed: None }),
        latency: Some(LatencyObjective {
            window,
            quantile: quantile(0.99),
            threshold: time(threshold),
            observed: None,
        }),
    };
    case
}

/// Two calls at once and two, one after the other, the last two in one domain.
fn checkout(first: Measurement) -> Case {
    let operator = Operator::Series(vec![Operator::Parallel(leaves(2)), leaf(2), leaf(3)]);
    let case = Case::new(operator)
        .domain("zone", DomainLatency::Shared)
        .component(first, &[])
        .component(measured(0.999, 1.0), &[])
        .component(measured(0.9995, 2.0), &[0])
        .component(measured(0.998, 0.5), &[0]);
    with_objectives(case, 0.99, 0.6)
}

fn supposed(case: &Case, suppositions: &[Supposition]) -> WhatIf {
    what_if(&mut Composer::new(), &case.journey, &case.evidence, suppositions).unwrap()
}

#[test]
fn what_is_supposed_is_what_evidence_of_it_comes_to() {
    let case = checkout(measured(0.999, 1.0));
    let component = ComponentId(0);
    let supposition = Supposition { component, availability: Some(probability(0.99)), slowdown: 3.0 };
    let answer = supposed(&case, &[supposition]);
    let measured_so = checkout(measured(0.99, 3.0));
    let mut composer = Composer::new();
    for (outcome, case) in [(&answer.now, &case), (answer.supposed.as_ref().unwrap(), &measured_so)] {
        let expected = explain(&mut composer, &case.journey, &case.evidence, None);
        assert_eq!(outcome.availability, expected.availability);
        assert_eq!(outcome.verdict, expected.verdict);
        let found = outcome.latency.as_ref().unwrap();
        for (found, expected) in [
            (found.estimate, expected.latency["0.99"].estimate),
            (found.pessimistic, expected.latency["0.99"].pessimistic),
            (found.optimistic, expected.latency["0.99"].optimistic),
        ] {
            assert!((found.get() / expected.get() - 1.0).abs() < 1e-6, "{found} for {expected}");
        }
    }
    assert_ne!(answer.now.availability, answer.supposed.unwrap().availability);
}

#[test]
fn the_availability_that_is_needed_is_what_a_series_leaves() {
    let figures = [0.9995, 0.999, 0.997];
    let mut case = Case::new(Operator::Series(leaves(3)));
    for figure in figures {
        case = case.figure(figure, &[]);
    }
    for (target, met) in [(0.99, true), (0.996, false), (0.9985, false)] {
        let case = with_objectives(case.clone(), target, 1.0);
        let answer = supposed(&case, &[]);
        let all: f64 = figures.iter().product();
        assert_eq!(all >= target, met);
        for (one, figure) in answer.alone.iter().zip(figures) {
            let others = all / figure;
            assert!((one.never_failing.get() - others).abs() < 1e-12);
            match one.needed {
                Some(needed) => {
                    let lost = 1.0 - needed.get();
                    let expected = 1.0 - target / others;
                    // To three digits, and to 1e-6 of what it loses now.
                    let least = 0.998 * expected - 1e-6 * (1.0 - figure);
                    assert!(lost <= expected && lost > least, "{target}: {lost} for {expected}");
                }
                None => assert!(others < target, "{target}: {one:?}"),
            }
            assert_eq!((one.at_once, one.slowdown), (None, None));
        }
    }
}

#[test]
fn a_component_that_takes_as_long_as_it_may_just_meets_the_objective() {
    let case = checkout(measured(0.999, 1.0));
    let answer = supposed(&case, &[]);
    let now = answer.now.latency.as_ref().unwrap();
    let apart = now.pessimistic.get() / now.estimate.get();
    for (index, one) in answer.alone.iter().enumerate() {
        let estimate_at = |slowdown: f64| {
            let component = ComponentId(index);
            let answer = supposed(&case, &[Supposition { component, availability: None, slowdown }]);
            answer.supposed.unwrap().latency.unwrap().estimate.get()
        };
        let slowdown = one.slowdown.unwrap();
        assert!(slowdown > 1.0, "{one:?}");
        // Whole compositions choose grids of their own.
        let (at, beyond) = (estimate_at(slowdown) * apart, estimate_at(1.01 * slowdown) * apart);
        assert!(at <= 0.6 * 1.001 && beyond > 0.6 * 0.999, "{one:?}: {at} and {beyond}");
        let at_once = one.at_once.unwrap().get();
        assert!((estimate_at(1e-6) / at_once - 1.0).abs() < 2e-3, "{one:?}");
    }
    // What is missed already: the same ends from the other side, or none.
    let missed = with_objectives(checkout(measured(0.999, 1.0)), 0.99, 0.5 * now.pessimistic.get());
    for one in supposed(&missed, &[]).alone {
        assert!(one.slowdown.is_none_or(|slowdown| slowdown < 1.0), "{one:?}");
    }
}

#[test]
fn what_was_not_measured_cannot_be_supposed_and_is_not_listed() {
    let mut case = checkout(measured(0.999, 1.0));
    case.evidence.components[1].measurement = Measurement::Vacuous;
    case.evidence.components[2].measurement = Measurement::Figure(probability(0.9995));
    let faulty = |index: usize| {
        let supposition = Supposition { component: ComponentId(index), availability: None, slowdown: 2.0 };
        what_if(&mut Composer::new(), &case.journey, &case.evidence, &[supposition]).unwrap_err().1
    };
    assert_eq!(faulty(1), SuppositionError::NothingMeasured);
    assert_eq!(faulty(2), SuppositionError::NoLatency);
    let answer = supposed(&case, &[]);
    let listed: Vec<&str> = answer.alone.iter().map(|one| one.name.as_str()).collect();
    let expected: Vec<&str> =
        [0, 2, 3].map(|index: usize| case.journey.components[index].name.as_str()).to_vec();
    assert_eq!(listed, expected);
}

const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives: {availability: {window: 30d, target: 0.995}}
  expression: Series(front, Race(paya, payb))
  components: {front: {}, paya: {}, payb: {}}
";

const EVIDENCE: &str = "
apiVersion: emac.dev/v1alpha1
kind: Evidence
metadata: {journey: checkout}
spec:
  window: 5m
  components: {front: {availability: 0.996}, paya: {availability: 0.95}, payb: {availability: 0.9}}
";

fn run(arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("spec.yaml"), SPEC).unwrap();
    std::fs::write(folder.path().join("evidence.yaml"), EVIDENCE).unwrap();
    Command::new(env!("CARGO_BIN_EXE_emac"))
        .args(["what-if", "checkout", "--spec", "spec.yaml", "--evidence", "evidence.yaml"])
        .args(arguments)
        .current_dir(folder.path())
        .output()
        .unwrap()
}

#[test]
fn the_command_shows_now_and_supposed_side_by_side() {
    let output = run(&["--suppose", "paya:availability=0.99"]);
    assert!(output.status.success(), "{output:?}");
    insta::assert_snapshot!(String::from_utf8(output.stdout).unwrap());
    let output = run(&["--suppose", "paya:availability=0.99", "--format", "json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let estimate = |outcome: &str| json[outcome]["availability"]["estimate"].as_f64().unwrap();
    assert!((estimate("now") - 0.996 * (1.0 - 0.05 * 0.1)).abs() < 1e-12);
    assert!((estimate("supposed") - 0.996 * (1.0 - 0.01 * 0.1)).abs() < 1e-12);
}

#[test]
fn a_supposition_that_cannot_be_is_refused_with_what_can() {
    for (suppositions, message) in [
        (&["nope:slowdown=2"][..], "checkout has no component `nope`; it has front, paya, payb"),
        (&["paya"], "it reads COMPONENT:availability=VALUE or COMPONENT:slowdown=VALUE"),
        (&["paya:speed=2"], "`speed` cannot be supposed"),
        (&["paya:slowdown=fast"], "`fast` is no number"),
        (&["paya:slowdown=0"], "a slowdown lies between 1e-6 and 1e6"),
        (&["paya:slowdown=NaN"], "a slowdown lies between 1e-6 and 1e6"),
        (&["paya:availability=1.5"], "1.5"),
        (&["paya:slowdown=2"], "nothing else can be supposed of paya: its latency was not measured"),
        (&["paya:availability=0.9", "paya:availability=0.8"], "--suppose says twice what paya is"),
    ] {
        let arguments: Vec<&str> = suppositions.iter().flat_map(|text| ["--suppose", text]).collect();
        let output = run(&arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{suppositions:?}: {stderr}");
        assert!(stderr.contains(message), "{suppositions:?}: {stderr}");
    }
}
