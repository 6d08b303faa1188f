//! `/api/v1/read`: remote read, over synthetic series alone.
//!
//! Every other selector is answered empty at once and never forwarded: a Prometheus that reads from here while its own
//! remote read is asked from here would go round in circles. Its own series it has anyway.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, header};
use http_body_util::BodyExt as _;

use super::body::holding;
use super::error::ApiError;
use super::state::ApiState;
use super::tenant;
use super::timed_body::is_late;
use crate::execute::{ReadError, SelectError};
use crate::promql::matcher::MatcherSet;
use crate::series::{Labels, MatchOp, Matcher, NAME};
use crate::synthetic::catalog;
use crate::unit::Timestamp;
use crate::upstream::memory::Reserved;
use crate::wire::prometheus_json::ErrorType;
use crate::wire::remote_read::read_request::ResponseType;
use crate::wire::remote_read_request::{self, MAX_REQUEST_BYTES, RemoteQuery, RequestError};
use crate::wire::remote_read_response::{self, ChunkedSeries, XorChunk};

/// How long the regular expressions of a request may take to compile.
const COMPILE_BUDGET: Duration = Duration::from_secs(1);

/// The most regular expressions of one request. Each is tried on every series.
const MAX_REGEXES: usize = 256;

/// A request beyond this, in bytes, before or after decompression, counts as in flight until it is decoded. One that
/// Prometheus sends has less than a KiB.
const LARGE_REQUEST_BYTES: usize = 1 << 20;

/// The longest name of a matcher's label that is remembered as said, and the longest value that is logged, in bytes.
const MAX_SAID_BYTES: usize = 256;

/// What a sample has in a message of samples before it is compressed, in bytes; rounded up.
const SAMPLE_BYTES: usize = 24;

/// A body as sent, and the right to be that large.
struct RequestBody {
    bytes: BytesMut,
    reserved: Reserved,
}

impl RequestBody {
    /// Makes sure that it may have so many bytes in all.
    fn admit(&mut self, bytes: usize) -> Result<(), ApiError> {
        if bytes <= LARGE_REQUEST_BYTES {
            return Ok(());
        }
        self.reserved.grow_to(bytes).map_err(ApiError::from)
    }
}

/// A query whose matchers are compiled.
struct Asked {
    matchers: MatcherSet,
    from: Timestamp,
    to: Timestamp,
    existence_only: bool,
}

/// `/api/v1/read`
pub(crate) async fn remote_read(State(state): State<ApiState>, request: Request) -> Response {
    let begun = Instant::now();
    let answer = answer(&state, request).await;
    let result = match &answer {
        Ok(_) => "ok",
        Err(error) if error.status.unwrap_or_else(|| error.kind.status()) < 500 => "refused",
        Err(_) => "failed",
    };
    state.telemetry().remote_read(result, begun.elapsed());
    answer.unwrap_or_else(|error| {
        let again = error.again || error.status == Some(503);
        ApiError { again, ..error }.into_response()
    })
}

async fn answer(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    if *request.method() != Method::POST {
        let message = format!("remote read is a POST, not a {}", request.method());
        return Err(ApiError { status: Some(405), ..ApiError::bad_data(message) });
    }
    if tenant::is_foreign(state, request.headers()) {
        return Err(tenant::refusal(state));
    }
    let mut body = body(state, request).await?;
    let announced = remote_read_request::announced(&body.bytes)?;
    body.admit(body.bytes.len() + announced)?;
    let (response, queries) = compiled(state, body).await?;
    let mut results = Vec::with_capacity(queries.len());
    let mut samples_left = state.settings().limits.samples;
    for query in &queries {
        let series = if query.existence_only {
            existing(state, query)
        } else {
            state.engine().read(&query.matchers, query.from, query.to, samples_left).await?
        };
        let spent: usize =
            series.iter().flat_map(|one| &one.chunks).map(|chunk| usize::from(chunk.samples)).sum();
        samples_left = samples_left.saturating_sub(spent);
        results.push(series);
    }
    send(state, response, results).await
}

async fn body(state: &ApiState, request: Request) -> Result<RequestBody, ApiError> {
    let too_large = |bytes: usize| ApiError::from(RequestError::TooLarge { bytes });
    let announced = request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if let Some(bytes) = announced.and_then(|text| text.parse::<usize>().ok())
        && bytes > MAX_REQUEST_BYTES
    {
        return Err(too_large(bytes));
    }
    let mut body = request.into_body();
    let mut read = RequestBody { bytes: BytesMut::new(), reserved: state.memory().open() };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::request_broken(is_late(&error), format!("reading the request: {error}"))
        })?;
        if let Ok(data) = frame.into_data() {
            let bytes = read.bytes.len() + data.len();
            if bytes > MAX_REQUEST_BYTES {
                return Err(too_large(bytes));
            }
            read.admit(bytes)?;
            read.bytes.extend_from_slice(&data);
        }
    }
    Ok(read)
}

