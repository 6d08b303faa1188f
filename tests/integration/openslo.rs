//! OpenSLO documents: what they supply, and what is said about those that supply nothing.

use std::path::Path;

use emac::journey::component::Telemetry;
use emac::openslo::{self, Ratio};
use emac::spec::{self, SourceFile};

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

const SLO: &str = r#"apiVersion: openslo/v1
kind: DataSource
metadata: {name: metrics}
spec: {type: Prometheus, connectionDetails: {address: "http://prometheus:9090"}}
---
apiVersion: openslo/v1
kind: SLI
metadata: {name: front-success}
spec:
  ratioMetric:
    counter: true
    good: {metricSource: {metricSourceRef: metrics, spec: {query: 'sum(increase(x{code!~"5.."}[30d]))'}}}
    total: {metricSource: {metricSourceRef: metrics, spec: {query: 'x'}}}
---
apiVersion: openslo/v1
kind: SLO
metadata: {name: front}
spec:
  service: front
  indicatorRef: front-success
  timeWindow: [{duration: 1M, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{targetPercent: 99.95}, {target: 0.999}]
"#;

const JOURNEY: &str = r"apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: j}
spec:
  expression: Series(front, cart)
  components:
    front: {atomicSLORef: openslo:front}
    cart: {atomicSLORef: front, telemetry: {histogram: h, matchers: {service: cart}}}
";

#[test]
fn a_component_takes_its_contract_from_the_target_and_its_ratio_from_the_indicator() {
    let loaded = spec::load_with_contracts(&[file("j.yaml", JOURNEY)], &[file("slo.yaml", SLO)]);
    let said: Vec<String> = loaded.diagnostics.iter().map(ToString::to_string).collect();
    assert!(said.is_empty(), "{said:?}");
    let [front, cart] = &loaded.journeys[0].components[..] else { panic!("two components") };
    // Of two promises the weaker is relied on.
    assert_eq!(front.contract.map(|c| c.get()), Some(0.999));
    assert_eq!(cart.contract.map(|c| c.get()), Some(0.999));
    let Some(Telemetry::Queries { good, total, .. }) = &front.telemetry else {
        panic!("{:?}", front.telemetry)
    };
    assert_eq!(good.as_deref(), Some(r#"sum(increase(x{code!~"5.."}[{{window}}]))"#));
    assert_eq!(total.as_deref(), Some("sum(increase(x[{{window}}]))"));
    // What the spec itself says wins.
    assert!(matches!(cart.telemetry, Some(Telemetry::Histogram { .. })));
    // The contract is part of the model.
    let without = spec::load(&[file("j.yaml", JOURNEY)]);
    assert_ne!(without.journeys[0].digest, loaded.journeys[0].digest);
}

#[test]
fn bad_calls_and_raw_shares_become_queries_too() {
    let of = |metric: &str| {
        let text = SLO.replace(
            SLO.split("  ratioMetric:\n").nth(1).and_then(|rest| rest.split("---").next()).unwrap(),
            metric,
        );
        openslo::load(&[file("slo.yaml", &text)]).0.resolve("front").unwrap().ratio.clone()
    };
    let source =
        |query: &str| format!("{{metricSource: {{metricSourceRef: metrics, spec: {{query: '{query}'}}}}}}");
    let bad = format!("    counter: true\n    bad: {}\n    total: {}\n", source("b"), source("t"));
    let Some(Ratio::Counts { good, total }) = of(&bad) else { panic!("no ratio") };
    assert_eq!(total, "sum(increase(t[{{window}}]))");
    assert_eq!(
        good,
        "(sum(increase(t[{{window}}]))) - ((sum(increase(b[{{window}}]))) or (sum(increase(t[{{window}}]))) * 0)"
    );
    let raw = |word: &str| format!("    rawType: {word}\n    raw: {}\n", source("share"));
    assert_eq!(of(&raw("success")), Some(Ratio::Share("share".to_owned())));
    assert_eq!(of(&raw("failure")), Some(Ratio::Share("1 - (share)".to_owned())));
}

#[test]
fn every_fault_is_said_with_its_place_and_the_slo_is_left_out() {
    for (from, to, expected) in [
        (
            "targetPercent: 99.95",
            "targetPercent: 100",
            "E104] slo.yaml:23:32 spec.objectives[0].targetPercent",
        ),
        ("{target: 0.999}", "{target: 99.9}", "a percentage is targetPercent"),
        ("duration: 1M", "duration: 1.5d", "E106] slo.yaml:21:27 spec.timeWindow[0].duration"),
        ("kind: SLI", "kind: SLIs", "E105] slo.yaml:7:7 kind: openslo/v1 has no kind `SLIs`"),
        ("indicatorRef: front-success", "indicatorRef: front-sucess", "did you mean `front-success`?"),
        ("metricSourceRef: metrics", "metricSourceRef: metric", "did you mean `metrics`?"),
        ("type: Prometheus", "type: Datadog", "a Datadog cannot be asked for evidence"),
        ("counter: true", "counter: maybe", "E103] slo.yaml:11:14"),
        ("    total:", "    totl:", "the field `total` is missing"),
        ("budgetingMethod: Occurrences", "budgetingMethod: Occurences", "did you mean `Occurrences`?"),
    ] {
        let text = SLO.replacen(from, to, 1);
        let (_, found) = openslo::load(&[file("slo.yaml", &text)]);
        let said: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert!(said.iter().any(|line| line.contains(expected)), "{to}: {expected} is not in {said:#?}");
    }
    let doubled = format!("{SLO}---\n{}", SLO.rsplit("---\n").next().unwrap());
    let (catalog, found) = openslo::load(&[file("slo.yaml", &doubled)]);
    assert!(found.iter().any(|d| d.code == "E205" && d.line == 27), "{found:?}");
    assert_eq!(catalog.slos().len(), 1);
}

#[test]
fn the_papers_contracts_resolve_and_name_what_other_tools_reject() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference/checkout");
    let root = std::env::var("EMAC_REFERENCE").map_or(root, |path| Path::new(&path).join("checkout"));
    let folder = root.join("atomic/openslo");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!("skipped: {} is not here", folder.display());
        return;
    };
    let mut files: Vec<SourceFile> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| file(path.to_str().unwrap(), &std::fs::read_to_string(&path).unwrap()))
        .collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let (catalog, found) = openslo::load(&files);
    assert!(found.iter().all(|finding| finding.code == "W601"), "{found:?}");
    let targets: Vec<(String, f64)> =
        catalog.slos().map(|slo| (slo.name.clone(), slo.target.unwrap().get())).collect();
    let expected = [("cart", 0.999), ("front", 0.9995), ("paya", 0.995), ("payb", 0.995), ("pricing", 0.999)]
        .map(|(name, target)| (format!("slo.{name}.availability"), target));
    assert_eq!(targets, expected);
    for slo in catalog.slos() {
        let Some(Ratio::Counts { good, total }) = &slo.ratio else { panic!("{slo:?}") };
        assert!(good.contains("[{{window}}]") && total.contains("[{{window}}]"), "{good} {total}");
    }
}
