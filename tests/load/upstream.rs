//! An upstream whose capacity is known: so many requests at a time, each for so long; others wait in line, as in a
//! Prometheus. Work ends with its client. On demand it ails.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::closed_connection::closed;

const VECTOR: &str =
    r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"1"]}]}}"#;
const EMPTY_MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;

/// Series of the answer to a target with `wide=`: some 20 MB, which as values are ten times that.
const WIDE: usize = 200_000;

fn vector_of(series: usize) -> String {
    let one = |i: usize| {
        format!(
            r#"{{"metric":{{"__name__":"wide","instance":"host-{i}:9100","job":"node"}},"value":[1,"1"]}}"#
        )
    };
    let all: Vec<String> = (0..series).map(one).collect();
    format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{}]}}}}"#, all.join(","))
}

pub(crate) struct Upstream {
    pub(crate) url: String,
    pub(crate) shared: Arc<Shared>,
}

/// How it ails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ailment {
    /// It does not.
    None,
    /// Answers with this status.
    Status(u16),
    /// Ends the connection instead of an answer, as one does that is killed.
    Closes,
    /// Ends a connection at the second request over it.
    ClosesReused,
    /// Never answers.
    Silent,
}

pub(crate) struct Shared {
    /// How many at a time.
    slots: Semaphore,
    /// How long each, in microseconds.
    pub(crate) service: AtomicU64,
    /// Which requests take so long, and are counted as studied: those whose target holds this. The evidence of the
    /// proxy's own journey is none of them.
    pub(crate) studied: Mutex<String>,
    /// How many of those came.
    pub(crate) asked: AtomicUsize,
    /// What becomes of them.
    pub(crate) ailment: Mutex<Ailment>,
    /// By how much each waiting request slows the others, in thousandths: what makes a queue a trap.
    pub(crate) drag: AtomicU64,
    /// Requests that wait or are worked on.
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
            studied: Mutex::new("query=up".to_owned()),
            asked: AtomicUsize::new(0),
            ailment: Mutex::new(Ailment::None),
            drag: AtomicU64::new(0),
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
    let mut answered = 0;
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
        let studied = target.contains(&*shared.studied.lock().unwrap());
        shared.asked.fetch_add(usize::from(studied), Ordering::SeqCst);
        let ailment = if studied { *shared.ailment.lock().unwrap() } else { Ailment::None };
        let waiting = shared.active.fetch_add(1, Ordering::SeqCst);
        let mut active = Active(&shared, false);
        let work = async {
            let Ok(_slot) = shared.slots.acquire().await else { return };
            let drag = 1.0 + waiting as f64 * shared.drag.load(Ordering::Relaxed) as f64 / 1_000.0;
            let service = Duration::from_micros(shared.service.load(Ordering::Relaxed)).mul_f64(drag);
            if ailment == Ailment::Silent {
                std::future::pending::<()>().await;
            }
            if studied && !service.is_zero() {
                tokio::time::sleep(service).await;
            }
        };
        tokio::select! {
            () = work => {}
            () = closed(&stream) => return,
        }
        active.1 = true;
        drop(active);
        answered += 1;
        match ailment {
            Ailment::Closes => return,
            Ailment::ClosesReused if answered > 1 => return,
            Ailment::Status(status) => {
                let body = r#"{"status":"error","errorType":"internal","error":"told to"}"#;
                let head = format!("HTTP/1.1 {status} Any\r\nContent-Type: application/json");
                let reply = format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
                if stream.write_all(reply.as_bytes()).await.is_err() {
                    return;
                }
                continue;
            }
            _ => {}
        }
        let wide;
        let body: &[u8] = if target.contains("wide=") {
            wide = vector_of(WIDE);
            wide.as_bytes()
        } else if target.contains("query_range") {
            EMPTY_MATRIX.as_bytes()
        } else {
            VECTOR.as_bytes()
        };
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
