//! Derivations: the numbers that people and machines read, against closed forms.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use emac::algebra::compose::Composer;
use emac::derive::step::Step;
use emac::derive::{Derivation, explain, text};
use emac::distribution::histogram::ClassicHistogram;
use emac::journey::domain::DomainLatency;
use emac::journey::evidence::{ComponentEvidence, Counts, Measurement, Reason};
use emac::journey::governance::{BucketError, Dependence};
use emac::journey::objective::{AvailabilityObjective, LatencyObjective, Objectives};
use emac::journey::operator::{AttemptsFate, Operator};
use serde_json::Value;

use crate::journey_builder::{Case, cond, leaf, leaves, probability, quantile, time};

fn derived(case: &Case) -> Derivation {
    explain(&mut Composer::new(), &case.journey, &case.evidence, None)
}

fn json(case: &Case) -> Value {
    serde_json::to_value(derived(case)).unwrap()
}

#[test]
fn what_is_published_is_explained_as_it_is_published() {
    let edges = vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];
    let seen = |t: &f64| 3_000.0 * (1.0 - (-t / 0.04).exp());
    let counts = edges.iter().map(seen).chain([3_000.0]).collect();
    let histogram = ClassicHistogram::new(edges, counts).unwrap();
    let service = Measurement::Counts(Counts::new(3_010.0, 3_000.0, Some(histogram), None).unwrap());
    for published in [vec![0.99], vec![0.5, 0.9, 0.99], vec![0.95]] {
        let mut case = Case::new(Operator::Series(leaves(8))).components(8, &service, &[]);
        case.journey.quantiles = published.iter().map(|&q| quantile(q)).collect();
        let (composed, explained) = (case.compose(), json(&case));
        let number = |value: &Value| value.as_f64().unwrap_or(f64::INFINITY);
        let of = |q: &str, side: &str| number(&explained["latency"][q][side]);
        for latency in &composed.latency {
            let q = latency.quantile.to_string();
            assert_eq!(of(&q, "pessimistic"), latency.value.pessimistic.get(), "{published:?}: {q}");
            assert_eq!(of(&q, "estimate"), latency.value.estimate.get(), "{published:?}: {q}");
            assert_eq!(of(&q, "optimistic"), latency.value.optimistic.get(), "{published:?}: {q}");
        }
        // The others are there, and lie where they must.
        for side in ["pessimistic", "estimate", "optimistic"] {
            let all = ["0.5", "0.9", "0.99", "0.999"].map(|q| of(q, side));
            assert!(all.is_sorted() && all[0] > 0.0 && all[2].is_finite(), "{published:?}: {all:?}");
        }
    }
}

/// The paper's checkout with its atomic figures; the payment providers share a domain.
fn papers_checkout() -> Case {
    let operator = Operator::Series(vec![
        leaf(0),
        Operator::Parallel(vec![leaf(1), leaf(2)]),
        Operator::Race(vec![leaf(3), leaf(4)]),
    ]);
    let mut case = Case::new(operator)
        .domain("payment-network", DomainLatency::Shared)
        .figure(0.9995, &[])
        .figure(0.999, &[])
        .figure(0.999, &[])
        .figure(0.995, &[0])
        .figure(0.995, &[0]);
    case.journey.name = "checkout".to_owned();
    for (component, name) in
        case.journey.components.iter_mut().zip(["front", "cart", "pricing", "paya", "payb"])
    {
        component.name = name.to_owned();
    }
    case.journey.objectives = Objectives {
        availability: Some(AvailabilityObjective {
            window: "30d".parse().unwrap(),
            target: probability(0.995),
            observed: None,
        }),
        latency: Some(LatencyObjective {
            window: "30d".parse().unwrap(),
            quantile: quantile(0.99),
            threshold: time(0.4),
            observed: None,
        }),
    };
    case
}

fn rounded(value: &Value) -> String {
    format!("{:.8}", value.as_f64().unwrap())
}

