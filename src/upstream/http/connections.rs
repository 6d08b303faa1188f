//! Connections to one server. Each is driven by the request that uses it, in that request's own task: a task for every
//! connection, as the ready-made pool has, costs each request several hand-overs between tasks, and most of the code that
//! it runs.

use std::error::Error;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::coop::unconstrained;
use tower::Service as _;

use crate::upstream::Body;

/// How much of an answer is read ahead, in bytes: a client that takes it slowly holds no more of it here.
const READ_BUFFER: usize = 128 << 10;

/// How long an unused connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum SendError {
    /// No connection.
    #[error(transparent)]
    Connect(Box<dyn Error + Send + Sync>),
    /// The connection broke, or the request's own body did.
    #[error(transparent)]
    Broken(hyper::Error),
}

/// See the module.
pub(super) struct Connections {
    connector: HttpsConnector<HttpConnector>,
    /// Scheme and authority of the server.
    server: Uri,
    idle: Arc<Idle>,
}

/// Those that nobody uses, the one that was used last at the end.
#[derive(Default)]
struct Idle(Mutex<Vec<(Instant, Box<Line>)>>);

impl Idle {
    fn take(&self) -> Option<Box<Line>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let is_late = |(since, _): &(Instant, Box<Line>)| now.duration_since(*since) >= IDLE_TIMEOUT;
        // Nearly always none is: one look at the oldest tells.
        if kept.first().is_some_and(is_late) {
            let late = kept.partition_point(is_late);
            kept.drain(..late);
        }
        kept.pop().map(|(_, line)| line)
    }

    fn put(&self, line: Box<Line>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push((Instant::now(), line));
    }
}

/// One connection.
struct Line {
    sender: SendRequest<Body>,
    /// `None` once it has ended.
    connection: Option<Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Body>>,
}

impl Line {
    /// Moves it on as far as it goes, and has `context` woken when it can go on.
    fn drive(&mut self, context: &mut Context<'_>) {
        // No budget keeps it back: what it does for one request is bounded by what there is to read and write at once.
        let done = self
            .connection
            .as_mut()
            .is_some_and(|connection| Pin::new(&mut unconstrained(connection)).poll(context).is_ready());
        if done {
            // Whoever waits for an answer is told by its end.
            self.connection = None;
        }
    }

    /// The same, and has nobody woken: neither what happens to it while nobody uses it concerns anybody, nor what its own
    /// user does to it.
    fn drive_quietly(&mut self) {
        self.drive(&mut Context::from_waker(Waker::noop()));
    }

    /// Moves it on until `look` sees something, which comes by driving alone. Quietly first: where a task is woken by what
    /// it does itself it is run once more in vain, and a thread that was idle is woken to do so.
    fn drive_until<T>(
        &mut self,
        context: &mut Context<'_>,
        mut look: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let quiet = &mut Context::from_waker(Waker::noop());
        self.drive_quietly();
        let seen = look(quiet);
        if seen.is_ready() {
            return seen;
        }
        self.drive(context);
        look(quiet)
    }

    /// Whether another request can be sent.
    fn is_free(&self) -> bool {
        self.connection.is_some() && self.sender.is_ready()
    }
}

impl Connections {
    pub(super) fn new(connector: HttpsConnector<HttpConnector>, server: Uri) -> Self {
        Self { connector, server, idle: Arc::default() }
    }

    /// Sends a request, whose URI is a path and whose headers are complete. One that finds its connection closed before
    /// any of it was sent goes over another one.
    pub(super) async fn send(&self, mut request: Request<Body>) -> Result<Response<AnswerBody>, SendError> {
        loop {
            let (mut line, used) = match self.idle.take() {
                Some(line) => (line, true),
                // Rarely, and in a box of its own, which no other request makes room for.
                None => (Box::pin(self.connect()).await?, false),
            };
            // No budget keeps it back either: nobody would be woken for it.
            let mut answer = pin!(unconstrained(line.sender.try_send_request(request)));
            let asked = poll_fn(|context| line.drive_until(context, |quiet| answer.as_mut().poll(quiet)));
            // Nobody looked at a used one meanwhile: the server may have closed it, or broken it. That is seen before
            // anything is written to it, and gives the request back.
            match asked.await {
                Ok(answer) => return Ok(self.answer(answer, line)),
                Err(mut fault) => match fault.take_message() {
                    Some(unsent) if used => request = unsent,
                    _ => return Err(SendError::Broken(fault.into_error())),
                },
            }
        }
    }

    async fn connect(&self) -> Result<Box<Line>, SendError> {
        let stream = self.connector.clone().call(self.server.clone()).await.map_err(SendError::Connect)?;
        // Most requests are a head alone, and a form is short: both in one piece cost less than a list of two.
        let shaken = Builder::new().max_buf_size(READ_BUFFER).writev(false).handshake(stream).await;
        let (sender, connection) = shaken.map_err(SendError::Broken)?;
        Ok(Box::new(Line { sender, connection: Some(connection) }))
    }

    fn answer(&self, answer: Response<Incoming>, line: Box<Line>) -> Response<AnswerBody> {
        let mut line = Some(line);
        if let Some(all_is_there) = line.take_if(|line| line.is_free()) {
            self.idle.put(all_is_there);
        }
        answer.map(|body| AnswerBody { body, line, idle: Arc::clone(&self.idle), fault: None })
    }
}

/// The body of an answer. It drives its connection, and gives it back at its end; dropped before, it closes it.
pub(in crate::upstream) struct AnswerBody {
    body: Incoming,
    /// `None` where the connection has done its part.
    line: Option<Box<Line>>,
    idle: Arc<Idle>,
    /// Found, and told at the next look.
    fault: Option<hyper::Error>,
}

impl AnswerBody {
    fn give_back(&mut self) {
        if let Some(mut line) = self.line.take() {
            line.drive_quietly();
            if line.is_free() {
                self.idle.put(line);
            }
        }
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let answer = &mut *self;
        if let Some(fault) = answer.fault.take() {
            return Poll::Ready(Some(Err(fault)));
        }
        let body = &mut answer.body;
        let mut frame = Pin::new(&mut *body).poll_frame(&mut Context::from_waker(Waker::noop()));
        if let (Poll::Pending, Some(line)) = (&frame, &mut answer.line) {
            frame = line.drive_until(context, |quiet| Pin::new(&mut *body).poll_frame(quiet));
        }
        match frame {
            Poll::Ready(Some(Err(fault))) => {
                // What came before it is sent first: a client that sees nothing at all may take it that its request was
                // not received, and send it again.
                answer.line = None;
                answer.fault = Some(fault);
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(None) => answer.give_back(),
            Poll::Ready(Some(Ok(_))) if answer.body.is_end_stream() => answer.give_back(),
            _ => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
