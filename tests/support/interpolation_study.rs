//! How far the estimate's p99 is from the truth, for laws of known families seen through Prometheus' default buckets.

use emac::distribution::histogram::ClassicHistogram;
use emac::distribution::interpolation::between_edges;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::simulation::{DEFAULT_EDGES, Family};

/// Families in the study.
pub(crate) const FAMILIES: [&str; 7] =
    ["exponential", "lognormal", "gamma", "Weibull", "log-logistic", "bounded Pareto", "bimodal"];

/// A random member: medians of 10 to 300 ms, tails as services have them.
fn member(family: &str, rng: &mut SmallRng) -> Family {
    let median = 0.01 * 30_f64.powf(rng.random::<f64>());
    match family {
        "exponential" => Family::Exponential { mean: median / std::f64::consts::LN_2 },
        "lognormal" => Family::Lognormal { median, sigma: rng.random_range(0.3..1.0) },
        "gamma" => Family::Gamma { shape: rng.random_range(0.7..6.0), mean: median },
        "Weibull" => Family::Weibull { scale: median, shape: rng.random_range(0.6..2.5) },
        "log-logistic" => Family::LogLogistic { median, shape: rng.random_range(2.5..6.0) },
        "bounded Pareto" => {
            Family::BoundedPareto { from: 0.5 * median, to: 20.0 * median, shape: rng.random_range(1.2..2.5) }
        }
        "bimodal" => {
            // Slow ones are one in ten at most, and slower by a factor that leaves a valley in between.
            let slow = median * rng.random_range(3.0..10.0);
            Family::Bimodal { fast: median, slow, slow_share: rng.random_range(0.02..0.1) }
        }
        other => panic!("no family is called {other}"),
    }
}

/// The relative errors of one family's p99: of the estimate, and of linear interpolation.
pub(crate) struct Errors {
    pub(crate) estimate: Vec<f64>,
    pub(crate) linear: Vec<f64>,
}

/// `members` random laws of a family, without sampling error; those whose p99 lies beyond the last bucket are drawn again.
pub(crate) fn errors(family: &str, members: usize, seed: u64) -> Errors {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut errors = Errors { estimate: Vec::new(), linear: Vec::new() };
    while errors.estimate.len() < members {
        let law = member(family, &mut rng);
        let exact = law.quantile(0.99);
        if exact >= 0.9 * DEFAULT_EDGES[10] {
            continue;
        }
        let n = 1e12;
        let counts: Vec<f64> = DEFAULT_EDGES.iter().map(|&edge| n * law.cdf(edge)).chain([n]).collect();
        errors.linear.push(linear(&counts, 0.99) / exact - 1.0);
        let histogram = ClassicHistogram::new(DEFAULT_EDGES.to_vec(), counts).unwrap();
        errors.estimate.push(between_edges(&histogram).unwrap().quantile(0.99) / exact - 1.0);
    }
    for errors in [&mut errors.estimate, &mut errors.linear] {
        errors.sort_unstable_by(|a, b| a.abs().total_cmp(&b.abs()));
    }
    errors
}

/// Prometheus' `histogram_quantile`.
fn linear(counts: &[f64], q: f64) -> f64 {
    let rank = q * counts[counts.len() - 1];
    let at = counts.iter().position(|&count| count >= rank).unwrap();
    if at == DEFAULT_EDGES.len() {
        return DEFAULT_EDGES[at - 1];
    }
    let (lower, below) = if at == 0 { (0.0, 0.0) } else { (DEFAULT_EDGES[at - 1], counts[at - 1]) };
    lower + (DEFAULT_EDGES[at] - lower) * (rank - below) / (counts[at] - below)
}

/// The median of sorted errors, without its sign.
pub(crate) fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2].abs()
}
