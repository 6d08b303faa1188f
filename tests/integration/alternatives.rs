//! The estimate, were one component different, against the composition of evidence in which it is.

use emac::algebra::alternative::{Alternative, AlternativeEstimate};
use emac::algebra::compose::Composer;
use emac::distribution::histogram::ClassicHistogram;
use emac::journey::component::ComponentId;
use emac::journey::evidence::{Counts, Measurement};
use emac::journey::operator::Operator;
use emac::unit::Probability;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::journey_builder::{Case, leaf, leaves, quantile, time};
use crate::random_tree::{self, Shape};

/// Calls seen through Prometheus' default buckets, of which some fail.
fn measured(rng: &mut SmallRng) -> Measurement {
    const CALLS: f64 = 1e5;
    let edges = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let mut histogram = |calls: f64| {
        let (scale, shape) = (rng.random_range(0.02..0.2), rng.random_range(0.7..1.8));
        let counts =
            edges.iter().map(|t: &f64| calls * (1.0 - (-(t / scale).powf(shape)).exp())).chain([calls]);
        ClassicHistogram::new(edges.to_vec(), counts.collect()).unwrap()
    };
    let (good, bad) = (histogram(0.97 * CALLS), histogram(0.03 * CALLS));
    let good_share = 1.0 - 10_f64.powf(rng.random_range(-4.0..-0.5));
    Measurement::Counts(Counts::new(CALLS, good_share * CALLS, Some(good), Some(bad)).unwrap())
}

/// The same evidence of a component that is the alternative.
fn as_supposed(measurement: &Measurement, alternative: &Alternative) -> Measurement {
    let Measurement::Counts(counts) = measurement else { unreachable!() };
    let slowed = |histogram: &ClassicHistogram| {
        let edges = histogram.edges().iter().map(|edge| edge * alternative.slowdown).collect();
        ClassicHistogram::new(edges, histogram.counts().to_vec()).unwrap()
    };
    let good = alternative.availability.get() * counts.total();
    let histograms = (counts.latency().map(slowed), counts.failure_latency().map(slowed));
    Measurement::Counts(Counts::new(counts.total(), good, histograms.0, histograms.1).unwrap())
}

/// What a whole composition says where the component's evidence is that of the alternative.
fn composed(
    composer: &mut Composer,
    case: &Case,
    component: usize,
    alternative: &Alternative,
) -> AlternativeEstimate {
    let mut evidence = case.evidence.clone();
    let own = &mut evidence.components[component].measurement;
    *own = as_supposed(own, alternative);
    let composition = composer.compose(&case.journey, &evidence, &[]);
    let p99 = composition.latency.iter().find(|latency| latency.quantile == quantile(0.99)).unwrap();
    AlternativeEstimate { availability: composition.availability.estimate, latency: Some(p99.value.estimate) }
}

fn case_of(operator: Operator, components: usize, rng: &mut SmallRng) -> Case {
    let mut case = Case::new(operator);
    for _ in 0..components {
        case = case.component(measured(rng), &[]);
    }
    case.journey.quantiles = vec![quantile(0.99)];
    case
}

fn assert_same(composer: &mut Composer, case: &Case, supposed: &[(usize, Alternative)]) {
    for (component, alternative) in supposed {
        let expected = composed(composer, case, *component, alternative);
        let found = composer
            .alternatives(&case.journey, &case.evidence)
            .of(ComponentId(*component))
            .estimate(alternative);
        let what = format!("{:?}, component {component}, {alternative:?}", case.journey.operator);
        let (found_a, expected_a) = (found.availability.get(), expected.availability.get());
        assert!((found_a - expected_a).abs() < 1e-9, "{what}: A = {found_a}, composed {expected_a}");
        let (found, expected) = (found.latency.unwrap().get(), expected.latency.unwrap().get());
        // Within what the cells of either grid may round.
        let same =
            if expected.is_finite() { (found / expected - 1.0).abs() < 2e-3 } else { found == expected };
        assert!(same, "{what}: p99 = {found}, composed {expected}");
    }
}

#[test]
fn one_different_component_gives_the_estimate_of_evidence_in_which_it_is_different() {
    let mut rng = SmallRng::seed_from_u64(47);
    let mut composer = Composer::new();
    for number in 0..60 {
        let components = 1 + number % 7;
        let shape = Shape { leaves: components, deadlines: number % 2 == 0 };
        let operator = random_tree::tree(shape, &mut rng);
        let case = case_of(operator, components, &mut rng);
        let supposed: Vec<(usize, Alternative)> = (0..4)
            .map(|_| {
                let availability = Probability::new(1.0 - 10_f64.powf(rng.random_range(-6.0..-0.2))).unwrap();
                let slowdown = 10_f64.powf(rng.random_range(-2.0..1.5));
                (rng.random_range(0..components), Alternative { availability, slowdown })
            })
            .collect();
        assert_same(&mut composer, &case, &supposed);
    }
}

#[test]
fn a_component_that_is_called_in_many_places_differs_in_all_of_them() {
    let mut rng = SmallRng::seed_from_u64(53);
    let deadline = |body: Operator, fallback| Operator::Timeout {
        after: time(0.4),
        body: Box::new(body),
        fallback: Some(Box::new(fallback)),
    };
    let inner = deadline(Operator::Series(leaves(3)), leaf(1));
    let retried = Operator::Retry {
        attempts: 3,
        per_try_timeout: Some(time(0.7)),
        backoff: None,
        fate: emac::journey::operator::AttemptsFate::Independent,
        body: Box::new(Operator::Series(vec![leaf(0), inner, leaf(3), leaf(0)])),
    };
    let both = Operator::Parallel(vec![leaf(0), leaf(2), deadline(leaf(0), leaf(3))]);
    let case = case_of(Operator::Series(vec![leaf(2), retried, both, leaf(0)]), 4, &mut rng);
    let mut composer = Composer::new();
    for component in 0..4 {
        let alternatives = [0.05, 0.8, 1.0, 3.0, 40.0].map(|slowdown| {
            (component, Alternative { availability: Probability::new(0.98).unwrap(), slowdown })
        });
        assert_same(&mut composer, &case, &alternatives);
    }
}

#[test]
fn what_is_kept_serves_one_alternative_after_the_other() {
    let mut rng = SmallRng::seed_from_u64(59);
    let case = case_of(Operator::Series(leaves(30)), 30, &mut rng);
    let mut composer = Composer::new();
    let now = composer.compose(&case.journey, &case.evidence, &[]);
    let mut alternatives = composer.alternatives(&case.journey, &case.evidence);
    let mut one = alternatives.of(ComponentId(7));
    let own = one.now();
    let first = one.estimate(&own);
    assert!((first.availability.get() - now.availability.estimate.get()).abs() < 1e-12);
    let p99 = now.latency[0].value.estimate.get();
    assert!((first.latency.unwrap().get() / p99 - 1.0).abs() < 1e-9);
    // Far off, and back again.
    let far = one.estimate(&Alternative { slowdown: 1e4, ..own });
    assert!(far.latency.unwrap().get() > 100.0 * p99);
    assert_eq!(one.estimate(&own), first);
}
