//! The compiled alerts in a real Prometheus: {normal, burning, +Inf, NaN, stale, no data, proxy down} × tier.
//!
//! The rules are those of `emac compile` but for their waiting times, which are cut to a second. A page stands in for emac's
//! `/journeys/metrics` where emac itself never would answer so (it emits no NaN); `serve_alerts` has the real one.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use emac::emit::Target;
use emac::spec::SourceFile;

use super::compile::{artifact, compiled, journeys_of};
use super::prometheus::{Exporter, Prometheus, Setup, get, wait_for};

const SPEC: &str = r"apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives: {availability: {window: 30d, target: 0.999}}
  expression: Series(front, Race(paya, payb))
  components:
    front: {histogram: h, matchers: {service: front}}
    paya: {histogram: h, matchers: {service: paya}, failureDomains: [network]}
    payb: {histogram: h, matchers: {service: payb}, failureDomains: [network]}
  failureDomains: {rules: [{name: network}]}
";

/// Label, threshold, long and short window of the default tiers.
const TIERS: [(&str, f64, &str, &str); 4] = [
    ("page-1h", 14.4, "1h", "5m"),
    ("page-6h", 6.0, "6h", "30m"),
    ("ticket-1d", 3.0, "1d", "2h"),
    ("ticket-3d", 1.0, "3d", "6h"),
];
const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

/// The rules with waits of a second.
pub(crate) fn hasty(rules: &str) -> String {
    let cut = |line: &str| {
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        match text.split_once(": ") {
            Some(("for", _)) => format!("{indent}for: 1s"),
            Some(("keep_firing_for", _)) => format!("{indent}keep_firing_for: 1s"),
            _ => line.to_owned(),
        }
    };
    rules.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// What a window's two burn rates are; `None`: no series.
type Burn = Option<(f64, f64)>;

/// A page of burn rates: `of` says what each window burns.
fn page(of: impl Fn(&str) -> Burn, missing: bool) -> String {
    let mut text = String::from("emac_journey_model_info{journey=\"checkout\",digest=\"d\"} 1\n");
    text += "emac_journey_evidence_age_seconds{journey=\"checkout\"} 10\n";
    let _ = writeln!(
        text,
        "emac_journey_evidence_missing{{journey=\"checkout\",reason=\"upstream\"}} {}",
        u8::from(missing)
    );
    let number = |value: f64| {
        if value.is_nan() {
            "NaN".to_owned()
        } else if value.is_infinite() {
            "+Inf".to_owned()
        } else {
            value.to_string()
        }
    };
    for window in WINDOWS {
        let Some((pessimistic, proven)) = of(window) else { continue };
        for (side, value) in [("pessimistic", pessimistic), ("lower_confidence", proven)] {
            let _ = writeln!(
                text,
                "emac_journey_error_budget_burn_rate_{side}{{journey=\"checkout\",window=\"{window}\"}} {}",
                number(value)
            );
        }
    }
    text
}

/// Name and tier of every firing alert.
pub(crate) fn firing(prometheus: &Prometheus) -> BTreeSet<(String, String)> {
    let reply = get(&format!("{}/api/v1/alerts", prometheus.url())).json();
    let alerts = reply["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    alerts
        .iter()
        .filter(|alert| alert["state"] == "firing")
        .map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["labels"]["tier"])))
        .collect()
}