#[test]
fn the_papers_checkout_gives_the_papers_two_numbers() {
    let case = papers_checkout();
    let json = json(&case);
    let by = &json["availability"]["by_dependence"];
    assert_eq!(rounded(&by["independent"]["lower"]), "0.99747706");
    assert_eq!(rounded(&by["shared_fate"]["lower"]), "0.99251449");
    assert_eq!(rounded(&json["availability"]["estimate"]), "0.99747706");

    let text = text::render(&derived(&case));
    let root = text.lines().find(|line| line.starts_with("Series")).unwrap();
    assert!(root.contains("0.99747706   0.99251449"), "{root}");
}

#[test]
fn a_known_miss_of_availability_blocks_although_no_latency_was_measured() {
    let verdict = derived(&papers_checkout()).verdict;
    assert_eq!(verdict.verdict.as_str(), "block");
    assert!(verdict.reason.starts_with("pessimistic availability 99.251 % is below the objective 99.5 %"));
}

#[test]
fn the_json_keeps_its_contract_of_names_and_order() {
    let json = json(&papers_checkout());
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        keys(&json)[..6],
        ["journey", "window", "availability", "latency", "components", "warnings"].map(String::from)
    );
    assert_eq!(json["journey"], "checkout");
    assert_eq!(json["window"], "5m");
    assert_eq!(keys(&json["availability"]), ["estimate", "pessimistic", "optimistic", "by_dependence"]);
    let assumptions = ["independent", "shared_fate", "unknown", "unknown_all"];
    assert_eq!(keys(&json["availability"]["by_dependence"]), assumptions);
    assert_eq!(keys(&json["availability"]["by_dependence"]["unknown"]), ["lower", "upper"]);
    assert_eq!(keys(&json["latency"]), ["0.5", "0.9", "0.99", "0.999"]);
    assert_eq!(keys(&json["latency"]["0.99"]), ["estimate", "pessimistic", "optimistic", "by_dependence"]);
    assert_eq!(keys(&json["latency"]["0.99"]["by_dependence"]), assumptions);
    assert_eq!(
        keys(&json["components"][0])[..5],
        ["name", "availability", "sensitivity", "budget_share", "latency_share"].map(String::from)
    );
    assert_eq!(json["components"][3]["name"], "paya");
    assert_eq!(json["components"][3]["availability"], 0.995);
    for warning in json["warnings"].as_array().unwrap() {
        assert_eq!(keys(warning), ["code", "message"]);
    }
}

#[test]
fn an_infinite_latency_is_the_string_plus_inf() {
    let json = json(&papers_checkout());
    assert_eq!(json["latency"]["0.99"]["pessimistic"], "+Inf");
}

#[test]
fn the_quantile_of_the_objective_stands_beside_the_usual_four() {
    let mut case = papers_checkout();
    case.journey.objectives.latency.as_mut().unwrap().quantile = quantile(0.95);
    case.journey.quantiles = vec![quantile(0.95)];
    let derivation = derived(&case);
    let keys: Vec<_> = derivation.latency.keys().map(String::as_str).collect();
    assert_eq!(keys, ["0.5", "0.9", "0.95", "0.99", "0.999"]);
}

/// Every number to ten decimals: the snapshot is of the shape, the values are held above.
fn rounded_throughout(value: &mut Value) {
    match value {
        Value::Number(number) => {
            let rounded = number.as_f64().map(|number| (number * 1e10).round() / 1e10);
            *value = serde_json::json!(rounded);
        }
        Value::Array(items) => items.iter_mut().for_each(rounded_throughout),
        Value::Object(fields) => fields.values_mut().for_each(rounded_throughout),
        Value::Null | Value::Bool(_) | Value::String(_) => {}
    }
}

#[test]
fn the_text_of_the_papers_checkout_reads_well() {
    insta::assert_snapshot!(text::render(&derived(&papers_checkout())));
}

