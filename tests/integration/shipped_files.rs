//! The files that ship beside the binary: rules, dashboards, provisioning. What they name must exist.

use std::path::{Path, PathBuf};
use std::process::Command;

use emac::synthetic::catalog;
use promql_parser::parser::{Expr, VectorSelector};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &str, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {ending} in {folder}");
    files
}

/// The folders of compiled journeys.
fn journeys() -> Vec<String> {
    let mut journeys: Vec<String> = std::fs::read_dir(root().join("rules"))
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| format!("rules/{}", entry.file_name().to_str().unwrap()))
        .collect();
    journeys.sort();
    assert!(!journeys.is_empty());
    journeys
}

fn promtool(arguments: &[&str]) {
    let output = Command::new("promtool").args(arguments).current_dir(root()).output().unwrap();
    assert!(
        output.status.success(),
        "promtool {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Every metric name that an expression selects.
fn metrics_of(expression: &Expr, found: &mut Vec<String>) {
    let mut vector = |selector: &VectorSelector| found.extend(selector.name.clone());
    match expression {
        Expr::VectorSelector(selector) => vector(selector),
        Expr::MatrixSelector(selector) => vector(&selector.vs),
        Expr::Binary(binary) => {
            metrics_of(&binary.lhs, found);
            metrics_of(&binary.rhs, found);
        }
        Expr::Aggregate(aggregate) => metrics_of(&aggregate.expr, found),
        Expr::Unary(unary) => metrics_of(&unary.expr, found),
        Expr::Paren(paren) => metrics_of(&paren.expr, found),
        Expr::Subquery(subquery) => metrics_of(&subquery.expr, found),
        Expr::Call(call) => call.args.args.iter().for_each(|argument| metrics_of(argument, found)),
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) | Expr::Extension(_) => {}
    }
}

/// Own metrics that rules read; `web_config` holds the page of a running server against them.
pub(crate) const OWN_METRICS: [&str; 4] = [
    "emac_build_info",
    "emac_self_check_successful",
    "emac_self_check_failures_total",
    "emac_model_last_reload_successful",
];

fn assert_names_synthetic_series(expression: &str, place: &str) {
    // What Grafana puts in before it asks.
    let expression = expression.replace("$__range", "1h");
    let parsed =
        promql_parser::parser::parse(&expression).unwrap_or_else(|e| panic!("{place}: {expression}: {e}"));
    let mut found = Vec::new();
    metrics_of(&parsed, &mut found);
    assert!(!found.is_empty(), "{place}: {expression} selects nothing");
    for name in found {
        // The guard of vmalert reads what vmalert says about itself; `alerting` holds its name against the real one.
        let of_vmalert = name == "vmalert_alerting_rules_error" && place.contains("vmalert-guard");
        // That of the process reads what emac says about itself.
        let of_process = OWN_METRICS.contains(&name.as_str()) && place.contains("rules/_emac/");
        assert!(
            of_vmalert || of_process || catalog::is_synthetic(&name),
            "{place}: `{name}` is not in the catalog"
        );
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_shipped_rules_pass_promtools_checks_and_their_own_tests() {
    for file in files("rules", ".rules.yaml") {
        promtool(&["check", "rules", "--lint=all", "--lint-fatal", file.to_str().unwrap()]);
    }
    for file in files("rules", ".test.yaml") {
        promtool(&["test", "rules", file.to_str().unwrap()]);
    }
    for journey in journeys() {
        for file in files(&format!("{journey}/prometheus"), ".yaml") {
            let name = file.file_name().unwrap().to_str().unwrap();
            if name != "tests.yaml" {
                promtool(&["check", "rules", "--lint=all", "--lint-fatal", file.to_str().unwrap()]);
            }
        }
        promtool(&["test", "rules", &format!("{journey}/prometheus/tests.yaml")]);
    }
}

#[test]
fn every_shipped_rule_reads_series_that_exist() {
    let compiled = journeys().into_iter().map(|journey| {
        let file = if journey.ends_with("/_emac") { "evaluator-guards.yaml" } else { "alerts.yaml" };
        root().join(journey).join("prometheus").join(file)
    });
    for file in compiled.chain(files("rules", ".rules.yaml")) {
        let rules: serde_json::Value =
            serde_saphyr::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        for rule in
            rules["groups"].as_array().unwrap().iter().flat_map(|group| group["rules"].as_array().unwrap())
        {
            assert_names_synthetic_series(rule["expr"].as_str().unwrap(), file.to_str().unwrap());
        }
    }
}

#[test]
fn every_dashboard_panel_reads_series_that_exist_and_fits_its_grid() {
    for file in files("grafana/dashboards", ".json") {
        let dashboard: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
        let mut ids = std::collections::BTreeSet::new();
        let mut taken = std::collections::BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            let place = format!("{}: {}", file.display(), panel["title"]);
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{place}: the id is used twice");
            let edge = |name: &str| panel["gridPos"][name].as_u64().unwrap();
            assert!(edge("x") + edge("w") <= 24, "{place}: wider than the grid");
            for x in edge("x")..edge("x") + edge("w") {
                for y in edge("y")..edge("y") + edge("h") {
                    assert!(taken.insert((x, y)), "{place}: overlaps another panel");
                }
            }
            for target in panel["targets"].as_array().unwrap() {
                assert_names_synthetic_series(target["expr"].as_str().unwrap(), &place);
            }
        }
        for variable in dashboard["templating"]["list"].as_array().unwrap() {
            if let Some(query) = variable["query"]["query"].as_str() {
                let selector =
                    query.strip_prefix("label_values(").and_then(|rest| rest.rsplit_once(',')).unwrap().0;
                assert_names_synthetic_series(selector, file.to_str().unwrap());
            }
        }
    }
}
