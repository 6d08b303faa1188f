//! Random journeys of every operator against the independent simulation of `tests/support`.

use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::journey_builder::{Case, estimate};
use crate::random_tree::{self, Shape};
use crate::simulation::{self, Truth};

/// Edges two percent apart, so that only the composition matters.
fn edges() -> Vec<f64> {
    (0..700).map(|k| 0.0005 * 1.02_f64.powi(k)).collect()
}

#[test]
fn the_estimate_of_random_trees_is_what_independent_calls_do() {
    let mut rng = SmallRng::seed_from_u64(4);
    let edges = edges();
    for number in 0..21 {
        let leaves = 2 + number % 7;
        let operator = random_tree::tree(Shape { leaves, deadlines: true }, &mut rng);
        let components: Vec<_> = (0..leaves).map(|_| random_tree::behaviour(&mut rng)).collect();
        let mut case = Case::new(operator.clone());
        for component in &components {
            case = case.component(component.expected(&edges), &[]);
        }
        let composition = case.compose();
        let availability = simulation::exact_availability(&operator, &components, 400_000, &mut rng);
        let truth = Truth::independent(&operator, &components, 60_000, &mut rng);
        let error = composition.availability.estimate.get() - availability;
        // The plays of a composite deadline are within .003.
        assert!(error.abs() < 3e-3, "{number} {operator:?}: availability off by {error}");
        // The quantile of 60,000 plays at .9 is that of a level within .004.
        let (low, high) = (truth.quantile(0.896), truth.quantile(0.904));
        let p90 = estimate(&composition, 0.9);
        assert!(
            (0.99 * low..=1.01 * high).contains(&p90),
            "{number} {operator:?}: p90 {p90}, not {low} to {high}"
        );
    }
}
