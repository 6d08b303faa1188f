//! Variants of a journey, such as a canary: each has series of its own, from its own evidence and no other's.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use emac::emit::Target;
use emac::journey::variant::labels_of;
use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::http::{HttpSettings, HttpUpstream};

use crate::compile::{artifact, compiled};
use crate::prometheus::{Prometheus, Setup, escape, get, hour_of_calls};
use crate::served::{Options, Served, journeys};

pub(crate) const SPEC: &str = r#"
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {target: 0.9, window: 30d}
    latency: {window: 30d, objective: {metric: p99, threshold: 400ms}}
  windows: [5m, 30m]
  components:
    front: {telemetry: {histogram: m, matchers: {service: front}, success: {code: "200"}}}
    pay: {telemetry: {histogram: m, matchers: {service: pay}, success: {code: "200"}}}
  expression: Series(front, pay)
  variants:
    canary: {components: [pay], matchers: {rollout: canary}, podHashLabel: pod_hash}
    stable: {components: [pay], matchers: {rollout: stable}}
    next: {components: [pay], matchers: {rollout: next}}
"#;

/// An hour of calls, the last sample at `end`: a tenth of those of `pay` go to the canary, which fails this share of
/// them; of the stable release's, one in a hundred fails.
pub(crate) fn history(end: i64, canary_fails: f64) -> String {
    let calls = |share: f64| 15_000.0 * share;
    hour_of_calls(
        end,
        &[
            ("service=\"front\",rollout=\"stable\",pod_hash=\"f\",code=\"200\"", calls(1.0)),
            ("service=\"pay\",rollout=\"stable\",pod_hash=\"s\",code=\"200\"", calls(0.9 * 0.99)),
            ("service=\"pay\",rollout=\"stable\",pod_hash=\"s\",code=\"500\"", calls(0.9 * 0.01)),
            (
                "service=\"pay\",rollout=\"canary\",pod_hash=\"c\",code=\"200\"",
                calls(0.1 * (1.0 - canary_fails)),
            ),
            ("service=\"pay\",rollout=\"canary\",pod_hash=\"c\",code=\"500\"", calls(0.1 * canary_fails)),
        ],
    )
}

