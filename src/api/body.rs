//! Bodies between the server's type and the upstream's.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::timed_body::is_late;
use crate::upstream::memory::{Exhausted, Reserved};
use crate::upstream::{Body as UpstreamBody, RequestBroken};

/// A body on its way to the upstream.
pub(crate) fn to_upstream(body: Body) -> UpstreamBody {
    let broken = |fault: axum::Error| RequestBroken { late: is_late(&fault), fault: fault.to_string() };
    UpstreamBody::streamed(body.map_err(broken))
}

/// Why a body was not read whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the answer broke off: {0}")]
    Broken(String),
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

/// Reads an answer of the upstream whole, up to `limit` bytes. `reserved` grows by what is held.
pub(crate) async fn read(
    mut body: UpstreamBody,
    limit: usize,
    reserved: &mut Reserved,
) -> Result<Bytes, ReadError> {
    let mut read = BytesMut::new();
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX).min(limit);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ReadError::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            if read.len() + data.len() > limit {
                return Err(ReadError::TooLarge(limit));
            }
            reserved.append(&mut read, &data, announced, limit)?;
        }
    }
    Ok(read.freeze())
}

/// The body of an answer to a client: the upstream's goes to it without another box around it.
pub(crate) enum AnswerBody {
    Upstreams(UpstreamBody),
    Own(Body),
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match &mut *self {
            Self::Upstreams(body) => Pin::new(body).poll_frame(context),
            Self::Own(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Upstreams(body) => body.is_end_stream(),
            Self::Own(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Upstreams(body) => body.size_hint(),
            Self::Own(body) => body.size_hint(),
        }
    }
}

/// A body that holds its share of memory until its end.
struct Held {
    body: Body,
    _reserved: Reserved,
}

/// The same body, which gives back `reserved` when it is sent or given up.
pub(crate) fn holding(body: Body, reserved: Reserved) -> Body {
    Body::new(Held { body, _reserved: reserved })
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
