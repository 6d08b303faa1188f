//! A Prometheus over HTTP that goes wrong on demand: an honest store behind a server that speaks bytes, so that it can
//! stop, drip, cut, lie about lengths, reset, and flood.

use std::io::Write as _;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use emac::series::Labels;
use emac::unit::Timestamp;
use emac::upstream::embedded::{EmbeddedStore, EmbeddedUpstream, StoreLimits, TargetId};
use emac::upstream::{Upstream as _, whole_body};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::closed_connection::closed;
use crate::prometheus::wait_for;

/// Two services in series, by the success of their codes.
pub(crate) const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {window: 30d, target: 0.99}
    latency: {window: 30d, objective: {metric: p90, threshold: 400ms}}
  windows: [5m]
  expression: Series(front, pay)
  components:
    front: {telemetry: {histogram: m, matchers: {service: front}, success: {code: '!~\"5..\"'}}}
    pay: {telemetry: {histogram: m, matchers: {service: pay}, success: {code: '!~\"5..\"'}}}
";

/// The distance of two scrapes and of two evaluations.
pub(crate) const STEP: i64 = 15_000;

const EDGES: [&str; 3] = ["0.1", "0.5", "+Inf"];

/// What goes wrong with each answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    None,
    /// Reads and never answers.
    Silent,
    /// Answers late.
    Latency(Duration),
    /// One byte a second.
    Drip,
    /// Ends the connection after so many bytes of the answer, head included.
    CutAt(usize),
    /// 200 and bytes that mean nothing.
    Garbage,
    /// Announces more than it sends, and ends.
    TooShort,
    /// Announces less than it sends.
    TooLong,
    /// 204 without a body.
    NoContent,
    Status(u16),
    /// The right numbers, and `warnings`.
    Warnings,
    /// Only queries that hold this text fail, with 422.
    Refuses(&'static str),
    /// The connection is reset instead of an answer.
    Reset,
    /// The next connection that asks is reset instead of an answer; afterwards all is well.
    ResetOnce,
    /// The connection is reset where it was used before; a first request is answered.
    ResetReused,
    /// So many bytes of blanks before the answer.
    Padding(usize),
    /// An answer that unpacks to so many bytes.
    GzipBomb(usize),
    /// A series whose label has so many bytes.
    LongLabel(usize),
}

/// What the shop is like.
#[derive(Debug, Clone)]
pub(crate) struct Shop {
    /// Codes that have series.
    pub(crate) codes: &'static [&'static str],
    /// Nobody calls.
    pub(crate) idle: bool,
    /// Every call is slower than the last finite edge.
    pub(crate) slow: bool,
    /// The second service is not scraped any more after this point.
    pub(crate) gone_after: Option<i64>,
    /// Neither is.
    pub(crate) stopped_after: Option<i64>,
    /// The second service is scraped from this point on.
    pub(crate) begins_at: Option<i64>,
    /// Every counter starts anew at this point.
    pub(crate) restarts_at: Option<i64>,
    /// The second service has a further instance, without the buckets of this edge.
    pub(crate) lacks: Option<&'static str>,
    /// By how much the clock of scrapes is ahead, in milliseconds.
    pub(crate) ahead: i64,
}

impl Default for Shop {
    fn default() -> Self {
        Self {
            codes: &["200", "500"],
            idle: false,
            slow: false,
            gone_after: None,
            stopped_after: None,
            begins_at: None,
            restarts_at: None,
            lacks: None,
            ahead: 0,
        }
    }
}

/// One instance of a service.
struct Instance {
    /// The first or the second.
    service: usize,
    target: TargetId,
    /// Which of all buckets it has.
    buckets: Vec<usize>,
    /// Of all buckets.
    counters: Vec<f64>,
}

/// What was seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Request lines and headers.
    heads: Mutex<Vec<String>>,
    /// Requests that are being answered.
    active: AtomicUsize,
    /// Requests of the query API.
    queries: AtomicUsize,
    /// Connections accepted.
    connections: AtomicUsize,
}

struct Active<'a>(&'a AtomicUsize);

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Shared {
    fault: Mutex<Fault>,
    seen: Seen,
    honest: EmbeddedUpstream,
}

