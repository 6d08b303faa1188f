//! Strict decoding of an upstream's answer.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::native_histogram::{self, Histograms, NativeHistogram};
use super::number::parse_float;
use super::{Annotations, QueryAnswer, QueryData};
use crate::series::{Labels, Sample, Series};
use crate::unit::Timestamp;

/// The longest label name, label value or text accepted from an upstream, in bytes.
pub const MAX_STRING_BYTES: usize = 64 * 1024;

/// Why a body is not an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON of the expected shape.
    #[error("not a complete answer of the Prometheus API: {0}")]
    Shape(String),
    /// It is a well-formed error answer.
    #[error("{error_type}: {message}")]
    Error {
        /// `errorType`.
        error_type: String,
        /// `error`.
        message: String,
    },
}

/// Decodes the body of `query` or `query_range`.
///
/// # Errors
/// [`DecodeError::Shape`] for anything but one complete document with `status`, `data`, a known `resultType` and
/// a result of that type; a text beyond [`MAX_STRING_BYTES`]; a native histogram (which has no place in a
/// [`QueryAnswer`]); times of one series that do not rise. [`DecodeError::Error`] where `status` is `error`.
pub fn query(body: &[u8]) -> Result<QueryAnswer, DecodeError> {
    answer(body, |_| Err("a native histogram where a number was due".to_owned()))
}

/// The same, where native histograms become classic ones: the series of each of their edges, with the label `le`.
///
/// # Errors
/// As [`query`], but for native histograms; and where the buckets of one are none.
pub fn evidence(body: &[u8]) -> Result<QueryAnswer, DecodeError> {
    answer(body, native_histogram::classic)
}

fn answer(
    body: &[u8],
    histograms: impl Fn(Histograms) -> Result<Vec<Series>, String>,
) -> Result<QueryAnswer, DecodeError> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|e| DecodeError::Shape(e.to_string()))?;
    match (envelope.status.as_str(), envelope.data) {
        ("success", Some(data)) => Ok(QueryAnswer {
            data: data.without_histograms(histograms).map_err(DecodeError::Shape)?,
            annotations: Annotations {
                warnings: envelope.warnings.unwrap_or_default(),
                infos: envelope.infos.unwrap_or_default(),
            },
        }),
        ("success", None) => Err(DecodeError::Shape("`data` is missing".to_owned())),
        ("error", _) => Err(DecodeError::Error { error_type: envelope.error_type, message: envelope.error }),
        (status, _) => Err(DecodeError::Shape(format!("unknown status `{}`", excerpt(status)))),
    }
}

/// What an error answer says: `error`, or the text itself where it is not an answer of the API, cut to a readable
/// length.
#[must_use]
pub fn error_message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct ErrorBody {
        error: String,
    }
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(body) => excerpt(&body.error),
        Err(_) => excerpt(&String::from_utf8_lossy(&body[..body.len().min(4096)])),
    }
}

