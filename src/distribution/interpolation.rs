//! From buckets to laws: the estimate between the edges, and the two laws that put each bucket's mass at one of its
//! edges.
//!
//! The estimate is monotone piecewise cubic (PCHIP, Fritsch & Carlson) in Weibull coordinates, `ln(−ln(1−F))` against
//! `ln t`: exact for Weibull and exponential laws, and within a fraction of a percent for lognormal and gamma laws at
//! the usual bucket widths, where linear interpolation is off by a fifth. The first and the last bucket with mass are
//! extrapolated from their inner edge and scaled to keep the bucket's mass.

use super::histogram::ClassicHistogram;
use super::law::Law;

/// Knots per bucket of the tabulated estimate: the error of the table is below a tenth of that of the interpolation.
/// Histograms with many buckets need fewer in each.
const KNOTS: std::ops::RangeInclusive<usize> = 4..=16;
/// Knots per unit of `−ln(1−F)`: between two that lie Δ apart, a straight line is off by at most Δ²/8 of `1−F`. A bucket
/// that holds little of what is left at its lower edge needs no more than the least number.
const KNOTS_PER_UNIT: f64 = 16.0;
/// Nor does one with less than this mass.
const LITTLE_MASS: f64 = 1e-7;
/// Knots of a whole table, as far as the least number per bucket allows.
const TABLE: usize = 192;
const COARSE_TABLE: usize = 32;

/// One bucket with mass: `(lower, upper]` holds `F(upper) − F(lower)`.
struct Bucket {
    lower: f64,
    upper: f64,
    below: f64,
    through: f64,
}

fn buckets(histogram: &ClassicHistogram) -> impl Iterator<Item = Bucket> + '_ {
    let total = histogram.total();
    let mut lower = 0.0;
    let mut below = 0.0;
    histogram.edges().iter().zip(histogram.counts()).map(move |(&upper, &count)| {
        let bucket = Bucket { lower, upper, below, through: count / total };
        (lower, below) = (bucket.upper, bucket.through);
        bucket
    })
}

/// All mass at the upper edges; that of the `+Inf` bucket at infinity. `None` where the histogram is empty.
#[must_use]
pub fn at_upper_edges(histogram: &ClassicHistogram) -> Option<Law> {
    let mut knots = Knots::default();
    for bucket in buckets(histogram).filter(|bucket| bucket.through > bucket.below) {
        knots.push(bucket.upper, bucket.below);
        knots.push(bucket.upper, bucket.through);
    }
    knots.law(histogram)
}

/// All mass at the lower edges (0 for the first bucket, the last finite edge for `+Inf`). `None` where the histogram is
/// empty.
#[must_use]
pub fn at_lower_edges(histogram: &ClassicHistogram) -> Option<Law> {
    let mut knots = Knots::default();
    for bucket in buckets(histogram).filter(|bucket| bucket.through > bucket.below) {
        knots.push(bucket.lower, bucket.below);
        knots.push(bucket.lower, bucket.through);
    }
    knots.push(histogram.last_edge(), knots.last());
    knots.push(histogram.last_edge(), 1.0);
    knots.law(histogram)
}

/// The estimate. Mass of the `+Inf` bucket stays at infinity. `None` where the histogram is empty.
#[must_use]
pub fn between_edges(histogram: &ClassicHistogram) -> Option<Law> {
    tabulated(histogram, TABLE)
}

/// The estimate on as few knots as serve a grid that is within 1 %.
#[must_use]
pub fn coarsely_between_edges(histogram: &ClassicHistogram) -> Option<Law> {
    tabulated(histogram, COARSE_TABLE)
}

fn tabulated(histogram: &ClassicHistogram, table: usize) -> Option<Law> {
    let mut knots = Knots::default();
    let inner: Vec<(f64, f64)> = histogram
        .edges()
        .iter()
        .zip(histogram.counts())
        .map(|(&edge, &count)| (edge, count / histogram.total()))
        .filter(|&(_, f)| f > 0.0 && f < 1.0)
        .collect();
    let cubic = Cubic::through(&inner);
    let occupied = buckets(histogram).filter(|bucket| bucket.through > bucket.below).count();
    let most = (table / occupied.max(1)).clamp(*KNOTS.start(), *KNOTS.end());
    for bucket in buckets(histogram) {
        if bucket.through <= bucket.below {
            continue;
        }
        knots.push(bucket.lower, bucket.below);
        if let Some(cubic) = &cubic {
            tabulate(cubic, &bucket, parts(&bucket, most), &mut knots);
        }
        knots.push(bucket.upper, bucket.through);
    }
    knots.law(histogram)
}