/// See the module. Ends with its value.
pub(crate) struct FaultyUpstream {
    pub(crate) url: String,
    shared: Arc<Shared>,
    shop: Shop,
    store: Arc<EmbeddedStore>,
    clock: Arc<AtomicI64>,
    /// And the newest scrape.
    instances: Mutex<(i64, Vec<Instance>)>,
    runtime: Option<tokio::runtime::Runtime>,
    serving: Mutex<Option<tokio::task::JoinHandle<()>>>,
}

impl FaultyUpstream {
    pub(crate) fn start() -> Self {
        Self::with(Shop::default())
    }

    pub(crate) fn with(shop: Shop) -> Self {
        let limits =
            StoreLimits { retention: "1d".parse().unwrap(), samples_per_series: 10_000, series: 100 };
        let store = Arc::new(EmbeddedStore::new(limits));
        let mut instances = Vec::new();
        let all = [(0, "front", "a", None), (1, "pay", "a", None), (1, "pay", "b", shop.lacks)];
        for (service, name, instance, lacks) in all {
            if instance == "b" && lacks.is_none() {
                continue;
            }
            let buckets = shop.codes.iter().flat_map(|code| EDGES.map(|le| (*code, le))).enumerate();
            let (buckets, labels): (Vec<usize>, Vec<Labels>) = buckets
                .filter(|(_, (_, le))| Some(*le) != lacks)
                .map(|(at, (code, le))| {
                    let labels = Labels::named("m_bucket").with("service", name).with("instance", instance);
                    (at, labels.with("code", code).with("le", le))
                })
                .unzip();
            let counters = vec![0.0; shop.codes.len() * EDGES.len()];
            instances.push(Instance {
                service,
                target: store.add_target(labels).unwrap(),
                buckets,
                counters,
            });
        }
        let clock = Arc::new(AtomicI64::new(0));
        let shown = Arc::clone(&clock);
        let now = Arc::new(move || Timestamp::from_millis(shown.load(Ordering::SeqCst)));
        let honest = EmbeddedUpstream::new("shop", Arc::clone(&store), now);
        let shared = Arc::new(Shared { fault: Mutex::new(Fault::None), seen: Seen::default(), honest });
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let serving = runtime.spawn(accept(listener, Arc::clone(&shared)));
        Self {
            url,
            shared,
            shop,
            store,
            clock,
            instances: Mutex::new((0, instances)),
            runtime: Some(runtime),
            serving: Mutex::new(Some(serving)),
        }
    }

    /// From here on each answer goes wrong like this.
    pub(crate) fn breaks(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
    }

    /// Nobody listens any more, and every connection is gone.
    pub(crate) fn kill(&self) {
        if let Some(serving) = self.serving.lock().unwrap().take() {
            serving.abort();
            let _ = self.runtime.as_ref().unwrap().block_on(serving);
        }
    }

    /// Listens again, where it did.
    pub(crate) fn revive(&self) {
        let address = self.url.trim_start_matches("http://");
        let listener = self.runtime.as_ref().unwrap().block_on(TcpListener::bind(address)).unwrap();
        let serving = self.runtime.as_ref().unwrap().spawn(accept(listener, Arc::clone(&self.shared)));
        *self.serving.lock().unwrap() = Some(serving);
    }

    /// Scrapes up to the evaluation at `point`, the last time a second before it. Calls grow by a number that differs
    /// from scrape to scrape; `failing` of each hundred fail.
    pub(crate) fn scrape_until(&self, point: i64, failing: f64) {
        let mut held = self.instances.lock().unwrap();
        while held.0 < point {
            held.0 += 1;
            let scraped = held.0;
            if self.shop.stopped_after.is_some_and(|stopped| scraped > stopped) {
                continue;
            }
            let load = if self.shop.idle { 0.0 } else { 100.0 + (scraped * scraped % 13) as f64 };
            for instance in &mut held.1 {
                let service = instance.service;
                let scraped_now = self.shop.gone_after.is_none_or(|gone| scraped <= gone)
                    && self.shop.begins_at.is_none_or(|begins| scraped >= begins);
                if service == 1 && !scraped_now {
                    continue;
                }
                if self.shop.restarts_at == Some(scraped) {
                    instance.counters.fill(0.0);
                }
                let of_code = |code: &str| match code {
                    _ if self.shop.codes.len() == 1 => load,
                    "200" => load * (1.0 - failing / 100.0),
                    _ => load * failing / 100.0,
                };
                let calls = self.shop.codes.iter().flat_map(|code| {
                    let calls = of_code(code);
                    let finite = if self.shop.slow { 0.0 } else { calls };
                    let quick = finite * (0.9 - 0.01 * (scraped % 5) as f64 - 0.05 * service as f64);
                    [quick, finite, calls]
                });
                for (counter, calls) in instance.counters.iter_mut().zip(calls) {
                    *counter += calls;
                }
                let time = Timestamp::from_millis(scraped * STEP - 1_000 + self.shop.ahead);
                let values: Vec<f64> = instance.buckets.iter().map(|&at| instance.counters[at]).collect();
                self.store.append(instance.target, time, &values).unwrap();
            }
        }
        self.clock.store(point * STEP + 5_000, Ordering::SeqCst);
    }

