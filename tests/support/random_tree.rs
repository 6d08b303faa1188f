//! Random journeys: every operator, two to eight leaves.

use emac::journey::component::ComponentId;
use emac::journey::operator::{AttemptsFate, Backoff, Branch, BranchProbability, Jitter, Operator};
use emac::unit::{Probability, Seconds};
use rand::RngExt;
use rand::rngs::SmallRng;

use super::simulation::{Behaviour, Family};

/// What a random tree may hold.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Leaves, each another component.
    pub(crate) leaves: usize,
    /// Deadlines: Timeout, Optional, and a Retry's timeout per try.
    pub(crate) deadlines: bool,
}

fn seconds(t: f64) -> Seconds {
    Seconds::new(t).unwrap()
}

fn probability(p: f64) -> Probability {
    Probability::new(p).unwrap()
}

/// A tree over the components `0..shape.leaves`.
pub(crate) fn tree(shape: Shape, rng: &mut SmallRng) -> Operator {
    let mut next = 0;
    grow(shape.leaves, shape.deadlines, &mut next, rng)
}

fn grow(leaves: usize, deadlines: bool, next: &mut usize, rng: &mut SmallRng) -> Operator {
    if leaves == 1 {
        let leaf = Operator::Component(ComponentId(*next));
        *next += 1;
        // Some leaves are retried, repeated, timed or optional.
        return match rng.random_range(0..14) {
            0 => retry(leaf, deadlines, rng),
            1 => Operator::Repeat {
                counts: vec![(1, probability(0.7)), (2, probability(0.3))],
                body: Box::new(leaf),
            },
            2 if deadlines => {
                Operator::Timeout { after: deadline(rng), body: Box::new(leaf), fallback: None }
            }
            3 if deadlines => Operator::Optional { timeout: deadline(rng), body: Box::new(leaf) },
            _ => leaf,
        };
    }
    let two = |next: &mut usize, rng: &mut SmallRng| {
        let first = rng.random_range(1..leaves);
        let a = Box::new(grow(first, deadlines, next, rng));
        (a, Box::new(grow(leaves - first, deadlines, next, rng)))
    };
    let many = |next: &mut usize, rng: &mut SmallRng| {
        let mut left = leaves;
        let mut all = Vec::new();
        while left > 0 {
            // At least two operands.
            let most = if all.is_empty() { leaves - 1 } else { left };
            let taken = rng.random_range(1..=most);
            all.push(grow(taken, deadlines, next, rng));
            left -= taken;
        }
        all
    };
    match rng.random_range(0..10) {
        0..3 => Operator::Series(many(next, rng)),
        3 => Operator::Parallel(many(next, rng)),
        4 => Operator::Race(many(next, rng)),
        5 => {
            let branches = many(next, rng);
            Operator::KofN { k: rng.random_range(1..=branches.len()), branches }
        }
        6 => {
            let bodies = many(next, rng);
            let share = 1.0 / bodies.len() as f64;
            let last = bodies.len() - 1;
            let branch = |(place, body)| Branch {
                probability: if place == last {
                    BranchProbability::Fixed(probability(1.0 - share * last as f64))
                } else {
                    BranchProbability::Fixed(probability(share))
                },
                body,
            };
            Operator::Cond(bodies.into_iter().enumerate().map(branch).collect())
        }
        7 if deadlines => {
            let (body, fallback) = two(next, rng);
            Operator::Timeout { after: deadline(rng), body, fallback: Some(fallback) }
        }
        8 => {
            let (body, alternate) = two(next, rng);
            Operator::Hedge { delay: seconds(rng.random_range(0.01..0.5)), body, alternate }
        }
        _ => {
            let (body, fallback) = two(next, rng);
            Operator::Fallback { body, fallback }
        }
    }
}

fn deadline(rng: &mut SmallRng) -> Seconds {
    seconds(0.1 * 10_f64.powf(rng.random_range(0.0..1.3)))
}

fn retry(body: Operator, deadlines: bool, rng: &mut SmallRng) -> Operator {
    Operator::Retry {
        attempts: rng.random_range(2..=3),
        per_try_timeout: (deadlines && rng.random_bool(0.5)).then(|| deadline(rng)),
        backoff: rng.random_bool(0.5).then(|| Backoff {
            base: seconds(0.05),
            factor: 2.0,
            max: seconds(1.0),
            jitter: if rng.random_bool(0.5) { Jitter::Full } else { Jitter::None },
        }),
        fate: AttemptsFate::Independent,
        body: Box::new(body),
    }
}

/// A component with a law of any family, medians between 20 and 300 ms.
pub(crate) fn behaviour(rng: &mut SmallRng) -> Behaviour {
    let median = 0.02 * 15_f64.powf(rng.random::<f64>());
    let success = match rng.random_range(0..7) {
        0 => Family::Exponential { mean: median },
        1 => Family::Lognormal { median, sigma: rng.random_range(0.3..1.0) },
        2 => Family::Gamma { shape: rng.random_range(0.7..6.0), mean: median },
        3 => Family::Weibull { scale: median, shape: rng.random_range(0.7..2.5) },
        4 => Family::Bimodal { fast: median, slow: 5.0 * median, slow_share: rng.random_range(0.01..0.1) },
        5 => Family::Uniform { from: 0.3 * median, to: 1.7 * median },
        _ => {
            Family::BoundedPareto { from: 0.5 * median, to: 20.0 * median, shape: rng.random_range(1.2..2.5) }
        }
    };
    Behaviour {
        availability: 1.0 - 10_f64.powf(rng.random_range(-4.0..-1.5)),
        success,
        failure: Family::Lognormal { median: 0.5 * median, sigma: 0.5 },
    }
}
