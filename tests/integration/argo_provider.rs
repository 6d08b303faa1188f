//! Argo Rollouts' own Prometheus provider on a compiled gate: only numbers within the limits pass.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use emac::unit::Timestamp;
use emac::upstream::http::{HttpSettings, HttpUpstream};
use serde_json::Value as Json;

use crate::prometheus::{Prometheus, Setup, hour_of_calls};
use crate::served::{Options, Served, journeys};

const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {target: 0.9, window: 30d}
    latency: {window: 30d, objective: {metric: p99, threshold: 400ms}}
  windows: [5m]
  components: {front: {telemetry: {histogram: m, success: {code: '200'}}}}
  expression: front
";

/// Compiled for a journey of this name: burn rate in 5m at most 1, p99 in 5m at most 0.4 s, age of the evidence at most 120 s.
fn shipped() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/rules/checkout/argo/analysis-template.yaml");
    crate::argo::with_limits(&std::fs::read_to_string(path).unwrap())
}

/// What the provider says of one metric.
#[derive(Debug)]
struct Measured {
    phase: String,
    value: String,
    message: String,
}

/// An hour in which this share of ten calls a second fails; the last sample is at `end`.
fn history(end: i64, failing: f64) -> String {
    hour_of_calls(end, &[("code=\"200\"", 150.0 * (1.0 - failing)), ("code=\"500\"", 150.0 * failing)])
}

#[test]
#[ignore = "long: needs the program in tests/argo, named in EMAC_ARGO; tests/run --all builds it where there is Go"]
fn a_gate_of_argo_rollouts_passes_numbers_within_the_budget_alone() {
    let Some(argo) = std::env::var_os("EMAC_ARGO") else {
        println!("skipped: EMAC_ARGO does not name the program of tests/argo");
        return;
    };
    let template = shipped();
    let ask = |url: &str, template: &str| -> Vec<Measured> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), template).unwrap();
        let output = Command::new(&argo).arg(url).arg(file.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let measured = lines.lines().map(|line| {
            let line: Json = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            Measured { phase: text("phase"), value: text("value"), message: text("message") }
        });
        measured.collect()
    };
    let phases = |all: &[Measured]| all.iter().map(|one| one.phase.clone()).collect::<Vec<_>>();
    // The provider asks at its own time: late enough that what is evaluated below lies before it.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let end = (i64::try_from(now).unwrap() - 60) / 15 * 15;
    for (failing, expected) in [
        (0.02, ["Successful", "Successful", "Successful"]),
        // Those that succeed are fast.
        (0.5, ["Failed", "Successful", "Successful"]),
        // Nothing succeeds: there is no finite latency.
        (1.0, ["Failed", "Failed", "Successful"]),
    ] {
        let history = history(end, failing);
        let mut prometheus = Prometheus::start(&Setup { history: Some(&history), ..Setup::default() });
        let url = prometheus.url().to_owned();
        let upstream = move || -> Arc<dyn emac::upstream::Upstream> {
            Arc::new(HttpUpstream::new(HttpSettings::new(url)).unwrap())
        };
        let at = Timestamp::from_millis((end + 5) * 1000);
        let served = Served::start(upstream, journeys(SPEC), at, Options::default());
        served.evaluate();
        let all = ask(&served.url, &template);
        assert_eq!(phases(&all), expected, "{failing}: {all:?}");
        let burn: f64 = all[0].value.trim_matches(['[', ']']).parse().unwrap();
        assert!(burn >= failing / 0.1 - 1e-6, "{burn}");
        // No such journey: an empty answer never promotes.
        let all = ask(&served.url, &template.replace("journey=\"checkout\"", "journey=\"x\""));
        assert_eq!(phases(&all), ["Inconclusive"; 3], "{all:?}");
        // The upstream is gone: errors with their reason, and evidence that is not old yet.
        prometheus.kill();
        for _ in 0..3 {
            served.clock.fetch_add(15_000, Ordering::SeqCst);
            served.evaluate();
        }
        let all = ask(&served.url, &template);
        assert_eq!(phases(&all), ["Error", "Error", "Successful"], "{all:?}");
        assert!(all[0].message.contains(prometheus.url()), "{all:?}");
    }
}
