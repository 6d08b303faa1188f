//! The pages: what they show and in which order, that no name becomes markup, and that a browser has nothing to
//! complain about.

use std::sync::Arc;

use emac::algebra::compose::Composer;
use emac::api::page::journey::{self, Detail};
use emac::api::page::observed::{Observed, Observer};
use emac::api::page::view::JourneyView;
use emac::api::{ApiSettings, ApiState, router};
use emac::execute::{Engine, EvaluationSettings};
use emac::journey::component::ComponentId;
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::{ComponentEvidence, Reason};
use emac::journey::objective::{AvailabilityObjective, LatencyObjective, Objectives};
use emac::journey::operator::Operator;
use emac::series::Labels;
use emac::spec::{self, SourceFile};
use emac::synthetic::evaluation::{Evaluation, Flaw, ModelInfo, WindowEvaluation};
use emac::telemetry::Telemetry;
use emac::unit::{Timestamp, Window};
use emac::upstream::embedded::{EmbeddedStore, EmbeddedUpstream, StoreLimits};

use crate::journey_builder::{Case, exponential, leaves, probability, quantile, time};
use crate::prometheus::{Reply, get, wait_for};

/// Two exponential calls in a row within one domain: 99 % available each.
fn case() -> Case {
    let mut case = Case::new(Operator::Series(leaves(2)))
        .domain("zone", DomainLatency::Shared)
        .component(exponential(0.99, 20.0), &[0])
        .component(exponential(0.99, 30.0), &[0]);
    case.journey.objectives = Objectives {
        availability: Some(AvailabilityObjective {
            window: "30d".parse().unwrap(),
            target: probability(0.97),
            observed: None,
        }),
        latency: Some(LatencyObjective {
            window: "30d".parse().unwrap(),
            quantile: quantile(0.99),
            threshold: time(0.5),
            observed: None,
        }),
    };
    case
}

fn evaluation(case: &Case, flaws: Vec<Flaw>) -> Arc<Evaluation> {
    let composition = Composer::new().compose(&case.journey, &case.evidence, &[]);
    Arc::new(Evaluation {
        journey: Arc::new(case.journey.clone()),
        model: ModelInfo { digest: "0123456789abcdef".to_owned(), accepted: true, revision: 1 },
        time: Timestamp::from_millis(1_700_000_000_000),
        windows: vec![WindowEvaluation {
            window: case.evidence.window,
            evidence: Arc::new(case.evidence.clone()),
            composition: Arc::new(composition),
        }],
        evidence_age: Some(time(7.0)),
        flaws,
        budget: None,
    })
}

fn section(evaluation: &Arc<Evaluation>, observer: Option<&dyn Observer>) -> String {
    journey::section(0, &JourneyView::new(evaluation, None, observer), Detail::Full).into_string()
}

#[test]
fn no_name_becomes_markup() {
    let hostile = r#"<script>alert(1)</script>"><img src=x onerror='alert(2)'>&amp;"#;
    let mut case = case();
    hostile.clone_into(&mut case.journey.name);
    hostile.clone_into(&mut case.journey.components[0].name);
    hostile.clone_into(&mut case.journey.domains[0].name);
    case.evidence.components[0] = ComponentEvidence::vacuous(Reason::Absent);
    let flaw = Flaw { reason: Reason::Absent, component: Some(ComponentId(0)) };
    let html = section(&evaluation(&case, vec![flaw]), None);
    for forbidden in ["<script", "<img"] {
        assert!(!html.contains(forbidden), "{forbidden} in {html}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&gt;&lt;img"));
    assert!(html.contains("href=\"/journeys/%3Cscript%3Ealert%281%29%3C%2Fscript%3E%22%3E%3Cimg"));
}

#[test]
fn nothing_is_styled_or_run_inline() {
    let html = section(&evaluation(&case(), Vec::new()), None);
    for forbidden in ["style=", "<style", "<script", " onclick", "javascript:", "http://", "https://", "url("]
    {
        assert!(!html.contains(forbidden), "{forbidden} in {html}");
    }
}

