//! How often the one-sided 95 % bounds hold, and how wide they are: a table in Markdown.
//!
//! `cargo run --release --example coverage [trials]`. Truth is simulated without the algebra (`tests/support`).

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a study prints its table and fails by panicking"
)]
#![allow(dead_code, clippy::allow_attributes, unreachable_pub, reason = "modules shared with the tests")]

use emac::algebra::compose::Composer;
use emac::journey::governance::BucketError;
use emac::journey::operator::{AttemptsFate, Backoff, Operator};
use rand::SeedableRng;
use rand::rngs::SmallRng;

#[path = "../tests/integration/journey_builder.rs"]
mod journey_builder;
#[path = "../tests/support/random_tree.rs"]
mod random_tree;
#[path = "../tests/support/simulation.rs"]
mod simulation;

use journey_builder::{Case, cond, leaf, leaves, quantile, time};
use simulation::{Behaviour, DEFAULT_EDGES, Family, Truth, exact_availability};

struct Subject {
    name: String,
    operator: Operator,
    components: Vec<Behaviour>,
}

fn lognormal(availability: f64, median: f64, sigma: f64) -> Behaviour {
    Behaviour {
        availability,
        success: Family::Lognormal { median, sigma },
        failure: Family::Lognormal { median: 0.5 * median, sigma: 0.5 },
    }
}

fn subjects() -> Vec<Subject> {
    let new = |name: &str, operator, components| Subject { name: name.to_owned(), operator, components };
    let timeout = |after, body, fallback: Option<Operator>| Operator::Timeout {
        after: time(after),
        body: Box::new(body),
        fallback: fallback.map(Box::new),
    };
    let five: Vec<Behaviour> = (1..=5).map(|k| lognormal(0.999, 0.02 * f64::from(k), 0.7)).collect();
    let retry = Operator::Retry {
        attempts: 3,
        per_try_timeout: Some(time(0.4)),
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
        new("Retry(3, 400ms)", retry, vec![lognormal(0.99, 0.1, 0.7)]),
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

/// One cell of the study.
#[derive(Default)]
struct Cell {
    latency_covered: usize,
    availability_covered: usize,
    latency_width: Vec<f64>,
    availability_width: Vec<f64>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let trials: usize = std::env::args().nth(1).map_or(200, |text| text.parse().unwrap());
    let chosen: Option<String> = std::env::args().nth(2);
    println!(
        "| journey | n | bound: p99 | width | bound: A | loss | interpolate: p99 | width | interpolate: A |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for subject in subjects() {
        if chosen.as_ref().is_some_and(|chosen| !subject.name.contains(&**chosen)) {
            continue;
        }
        let mut rng = SmallRng::seed_from_u64(1);
        let truth = Truth::independent(&subject.operator, &subject.components, 2_000_000, &mut rng);
        let p99 = truth.quantile(0.99);
        let availability = exact_availability(&subject.operator, &subject.components, &mut rng);
        for n in [300, 1_000, 10_000, 100_000] {
            let mut cells = [Cell::default(), Cell::default()];
            let mut composer = Composer::new();
            for _ in 0..trials {
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
                    case.journey.quantiles = vec![quantile(0.99)];
                    let composition = composer.compose(&case.journey, &case.evidence, &[]);
                    let bound = composition.latency[0].value.pessimistic.get();
                    let lower = composition.availability.pessimistic.get();
                    cell.latency_covered += usize::from(bound >= p99);
                    cell.availability_covered += usize::from(lower <= availability);
                    cell.latency_width.push(bound / p99);
                    cell.availability_width.push(availability - lower);
                }
            }
            let percent = |count: usize| format!("{:.1} %", 100.0 * count as f64 / trials as f64);
            let [bound, interpolate] = cells;
            println!(
                "| {} | {n} | {} | {:.3} | {} | {:.2e} | {} | {:.3} | {} |",
                subject.name,
                percent(bound.latency_covered),
                median(bound.latency_width),
                percent(bound.availability_covered),
                median(bound.availability_width),
                percent(interpolate.latency_covered),
                median(interpolate.latency_width),
                percent(interpolate.availability_covered),
            );
        }
    }
}
