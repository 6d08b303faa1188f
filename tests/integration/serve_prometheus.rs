//! The whole way, from histograms in a real Prometheus to the answers that its own clients print.

use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;

use emac::unit::Timestamp;
use serde_json::json;

use crate::emac_binary::Binary;
use crate::http_client::{get, post};
use crate::prometheus::{Prometheus, Setup, escape, wait_for};
use crate::served::{Served, journeys};

/// A multiple of the evaluation interval.
const END: i64 = 1_700_000_010;

const SPEC: &str = r#"
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {target: 0.99, window: 30d}
    latency: {window: 30d, objective: {metric: p99, threshold: 800ms}}
  windows: [5m, 1h]
  components:
    front: {telemetry: {histogram: http_request_duration_seconds, matchers: {service: front}, success: {code: '!~"5.."'}}}
    pay: {telemetry: {histogram: http_request_duration_seconds, matchers: {service: pay}, success: {code: '!~"5.."'}}}
  expression: Series(front, pay)
"#;

/// Two hours up to `end`: each 15 s, `front` answers 100 calls, one of them badly, and `pay` 200, one of them badly.
fn history(end: i64) -> String {
    let mut text = "# TYPE http_request_duration_seconds histogram\n".to_owned();
    for (service, code, calls) in
        [("front", "200", 99), ("front", "500", 1), ("pay", "200", 199), ("pay", "500", 1)]
    {
        for (suffix, le, share) in [
            ("bucket", "le=\"0.1\",", 0.8),
            ("bucket", "le=\"0.25\",", 0.95),
            ("bucket", "le=\"0.5\",", 1.0),
            ("bucket", "le=\"+Inf\",", 1.0),
            ("count", "", 1.0),
            ("sum", "", 0.1),
        ] {
            for i in 0..480 {
                let value = f64::from(i * calls) * share;
                let time = end - 15 * i64::from(479 - i);
                text.push_str(&format!(
                    "http_request_duration_seconds_{suffix}{{{le}service=\"{service}\",code=\"{code}\"}} {value} {time}\n"
                ));
            }
        }
    }
    text.push_str("# TYPE other gauge\n");
    for i in (0..480).rev() {
        text.push_str(&format!("other{{journey=\"checkout\"}} 7 {}\n", end - 15 * i));
    }
    text + "# EOF\n"
}

fn start() -> (Prometheus, Served) {
    let history = history(END);
    let prometheus = Prometheus::start(&Setup { history: Some(&history), ..Setup::default() });
    let now = Timestamp::from_millis((END + 5) * 1000);
    let served = Served::behind(prometheus.url(), journeys(SPEC), now);
    served.evaluate();
    (prometheus, served)
}