/// Waits until exactly these alerts fire.
pub(crate) fn wait_for_alerts(prometheus: &Prometheus, what: &str, expected: &[(&str, &str)]) {
    let expected: BTreeSet<(String, String)> =
        expected.iter().map(|(name, tier)| ((*name).to_owned(), (*tier).to_owned())).collect();
    let mut last = BTreeSet::new();
    let deadline = std::time::Instant::now() + super::prometheus::PATIENCE;
    while std::time::Instant::now() < deadline {
        last = firing(prometheus);
        if last == expected {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    panic!("{what}: {last:?} fire, not {expected:?}");
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn every_tier_fires_stays_silent_resets_and_fails_safe_in_a_real_prometheus() {
    let journey = journeys_of(&[SourceFile { path: "j.yaml".to_owned(), text: SPEC.to_owned() }]).remove(0);
    let artifacts = compiled(&journey, Target::Prometheus);
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("alerts.yaml");
    std::fs::write(&rules, hasty(artifact(&artifacts, "alerts.yaml").unwrap())).unwrap();
    const QUIET: Burn = Some((0.5, 0.1));
    let exporter = Exporter::start(&page(|_| QUIET, false));
    let config = format!("rule_files: [{:?}]", rules.display().to_string());
    let targets = [exporter.target()];
    let prometheus = Prometheus::start(&Setup { targets: &targets, config: &config, ..Setup::default() });
    prometheus.wait_for_series("emac_journey_model_info");
    let burns = "JourneyErrorBudgetBurns";
    let incomplete = ("JourneySignalIncomplete", "guard");
    wait_for_alerts(&prometheus, "normal", &[]);
    for (tier, rate, long, short) in TIERS {
        let both = |burn: (f64, f64)| {
            page(move |window| if window == long || window == short { Some(burn) } else { QUIET }, false)
        };
        exporter.set(&both((rate * 1.01, 1.1)));
        wait_for_alerts(&prometheus, &format!("{tier} burning"), &[(burns, tier)]);
        // The short window ends it.
        let ended = page(move |window| if window == long { Some((rate * 1.01, 1.1)) } else { QUIET }, false);
        exporter.set(&ended);
        wait_for_alerts(&prometheus, &format!("{tier} reset"), &[]);
        exporter.set(&both((f64::INFINITY, f64::INFINITY)));
        wait_for_alerts(&prometheus, &format!("{tier} +Inf"), &[(burns, tier)]);
        // What the samples do not prove pages nobody.
        exporter.set(&both((rate * 100.0, 0.9)));
        wait_for_alerts(&prometheus, &format!("{tier} unproven"), &[]);
        exporter.set(&both((f64::NAN, f64::NAN)));
        wait_for_alerts(&prometheus, &format!("{tier} NaN"), &[incomplete]);
        exporter.set(&page(|_| QUIET, false));
        wait_for_alerts(&prometheus, &format!("{tier} normal again"), &[]);
        exporter.set(&page(move |window| if window == long { None } else { QUIET }, false));
        wait_for_alerts(&prometheus, &format!("{tier} stale"), &[incomplete]);
    }
    exporter.set(&page(|_| None, true));
    wait_for_alerts(&prometheus, "no data", &[incomplete, ("JourneyEvidenceMissing", "guard")]);
    exporter.set(&page(|_| QUIET, false));
    wait_for_alerts(&prometheus, "data again", &[]);
    drop(exporter);
    wait_for_alerts(&prometheus, "proxy down", &[("JourneyNotEvaluated", "guard")]);
    wait_for("the evaluation of rules to go on", || {
        let failed = prometheus.query("prometheus_rule_evaluation_failures_total > 0");
        failed.as_array().is_none_or(Vec::is_empty).then_some(())
    });
}

/// Two journeys over the same shop, which loses 1.5 %: one may lose 10 %, the other 0.1 %.
fn two_journeys() -> String {
    let journey = |name: &str, target: &str| {
        format!(
            r#"apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {{name: {name}}}
spec:
  objectives: {{availability: {{window: 30d, target: {target}}}}}
  components:
    front: {{histogram: http_request_duration_seconds, matchers: {{service: front}}, success: {{code: '!~"5.."'}}}}
    pay: {{histogram: http_request_duration_seconds, matchers: {{service: pay}}, success: {{code: '!~"5.."'}}}}
  expression: Series(front, pay)
  governance:
    alerts:
      burnRatePolicy:
        page: [{{burnRate: 10, longWindow: 2m, shortWindow: 30s}}, {{burnRate: 6, longWindow: 5m, shortWindow: 1m}}]
        ticket: [{{burnRate: 3, longWindow: 8m, shortWindow: 2m}}, {{burnRate: 1, longWindow: 10m, shortWindow: 5m}}]
"#
        )
    };
    format!("{}---\n{}", journey("steady", "0.9"), journey("losing", "0.999"))
}

/// Journey, name and tier of every firing alert.
fn firing_by_journey(prometheus: &Prometheus) -> BTreeSet<String> {
    let reply = get(&format!("{}/api/v1/alerts", prometheus.url())).json();
    let alerts = reply["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let line = |alert: &serde_json::Value| {
        let label = |name: &str| alert["labels"][name].as_str().unwrap_or_default().to_owned();
        format!("{} {} {}", label("journey"), label("alertname"), label("tier"))
    };
    alerts.iter().filter(|alert| alert["state"] == "firing").map(line).collect()
}

/// Waits until all of these fire and nothing that holds one of `never`.
fn wait_until(prometheus: &Prometheus, what: &str, all: &[String], never: &[&str]) {
    let deadline = std::time::Instant::now() + 2 * super::prometheus::PATIENCE;
    loop {
        let last = firing_by_journey(prometheus);
        let wrong = last.iter().any(|alert| never.iter().any(|part| alert.contains(part)));
        if !wrong && all.iter().all(|alert| last.contains(alert)) {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{what}: {last:#?} fire, not {all:#?} without {never:?}"
        );
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn compiled_alerts_hold_through_the_proxy_a_restart_of_it_and_the_loss_of_its_upstream() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("spec.yaml"), two_journeys()).unwrap();
    std::fs::write(
        at("emac.config"),
        "upstream: {timeout: 5s}\nevaluation: {interval: 2s, delay: 1s, retention: 10m}\n",
    )
    .unwrap();
    let mut files = Vec::new();
    for journey in journeys_of(&[SourceFile { path: "j.yaml".to_owned(), text: two_journeys() }]) {
        let file = at(&format!("{}.yaml", journey.name));
        std::fs::write(
            &file,
            hasty(artifact(&compiled(&journey, Target::Prometheus), "alerts.yaml").unwrap()),
        )
        .unwrap();
        files.push(format!("{file:?}"));
    }
    let (_shop, upstream) = super::remote_read_prometheus::upstream();
    let address = format!("127.0.0.1:{}", super::prometheus::free_port());
    let (config, spec) = (at("emac.config"), at("spec.yaml"));
    let serve = || {
        let args = ["--config", &config, "--spec", &spec, "--upstream.url", upstream.url()];
        super::emac_binary::Binary::start_at(&address, &args)
    };
    let proxy = serve();
    let setup = format!(
        "rule_files: [{}]\nremote_read: [{{url: \"http://{address}/api/v1/read\", read_recent: true, remote_timeout: 5s}}]",
        files.join(", ")
    );
    let prometheus = Prometheus::start(&Setup {
        config: &setup,
        external_labels: "cluster: test, replica: r1",
        ..Setup::default()
    });
    let burning: Vec<String> = ["page-2m", "page-5m", "ticket-8m", "ticket-10m"]
        .iter()
        .map(|tier| format!("losing JourneyErrorBudgetBurns {tier}"))
        .chain(["losing JourneyComponentDominates contributor".to_owned()])
        .collect();
    let steady = ["steady JourneyError", "steady JourneyComponent", "guard"];
    wait_until(&prometheus, "burning beside normal", &burning, &steady);
    let both = |name: &str| ["steady", "losing"].map(|journey| format!("{journey} {name} guard")).to_vec();
    drop(proxy);
    wait_until(&prometheus, "proxy down", &both("JourneyNotEvaluated"), &["Burns", "Dominates"]);
    let proxy = serve();
    wait_until(&prometheus, "proxy up again", &burning, &steady);
    drop(upstream);
    let blind: Vec<String> =
        both("JourneySignalIncomplete").into_iter().chain(both("JourneyEvidenceMissing")).collect();
    wait_until(&prometheus, "upstream gone", &blind, &["Burns", "Dominates", "NotEvaluated"]);
    drop(proxy);
}
