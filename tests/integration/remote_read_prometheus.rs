//! A real Prometheus that reads synthetic series by `remote_read`, as its rules do.

use std::time::{Duration, Instant};

use emac::wire::xor_chunk::{self, XorEncoder};
use serde_json::Value as Json;

use crate::emac_binary::Binary;
use crate::live_shop::{AVAILABILITY, LiveProxy, LiveShop, now};
use crate::prometheus::{Prometheus, Setup, escape, free_port, get, try_get, wait_for};
use crate::remote_read_client::{CHUNKS, body, frames, post, query};

/// The shop, its Prometheus, and the proxy in front.
pub(crate) fn upstream() -> (LiveShop, Prometheus) {
    let shop = LiveShop::start();
    let history = shop.history();
    let prometheus = Prometheus::start(&Setup {
        targets: &[shop.target()],
        history: Some(&history),
        external_labels: "cluster: test, replica: r0",
        ..Setup::default()
    });
    (shop, prometheus)
}

/// A Prometheus that has nothing of its own.
fn reader(proxy: &str, rules: &str) -> Prometheus {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yaml");
    std::fs::write(&file, rules).unwrap();
    let config = format!(
        "rule_files: [{:?}]\nremote_read: [{{url: \"{proxy}/api/v1/read\", read_recent: true, remote_timeout: 2s}}]",
        file.to_str().unwrap()
    );
    Prometheus::start(&Setup {
        config: &config,
        external_labels: "cluster: test, replica: r1",
        ..Setup::default()
    })
}

fn api(base: &str, path: &str, parameters: &[(&str, &str)]) -> Json {
    let parameters: Vec<String> =
        parameters.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    let reply = get(&format!("{base}/api/v1/{path}?{}", parameters.join("&")));
    assert_eq!(reply.status, 200, "{path} {parameters:?}: {}", reply.text());
    reply.json()
}

const ESTIMATE: &str = "emac_journey_availability_estimate{window=\"1m\"}";

const RULES: &str = r#"
groups:
  - name: journeys
    interval: 1s
    rules:
      - record: recorded:availability
        expr: emac_journey_availability_estimate{window="1m"}
      - alert: Burns
        expr: emac_journey_error_budget_burn_rate_pessimistic{window="1m"} > 2
