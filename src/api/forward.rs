//! Pass-through: a request that concerns no synthetic series goes to the upstream as it came, and its answer streams
//! back byte for byte.

use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::StatusCode;
use hyper::body::Body as _;

use super::body::{self, ReadError, to_upstream};
use super::error::ApiError;
use super::json_weight::JsonWeight;
use super::parameters::Call;
use super::state::ApiState;
use crate::telemetry::FORWARD;
use crate::upstream::memory::{Exhausted, Reserved};
use crate::upstream::{Body as UpstreamBody, UpstreamError};
use crate::wire::prometheus_json::decode;

/// Passes on a request that nobody looked at.
pub(crate) async fn untouched(state: &ApiState, request: http::Request<Body>) -> Response {
    to_client(send(state, &mut as_it_came(request)).await)
}

/// Passes on a request whose parameters were read.
pub(crate) async fn unchanged(state: &ApiState, call: Call) -> Response {
    to_client(send(state, &mut call.into_request()).await)
}

/// A request that nobody looked at, for the upstream.
pub(crate) fn as_it_came(request: http::Request<Body>) -> http::Request<UpstreamBody> {
    let only_reads = request.method().is_safe();
    request.map(|body| match body.is_end_stream() {
        true if only_reads => UpstreamBody::replayable(Bytes::new()),
        true => UpstreamBody::default(),
        false => to_upstream(body),
    })
}

/// Sends a request to the upstream, and counts it. Takes its body.
pub(crate) async fn send(
    state: &ApiState,
    request: &mut http::Request<UpstreamBody>,
) -> Result<http::Response<UpstreamBody>, UpstreamError> {
    let begun = Instant::now();
    let answer = state.upstream().attempt(request).await;
    state.telemetry().upstream_request(FORWARD, answer.is_ok(), begun.elapsed());
    answer
}

fn to_client(answer: Result<http::Response<UpstreamBody>, UpstreamError>) -> Response {
    match answer {
        Ok(answer) => answer.map(Body::new),
        Err(error) => ApiError::from(error).into_response(),
    }
}

/// What the upstream answered to a request whose answer is merged with ours.
pub(crate) enum Theirs {
    /// A success, to be merged, and its share of memory, to be held until that is done.
    Answered(serde_json::Value, Reserved),
    /// The request is at fault, says the upstream: the client gets its words.
    Refused(StatusCode, Bytes),
    /// It could not be asked, or its answer is unusable. A sentence that names the upstream.
    Failed(String),
    /// There is no room for it, now or at all, of which the client is told the right one.
    NoRoom(ApiError),
}

/// Asks the upstream for an answer that is merged with ours.
pub(crate) async fn readable(state: &ApiState, call: Call) -> Theirs {
    let begun = Instant::now();
    let theirs = ask(state, call).await;
    state.telemetry().upstream_request(
        "merge",
        !matches!(theirs, Theirs::Failed(_) | Theirs::NoRoom(_)),
        begun.elapsed(),
    );
    theirs
}

async fn ask(state: &ApiState, call: Call) -> Theirs {
    let name = state.upstream().name();
    let limit = state.settings().limits.body_bytes;
    let answer = match state.upstream().forward(call.into_readable_request()).await {
        Ok(answer) => answer,
        Err(error @ UpstreamError::Busy { .. }) => return Theirs::NoRoom(error.into()),
        Err(error) => return Theirs::Failed(error.to_string()),
    };
    let (head, body) = answer.into_parts();
    let mut reserved = state.memory().open();
    let bytes = match body::read(body, limit, &mut reserved).await {
        Ok(bytes) => bytes,
        Err(ReadError::Exhausted(full)) => return Theirs::NoRoom(full.into()),
        Err(error) => return Theirs::Failed(format!("upstream {name}: {error}")),
    };
    if head.status.is_client_error() {
        return Theirs::Refused(head.status, bytes);
    }
    if head.status != StatusCode::OK {
        return Theirs::Failed(format!("upstream {name} answered {}", head.status.as_u16()));
    }
    let memory = state.memory().clone();
    let (parsed, held) = off_the_runtime(reserved, move || parse(&bytes, memory.open())).await;
    match parsed {
        Err(Unparsed::Exhausted(full)) => Theirs::NoRoom(full.into()),
        Err(Unparsed::Json(error)) => {
            Theirs::Failed(format!("upstream {name} gave an unusable answer: {error}"))
        }
        Ok(value) if has_long_text(&value) => {
            let limit = decode::MAX_STRING_BYTES;
            Theirs::Failed(format!("upstream {name} gave a name or value of more than {limit} bytes"))
        }
        Ok(value) if value.get("status").and_then(|status| status.as_str()) == Some("success") => {
            Theirs::Answered(value, held)
        }
        Ok(_) => Theirs::Failed(format!("upstream {name} gave an answer without success")),
    }
}

/// Why a text is no value here.
enum Unparsed {
    Exhausted(Exhausted),
    Json(serde_json::Error),
}

/// A value is made only where there is room for it.
fn parse(bytes: &Bytes, mut reserved: Reserved) -> (Result<serde_json::Value, Unparsed>, Reserved) {
    let parsed = serde_json::from_slice::<JsonWeight>(bytes).map_err(Unparsed::Json).and_then(|weight| {
        // The text is there beside it.
        reserved.grow_to(weight.0).map_err(|full| Unparsed::Exhausted(full.beside(bytes.len())))?;
        serde_json::from_slice(bytes).map_err(Unparsed::Json)
    });
    (parsed, reserved)
}

/// Work of at least so many bytes is not done on an async thread.
const LARGE: usize = 128 << 10;

/// Does work on what is `held`, and gives that back when it is done: elsewhere where it is much, so that it does not
/// stall every other request.
pub(crate) async fn off_the_runtime<T: Send + 'static>(
    held: Reserved,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    if held.bytes() < LARGE {
        return work();
    }
    // Also where nobody waits any more.
    let holding = move || {
        let _held = held;
        work()
    };
    match tokio::task::spawn_blocking(holding).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is shutting down, nobody will see this future again.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Whether any text in an answer is longer than a label may be: what is merged is held, sorted and sent again.
fn has_long_text(value: &serde_json::Value) -> bool {
    let long = |text: &str| text.len() > decode::MAX_STRING_BYTES;
    match value {
        serde_json::Value::String(text) => long(text),
        serde_json::Value::Array(all) => all.iter().any(has_long_text),
        serde_json::Value::Object(all) => all.iter().any(|(name, value)| long(name) || has_long_text(value)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::memory::MemoryBudget;

    #[tokio::test]
    async fn a_text_becomes_a_value_only_where_there_is_room_for_the_value() {
        let series = r#"{"metric":{"a":"b"},"value":[1,"1"]},"#;
        let text = Bytes::from(format!("[{}1]", series.repeat(10_000)));
        // Room for the text, twice.
        let budget = MemoryBudget::new(2 * text.len());
        assert!(matches!(parse(&text, budget.open()), (Err(Unparsed::Exhausted(_)), _)));
        assert_eq!(budget.in_use(), 0);
        let budget = MemoryBudget::new(100 * text.len());
        let (value, held) = parse(&text, budget.open());
        assert!(value.is_ok() && budget.in_use() >= held.bytes() && held.bytes() > 4 * text.len());
        // Held until what is done with it is done, on another thread.
        let counted = budget.clone();
        assert!(off_the_runtime(held, move || counted.in_use()).await > 0);
        assert_eq!(budget.in_use(), 0);
        assert!(matches!(parse(&Bytes::from("[1,"), budget.open()), (Err(Unparsed::Json(_)), _)));
    }
}
