//! How often the one-sided 95 % bounds hold, and how wide they are: a table in Markdown.
//!
//! `cargo run --release --example coverage [trials [file [threads [name]]]]`: so many trials a cell (200), and at least
//! 1,000 for availability, which is cheap. Finished cells are kept in the file (`target/coverage.tsv`) and not run again;
//! a name, or a part of one, runs its journeys alone. Truth is simulated without the algebra (`tests/support`). Every cell
//! has seeds of its own, so that a table can be made again in any order.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a study prints its table and fails by panicking"
)]
#![allow(dead_code, clippy::allow_attributes, unreachable_pub, reason = "modules shared with the tests")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use emac::algebra::compose::Composer;
use emac::journey::governance::BucketError;
use emac::journey::operator::{AttemptsFate, Backoff, Operator};
use rand::SeedableRng;
use rand::rngs::SmallRng;

/// A composite deadline's chance is known this well: ± 1e-4 at two standard errors.
const PLAYS: usize = 20_000_000;
/// For the quantiles of the truth.
const JOURNEYS: usize = 4_000_000;
const SIZES: [u64; 4] = [300, 1_000, 10_000, 100_000];
/// Trials of availability in a cell, at least.
const AVAILABILITY_TRIALS: usize = 1_000;

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

/// What a cell counts, for `bound` and for `interpolate`.
#[derive(Default)]
struct Cell {
    trials: usize,
    latency_covered: usize,
    latency_width: Vec<f64>,
    availability_trials: usize,
    availability_covered: usize,
    availability_width: Vec<f64>,
}

impl Cell {
    /// One line's worth: counts, and medians of the widths.
    fn summary(mut self) -> [f64; 6] {
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
struct Facts {
    availability: f64,
    p99: f64,
}

fn facts(subject: &Subject, seed: u64) -> Facts {
    let mut rng = SmallRng::seed_from_u64(seed);
    let p99 = Truth::independent(&subject.operator, &subject.components, JOURNEYS, &mut rng).quantile(0.99);
    let availability = exact_availability(&subject.operator, &subject.components, PLAYS, &mut rng);
    Facts { availability, p99 }
}

fn run(subject: &Subject, facts: Facts, n: u64, trials: usize, seed: u64) -> [Cell; 2] {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut cells = [Cell::default(), Cell::default()];
    let mut composer = Composer::new();
    for trial in 0..trials.max(AVAILABILITY_TRIALS) {
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

type Table = BTreeMap<(String, u64), Vec<f64>>;

fn finished(file: &str) -> Table {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| {
            let mut fields = line.split('\t');
            let name = fields.next().unwrap().to_owned();
            let n = fields.next().unwrap().parse().unwrap();
            ((name, n), fields.map(|field| field.parse().unwrap()).collect())
        })
        .collect()
}

fn print(subjects: &[Subject], table: &Table) {
    println!(
        "| journey | n | bound: p99 | width | bound: A | loss | interpolate: p99 | width | interpolate: A | loss |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let mut below = 0;
    for subject in subjects {
        for n in SIZES {
            let Some(cell) = table.get(&(subject.name.clone(), n)) else { continue };
            let mut share = |trials: f64, covered: f64, held: bool| {
                // Two standard errors of the binomial law below 95 %.
                let low = covered / trials < 0.95 - 2.0 * (0.95 * 0.05 / trials).sqrt();
                below += usize::from(low && held);
                format!("{:.1} %{}", 100.0 * covered / trials, if low { " (!)" } else { "" })
            };
            let mut columns = Vec::new();
            for (cell, held) in cell.chunks(6).zip([true, false]) {
                columns.push(share(cell[0], cell[1], held));
                columns.push(format!("{:.3}", cell[2]));
                columns.push(share(cell[3], cell[4], held));
                columns.push(format!("{:.1e}", cell[5]));
            }
            println!("| {} | {n} | {} |", subject.name, columns.join(" | "));
        }
    }
    println!(
        "\n{} cells; under `bound` {below} of their coverages lie below 95 % by more than two standard errors.",
        table.len()
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let trials: usize = arguments.next().map_or(200, |text| text.parse().unwrap());
    let file = arguments.next().unwrap_or_else(|| "target/coverage.tsv".to_owned());
    let threads: usize = arguments.next().map_or(1, |text| text.parse().unwrap());
    let name = arguments.next().unwrap_or_default();
    let subjects = subjects();
    let done = finished(&file);
    let missing = |subject: &Subject| -> Vec<u64> {
        let open = |n: &u64| done.get(&(subject.name.clone(), *n)).is_none_or(|cell| cell[0] < trials as f64);
        SIZES.into_iter().filter(open).collect()
    };
    let chosen: Vec<usize> = (0..subjects.len()).filter(|&at| subjects[at].name.contains(&name)).collect();
    let (next, log) = (AtomicUsize::new(0), Mutex::new(()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(&at) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let subject = &subjects[at];
                    let sizes = missing(subject);
                    if sizes.is_empty() {
                        continue;
                    }
                    let facts = facts(subject, 1_000 + at as u64);
                    for n in sizes {
                        let started = std::time::Instant::now();
                        let cells = run(subject, facts, n, trials, 17 * (at as u64 + 1) + n);
                        let fields: Vec<String> = cells
                            .into_iter()
                            .flat_map(Cell::summary)
                            .map(|field| field.to_string())
                            .collect();
                        let _one_at_a_time = log.lock().unwrap();
                        let mut open =
                            std::fs::OpenOptions::new().create(true).append(true).open(&file).unwrap();
                        writeln!(open, "{}\t{n}\t{}", subject.name, fields.join("\t")).unwrap();
                        eprintln!("{}, n = {n}: {:.1} s", subject.name, started.elapsed().as_secs_f64());
                    }
                }
            });
        }
    });
    print(&subjects, &finished(&file));
}