    /// The heads of all requests since the last call.
    pub(crate) fn heads(&self) -> Vec<String> {
        std::mem::take(&mut *self.shared.seen.heads.lock().unwrap())
    }

    /// How many requests of the query API there were.
    pub(crate) fn queries(&self) -> usize {
        self.shared.seen.queries.load(Ordering::SeqCst)
    }

    /// How many requests are being answered.
    pub(crate) fn active(&self) -> usize {
        self.shared.seen.active.load(Ordering::SeqCst)
    }

    /// How many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn wait_until_active(&self, count: usize) {
        wait_for(&format!("{count} active requests"), || (self.active() == count).then_some(()));
    }
}

impl Drop for FaultyUpstream {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    // Connections end with the one who accepts them.
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.seen.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(converse(stream, Arc::clone(&shared)));
    }
}

/// A request as it came.
struct Asked {
    head: String,
    body: Vec<u8>,
}

async fn read_request(stream: &mut TcpStream, buffered: &mut Vec<u8>) -> Option<Asked> {
    let mut chunk = vec![0; 16 << 10];
    loop {
        if let Some(end) = buffered.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffered[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let length: usize = length.unwrap_or(0);
            if buffered.len() >= end + 4 + length {
                let original = String::from_utf8_lossy(&buffered[..end]).into_owned();
                let body = buffered[end + 4..end + 4 + length].to_vec();
                buffered.drain(..end + 4 + length);
                return Some(Asked { head: original, body });
            }
        }
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return None,
            Ok(n) => buffered.extend_from_slice(&chunk[..n]),
        }
    }
}

async fn converse(mut stream: TcpStream, shared: Arc<Shared>) {
    let mut buffered = Vec::new();
    let mut answered = 0;
    while let Some(asked) = read_request(&mut stream, &mut buffered).await {
        shared.seen.active.fetch_add(1, Ordering::SeqCst);
        let _active = Active(&shared.seen.active);
        let line = asked.head.lines().next().unwrap_or_default().to_owned();
        if line.contains("/api/v1/query") {
            shared.seen.queries.fetch_add(1, Ordering::SeqCst);
        }
        shared.seen.heads.lock().unwrap().push(asked.head.clone());
        let fault = shared.fault.lock().unwrap().clone();
        let gone = {
            // Work goes on until the client leaves: whoever closes early ends it.
            let answering = answer(&shared, &asked, &fault, answered);
            tokio::pin!(answering);
            tokio::select! {
                bytes = &mut answering => Some(bytes),
                _ = closed(&stream) => None,
            }
        };
        let Some(reply) = gone else { return };
        answered += 1;
        match send(&mut stream, reply).await {
            Ok(true) => {}
            _ => return,
        }
    }
}

enum Reply {
    /// And the connection stays.
    Bytes(Vec<u8>),
    /// And the connection ends.
    Last(Vec<u8>),
    Dripping(Vec<u8>),
    /// A head, so many blanks, and a rest.
    Padded(Vec<u8>, usize, Vec<u8>),
    Reset,
}

