//! Answers as bytes. `data` is never null, and warnings and infos are left out when there are none.

use std::time::Duration;

use serde::Serialize;

use super::number::{write_float, write_time};
use super::{Annotations, ErrorType, QueryAnswer, QueryData};
use crate::series::{Labels, Sample, Series};

/// What a query cost, for clients that ask for `stats`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct QueryStats {
    /// Until it was planned.
    pub preparing: Duration,
    /// Waiting for samples and for the upstream.
    pub fetching: Duration,
    /// In the evaluation here.
    pub evaluating: Duration,
    /// Altogether.
    pub total: Duration,
    /// How many samples were read.
    pub samples_read: usize,
    /// How many values were held at a time.
    pub peak_values: usize,
}

impl QueryStats {
    fn to_json(self) -> serde_json::Value {
        let seconds = |duration: Duration| duration.as_secs_f64();
        serde_json::json!({
            "timings": {
                "evalTotalTime": seconds(self.fetching + self.evaluating),
                "resultSortTime": 0,
                "queryPreparationTime": seconds(self.preparing),
                "innerEvalTime": seconds(self.evaluating),
                "execQueueTime": 0,
                "execTotalTime": seconds(self.total),
            },
            "samples": {"totalQueryableSamples": self.samples_read, "peakSamples": self.peak_values},
        })
    }
}

/// An answer to `query` or `query_range`.
#[must_use]
pub fn query(answer: &QueryAnswer) -> String {
    query_with_stats(answer, None)
}

/// An answer to `query` or `query_range`, with what it cost.
#[must_use]
pub fn query_with_stats(answer: &QueryAnswer, stats: Option<&QueryStats>) -> String {
    let mut out = String::from(r#"{"status":"success","data":{"resultType":""#);
    out.push_str(answer.data.result_type());
    out.push_str(r#"","result":"#);
    match &answer.data {
        QueryData::Vector(series) => list(&mut out, series, |out, series| {
            labelled(out, series, |out| {
                out.push_str(r#""value":"#);
                match series.samples.last() {
                    Some(&last) => sample(out, last),
                    None => out.push_str("[]"),
                }
            });
        }),
        QueryData::Matrix(series) => list(&mut out, series, |out, series| {
            labelled(out, series, |out| {
                out.push_str(r#""values":"#);
                list(out, &series.samples, |out, &each| sample(out, each));
            });
        }),
        QueryData::Scalar(value) => sample(&mut out, *value),
        QueryData::String { time, value } => {
            out.push('[');
            write_time(&mut out, *time);
            out.push(',');
            string(&mut out, value);
            out.push(']');
        }
    }
    if let Some(stats) = stats {
        out.push_str(",\"stats\":");
        out.push_str(&stats.to_json().to_string());
    }
    out.push('}');
    finish(out, &answer.annotations)
}

/// A success whose `data` is any other value, such as a list of label names.
///
/// # Errors
/// Where `data` cannot be JSON (a map with keys that are not strings).
pub fn success<T: Serialize + ?Sized>(
    data: &T,
    annotations: &Annotations,
) -> Result<String, serde_json::Error> {
    let mut out = String::from(r#"{"status":"success","data":"#);
    out.push_str(&serde_json::to_string(data)?);
    Ok(finish(out, annotations))
}

/// An error answer.
#[must_use]
pub fn error(kind: ErrorType, message: &str) -> String {
    let mut out = String::from(r#"{"status":"error","errorType":""#);
    out.push_str(kind.as_str());
    out.push_str(r#"","error":"#);
    string(&mut out, message);
    out.push('}');
    out
}

fn finish(mut out: String, annotations: &Annotations) -> String {
    for (key, texts) in [("warnings", &annotations.warnings), ("infos", &annotations.infos)] {
        if !texts.is_empty() {
            out.push_str(",\"");
            out.push_str(key);
            out.push_str("\":");
            list(&mut out, texts, |out, text| string(out, text));
        }
    }
    out.push('}');
    out
}

fn list<T>(out: &mut String, items: &[T], mut each: impl FnMut(&mut String, &T)) {
    out.push('[');
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        each(out, item);
    }
    out.push(']');
}

fn labelled(out: &mut String, series: &Series, rest: impl FnOnce(&mut String)) {
    out.push_str(r#"{"metric":"#);
    labels(out, &series.labels);
    out.push(',');
    rest(out);
    out.push('}');
}

fn labels(out: &mut String, labels: &Labels) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        string(out, name);
        out.push(':');
        string(out, value);
    }
    out.push('}');
}

fn sample(out: &mut String, sample: Sample) {
    out.push('[');
    write_time(out, sample.time);
    out.push_str(",\"");
    write_float(out, sample.value);
    out.push_str("\"]");
}

fn string(out: &mut String, text: &str) {
    use std::fmt::Write as _;
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' || c == '\u{2028}' || c == '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::decode;
    use super::*;
    use crate::unit::Timestamp;

    fn at(ms: i64, value: f64) -> Sample {
        Sample { time: Timestamp::from_millis(ms), value }
    }

    fn answer(data: QueryData) -> QueryAnswer {
        QueryAnswer { data, annotations: Annotations::default() }
    }

    #[test]
    fn a_vector_is_encoded_as_the_documentation_of_prometheus_shows_it() {
        let up = Series {
            labels: Labels::named("up").with("job", "prometheus").with("instance", "localhost:9090"),
            samples: vec![at(1_435_781_451_781, 1.0)],
        };
        assert_eq!(
            query(&answer(QueryData::Vector(vec![up]))),
            r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"localhost:9090","job":"prometheus"},"value":[1435781451.781,"1"]}]}}"#
        );
        assert_eq!(
            query(&answer(QueryData::Vector(Vec::new()))),
            r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#
        );
    }

    #[test]
    fn errors_and_warnings_stand_where_clients_look_for_them() {
        assert_eq!(
            error(ErrorType::BadData, "a \"b\"\n"),
            r#"{"status":"error","errorType":"bad_data","error":"a \"b\"\n"}"#
        );
        let notes = Annotations { warnings: vec!["w".into()], infos: vec!["i".into()] };
        assert_eq!(
            success(&["a"], &notes).unwrap(),
            r#"{"status":"success","data":["a"],"warnings":["w"],"infos":["i"]}"#
        );
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_decodes_to_the_same(
            pairs in proptest::collection::btree_map("[a-z_]{1,8}", ".{1,12}", 0..4),
            values in proptest::collection::vec(proptest::num::f64::ANY, 1..6),
            start in -9_000_000_000_000_i64..9_000_000_000_000,
        ) {
            let labels: Labels = pairs.into_iter().collect();
            let samples: Vec<Sample> =
                (0..).zip(&values).map(|(i, &v)| at(start + i, v)).collect();
            let matrix = answer(QueryData::Matrix(vec![Series { labels, samples }]));
            let back = decode::query(query(&matrix).as_bytes()).unwrap();
            // Compared as text: NaN is not equal to itself.
            proptest::prop_assert_eq!(query(&back), query(&matrix));
        }
    }
}