#[test]
fn the_json_of_the_papers_checkout_is_complete() {
    let mut json = json(&papers_checkout());
    json["model"]["version"] = Value::from("(version)");
    rounded_throughout(&mut json);
    insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
}

/// The number after the last equals sign.
fn result(step: &Step) -> f64 {
    step.equation().rsplit("= ").next().unwrap().parse().unwrap()
}

#[test]
fn every_formula_with_its_numbers_put_in_comes_to_the_closed_form() {
    let boxed = |index| Box::new(leaf(index));
    let retry = Operator::Retry {
        attempts: 3,
        per_try_timeout: None,
        backoff: None,
        fate: AttemptsFate::Independent,
        body: boxed(0),
    };
    let repeat =
        Operator::Repeat { counts: vec![(1, probability(0.7)), (2, probability(0.3))], body: boxed(0) };
    for (operator, equation, value) in [
        (Operator::Series(leaves(2)), "A = ∏ Aᵢ = 0.9 × 0.8 = 0.72", 0.72),
        (Operator::Race(leaves(2)), "A = 1 − ∏ (1 − Aᵢ) = 1 − (1 − 0.9) × (1 − 0.8) = 0.98", 0.98),
        (
            cond(vec![(0.25, leaf(0)), (0.75, leaf(1))]),
            "A = Σ pᵢ Aᵢ = 0.25 × 0.9 + 0.75 × 0.8 = 0.825",
            0.825,
        ),
        (
            Operator::KofN { k: 2, branches: vec![leaf(0), leaf(0), leaf(0)] },
            "A = P(N ≥ k) = P(at least 2 of 3: 0.9, 0.9, 0.9) = 0.972",
            0.972,
        ),
        (
            Operator::Fallback { body: boxed(0), fallback: boxed(1) },
            "A = 1 − (1 − A₁)(1 − A₂) = 1 − (1 − 0.9) × (1 − 0.8) = 0.98",
            0.98,
        ),
        (retry, "A = 1 − (1 − σ)ⁿ = 1 − (1 − 0.9)^3 = 0.999", 0.999),
        (repeat, "A = Σ p(n) Aⁿ = 0.7 × 0.9^1 + 0.3 × 0.9^2 = 0.873", 0.873),
    ] {
        let case = Case::new(operator).figure(0.9, &[]).figure(0.8, &[]);
        let derivation = derived(&case);
        assert_eq!(derivation.derivation.equation(), equation);
        assert!((result(&derivation.derivation) - value).abs() < 1e-8, "{equation}");
        assert!((derivation.availability.estimate.get() - value).abs() < 1e-12, "{equation}");
    }
}

#[test]
fn a_component_without_evidence_is_named_with_its_reason_and_asks_for_a_review() {
    let mut case = papers_checkout();
    case.evidence.components[1] = ComponentEvidence::vacuous(Reason::Absent);
    let derivation = derived(&case);
    assert_eq!(derivation.verdict.verdict.as_str(), "review");
    assert_eq!(derivation.verdict.reason, "evidence is missing: cart (absent)");
    assert_eq!(derivation.components[1].evidence.kind, "vacuous");
    assert_eq!(derivation.components[1].evidence.reasons[0].reason, "absent");
    assert!(
        derivation.warnings.iter().any(|w| w.code == "evidence-absent" && w.message.starts_with("cart: "))
    );
    assert!(text::render(&derivation).contains("nothing measured"));
}

#[test]
fn no_line_of_the_text_is_wider_than_100_columns() {
    let mut case = papers_checkout();
    case.journey.components[0].name = "a-name-of-more-than-a-hundred-characters-".repeat(5);
    let text = text::render(&derived(&case));
    let widest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
    assert!(widest.chars().count() <= text::WIDTH, "{widest}");
}

