//! From the buckets of an answer to a histogram.

use crate::distribution::histogram::ClassicHistogram;
use crate::journey::component::LatencyUnit;

/// How far a cumulative count may fall, relative to itself, before the histogram is inconsistent: extrapolation
/// treats each bucket on its own and breaks their order by this little.
pub const ORDER_TOLERANCE: f64 = 1e-3;

/// Cumulative counts by upper edge, rising; edges in the unit of the metric, the last one may be `+Inf`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Buckets(Vec<(f64, f64)>);

/// What is wrong with buckets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BucketFault {
    /// A count is NaN, infinite or negative: no evidence at all.
    Number,
    /// An edge is missing or not a number, or the order is broken: no histogram, though the total may be fine.
    Shape,
}

impl Buckets {
    /// Collects `(le, count)`. Counts of the same edge add up: instances may spell it differently (`1`, `1.0`).
    ///
    /// # Errors
    /// [`BucketFault::Number`] for a count that is none; [`BucketFault::Shape`] for an edge that is none.
    pub fn collect(pairs: impl IntoIterator<Item = (Option<f64>, f64)>) -> Result<Self, BucketFault> {
        let mut all = Vec::new();
        for (edge, count) in pairs {
            if !(count.is_finite() && count >= 0.0) {
                return Err(BucketFault::Number);
            }
            all.push((edge.ok_or(BucketFault::Shape)?, count));
        }
        all.sort_by(|a: &(f64, f64), b| a.0.total_cmp(&b.0));
        all.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        Ok(Self(all))
    }

    /// Whether there is no bucket at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The count of the `+Inf` bucket; `None` where it is missing.
    #[must_use]
    pub fn total(&self) -> Option<f64> {
        self.0.last().filter(|(edge, _)| *edge == f64::INFINITY).map(|&(_, count)| count)
    }

    /// The edges, rising.
    pub fn edges(&self) -> impl Iterator<Item = f64> {
        self.0.iter().map(|&(edge, _)| edge)
    }

    /// Whether all buckets hold the same count.
    #[must_use]
    pub fn is_level(&self) -> bool {
        self.0.windows(2).all(|pair| pair[0].1 == pair[1].1)
    }

    /// The same counts at the edges of `other`; empty where this is. Exact where no bucket of this holds calls on both
    /// sides of such an edge, as with native buckets of a resolution that is not below that of `other`: their edges
    /// nest.
    #[must_use]
    pub fn at_edges_of(&self, other: &Self) -> Self {
        if self.is_empty() {
            return Self::default();
        }
        let at = |edge: f64| {
            let next = self.0.partition_point(|&(own, _)| own <= edge);
            next.checked_sub(1).map_or(0.0, |last| self.0[last].1)
        };
        Self(other.edges().map(|edge| (edge, at(edge))).collect())
    }

    /// `self − other`, bucket by bucket: the failures, from all calls and the successes. A difference below 0 within
    /// the tolerance is 0.
    ///
    /// # Errors
    /// [`BucketFault::Shape`] where the edges differ or more was taken away than there is.
    pub fn minus(&self, other: &Self) -> Result<Self, BucketFault> {
        if !self.edges().eq(other.edges()) {
            return Err(BucketFault::Shape);
        }
        let differences = self.0.iter().zip(&other.0).map(|(&(edge, all), &(_, part))| {
            if part <= all * (1.0 + ORDER_TOLERANCE) {
                Ok((edge, (all - part).max(0.0)))
            } else {
                Err(BucketFault::Shape)
            }
        });
        differences.collect::<Result<_, _>>().map(Self)
    }