/// The first 300 characters, without control characters.
fn excerpt(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    let mut out: String =
        text.trim().chars().take(MAX_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.trim().chars().nth(MAX_CHARS).is_some() {
        out.push('…');
    }
    out
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    #[serde(default, deserialize_with = "data")]
    data: Option<Decoded>,
    #[serde(default)]
    error_type: String,
    #[serde(default)]
    error: String,
    warnings: Option<Vec<String>>,
    infos: Option<Vec<String>>,
}

/// `data` as it came.
enum Decoded {
    Series { instant: bool, numbers: Vec<Series>, histograms: Vec<Histograms> },
    Other(QueryData),
}

impl Decoded {
    fn without_histograms(
        self,
        classic: impl Fn(Histograms) -> Result<Vec<Series>, String>,
    ) -> Result<QueryData, String> {
        match self {
            Self::Other(data) => Ok(data),
            Self::Series { instant, numbers: mut all, histograms } => {
                for series in histograms {
                    all.extend(classic(series)?);
                }
                Ok(if instant { QueryData::Vector(all) } else { QueryData::Matrix(all) })
            }
        }
    }
}

/// `data`, whatever the order of `resultType` and `result`. Prometheus sends the type first; only then is the
/// result decoded without a detour.
fn data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decoded>, D::Error> {
    struct DataVisitor;

    impl<'de> Visitor<'de> for DataVisitor {
        type Value = Option<Decoded>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object with resultType and result")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let (mut kind, mut held, mut found): (Option<ResultType>, Option<serde_json::Value>, _) =
                (None, None, None);
            while let Some(key) = map.next_key::<String>()? {
                match key.as_str() {
                    "resultType" if kind.is_some() => return Err(A::Error::duplicate_field("resultType")),
                    "resultType" => kind = Some(map.next_value()?),
                    "result" if found.is_some() || held.is_some() => {
                        return Err(A::Error::duplicate_field("result"));
                    }
                    "result" => match kind {
                        Some(kind) => found = Some(typed(kind, &mut map)?),
                        None => held = Some(map.next_value()?),
                    },
                    _ => {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            let kind = kind.ok_or_else(|| A::Error::missing_field("resultType"))?;
            match (found, held) {
                (Some(found), _) => Ok(Some(found)),
                (None, Some(held)) => kind.decode(held).map(Some).map_err(A::Error::custom),
                (None, None) => Err(A::Error::missing_field("result")),
            }
        }
    }

    fn typed<'de, A: MapAccess<'de>>(kind: ResultType, map: &mut A) -> Result<Decoded, A::Error> {
        Ok(match kind {
            ResultType::Vector => vector(map.next_value()?).map_err(A::Error::custom)?,
            ResultType::Matrix => matrix(map.next_value()?).map_err(A::Error::custom)?,
            ResultType::Scalar => Decoded::Other(QueryData::Scalar(map.next_value::<JsonSample>()?.0)),
            ResultType::String => Decoded::Other(text(map.next_value()?)),
        })
    }

    deserializer.deserialize_any(DataVisitor)
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum ResultType {
    Vector,
    Matrix,
    Scalar,
    String,
}

impl ResultType {
    fn decode(self, value: serde_json::Value) -> Result<Decoded, String> {
        fn of<T: for<'de> Deserialize<'de>>(value: serde_json::Value) -> Result<T, String> {
            serde_json::from_value(value).map_err(|e| e.to_string())
        }
        match self {
            Self::Vector => of(value).and_then(vector),
            Self::Matrix => of(value).and_then(matrix),
            Self::Scalar => of::<JsonSample>(value).map(|sample| Decoded::Other(QueryData::Scalar(sample.0))),
            Self::String => of(value).map(text).map(Decoded::Other),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorElement {
    metric: JsonLabels,
    value: Option<JsonSample>,
    histogram: Option<JsonHistogram>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MatrixElement {
    metric: JsonLabels,
    values: Option<Vec<JsonSample>>,
    histograms: Option<Vec<JsonHistogram>>,
}

#[derive(Deserialize)]
struct JsonText(JsonTime, JsonString);

#[derive(Deserialize)]
struct JsonHistogram(JsonTime, NativeHistogram);

fn vector(elements: Vec<VectorElement>) -> Result<Decoded, String> {
    let (mut numbers, mut histograms) = (Vec::with_capacity(elements.len()), Vec::new());
    for VectorElement { metric: JsonLabels(labels), value, histogram } in elements {
        match (value, histogram) {
            (Some(JsonSample(sample)), None) => numbers.push(Series { labels, samples: vec![sample] }),
            (None, Some(JsonHistogram(time, histogram))) => {
                histograms.push(Histograms { labels, samples: vec![(time.0, histogram)] });
            }
            _ => return Err(format!("{labels} must have either a value or a histogram")),
        }
    }
    Ok(Decoded::Series { instant: true, numbers, histograms })
}

fn matrix(elements: Vec<MatrixElement>) -> Result<Decoded, String> {
    fn rise(mut times: impl Iterator<Item = Timestamp>) -> bool {
        let mut before = None;
        times.all(|time| before.replace(time).is_none_or(|before| before < time))
    }
    let (mut numbers, mut all_histograms) = (Vec::with_capacity(elements.len()), Vec::new());
    for MatrixElement { metric: JsonLabels(labels), values, histograms } in elements {
        if values.is_none() && histograms.is_none() {
            return Err(format!("{labels} has neither values nor histograms"));
        }
        let samples: Vec<Sample> = values.into_iter().flatten().map(|JsonSample(sample)| sample).collect();
        let histograms: Vec<_> = histograms
            .into_iter()
            .flatten()
            .map(|JsonHistogram(JsonTime(time), histogram)| (time, histogram))
            .collect();
        if !rise(samples.iter().map(|sample| sample.time)) || !rise(histograms.iter().map(|(time, _)| *time))
        {
            return Err(format!("the times of {labels} do not rise"));
        }
        if histograms.is_empty() {
            numbers.push(Series { labels, samples });
        } else {
            if !samples.is_empty() {
                numbers.push(Series { labels: labels.clone(), samples });
            }
            all_histograms.push(Histograms { labels, samples: histograms });
        }
    }
    Ok(Decoded::Series { instant: false, numbers, histograms: all_histograms })
}

fn text(JsonText(time, value): JsonText) -> QueryData {
    QueryData::String { time: time.0, value: value.0 }
}

struct JsonString(String);

impl<'de> Deserialize<'de> for JsonString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringVisitor;
        impl Visitor<'_> for StringVisitor {
            type Value = JsonString;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a string of at most {MAX_STRING_BYTES} bytes")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<JsonString, E> {
                if text.len() > MAX_STRING_BYTES {
                    let fault = format!("a string has {} bytes, more than {MAX_STRING_BYTES}", text.len());
                    return Err(E::custom(fault));
                }
                Ok(JsonString(text.to_owned()))
            }
        }
        deserializer.deserialize_str(StringVisitor)
    }
}

struct JsonLabels(Labels);

impl<'de> Deserialize<'de> for JsonLabels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct LabelsVisitor;
        impl<'de> Visitor<'de> for LabelsVisitor {
            type Value = JsonLabels;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of labels")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonLabels, A::Error> {
                let mut labels = Labels::new();
                while let Some((JsonString(name), JsonString(value))) = map.next_entry()? {
                    if !labels.get(&name).is_empty() {
                        return Err(A::Error::custom(format!("the label {name} stands twice")));
                    }
                    labels.set(&name, value);
                }
                Ok(JsonLabels(labels))
            }
        }
        deserializer.deserialize_map(LabelsVisitor)
    }
}

struct JsonTime(Timestamp);

impl<'de> Deserialize<'de> for JsonTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        let ms = (seconds * 1000.0).round();
        // i64::MAX as a float is 2^63, one beyond.
        if ms.abs() < 9.2e18 {
            #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
            Ok(Self(Timestamp::from_millis(ms as i64)))
        } else {
            Err(D::Error::custom(format!("the time {seconds} is out of range")))
        }
    }
}

