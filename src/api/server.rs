//! The listening side: accept within a cap, serve, drain.
//!
//! An accept loop of our own, since none of the ready ones knows which connection to give up when there are too many:
//! refusing new ones would let anybody lock everybody out with idle connections. hyper speaks HTTP/1 over each.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::connection::{self, ConnectionLimits, Ended};
use super::connections::{Admission, Connections, Place};
use super::front::Front;
use super::state::ApiState;

/// How long to wait after a failure to accept: most are a lack of file descriptors, which connections that end give back.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// What a connection beyond the cap is told, where none can be given up for it.
const REFUSAL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// A task that ends with its value.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves until `shutdown` is done. Then the server says at once that it is not ready, still takes new connections for
/// [`ConnectionLimits::lame_duck`], so that a load balancer can learn it, and finishes what was begun within
/// [`ConnectionLimits::drain`].
///
/// # Errors
/// Where the listener is not usable.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    listener.local_addr()?;
    let follow = {
        let state = state.clone();
        async move { state.reader_labels().follow(Arc::clone(state.engine().upstream())).await }
    };
    let _follow = AbortOnDrop(tokio::spawn(follow));
    let limits = state.settings().connections.within_file_limit();
    // Nothing is ever sent: receiving ends when the last sender is gone.
    let (alive, mut all_ended) = mpsc::channel(1);
    let server = Server {
        connections: Arc::new(Connections::new(limits.connections)),
        alive,
        finish: CancellationToken::new(),
        end: CancellationToken::new(),
        front: Arc::new(Front::new(state.clone(), router)),
        state,
        limits,
    };
    {
        let accepting = server.accept(&listener);
        tokio::pin!(accepting, shutdown);
        tokio::select! {
            () = &mut shutdown => {}
            never = &mut accepting => match never {},
        }
        server.state.start_draining();
        tokio::select! {
            () = tokio::time::sleep(limits.lame_duck) => {}
            never = &mut accepting => match never {},
        }
    }
    drop(listener);
    let Server { connections, alive, finish, end, .. } = server;
    finish.cancel();
    drop(alive);
    if tokio::time::timeout(limits.drain, all_ended.recv()).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections that did not finish are cut");
        end.cancel();
        all_ended.recv().await;
    }
    Ok(())
}

struct Server {
    connections: Arc<Connections>,
    /// Held by every connection.
    alive: mpsc::Sender<()>,
    /// Finish the request that was begun, and close.
    finish: CancellationToken,
    /// Close at once.
    end: CancellationToken,
    front: Arc<Front>,
    state: ApiState,
    limits: ConnectionLimits,
}

/// There is no such value.
enum Never {}

impl Server {
    async fn accept(&self, listener: &TcpListener) -> Never {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => self.admit(stream),
                Err(fault) => {
                    if !is_of_connection(&fault) {
                        tracing::warn!(%fault, "cannot accept connections");
                        self.connections.give_up_one();
                        tokio::time::sleep(ACCEPT_RETRY).await;
                    }
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream) {
        let telemetry = self.state.telemetry();
        let place = match self.connections.admit() {
            Admission::Free(place) => place,
            Admission::Evicted(place) => {
                telemetry.connection_closed("evicted");
                place
            }
            Admission::Full => {
                telemetry.connection_closed("refused");
                // Whoever does not read these few bytes learns it from the end of the connection.
                let _ = stream.try_write(REFUSAL);
                return;
            }
        };
        // Small answers at once; a failure to say so costs time, not truth.
        let _ = stream.set_nodelay(true);
        let (front, limits, state) = (Arc::clone(&self.front), self.limits, self.state.clone());
        let (finish, end) = (self.finish.clone(), self.end.clone());
        let alive = self.alive.clone();
        tokio::spawn(async move {
            let _alive = alive;
            let ended = tokio::select! {
                biased;
                ended = converse(stream, &front, &state, &place, limits, finish) => ended,
                () = end.cancelled() => Ended::Cut,
            };
            if let Some(reason) = ended.reason() {
                state.telemetry().connection_closed(reason);
            }
            drop(place);
        });
        telemetry.connections(self.connections.len());
    }
}

/// Over TLS, where that is configured: its handshake is a head like any other.
async fn converse(
    stream: TcpStream,
    front: &Front,
    state: &ApiState,
    place: &Place,
    limits: ConnectionLimits,
    finish: CancellationToken,
) -> Ended {
    let watched = Arc::clone(place.watched());
    let security = state.web_security();
    let Some(tls) = security.tls() else {
        return connection::converse(stream, front, watched, limits, finish).await;
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(limits.header_timeout, tls.accept(stream)) => shaken,
        () = watched.given_up.notified() => return Ended::GivenUp,
        () = finish.cancelled() => return Ended::Served,
    };
    match shaken {
        Ok(Ok(stream)) => connection::converse(stream, front, watched, limits, finish).await,
        Ok(Err(fault)) => {
            tracing::debug!(%fault, "a TLS handshake failed");
            Ended::Handshake
        }
        Err(_) => Ended::HeaderTimeout,
    }
}

/// Whether a failure to accept concerns the connection alone that was to be accepted.
fn is_of_connection(fault: &io::Error) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    )
}
