//! `histogram_quantile` and `histogram_fraction` over classic histograms: cumulative buckets with upper bounds `le`.

use std::collections::HashMap;

use super::number::parse_float;
use super::value::StepSeries;
use crate::series::{Labels, NAME};

/// Differences of neighbouring buckets below this are noise of floating point.
const SMALL_DELTA: f64 = 1e-12;

/// An upper bound and the number of observations up to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bucket {
    pub(crate) upper: f64,
    pub(crate) count: f64,
}

/// The series that are the buckets of one histogram, and its labels: those of the buckets without `le`.
pub(crate) struct Histogram {
    pub(crate) labels: Labels,
    /// The metric's name.
    pub(crate) name: String,
    /// Upper bound and index of each bucket's series.
    pub(crate) buckets: Vec<(f64, usize)>,
}

impl Histogram {
    /// The buckets that have a value at a step.
    pub(crate) fn at(&self, vector: &[StepSeries], step: usize) -> Vec<Bucket> {
        let bucket = |(upper, index): &(f64, usize)| {
            Some(Bucket { upper: *upper, count: vector[*index].values[step]? })
        };
        self.buckets.iter().filter_map(bucket).collect()
    }
}

/// The histograms of a vector in the order in which they first appear, and the indices of the series without a legal
/// `le`.
pub(crate) fn histograms(vector: &[StepSeries]) -> (Vec<Histogram>, Vec<usize>) {
    let mut places: HashMap<Labels, usize> = HashMap::new();
    let (mut found, mut bad) = (Vec::<Histogram>::new(), Vec::new());
    for (index, series) in vector.iter().enumerate() {
        let Some(upper) = parse_float(series.labels.get("le")) else {
            bad.push(index);
            continue;
        };
        let labels = series.labels.clone().with("le", "");
        let place = *places.entry(labels).or_insert_with_key(|labels| {
            let name = labels.get(NAME).to_owned();
            found.push(Histogram { labels: labels.clone(), name, buckets: Vec::new() });
            found.len() - 1
        });
        found[place].buckets.push((upper, index));
    }
    (found, bad)
}

/// The buckets in rising order, those of equal bounds added up. `None` where the last is not `+Inf`.
fn prepared(mut buckets: Vec<Bucket>) -> Option<Vec<Bucket>> {
    buckets.sort_by(|a, b| a.upper.partial_cmp(&b.upper).unwrap_or(std::cmp::Ordering::Equal));
    if buckets.last()?.upper != f64::INFINITY {
        return None;
    }
    let mut coalesced: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match coalesced.last_mut() {
            #[expect(clippy::float_cmp, reason = "the same bound in other spellings")]
            Some(last) if last.upper == bucket.upper => last.count += bucket.count,
            _ => coalesced.push(bucket),
        }
    }
    Some(coalesced)
}

/// Makes counts grow from bucket to bucket; whether that took more than removing noise.
fn force_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    let mut before = buckets[0].count;
    for bucket in &mut buckets[1..] {
        #[expect(clippy::float_cmp, reason = "equal counts need no correction")]
        if bucket.count == before {
            continue;
        }
        if almost_equal(before, bucket.count) {
            bucket.count = before;
        } else if bucket.count < before {
            bucket.count = before;
            forced = true;
        } else {
            before = bucket.count;
        }
    }
    forced
}

