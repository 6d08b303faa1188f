//! One connection: hyper's HTTP/1 within limits of time and size.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use http::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::body::AnswerBody;
use super::connections::{Phase, Watched};
use super::front::Front;
use super::guarded_io::GuardedIo;
use super::timed_body::TimedBody;

/// Bounds of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// The most connections at a time.
    pub connections: usize,
    /// How long a head may take to arrive.
    pub header_timeout: Duration,
    /// The most bytes of a head.
    pub header_bytes: usize,
    /// How long a body may take to arrive, from its head on.
    pub body_timeout: Duration,
    /// How long a client may leave an answer lying without taking a byte of it.
    pub write_stall: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// How long new connections are still taken after the server was told to stop.
    pub lame_duck: Duration,
    /// How long requests that were begun may take after that.
    pub drain: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            header_timeout: Duration::from_secs(5),
            header_bytes: 16 << 10,
            body_timeout: Duration::from_secs(10),
            write_stall: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            lame_duck: Duration::from_secs(1),
            drain: Duration::from_secs(29),
        }
    }
}

/// File descriptors that are not connections of clients: those to upstreams, files, the runtime's own.
const OTHER_FILES: usize = 128;

/// The fewest connections, however few files may be open.
const FEWEST_CONNECTIONS: usize = 32;

impl ConnectionLimits {
    /// The same, with no more connections than this process may have files open.
    #[must_use]
    pub(super) fn within_file_limit(mut self) -> Self {
        let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        if let Some(files) = open_files(&limits) {
            let most = files.saturating_sub(OTHER_FILES).max(FEWEST_CONNECTIONS);
            if most < self.connections {
                tracing::warn!(
                    files,
                    connections = most,
                    "fewer connections than configured: raise ulimit -n"
                );
                self.connections = most;
            }
        }
        self
    }

    fn deadline(&self, (phase, since): (Phase, Instant)) -> Option<Instant> {
        match phase {
            Phase::Fresh | Phase::Heading => Some(since + self.header_timeout),
            Phase::Idle => Some(since + self.idle_timeout),
            Phase::Active => None,
        }
    }
}

/// The soft limit of open files in the text of Linux' `/proc/self/limits`.
fn open_files(limits: &str) -> Option<usize> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// As both sides wanted, or by the client's leaving.
    Served,
    /// A head did not arrive in time.
    HeaderTimeout,
    /// No request came.
    IdleTimeout,
    /// The client took no byte of its answer.
    WriteStall,
    /// No TLS came about.
    Handshake,
    /// It was given up for another.
    GivenUp,
    /// The server ended.
    Cut,
}

impl Ended {
    /// For the metric; `None` where nothing is told, or was told already.
    pub(super) const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Served | Self::GivenUp => None,
            Self::HeaderTimeout => Some("header_timeout"),
            Self::IdleTimeout => Some("idle_timeout"),
            Self::WriteStall => Some("write_stall"),
            Self::Handshake => Some("tls_handshake"),
            Self::Cut => Some("drain_timeout"),
        }
    }
}

/// Answers the requests of one connection.
pub(super) async fn converse<S>(
    stream: S,
    front: &Front,
    watched: Arc<Watched>,
    limits: ConnectionLimits,
    finish: CancellationToken,
) -> Ended
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let stalled = Arc::new(AtomicBool::new(false));
    let io = GuardedIo::new(stream, Arc::clone(&watched), limits.write_stall, Arc::clone(&stalled));
    let service = service_fn(|request: Request<Incoming>| {
        watched.enter(Phase::Active);
        let active = UntilIdle(Arc::clone(&watched));
        let request = request.map(|body| match body.is_end_stream() {
            true => Body::empty(),
            false => Body::new(TimedBody::new(body, limits.body_timeout)),
        });
        async move {
            let answer = front.answer(request).await;
            Ok::<_, Infallible>(answer.map(|body| Tracked { body, rest: Bytes::new(), _active: active }))
        }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        // Ours, which tells a head that is late from a connection that is idle.
        .header_read_timeout(None)
        .max_header_size(limits.header_bytes)
        .max_buf_size(WRITE_BUFFER)
        .serve_connection(TokioIo::new(io), service);
    let mut serving = pin!(serving);
    let mut alarm = pin!(tokio::time::sleep(limits.header_timeout));
    let mut finishing = false;
    loop {
        // Every change of phase happens while `serving` is polled, so the deadline is always that of the phase.
        let until_done = std::future::poll_fn(|context| {
            if serving.as_mut().poll(context).is_ready() {
                return Poll::Ready(Ended::Served);
            }
            if watched.is_active() {
                return Poll::Pending;
            }
            let phase = watched.phase();
            let Some(deadline) = limits.deadline(phase).map(tokio::time::Instant::from_std) else {
                return Poll::Pending;
            };
            if alarm.deadline() != deadline {
                alarm.as_mut().reset(deadline);
            }
            let late = if phase.0 == Phase::Idle { Ended::IdleTimeout } else { Ended::HeaderTimeout };
            alarm.as_mut().poll(context).map(|()| late)
        });
        tokio::select! {
            biased;
            ended = until_done => {
                let stalled = stalled.load(Ordering::Relaxed);
                return if stalled && ended == Ended::Served { Ended::WriteStall } else { ended };
            }
            () = watched.given_up.notified() => {
                if !watched.is_active() {
                    return Ended::GivenUp;
                }
                // A request came between the choice and this: it is answered.
                serving.as_mut().graceful_shutdown();
            }
            () = finish.cancelled(), if !finishing => {
                finishing = true;
                if watched.phase().0 == Phase::Idle {
                    return Ended::Served;
                }
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

/// How much of an answer is held for a client that is slow to take it, in bytes.
const WRITE_BUFFER: usize = 64 << 10;

/// The end of a request, when its answer is sent or given up.
struct UntilIdle(Arc<Watched>);

impl Drop for UntilIdle {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// An answer's body that says when it is done with. It hands out small pieces, so that whatever it holds until its end
/// (a part of the memory budget) is held until nearly all of it is sent, and not until hyper has taken it all.
struct Tracked {
    body: AnswerBody,
    /// Of the last piece.
    rest: Bytes,
    _active: UntilIdle,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = <AnswerBody as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                other => return other,
            }
        }
        let piece = self.rest.len().min(WRITE_BUFFER);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (mut hint, rest) = (self.body.size_hint(), self.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_read_where_there_is_one() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max processes             100                  200                  processes \n\
                    Max open files            1024                 524288               files     \n";
        assert_eq!(open_files(text), Some(1024));
        assert_eq!(
            open_files("Max open files            unlimited            unlimited            files"),
            None
        );
        assert_eq!(open_files(""), None);
    }
}
