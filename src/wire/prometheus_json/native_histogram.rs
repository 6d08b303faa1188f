//! Native histograms of an upstream's answer, as the classic ones that say the same.
//!
//! Prometheus' API writes `{"count": "…", "sum": "…", "buckets": [[rule, "lower", "upper", "count"], …]}`: the buckets that
//! hold something, by rising edges; `rule` says which of the edges belong to a bucket, which makes no difference to an
//! upper edge that a time falls on with probability 0.

use serde::Deserialize;

use super::decode::JsonValue;
use crate::series::{Labels, Sample, Series};
use crate::unit::Timestamp;

/// The most buckets of one histogram that are read: instrumentation keeps to 160, and an upstream's sum of different
/// resolutions has no more than the finest of them.
const MAX_BUCKETS: usize = 10_000;

/// By how much, relative to itself, a count may differ from the sum of its buckets by rounding.
const ROUNDING: f64 = 1e-9;

/// One histogram.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NativeHistogram {
    count: JsonValue,
    #[serde(default)]
    buckets: Vec<Bucket>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(from = "(u8, JsonValue, JsonValue, JsonValue)")]
struct Bucket {
    lower: f64,
    upper: f64,
    count: f64,
}

impl From<(u8, JsonValue, JsonValue, JsonValue)> for Bucket {
    fn from((_, lower, upper, count): (u8, JsonValue, JsonValue, JsonValue)) -> Self {
        Self { lower: lower.0, upper: upper.0, count: count.0 }
    }
}

/// The histograms of one series; times rise.
#[derive(Debug, Clone)]
pub(super) struct Histograms {
    pub(super) labels: Labels,
    pub(super) samples: Vec<(Timestamp, NativeHistogram)>,
}

/// A series of cumulative counts for each edge, with the label `le`, and one of all observations with `+Inf`. The lower
/// edge of a bucket is an edge too: what lies below it is empty, and not a part of the bucket. A series has a sample
/// wherever the count at its edge is known: where a bucket goes on across it, it is not. So sums over time are sums of
/// histograms.
///
/// # Errors
/// Edges that do not rise or are none, and counts that are none.
pub(super) fn classic(histograms: Histograms) -> Result<Vec<Series>, String> {
    let Histograms { labels, samples } = histograms;
    let cumulative = |(time, histogram): (Timestamp, NativeHistogram)| {
        let counts = histogram.cumulative().map_err(|fault| format!("the histogram of {labels}: {fault}"))?;
        Ok((time, counts))
    };
    let histograms: Vec<_> = samples.into_iter().map(cumulative).collect::<Result<_, String>>()?;
    let mut edges: Vec<f64> =
        histograms.iter().flat_map(|(_, counts)| counts.iter().map(|&(edge, _)| edge)).collect();
    edges.sort_unstable_by(f64::total_cmp);
    edges.dedup();
    let series = |edge: f64| {
        let le = if edge == f64::INFINITY { "+Inf".to_owned() } else { edge.to_string() };
        let known = |(time, counts): &(Timestamp, Vec<(f64, f64)>)| {
            Some(Sample { time: *time, value: count_at(counts, edge)? })
        };
        Series {
            labels: labels.clone().with("le", le),
            samples: histograms.iter().filter_map(known).collect(),
        }
    };
    Ok(edges.into_iter().map(series).collect())
}

/// The cumulative count at an edge, one of the histogram's own or in a gap between its buckets; `None` within a bucket.
fn count_at(counts: &[(f64, f64)], edge: f64) -> Option<f64> {
    let next = counts.partition_point(|&(own, _)| own < edge);
    let &(own, count) = counts.get(next)?;
    let below = next.checked_sub(1).map_or(0.0, |last| counts[last].1);
    (own == edge || count == below).then_some(count)
}

