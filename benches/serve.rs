//! Latency of the serving path on loopback, in percentiles: `cargo bench --bench serve`.
//!
//! Not criterion: it reports means, and the promise is about the 99th percentile. Each measurement is one keep-alive
//! connection that asks again as soon as it is answered, alone and beside seven others.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking and reports by printing"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::any;
use emac::api::{self, ApiSettings, ApiState};
use emac::execute::{Engine, EvaluationSettings};
use emac::journey::Journey;
use emac::spec::{self, SourceFile};
use emac::telemetry::Telemetry;
use emac::unit::Timestamp;
use emac::upstream::http::{HttpSettings, HttpUpstream};

const JOURNEYS: usize = 50;
const COMPONENTS: usize = 10;
const REQUESTS: usize = 5_000;
/// Enough for a lookback of five minutes.
const POINTS: i64 = 40;
const START: i64 = 1_700_000_010_000;

/// An answer of a few series, as dashboards ask for.
const CANNED: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a:1","job":"a"},"value":[1700000000,"1"]},{"metric":{"__name__":"up","instance":"b:1","job":"b"},"value":[1700000000,"1"]}]}}"#;

fn journeys() -> Vec<Journey> {
    (0..JOURNEYS)
        .flat_map(|journey| {
            let names: Vec<String> = (0..COMPONENTS).map(|component| format!("c{component}")).collect();
            let mut text = format!(
                "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: j{journey}}}\nspec:\n  \
                 objectives: {{availability: {{target: 0.99, window: 30d}}}}\n  windows: [5m, 30m, 1h]\n  \
                 expression: Series({})\n  components:\n",
                names.join(", ")
            );
            for name in names {
                text.push_str(&format!(
                    "    {name}: {{telemetry: {{histogram: latency_seconds, matchers: {{service: {name}}}}}}}\n"
                ));
            }
            let loaded = spec::load(&[SourceFile { path: format!("j{journey}.yaml"), text }]);
            assert!(!loaded.journeys.is_empty(), "{:?}", loaded.diagnostics);
            loaded.journeys
        })
        .collect()
}

async fn listen(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

/// An upstream that answers every query with the same few series, and the proxy before it.
async fn start() -> (String, String) {
    let canned = any(|| async { ([("content-type", "application/json")], CANNED) });
    let upstream = listen(Router::new().fallback(canned)).await;
    let clock = Arc::new(AtomicI64::new(START));
    let shown = Arc::clone(&clock);
    let settings = EvaluationSettings::with_clock(Arc::new(move || {
        Timestamp::from_millis(shown.load(Ordering::SeqCst))
    }));
    let http = HttpUpstream::new(HttpSettings::new(format!("http://{upstream}"))).unwrap();
    let engine = Engine::new(Arc::new(http), journeys(), settings);
    let begun = Instant::now();
    for _ in 0..POINTS {
        let now = clock.fetch_add(15_000, Ordering::SeqCst) + 15_000;
        engine.evaluate_now(Timestamp::from_millis(now - 5_000)).await;
    }
    println!(
        "{JOURNEYS} journeys of {COMPONENTS} components, {POINTS} points: evaluated in {:?}",
        begun.elapsed()
    );
    let state = ApiState::new(engine, ApiSettings::with_defaults().unwrap(), Telemetry::new().unwrap(), None);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap().to_string();
    tokio::spawn(api::serve(listener, api::router(state.clone()), state, std::future::pending()));
    (upstream, proxy)
}

/// Asks `REQUESTS` times on one connection.
fn ask(address: &str, target: &str) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut taken = Vec::with_capacity(REQUESTS);
    let mut body = Vec::new();
    for _ in 0..REQUESTS {
        let begun = Instant::now();
        stream.write_all(request.as_bytes()).unwrap();
        let (mut length, mut line) = (None, String::new());
        answers.read_line(&mut line).unwrap();
        assert!(line.contains(" 200 "), "{line}");
        loop {
            line.clear();
            answers.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = Some(value.trim().parse::<usize>().unwrap());
            }
        }
        body.resize(length.unwrap(), 0);
        answers.read_exact(&mut body).unwrap();
        taken.push(begun.elapsed());
    }
    taken
}

fn report(what: &str, address: &str, target: &str) {
    ask(address, target);
    for connections in [1, 8] {
        let mut taken: Vec<Duration> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..connections).map(|_| scope.spawn(|| ask(address, target))).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        taken.sort_unstable();
        let at = |share: usize| taken[taken.len() * share / 1_000 - 1];
        println!(
            "{what:44} {connections} connections: p50 {:>9.1?}  p99 {:>9.1?}  p99.9 {:>9.1?}",
            at(500),
            at(990),
            at(999)
        );
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (upstream, proxy) = runtime.block_on(start());
    report("upstream directly: up", &upstream, "/api/v1/query?query=up");
    report("passed through: up", &proxy, "/api/v1/query?query=up");
    let warm = "emac_journey_availability_pessimistic%7Bjourney%3D%22j7%22%2Cwindow%3D%225m%22%7D";
    report("one warm series", &proxy, &format!("/api/v1/query?query={warm}"));
    let all = "emac_journey_availability_pessimistic";
    report("150 warm series of 50 journeys", &proxy, &format!("/api/v1/query?query={all}"));
    report("nameless, of the upstream", &proxy, "/api/v1/query?query=%7Bjob%3D%22a%22%7D");
}