"#;

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_prometheus_that_reads_remotely_sees_what_the_proxy_answers() {
    let (_shop, upstream) = upstream();
    let proxy = LiveProxy::start(upstream.url());
    let reader = reader(proxy.url(), RULES);
    reader.wait_for_series(ESTIMATE);
    // As far back as the queries below look, back-filled or new.
    reader.wait_for_series(&format!("count_over_time({ESTIMATE}[6m]) >= 175"));

    // Between two points of the grid and old enough to be final, so that the boundaries of 2.x and 3.x agree.
    let at = ((now() - 6.0) / 2.0).floor() * 2.0 + 1.0;
    let (time, from) = (at.to_string(), (at - 40.0).to_string());
    let names = "{__name__=~\"emac_journey_.*\",window=\"1m\"}";
    for asked in [
        ESTIMATE,
        "emac_journey_gate == 1",
        "emac_journey_latency_pessimistic_seconds{quantile=\"0.99\"}",
        &format!("avg_over_time({ESTIMATE}[40s])"),
        &format!("count_over_time({ESTIMATE}[40s])"),
        &format!("max_over_time({ESTIMATE}[30s:2s])"),
        &format!("{ESTIMATE} offset 20s"),
        "1 - sum by (journey) (emac_journey_availability_pessimistic)",
    ] {
        let ours = api(proxy.url(), "query", &[("query", asked), ("time", &time)]);
        let theirs = api(reader.url(), "query", &[("query", asked), ("time", &time)]);
        assert_eq!(sorted(&theirs), sorted(&ours), "{asked}");
        assert!(!sorted(&ours).is_empty() && theirs["warnings"].is_null(), "{asked}: {theirs}");
        let range = [("query", asked), ("start", &from), ("end", &time), ("step", "4")];
        let ours = api(proxy.url(), "query_range", &range);
        let theirs = api(reader.url(), "query_range", &range);
        assert_eq!(sorted(&theirs), sorted(&ours), "{asked}");
    }
    let all = api(reader.url(), "query", &[("query", names), ("time", &time)]);
    assert!(sorted(&all).len() > 30);

    // Rules see the same, within one evaluation.
    reader.wait_for_series("recorded:availability");
    let recorded = reader.query("recorded:availability");
    let value: f64 = recorded[0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!((value - AVAILABILITY).abs() < 1e-3, "{value}");
    wait_for("the alert", || {
        let alerts = get(&format!("{}/api/v1/alerts", reader.url())).json();
        let firing = |alert: &Json| alert["labels"]["alertname"] == "Burns" && alert["state"] == "firing";
        alerts["data"]["alerts"].as_array().unwrap().iter().any(firing).then_some(())
    });

    // A bare listing of series asks for all of time.
    let begun = Instant::now();
    let listed = get(&format!("{}/api/v1/series?match[]={}", reader.url(), escape("{__name__=~\".+\"}")));
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    let listed = listed.json();
    let listed = listed["data"].as_array().unwrap();
    assert!(listed.iter().any(|series| series["__name__"] == "emac_journey_gate"), "{listed:?}");
}

/// The result of an answer, in the order of labels.
fn sorted(answer: &Json) -> Vec<String> {
    let result = answer["data"]["result"].as_array().unwrap();
    let mut all: Vec<String> = result
        .iter()
        .map(|series| {
            let labels = series["metric"].as_object().unwrap();
            let labels: std::collections::BTreeMap<_, _> = labels.iter().collect();
            format!("{labels:?} {} {}", series["value"], series["values"])
        })
        .collect();
    all.sort();
    all
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_upstream_itself_may_read_forty_series_at_once() {
    let shop = LiveShop::start();
    let history = shop.history();
    let port = free_port();
    let config = format!(
        "remote_read: [{{url: \"http://127.0.0.1:{port}/api/v1/read\", read_recent: true, remote_timeout: 10s}}]"
    );
    let prometheus = Prometheus::start(&Setup {
        targets: &[shop.target()],
        history: Some(&history),
        external_labels: "cluster: test",
        config: &config,
        ..Setup::default()
    });
    let proxy = LiveProxy::start_at(&format!("127.0.0.1:{port}"), prometheus.url(), "");
    prometheus.wait_for_series(ESTIMATE);
    prometheus.wait_for_series(&format!("count_over_time({ESTIMATE}[1m]) >= 29"));
    let counter = |name: &str| -> f64 {
        let metrics = get(&format!("{}/metrics", proxy.url()));
        let lines = metrics.text().lines().filter(|line| line.starts_with(name));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    };
    let evidence = counter("emac_evidence_queries_total");
    let reads = counter("emac_remote_read_requests_total");
    let begun = Instant::now();
    let asked: Vec<_> = (0..40)
        .map(|i| {
            let url = prometheus.url().to_owned();
            // Different texts, so that nobody shares an answer.
            let text = format!("avg_over_time({ESTIMATE}[40s]) + {i}");
            std::thread::spawn(move || {
                let reply = get(&format!("{url}/api/v1/query?query={}", escape(&text))).json();
                let result = reply["data"]["result"].as_array().unwrap();
                let value =
                    result.first().map(|one| one["value"][1].as_str().unwrap().parse::<f64>().unwrap());
                (i, value, reply["warnings"].clone())
            })
        })
        .collect();
    for asked in asked {
        let (i, value, warnings) = asked.join().unwrap();
        let value = value.unwrap_or_else(|| panic!("query {i} is empty: {warnings}"));
        assert!((value - f64::from(i) - AVAILABILITY).abs() < 1e-3, "{i}: {value}");
    }
    let took = begun.elapsed();
    // The loop asks some queries in the meantime, the reads none; and none comes back to us in circles.
    let evidence = counter("emac_evidence_queries_total") - evidence;
    let reads = counter("emac_remote_read_requests_total") - reads;
    println!("40 queries in {took:?}: {evidence} evidence queries, {reads} remote reads");
    assert!(evidence <= 40.0 + took.as_secs_f64() * 20.0, "{evidence} in {took:?}");
    assert!((40.0..=40.0 + 4.0 * (evidence + 20.0)).contains(&reads), "{reads}");
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_guard_fires_when_the_proxy_hangs_and_when_it_is_dead() {
    let (_shop, upstream) = upstream();
    let proxy = LiveProxy::start(upstream.url());
    let guard =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/rules/remote-read-guard.rules.yaml"));
    // The same alert with less patience.
    let guard = guard.unwrap();
    assert!(guard.contains("interval: 15s") && guard.contains("for: 1m"), "{guard}");
    let guard = guard.replace("interval: 15s", "interval: 1s").replace("for: 1m", "for: 2s");
    let reader = reader(proxy.url(), &guard);
    let state = || {
        let alerts = get(&format!("{}/api/v1/alerts", reader.url())).json();
        let alerts = alerts["data"]["alerts"].as_array().unwrap().clone();
        alerts.first().map_or("inactive".to_owned(), |alert| alert["state"].as_str().unwrap().to_owned())
    };
    let becomes = |wanted: &str| wait_for(wanted, || (state() == wanted).then_some(()));
    reader.wait_for_series("emac_journey_model_info");
    becomes("inactive");
    proxy.binary.signal("STOP");
    becomes("firing");
    proxy.binary.signal("CONT");
    becomes("inactive");
    let Binary { .. } = &proxy.binary;
    drop(proxy);
    becomes("firing");
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_gap_shows_no_value_through_a_reader_either() {
    let (_shop, mut upstream) = upstream();
    let proxy = LiveProxy::start(upstream.url());
    let reader = reader(proxy.url(), "groups: []\n");
    reader.wait_for_series(ESTIMATE);
    upstream.kill();
    let killed = now();
    wait_for("the end of the series", || reader.query(ESTIMATE).as_array().unwrap().is_empty().then_some(()));
    let ended = now();
    // The last value rests on evidence from before the end: one interval of grace, one to evaluate, the delay, and
    // what this machine needs.
    assert!(ended - killed < 15.0, "it ended {} s after the upstream", ended - killed);
    let newest = reader.query(&format!("{ESTIMATE}[2m]"))[0]["values"].clone();
    let newest = newest.as_array().unwrap().last().unwrap()[0].as_f64().unwrap();
    assert!(newest <= killed + 4.0, "a value at {newest}, {} s after the upstream ended", newest - killed);
    // One grid step after the last value there is none, whenever one asks.
    let shown = |base: &str, at: f64| {
        try_get(&format!("{base}/api/v1/query?query={}&time={at}", escape(ESTIMATE))).unwrap()
    };
    for later in [2.0, 3.0, 20.0] {
        let through = shown(reader.url(), newest + later).json();
        assert_eq!(through["data"]["result"], Json::Array(Vec::new()), "{later} s later");
    }
    assert_eq!(shown(proxy.url(), newest).status, 200);
    wait_for("an error by name", || (shown(proxy.url(), newest + 2.0).status == 422).then_some(()));
    // The verdict says review meanwhile.
    let gate = reader.query("emac_journey_gate{verdict=\"review\",window=\"1m\"}");
    assert_eq!(gate[0]["value"][1], "1", "{gate}");

    // When the upstream is back, so are the values; the gap stays one.
    upstream.restart();
    reader.wait_for_series(ESTIMATE);
    let back = reader.query(&format!("{ESTIMATE}[2m]"))[0]["values"].clone();
    let times: Vec<f64> = back.as_array().unwrap().iter().map(|pair| pair[0].as_f64().unwrap()).collect();
    let resumed = times.iter().copied().find(|time| *time > newest).unwrap();
    println!("killed at {killed}, last value at {newest}, gone at {ended}, values again from {resumed} on");
    assert!(resumed > ended, "{resumed}");
    for later in [newest + 2.0, (newest + resumed) / 2.0, resumed - 0.5] {
        let through = shown(reader.url(), later).json();
        assert_eq!(through["data"]["result"], Json::Array(Vec::new()), "{later} through the reader");
        assert_eq!(shown(proxy.url(), later).status, 422, "{later} directly");
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn our_chunks_are_those_of_a_real_prometheus_bit_for_bit() {
    let (_shop, upstream) = upstream();
    upstream.wait_for_series("http_request_duration_seconds_bucket{instance!=\"\"}");
    let to = (now() * 1000.0) as i64;
    let asked = query("", &["__name__=~http_.*|scrape_.*|up"], to - 3_600_000, to);
    let reply = post(upstream.url(), &body(vec![asked], &[CHUNKS]));
    assert_eq!(reply.status, 200);
    let (mut chunks, mut samples) = (0, 0);
    for frame in frames(&reply.body) {
        for chunk in frame.chunked_series.iter().flat_map(|series| &series.chunks) {
            let decoded = xor_chunk::decode(&chunk.data).unwrap();
            samples += decoded.len();
            // Up to 240 stand in a chunk where scrapes come faster than it guessed.
            if decoded.len() > usize::from(xor_chunk::MAX_SAMPLES) {
                continue;
            }
            let mut encoder = XorEncoder::default();
            decoded.iter().for_each(|&sample| encoder.push(sample).unwrap());
            assert_eq!(encoder.bytes(), &chunk.data[..]);
            chunks += 1;
        }
    }
    // How many there are depends on how fast this machine scrapes.
    assert!(chunks > 10 && samples > 1_000, "{chunks} chunks, {samples} samples");
}
