//! Values that are known in closed form or published, for every operator.

use emac::journey::domain::DomainLatency;
use emac::journey::governance::Dependence;
use emac::journey::operator::{AttemptsFate, Operator};

use crate::journey_builder::{
    Case, cond, estimate, exponential, leaf, leaves, measured, measured_with_failures,
};

fn close(actual: f64, expected: f64, relative: f64) {
    assert!((actual / expected - 1.0).abs() < relative, "{actual}, not {expected} within {relative}");
}

#[test]
fn the_papers_checkout_has_the_two_availabilities_that_its_artifact_publishes() {
    let operator = Operator::Series(vec![
        leaf(0),
        Operator::Parallel(vec![leaf(1), leaf(2)]),
        Operator::Race(vec![leaf(3), leaf(4)]),
    ]);
    let case = Case::new(operator)
        .domain("k8s/zone", DomainLatency::Shared)
        .domain("k8s/cluster", DomainLatency::Shared)
        .domain("payments", DomainLatency::Shared)
        .figure(0.9995, &[0, 1])
        .figure(0.999, &[0, 1])
        .figure(0.999, &[0, 1])
        .figure(0.995, &[2])
        .figure(0.995, &[2]);
    let composition = case.compose();
    let by = |dependence| composition.availability_by_dependence[&dependence].lower.get();
    assert_eq!(format!("{:.8}", by(Dependence::Independent)), "0.99747706");
    assert_eq!(format!("{:.8}", by(Dependence::SharedFate)), "0.99251449");
    assert_eq!(format!("{:.8}", composition.availability.pessimistic.get()), "0.99251449");
}

#[test]
fn a_series_of_exponentials_is_a_gamma() {
    for (n, q, expected) in [(5, 0.99, 11.604_625), (5, 0.999, 14.794_149), (30, 0.99, 44.189_709)] {
        let composition =
            Case::new(Operator::Series(leaves(n))).components(n, &exponential(1.0, 1.0), &[]).compose();
        close(estimate(&composition, q), expected, 5e-4);
    }
}

#[test]
fn extremes_of_ten_exponentials() {
    let ten = |operator| Case::new(operator).components(10, &exponential(1.0, 1.0), &[]).compose();
    close(estimate(&ten(Operator::Parallel(leaves(10))), 0.99), 6.903_237, 1e-3);
    close(estimate(&ten(Operator::Race(leaves(10))), 0.99), 0.460_517, 1e-3);
}

#[test]
fn two_of_three_exponentials() {
    for (availability, expected) in [(1.0, 2.831_861), (0.9, 3.982_931)] {
        let composition = Case::new(Operator::KofN { k: 2, branches: leaves(3) })
            .components(3, &exponential(availability, 1.0), &[])
            .compose();
        close(estimate(&composition, 0.99), expected, 1e-3);
    }
}

#[test]
fn the_latency_of_a_race_is_conditional_on_success() {
    let composition =
        Case::new(Operator::Race(leaves(2))).components(2, &exponential(0.9, 1.0), &[]).compose();
    close(composition.availability.estimate.get(), 0.99, 1e-12);
    close(estimate(&composition, 0.99), 3.087_181, 1e-3);
}

#[test]
fn a_condition_mixes_its_branches() {
    let composition = Case::new(cond(vec![(0.8, leaf(0)), (0.2, leaf(1))]))
        .component(exponential(1.0, 10.0), &[])
        .component(exponential(1.0, 1.0), &[])
        .compose();
    close(estimate(&composition, 0.99), 2.995_732, 1e-3);
}

#[test]
fn three_attempts_with_exponential_successes_and_failures() {
    let exp: &dyn Fn(f64) -> f64 = &|t| -f64::exp_m1(-t);
    let composition = Case::new(Operator::Retry {
        attempts: 3,
        per_try_timeout: None,
        backoff: None,
        fate: AttemptsFate::Shared,
        body: Box::new(leaf(0)),
    })
    .component(measured_with_failures(0.8, 30.0, exp, Some(exp)), &[])
    .compose();
    close(composition.availability.estimate.get(), 0.992, 1e-12);
    close(estimate(&composition, 0.99), 5.549_378, 1e-3);
}

#[test]
fn twelve_uniforms_are_irwin_hall() {
    let composition = Case::new(Operator::Series(leaves(12)))
        .components(12, &measured(1.0, 1.0, |t| t.min(1.0)), &[])
        .compose();
    close(estimate(&composition, 0.99), 8.302_228, 5e-4);
}
