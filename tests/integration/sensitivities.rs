//! What the estimate owes to each component, against finite differences of whole compositions.

use emac::algebra::compose::Composer;
use emac::algebra::composition::Composition;
use emac::distribution::histogram::ClassicHistogram;
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::{Counts, Measurement};
use emac::journey::operator::Operator;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::journey_builder::{Case, quantile};
use crate::random_tree::{self, Shape};
use crate::simulation::{Behaviour, Family};

/// Whether a composite body has a deadline: its availability is then taken as a fixed share of the body's.
fn has_composite_deadline(operator: &Operator) -> bool {
    let composite = |body: &Operator| !matches!(body, Operator::Component(_));
    match operator {
        Operator::Component(_) => false,
        Operator::Series(all) | Operator::Parallel(all) | Operator::Race(all) => {
            all.iter().any(has_composite_deadline)
        }
        Operator::KofN { branches, .. } => branches.iter().any(has_composite_deadline),
        Operator::Cond(branches) => branches.iter().any(|branch| has_composite_deadline(&branch.body)),
        Operator::Timeout { body, fallback, .. } => {
            composite(body) || fallback.as_deref().is_some_and(has_composite_deadline)
        }
        Operator::Fallback { body, fallback } | Operator::Hedge { body, alternate: fallback, .. } => {
            has_composite_deadline(body) || has_composite_deadline(fallback)
        }
        Operator::Retry { per_try_timeout, body, .. } => {
            per_try_timeout.is_some() && composite(body) || has_composite_deadline(body)
        }
        Operator::Optional { body, .. } | Operator::Repeat { body, .. } => has_composite_deadline(body),
    }
}

/// Evidence without sampling error through so many edges per factor of two, its successes `stretch` times as slow.
fn stretched(behaviour: &Behaviour, availability: f64, stretch: f64) -> Measurement {
    let n = 1e12;
    let edges: Vec<f64> = (0..260).map(|k| 0.0005 * 1.06_f64.powi(k)).collect();
    let histogram = |calls: f64, family: &Family, stretch: f64| {
        let counts = edges.iter().map(|&edge| calls * family.cdf(edge)).chain([calls]).collect();
        ClassicHistogram::new(edges.iter().map(|edge| edge * stretch).collect(), counts).unwrap()
    };
    let good = n * availability;
    let failures = histogram(n - good, &behaviour.failure, 1.0);
    let counts = Counts::new(n, good, Some(histogram(good, &behaviour.success, stretch)), Some(failures));
    Measurement::Counts(counts.unwrap())
}

#[test]
fn sensitivities_are_the_derivatives_of_availability_and_shares_follow_from_them() {
    let mut rng = SmallRng::seed_from_u64(41);
    let mut composer = Composer::new();
    let mut checked = 0;
    while checked < 15 {
        let leaves = 2 + checked % 5;
        let operator = random_tree::tree(Shape { leaves, deadlines: checked % 3 == 0 }, &mut rng);
        if has_composite_deadline(&operator) {
            continue;
        }
        checked += 1;
        let components: Vec<Behaviour> = (0..leaves)
            .map(|_| Behaviour {
                availability: 1.0 - 10_f64.powf(rng.random_range(-3.0..-0.4)),
                ..random_tree::behaviour(&mut rng)
            })
            .collect();
        let domains: Vec<usize> = (0..leaves).map(|_| rng.random_range(0..2)).collect();
        let mut at = |availabilities: &[f64]| -> Composition {
            let mut case = Case::new(operator.clone())
                .domain("a", DomainLatency::Independent)
                .domain("b", DomainLatency::Independent);
            for ((component, &availability), &domain) in components.iter().zip(availabilities).zip(&domains) {
                case = case.component(stretched(component, availability, 1.0), &[domain]);
            }
            case.journey.quantiles = vec![];
            composer.compose(&case.journey, &case.evidence, &[])
        };
        let own: Vec<f64> = components.iter().map(|component| component.availability).collect();
        let composition = at(&own);
        let lost = 1.0 - composition.availability.estimate.get();
        let mut value = |change: &dyn Fn(&mut Vec<f64>)| {
            let mut changed = own.clone();
            change(&mut changed);
            at(&changed).availability.estimate.get()
        };
        for (leaf, share) in composition.components.iter().enumerate() {
            let step = 1e-4 * (1.0 - own[leaf]);
            let (up, down) = (value(&|a| a[leaf] += step), value(&|a| a[leaf] -= step));
            let slope = (up - down) / (2.0 * step);
            assert!(
                (share.sensitivity - slope).abs() < 1e-6 + 1e-3 * slope,
                "{operator:?}, component {leaf}: {} is not {slope}",
                share.sensitivity
            );
            let fussell_vesely =
                if lost > 1e-9 { ((1.0 - own[leaf]) * slope / lost).min(1.0) } else { share.budget_share };
            assert!(
                (share.budget_share - fussell_vesely).abs() < 2e-3,
                "{operator:?}, component {leaf}: share {} is not {fussell_vesely}",
                share.budget_share
            );
        }
        for (domain, share) in composition.domains.iter().enumerate() {
            let all = |to: f64| {
                let domains = &domains;
                move |a: &mut Vec<f64>| {
                    a.iter_mut().zip(domains).filter(|(_, of)| **of == domain).for_each(|(a, _)| *a = to);
                }
            };
            let fall = value(&all(1.0)) - value(&all(0.0));
            assert!((share.sensitivity - fall).abs() < 1e-9, "{operator:?}: {share:?} is not {fall}");
        }
    }
}

#[test]
fn latency_shares_are_the_derivatives_of_the_p99_when_a_components_times_are_stretched() {
    let mut rng = SmallRng::seed_from_u64(43);
    let mut composer = Composer::new();
    let mut greatest: f64 = 0.0;
    for number in 0..8 {
        let leaves = 2 + number % 4;
        let operator = random_tree::tree(Shape { leaves, deadlines: false }, &mut rng);
        let components: Vec<Behaviour> = (0..leaves).map(|_| random_tree::behaviour(&mut rng)).collect();
        let mut at = |stretched_leaf: usize, stretch: f64| -> Composition {
            let mut case = Case::new(operator.clone());
            for (leaf, component) in components.iter().enumerate() {
                let stretch = if leaf == stretched_leaf { stretch } else { 1.0 };
                case = case.component(stretched(component, component.availability, stretch), &[]);
            }
            case.journey.quantiles = vec![quantile(0.99)];
            composer.compose(&case.journey, &case.evidence, &[])
        };
        let composition = at(0, 1.0);
        for (leaf, share) in composition.components.iter().enumerate() {
            const STEP: f64 = 0.03;
            let mut p99 = |stretch: f64| at(leaf, stretch).latency[0].value.estimate.get();
            let slope = (p99(1.0 + STEP) / p99(1.0 - STEP)).ln() / ((1.0 + STEP) / (1.0 - STEP)).ln();
            assert!(
                (share.latency_share - slope).abs() < 0.04,
                "{number} {operator:?}, component {leaf}: {} is not {slope}",
                share.latency_share
            );
            greatest = greatest.max(slope);
        }
    }
    assert!(greatest > 0.5, "some component must matter");
}