fn with_length(status: u16, headers: &str, body: &[u8], length: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

async fn answer(shared: &Shared, asked: &Asked, fault: &Fault, answered: usize) -> Reply {
    let (status, body) = honest(shared, asked).await;
    let whole = |body: &[u8]| Reply::Bytes(with_length(status, "", body, body.len()));
    match fault {
        Fault::None => whole(&body),
        Fault::Silent => std::future::pending().await,
        Fault::Latency(latency) => {
            tokio::time::sleep(*latency).await;
            whole(&body)
        }
        Fault::Drip => Reply::Dripping(with_length(status, "", &body, body.len())),
        Fault::CutAt(bytes) => {
            let mut all = with_length(status, "", &body, body.len());
            all.truncate(*bytes);
            Reply::Last(all)
        }
        Fault::Garbage => whole(b"\x00\xffneither JSON nor anything else{]"),
        Fault::TooShort => Reply::Last(with_length(status, "", &body, body.len() + 10)),
        Fault::TooLong => Reply::Last(with_length(status, "", &body, body.len() - 10)),
        Fault::NoContent => Reply::Bytes(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec()),
        Fault::Status(status) => {
            let body = br#"{"status":"error","errorType":"internal","error":"told to"}"#;
            Reply::Bytes(with_length(*status, "", body, body.len()))
        }
        Fault::Warnings => {
            let mut json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            json["warnings"] = serde_json::json!(["a store is missing"]);
            whole(json.to_string().as_bytes())
        }
        Fault::Refuses(text) => {
            let all = format!("{} {}", asked.head, String::from_utf8_lossy(&asked.body));
            if all.contains(text) {
                let body = br#"{"status":"error","errorType":"execution","error":"too much"}"#;
                Reply::Bytes(with_length(422, "", body, body.len()))
            } else {
                whole(&body)
            }
        }
        Fault::Reset => Reply::Reset,
        Fault::ResetOnce => {
            *shared.fault.lock().unwrap() = Fault::None;
            Reply::Reset
        }
        Fault::ResetReused if answered > 0 => Reply::Reset,
        Fault::ResetReused => whole(&body),
        Fault::Padding(bytes) => {
            let head = with_length(status, "", b"", body.len() + bytes);
            Reply::Padded(head, *bytes, body)
        }
        Fault::GzipBomb(bytes) => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            let blanks = vec![b' '; 1 << 20];
            for _ in 0..bytes >> 20 {
                encoder.write_all(&blanks).unwrap();
            }
            encoder.write_all(&body).unwrap();
            let packed = encoder.finish().unwrap();
            Reply::Bytes(with_length(status, "Content-Encoding: gzip\r\n", &packed, packed.len()))
        }
        Fault::LongLabel(bytes) => {
            let mut json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            if let Some(result) = json.pointer_mut("/data/result").and_then(|r| r.as_array_mut()) {
                for series in result {
                    series["metric"]["long"] = "x".repeat(*bytes).into();
                }
            }
            whole(json.to_string().as_bytes())
        }
    }
}

async fn honest(shared: &Shared, asked: &Asked) -> (u16, Vec<u8>) {
    let mut line = asked.head.lines().next().unwrap_or_default().split(' ');
    let (method, target) = (line.next().unwrap_or("GET"), line.next().unwrap_or("/"));
    let body = whole_body(asked.body.clone());
    let request = http::Request::builder()
        .method(method)
        .uri(target)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body)
        .unwrap();
    let (head, body) = shared.honest.forward(request).await.unwrap().into_parts();
    (head.status.as_u16(), body.collect().await.unwrap().to_bytes().to_vec())
}

/// Whether the connection stays.
async fn send(stream: &mut TcpStream, reply: Reply) -> std::io::Result<bool> {
    match reply {
        Reply::Bytes(bytes) => {
            stream.write_all(&bytes).await?;
            Ok(true)
        }
        Reply::Last(bytes) => {
            stream.write_all(&bytes).await?;
            stream.shutdown().await?;
            Ok(false)
        }
        Reply::Dripping(bytes) => {
            for byte in bytes {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Ok(true)
        }
        Reply::Padded(head, blanks, rest) => {
            stream.write_all(&head).await?;
            let block = vec![b' '; 64 << 10];
            let mut left = blanks;
            while left > 0 {
                let now = left.min(block.len());
                stream.write_all(&block[..now]).await?;
                left -= now;
            }
            stream.write_all(&rest).await?;
            Ok(true)
        }
        Reply::Reset => {
            #[expect(deprecated, reason = "zero seconds: the reset is wanted, nothing lingers")]
            stream.set_linger(Some(Duration::ZERO))?;
            Ok(false)
        }
    }
}