/// A number in a string.
#[derive(Debug, Clone, Copy)]
pub(super) struct JsonValue(pub(super) f64);

impl<'de> Deserialize<'de> for JsonValue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl Visitor<'_> for ValueVisitor {
            type Value = JsonValue;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number in a string")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<JsonValue, E> {
                parse_float(text)
                    .map(JsonValue)
                    .ok_or_else(|| E::custom(format!("`{}` is not a number", excerpt(text))))
            }
        }
        deserializer.deserialize_str(ValueVisitor)
    }
}

struct JsonSample(Sample);

impl<'de> Deserialize<'de> for JsonSample {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SampleVisitor;
        impl<'de> Visitor<'de> for SampleVisitor {
            type Value = JsonSample;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a pair of time and value")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<JsonSample, A::Error> {
                let JsonTime(time) = seq.next_element()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
                let JsonValue(value) =
                    seq.next_element()?.ok_or_else(|| A::Error::invalid_length(1, &self))?;
                match seq.next_element::<IgnoredAny>()? {
                    None => Ok(JsonSample(Sample { time, value })),
                    Some(_) => Err(A::Error::invalid_length(3, &self)),
                }
            }
        }
        deserializer.deserialize_seq(SampleVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VECTOR: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up"},"value":[1435781451.781,"1.5"]}]},"warnings":["w"]}"#;

    #[test]
    fn a_vector_with_a_warning_is_read_whole() {
        let answer = query(VECTOR.as_bytes()).unwrap();
        let sample = Sample { time: Timestamp::from_millis(1_435_781_451_781), value: 1.5 };
        let up = Series { labels: Labels::named("up"), samples: vec![sample] };
        assert_eq!(answer.data, QueryData::Vector(vec![up]));
        assert_eq!(answer.annotations.warnings, ["w"]);
    }

    #[test]
    fn the_order_of_result_and_type_does_not_matter() {
        let scalar = r#"{"data":{"result":[1,"2"],"resultType":"scalar"},"status":"success"}"#;
        let value = Sample { time: Timestamp::from_millis(1000), value: 2.0 };
        assert_eq!(query(scalar.as_bytes()).unwrap().data, QueryData::Scalar(value));
    }

    #[test]
    fn no_proper_prefix_of_an_answer_is_an_answer() {
        for end in 0..VECTOR.len() {
            assert!(matches!(query(&VECTOR.as_bytes()[..end]), Err(DecodeError::Shape(_))), "{end}");
        }
    }

    #[test]
    fn every_wrong_shape_is_an_error() {
        let wrap = |data: &str| format!(r#"{{"status":"success","data":{data}}}"#);
        for body in [
            "null".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"status":"success"}"#.to_owned(),
            r#"{"status":"odd","data":{"resultType":"vector","result":[]}}"#.to_owned(),
            wrap("null"),
            wrap(r#"{"resultType":"vector"}"#),
            wrap(r#"{"result":[]}"#),
            wrap(r#"{"resultType":"vector","result":null}"#),
            wrap(r#"{"resultType":"tensor","result":[]}"#),
            wrap(r#"{"resultType":"vector","result":[],"result":[]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{}}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"value":[1,"1"]}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,1]}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{},"value":[1]}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"1",2]}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{},"value":["1","1"]}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{},"value":[1,"one"]}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{},"value":[1e30,"1"]}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{"a":"1","a":"2"},"value":[1,"1"]}]}"#),
            wrap(r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{}]}]}"#),
            wrap(
                r#"{"resultType":"vector","result":[{"metric":{},"histogram":[1,{"count":"1","sum":"1","buckets":[[0,"1","2","1"]]}]}]}"#,
            ),
            wrap(r#"{"resultType":"matrix","result":[{"metric":{}}]}"#),
            wrap(r#"{"resultType":"matrix","result":[{"metric":{},"values":[[2,"1"],[1,"1"]]}]}"#),
            wrap(r#"{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[1,"1"]]}]}"#),
            format!("{}x", wrap(r#"{"resultType":"vector","result":[]}"#)),
        ] {
            assert!(matches!(query(body.as_bytes()), Err(DecodeError::Shape(_))), "{body}");
        }
    }

    #[test]
    fn a_label_value_beyond_the_limit_is_an_error_and_one_at_the_limit_is_not() {
        let body = |bytes: usize| {
            let value = "v".repeat(bytes);
            format!(
                r#"{{"status":"success","data":{{"resultType":"vector","result":[{{"metric":{{"a":"{value}"}},"value":[1,"1"]}}]}}}}"#
            )
        };
        assert!(query(body(MAX_STRING_BYTES).as_bytes()).is_ok());
        assert!(query(body(MAX_STRING_BYTES + 1).as_bytes()).is_err());
    }

    #[test]
    fn an_error_answer_keeps_the_words_of_the_upstream() {
        let body = br#"{"status":"error","errorType":"execution","error":"too many samples"}"#;
        let error = DecodeError::Error { error_type: "execution".into(), message: "too many samples".into() };
        assert_eq!(query(body), Err(error));
        assert_eq!(error_message(body), "too many samples");
        assert_eq!(error_message(b"<html>\nBad Gateway"), "<html> Bad Gateway");
    }
}
