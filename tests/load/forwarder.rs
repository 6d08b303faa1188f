//! The cheapest proxy that there can be, as the control arm of what passes through: it copies bytes both ways and
//! knows nothing of HTTP. What it takes, every proxy on this machine takes.

use tokio::net::{TcpListener, TcpStream};

/// Serves until the test ends, on a thread of its own, with as many workers as the machine has cores.
pub(crate) struct Forwarder {
    pub(crate) address: String,
    _runtime: tokio::runtime::Runtime,
}

impl Forwarder {
    pub(crate) fn start(upstream: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let upstream = upstream.to_owned();
        runtime.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(forward(client, upstream.clone()));
            }
        });
        Self { address, _runtime: runtime }
    }
}

async fn forward(mut client: TcpStream, upstream: String) {
    let Ok(mut upstream) = TcpStream::connect(upstream).await else { return };
    if client.set_nodelay(true).is_ok() && upstream.set_nodelay(true).is_ok() {
        let room = 128 << 10;
        let _ = tokio::io::copy_bidirectional_with_sizes(&mut client, &mut upstream, room, room).await;
    }
}