fn almost_equal(a: f64, b: f64) -> bool {
    if a.is_nan() && b.is_nan() {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < SMALL_DELTA * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < SMALL_DELTA
}

/// The quantile, interpolated within its bucket, and whether counts had to be corrected. The lowest bucket is taken
/// to start at 0 where its bound is positive; a quantile in the highest is that bucket's lower bound. NaN without
/// observations, a second bucket or one at `+Inf`.
pub(crate) fn bucket_quantile(q: f64, buckets: Vec<Bucket>) -> (f64, bool) {
    if q.is_nan() {
        return (f64::NAN, false);
    }
    if !(0.0..=1.0).contains(&q) {
        return (if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, false);
    }
    let Some(mut buckets) = prepared(buckets) else { return (f64::NAN, false) };
    let forced = force_monotonic(&mut buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 {
        return (f64::NAN, false);
    }
    let mut rank = q * observations;
    // A NaN is passed over like a count that is too low.
    let found = buckets[..last].partition_point(|bucket| bucket.count < rank || bucket.count.is_nan());
    if found == last {
        return (buckets[last - 1].upper, forced);
    }
    let Bucket { upper, mut count } = buckets[found];
    if found == 0 && upper <= 0.0 {
        return (upper, forced);
    }
    let mut lower = 0.0;
    if let Some(before) = found.checked_sub(1).map(|before| buckets[before]) {
        lower = before.upper;
        count -= before.count;
        rank -= before.count;
    }
    (lower + (upper - lower) * (rank / count), forced)
}

/// The fraction of observations between two bounds, interpolated within buckets, but not within one that reaches to
/// infinity. NaN without observations, a bound that is NaN, or a bucket at `+Inf`.
pub(crate) fn bucket_fraction(lower: f64, upper: f64, buckets: Vec<Bucket>) -> f64 {
    let Some(buckets) = prepared(buckets) else { return f64::NAN };
    let Some(count) = buckets.last().map(|last| last.count) else { return f64::NAN };
    if count == 0.0 || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let starts_at_zero = buckets[0].upper > 0.0;
    let below = |bound: f64| {
        let (mut rank, mut from) = (0.0, if starts_at_zero { 0.0 } else { f64::NEG_INFINITY });
        for bucket in &buckets {
            if from >= bound {
                return rank;
            }
            if from < bound && bucket.upper > bound {
                return if from == f64::NEG_INFINITY {
                    bucket.count
                } else {
                    rank + (bucket.count - rank) * (bound - from) / (bucket.upper - from)
                };
            }
            (rank, from) = (bucket.count, bucket.upper);
        }
        count
    };
    let capped = |rank: f64| if rank > count { count } else { rank };
    (capped(below(upper)) - capped(below(lower))) / count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets(pairs: &[(f64, f64)]) -> Vec<Bucket> {
        pairs.iter().map(|&(upper, count)| Bucket { upper, count }).collect()
    }

    const INF: f64 = f64::INFINITY;

    #[test]
    fn quantiles_are_interpolated_within_their_bucket() {
        let all = || buckets(&[(INF, 10.0), (1.0, 4.0), (2.0, 8.0)]);
        assert_eq!(bucket_quantile(0.2, all()), (0.5, false));
        assert_eq!(bucket_quantile(0.6, all()), (1.5, false));
        assert_eq!(bucket_quantile(0.99, all()), (2.0, false));
        assert_eq!(bucket_quantile(-1.0, all()).0, -INF);
        assert_eq!(bucket_quantile(1.5, all()).0, INF);
        assert!(bucket_quantile(0.5, buckets(&[(1.0, 4.0)])).0.is_nan());
        assert!(bucket_quantile(0.5, buckets(&[(INF, 4.0)])).0.is_nan());
        assert_eq!(bucket_quantile(0.1, buckets(&[(-1.0, 4.0), (INF, 5.0)])).0, -1.0);
    }

    #[test]
    fn falling_counts_are_levelled_and_reported_but_noise_is_not() {
        assert_eq!(bucket_quantile(1.0, buckets(&[(1.0, 4.0), (2.0, 3.0), (INF, 4.0)])), (1.0, true));
        let noise = buckets(&[(1.0, 4.0), (2.0, 4.0 - 1e-13), (INF, 4.0)]);
        assert_eq!(bucket_quantile(0.5, noise), (0.5, false));
    }

    #[test]
    fn a_fraction_is_the_inverse_of_a_quantile() {
        let all = || buckets(&[(1.0, 4.0), (2.0, 8.0), (INF, 10.0)]);
        for q in [0.1, 0.4, 0.7, 0.8] {
            let (at, _) = bucket_quantile(q, all());
            assert!((bucket_fraction(-INF, at, all()) - q).abs() < 1e-12);
        }
        assert_eq!(bucket_fraction(2.0, INF, all()), 0.2);
        assert_eq!(bucket_fraction(3.0, 1.0, all()), 0.0);
        assert!(bucket_fraction(f64::NAN, 1.0, all()).is_nan());
    }
}
