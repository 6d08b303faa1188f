use super::*;
use crate::algebra::sampling::CELLS;
use crate::distribution::transform::Transforms;
use crate::journey::Journey;
use crate::journey::component::{Component, ComponentId};
use crate::journey::evidence::Evidence;
use crate::journey::fixture;
use crate::journey::operator::Backoff;
use crate::journey::operator::{AttemptsFate, Branch, BranchProbability, Operator};
use crate::unit::{Probability, Seconds};

fn leaf(index: usize) -> Operator {
    Operator::Component(ComponentId(index))
}

fn seconds(t: f64) -> Seconds {
    Seconds::new(t).unwrap()
}

/// Four leaves with successes in three buckets and late ones, and failures in two.
fn samples() -> Vec<Vec<Category>> {
    (0..4)
        .map(|leaf| {
            let slow = 0.01 * f64::from(leaf + 1);
            let good = |lower, upper, share| Category {
                outcome: Outcome::Success,
                lower,
                upper,
                share,
                inner: Vec::new(),
            };
            let bad = |lower, upper, share| Category {
                outcome: Outcome::Failure,
                lower,
                upper,
                share,
                inner: Vec::new(),
            };
            vec![
                good(0.0, 0.5, 0.5),
                good(0.5, 1.0, 0.38 - slow),
                good(1.0, 2.0, 0.05 + slow),
                good(2.0, f64::INFINITY, 0.005),
                bad(0.0, 1.0, 0.05),
                bad(1.0, f64::INFINITY, 0.015),
            ]
        })
        .collect()
}

fn operators() -> Vec<Operator> {
    let all = || (0..4).map(leaf).collect::<Vec<_>>();
    let timeout = |after, body, fallback: Option<Operator>| Operator::Timeout {
        after: seconds(after),
        body: Box::new(body),
        fallback: fallback.map(Box::new),
    };
    let fallback = |a, b| Operator::Fallback { body: Box::new(a), fallback: Box::new(b) };
    let branch =
        |p, body| Branch { probability: BranchProbability::Fixed(Probability::new(p).unwrap()), body };
    vec![
        Operator::Series(all()),
        Operator::Parallel(all()),
        Operator::Race(all()),
        Operator::KofN { k: 2, branches: all() },
        Operator::Cond(vec![branch(0.3, leaf(0)), branch(0.7, Operator::Series(vec![leaf(1), leaf(2)]))]),
        timeout(0.7, leaf(0), None),
        timeout(0.7, leaf(0), Some(leaf(1))),
        timeout(2.3, Operator::Series(vec![leaf(0), leaf(1)]), Some(leaf(2))),
        Operator::Race(vec![timeout(0.7, leaf(0), None), timeout(1.5, leaf(1), Some(leaf(2)))]),
        Operator::KofN { k: 2, branches: vec![timeout(0.7, leaf(0), None), leaf(1), leaf(2)] },
        fallback(leaf(0), Operator::Parallel(vec![leaf(1), leaf(2)])),
        fallback(timeout(0.7, leaf(0), None), leaf(1)),
        fallback(Operator::Series(vec![leaf(0), leaf(1)]), Operator::Race(vec![leaf(2), leaf(3)])),
        Operator::Retry {
            attempts: 3,
            per_try_timeout: Some(seconds(0.7)),
            backoff: Some(Backoff::constant(seconds(0.1))),
            fate: AttemptsFate::Shared,
            body: Box::new(leaf(0)),
        },
        Operator::Hedge { delay: seconds(0.33), body: Box::new(leaf(0)), alternate: Box::new(leaf(1)) },
        Operator::Optional { timeout: seconds(1.7), body: Box::new(leaf(0)) },
        fallback(
            Operator::Repeat {
                counts: vec![(0, Probability::new(0.2).unwrap()), (3, Probability::new(0.8).unwrap())],
                body: Box::new(leaf(0)),
            },
            leaf(1),
        ),
    ]
}

/// A journey of four components without domains.
pub(crate) fn journey(operator: Operator) -> Journey {
    fixture::journey(operator, (0..4).map(|index| Component::new(format!("c{index}"))).collect())
}

fn evidence() -> Evidence {
    Evidence { window: "5m".parse().unwrap(), time: None, components: Vec::new(), parameters: Vec::new() }
}

#[test]
fn derivatives_are_those_of_finite_differences_for_every_operator() {
    let mut transforms = Transforms::new();
    let transform = transforms.of(CELLS);
    for operator in operators() {
        for placement in [Placement::UpperEdge, Placement::Spread] {
            let tree = Tree::new(&journey(operator.clone()), &evidence());
            let samples = samples();
            let grid = Grid::new(12.0, CELLS);
            let cell = 64;
            let derivatives =
                Influence::new(&tree, tree.root(), &samples, placement, grid, transform).of_margin(0.9, cell);
            let mut margin = |samples: &[Vec<Category>]| {
                Influence::new(&tree, tree.root(), samples, placement, grid, transform).margins(0.9).0[cell]
            };
            for component in 0..4 {
                for category in 0..samples[component].len() {
                    let delta = 1e-5;
                    let mut moved = samples.clone();
                    moved[component][category].share += delta;
                    let up = margin(&moved);
                    moved[component][category].share -= 2.0 * delta;
                    let slope = (up - margin(&moved)) / (2.0 * delta);
                    let derivative = derivatives[component][category];
                    assert!(
                        (slope - derivative).abs() < 1e-4 * (1.0 + slope.abs()),
                        "{operator:?} {placement:?}, component {component}, category {category}: {derivative}, not {slope}"
                    );
                }
            }
        }
    }
}
