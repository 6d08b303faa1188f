//! What a client sees of HTTP: the same for a synthetic series as a real Prometheus gives for a series of its own, in
//! codes, kinds of errors, numbers, times and shapes.

use std::io::Read as _;

use emac::unit::Timestamp;
use serde_json::Value as Json;

use crate::http_client::{RawReply, get, post, send};
use crate::prometheus::{Prometheus, Setup, escape};
use crate::served::{Served, journeys};

/// A multiple of the evaluation interval.
const END: i64 = 1_700_000_010;
const OURS: &str = "max(emac_journey_objective_availability)";
const THEIRS: &str = "max(stand_in)";

const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives: {availability: {target: 0.75, window: 30d}}
  windows: [5m]
  components: {front: {telemetry: {histogram: m, success: {code: '200'}}}}
  expression: front
";

/// A Prometheus that has one series of its own with the value of our objective, and the proxy before it.
fn start() -> (Prometheus, Served) {
    let mut history = "# TYPE stand_in gauge\n".to_owned();
    for i in 0..=4 {
        history.push_str(&format!("stand_in{{journey=\"checkout\"}} 0.75 {}\n", END - 60 + 15 * i));
    }
    let prometheus = Prometheus::start(&Setup { history: Some(&(history + "# EOF\n")), ..Setup::default() });
    let served = Served::behind(prometheus.url(), journeys(SPEC), Timestamp::from_millis(0));
    for i in 0..=4 {
        let at = (END - 60 + 15 * i + 5) * 1000;
        served.clock.store(at, std::sync::atomic::Ordering::SeqCst);
        served.evaluate();
    }
    (prometheus, served)
}