/// The values of an instant query at the server's time, by the label `variant`.
fn ask(served: &Served, query: &str) -> Vec<(String, f64)> {
    let time = Timestamp::from_millis(served.clock.load(Ordering::SeqCst)).seconds();
    let reply = get(&format!("{}/api/v1/query?query={}&time={time}", served.url, escape(query))).json();
    assert_eq!(reply["status"], "success", "{query}: {reply}");
    let mut found: Vec<(String, f64)> = reply["data"]["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|series| {
            let value = series["value"][1].as_str().unwrap().parse().unwrap();
            (series["metric"]["variant"].as_str().unwrap_or_default().to_owned(), value)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

fn one(served: &Served, query: &str) -> f64 {
    let found = ask(served, query);
    assert_eq!(found.len(), 1, "{query}: {found:?}");
    found[0].1
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn a_variant_has_the_series_of_its_own_evidence_and_a_gate_reads_them() {
    let end = 1_700_000_100_i64 / 15 * 15;
    let prometheus = Prometheus::start(&Setup { history: Some(&history(end, 0.2)), ..Setup::default() });
    let url = prometheus.url().to_owned();
    let upstream =
        move || -> Arc<dyn Upstream> { Arc::new(HttpUpstream::new(HttpSettings::new(url)).unwrap()) };
    let at = Timestamp::from_millis((end + 5) * 1000);
    let served = Served::start(upstream, journeys(SPEC), at, Options::default());
    served.evaluate();

    let of = |family: &str, variant: &str| {
        one(
            &served,
            &format!("emac_journey_{family}{{journey=\"checkout\",window=\"5m\",variant=\"{variant}\"}}"),
        )
    };
    // Each as its evidence: a tenth of the traffic at 0.8 and the rest at 0.99.
    for (variant, expected) in [("", 0.971), ("canary", 0.8), ("stable", 0.99)] {
        let estimate = of("availability_estimate", variant);
        assert!((estimate - expected).abs() < 1e-6, "{variant:?}: {estimate}");
        let (lower, upper) =
            (of("availability_pessimistic", variant), of("availability_optimistic", variant));
        assert!(lower < expected && expected < upper && upper - lower < 0.05, "{variant:?}: {lower} {upper}");
    }
    // Without a matcher on the variant, all of them.
    let all = ask(&served, "emac_journey_availability_estimate{journey=\"checkout\",window=\"5m\"}");
    assert_eq!(all.iter().map(|(v, _)| v.as_str()).collect::<Vec<_>>(), ["", "canary", "next", "stable"]);

    // Of a release without traffic nothing is known, and nothing of the stable one is taken for it.
    assert_eq!((of("availability_pessimistic", "next"), of("availability_optimistic", "next")), (0.0, 1.0));
    assert_eq!(of("error_budget_burn_rate_pessimistic", "next"), 1.0 / (1.0 - 0.9));
    let missing = |variant: &str| {
        let selector = format!("variant=\"{variant}\",reason=\"absent\",component=\"pay\"");
        ask(&served, &format!("emac_journey_evidence_missing{{{selector}}} == 1")).len()
    };
    assert_eq!((missing("next"), missing("canary"), missing("")), (1, 0, 0));
    let review = "emac_journey_gate{window=\"5m\",verdict=\"review\"} == 1";
    assert_eq!(ask(&served, review), [("next".to_owned(), 1.0)]);

    let journey = journeys(SPEC).remove(0);
    let artifacts = compiled(&journey, Target::Prometheus);
    let template = artifact(&artifacts, "argo/analysis-template.yaml").unwrap();
    let template: serde_json::Value = serde_saphyr::from_str(template).unwrap();
    let args = template["spec"]["args"].as_array().unwrap();
    assert!(args.contains(&serde_json::json!({"name": "variant", "value": "canary"})), "{args:?}");
    assert!(args.contains(&serde_json::json!({"name": "pod-hash"})), "{args:?}");
    let metrics = template["spec"]["metrics"].as_array().unwrap();
    let measured = |metric: &str, variant: &str, hash: &str| {
        let metric = metrics.iter().find(|found| found["name"] == metric).unwrap();
        let query = metric["provider"]["prometheus"]["query"].as_str().unwrap();
        let arguments = [
            ("variant", variant),
            ("pod-hash", hash),
            ("max-burn-rate", "1"),
            ("max-latency-seconds", "0.4"),
        ];
        let query = arguments.iter().fold(query.to_owned(), |query, (name, value)| {
            query.replace(&format!("{{{{args.{name}}}}}"), value)
        });
        ask(&served, &query).into_iter().map(|(_, value)| value).collect::<Vec<_>>()
    };
    let burn = |variant: &str| measured("error-budget-burn-rate", variant, "c");
    assert_eq!(burn("canary"), [of("error_budget_burn_rate_pessimistic", "canary")]);
    assert!(burn("canary")[0] > 2.0 && burn("stable")[0] < 0.2);
    // Nothing is known of a release without traffic: neither a pass nor a failure, a person decides.
    assert!(burn("next").is_empty());
    // Two calls within the first bucket, one after the other.
    assert!(measured("latency-seconds", "canary", "c")[0] <= 0.21);
    assert!(measured("latency-seconds", "next", "c").is_empty());
    assert_eq!(measured("evidence-age-seconds", "canary", "c").len(), 1);
    // The rollout's own pods were measured, or the gate does not pass.
    assert!(measured("own-pods-measured-pay", "canary", "c")[0] > 1000.0);
    assert!(measured("own-pods-measured-pay", "canary", "another").is_empty());
    assert!(measured("own-pods-measured-pay", "canary", "s").is_empty(), "pods of the stable release");
    let snippet = artifact(&artifacts, "argo/rollout-snippet.yaml").unwrap();
    assert!(snippet.contains("podTemplateHashValue: Latest"), "{snippet}");

    // What alerts read is the journey, whatever its canary does.
    let alerts = artifact(&artifacts, "prometheus/alerts.yaml").unwrap();
    let selectors = alerts.matches("{journey=\"checkout\"").count();
    let whole = alerts.matches("{journey=\"checkout\",variant=\"\"").count();
    assert!(selectors > 10 && selectors == whole, "{alerts}");
    let read = one(
        &served,
        "max by (journey) (emac_journey_error_budget_burn_rate_pessimistic{journey=\"checkout\",variant=\"\",window=\"5m\"})",
    );
    assert_eq!(read, of("error_budget_burn_rate_pessimistic", ""));
    // A recording rule keeps variants apart.
    let records = artifact(&artifacts, "prometheus/recording-rules.yaml").unwrap();
    let rule =
        "min by (journey, variant, window) (emac_journey_availability_pessimistic{journey=\"checkout\"})";
    assert!(records.contains(rule), "{records}");
    assert_eq!(ask(&served, rule).len(), 8);
}

#[test]
fn a_journey_without_variants_pays_nothing_for_them() {
    let plain = journeys(SPEC.split("  variants:\n").next().unwrap());
    let all = plain[0].clone().with_variants();
    assert_eq!(all, plain);
    assert_eq!(labels_of(&all[0].name), ("checkout", ""));
    for artifact in compiled(&plain[0], Target::Prometheus) {
        let dashboard = artifact.path.ends_with("dashboard.json");
        assert!(dashboard || !artifact.text.contains("variant"), "{}", artifact.path);
    }
    // And with them, its own series stay what they are.
    let declared = journeys(SPEC).remove(0);
    let names: Vec<String> =
        declared.clone().with_variants().into_iter().map(|journey| journey.name).collect();
    assert_eq!(names, ["checkout", "checkout@canary", "checkout@stable", "checkout@next"]);
    assert_ne!(declared.digest, plain[0].digest, "a variant is part of the model");
}

/// What a variant saw, written down: explained offline as the variant's own.
#[test]
fn evidence_of_a_variant_is_explained_and_checked_as_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    file("spec.yaml", SPEC);
    let evidence = |journey: &str| {
        format!(
            "apiVersion: emac.dev/v1alpha1\nkind: Evidence\nmetadata: {{journey: {journey}}}\nspec:\n  window: 5m\n  \
             components:\n    front: {{availability: 0.99}}\n    pay: {{availability: 0.8}}\n"
        )
    };
    file("canary.yaml", &evidence("checkout@canary"));
    file("strange.yaml", &evidence("checkout@strange"));
    let emac = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_emac"))
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    };
    let explain =
        |journey: &str| emac(&["explain", journey, "--spec", "spec.yaml", "--evidence", "canary.yaml"]);
    let (explained, said) = explain("checkout@canary");
    assert!(explained && said.contains("0.79200000"), "{said}");
    // Neither the journey's nor another variant's.
    for other in ["checkout", "checkout@stable"] {
        let (explained, said) = explain(other);
        assert!(!explained && said.contains("this is evidence of `checkout@canary`"), "{said}");
    }
    let (sound, said) = emac(&["check", "spec.yaml", "canary.yaml"]);
    assert!(sound, "{said}");
    let (_, said) = emac(&["check", "spec.yaml", "strange.yaml"]);
    assert!(said.contains("evidence of `checkout@strange`, which is not among the journeys"), "{said}");
}
