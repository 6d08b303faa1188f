//! A client of HTTP/1.1 that measures: one connection, kept as long as it lasts.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

pub(crate) struct Client {
    address: String,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

/// What came of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    /// 0 where there was no answer in time.
    pub(crate) status: u16,
    pub(crate) took: Duration,
}

impl Client {
    pub(crate) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), stream: None, buffer: vec![0; 256 << 10] }
    }

    pub(crate) async fn get(&mut self, target: &str, patience: Duration) -> Outcome {
        self.ask("GET", target, patience).await
    }

    /// A request without a body.
    pub(crate) async fn ask(&mut self, method: &str, target: &str, patience: Duration) -> Outcome {
        let begun = Instant::now();
        let answer = tokio::time::timeout(patience, self.exchange(method, target)).await;
        let took = begun.elapsed();
        match answer {
            Ok(Ok(status)) => Outcome { status, took },
            _ => {
                self.stream = None;
                Outcome { status: 0, took }
            }
        }
    }

    async fn exchange(&mut self, method: &str, target: &str) -> std::io::Result<u16> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(&self.address).await?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
        }
        let stream = self.stream.as_mut().unwrap();
        let head = format!("{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut head = Vec::new();
        let end = loop {
            let n = stream.read(&mut self.buffer).await?;
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            head.extend_from_slice(&self.buffer[..n]);
            if let Some(end) = head.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
        };
        let text = String::from_utf8_lossy(&head[..end]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        let field = |name: &str| {
            text.lines().find_map(|line| line.strip_prefix(name).map(str::trim).map(str::to_owned))
        };
        let mut got = head.len() - end - 4;
        if let Some(length) = field("content-length:") {
            let length: usize = length.parse().unwrap();
            while got < length {
                let n = stream.read(&mut self.buffer).await?;
                if n == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                got += n;
            }
        } else {
            // Chunked: until the last, which is empty.
            let mut tail = head[end + 4..].to_vec();
            while !tail.ends_with(b"0\r\n\r\n") {
                let n = stream.read(&mut self.buffer).await?;
                if n == 0 {
                    return Err(std::io::ErrorKind::UnexpectedEof.into());
                }
                tail.extend_from_slice(&self.buffer[..n]);
                let keep = tail.len().min(8);
                tail.drain(..tail.len() - keep);
            }
        }
        if field("connection:").as_deref() == Some("close") {
            self.stream = None;
        }
        Ok(status)
    }
}

/// Requests at a rate, whether those before are answered or not, from clients with this patience; in the order of
/// their ends.
pub(crate) async fn at_rate(
    address: &str,
    target: &str,
    per_second: f64,
    length: Duration,
    patience: Duration,
) -> Vec<(Instant, Outcome)> {
    let (address, target) = (address.to_owned(), target.to_owned());
    let begun = tokio::time::Instant::now();
    let idle = std::sync::Arc::new(std::sync::Mutex::new(Vec::<Client>::new()));
    let mut sent = tokio::task::JoinSet::new();
    let total = (per_second * length.as_secs_f64()) as u64;
    for i in 0..total {
        tokio::time::sleep_until(begun + Duration::from_secs_f64(i as f64 / per_second)).await;
        let (address, target, idle) = (address.clone(), target.clone(), std::sync::Arc::clone(&idle));
        sent.spawn(async move {
            let kept = idle.lock().unwrap().pop();
            let mut client = kept.unwrap_or_else(|| Client::new(&address));
            let outcome = client.get(&target, patience).await;
            if client.stream.is_some() {
                idle.lock().unwrap().push(client);
            }
            (Instant::now(), outcome)
        });
    }
    sent.join_all().await
}
