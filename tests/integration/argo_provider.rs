//! Argo Rollouts' own Prometheus provider on a compiled gate: only numbers within the limits pass.

use std::ffi::OsString;
use std::process::Command;
use std::sync::atomic::Ordering;

use emac::emit::Target;
use emac::unit::Timestamp;
use serde_json::Value as Json;

use crate::compile::{artifact, compiled};
use crate::prometheus::{Prometheus, Setup, hour_of_calls};
use crate::served::{Served, journeys};
use crate::variant;

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

const NO_PROVIDER: &str = "skipped: EMAC_ARGO does not name the program of tests/argo";

/// The provider, where it was built.
struct Provider(OsString);

impl Provider {
    fn found() -> Option<Self> {
        std::env::var_os("EMAC_ARGO").map(Self)
    }

    fn ask(&self, url: &str, template: &str) -> Vec<Measured> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), template).unwrap();
        let output = Command::new(&self.0).arg(url).arg(file.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let measured = lines.lines().map(|line| {
            let line: Json = serde_json::from_str(line).unwrap();
            let text = |name: &str| line[name].as_str().unwrap().to_owned();
            Measured { phase: text("phase"), value: text("value"), message: text("message") }
        });
        measured.collect()
    }
}

fn phases(all: &[Measured]) -> Vec<&str> {
    all.iter().map(|one| one.phase.as_str()).collect()
}

/// The provider asks at its own time: late enough that what is evaluated lies before it.
fn a_minute_ago() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    (i64::try_from(now).unwrap() - 60) / 15 * 15
}

/// A server that has evaluated this spec over what a Prometheus saw until `end`.
fn serve(prometheus: &Prometheus, spec: &str, end: i64) -> Served {
    let at = Timestamp::from_millis((end + 5) * 1000);
    let served = Served::behind(prometheus.url(), journeys(spec), at);
    served.evaluate();
    served
}

/// Three evaluations later.
fn go_on(served: &Served) {
    for _ in 0..3 {
        served.clock.fetch_add(15_000, Ordering::SeqCst);
        served.evaluate();
    }
}

#[test]
#[ignore = "long: needs the program in tests/argo, named in EMAC_ARGO; tests/run --all builds it where there is Go"]
fn a_gate_of_argo_rollouts_passes_numbers_within_the_budget_alone() {
    let Some(argo) = Provider::found() else {
        println!("{NO_PROVIDER}");
        return;
    };
    let template = shipped();
    let end = a_minute_ago();
    for (failing, expected) in [
        (0.02, ["Successful", "Successful", "Successful"]),
        // Those that succeed are fast.
        (0.5, ["Failed", "Successful", "Successful"]),
        // Nothing succeeds: there is no finite latency.
        (1.0, ["Failed", "Failed", "Successful"]),
    ] {
        let history = history(end, failing);
        let mut prometheus = Prometheus::start(&Setup { history: Some(&history), ..Setup::default() });
        let served = serve(&prometheus, SPEC, end);
        let all = argo.ask(&served.url, &template);
        assert_eq!(phases(&all), expected, "{failing}: {all:?}");
        let burn: f64 = all[0].value.trim_matches(['[', ']']).parse().unwrap();
        assert!(burn >= failing / 0.1 - 1e-6, "{burn}");
        // No such journey: an empty answer never promotes.
        let all = argo.ask(&served.url, &template.replace("journey=\"checkout\"", "journey=\"x\""));
        assert_eq!(phases(&all), ["Inconclusive"; 3], "{all:?}");
        // The upstream is gone: errors with their reason, and evidence that is not old yet.
        prometheus.kill();
        go_on(&served);
        let all = argo.ask(&served.url, &template);
        assert_eq!(phases(&all), ["Error", "Error", "Successful"], "{all:?}");
        assert!(all[0].message.contains(prometheus.url()), "{all:?}");
    }
}

/// The stable release does well in all of these histories.
#[test]
#[ignore = "long: needs the program in tests/argo, named in EMAC_ARGO; tests/run --all builds it where there is Go"]
fn a_gate_of_a_variant_asks_for_its_canary_and_the_rollouts_own_pods() {
    let Some(argo) = Provider::found() else {
        println!("{NO_PROVIDER}");
        return;
    };
    let artifacts = compiled(&journeys(variant::SPEC)[0], Target::Prometheus);
    let template = crate::argo::with_limits(artifact(&artifacts, "argo/analysis-template.yaml").unwrap());
    let of = |variant: &str, hash: &str| {
        template.replace("{{args.variant}}", variant).replace("{{args.pod-hash}}", hash)
    };
    let end = a_minute_ago();
    let (good, bad, unknown) = ("Successful", "Failed", "Inconclusive");
    // Burn rate, p99, age of the evidence, calls of the rollout's own pods.
    for (failing, expected) in
        [(0.01, [good, good, good, good]), (0.2, [bad, good, good, good]), (1.0, [bad, bad, good, good])]
    {
        let history = variant::history(end, failing);
        let mut prometheus = Prometheus::start(&Setup { history: Some(&history), ..Setup::default() });
        let served = serve(&prometheus, variant::SPEC, end);
        let all = argo.ask(&served.url, &of("canary", "c"));
        assert_eq!(phases(&all), expected, "{failing}: {all:?}");
        let number = |at: usize| -> f64 { all[at].value.trim_matches(['[', ']']).parse().unwrap() };
        // A tenth of a thousand calls a second, over those of the last five minutes that were seen.
        assert!(number(0) >= failing / 0.1 - 1e-6, "{all:?}");
        assert!((15_000.0..31_000.0).contains(&number(3)), "{all:?}");
        assert_eq!(phases(&argo.ask(&served.url, &of("stable", "c")))[..3], [good; 3]);
        // Pods of another rollout were measured, not this one's: it does not pass.
        for hash in ["another", "s"] {
            let all = argo.ask(&served.url, &of("canary", hash));
            assert_eq!(phases(&all), [expected[0], expected[1], good, unknown], "{hash}: {all:?}");
        }
        // A release without traffic, and one that nobody declared: neither promoted nor aborted.
        assert_eq!(phases(&argo.ask(&served.url, &of("next", "n")))[..2], [unknown; 2]);
        assert_eq!(phases(&argo.ask(&served.url, &of("unheard", "n"))), [unknown; 4]);
        prometheus.kill();
        go_on(&served);
        let all = argo.ask(&served.url, &of("canary", "c"));
        assert_eq!(phases(&all), ["Error", "Error", good, "Error"], "{all:?}");
        assert!(all[0].message.contains(prometheus.url()), "{all:?}");
    }
}