/// Decodes a request and compiles its matchers, without those that only the reader's own labels satisfy.
async fn compiled(state: &ApiState, body: RequestBody) -> Result<(ResponseType, Vec<Asked>), ApiError> {
    let state = state.clone();
    let compiling = tokio::task::spawn_blocking(move || {
        let RequestBody { bytes, reserved } = body;
        let read = remote_read_request::decode(&bytes)?;
        drop(bytes);
        let regexes = read.queries.iter().flat_map(|query| &query.matchers);
        let regexes =
            regexes.filter(|matcher| matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex)).count();
        if regexes > MAX_REGEXES {
            let message = format!("the request has {regexes} regular expressions, allowed are {MAX_REGEXES}");
            return Err(ApiError::bad_data(message));
        }
        let begun = Instant::now();
        let mut all = Vec::with_capacity(read.queries.len());
        for query in read.queries {
            let matchers: Vec<Matcher> =
                query.matchers.into_iter().filter(|m| !is_readers(&state, m)).collect();
            // One by one, so that a heap of expensive ones is refused after the first few.
            for matcher in &matchers {
                MatcherSet::new(vec![matcher.clone()])?;
                if begun.elapsed() > COMPILE_BUDGET {
                    let message =
                        "the regular expressions of the matchers take too long to compile; simplify them";
                    return Err(ApiError::bad_data(message));
                }
            }
            let RemoteQuery { from, to, existence_only, .. } = query;
            all.push(Asked { matchers: MatcherSet::new(matchers)?, from, to, existence_only });
        }
        drop(reserved);
        Ok((read.response, all))
    });
    compiling.await.unwrap_or_else(|_| Err(ApiError::new(ErrorType::Internal, "an internal fault")))
}

/// Whether a matcher is one that a reader adds to find its own series: on a label that no synthetic series has, and
/// that is known to be a reader's. Any other condition that no series can satisfy is counted and said once.
fn is_readers(state: &ApiState, matcher: &Matcher) -> bool {
    if matcher.op != MatchOp::Equal || matcher.value.is_empty() || matcher.name == NAME {
        return false;
    }
    let external = state.engine().settings().external_labels.get(&matcher.name);
    if external.is_empty() && !catalog::LABELS.contains(&&*matcher.name) {
        if state.reader_labels().contains(&matcher.name) {
            return true;
        }
        note_unsatisfiable(state, matcher);
    } else if !external.is_empty() && external != matcher.value {
        note_unsatisfiable(state, matcher);
    }
    false
}

/// An empty answer here is silent on the other side: rules see nothing, and alerts end.
fn note_unsatisfiable(state: &ApiState, matcher: &Matcher) {
    state.telemetry().remote_read_unsatisfiable();
    if matcher.name.len() <= MAX_SAID_BYTES && state.reader_labels().is_first(&matcher.name) {
        tracing::warn!(
            label = matcher.name,
            value = if matcher.value.len() <= MAX_SAID_BYTES { &*matcher.value } else { "…" },
            "a remote reader asks for a label that no synthetic series has, and gets nothing: if it is an external \
             label of the reader, set remote_read.reader_labels here or filter_external_labels: false there"
        );
    }
}

fn existing(state: &ApiState, query: &Asked) -> Vec<ChunkedSeries> {
    if query.from > query.to || query.from > state.now() {
        return Vec::new();
    }
    let known = state.known_series();
    let mut all: Vec<Labels> =
        known.iter().filter(|labels| query.matchers.matches(labels)).cloned().collect();
    all.extend(state.engine().kept_series(&query.matchers, query.from, query.to));
    all.sort_unstable();
    all.dedup();
    all.into_iter().map(|labels| ChunkedSeries { labels, chunks: Vec::new() }).collect()
}

async fn send(
    state: &ApiState,
    response: ResponseType,
    results: Vec<Vec<ChunkedSeries>>,
) -> Result<Response, ApiError> {
    let bytes_of_chunk = |chunk: &XorChunk| match response {
        ResponseType::Samples => usize::from(chunk.samples) * SAMPLE_BYTES,
        ResponseType::StreamedXorChunks => chunk.bytes.len(),
    };
    let held = results.iter().flatten().flat_map(|series| &series.chunks).map(bytes_of_chunk).sum();
    let reserved = state.memory().reserve(held).map_err(ApiError::from)?;
    // Not marked as our own: it must not be compressed once more, and no browser reads it.
    let mut answer = match response {
        ResponseType::Samples => {
            let work = tokio::task::spawn_blocking(move || remote_read_response::samples(&results));
            let body = work.await.map_err(|fault| ApiError::new(ErrorType::Internal, fault.to_string()))?;
            let body = body.map_err(|fault| ApiError::new(ErrorType::Internal, fault.to_string()))?;
            let mut answer = Response::new(Body::from(body));
            answer.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            answer
        }
        ResponseType::StreamedXorChunks => {
            let series = results
                .into_iter()
                .enumerate()
                .flat_map(|(query, all)| all.into_iter().map(move |series| (query, series)));
            // Each frame is made when the one before is on its way.
            let frames = series.map(|(query, series)| {
                Ok::<_, std::convert::Infallible>(Bytes::from(remote_read_response::frame(query, series)))
            });
            Response::new(Body::from_stream(futures::stream::iter(frames)))
        }
    };
    let content_type = match response {
        ResponseType::Samples => "application/x-protobuf",
        ResponseType::StreamedXorChunks => {
            "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"
        }
    };
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    Ok(answer.map(|body| holding(body, reserved)))
}

impl From<RequestError> for ApiError {
    fn from(error: RequestError) -> Self {
        let status = matches!(error, RequestError::TooLarge { .. }).then_some(413);
        Self { status, ..Self::bad_data(error.to_string()) }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        match &error {
            // The reader logs status and message: a gateway's status says that asking again may help.
            ReadError::Past(SelectError::Upstream { .. }) => {
                Self { status: Some(503), ..Self::new(ErrorType::Unavailable, error.to_string()) }
            }
            ReadError::Past(fault) => Self::from(fault),
            ReadError::Busy { .. } => {
                Self { status: Some(503), ..Self::new(ErrorType::Unavailable, error.to_string()) }
            }
            ReadError::TooManySamples { .. } | ReadError::TooManyBytes => Self::execution(error.to_string()),
        }
    }
}