#[test]
fn missing_evidence_stands_before_every_number() {
    let mut case = case();
    case.evidence.components[1] = ComponentEvidence::vacuous(Reason::NoTraffic);
    let flaw = Flaw { reason: Reason::NoTraffic, component: Some(ComponentId(1)) };
    let html = section(&evaluation(&case, vec![flaw]), None);
    let banner = html.find("role=\"alert\"").unwrap();
    assert!(banner < html.find("<table").unwrap());
    assert!(banner < html.find("<svg").unwrap_or(usize::MAX));
    assert!(html[banner..].contains("No calls were counted in the window."));
    assert!(html[banner..].contains("c1"));
    assert!(html.contains("evidence is missing: c1 (no_traffic)"));
    assert!(html.contains(">review<"));
}

#[test]
fn without_any_window_there_are_no_numbers_but_the_reason_and_the_age() {
    let mut without = Evaluation::clone(&evaluation(&case(), Vec::new()));
    without.windows = Vec::new();
    without.evidence_age = Some(time(412.0));
    without.flaws = vec![Flaw { reason: Reason::Upstream, component: None }];
    let html = section(&Arc::new(without), None);
    assert!(html.contains("There are no current numbers"));
    assert!(html.contains("The oldest evidence used is 6.87 min old."));
    assert!(html.contains("availability objective 97 % over 30d"));
    assert!(!html.contains("<svg"), "a plot without numbers");
}

#[test]
fn good_evidence_raises_no_alarm() {
    let html = section(&evaluation(&case(), Vec::new()), None);
    assert!(!html.contains("role=\"alert\""));
}

#[test]
fn the_boxes_show_each_part_with_its_availability_and_its_p99() {
    let html = section(&evaluation(&case(), Vec::new()), None);
    let boxes = &html[html.find("class=\"operators\"").unwrap()..];
    // 0.99² is 98.01 %; the p99 of an exponential of rate 20/s is ln(100)/20 s = 230 ms.
    assert!(boxes.contains("98.01 %"), "{boxes}");
    assert!(boxes.contains("p99 230 ms"), "{boxes}");
}

struct Shop;

impl Observer for Shop {
    fn observed(&self, journey: &str, window: Window) -> Option<Observed> {
        assert_eq!((journey, window.to_string().as_str()), ("case", "5m"));
        let latency = vec![(quantile(0.99), time(0.321))];
        Some(Observed { availability: probability(0.9812), latency, attempts: 1e4 })
    }
}

#[test]
fn what_was_observed_stands_beside_what_was_predicted() {
    let html = section(&evaluation(&case(), Vec::new()), Some(&Shop));
    assert!(html.contains("98.12 %"));
    assert!(html.contains("p99 observed 321 ms"), "a mark in the plot");
    assert!(!section(&evaluation(&case(), Vec::new()), None).contains("observed"));
}

/// The labels of the plot lie on lines of their own, and each keeps within the picture: it grows towards the middle.
#[test]
fn labels_of_the_plot_never_share_a_line_and_grow_towards_the_middle() {
    let html = section(&evaluation(&case(), Vec::new()), Some(&Shop));
    let plot = &html[html.find("<figure").unwrap()..html.find("</figure>").unwrap()];
    let labels: Vec<&str> = plot.split("<g class=\"mark").skip(1).collect();
    assert_eq!(labels.len(), 4, "objective, estimate, pessimistic, observed");
    let mut lines = Vec::new();
    for label in labels {
        let text = &label[label.find("<text").unwrap()..label.find("</g>").unwrap()];
        let attribute = |name: &str| {
            let from = text.find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
            text[from..].split('"').next().unwrap().to_owned()
        };
        let share: f64 = attribute("x").trim_end_matches('%').parse().unwrap();
        assert_eq!(attribute("text-anchor"), if share > 50.0 { "end" } else { "start" });
        lines.push(attribute("y").parse::<f64>().unwrap());
    }
    assert!(lines.windows(2).all(|pair| pair[1] - pair[0] >= 16.0), "{lines:?}");
}

const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {window: 30d, target: 0.97}
    latency: {window: 30d, objective: {metric: p99, threshold: 500ms}}
  windows: [5m, 30m]
  expression: Series(front, cart)
  components:
    front:
      telemetry: {histogram: request_duration_seconds, matchers: {service: front}, success: {code: '!~\"5..\"'}}
    cart:
      telemetry: {histogram: request_duration_seconds, matchers: {service: cart}, success: {code: '!~\"5..\"'}}
