//! One request of a query's plan, asked of the upstream as the client would ask it.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::promql::expression::ValueType;
use crate::promql::pushdown::{Request as Planned, When};
use crate::series::{Labels, Sample, Series, StepGrid};
use crate::unit::Timestamp;
use crate::upstream::memory::{MemoryBudget, Reserved};
use crate::upstream::{Body, Upstream, UpstreamError};
use crate::wire::prometheus_json::decode::{self, DecodeError};
use crate::wire::prometheus_json::number::write_time;
use crate::wire::prometheus_json::{Annotations, QueryAnswer, QueryData};

/// The most points that a Prometheus answers for one series.
const MAX_POINTS: usize = 11_001;

/// Bodies from this size on are decoded on a blocking thread, in bytes.
const LARGE_BODY: usize = 128 * 1024;

/// The most of an error's body that is read, in bytes.
const ERROR_BODY: usize = 64 * 1024;

/// Headers that belong to the client's own body, and not to this one.
const NOT_OURS: [header::HeaderName; 7] = [
    header::ACCEPT_ENCODING,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::IF_NONE_MATCH,
    header::RANGE,
];

/// On whose behalf, and within which bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct AskedAs<'a> {
    pub(super) headers: &'a HeaderMap,
    pub(super) lookback_millis: Option<u64>,
    pub(super) body_limit: usize,
    pub(super) memory: &'a MemoryBudget,
    pub(super) deadline: Instant,
}

/// The answer to one request of a plan.
pub(super) struct Answered {
    /// A scalar is a series without labels.
    pub(super) series: Vec<Series>,
    /// The upstream's notes.
    pub(super) annotations: Annotations,
    /// What the series take.
    pub(super) reserved: Reserved,
}

/// Asks the upstream for the answer to `request`.
pub(super) async fn ask(
    upstream: &dyn Upstream,
    request: &Planned,
    asked_as: AskedAs<'_>,
) -> Result<Answered, UpstreamError> {
    let (QueryAnswer { data, annotations }, reserved) = match request.when {
        When::Instant(at) | When::Samples(at) => {
            let form = [("query", request.text().to_owned()), ("time", seconds(at))];
            exchange(upstream, "/api/v1/query", form.into(), asked_as).await?
        }
        When::Steps(grid) => in_pieces(upstream, request.text(), grid, asked_as).await?,
    };
    let malformed = |found: &str| UpstreamError::Malformed {
        upstream: upstream.name().to_owned(),
        fault: format!("the answer to {} is a {found}", request.text()),
    };
    let series = match (data, request.when, request.value_type) {
        (QueryData::Vector(series), When::Instant(_), ValueType::Vector) => series,
        (QueryData::Scalar(sample), When::Instant(_), ValueType::Scalar) => {
            vec![Series { labels: Labels::new(), samples: vec![sample] }]
        }
        (QueryData::Matrix(series), When::Samples(_) | When::Steps(_), _) => series,
        (other, ..) => return Err(malformed(other.result_type())),
    };
    Ok(Answered { series, annotations, reserved })
}

/// A range query, in as many pieces as the upstream's limit of points wants.
async fn in_pieces(
    upstream: &dyn Upstream,
    text: &str,
    grid: StepGrid,
    asked_as: AskedAs<'_>,
) -> Result<(QueryAnswer, Reserved), UpstreamError> {
    let step = i64::try_from(grid.step().millis()).unwrap_or(i64::MAX);
    let mut whole: Option<(QueryAnswer, Reserved)> = None;
    let mut first = 0;
    while first < grid.points() {
        let last = (first + MAX_POINTS).min(grid.points()) - 1;
        let at = |index: usize| {
            grid.start().plus_millis(step.saturating_mul(i64::try_from(index).unwrap_or(i64::MAX)))
        };
        // The end as it was given, where nothing is cut: `@ end()` means it.
        let end = if last + 1 == grid.points() { grid.end() } else { at(last) };
        let form = vec![
            ("query", text.to_owned()),
            ("start", seconds(at(first))),
            ("end", seconds(end)),
            ("step", seconds(Timestamp::from_millis(step))),
        ];
        let piece = exchange(upstream, "/api/v1/query_range", form, asked_as).await?;
        whole = Some(match whole {
            None => piece,
            Some((whole, mut reserved)) => {
                reserved.merge(piece.1);
                (joined(whole, piece.0), reserved)
            }
        });
        first = last + 1;
    }
    Ok(whole.unwrap_or_else(|| {
        let nothing =
            QueryAnswer { data: QueryData::Matrix(Vec::new()), annotations: Annotations::default() };
        (nothing, asked_as.memory.open())
    }))
}

