//! How long composition takes, on one core, from tabulated leaf laws: the estimate alone, beside plain convolutions by
//! zero-padded transforms; with its derivatives and the bounds by buckets and samples; and again where one component has
//! changed. Then whole compositions, with every assumption of dependence and all that readers see.

#![expect(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use emac::algebra::alternative::Alternative;
use emac::algebra::compose::{Composer, Tabulated};

#[path = "../tests/integration/journey_builder.rs"]
#[expect(dead_code, reason = "shared with the tests, of which this needs a part")]
mod journey_builder;

use emac::distribution::histogram::ClassicHistogram;
use emac::distribution::interpolation::between_edges;
use emac::distribution::law::{Law, cell_masses};
use emac::journey::component::ComponentId;
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::{Counts, Measurement};
use emac::journey::governance::{BucketError, Dependence};
use emac::journey::operator::Operator;
use journey_builder::{Case, cond, leaf, leaves, time};
use rustfft::num_complex::Complex64;
use rustfft::{Fft, FftPlanner};

/// As in the binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Whole calls seen through Prometheus' default buckets, each component somewhat slower than the one before.
fn service(index: usize) -> Measurement {
    let edges = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
    let scale = 0.02 * (1.0 + index as f64 % 7.0);
    let total = 1e5;
    let seen = |t: &f64| ((1.0 - (-(t / scale).powf(0.9)).exp()) * total * 0.999).round();
    let counts = edges.iter().map(seen);
    let counts: Vec<f64> = counts.chain([total * 0.999]).collect();
    let histogram = ClassicHistogram::new(edges, counts).unwrap();
    Measurement::Counts(Counts::new(total, total * 0.999, Some(histogram), None).unwrap())
}

/// The law of the successes of [`service`].
fn law(index: usize) -> Law {
    let Measurement::Counts(counts) = service(index) else { unreachable!() };
    between_edges(counts.latency().unwrap()).unwrap()
}

/// Sums of times one after the other, each by transforms of twice the grid's length, so that nothing wraps around.
struct ZeroPadded {
    step: f64,
    forward: std::sync::Arc<dyn Fft<f64>>,
    inverse: std::sync::Arc<dyn Fft<f64>>,
}

impl ZeroPadded {
    const CELLS: usize = 1024;

    fn new(horizon: f64) -> Self {
        let mut planner = FftPlanner::new();
        let (forward, inverse) =
            (planner.plan_fft_forward(2 * Self::CELLS), planner.plan_fft_inverse(2 * Self::CELLS));
        Self { step: horizon / Self::CELLS as f64, forward, inverse }
    }

    fn p99(&mut self, laws: &[Law]) -> f64 {
        let mut sum: Option<Vec<Complex64>> = None;
        let mut masses = vec![0.0; Self::CELLS];
        for law in laws {
            cell_masses(law.times(), law.values(), self.step, 1.0, &mut masses);
            let mut next: Vec<Complex64> = masses.iter().map(|&mass| Complex64::from(mass)).collect();
            next.resize(2 * Self::CELLS, Complex64::ZERO);
            if let Some(mut so_far) = sum.take() {
                self.forward.process(&mut next);
                self.forward.process(&mut so_far);
                next.iter_mut().zip(&so_far).for_each(|(a, b)| *a *= b);
                self.inverse.process(&mut next);
                let norm = 1.0 / (2 * Self::CELLS) as f64;
                next.iter_mut().for_each(|value| *value *= norm);
                next[Self::CELLS..].fill(Complex64::ZERO);
            }
            sum = Some(next);
        }
        let mut reached = 0.0;
        let at = sum.unwrap().iter().position(|mass| {
            reached += mass.re;
            reached >= 0.99
        });
        at.unwrap() as f64 * self.step
    }
}

fn with_services(operator: Operator, n: usize, domains: &dyn Fn(usize) -> Vec<usize>) -> Case {
    let mut case = Case::new(operator).policy(Dependence::SharedFate, BucketError::Bound);
    for domain in 0..=n / 3 {
        case = case.domain(&format!("d{domain}"), DomainLatency::Shared);
    }
    for index in 0..n {
        case = case.component(service(index), &domains(index));
    }
    case
}

/// Groups of five leaves: a parallel pair, a race, a cached branch, in series, under a deadline now and then.
fn mixed(n: usize) -> Operator {
    let group = |start: usize| {
        let parts = vec![
            Operator::Parallel(vec![leaf(start), leaf(start + 1)]),
            Operator::Race(vec![leaf(start + 2), leaf(start + 3)]),
            cond(vec![(0.8, leaf(start + 4)), (0.2, leaf(start))]),
        ];
        let body = Operator::Series(parts);
        if start.is_multiple_of(15) {
            Operator::Timeout {
                after: time(1.0),
                body: Box::new(body),
                fallback: Some(Box::new(leaf(start + 3))),
            }
        } else {
            body
        }
    };
    Operator::Series((0..n / 5).map(|g| group(5 * g)).collect())
}

fn compose(c: &mut Criterion) {
    let alone = |_: usize| Vec::new();
    for n in [5, 30, 1000] {
        for (shape, operator) in [("series", Operator::Series(leaves(n))), ("mixed", mixed(n))] {
            let case = with_services(operator, n, &alone);
            let mut composer = Composer::new();
            let tabulated = Tabulated::new(&case.journey, &case.evidence);
            c.bench_function(&format!("estimate {shape} {n}"), |b| {
                b.iter(|| tabulated.estimate(&mut composer, black_box(1.0)));
            });
            c.bench_function(&format!("bounds of {shape} {n}"), |b| {
                b.iter(|| tabulated.bounds(black_box(&mut composer)));
            });
            if shape == "series" {
                let laws: Vec<Law> = (0..n).map(law).collect();
                let estimate = tabulated.estimate(&mut composer, 1.0).get();
                let mut padded = ZeroPadded::new(tabulated.horizon().get());
                let same = padded.p99(&laws) / estimate;
                // It reads whole cells.
                assert!((same - 1.0).abs() < 2e-3, "the same journey is {same} times as long");
                c.bench_function(&format!("estimate series {n} by zero-padded transforms"), |b| {
                    b.iter(|| padded.p99(black_box(&laws)));
                });
            }
            let mut alternatives = composer.alternatives(&case.journey, &case.evidence);
            let mut one = alternatives.of(ComponentId(3));
            let now = one.now();
            let mut slowdowns = [0.7, 0.9, 1.0, 1.2, 1.5].into_iter().cycle();
            c.bench_function(&format!("estimate {shape} {n}, one component changed"), |b| {
                b.iter(|| {
                    let slowdown = slowdowns.next().unwrap();
                    one.estimate(black_box(&Alternative { slowdown, ..now }))
                });
            });
            if n < 1000 || shape == "series" {
                c.bench_function(&format!("all of {shape} {n}"), |b| {
                    b.iter(|| composer.compose(&case.journey, black_box(&case.evidence), &[]));
                });
            }
        }
    }
    let mut composer = Composer::new();
    let one = with_services(Operator::Series(leaves(30)), 30, &|_| vec![0]);
    c.bench_function("all of series 30 in one domain", |b| {
        b.iter(|| composer.compose(&one.journey, black_box(&one.evidence), &[]));
    });
    let some = with_services(mixed(30), 30, &|index| vec![index / 5]);
    c.bench_function("all of mixed 30 in six domains", |b| {
        b.iter(|| composer.compose(&some.journey, black_box(&some.evidence), &[]));
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = compose
}
criterion_main!(benches);