/// The paper's spec, where the reference data is present.
fn papers_spec() -> Option<PathBuf> {
    let root = std::env::var_os("EMAC_REFERENCE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference"), PathBuf::from);
    let spec = root.join("checkout/spec/emac.checkout.yaml");
    spec.is_file().then_some(spec)
}

const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives: {availability: {window: 30d, target: 0.995}}
  expression: Series(front, Parallel(cart, pricing), Race(paya, payb))
  components:
    front: {}
    cart: {}
    pricing: {}
    paya: {failureDomains: [payment-network]}
    payb: {failureDomains: [payment-network]}
  failureDomains: {rules: [{name: payment-network, kind: declared}]}
";

const EVIDENCE: &str = "
apiVersion: emac.dev/v1alpha1
kind: Evidence
metadata: {journey: checkout}
spec:
  window: 5m
  components:
    front: {availability: 0.9995}
    cart: {availability: 0.999}
    pricing: {availability: 0.999}
    paya: {availability: 0.995}
    payb: {availability: 0.995}
";

/// Runs `emac explain` on a spec file, with this evidence and further arguments.
fn run(spec: &Path, evidence: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evidence.yaml");
    std::fs::write(&file, evidence).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_emac"));
    command.arg("explain").arg("--spec").arg(spec).arg("--evidence").arg(&file).args(arguments);
    command.output().unwrap()
}

