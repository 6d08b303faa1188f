//! An upstream whose capacity is known: so many requests at a time, each for so long; others wait in line, as in a
//! Prometheus. Work ends with its client.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

const VECTOR: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#;
const EMPTY_MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

pub(crate) struct Upstream {
    pub(crate) url: String,
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    /// How many at a time.
    slots: Semaphore,
    /// How long each, in microseconds.
    pub(crate) service: AtomicU64,
    /// By how much each waiting request slows the others, in thousandths: what makes a queue a trap.
    pub(crate) drag: AtomicU64,
    pub(crate) queries: AtomicUsize,
    pub(crate) active: AtomicUsize,
    /// When the last request ended whose client had left.
    pub(crate) abandoned: Mutex<Vec<Instant>>,
    /// Bytes of the body of `/big`.
    big: usize,
}

impl Upstream {
    pub(crate) fn start(
        runtime: &tokio::runtime::Runtime,
        slots: usize,
        service: Duration,
        big: usize,
    ) -> Self {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            slots: Semaphore::new(slots),
            service: AtomicU64::new(service.as_micros() as u64),
            drag: AtomicU64::new(0),
            queries: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            abandoned: Mutex::default(),
            big,
        });
        let serving = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(converse(stream, Arc::clone(&serving)));
            }
        });
        Self { url, shared }
    }

    pub(crate) fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }
}

struct Active<'a>(&'a Shared, bool);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::SeqCst);
        if !self.1 {
            self.0.abandoned.lock().unwrap().push(Instant::now());
        }
    }
}

async fn converse(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut read = Vec::new();
    let mut chunk = vec![0; 8 << 10];
    loop {
        let (target, length) = loop {
            if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&read[..end]).into_owned();
                let length = head.lines().find_map(|line| {
                    line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse::<usize>().ok()
                });
                let all = end + 4 + length.unwrap_or(0);
                if read.len() >= all {
                    break (head.split(' ').nth(1).unwrap_or_default().to_owned(), all);
                }
            }
            match stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(n) => read.extend_from_slice(&chunk[..n]),
            }
        };
        read.drain(..length);
        if target.contains("/api/v1/query") {
            shared.queries.fetch_add(1, Ordering::SeqCst);
        }
        let waiting = shared.active.fetch_add(1, Ordering::SeqCst);
        let mut active = Active(&shared, false);
        let work = async {
            let Ok(_slot) = shared.slots.acquire().await else { return };
            let drag = 1.0 + waiting as f64 * shared.drag.load(Ordering::Relaxed) as f64 / 1_000.0;
            let service = Duration::from_micros(shared.service.load(Ordering::Relaxed)).mul_f64(drag);
            // What is studied is slow; the evidence of the proxy's own journey is not.
            if target.contains("query=up") && !service.is_zero() {
                tokio::time::sleep(service).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = closed(&stream) => return,
        }
        active.1 = true;
        drop(active);
        let body: &[u8] =
            if target.contains("query_range") { EMPTY_MATRIX.as_bytes() } else { VECTOR.as_bytes() };
        let big = if target.contains("big") { shared.big } else { 0 };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len() + big
        );
        let first = [head.as_bytes(), body].concat();
        if stream.write_all(&first).await.is_err() {
            return;
        }
        let blanks = vec![b' '; 64 << 10];
        let mut left = big;
        while left > 0 {
            let now = left.min(blanks.len());
            if stream.write_all(&blanks[..now]).await.is_err() {
                return;
            }
            left -= now;
        }
    }
}

async fn closed(stream: &TcpStream) {
    let mut byte = [0; 1];
    loop {
        match stream.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
}
