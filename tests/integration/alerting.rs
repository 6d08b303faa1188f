//! The three ways to alert on synthetic series, each with the real server: a Prometheus that scrapes them (a rule then
//! sees ordinary series), one that reads them remotely (`remote_read_prometheus`), and vmalert, which asks the API.

use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::compiled_alerts::hasty;
use crate::live_shop::{AVAILABILITY, LiveProxy, LiveShop, now};
use crate::prometheus::{Exporter, PATIENCE, Prometheus, Setup, escape, get, try_get, wait_for};
use crate::remote_read_prometheus::upstream;
use crate::victoria::{Interposed, Server};

const BURNS: &str = r#"
groups:
  - name: journeys
    interval: 1s
    rules:
      - record: recorded:availability
        expr: emac_journey_availability_estimate{window="1m"}
      - alert: Burns
        expr: emac_journey_error_budget_burn_rate_pessimistic{window="1m"} > 2
"#;

/// vmalert refuses recording rules where it has nowhere to write.
fn only_alerts() -> String {
    let (head, rest) = BURNS.split_once("      - record:").unwrap();
    format!("{head}{}", &rest[rest.find("      - alert:").unwrap()..])
}

/// Names and states of the alerts of a Prometheus or a vmalert.
fn alerts(base: &str) -> Vec<(String, String)> {
    let Some(reply) = try_get(&format!("{base}/api/v1/alerts")) else { return Vec::new() };
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let list = reply.json()["data"]["alerts"].as_array().cloned().unwrap_or_default();
    list.iter().map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["state"]))).collect()
}

fn is_firing(base: &str, name: &str) -> bool {
    alerts(base).iter().any(|(alert, state)| alert == name && state == "firing")
}

fn fires(base: &str, name: &str) {
    wait_for(name, || is_firing(base, name).then_some(()));
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_prometheus_that_scrapes_the_page_alerts_on_ordinary_series() {
    let (_shop, upstream) = upstream();
    let proxy = LiveProxy::start(upstream.url());
    let target = proxy.url().strip_prefix("http://").unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    // The shipped guard with less patience, beside a rule on the numbers.
    let shipped = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/rules/checkout/prometheus/alerts.yaml"
    ))
    .unwrap();
    let guard = hasty(&shipped).replace("groups:\n", "");
    std::fs::write(&rules, format!("{BURNS}{guard}")).unwrap();
    let jobs = format!(
        ", {{job_name: emac, metrics_path: /journeys/metrics, honor_labels: true, static_configs: [{{targets: [{target:?}]}}]}}"
    );
    let config = format!("rule_files: [{:?}]", rules.to_str().unwrap());
    let alerting = Prometheus::start(&Setup { jobs: &jobs, config: &config, ..Setup::default() });
    alerting.wait_for_series("up{job=\"emac\"} == 1");
    fires(alerting.url(), "Burns");
    alerting.wait_for_series("recorded:availability");
    let value = alerting.query("recorded:availability")[0]["value"][1].clone();
    assert!((value.as_str().unwrap().parse::<f64>().unwrap() - AVAILABILITY).abs() < 1e-3, "{value}");
    wait_for("the guard to end", || (!is_firing(alerting.url(), "JourneyNotEvaluated")).then_some(()));
    drop(proxy);
    alerting.wait_for_series("up{job=\"emac\"} == 0");
    // The series end with the target, and the shipped guard says so.
    wait_for("the end", || alerting.query("emac_journey_gate").as_array()?.is_empty().then_some(()));
    fires(alerting.url(), "JourneyNotEvaluated");
}

