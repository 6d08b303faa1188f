//! The shipped dashboards as Grafana would show them: every variable has values, every panel's query has data.

use std::sync::Arc;
use std::time::Duration;

use emac::api::{self, ApiSettings, ApiState};
use emac::demo::live::Demo;
use emac::telemetry::Telemetry;
use emac::unit::{Timestamp, Window};
use serde_json::Value as Json;

use crate::http_client::{RawReply, get, post, send};
use crate::prometheus::escape;

/// The demo after this much simulated time.
const RUN_MILLIS: i64 = 8 * 60_000;

/// What the panels show.
const SHOWN_MILLIS: i64 = 60_000;

/// A demo at `now`, served until the value is dropped.
struct ServedDemo {
    url: String,
    now: f64,
    runtime: Option<tokio::runtime::Runtime>,
}

impl ServedDemo {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let opening =
            Timestamp::from_millis(1_700_000_100_000).floor_to(Window::from_millis(15_000).unwrap());
        let now = opening.plus_millis(RUN_MILLIS);
        let url = runtime.block_on(async {
            let mut demo = Demo::new(None, 1, opening).unwrap();
            demo.run_unwatched(now.plus_millis(-SHOWN_MILLIS)).await.unwrap();
            demo.run(now).await.unwrap();
            let settings = ApiSettings::with_defaults().unwrap();
            let state = ApiState::new(Arc::clone(demo.engine()), settings, Telemetry::new().unwrap(), None);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            tokio::spawn(api::serve(listener, api::router(state.clone()), state, std::future::pending()));
            url
        });
        Self { url, now: now.seconds(), runtime: Some(runtime) }
    }
}

impl Drop for ServedDemo {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(1));
        }
    }
}

fn dashboard(name: &str) -> Json {
    let path = format!("{}/grafana/dashboards/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// As Grafana's backend asks: a form in the body.
fn ask(base: &str, path: &str, form: &[(&str, &str)]) -> RawReply {
    let form: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    post(base, path, &form.join("&"))
}

fn with_variables(text: &str, variables: &[(String, String)]) -> String {
    let all = variables
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value));
    all.replace("$__range", "60s").replace("$__rate_interval", "60s").replace("$__interval", "15s")
}

#[test]
fn every_variable_has_values_and_every_panel_has_data() {
    let demo = ServedDemo::start();
    let (from, to) = ((demo.now - 60.0).to_string(), demo.now.to_string());
    let mut panels = 0;
    for name in ["journeys", "journey"] {
        let dashboard = dashboard(name);
        let mut variables = Vec::new();
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            if variable["type"] == "textbox" {
                let value = variable["current"]["value"].as_str().unwrap();
                variables.push((variable["name"].as_str().unwrap().to_owned(), value.to_owned()));
            }
            let Some(query) = variable["query"]["query"].as_str() else { continue };
            let query = with_variables(query, &variables);
            let (selector, label) = query
                .strip_prefix("label_values(")
                .unwrap()
                .strip_suffix(')')
                .unwrap()
                .rsplit_once(", ")
                .unwrap();
            // Grafana asks for values with the limit of its form, and for the range that is shown.
            let target = format!(
                "/api/v1/label/{label}/values?match%5B%5D={}&start={from}&end={to}&limit=40000",
                escape(selector)
            );
            let values = get(&demo.url, &target).json()["data"].as_array().unwrap().clone();
            let preferred =
                ["checkout", "5m", "0.99"].into_iter().find(|one| values.contains(&Json::from(*one)));
            let value = preferred.unwrap_or_else(|| panic!("{query} gives {values:?}"));
            variables.push((variable["name"].as_str().unwrap().to_owned(), value.to_owned()));
        }
        for panel in dashboard["panels"].as_array().unwrap() {
            for target in panel["targets"].as_array().unwrap() {
                let expression = with_variables(target["expr"].as_str().unwrap(), &variables);
                assert!(!expression.contains('$'), "{expression}");
                let reply = if target["instant"] == true {
                    ask(&demo.url, "/api/v1/query?stats=all", &[("query", &expression), ("time", &to)])
                } else {
                    let form = [("query", &*expression), ("start", &*from), ("end", &*to), ("step", "15")];
                    ask(&demo.url, "/api/v1/query_range", &form)
                };
                let place = format!("{name}, {}: {expression}", panel["title"]);
                assert_eq!(reply.status, 200, "{place}: {}", reply.text());
                let result = reply.json()["data"]["result"].as_array().unwrap().clone();
                assert!(!result.is_empty(), "{place} has no data");
                // A legend that names a label needs it.
                let legend = target["legendFormat"].as_str().unwrap_or_default();
                for label in legend.split("{{").skip(1).filter_map(|rest| rest.split("}}").next()) {
                    assert!(
                        result.iter().all(|one| one["metric"][label].is_string()),
                        "{place} lacks {label}"
                    );
                }
                if panel["type"] == "heatmap" {
                    assert!(
                        result.len() > 5 && result.iter().all(|one| one["metric"]["le"].is_string()),
                        "{place}"
                    );
                }
                panels += 1;
            }
        }
    }
    assert!(panels > 20, "{panels} queries");
}

