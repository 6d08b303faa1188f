//! Bodies on their way to the upstream and back.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::http::AnswerBody;

type BoxError = Box<dyn Error + Send + Sync>;

/// A body that streams through; its errors are those of the connection.
///
/// What nearly all requests and answers have is told apart rather than boxed: each box is an allocation, and a call of
/// code that is far away.
pub struct Body(Source);

enum Source {
    /// There at once.
    Whole {
        /// `None` once they were taken, and where there are none.
        bytes: Option<Bytes>,
        /// Whether the request may be sent again.
        replayable: bool,
    },
    /// Of a server's answer.
    Answer(AnswerBody),
    /// Any other.
    Streamed(UnsyncBoxBody<Bytes, BoxError>),
}

/// A body that is there at once; an empty one where there are no bytes.
#[must_use]
pub fn whole_body(bytes: impl Into<Bytes>) -> Body {
    Body::whole(bytes.into(), false)
}

impl Body {
    fn whole(bytes: Bytes, replayable: bool) -> Self {
        Self(Source::Whole { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), replayable })
    }

    /// All of the body of a request that only reads, so that asking twice does what asking once does. With another body a
    /// request is never sent again.
    #[must_use]
    pub fn replayable(bytes: impl Into<Bytes>) -> Self {
        Self::whole(bytes.into(), true)
    }

    /// A body that comes piece by piece.
    pub fn streamed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(Source::Streamed(body.map_err(Into::into).boxed_unsync()))
    }

    /// Of a server's answer.
    pub(super) const fn of_answer(body: AnswerBody) -> Self {
        Self(Source::Answer(body))
    }

    /// The same once more, where the request may be sent again and nothing of this was taken.
    pub(super) fn again(&self) -> Option<Self> {
        match &self.0 {
            Source::Whole { bytes, replayable: true } => {
                Some(Self(Source::Whole { bytes: bytes.clone(), replayable: true }))
            }
            _ => None,
        }
    }
}

/// An empty body.
impl Default for Body {
    fn default() -> Self {
        Self::whole(Bytes::new(), false)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("size", &self.size_hint()).finish_non_exhaustive()
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Source::Whole { bytes, .. } => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Source::Answer(body) => {
                Pin::new(body).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            Source::Streamed(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole { bytes, .. } => bytes.is_none(),
            Source::Answer(body) => body.is_end_stream(),
            Source::Streamed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole { bytes, .. } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Answer(body) => body.size_hint(),
            Source::Streamed(body) => body.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_body_that_says_so_is_there_again_and_whole() {
        let mut once = Body::replayable("abc");
        let again = once.again().unwrap();
        assert_eq!((once.size_hint().exact(), once.is_end_stream()), (Some(3), false));
        assert_eq!(once.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert!(once.is_end_stream() && once.frame().await.is_none());
        assert_eq!(again.again().unwrap().collect().await.unwrap().to_bytes(), "abc");
        assert!(Body::replayable("").again().is_some_and(|empty| empty.is_end_stream()));
        assert!(whole_body("abc").again().is_none());
        let streamed = Body::streamed(http_body_util::Full::new(Bytes::from("abc")));
        assert!(streamed.again().is_none() && !streamed.is_end_stream());
        assert_eq!(streamed.collect().await.unwrap().to_bytes(), "abc");
    }
}