#[test]
#[cfg_attr(not(has_vmalert), ignore = "needs vmalert and victoria-metrics: tests/run installs them")]
fn vmalert_fires_through_the_proxy_and_keeps_firing_on_errors() {
    let (_shop, mut upstream) = upstream();
    let proxy = LiveProxy::start(upstream.url());
    let between = Interposed::before(proxy.url().strip_prefix("http://").unwrap());
    let notified = Exporter::start("{}");
    let vmalert = Server::alerting(&between.url, &format!("http://{}", notified.target()), &only_alerts());
    fires(&vmalert.url, "Burns");
    // As vmalert asks: parameters in the URL, an empty body, a step on instant queries.
    let asked = between.asked.lock().unwrap().clone();
    assert!(
        asked.iter().any(|(line, length)| line.starts_with("POST /api/v1/query?")
            && line.contains("step=")
            && *length == 0),
        "{asked:?}"
    );

    // Its own guard: vmalert says in its metrics that it cannot evaluate, and a Prometheus that scrapes it alerts.
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.yaml");
    let guard =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/rules/vmalert-guard.rules.yaml"))
            .unwrap();
    assert!(guard.contains("for: 1m") && guard.contains("interval: 15s"), "{guard}");
    std::fs::write(&rules, guard.replace("for: 1m", "for: 1s").replace("interval: 15s", "interval: 1s"))
        .unwrap();
    let config = format!("rule_files: [{:?}]", rules.to_str().unwrap());
    let target = vmalert.url.strip_prefix("http://").unwrap().to_owned();
    let watcher = Prometheus::start(&Setup { targets: &[target], config: &config, ..Setup::default() });
    watcher.wait_for_series("up == 1");
    let errors = || watcher.query("max(vmalert_alerting_rules_error)")[0]["value"][1].clone();
    wait_for("no error", || (errors() == "0").then_some(()));
    assert!(!is_firing(watcher.url(), "JourneyRulesFail"));

    let keeps_firing = |what: &str| {
        wait_for(what, || (errors() == "1").then_some(()));
        let until = Instant::now() + Duration::from_secs(4);
        wait_for(what, || {
            assert!(is_firing(&vmalert.url, "Burns"), "{what}: the alert ended");
            (Instant::now() > until).then_some(())
        });
    };
    between.set(503);
    keeps_firing("503");
    fires(watcher.url(), "JourneyRulesFail");
    between.set(422);
    keeps_firing("422");
    // Ours: the upstream is dead, and the proxy says so by name.
    upstream.kill();
    between.set(200);
    let query = escape("emac_journey_error_budget_burn_rate_pessimistic{window=\"1m\"}");
    wait_for("422", || {
        (get(&format!("{}/api/v1/query?query={query}", proxy.url())).status == 422).then_some(())
    });
    keeps_firing("a dead upstream");
    // And nobody there at all.
    drop(proxy);
    keeps_firing("a dead proxy");
}

#[test]
#[cfg_attr(not(has_vmalert), ignore = "needs vmalert and victoria-metrics: tests/run installs them")]
fn victoria_metrics_may_be_the_upstream() {
    let shop = LiveShop::start();
    let store = Server::store(&shop.target());
    // Its past, in the format of Prometheus with times in milliseconds.
    let history: Vec<String> = shop
        .history()
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| format!("{line}000\n"))
        .collect();
    let imported = crate::http_client::send(
        &store.url,
        "POST",
        "/api/v1/import/prometheus",
        &[("Content-Type", "text/plain")],
        history.concat().as_bytes(),
    );
    assert_eq!(imported.status, 204, "{}", imported.text());
    let proxy = LiveProxy::start(&store.url);
    let ask = |query: &str| {
        let reply = get(&format!("{}/api/v1/query?query={}", proxy.url(), escape(query)));
        (reply.status, reply.json())
    };
    let estimate = "emac_journey_availability_estimate{window=\"1m\"}";
    // Of the objective's month there are some minutes.
    let flawless = "sum(emac_journey_evidence_missing{component=\"\",reason!=\"retention\"}) == 0";
    let (deadline, mut last) = (Instant::now() + PATIENCE, Json::Null);
    loop {
        let (status, answer) = ask(flawless);
        if status == 200 && !answer["data"]["result"].as_array().unwrap().is_empty() {
            break;
        }
        last = ask("emac_journey_evidence_missing == 1").1;
        assert!(Instant::now() < deadline, "evidence is flawed: {last}");
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let (_, answer) = ask(estimate);
    let value: f64 = answer["data"]["result"][0]["value"][1].as_str().unwrap().parse().unwrap();
    assert!((value - AVAILABILITY).abs() < 2e-3, "{value}, {last}");
    // It answers for half a minute ago where it is asked about now: evidence is not that old.
    let newest = "timestamp(http_request_duration_seconds_count{service=\"front\",code=\"200\"})";
    let age_at_store = || {
        let asked = now();
        let reply = get(&format!("{}/api/v1/query?query={}&time={asked}", store.url, escape(newest))).json();
        asked - reply["data"]["result"][0]["value"][1].as_str().unwrap().parse::<f64>().unwrap()
    };
    assert!(age_at_store() > 25.0, "{}", age_at_store());
    let age = ask("emac_journey_evidence_age_seconds").1["data"]["result"][0]["value"][1].clone();
    let age: f64 = age.as_str().unwrap().parse().unwrap();
    println!("newest sample: {} s old for the store, {age} s for the proxy", age_at_store());
    assert!((0.0..10.0).contains(&age), "{age}");
    // What is not ours passes through, syntax of its own included.
    let own = "median_over_time(http_request_duration_seconds_count{service=\"front\"}[1m])";
    let (status, answer) = ask(own);
    assert_eq!((status, answer["data"]["result"].as_array().map(Vec::len)), (200, Some(2)), "{answer}");
    let names = get(&format!("{}/api/v1/label/__name__/values", proxy.url())).json();
    for name in ["emac_journey_gate", "http_request_duration_seconds_count"] {
        assert!(names["data"].as_array().unwrap().contains(&Json::from(name)), "{names}");
    }
    // vmalert on top of both.
    let sink = Exporter::start("{}");
    let vmalert = Server::alerting(proxy.url(), &format!("http://{}", sink.target()), &only_alerts());
    fires(&vmalert.url, "Burns");
}