#[test]
fn the_one_journey_dashboard_tells_what_it_should() {
    let journey = dashboard("journey");
    let read: Vec<&str> = journey["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap())
        .map(|target| target["expr"].as_str().unwrap())
        .collect();
    for (what, series) in [
        ("bounds", "emac_journey_availability_pessimistic{"),
        ("bounds by assumption", "emac_journey_availability_bound{"),
        ("budget", "emac_journey_error_budget_burn_rate_pessimistic{"),
        ("budget", "emac_journey_error_budget_remaining_pessimistic{"),
        ("distribution", "emac_journey_latency_pessimistic_seconds_bucket{"),
        ("contributors", "emac_journey_component_budget_share{"),
        ("contributors", "emac_journey_domain_budget_share{"),
        ("contributors", "emac_journey_component_latency_share{"),
        ("evidence quality", "emac_journey_evidence_missing{"),
        ("evidence quality", "emac_journey_evidence_age_seconds{"),
        ("evidence quality", "emac_journey_width_share{"),
    ] {
        assert!(read.iter().any(|expression| expression.contains(series)), "{what}: no panel reads {series}");
    }
}

#[test]
fn what_the_datasource_asks_beside_queries_is_answered() {
    let demo = ServedDemo::start();
    // Its test of the connection.
    let health = ask(&demo.url, "/api/v1/query", &[("query", "1+1"), ("time", "4")]);
    assert_eq!((health.status, &health.json()["data"]["result"][1]), (200, &Json::from("2")));
    // It guesses the flavour by this.
    assert!(get(&demo.url, "/api/v1/status/buildinfo").json()["data"]["version"].is_string());
    // No metadata may be an empty list, or it drops all of it.
    let metadata = get(&demo.url, "/api/v1/metadata").json();
    let entries = metadata["data"].as_object().unwrap();
    assert!(entries.values().all(|list| !list.as_array().unwrap().is_empty()));
    for (family, entry) in entries.iter().filter(|(name, _)| name.starts_with("emac_journey_")) {
        let entry = &entry[0];
        assert_eq!(entry["type"], "gauge", "{family}");
        assert!(!entry["help"].as_str().unwrap().is_empty() && entry["unit"].is_string(), "{family}");
    }
    assert!(entries.keys().filter(|name| name.starts_with("emac_journey_")).count() > 20);
    // Exemplars beside a graph: there are none, which is no error.
    for times in ["start=0&end=1700000000.5", "start=1700000000000&end=1830302400000"] {
        let exemplars = get(&demo.url, &format!("/api/v1/query_exemplars?query=emac_journey_gate&{times}"));
        assert_eq!((exemplars.status, &exemplars.json()["data"]), (200, &serde_json::json!([])), "{times}");
    }
    assert_eq!(get(&demo.url, "/api/v1/query_exemplars?query=up&start=soon&end=1").status, 400);
    assert_eq!(get(&demo.url, "/api/v1/rules").json()["data"]["groups"], serde_json::json!([]));
    // Suggestions: a post without a body, all in the URL; and a search by pattern.
    let target = format!(
        "/api/v1/label/__name__/values?match[]={}&limit=40000",
        escape("{__name__=~\".*journey_gate.*\"}")
    );
    let found = post(&demo.url, &target, "").json();
    assert_eq!(found["data"], serde_json::json!(["emac_journey_gate"]));
    // Compressed, and from another origin.
    let headers = [("Accept-Encoding", "gzip"), ("Origin", "http://grafana:3000")];
    let target = format!("/api/v1/query?query=emac_journey_gate&time={}", demo.now);
    let reply = send(&demo.url, "GET", &target, &headers, b"");
    assert_eq!(reply.header("content-encoding"), Some("gzip"));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
}
