//! When the other side of a connection has gone.

use std::time::Duration;

use tokio::net::TcpStream;

/// Done when the other side has closed. Whoever sends while it waits for an answer is taken for one who stays.
pub(crate) async fn closed(stream: &TcpStream) {
    let mut byte = [0; 1];
    loop {
        match stream.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}
