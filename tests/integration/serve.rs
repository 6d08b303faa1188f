//! The proxy over an upstream that answers what the test tells it to: who answers what, and in which words.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use emac::api::Reload;
use emac::journey::Journey;
use emac::series::StepGrid;
use emac::unit::Timestamp;
use emac::upstream::{Answer, Body, Upstream, UpstreamError, whole_body};
use futures::future::BoxFuture;
use http_body_util::BodyExt as _;
use serde_json::json;

use crate::http_client::{get, post, send};
use crate::prometheus::escape;
use crate::served::{Options, Served, journeys};

const NOW: i64 = 1_700_000_000_000;

/// Answers each path with what was set for it, and remembers what it was asked.
#[derive(Default)]
struct Fake {
    answers: Mutex<HashMap<String, (u16, String)>>,
    seen: Mutex<Vec<String>>,
    down: Mutex<bool>,
}

impl Fake {
    fn set(&self, path: &str, status: u16, body: &serde_json::Value) {
        self.answers.lock().unwrap().insert(path.to_owned(), (status, body.to_string()));
    }

    fn set_text(&self, path: &str, status: u16, body: &str) {
        self.answers.lock().unwrap().insert(path.to_owned(), (status, body.to_owned()));
    }

    fn set_down(&self, down: bool) {
        *self.down.lock().unwrap() = down;
    }

    /// What was passed on since the last call, as `METHOD path?query body`.
    fn seen(&self) -> Vec<String> {
        let mut seen = std::mem::take(&mut *self.seen.lock().unwrap());
        // Nobody asks for that: the server looks for the labels of remote readers.
        seen.retain(|asked| asked != "GET /api/v1/status/config");
        seen
    }

    fn unreachable() -> UpstreamError {
        UpstreamError::Unreachable { upstream: "http://fake:9090".to_owned(), fault: "test".to_owned() }
    }
}

impl Upstream for Fake {
    fn name(&self) -> &str {
        "http://fake:9090"
    }

    fn instant(&self, _: &str, _: Timestamp, _: Instant) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let down = *self.down.lock().unwrap();
        Box::pin(async move { if down { Err(Self::unreachable()) } else { Ok(Answer::default()) } })
    }

    fn range(&self, _: &str, _: StepGrid, _: Instant) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let down = *self.down.lock().unwrap();
        Box::pin(async move { if down { Err(Self::unreachable()) } else { Ok(Answer::default()) } })
    }

    fn forward(
        &self,
        request: http::Request<Body>,
    ) -> BoxFuture<'_, Result<http::Response<Body>, UpstreamError>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            self.seen
                .lock()
                .unwrap()
                .push(format!("{} {} {body}", head.method, head.uri).trim_end().to_owned());
            if *self.down.lock().unwrap() {
                return Err(Self::unreachable());
            }
            let answer = self.answers.lock().unwrap().get(head.uri.path()).cloned();
            let (status, text) =
                answer.unwrap_or_else(|| (200, r#"{"status":"success","data":[]}"#.to_owned()));
            let body = whole_body(text);
            let response =
                http::Response::builder().status(status).header("content-type", "application/json");
            Ok(response.body(body).unwrap())
        })
    }
}

const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {target: 0.999, window: 30d}
  windows: [5m, 1h]
  components:
    front: {telemetry: {histogram: http_request_duration_seconds, matchers: {service: front}}}
    pay: {telemetry: {histogram: http_request_duration_seconds, matchers: {service: pay}}}
  expression: Series(front, pay)
";

fn model() -> Vec<Journey> {
    journeys(SPEC)
}

fn serve(options: Options) -> (Served, Arc<Fake>) {
    let fake = Arc::new(Fake::default());
    let upstream = Arc::clone(&fake);
    let served = Served::start(move || upstream, model(), Timestamp::from_millis(NOW), options);
    served.evaluate();
    (served, fake)
}