fn run_on_own_spec(evidence: &str, arguments: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let spec = folder.path().join("checkout.yaml");
    std::fs::write(&spec, SPEC).unwrap();
    run(&spec, evidence, arguments)
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_command_explains_the_papers_own_file() {
    let Some(spec) = papers_spec() else { return };
    let output = run(&spec, EVIDENCE, &["checkout", "--format", "json"]);
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let by = &json["availability"]["by_dependence"];
    assert_eq!(rounded(&by["independent"]["lower"]), "0.99747706");
    assert_eq!(rounded(&by["shared_fate"]["lower"]), "0.99251449");
}

#[test]
fn json_and_yaml_say_the_same() {
    let output = run_on_own_spec(EVIDENCE, &["checkout", "--format", "json"]);
    assert!(output.status.success(), "{}", text_of(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let output = run_on_own_spec(EVIDENCE, &["checkout", "--format", "yaml"]);
    let yaml: Value = serde_saphyr::from_str(&text_of(&output.stdout)).unwrap();
    assert_eq!(json, yaml);
}

#[test]
fn an_unknown_journey_is_an_error_with_the_nearest_name() {
    let output = run_on_own_spec(EVIDENCE, &["chekcout"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(text_of(&output.stderr), "emac: there is no journey `chekcout`; nearest are: checkout\n");
}

#[test]
fn faults_of_the_evidence_are_diagnostics_and_exit_code_1() {
    let output = run_on_own_spec(&EVIDENCE.replace("0.999}", "1.999}"), &["checkout"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    assert!(text_of(&output.stderr).contains("evidence.yaml:9:"), "{}", text_of(&output.stderr));
}

#[test]
fn a_window_that_the_evidence_is_not_of_is_refused() {
    let output = run_on_own_spec(EVIDENCE, &["checkout", "--window", "1h"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text_of(&output.stderr).contains("the evidence of 5m, not of 1h"));
}

/// Calls of `pay` in these buckets, a hundred times as many of `front` in narrow ones.
fn two_components(pay: [f64; 4]) -> Derivation {
    let histogram = |edges: &[f64], through: &[f64]| {
        let histogram = ClassicHistogram::new(edges.to_vec(), through.to_vec()).unwrap();
        let total = histogram.total();
        Measurement::Counts(Counts::new(total, total, Some(histogram), None).unwrap())
    };
    let n = 100.0 * pay[3];
    let mut case = Case::new(Operator::Series(leaves(2)))
        .policy(Dependence::SharedFate, BucketError::Bound)
        .component(histogram(&[0.010, 0.011, 0.012], &[0.0, 0.9 * n, n, n]), &[])
        .component(histogram(&[0.1, 0.25, 0.5], &pay), &[]);
    case.journey.components[1].name = "pay".to_owned();
    derived(&case)
}

#[test]
fn the_advice_names_the_bucket_that_holds_the_quantile_or_the_component_seen_least() {
    // 99.2 % of many calls end within 250 ms: the p99 lies between 100 and 250 ms.
    let wide = two_components([500_000.0, 992_000.0, 1_000_000.0, 1_000_000.0]);
    let advice = wide.width.advice.unwrap();
    assert!(advice.ends_with("give pay bucket edges between 100 ms and 250 ms."), "{advice}");
    // 400 calls whose p99 is proven no better than the last bucket.
    let few = two_components([396.0, 398.0, 400.0, 400.0]);
    let advice = few.width.advice.unwrap();
    assert!(advice.contains("400 calls of pay in 5m; judge by a longer window."), "{advice}");
    let sum = few.width.samples + few.width.buckets + few.width.dependence;
    assert!((sum - 1.0).abs() < 1e-9, "{sum}");
}

#[test]
fn the_distribution_rises_between_its_bounds_and_marks_the_objective() {
    let mut derivation = two_components([500_000.0, 992_000.0, 1_000_000.0, 1_000_000.0]);
    let points = &derivation.distribution;
    assert_eq!(points.len(), 16);
    assert!(points.iter().all(|p| p.pessimistic <= p.estimate && p.estimate <= p.optimistic));
    assert!(points.windows(2).all(|pair| pair[0].estimate <= pair[1].estimate));
    // 90 % of the fronts within 11 ms and half of the payments within 100 ms, and all of both within 512 ms.
    let last = points.last().unwrap();
    assert!(last.estimate > 0.99 && last.pessimistic > 0.99, "{last:?}");
    derivation.objectives.latency = None;
    assert!(!text::render(&derivation).contains('◂'));
}

#[test]
fn the_advice_names_the_domain_whose_members_failing_or_slowing_together_costs_most() {
    // In series, failing together is no worse than failing apart; in a race it is, however little either matters.
    let figure = |p: f64| Measurement::Figure(probability(p));
    let race = Operator::Race(vec![leaf(2), leaf(3)]);
    let case = Case::new(Operator::Series(vec![leaf(0), leaf(1), race]))
        .policy(Dependence::SharedFate, BucketError::Bound)
        .domain("zone", DomainLatency::Shared)
        .domain("psp", DomainLatency::Shared)
        .component(figure(0.99), &[0])
        .component(figure(0.99), &[0])
        .component(figure(0.999), &[1])
        .component(figure(0.999), &[1]);
    let advice = derived(&case).width.advice.unwrap();
    assert!(advice.contains("split the failure domain psp,"), "{advice}");

    // Where times are known, what is wide is the latency, which here is that of the slow zone.
    let calls = |seconds: f64, p: f64| {
        let edges = (1..=40).map(|k| seconds * f64::from(k) / 40.0).collect();
        let through = (1..=40).chain([40]).map(|k| 1e6 * f64::from(k) / 40.0).collect();
        let histogram = ClassicHistogram::new(edges, through).unwrap();
        Measurement::Counts(Counts::new(1e6 / p, 1e6, Some(histogram), None).unwrap())
    };
    let case = Case::new(Operator::Series(leaves(4)))
        .policy(Dependence::SharedFate, BucketError::Bound)
        .domain("fast", DomainLatency::Shared)
        .domain("slow", DomainLatency::Shared)
        .component(calls(0.01, 0.9), &[0])
        .component(calls(0.01, 0.9), &[0])
        .component(calls(1.0, 0.999), &[1])
        .component(calls(1.0, 0.999), &[1]);
    let advice = derived(&case).width.advice.unwrap();
    assert!(advice.contains("split the failure domain slow,"), "{advice}");
}
