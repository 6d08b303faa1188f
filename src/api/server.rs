//! The listening side: accept, serve, drain.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::serve::ListenerExt as _;
use tokio::net::TcpListener;

use super::state::ApiState;

/// How long requests that were begun may take after the server was told to stop.
const DRAIN: Duration = Duration::from_secs(30);

/// A task that ends with its value.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves until `shutdown` is done, then finishes what was begun, for at most half a minute.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    state: ApiState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Small answers at once; a failure to say so costs time, not truth.
        let _ = stream.set_nodelay(true);
    });
    let follow = {
        let state = state.clone();
        async move { state.reader_labels().follow(Arc::clone(state.engine().upstream())).await }
    };
    let follow = AbortOnDrop(tokio::spawn(follow));
    let (told, mut heard) = tokio::sync::watch::channel(());
    let stop = async move {
        shutdown.await;
        state.start_draining();
        drop(told);
    };
    let served = axum::serve(listener, router).with_graceful_shutdown(stop);
    let overdue = async {
        // Ends with an error when the sender is dropped: that is the signal.
        let _ = heard.changed().await;
        tokio::time::sleep(DRAIN).await;
    };
    let served = tokio::select! {
        served = async { served.await } => served,
        () = overdue => Ok(()),
    };
    drop(follow);
    served
}