fn texts(value: &serde_json::Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn a_query_of_synthetic_series_never_reaches_the_upstream_and_any_other_always_does() {
    let (served, fake) = serve(Options::default());
    for query in ["emac_journey_gate", "{__name__=\"emac_journey_gate\"}", "emac_journey_gate == 1"] {
        get(&served.url, &format!("/api/v1/query?query={}", escape(query)));
        post(&served.url, "/api/v1/query", &format!("query={}", escape(query)));
        assert_eq!(fake.seen(), [""; 0], "{query}");
    }
    for query in ["up", "1+1", "emac_build_info", "sum({job=\"a\"})", "a +", "{"] {
        let target = format!("/api/v1/query?query={}&time=4", escape(query));
        get(&served.url, &target);
        assert_eq!(fake.seen(), [format!("GET {target}")]);
        let form = format!("query={}", escape(query));
        post(&served.url, "/api/v1/query_range?stats=all", &form);
        assert_eq!(fake.seen(), [format!("POST /api/v1/query_range?stats=all {form}")]);
    }
}

#[test]
fn parameters_may_stand_in_the_url_or_in_a_body_of_any_type() {
    let (served, fake) = serve(Options::default());
    let form = format!("query=emac_journey_gate&time={}", NOW / 1000);
    let direct = get(&served.url, &format!("/api/v1/query?{form}"));
    assert_eq!(post(&served.url, "/api/v1/query", &form).body, direct.body);
    assert_eq!(post(&served.url, &format!("/api/v1/query?{form}"), "").body, direct.body);
    let plain = [("Content-Type", "text/plain")];
    assert_eq!(send(&served.url, "POST", "/api/v1/query", &plain, form.as_bytes()).body, direct.body);
    let split = format!("/api/v1/query?time={}&stats=all", NOW / 1000);
    let told = post(&served.url, &split, "query=emac_journey_gate").json();
    assert_eq!(told["data"]["result"], direct.json()["data"]["result"]);
    let stats = &told["data"]["stats"];
    assert!(stats["samples"]["totalQueryableSamples"].as_u64().unwrap() > 0, "{stats}");
    assert!(stats["timings"]["execTotalTime"].as_f64().unwrap() > 0.0, "{stats}");
    assert!(direct.json()["data"].get("stats").is_none());
    assert_eq!(fake.seen(), [""; 0]);
}

#[test]
fn faults_are_worded_and_coded_as_prometheus_does() {
    let (served, _) = serve(Options::default());
    let query = "query=emac_journey_gate";
    for (target, status, kind, words) in [
        (format!("query?{query}&time=x"), 400, "bad_data", "invalid parameter \"time\""),
        ("query?query=emac_journey_gate{".to_owned(), 400, "bad_data", "1:18: parse error"),
        (format!("query_range?{query}&start=2&end=1&step=1"), 400, "bad_data", "must not be before start"),
        (format!("query_range?{query}&start=1&end=2&step=0"), 400, "bad_data", "zero or negative"),
        (format!("query_range?{query}&start=0&end=11001&step=1"), 400, "bad_data", "11,000 points"),
        (
            format!("query_range?query={}&start=1&end=2&step=1", escape("emac_journey_gate[5m]")),
            400,
            "bad_data",
            "invalid expression type \"range vector\"",
        ),
        (
            format!("query?query={}", escape("start_timestamp(emac_journey_gate)")),
            422,
            "execution",
            "start_timestamp() is not supported",
        ),
        (
            format!("query?query={}", escape("emac_journey_gate * on() group_left() up")),
            422,
            "execution",
            "upstream http://fake:9090 gave an unusable answer",
        ),
        (
            format!("query?query={}", escape("emac_journey_gate{journey=~\"(\"}")),
            400,
            "bad_data",
            "parse error",
        ),
    ] {
        let reply = get(&served.url, &format!("/api/v1/{target}"));
        assert_eq!(reply.status, status, "{target}: {}", reply.text());
        let json = reply.json();
        assert_eq!(json["errorType"], kind, "{target}");
        assert!(json["error"].as_str().unwrap().contains(words), "{target}: {json}");
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
}

#[test]
fn hostile_queries_get_their_answer_at_once() {
    let (served, fake) = serve(Options::default());
    let name = "emac_journey_gate";
    let begun = Instant::now();
    for text in [
        format!("{}{name}{}", "(".repeat(4_000), ")".repeat(4_000)),
        format!("{}{name}", "-".repeat(8_000)),
        format!("{}{name}{}", "abs(".repeat(1_500), ")".repeat(1_500)),
        format!("{name}{}", "[1m:]".repeat(1_000)),
        format!("{name}{}", "+1".repeat(4_000)),
        format!("{name}{{{}}}", "a=~\".*.*.*.*.*\",".repeat(400)),
        format!("{name}{{a=~\"{}\"}}", "(a*)*".repeat(1_000)),
        format!("{name}{{a=~\"((a{{500}}){{500}}){{500}}\"}}"),
        format!("{name}{{a=\"{}", "\\".repeat(5_000)),
        format!("{} {name}", "x".repeat(100_000)),
        format!("{name}\u{0}\u{fffd}{}", "#".repeat(8_000)),
    ] {
        let reply = post(&served.url, "/api/v1/query", &format!("query={}", escape(&text)));
        assert!((400..500).contains(&reply.status), "{} for {}…", reply.status, &text[..20]);
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(fake.seen(), [""; 0]);
    // The same without a name of ours is none of our business.
    let nested = format!("{}x{}", "(".repeat(30_000), ")".repeat(30_000));
    let reply = post(&served.url, "/api/v1/query", &format!("query={}", escape(&nested)));
    assert_eq!((reply.status, fake.seen().len()), (200, 1));
}

#[test]
fn discovery_is_merged_sorted_without_repetition_and_cut_with_a_warning() {
    let (served, fake) = serve(Options::default());
    fake.set("/api/v1/labels", 200, &json!({"status": "success", "data": ["__name__", "job", "zone"]}));
    let names = ["__name__", "accepted", "digest", "job", "journey", "reason"];
    let merged = get(&served.url, "/api/v1/labels").json();
    for name in names {
        assert!(texts(&merged["data"]).contains(&name), "{name} in {merged}");
    }
    assert!(texts(&merged["data"]).is_sorted());
    assert_eq!(post(&served.url, "/api/v1/labels", "").json(), merged);

    let values = json!({"status": "success", "data": ["down", "up"], "warnings": ["theirs"]});
    fake.set("/api/v1/label/__name__/values", 200, &values);
    let merged = get(&served.url, "/api/v1/label/__name__/values").json();
    assert_eq!(texts(&merged["data"])[0], "down");
    assert!(texts(&merged["data"]).contains(&"emac_journey_gate"));
    assert_eq!(merged["warnings"], json!(["theirs"]));
    let cut = get(&served.url, "/api/v1/label/__name__/values?limit=3").json();
    assert_eq!(cut["data"].as_array().unwrap().len(), 3);
    assert_eq!(cut["warnings"], json!(["theirs", "results truncated due to limit"]));

    fake.set("/api/v1/series", 200, &json!({"status": "success", "data": [{"__name__": "up"}]}));
    let target = "/api/v1/series?match[]=emac_journey_gate%7Bverdict%3D%22pass%22%7D&match[]=up";
    let merged = get(&served.url, target).json();
    let expected = |window: &str| json!({"__name__": "emac_journey_gate", "journey": "checkout", "verdict": "pass", "window": window});
    let data = merged["data"].as_array().unwrap();
    assert_eq!(data.len(), 3, "{merged}");
    assert_eq!(*data, [expected("1h"), expected("5m"), json!({"__name__": "up"})]);
}

#[test]
fn discovery_that_concerns_nothing_of_ours_passes_through() {
    let (served, fake) = serve(Options::default());
    for target in [
        "/api/v1/series?match[]=up",
        "/api/v1/series?match[]=%7Bjob%3D%22a%22%7D",
        "/api/v1/series",
        "/api/v1/labels?match[]=up",
        "/api/v1/label/job/values",
        "/api/v1/label/journey/values?match[]=up",
        "/api/v1/metadata?metric=up",
        "/api/v1/query_exemplars?query=emac_journey_gate&start=1&end=253402300799999",
        "/api/v1/rules",
    ] {
        fake.seen();
        let reply = get(&served.url, target);
        assert_eq!(reply.text(), r#"{"status":"success","data":[]}"#, "{target}");
        assert_eq!(fake.seen(), [format!("GET {target}")]);
    }
}

#[test]
fn metadata_has_help_type_and_unit_and_never_an_empty_list() {
    let (served, fake) = serve(Options::default());
    let up = json!({"type": "gauge", "help": "Up.", "unit": ""});
    fake.set("/api/v1/metadata", 200, &json!({"status": "success", "data": {"up": [up]}}));
    let data = get(&served.url, "/api/v1/metadata").json()["data"].clone();
    let data = data.as_object().unwrap();
    assert!(data.contains_key("up") && data.contains_key("emac_journey_evidence_age_seconds"));
    for (name, entries) in data {
        let entries = entries.as_array().unwrap();
        assert_eq!(entries.len(), 1, "{name}");
        assert_eq!(entries[0]["type"], "gauge");
        assert!(!entries[0]["help"].as_str().unwrap().is_empty());
    }
    assert_eq!(data["emac_journey_evidence_age_seconds"][0]["unit"], "seconds");
    fake.set("/api/v1/metadata", 200, &json!({"status": "success", "data": {}}));
    let one = get(&served.url, "/api/v1/metadata?metric=emac_journey_gate").json();
    assert_eq!(one["data"].as_object().unwrap().len(), 1);
}

#[test]
fn without_the_upstream_ours_is_listed_with_a_warning_that_names_it() {
    let (served, fake) = serve(Options::default());
    fake.set_down(true);
    for target in
        ["/api/v1/labels", "/api/v1/label/journey/values", "/api/v1/series?match[]=emac_journey_gate"]
    {
        let reply = get(&served.url, target);
        assert_eq!(reply.status, 200, "{target}");
        let json = reply.json();
        assert!(!json["data"].as_array().unwrap().is_empty(), "{target}");
        assert!(json["warnings"][0].as_str().unwrap().contains("http://fake:9090"), "{json}");
    }
    let reply = get(&served.url, "/api/v1/label/job/values");
    assert_eq!((reply.status, &reply.json()["errorType"]), (503, &json!("unavailable")));
    // A refusal of the upstream is the client's to see.
    fake.set_down(false);
    let refusal = json!({"status": "error", "errorType": "bad_data", "error": "no"});
    fake.set("/api/v1/labels", 400, &refusal);
    let reply = get(&served.url, "/api/v1/labels?start=x");
    assert_eq!((reply.status, reply.json()), (400, refusal));
}

#[test]
fn federation_merges_both_and_fails_as_a_whole() {
    let (served, fake) = serve(Options::default());
    let federate = |selectors: &[&str]| {
        let matchers: Vec<String> =
            selectors.iter().map(|text| format!("match[]={}", escape(text))).collect();
        get(&served.url, &format!("/federate?{}", matchers.join("&")))
    };
    // What is ours alone is asked of nobody.
    let gate = federate(&["emac_journey_gate{verdict=\"review\"}"]);
    assert_eq!(
        (gate.status, gate.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    assert!(
        gate.text().contains("# TYPE emac_journey_gate gauge\nemac_journey_gate{journey="),
        "{}",
        gate.text()
    );
    assert!(
        gate.text()
            .lines()
            .filter(|line| !line.starts_with('#'))
            .all(|line| line.contains(",instance=\"\"}"))
    );
    assert_eq!(fake.seen(), [""; 0]);
    // What is theirs alone is passed on.
    assert_eq!(federate(&["up"]).status, 200);
    assert_eq!(fake.seen(), ["GET /federate?match[]=up"]);
    fake.set_text("/federate", 200, "# TYPE up untyped\nup{instance=\"\"} 1 1000\n");
    for selectors in [&["emac_journey_gate", "up"][..], &["{journey=\"checkout\"}"]] {
        let both = federate(selectors);
        assert!(both.text().starts_with("# TYPE up untyped\nup{instance=\"\"} 1 1000\n"), "{}", both.text());
        assert!(both.text().contains("emac_journey_gate{"), "{}", both.text());
    }
    fake.set_text("/federate", 400, "no");
    assert_eq!(
        (federate(&["emac_journey_gate", "up"]).status, federate(&["emac_journey_gate{"]).status),
        (400, 400)
    );
    fake.set_down(true);
    let failed = federate(&["emac_journey_gate", "up"]);
    assert_eq!(failed.status, 503);
    assert!(failed.text().contains("http://fake:9090"), "{}", failed.text());
}

#[test]
fn operations_speak_to_this_process_and_never_reach_the_upstream() {
    let (served, fake) = serve(Options::default());
    assert_eq!(get(&served.url, "/-/healthy").status, 200);
    assert_eq!(get(&served.url, "/-/ready").status, 200);
    assert_eq!(post(&served.url, "/-/quit", "").status, 404);
    assert_eq!(get(&served.url, "/-/reload").status, 405);
    assert_eq!(post(&served.url, "/-/reload", "").status, 404, "there is nothing to reload from");
    let metrics = get(&served.url, "/metrics");
    let version = format!("emac_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
    assert!(metrics.text().contains(&version));
    assert!(metrics.text().contains("emac_http_requests_total{route=\"/-/{*operation}\",code=\"404\"} 1"));
    assert_eq!(fake.seen(), [""; 0]);
}

#[test]
fn a_failed_reload_keeps_the_last_good_model_and_says_so() {
    let fault = Arc::new(Mutex::new(None::<String>));
    let told = Arc::clone(&fault);
    let reload: Reload = Arc::new(move || told.lock().unwrap().clone().map_or(Ok(()), Err));
    let (served, _) = serve(Options { reload: Some(reload), ..Options::default() });
    *fault.lock().unwrap() = Some("error[E001] journey.yaml:3:5: no".to_owned());
    let reply = post(&served.url, "/-/reload", "");
    assert_eq!(reply.status, 422);
    assert!(reply.json()["error"].as_str().unwrap().contains("journey.yaml:3:5"));
    assert!(served.engine.model().invalid_since.is_some());
    assert_eq!(served.engine.model().journeys.len(), 1);
    let metrics = get(&served.url, "/metrics");
    assert!(metrics.text().contains("emac_model_last_reload_successful 0"));
    *fault.lock().unwrap() = None;
    assert_eq!(send(&served.url, "PUT", "/-/reload", &[], b"").status, 200);
    assert!(get(&served.url, "/metrics").text().contains("emac_model_last_reload_successful 1"));
}

#[test]
fn own_answers_carry_cors_headers_and_are_compressed_where_the_client_likes() {
    let (served, _) = serve(Options::default());
    let headers = [("Origin", "http://grafana"), ("Accept-Encoding", "gzip")];
    let reply = send(&served.url, "GET", "/journeys/metrics", &headers, b"");
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&*reply.body), &mut text).unwrap();
    assert_eq!(text, get(&served.url, "/journeys/metrics").text());
    assert!(text.contains("# TYPE emac_journey_gate gauge"));
    assert!(!text.contains("# EOF"));
    // What is passed through is the upstream's to decorate.
    let reply = send(&served.url, "GET", "/api/v1/rules", &headers, b"");
    assert_eq!((reply.header("access-control-allow-origin"), reply.header("content-encoding")), (None, None));
}
