//! Bodies read whole, under a budget that counts after decompression.

use std::io::Read as _;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, HeaderMap};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;

use crate::upstream::memory::{Exhausted, Reserved};

/// The greatest body of an error answer, in bytes.
pub(super) const ERROR_LIMIT: usize = 64 << 10;

/// From this size on, decompressing and decoding move to a blocking thread.
const BLOCKING_FROM: usize = 128 << 10;

/// How much smaller JSON becomes by gzip, as a rule.
const EXPECTED_RATIO: usize = 8;

/// Why a body is not usable.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    /// The connection broke, or the length was wrong.
    #[error("the body broke off: {0}")]
    Broken(String),
    /// Too much.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// Too much together with all others.
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    /// Not what `Content-Encoding` says.
    #[error("the body is not the gzip stream that its header announces: {0}")]
    Gzip(std::io::Error),
}

/// Whether the body is compressed.
pub(super) fn is_gzip(headers: &HeaderMap) -> Result<bool, String> {
    match headers.get(CONTENT_ENCODING).map(|value| value.to_str()) {
        None | Some(Ok("" | "identity")) => Ok(false),
        Some(Ok("gzip" | "x-gzip")) => Ok(true),
        Some(other) => Err(format!("the content encoding {other:?} was not asked for")),
    }
}

/// Reads and decompresses. `reserved` grows by what is held.
pub(super) async fn read(
    mut body: super::AnswerBody,
    gzip: bool,
    limit: usize,
    reserved: &mut Reserved,
) -> Result<Bytes, BodyError> {
    let mut raw = BytesMut::new();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| BodyError::Broken(super::chain(&e)))?;
        if let Ok(data) = frame.into_data() {
            if raw.len() + data.len() > limit {
                return Err(BodyError::TooLarge(limit));
            }
            reserved.append(&mut raw, &data, announced, limit)?;
        }
    }
    let raw = raw.freeze();
    if !gzip {
        return Ok(raw);
    }
    let expected = raw.len().saturating_mul(EXPECTED_RATIO).min(limit);
    reserved.grow_to(raw.len().saturating_add(expected))?;
    let unzip = move |raw: &Bytes| {
        let mut out = Vec::with_capacity(expected);
        let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
        let mut decoder = flate2::read::MultiGzDecoder::new(&raw[..]).take(most);
        decoder.read_to_end(&mut out).map_err(BodyError::Gzip)?;
        if out.len() > limit { Err(BodyError::TooLarge(limit)) } else { Ok(Bytes::from(out)) }
    };
    let packed = raw.len();
    let unzipped = off_the_runtime(raw, unzip).await?;
    reserved.grow_to(packed.saturating_add(unzipped.len()))?;
    Ok(unzipped)
}

/// Runs `work` on a blocking thread where the body is large, so that one big answer does not stall every other request.
pub(super) async fn off_the_runtime<T, E>(
    body: Bytes,
    work: impl FnOnce(&Bytes) -> Result<T, E> + Send + 'static,
) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    if body.len() < BLOCKING_FROM {
        return work(&body);
    }
    match tokio::task::spawn_blocking(move || work(&body)).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is shutting down, nobody will see this future again.
            Err(_) => std::future::pending().await,
        },
    }
}