    /// The histogram, in seconds. Edges of 0 and below are dropped: their calls count in the next bucket. Where the
    /// cumulative count falls within `tolerance` (relative), the higher one is lowered, which makes calls later, never
    /// earlier.
    ///
    /// # Errors
    /// [`BucketFault::Shape`] without `+Inf`, without a finite edge above 0, or where the order is broken further.
    pub fn histogram(&self, unit: LatencyUnit, tolerance: f64) -> Result<ClassicHistogram, BucketFault> {
        self.total().ok_or(BucketFault::Shape)?;
        // Divided, not multiplied: 1e-3 is not exact, its inverse is, and so 7 ms stay 0.007 s.
        let scale = (1.0 / unit.in_seconds()).round();
        let (mut edges, mut counts): (Vec<f64>, Vec<f64>) =
            self.0.iter().filter(|(edge, _)| *edge > 0.0).map(|&(edge, count)| (edge / scale, count)).unzip();
        edges.pop();
        for at in (1..counts.len()).rev() {
            let (lower, upper) = (counts[at - 1], counts[at]);
            if lower > upper {
                if lower - upper > tolerance * lower {
                    return Err(BucketFault::Shape);
                }
                counts[at - 1] = upper;
            }
        }
        ClassicHistogram::new(edges, counts).map_err(|_| BucketFault::Shape)
    }
}

/// The value of an `le` label: `0.5`, `1`, `1.0`, `1e-3`, `+Inf`.
#[must_use]
pub fn parse_le(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        _ => text.parse::<f64>().ok().filter(|edge| edge.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: f64 = f64::INFINITY;

    fn buckets(pairs: &[(f64, f64)]) -> Buckets {
        Buckets::collect(pairs.iter().map(|&(edge, count)| (Some(edge), count))).unwrap()
    }

    #[test]
    fn edges_are_read_by_value_and_spellings_of_one_edge_add_up() {
        let pairs = [("1.0", 2.0), ("+Inf", 9.0), ("0.5", 1.0), ("1", 3.0)];
        let all = Buckets::collect(pairs.map(|(le, count)| (parse_le(le), count))).unwrap();
        assert_eq!(all, buckets(&[(0.5, 1.0), (1.0, 5.0), (INF, 9.0)]));
        for text in ["", "nan", "-Inf", "infinity", "abc", "1 "] {
            assert_eq!(parse_le(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_that_are_no_counts_are_no_evidence() {
        for count in [f64::NAN, f64::INFINITY, -1e-9] {
            assert_eq!(Buckets::collect([(Some(1.0), count)]), Err(BucketFault::Number));
        }
        assert_eq!(Buckets::collect([(None, 1.0)]), Err(BucketFault::Shape));
    }

    #[test]
    fn a_small_fall_is_repaired_downward_and_a_large_one_is_a_fault() {
        let repaired = buckets(&[(0.1, 1000.5), (0.2, 1000.2), (0.5, 1000.0), (INF, 2000.0)])
            .histogram(LatencyUnit::Seconds, ORDER_TOLERANCE)
            .unwrap();
        assert_eq!(repaired.counts(), [1000.0, 1000.0, 1000.0, 2000.0]);
        let broken = buckets(&[(0.1, 1002.0), (0.2, 1000.0), (INF, 2000.0)]);
        assert_eq!(broken.histogram(LatencyUnit::Seconds, ORDER_TOLERANCE), Err(BucketFault::Shape));
    }

    #[test]
    fn milliseconds_become_exact_seconds() {
        let histogram = buckets(&[(0.0, 0.0), (7.0, 1.0), (250.0, 2.0), (INF, 3.0)])
            .histogram(LatencyUnit::Milliseconds, ORDER_TOLERANCE)
            .unwrap();
        assert_eq!(histogram.edges(), [0.007, 0.25]);
        assert_eq!(histogram.counts(), [1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_histogram_without_infinity_or_without_a_finite_edge_is_none() {
        for pairs in [&[(0.1, 1.0)][..], &[(INF, 1.0)], &[(0.0, 1.0), (INF, 1.0)], &[]] {
            assert!(buckets(pairs).histogram(LatencyUnit::Seconds, ORDER_TOLERANCE).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn failures_are_all_calls_without_the_successes() {
        let all = buckets(&[(0.1, 10.0), (INF, 20.0)]);
        let failures = all.minus(&buckets(&[(0.1, 10.005), (INF, 15.0)])).unwrap();
        assert_eq!(failures, buckets(&[(0.1, 0.0), (INF, 5.0)]));
        assert!(all.minus(&buckets(&[(0.1, 11.0), (INF, 15.0)])).is_err());
        assert!(all.minus(&buckets(&[(0.2, 1.0), (INF, 15.0)])).is_err());
    }
}
