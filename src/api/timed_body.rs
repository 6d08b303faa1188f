//! A client's body that must arrive in time. The ready-made layer times the pause between two pieces, which one byte
//! now and then satisfies for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};

/// A body with a deadline for all of it.
pub(super) struct TimedBody {
    body: Incoming,
    deadline: Instant,
    /// Runs once the body made somebody wait.
    alarm: Option<Pin<Box<Sleep>>>,
}

/// Why a body was not read whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyFault {
    /// It did not arrive in time.
    #[error("the request did not arrive in time")]
    Late,
    /// The connection, or its framing, broke.
    #[error(transparent)]
    Broken(hyper::Error),
}

impl TimedBody {
    pub(super) fn new(body: Incoming, within: Duration) -> Self {
        Self { body, deadline: Instant::now() + within, alarm: None }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyFault::Broken)));
        }
        let deadline = self.deadline;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        alarm.as_mut().poll(context).map(|()| Some(Err(BodyFault::Late)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whether `fault` came about because a client's body was late.
pub(super) fn is_late(fault: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(fault);
    while let Some(fault) = next {
        if matches!(fault.downcast_ref(), Some(BodyFault::Late)) {
            return true;
        }
        next = fault.source();
    }
    false
}
