//! Requests as they come over the wire: heads, targets, parameters in the URL and in forms, and PromQL within them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::http::{HttpSettings, HttpUpstream};

use super::{Length, run};
use crate::faulty_upstream::{FaultyUpstream, SPEC};
use crate::prometheus::escape;
use crate::served::{Options, Served, journeys};

/// After this an answer is taken for none: nothing here waits for anybody.
const PATIENCE: Duration = Duration::from_secs(10);

const WORDS: [&str; 40] = [
    "emac_journey_gate",
    "emac_journey_availability_pessimistic",
    "%7Bjourney%3D%22checkout%22%7D",
    "%5B5m%5D",
    "%5B10y%3A1ms%5D",
    "sum(",
    "rate(",
    "max_over_time(",
    "label_replace(",
    "histogram_quantile(0.9,",
    ")",
    " offset ",
    "%40 end()",
    "%20or%20",
    "query=",
    "time=",
    "start=",
    "end=",
    "step=",
    "timeout=",
    "limit=",
    "lookback_delta=",
    "match%5B%5D=",
    "stats=all",
    "&",
    "%",
    "%00",
    "%FF",
    "%C3%28",
    "+",
    "/",
    "//",
    "../",
    "HTTP/1.0",
    "\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Content-Length: 18446744073709551615\r\n",
    "Expect: 100-continue\r\n",
    "Host: a\r\n",
    "Accept-Encoding: gzip;q=9, *;q=0\r\n",
];

fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").into_bytes()
}

fn post(target: &str, form: &str) -> Vec<u8> {
    let kind = "application/x-www-form-urlencoded";
    let length = form.len();
    format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n{form}"
    )
    .into_bytes()
}

fn corpus() -> Vec<Vec<u8>> {
    let ours = escape("max_over_time(emac_journey_availability_pessimistic{window=\"5m\"}[2m:15s]) * 2");
    let mixed = escape("emac_journey_gate and on () sum by (service) (rate(m_bucket[5m]))");
    let nameless = escape("{journey=~\"check.+\"}");
    vec![
        get(&format!("/api/v1/query?query={ours}&time=1505")),
        get(&format!("/api/v1/query?query={mixed}&time=1505&stats=all&limit=3&timeout=2s")),
        get(&format!("/api/v1/query_range?query={ours}&start=1200&end=1505.5&step=15")),
        post("/api/v1/query_range?start=1970-01-01T00:20:00Z", &format!("query={nameless}&end=1505&step=1m")),
        post("/api/v1/query?time=1505", &format!("query={ours}&lookback_delta=5m")),
        get("/api/v1/query?query=up"),
        get(&format!("/api/v1/series?match[]={nameless}&start=0&end=1505")),
        post("/api/v1/labels", "match[]=emac_journey_gate&limit=2"),
        get("/api/v1/label/journey/values?match[]=emac_journey_gate"),
        get("/api/v1/metadata?metric=emac_journey_gate&limit=1&limit_per_metric=1"),
        get(&format!("/api/v1/explain_query?query={mixed}")),
        get(&format!("/federate?match[]={nameless}")),
        get("/journeys/metrics"),
        get("/api/v1/journeys"),
        get("/"),
        post("/api/v1/read", "x"),
        get("/-/healthy"),
    ]
}

/// The status of whatever comes back; none where the connection just ends.
fn ask(address: &str, request: &[u8]) -> Option<u16> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // A server that refuses early closes early.
    let _ = stream.write_all(request);
    // What is missing of a request does not come any more.
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let mut chunk = [0; 16 << 10];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => answer.extend_from_slice(&chunk[..n]),
            Err(fault) if fault.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no answer after {PATIENCE:?}, only {}", answer.escape_ascii());
            }
            Err(_) => break,
        }
    }
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

fn try_all(what: &str, length: Length) {
    let shop = FaultyUpstream::start();
    let upstream =
        || -> Arc<dyn Upstream> { Arc::new(HttpUpstream::new(HttpSettings::new(&shop.url)).unwrap()) };
    shop.scrape_until(100, 1.0);
    let served =
        Served::start(upstream, journeys(SPEC), Timestamp::from_millis(1_505_000), Options::default());
    served.evaluate();
    let address = served.url.trim_start_matches("http://").to_owned();
    let healthy = get("/-/healthy");
    run(what, length, &corpus(), &WORDS, |request| {
        let status = ask(&address, request);
        // Never a fault of ours: not even for what passes through, since the shop answers whatever it does not know.
        let ours = status.is_none_or(|status| status < 500 || [501, 503, 505].contains(&status));
        assert!(ours, "{status:?}");
        status == Some(200)
    });
    assert_eq!(ask(&address, &healthy), Some(200));
}

#[test]
fn a_mutated_request_is_answered_or_refused() {
    try_all("requests", Length::Short);
}

#[test]
#[ignore = "long: a minute, or EMAC_FUZZ_SECONDS"]
fn many_mutated_requests_are_answered_or_refused() {
    try_all("requests", Length::Long);
}