/// Everything of an answer but the name of the series.
fn seen(reply: &RawReply) -> (u16, Option<String>, String) {
    let text = reply.text().replace("emac_journey_objective_availability", "stand_in");
    (reply.status, reply.header("content-type").map(str::to_owned), text)
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn answers_about_a_synthetic_series_are_those_of_prometheus_about_its_own() {
    let (prometheus, served) = start();
    let time = format!("time={END}");
    let range = format!("start={}&end={END}&step=15", END - 60);
    let mut asked: Vec<(&str, String, String)> = Vec::new();
    let mut instant =
        |query: &str, rest: &str| asked.push(("/api/v1/query", query.to_owned(), rest.to_owned()));
    for number in
        ["1e21", "1e20", "123456789012345678901", "1e-7", "1e-6", "0.1", "1/3", "-0", "NaN", "Inf", "-Inf"]
    {
        instant(&format!("X * 0 + {number}"), &time);
    }
    instant("X", &time);
    for at in [
        "1700000010.1",
        "1700000010.123",
        "1700000010.1239",
        "1.70000001e9",
        "2023-11-14T22:13:30Z",
        "2023-11-14T23:13:30.5%2B01:00",
    ] {
        instant("X", &format!("time={at}"));
    }
    for query in ["X > 2", "scalar(X)", "X[50s:15s]", "vector(1) unless X", "-X", "absent(X)"] {
        instant(query, &time);
    }
    for rest in [
        "time=abc",
        "time=2023-02-30T00:00:00Z",
        &format!("{time}&timeout=abc"),
        &format!("{time}&timeout=-5s"),
    ] {
        instant("X", rest);
    }
    let mut ranged =
        |query: &str, rest: &str| asked.push(("/api/v1/query_range", query.to_owned(), rest.to_owned()));
    for query in ["X", "X > 2", "1 + scalar(X)", "X * NaN"] {
        ranged(query, &range);
    }
    for rest in [
        "start=1&end=2",
        "end=2&step=1",
        "start=1&step=1",
        "start=2&end=1&step=1",
        "start=1&end=2&step=0",
        "start=1&end=2&step=-1s",
        "start=1&end=2&step=abc",
        "start=abc&end=2&step=1",
        "start=0&end=11001&step=1",
        "start=1&end=2&step=1&timeout=x",
    ] {
        ranged("X", rest);
    }
    for (path, query, rest) in asked {
        let target = |series: &str| format!("{path}?query={}&{rest}", escape(&query.replace('X', series)));
        let theirs = seen(&get(prometheus.url(), &target(THEIRS)));
        let ours = seen(&get(&served.url, &target(OURS)));
        assert_eq!(ours, theirs, "{path} {query} {rest}");
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn faults_of_a_query_have_the_code_and_kind_that_prometheus_gives() {
    let (prometheus, served) = start();
    for query in [
        "X{",
        "sum(X",
        "X)",
        "X{a=~\"(\"}",
        "X[5m",
        "X[0s]",
        "X[-1m]",
        "rate(X)",
        "X offset",
        "X @ x",
        "sum by (X)",
        "1 + X[5m]",
        "X and 1",
        "foo(X)",
        "X{a=}",
        "X == bool",
        "quantile_over_time(X[5m])",
        "topk(X)",
        "X[5m][5m]",
    ] {
        let ask = |base: &str, series: &str| {
            let query = escape(&query.replace('X', series));
            let reply = get(base, &format!("/api/v1/query?query={query}&time={END}"));
            let json = reply.json();
            assert!(json["error"].is_string() || reply.status == 200, "{query}: {json}");
            (reply.status, json["status"].clone(), json["errorType"].clone())
        };
        let theirs = ask(prometheus.url(), "stand_in");
        assert_eq!(ask(&served.url, "emac_journey_objective_availability"), theirs, "{query}");
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_request_may_be_sent_and_answered_in_every_way_that_clients_use() {
    let (_prometheus, served) = start();
    let query = format!("query={}", escape(OURS));
    let plain = get(&served.url, &format!("/api/v1/query?{query}&time={END}")).json();
    assert_eq!(plain["data"]["result"][0]["value"], serde_json::json!([END, "0.75"]));
    let form = format!("{query}&time={END}");
    let one = |reply: RawReply| {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let mut json = reply.json();
        // Statistics were asked for in one of the ways, and take their time from the clock.
        json["data"].as_object_mut().unwrap().remove("stats");
        assert_eq!(json, plain);
    };
    one(post(&served.url, "/api/v1/query", &form));
    one(post(&served.url, &format!("/api/v1/query?time={END}&stats=all"), &query));
    one(post(&served.url, &format!("/api/v1/query?{form}"), ""));
    // The form comes first where both say something.
    one(post(&served.url, "/api/v1/query?time=5&query=nothing", &form));
    for content_type in
        ["application/x-www-form-urlencoded; charset=utf-8", "text/plain", "application/octet-stream"]
    {
        let headers = [("Content-Type", content_type)];
        one(send(&served.url, "POST", "/api/v1/query", &headers, form.as_bytes()));
    }
    // Compression as asked for, never doubled.
    let target = "/api/v1/series?match[]=emac_journey_gate&match[]=emac_journey_evidence_missing";
    let listed = get(&served.url, target);
    for (accepted, encoding) in
        [("gzip", Some("gzip")), ("deflate", Some("deflate")), ("gzip;q=0", None), ("br", None)]
    {
        let reply = send(&served.url, "GET", target, &[("Accept-Encoding", accepted)], b"");
        assert_eq!(reply.header("content-encoding"), encoding, "{accepted}");
        let mut text = Vec::new();
        match encoding {
            Some("gzip") => drop(flate2::read::GzDecoder::new(&*reply.body).read_to_end(&mut text).unwrap()),
            Some(_) => drop(flate2::read::ZlibDecoder::new(&*reply.body).read_to_end(&mut text).unwrap()),
            None => text = reply.body,
        }
        assert_eq!(text, listed.body, "{accepted}");
    }
    // Another origin, and none.
    let cors = send(&served.url, "GET", target, &[("Origin", "http://elsewhere")], b"");
    assert_eq!(cors.header("access-control-allow-origin"), Some("*"));
    assert_eq!(get(&served.url, target).header("access-control-allow-origin"), None);
    // Nothing found is an empty list.
    for (target, empty) in [
        ("/api/v1/query?query=emac_journey_gate%7Bjourney%3D%22x%22%7D", "/data/result"),
        ("/api/v1/series?match[]=emac_journey_gate%7Bjourney%3D%22x%22%7D", "/data"),
        ("/api/v1/label/no_such/values?match[]=emac_journey_gate", "/data"),
    ] {
        let reply = get(&served.url, target);
        assert_eq!(reply.json().pointer(empty), Some(&Json::Array(Vec::new())), "{target}: {}", reply.text());
    }
    // Exemplars are the upstream's, whatever the times.
    for times in ["start=1&end=2", "start=0.001&end=1830302400000", "start=1&end=253402300799999"] {
        let reply = get(&served.url, &format!("/api/v1/query_exemplars?query=emac_journey_gate&{times}"));
        assert_eq!((reply.status, &reply.json()["data"]), (200, &Json::Array(Vec::new())), "{times}");
    }
}
