//! How often the one-sided 95 % bounds hold: journeys whose truth is known, measured again and again.

use emac::algebra::compose::Composer;
use emac::journey::governance::BucketError;
use emac::journey::operator::{AttemptsFate, Backoff, Operator};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::journey_builder::{Case, cond, leaf, leaves, quantile, time};
use crate::random_tree;
use crate::simulation::{Behaviour, DEFAULT_EDGES, Family, Truth, exact_availability};

/// A journey with a name and a truth.
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) operator: Operator,
    pub(crate) components: Vec<Behaviour>,
}

fn lognormal(availability: f64, median: f64, sigma: f64) -> Behaviour {
    Behaviour {
        availability,
        success: Family::Lognormal { median, sigma },
        failure: Family::Lognormal { median: 0.5 * median, sigma: 0.5 },
    }
}

/// Eight of known shapes, twenty at random.
pub(crate) fn subjects() -> Vec<Subject> {
    let new = |name: &str, operator, components| Subject { name: name.to_owned(), operator, components };
    let timeout = |after, body, fallback: Option<Operator>| Operator::Timeout {
        after: time(after),
        body: Box::new(body),
        fallback: fallback.map(Box::new),
    };
    let five: Vec<Behaviour> = (1..=5).map(|k| lognormal(0.999, 0.02 * f64::from(k), 0.7)).collect();
    let retry = |per_try: f64| Operator::Retry {
        attempts: 3,
        per_try_timeout: Some(time(per_try)),
        backoff: Some(Backoff::constant(time(0.05))),
        fate: AttemptsFate::Independent,
        body: Box::new(leaf(0)),
    };
    let mixed = Operator::Series(vec![
        leaf(0),
        Operator::Parallel(vec![leaf(1), timeout(0.4, leaf(2), Some(leaf(3)))]),
        cond(vec![(0.7, leaf(4)), (0.3, Operator::Race(vec![leaf(5), leaf(6)]))]),
    ]);
    let seven: Vec<Behaviour> =
        (1..=7).map(|k| lognormal(0.9995 - 0.001 * f64::from(k % 3), 0.03 * f64::from(k), 0.6)).collect();
    let mut all = vec![
        new("Series of 5", Operator::Series(leaves(5)), five.clone()),
        new("Series of 30", Operator::Series(leaves(30)), vec![lognormal(0.9995, 0.03, 0.8); 30]),
        new("Race(2), A = .999", Operator::Race(leaves(2)), vec![lognormal(0.999, 0.05, 0.7); 2]),
        new(
            "2-of-3, A = .99",
            Operator::KofN { k: 2, branches: leaves(3) },
            vec![lognormal(0.99, 0.05, 0.7); 3],
        ),
        new("Timeout(350ms), A = .9999", timeout(0.35, leaf(0), None), vec![lognormal(0.9999, 0.08, 0.6)]),
        new("Retry(3, 400ms)", retry(0.4), vec![lognormal(0.99, 0.1, 0.7)]),
        new("Retry(3, 500ms), on an edge", retry(0.5), vec![lognormal(0.99, 0.1, 0.7)]),
        new("mixed, 7 leaves", mixed, seven),
    ];
    let mut rng = SmallRng::seed_from_u64(20);
    for number in 1..=20 {
        let leaves = 2 + number % 7;
        let operator = random_tree::tree(random_tree::Shape { leaves, deadlines: true }, &mut rng);
        let components = (0..leaves).map(|_| random_tree::behaviour(&mut rng)).collect();
        all.push(Subject { name: format!("random {number}, {leaves} leaves"), operator, components });
    }
    all
}

/// What a cell counts, for `bound` and for `interpolate`.
#[derive(Default)]
pub(crate) struct Cell {
    pub(crate) trials: usize,
    pub(crate) latency_covered: usize,
    pub(crate) latency_width: Vec<f64>,
    pub(crate) availability_trials: usize,
    pub(crate) availability_covered: usize,
    pub(crate) availability_width: Vec<f64>,
}

impl Cell {
    /// One line's worth: counts, and medians of the widths.
    pub(crate) fn summary(mut self) -> [f64; 6] {
        [
            self.trials as f64,
            self.latency_covered as f64,
            median(&mut self.latency_width),
            self.availability_trials as f64,
            self.availability_covered as f64,
            median(&mut self.availability_width),
        ]
    }
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What is true of a journey: its availability and its p99.
#[derive(Clone, Copy)]
pub(crate) struct Facts {
    pub(crate) availability: f64,
    pub(crate) p99: f64,
}

/// From so many journeys for the p99, and so many plays for the chance of a composite deadline.
pub(crate) fn facts(subject: &Subject, journeys: usize, plays: usize, seed: u64) -> Facts {
    let mut rng = SmallRng::seed_from_u64(seed);
    let p99 = Truth::independent(&subject.operator, &subject.components, journeys, &mut rng).quantile(0.99);
    let availability = exact_availability(&subject.operator, &subject.components, plays, &mut rng);
    Facts { availability, p99 }
}

/// So many trials of the p99 and of availability, with `n` calls a component: cells of `bound` and of `interpolate`.
pub(crate) fn run(
    subject: &Subject,
    facts: Facts,
    n: u64,
    [trials, availability_trials]: [usize; 2],
    seed: u64,
) -> [Cell; 2] {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut cells = [Cell::default(), Cell::default()];
    let mut composer = Composer::new();
    for trial in 0..trials.max(availability_trials) {
        let measured: Vec<_> = subject
            .components
            .iter()
            .map(|component| component.measured(n, &DEFAULT_EDGES, true, &mut rng))
            .collect();
        for (cell, buckets) in cells.iter_mut().zip([BucketError::Bound, BucketError::Interpolate]) {
            let mut case = Case::new(subject.operator.clone());
            for measurement in &measured {
                case = case.component(measurement.clone(), &[]);
            }
            case.journey.governance.bucket_error = buckets;
            case.journey.quantiles = if trial < trials { vec![quantile(0.99)] } else { Vec::new() };
            let composition = composer.compose(&case.journey, &case.evidence, &[]);
            if let Some(latency) = composition.latency.first() {
                let bound = latency.value.pessimistic.get();
                cell.trials += 1;
                cell.latency_covered += usize::from(bound >= facts.p99);
                cell.latency_width.push(bound / facts.p99);
            }
            let lower = composition.availability.pessimistic.get();
            cell.availability_trials += 1;
            cell.availability_covered += usize::from(lower <= facts.availability);
            cell.availability_width.push(facts.availability - lower);
        }
    }
    cells
}