/// Two answers for times that follow each other.
fn joined(mut whole: QueryAnswer, piece: QueryAnswer) -> QueryAnswer {
    if let (QueryData::Matrix(series), QueryData::Matrix(next)) = (&mut whole.data, piece.data) {
        for one in next {
            let samples: Vec<Sample> = one.samples;
            match series.iter_mut().find(|known| known.labels == one.labels) {
                Some(known) => known.samples.extend(samples),
                None => series.push(Series { labels: one.labels, samples }),
            }
        }
    }
    whole.annotations.warnings.extend(piece.annotations.warnings);
    whole.annotations.infos.extend(piece.annotations.infos);
    whole
}

async fn exchange(
    upstream: &dyn Upstream,
    path: &'static str,
    mut form: Vec<(&'static str, String)>,
    asked_as: AskedAs<'_>,
) -> Result<(QueryAnswer, Reserved), UpstreamError> {
    let name = || upstream.name().to_owned();
    let unreachable = |fault: String| UpstreamError::Unreachable { upstream: name(), fault };
    let malformed = |fault: String| UpstreamError::Malformed { upstream: name(), fault };
    let left = asked_as.deadline.saturating_duration_since(Instant::now());
    form.push(("timeout", format!("{:.3}", left.as_secs_f64())));
    if let Some(lookback) = asked_as.lookback_millis {
        form.push(("lookback_delta", format!("{}.{:03}", lookback / 1_000, lookback % 1_000)));
    }
    let request = request(path, &form, asked_as.headers).map_err(|fault| unreachable(fault.to_string()))?;
    let (head, body) = upstream.forward(request).await?.into_parts();
    let limit = if head.status == StatusCode::OK { asked_as.body_limit } else { ERROR_BODY };
    let mut reserved = asked_as.memory.open();
    let read = read(body, limit, &mut reserved).await;
    if head.status.is_client_error() || head.status.is_server_error() {
        if Instant::now() >= asked_as.deadline {
            // It ran out of the time that it was given: the client's, and ours.
            return Err(UpstreamError::Timeout { upstream: name() });
        }
        let status = head.status.as_u16();
        let message = read.map_or_else(|fault| fault, |body| decode::error_message(&body));
        return Err(UpstreamError::Refused { upstream: name(), status, message });
    }
    if head.status != StatusCode::OK {
        return Err(malformed(format!("status {} where 200 was due", head.status.as_u16())));
    }
    let body = read.map_err(malformed)?;
    let decoded = if body.len() < LARGE_BODY {
        decode::query(&body)
    } else {
        let work = tokio::task::spawn_blocking(move || decode::query(&body));
        work.await.map_err(|fault| malformed(fault.to_string()))?
    };
    let answer = decoded.map_err(|fault| match fault {
        DecodeError::Error { .. } => {
            UpstreamError::Refused { upstream: name(), status: 200, message: fault.to_string() }
        }
        DecodeError::Shape(fault) => malformed(fault),
    })?;
    // The text is gone, what it said is there until the query is answered.
    reserved.grow_to(held_bytes(&answer.data)).map_err(|fault| malformed(fault.to_string()))?;
    Ok((answer, reserved))
}

/// What a series takes beside its samples and the text of its labels, and a label beside its text, in bytes.
const SERIES_BYTES: usize = 64;
const LABEL_BYTES: usize = 48;

/// What decoded data take, about.
fn held_bytes(data: &QueryData) -> usize {
    let (QueryData::Vector(all) | QueryData::Matrix(all)) = data else { return 0 };
    let labels = |labels: &Labels| -> usize {
        labels.iter().map(|(name, value)| name.len() + value.len() + LABEL_BYTES).sum()
    };
    let series =
        |one: &Series| SERIES_BYTES + labels(&one.labels) + one.samples.capacity() * size_of::<Sample>();
    all.iter().map(series).sum()
}

/// A form, as Prometheus takes queries of any length.
fn request(
    path: &'static str,
    form: &[(&'static str, String)],
    headers: &HeaderMap,
) -> Result<Request<Body>, http::Error> {
    let mut encoded = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form {
        encoded.append_pair(name, value);
    }
    let encoded = encoded.finish();
    let mut request = Request::builder().method(Method::POST).uri(path);
    if let Some(all) = request.headers_mut() {
        *all = headers.clone();
        for name in NOT_OURS {
            all.remove(name);
        }
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        all.insert(header::CONTENT_TYPE, form);
        all.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    }
    request.body(Body::replayable(encoded))
}

/// Reads an answer whole, up to `limit` bytes. `reserved` grows by what is held.
pub(super) async fn read(mut body: Body, limit: usize, reserved: &mut Reserved) -> Result<Bytes, String> {
    let mut read = BytesMut::new();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|fault| format!("the answer broke off: {fault}"))?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > limit {
                return Err(format!("the answer is larger than {limit} bytes"));
            }
            let appended = reserved.append(&mut read, &data, announced, limit);
            appended.map_err(|fault| fault.to_string())?;
        }
    }
    Ok(read.freeze())
}

fn seconds(at: Timestamp) -> String {
    let mut text = String::new();
    write_time(&mut text, at);
    text
}