";

/// 2023-11-14 22:13:20 UTC.
const NOW: i64 = 1_700_000_000_000;

/// Both services answer 100 requests a second, one in a hundred with an error, for 40 minutes.
fn store() -> Arc<EmbeddedStore> {
    let minutes = |count: u64| Window::from_millis(count * 60_000).unwrap();
    let limits = StoreLimits { retention: minutes(120), samples_per_series: 10_000, series: 1_000 };
    let store = Arc::new(EmbeddedStore::new(limits));
    // Cumulative per request: an exponential of rate 20/s, cut at 10 s.
    let edges = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
    for service in ["front", "cart"] {
        let mut labels = Vec::new();
        let mut rates = Vec::new();
        for (code, rate) in [("200", 99.0), ("500", 1.0)] {
            let of = |name: &str| Labels::named(name).with("service", service).with("code", code);
            for edge in edges {
                labels.push(of("request_duration_seconds_bucket").with("le", edge.to_string()));
                rates.push(rate * (1.0 - f64::exp(-20.0 * edge)));
            }
            labels.push(of("request_duration_seconds_bucket").with("le", "+Inf"));
            labels.push(of("request_duration_seconds_count"));
            labels.push(of("request_duration_seconds_sum"));
            rates.extend([rate, rate, rate / 20.0]);
        }
        let target = store.add_target(labels).unwrap();
        for scrape in 0..=160_i64 {
            let at = Timestamp::from_millis(NOW - (160 - scrape) * 15_000);
            let values: Vec<f64> = rates.iter().map(|rate| (rate * 15.0 * scrape as f64).floor()).collect();
            store.append(target, at, &values).unwrap();
        }
    }
    store
}

/// The whole server over the embedded store, evaluated once; ends with its runtime.
struct Server {
    url: String,
    _runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let clock: emac::execute::settings::Clock = Arc::new(|| Timestamp::from_millis(NOW));
        let upstream = Arc::new(EmbeddedUpstream::new("the shop", store(), Arc::clone(&clock)));
        let file = SourceFile { path: "checkout.yaml".to_owned(), text: SPEC.to_owned() };
        let loaded = spec::load(&[file]);
        assert_eq!(loaded.journeys.len(), 1, "{:?}", loaded.diagnostics);
        let engine = Engine::new(upstream, loaded.journeys, EvaluationSettings::with_clock(clock));
        let settings = ApiSettings::with_defaults().unwrap();
        let state = ApiState::new(Arc::clone(&engine), settings, Telemetry::new().unwrap(), None);
        let listener = runtime.block_on(async {
            engine.evaluate_now(Timestamp::from_millis(NOW)).await;
            tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap()
        });
        let url = format!("http://{}", listener.local_addr().unwrap());
        let app = router(state);
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { url, _runtime: runtime }
    }

    fn get(&self, path: &str) -> Reply {
        get(&format!("{}{path}", self.url))
    }
}

#[test]
fn pages_forbid_everything_that_is_not_their_own() {
    let server = Server::start();
    for path in
        ["/", "/journeys/checkout", "/journeys/nobody", "/journeys/-/page.css", "/journeys/-/icon.svg"]
    {
        let reply = server.get(path);
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'self'"), "{path}: {policy}");
        assert_eq!(reply.headers["x-content-type-options"], "nosniff", "{path}");
    }
    assert_eq!(server.get("/").headers["content-type"], "text/html; charset=utf-8");
    assert_eq!(server.get("/").headers["cache-control"], "no-store");
}

#[test]
fn an_unknown_journey_is_a_404_that_names_the_known_ones() {
    let server = Server::start();
    let page = server.get("/journeys/%3Cb%3E");
    assert_eq!(page.status, 404);
    assert!(page.text().contains("&lt;b&gt;") && page.text().contains("href=\"/journeys/checkout\""));
    let json = server.get("/api/v1/journeys/chekcout");
    assert_eq!(json.status, 404);
    assert_eq!(json.json()["errorType"], "not_found");
    assert!(json.json()["error"].as_str().unwrap().ends_with("known are: checkout"));
}

