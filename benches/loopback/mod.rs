//! The proxy on loopback before an upstream that answers at once, and a client that asks as soon as it is answered.

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
use emac::telemetry::Telemetry;
use emac::unit::Timestamp;
use emac::upstream::http::{HttpSettings, HttpUpstream};

/// In milliseconds, as all times here.
pub(crate) const START: i64 = 1_700_000_010_000;
pub(crate) const INTERVAL: i64 = 15_000;
/// Enough for a lookback of five minutes.
pub(crate) const POINTS: i64 = 40;

/// Addresses of servers, as `host:port`.
pub(crate) struct Servers {
    pub(crate) upstream: String,
    pub(crate) proxy: String,
}

/// An upstream that answers every query with `canned`, and the proxy before it, which has evaluated [`POINTS`] points.
pub(crate) async fn start(canned: &'static str, journeys: Vec<Journey>) -> Servers {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = listener.local_addr().unwrap().to_string();
    let answer = any(move || async move { ([("content-type", "application/json")], canned) });
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    let clock = Arc::new(AtomicI64::new(START));
    let shown = Arc::clone(&clock);
    let settings = EvaluationSettings::with_clock(Arc::new(move || {
        Timestamp::from_millis(shown.load(Ordering::SeqCst))
    }));
    let http = HttpUpstream::new(HttpSettings::new(format!("http://{upstream}"))).unwrap();
    let count = journeys.len();
    let engine = Engine::new(Arc::new(http), journeys, settings);
    let begun = Instant::now();
    for _ in 0..POINTS {
        let now = clock.fetch_add(INTERVAL, Ordering::SeqCst) + INTERVAL;
        engine.evaluate_now(Timestamp::from_millis(now - 5_000)).await;
    }
    println!("{count} journeys, {POINTS} points: evaluated in {:?}", begun.elapsed());
    let state = ApiState::new(engine, ApiSettings::with_defaults().unwrap(), Telemetry::new().unwrap(), None);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = listener.local_addr().unwrap().to_string();
    tokio::spawn(api::serve(listener, api::router(state.clone()), state, std::future::pending()));
    Servers { upstream, proxy }
}

/// Asks so many times on one connection; what each answer took.
pub(crate) fn ask(address: &str, target: &str, requests: usize) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    let request = format!("GET {target} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    let mut taken = Vec::with_capacity(requests);
    let mut body = Vec::new();
    for _ in 0..requests {
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
