//! Shared fate against common causes: each domain is down at times, with all that is in it, and each component besides on
//! its own. Conditioned on which domains are up, the components are independent, so that the truth is exact also where
//! domains overlap, and where their members differ in availability.

use emac::algebra::compose::Composer;
use emac::journey::domain::DomainLatency;
use emac::journey::governance::Dependence;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::gaussian_copula::with_shared_attempts;
use crate::journey_builder::Case;
use crate::random_tree::{self, Shape};
use crate::simulation::{Behaviour, exact_availability};

/// At most; twelve of them are 4,096 states.
const DOMAINS: usize = 12;

#[test]
fn no_common_cause_breaks_the_availability_bounds_of_shared_fate() {
    let mut rng = SmallRng::seed_from_u64(19);
    let mut composer = Composer::new();
    let mut met = 0;
    for number in 0..300 {
        let leaves = 2 + number % 7;
        let operator = with_shared_attempts(random_tree::tree(Shape { leaves, deadlines: false }, &mut rng));
        let count = if number == 0 { DOMAINS } else { 1 + number % 5 };
        let down: Vec<f64> = (0..count).map(|_| 10_f64.powf(rng.random_range(-4.0..-0.5))).collect();
        let domains: Vec<Vec<usize>> =
            (0..leaves).map(|_| (0..count).filter(|_| rng.random_bool(0.4)).collect()).collect();
        let mut components: Vec<Behaviour> = (0..leaves).map(|_| random_tree::behaviour(&mut rng)).collect();
        // Every third journey: nothing fails on its own.
        let alone: Vec<f64> = (0..leaves)
            .map(|_| if number % 3 == 0 { 1.0 } else { 1.0 - 10_f64.powf(rng.random_range(-4.0..-0.5)) })
            .collect();
        let mut case = Case::new(operator.clone());
        for domain in 0..count {
            case = case.domain(&format!("d{domain}"), DomainLatency::Independent);
        }
        for (of, alone) in domains.iter().zip(&alone) {
            case = case.figure(of.iter().map(|&domain| 1.0 - down[domain]).product::<f64>() * alone, of);
        }
        let composition = composer.compose(&case.journey, &case.evidence, &[]);
        let bounds = composition.availability_by_dependence[&Dependence::SharedFate];
        let mut truth = 0.0;
        for state in 0..1_usize << count {
            let is_down = |domain: usize| state >> domain & 1 == 1;
            let mass: f64 = (0..count)
                .map(|domain| if is_down(domain) { down[domain] } else { 1.0 - down[domain] })
                .product();
            for ((component, of), alone) in components.iter_mut().zip(&domains).zip(&alone) {
                component.availability = if of.iter().any(|&domain| is_down(domain)) { 0.0 } else { *alone };
            }
            truth += mass * exact_availability(&operator, &components, 0, &mut rng);
        }
        assert!(
            bounds.lower.get() - 1e-9 <= truth && truth <= bounds.upper.get() + 1e-9,
            "{number}: {truth} is not in {bounds:?}\n{operator:?}\n{domains:?} {down:?} {alone:?}"
        );
        met += usize::from((truth - bounds.lower.get()).abs() < 1e-9);
    }
    assert!(met > 20, "lower bounds were met {met} times");
}