#[test]
fn the_api_tells_model_derivation_and_evidence_of_the_same_evaluation() {
    let server = Server::start();
    let model = server.get("/api/v1/journeys/checkout").json();
    assert_eq!(model["operator"]["type"], "series");
    assert_eq!(model["operator"]["operands"][0]["ref"], "front");
    assert_eq!(model["revision"], 1);

    let list = server.get("/api/v1/journeys").json();
    let listed = &list["journeys"][0]["windows"][0];
    let derivation = server.get("/api/v1/journeys/checkout/explain?window=5m").json();
    assert_eq!(derivation["window"], "5m");
    assert_eq!(derivation["availability"]["estimate"], listed["availability"]["estimate"]);
    assert_eq!(derivation["verdict"]["verdict"], listed["verdict"]);
    // One error in a hundred at each of two calls.
    let estimate = derivation["availability"]["estimate"].as_f64().unwrap();
    assert!((estimate - 0.9801).abs() < 1e-3, "{estimate}");

    // The evidence, fed to the offline loader, explains to the same numbers.
    let evidence = server.get("/api/v1/journeys/checkout/evidence?window=5m").text().to_owned();
    let file = SourceFile { path: "evidence.json".to_owned(), text: evidence };
    let spec_file = SourceFile { path: "checkout.yaml".to_owned(), text: SPEC.to_owned() };
    let loaded = spec::load(&[spec_file]);
    let (read, diagnostics) = spec::load_evidence(&loaded.journeys[0], &file);
    let read = read.unwrap_or_else(|| panic!("{diagnostics:?}"));
    let again = emac::derive::explain(&mut Composer::new(), &loaded.journeys[0], &read, None);
    let again = serde_json::to_value(again).unwrap();
    for key in ["availability", "latency", "components"] {
        assert_eq!(again[key], derivation[key], "{key}");
    }

    let wrong = server.get("/api/v1/journeys/checkout/explain?window=7m");
    assert_eq!(wrong.status, 400);
    assert!(wrong.json()["error"].as_str().unwrap().contains("declares 5m, 30m"));
}

/// Runs headless Chromium on a page and gives its document and what it logged.
fn browse(url: &str) -> (String, String) {
    let profile = tempfile::tempdir().unwrap();
    let log = profile.path().join("log");
    let mut child = std::process::Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--enable-logging=stderr",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(url)
        .stdout(std::fs::File::create(profile.path().join("dom")).unwrap())
        .stderr(std::fs::File::create(&log).unwrap())
        .spawn()
        .unwrap();
    let status = wait_for("chromium", || child.try_wait().unwrap());
    assert!(status.success(), "chromium ended with {status}");
    let read = |path: &std::path::Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
    (read(&profile.path().join("dom")), read(&log))
}

/// The policy refuses whatever comes from elsewhere, and the browser logs each refusal: a silent log means that the page
/// asks for nothing beyond its origin.
#[test]
#[cfg_attr(not(has_chromium), ignore = "needs chromium: tests/run installs it")]
fn a_browser_draws_the_pages_and_complains_about_nothing() {
    let server = Server::start();
    for path in ["/", "/journeys/checkout?window=30m"] {
        let (dom, log) = browse(&format!("{}{path}", server.url));
        assert!(dom.contains("checkout") && dom.contains("class=\"operators\""), "{dom}");
        assert!(dom.contains("class=\"estimate-line\""), "no plot in {dom}");
        let complaints: Vec<_> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}

#[test]
#[cfg_attr(not(has_chromium), ignore = "needs chromium: tests/run installs it")]
fn the_browsers_log_would_show_a_refused_resource() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let policy = [("content-security-policy", "default-src 'self'")];
    let body = "<!doctype html><title>x</title><p style=\"color:red\">x</p>";
    let page = move || async move { (policy, axum::response::Html(body)) };
    let app = axum::Router::new().fallback(page);
    runtime.spawn(async move { axum::serve(listener, app).await });
    let (_, log) = browse(&url);
    assert!(log.lines().any(|line| line.contains("CONSOLE")), "{log}");
}