fn promtool(arguments: &[&str]) -> String {
    let output = Command::new("promtool").args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The number that promtool prints after `=>`.
fn printed_value(line: &str) -> f64 {
    line.split("=> ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn promtool_reads_synthetic_series_like_any_other() {
    let (prometheus, served) = start();
    let time = format!("--time={}", END + 5);
    let expected = 0.99 * 0.995;
    let query = "emac_journey_availability_estimate{journey=\"checkout\",window=\"5m\"}";
    let line = promtool(&["query", "instant", &time, &served.url, query]);
    assert!(
        line.starts_with("emac_journey_availability_estimate{journey=\"checkout\", window=\"5m\"} => "),
        "{line}"
    );
    assert!(line.contains(&format!("@[{}]", END + 5)), "{line}");
    assert!((printed_value(&line) - expected).abs() < 1e-9, "{line}");

    let latency =
        "emac_journey_latency_pessimistic_seconds{journey=\"checkout\",quantile=\"0.99\",window=\"5m\"}";
    let line = promtool(&["query", "instant", &time, &served.url, latency]);
    assert!(printed_value(&line) > 0.25, "{line}");

    for (name, below) in [("pessimistic", true), ("optimistic", false)] {
        let query = format!("emac_journey_availability_{name}{{window=\"5m\"}}");
        let value = printed_value(&promtool(&["query", "instant", &time, &served.url, &query]));
        assert!(if below { value <= expected } else { value >= expected }, "{name} is {value}");
    }

    let (from, to) = (format!("--start={}", END - 600), format!("--end={END}"));
    let lines = promtool(&["query", "range", &from, &to, "--step=60s", &served.url, query]);
    let values: Vec<&str> = lines.lines().filter(|line| line.contains(" @[")).collect();
    assert_eq!(values.len(), 11, "{lines}");
    for value in values {
        let number: f64 = value.split(' ').next().unwrap().parse().unwrap();
        assert!((number - expected).abs() < 1e-9, "{value}");
    }

    // What is not ours is the upstream's to the byte.
    let real = "sum by (service) (rate(http_request_duration_seconds_count[5m]))";
    assert_eq!(
        promtool(&["query", "instant", &time, &served.url, real]),
        promtool(&["query", "instant", &time, prometheus.url(), real])
    );
    assert!(promtool(&["query", "labels", &from, &to, &served.url, "journey"]).contains("checkout"));
    let series = promtool(&["query", "series", &from, &to, "--match=emac_journey_gate", &served.url]);
    assert_eq!(series.lines().filter(|line| line.contains("emac_journey_gate")).count(), 6, "{series}");
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn selectors_may_look_elsewhere_in_time_and_be_calculated_with() {
    let (_prometheus, served) = start();
    let ask = |query: &str, time: i64| {
        let reply = get(&served.url, &format!("/api/v1/query?query={}&time={time}", escape(query)));
        assert_eq!(reply.status, 200, "{query}: {}", reply.text());
        reply.json()["data"]["result"].clone()
    };
    let value = |result: &serde_json::Value| -> f64 {
        assert_eq!(result.as_array().unwrap().len(), 1, "{result}");
        result[0]["value"][1].as_str().unwrap().parse().unwrap()
    };
    let name = "emac_journey_availability_estimate{window=\"5m\"}";
    for (query, time) in [
        (format!("{name} offset 10m"), END),
        (format!("{name} @ {}", END - 900), END + 100_000),
        (format!("{name} @ {} offset 5m", END - 300), 0),
        (format!("max by (journey) ({name})"), END),
        (format!("({name} * 2) / 2"), END),
        (format!("{name} > 0.9"), END),
    ] {
        assert!((value(&ask(&query, time)) - 0.98505).abs() < 1e-9, "{query}");
    }
    assert_eq!(ask(&format!("{name} > 0.99"), END), json!([]));
    assert_eq!(value(&ask(&format!("timestamp({name})"), END + 7)), f64::from(i32::try_from(END).unwrap()));
    // Twenty grid points lie in a window of five minutes that is open on the left.
    assert_eq!(value(&ask(&format!("count_over_time({name}[5m])"), END)), 20.0);
    assert_eq!(ask(&format!("{name}[1m]"), END)[0]["values"].as_array().unwrap().len(), 4);
    assert_eq!(value(&ask("emac_journey_error_budget_burn_rate_estimate{window=\"5m\"} * 0 + 1", END)), 1.0);
    // An offered point is not offered before its delay has passed.
    assert_eq!(value(&ask(&format!("timestamp({name})"), END - 1)), (END - 15) as f64);
    // `limit` cuts, and says so.
    let reply = get(&served.url, &format!("/api/v1/query?query=emac_journey_gate&time={END}&limit=2"));
    assert_eq!(reply.json()["data"]["result"].as_array().unwrap().len(), 2);
    assert_eq!(reply.json()["warnings"], json!(["results truncated due to limit"]));
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_selector_without_a_name_finds_the_series_of_both() {
    let (_prometheus, served) = start();
    let names = |reply: &serde_json::Value| -> Vec<String> {
        let result = reply["data"]["result"].as_array().unwrap();
        result.iter().map(|series| series["metric"]["__name__"].as_str().unwrap().to_owned()).collect()
    };
    let query = escape("{journey=\"checkout\",__name__=~\"other|.*journey_availability_estimate\"}");
    let instant = get(&served.url, &format!("/api/v1/query?query={query}&time={END}")).json();
    let mut found = names(&instant);
    found.sort();
    let estimate = "emac_journey_availability_estimate";
    assert_eq!(found, [estimate, estimate, "other"], "{instant}");
    let form = format!("query={query}&start={}&end={END}&step=60", END - 120);
    let range = post(&served.url, "/api/v1/query_range", &form).json();
    assert_eq!(names(&range), [estimate, estimate, "other"], "a matrix is sorted");
    for series in range["data"]["result"].as_array().unwrap() {
        assert_eq!(series["values"].as_array().unwrap().len(), 3);
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_scrape_page_agrees_with_the_query_and_passes_promtools_check() {
    let (_prometheus, served) = start();
    let page = get(&served.url, "/journeys/metrics");
    let text = page.text();
    let line = text
        .lines()
        .find(|line| line.starts_with("emac_journey_availability_pessimistic{") && line.contains("\"5m\""))
        .unwrap();
    let query = "emac_journey_availability_pessimistic{window=\"5m\"}";
    let reply = get(&served.url, &format!("/api/v1/query?query={}", escape(query))).json();
    assert_eq!(line.rsplit(' ').next(), reply["data"]["result"][0]["value"][1].as_str());
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), &page.body).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // It has opinions on names that end in `_bucket` and such; a fault of syntax ends it with 1.
    assert!(output.status.code() != Some(1), "{said}");
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_killed_upstream_is_named_with_the_age_of_the_evidence_and_the_gate_asks_for_review() {
    let (mut prometheus, served) = start();
    prometheus.kill();
    for _ in 0..6 {
        served.clock.fetch_add(15_000, Ordering::SeqCst);
        served.evaluate();
    }
    let query = escape("emac_journey_availability_pessimistic{window=\"5m\"}");
    let reply = get(&served.url, &format!("/api/v1/query?query={query}"));
    assert_eq!((reply.status, &reply.json()["errorType"]), (422, &json!("execution")), "{}", reply.text());
    let words = reply.json()["error"].as_str().unwrap().to_owned();
    assert!(words.contains(prometheus.url()), "{words}");
    assert!(words.contains("90s") || words.contains("1m30s") || words.contains("s old"), "{words}");
    let gate = escape("emac_journey_gate{window=\"5m\"} == 1");
    let reply = get(&served.url, &format!("/api/v1/query?query={gate}")).json();
    assert_eq!(reply["data"]["result"][0]["metric"]["verdict"], "review", "{reply}");
    let missing = escape("emac_journey_evidence_missing{reason=\"upstream\",component=\"\"}");
    let reply = get(&served.url, &format!("/api/v1/query?query={missing}")).json();
    assert_eq!(reply["data"]["result"][0]["value"][1], "1", "{reply}");
    // Neither the page nor a scrape shows an old number as a fresh one.
    let page = get(&served.url, "/journeys/metrics");
    assert!(!page.text().contains("emac_journey_availability_pessimistic{"));
    assert!(page.text().contains("emac_journey_gate{"));
    // The past stays answered.
    let past = get(&served.url, &format!("/api/v1/query?query={query}&time={}", END + 5));
    assert_eq!(past.status, 200, "{}", past.text());
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_binary_reloads_keeps_the_last_good_model_and_ends_on_a_signal() {
    let prometheus = Prometheus::start(&Setup::default());
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("checkout.yaml");
    std::fs::write(&spec, SPEC).unwrap();
    let path = folder.path().to_str().unwrap();
    let mut binary = Binary::start(&["--upstream.url", prometheus.url(), "--spec", path]);
    let url = binary.url.clone();
    let revision = |wanted: &str| {
        let line = format!("emac_model_revision {wanted}");
        get(&url, "/metrics").text().lines().any(|found| found == line).then_some(())
    };
    let names = || get(&url, "/api/v1/label/journey/values").json()["data"].clone();
    wait_for("the first model", || revision("1"));
    assert_eq!(names(), json!(["checkout"]));

    std::fs::write(folder.path().join("pay.yaml"), SPEC.replace("name: checkout", "name: pay")).unwrap();
    binary.signal("HUP");
    wait_for("the second model", || revision("2"));
    assert_eq!(names(), json!(["checkout", "pay"]));

    std::fs::write(&spec, SPEC.replace("Series(front, pay)", "Series(front, nobody)")).unwrap();
    let reply = post(&url, "/-/reload", "");
    assert_eq!(reply.status, 422);
    let words = reply.json()["error"].as_str().unwrap().to_owned();
    assert!(words.contains("checkout.yaml") && words.contains("nobody"), "{words}");
    assert_eq!(names(), json!(["checkout", "pay"]), "the last good model goes on");
    assert!(get(&url, "/metrics").text().contains("emac_model_last_reload_successful 0"));

    std::fs::write(&spec, SPEC).unwrap();
    assert_eq!(post(&url, "/-/reload", "").status, 200);
    assert!(get(&url, "/metrics").text().contains("emac_model_last_reload_successful 1"));

    binary.signal("TERM");
    let status = wait_for("the end", || binary.child.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn flags_and_files_that_cannot_work_are_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("emac.yaml");
    std::fs::write(
        &config,
        "upstream: {url: 'http://a:1', headers: {X-Key: hidden}}\nevaluation: {interval: 30s}\n",
    )
    .unwrap();
    let config = config.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_emac")).arg("serve").args(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    };
    let (code, printed, _) = run(&["--config", config, "--upstream.url", "http://b:2", "--print-config"]);
    assert_eq!(code, 0);
    assert!(printed.contains("http://b:2") && printed.contains("interval: 30s"), "{printed}");
    assert!(!printed.contains("hidden") && !printed.contains("http://a:1"), "{printed}");
    for (arguments, words) in [
        (vec!["--spec", "."], "--upstream.url"),
        (vec!["--upstream.url", "http://a"], "--spec"),
        (vec!["--upstream.url", "ftp://a", "--spec", "/dev/null"], "no journey"),
        (vec!["--upstream.url", "http://a", "--spec", "/nowhere"], "/nowhere"),
        (vec!["--config", "/nowhere.yaml"], "/nowhere.yaml"),
        (vec!["--listen", "nowhere"], "--listen"),
    ] {
        let (code, _, said) = run(&arguments);
        assert!(code != 0 && said.contains(words), "{arguments:?}: {code} {said}");
    }
}