/// Into how many parts a bucket is divided, `most` at most.
fn parts(bucket: &Bucket, most: usize) -> usize {
    if bucket.through - bucket.below < LITTLE_MASS {
        return *KNOTS.start();
    }
    let units = ((1.0 - bucket.below) / (1.0 - bucket.through)).ln();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates, and is clamped")]
    let wanted = (KNOTS_PER_UNIT * units).ceil() as usize;
    wanted.clamp(*KNOTS.start(), most)
}

/// Pushes the inner knots of a bucket; none where the cubic says nothing about it, which leaves it linear.
fn tabulate(cubic: &Cubic, bucket: &Bucket, per_bucket: usize, knots: &mut Knots) {
    let piece = cubic.piece(bucket.lower.max(0.5 * bucket.upper).ln());
    let low = if bucket.lower > 0.0 { piece.at(bucket.lower.ln()) } else { 0.0 };
    let range = piece.at(bucket.upper.ln()) - low;
    // Inner buckets are met exactly, so that this only rescales the first and the last one.
    let scale = (bucket.through - bucket.below) / range;
    if !(scale.is_finite() && range > 1e-12) {
        return;
    }
    // Even steps of the logarithm; from 0, even steps of the root.
    #[expect(clippy::cast_precision_loss, reason = "small")]
    let parts = per_bucket as f64;
    let step = (bucket.upper / bucket.lower).ln() / parts;
    let ratio = step.exp();
    let (mut t, mut x) = (bucket.lower, bucket.lower.ln());
    for knot in 1..per_bucket {
        if bucket.lower > 0.0 {
            (t, x) = (t * ratio, x + step);
        } else {
            #[expect(clippy::cast_precision_loss, reason = "small")]
            let share = knot as f64 / parts;
            t = bucket.upper * share * share;
            x = t.ln();
        }
        knots.push(t.min(bucket.upper), bucket.below + (piece.at(x) - low) * scale);
    }
}

/// A monotone cubic in Weibull coordinates through the inner edges, linear outside of them.
struct Cubic {
    x: Vec<f64>,
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Cubic {
    /// `None` through fewer than two points: there is no slope.
    fn through(points: &[(f64, f64)]) -> Option<Self> {
        if points.len() < 2 {
            return None;
        }
        let x: Vec<f64> = points.iter().map(|&(edge, _)| edge.ln()).collect();
        let y: Vec<f64> = points.iter().map(|&(_, f)| (-f64::ln_1p(-f)).ln()).collect();
        let width: Vec<f64> = x.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let secant: Vec<f64> = y.windows(2).zip(&width).map(|(pair, w)| (pair[1] - pair[0]) / w).collect();
        let last = x.len() - 1;
        let slope = (0..=last)
            .map(|at| {
                if last == 1 {
                    secant[0]
                } else if at == 0 {
                    end_slope(width[0], width[1], secant[0], secant[1])
                } else if at == last {
                    end_slope(width[last - 1], width[last - 2], secant[last - 1], secant[last - 2])
                } else {
                    inner_slope(width[at - 1], width[at], secant[at - 1], secant[at])
                }
            })
            .collect();
        Some(Self { x, y, slope })
    }

    /// The piece from the last edge at or before `ln t = x` to the next.
    fn piece(&self, x: f64) -> Piece {
        let (next, last) = (self.x.partition_point(|&knot| knot <= x), self.x.len() - 1);
        if next == 0 || next > last {
            let end = if next == 0 { 0 } else { last };
            return Piece { x: self.x[end], terms: [self.y[end], self.slope[end], 0.0, 0.0] };
        }
        let at = next - 1;
        let width = self.x[next] - self.x[at];
        let secant = (self.y[next] - self.y[at]) / width;
        let (begin, end) = (self.slope[at], self.slope[next]);
        let terms = [
            self.y[at],
            begin,
            (3.0 * secant - 2.0 * begin - end) / width,
            (begin + end - 2.0 * secant) / (width * width),
        ];
        Piece { x: self.x[at], terms }
    }
}

/// One polynomial of a [`Cubic`] in the distance from `x`, the lowest power first.
struct Piece {
    x: f64,
    terms: [f64; 4],
}

impl Piece {
    /// F at `ln t = x`.
    fn at(&self, x: f64) -> f64 {
        let from = x - self.x;
        let [constant, linear, square, cube] = self.terms;
        let y = constant + from * (linear + from * (square + from * cube));
        -f64::exp_m1(-y.exp())
    }
}

/// The weighted harmonic mean of two secants, 0 where one is flat.
fn inner_slope(w0: f64, w1: f64, d0: f64, d1: f64) -> f64 {
    if d0 <= 0.0 || d1 <= 0.0 {
        return 0.0;
    }
    let (a, b) = (2.0 * w1 + w0, w1 + 2.0 * w0);
    (a + b) / (a / d0 + b / d1)
}

/// The three-point slope at an end, kept monotone.
fn end_slope(w0: f64, w1: f64, d0: f64, d1: f64) -> f64 {
    let slope = ((2.0 * w0 + w1) * d0 - w0 * d1) / (w0 + w1);
    if slope <= 0.0 {
        0.0
    } else if d1 <= 0.0 {
        slope.min(3.0 * d0)
    } else {
        slope
    }
}

#[derive(Default)]
struct Knots {
    times: Vec<f64>,
    cdf: Vec<f64>,
}

impl Knots {
    fn push(&mut self, time: f64, value: f64) {
        self.times.push(time);
        self.cdf.push(value);
    }

