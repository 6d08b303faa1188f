//! Requests as they come over a connection, up to the answer: heads, targets, parameters in URLs and forms, and PromQL
//! within them, at a whole server over a store in memory. Both ends and the store are driven by one thread, so that the
//! same input takes the same way.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use emac::api::{self, ApiSettings, ApiState};
use emac::execute::settings::Clock;
use emac::execute::{Engine, EvaluationSettings};
use emac::series::Labels;
use emac::spec::{self, SourceFile};
use emac::telemetry::Telemetry;
use emac::unit::{Timestamp, Window};
use emac::upstream::embedded::{EmbeddedStore, EmbeddedUpstream, StoreLimits};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const SPEC: &str = include_str!("../../testdata/front_and_pay.yaml");

/// Of the clock, in milliseconds.
const NOW: i64 = 1_505_000;

/// After this an answer is taken for none: nothing here waits for anybody.
const PATIENCE: Duration = Duration::from_secs(20);

/// Valid ones.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let get = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let post = |target: &str, form: &str| {
        let length = form.len();
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{form}")
    };
    let ours = "emac_journey_availability_pessimistic%7Bwindow%3D%225m%22%7D";
    let seeds = [
        get("/api/v1/query?query=up"),
        get(&format!("/api/v1/query?query={ours}&time=1505&timeout=2s&limit=3&stats=all")),
        get(&format!("/api/v1/query_range?query=sum({ours})*2&start=1200&end=1505.5&step=15")),
        post("/api/v1/query_range?start=1970-01-01T00:20:00Z", "query=up&end=1505&step=1m"),
        post("/api/v1/query", "query=%7Bjourney%3D~%22c.%2B%22%7D&lookback_delta=5m&time=1505"),
        get("/api/v1/series?match[]=emac_journey_gate&start=0&end=1505"),
        post("/api/v1/labels", "match[]=emac_journey_gate&limit=2"),
        get("/api/v1/label/journey/values"),
        get("/federate?match[]=%7Bjourney%3D~%22.%2B%22%7D"),
        format!("{}GET /-/healthy HTTP/1.0\r\n\r\n", get("/metrics").replace("Connection: close\r\n", "")),
        "POST /api/v1/read HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
            .to_owned(),
    ];
    seeds.map(String::into_bytes).to_vec()
}

struct Server {
    runtime: Runtime,
    address: String,
}

impl Server {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let minutes = |count: u64| Window::from_millis(count * 60_000).unwrap();
        let limits = StoreLimits { retention: minutes(60), samples_per_series: 1_000, series: 1_000 };
        let store = Arc::new(EmbeddedStore::new(limits));
        for service in ["front", "pay"] {
            let of = |name: &str| Labels::named(name).with("service", service).with("code", "200");
            let labels = vec![
                of("m_bucket").with("le", "0.1"),
                of("m_bucket").with("le", "+Inf"),
                of("m_count"),
                of("m_sum"),
            ];
            let target = store.add_target(labels).unwrap();
            for scrape in 1..=100_i64 {
                let count = scrape as f64 * 100.0;
                let at = Timestamp::from_millis(scrape * 15_000);
                store.append(target, at, &[count * 0.9, count, count, count * 0.05]).unwrap();
            }
        }
        let clock: Clock = Arc::new(|| Timestamp::from_millis(NOW));
        let upstream = Arc::new(EmbeddedUpstream::new("the shop", store, Arc::clone(&clock)));
        let file = SourceFile { path: "checkout.yaml".to_owned(), text: SPEC.to_owned() };
        let journeys = spec::load(&[file]).journeys;
        let address = runtime.block_on(async {
            let engine = Engine::new(upstream, journeys, EvaluationSettings::with_clock(clock));
            engine.evaluate_now(Timestamp::from_millis(NOW - 5_000)).await;
            let settings = ApiSettings::with_defaults().unwrap();
            let state = ApiState::new(engine, settings, Telemetry::new().unwrap(), None);
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            tokio::spawn(api::serve(listener, api::router(state.clone()), state, std::future::pending()));
            address
        });
        Self { runtime, address }
    }

    /// Whatever comes back, until the server closes.
    fn ask(&self, request: &[u8]) -> Vec<u8> {
        self.runtime.block_on(async {
            let mut stream = TcpStream::connect(&self.address).await.unwrap();
            // A server that refuses early closes early.
            let _ = stream.write_all(request).await;
            // What is missing of a request does not come any more.
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let reading = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer));
            assert!(reading.await.is_ok(), "no end of the answer {}", answer.escape_ascii());
            answer
        })
    }
}

/// Sends bytes; whether they are a request that is answered well.
pub(crate) fn read(bytes: &[u8]) -> bool {
    static SERVER: Mutex<Option<Server>> = Mutex::new(None);
    let mut server = SERVER.lock().unwrap();
    let server = server.get_or_insert_with(Server::start);
    let answer = server.ask(bytes);
    let fault = b"an internal fault; the log says more";
    assert!(!answer.windows(fault.len()).any(|part| part == fault), "a fault of our own");
    answer.starts_with(b"HTTP/1.1 200")
}