impl NativeHistogram {
    /// Rising edges, the last of them infinite, and how many observations lie at or below each.
    fn cumulative(&self) -> Result<Vec<(f64, f64)>, String> {
        if self.buckets.len() > MAX_BUCKETS {
            return Err(format!("{} buckets; allowed: at most {MAX_BUCKETS}", self.buckets.len()));
        }
        let mut all: Vec<(f64, f64)> = Vec::with_capacity(2 * self.buckets.len() + 1);
        let mut sum = 0.0;
        for &Bucket { lower, upper, count } in &self.buckets {
            let begun = all.last().map_or(f64::NEG_INFINITY, |&(edge, _)| edge);
            if !(lower < upper && begun <= lower) {
                return Err(format!("a bucket from {lower} to {upper} after one that ends at {begun}"));
            }
            if !(count.is_finite() && count >= 0.0) {
                return Err(format!("a bucket with a count of {count}"));
            }
            if begun < lower && lower.is_finite() {
                all.push((lower, sum));
            }
            sum += count;
            if upper.is_finite() {
                all.push((upper, sum));
            }
        }
        let JsonValue(count) = self.count;
        if !(count.is_finite() && count >= 0.0) {
            return Err(format!("a count of {count}"));
        }
        // What is in no bucket (NaN) is later than all of them; what is less than that is the rounding of the sums.
        let in_buckets = (count - sum).abs() <= ROUNDING * count;
        all.push((f64::INFINITY, if in_buckets { sum } else { count.max(sum) }));
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::super::QueryData;
    use super::super::decode::{evidence, query};

    fn vector(histogram: &str) -> String {
        format!(
            r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"service":"a"}},"histogram":[10,{histogram}]}}]}}}}"#
        )
    }

    fn series(body: &str) -> Vec<(String, Vec<(i64, f64)>)> {
        let (QueryData::Vector(all) | QueryData::Matrix(all)) = evidence(body.as_bytes()).unwrap().data
        else {
            panic!("{body}")
        };
        let samples = |samples: Vec<crate::series::Sample>| {
            samples.into_iter().map(|sample| (sample.time.millis(), sample.value)).collect()
        };
        all.into_iter().map(|one| (one.labels.get("le").to_owned(), samples(one.samples))).collect()
    }

    #[test]
    fn a_bucket_has_both_of_its_edges_and_the_gaps_between_buckets_stay_empty() {
        let histogram = r#"{"count":"10","sum":"3","buckets":[[3,"-0.001","0.001","1"],[0,"0.25","0.5","4"],[0,"0.5","1","2"],[0,"4","8","3"]]}"#;
        let found = series(&vector(histogram));
        let expected = [
            ("-0.001", 0.0),
            ("0.001", 1.0),
            ("0.25", 1.0),
            ("0.5", 5.0),
            ("1", 7.0),
            ("4", 7.0),
            ("8", 10.0),
            ("+Inf", 10.0),
        ];
        let expected = expected.map(|(le, value)| (le.to_owned(), vec![(10_000, value)]));
        assert_eq!(found, expected);
    }

    #[test]
    fn observations_in_no_bucket_are_later_than_all_of_them() {
        let found = series(&vector(r#"{"count":"5","sum":"NaN","buckets":[[0,"1","2","3"]]}"#));
        assert_eq!(found[2], ("+Inf".to_owned(), vec![(10_000, 5.0)]));
        assert_eq!(series(&vector(r#"{"count":"0","sum":"0"}"#)), [("+Inf".to_owned(), vec![(10_000, 0.0)])]);
    }

    #[test]
    fn over_time_an_edge_has_samples_wherever_no_bucket_goes_on_across_it() {
        let body = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"histograms":[[1,{"count":"1","sum":"1","buckets":[[0,"1","2","1"]]}],[2,{"count":"3","sum":"1","buckets":[[0,"1","4","3"]]}]]}]}}"#;
        let both = |value: [f64; 2]| vec![(1_000, value[0]), (2_000, value[1])];
        let expected = [
            ("1".to_owned(), both([0.0, 0.0])),
            ("2".to_owned(), vec![(1_000, 1.0)]),
            ("4".to_owned(), both([1.0, 3.0])),
            ("+Inf".to_owned(), both([1.0, 3.0])),
        ];
        assert_eq!(series(body), expected);
        assert!(query(body.as_bytes()).is_err(), "outside of evidence there is no place for a histogram");
    }

    #[test]
    fn histograms_that_are_none_are_refused() {
        for histogram in [
            r#"{}"#,
            r#"{"count":"-1","sum":"0"}"#,
            r#"{"count":"NaN","sum":"0"}"#,
            r#"{"count":"1","sum":"0","buckets":[[0,"2","1","1"]]}"#,
            r#"{"count":"1","sum":"0","buckets":[[0,"1","1","1"]]}"#,
            r#"{"count":"1","sum":"0","buckets":[[0,"1","2","-1"]]}"#,
            r#"{"count":"1","sum":"0","buckets":[[0,"1","2","NaN"]]}"#,
            r#"{"count":"2","sum":"0","buckets":[[0,"1","4","1"],[0,"2","8","1"]]}"#,
            r#"{"count":"1","sum":"0","buckets":[[0,"1","2"]]}"#,
            r#"{"count":"1","sum":"0","buckets":[[0,"1","2","1","1"]]}"#,
        ] {
            assert!(evidence(vector(histogram).as_bytes()).is_err(), "{histogram}");
        }
    }
}