    fn last(&self) -> f64 {
        self.cdf.last().copied().unwrap_or(0.0)
    }

    fn law(self, histogram: &ClassicHistogram) -> Option<Law> {
        if histogram.total() <= 0.0 {
            return None;
        }
        // A histogram with all its mass in the `+Inf` bucket has no knots.
        Some(if self.times.is_empty() { Law::never() } else { Law::from_knots(self.times, self.cdf) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMETHEUS_DEFAULT: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    fn histogram(cdf: impl Fn(f64) -> f64) -> ClassicHistogram {
        let n = 1e9;
        let counts = PROMETHEUS_DEFAULT.iter().map(|&t| (cdf(t) * n).round()).chain([n]).collect();
        ClassicHistogram::new(PROMETHEUS_DEFAULT.to_vec(), counts).unwrap()
    }

    #[test]
    fn weibull_laws_are_met_exactly() {
        for (scale, shape) in [(0.08, 1.0), (0.1, 0.7), (0.2, 2.0)] {
            let cdf = |t: f64| 1.0 - (-(t / scale).powf(shape)).exp();
            let law = between_edges(&histogram(cdf)).unwrap();
            for q in [0.5, 0.9, 0.99, 0.999] {
                let exact = scale * (-(1.0_f64 - q).ln()).powf(1.0 / shape);
                let error = law.quantile(q) / exact - 1.0;
                assert!(error.abs() < 3e-3, "shape {shape}, q {q}: off by {error}");
            }
        }
    }

    #[test]
    fn lognormal_tails_are_within_two_percent_where_linear_interpolation_is_off_by_more() {
        use statrs::distribution::{ContinuousCDF, LogNormal};
        for (median, sigma) in [(0.03_f64, 0.5), (0.08, 0.8), (0.02, 1.0), (0.15, 0.6)] {
            let exact = LogNormal::new(median.ln(), sigma).unwrap();
            let law = between_edges(&histogram(|t| exact.cdf(t))).unwrap();
            for q in [0.5, 0.9, 0.99] {
                let error = law.quantile(q) / exact.inverse_cdf(q) - 1.0;
                assert!(error.abs() < 0.02, "median {median}, σ {sigma}, q {q}: off by {error}");
            }
        }
    }

    #[test]
    fn every_law_keeps_the_mass_of_each_bucket() {
        let counts = vec![0.0, 5.0, 5.0, 5.0, 60.0, 90.0, 90.0, 95.0, 95.0, 95.0, 95.0, 100.0];
        let histogram = ClassicHistogram::new(PROMETHEUS_DEFAULT.to_vec(), counts.clone()).unwrap();
        let (estimate, late, early) =
            (between_edges(&histogram), at_upper_edges(&histogram), at_lower_edges(&histogram));
        let (estimate, late, early) = (estimate.unwrap(), late.unwrap(), early.unwrap());
        for (&edge, count) in PROMETHEUS_DEFAULT.iter().zip(counts) {
            assert!((estimate.at(edge) - count / 100.0).abs() < 1e-12, "estimate at {edge}");
            assert!((late.at(edge) - count / 100.0).abs() < 1e-12, "late at {edge}");
            if edge < 10.0 {
                assert!((early.before(edge) - count / 100.0).abs() < 1e-12, "early at {edge}");
            }
        }
        assert_eq!((estimate.finite_mass(), late.finite_mass(), early.finite_mass()), (0.95, 0.95, 1.0));
        for k in 1..1200 {
            let t = f64::from(k) * 0.01;
            assert!(late.at(t) <= estimate.at(t) + 1e-12 && estimate.at(t) <= early.at(t) + 1e-12, "{t}");
        }
    }

    #[test]
    fn one_bucket_with_mass_is_linear_and_an_empty_histogram_has_no_law() {
        let new = |counts: &[f64]| ClassicHistogram::new(vec![0.1, 0.2, 0.4], counts.to_vec()).unwrap();
        let law = between_edges(&new(&[0.0, 8.0, 8.0, 8.0])).unwrap();
        assert!((law.quantile(0.5) - 0.15).abs() < 1e-12);
        let overflow = between_edges(&new(&[0.0, 0.0, 0.0, 8.0])).unwrap();
        assert_eq!(overflow.quantile(0.5), f64::INFINITY);
        assert_eq!(between_edges(&new(&[0.0; 4])), None);
    }
}
