//! Artifacts: a journey and its derivation become what platforms run and people review.
//!
//! [`artifacts`] is a function of its arguments alone: the same journey, derivation and options give the same bytes. Rules
//! (`recording`, `alert`, `guard`) read the synthetic series; `unit_test` holds the alerts to what they must do in
//! promtool's own terms; `argo` gates a rollout; `dashboard` shows the journey; `report` says how every number
//! came about and which artifact rests on which node. No number is computed here: they come from the derivation.

mod alert;
mod argo;
mod dashboard;
mod decimal;
mod flow;
mod guard;
mod phase;
mod policy_text;
mod process_guard;
mod provenance;
mod recording;
mod report;
mod report_text;
mod rule;
mod selector;
mod tier;
mod unit_test;
mod yaml;
mod yaml_scalar;

use crate::derive::Derivation;
use crate::journey::Journey;

use provenance::object_name;

pub use provenance::MARK;

/// What runs the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Target {
    /// Rule files of Prometheus (and vmalert).
    #[default]
    Prometheus,
    /// `PrometheusRule` of the Prometheus operator.
    Operator,
    /// `VMRule` of the VictoriaMetrics operator.
    Vm,
}

/// What a compilation depends on beside the journey and its evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// What runs the rules.
    pub target: Target,
    /// Where rollouts reach emac, such as `http://emac:9099`.
    pub address: String,
}

impl Default for Options {
    fn default() -> Self {
        Self { target: Target::default(), address: "http://emac:9099".to_owned() }
    }
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Below the output folder, with `/`: `checkout/prometheus/alerts.yaml`.
    pub path: String,
    /// Its content, ending with a line break.
    pub text: String,
}

/// Every artifact of one journey, in a fixed order. `derivation` is of this journey.
#[must_use]
pub fn artifacts(journey: &Journey, derivation: &Derivation, options: &Options) -> Vec<Artifact> {
    let header = provenance::header(journey);
    let mut artifacts: Vec<Artifact> = Vec::new();
    let file = |path: &str, text: String| Artifact { path: format!("{}/{path}", journey.name), text };
    let rules = |name: &str, groups: &[rule::Group]| match options.target {
        Target::Prometheus => rule::document("", &header, groups, options.target),
        Target::Operator | Target::Vm => {
            rule::document(&object_name(journey, name), &header, groups, options.target)
        }
    };
    let alerts = [alert::group(journey), guard::group(journey)];
    artifacts.push(file(RECORDING, rules("recording-rules", &[recording::group(journey)])));
    artifacts.push(file(ALERTS, rules("alerts", &alerts)));
    artifacts.push(file(
        EVALUATOR_GUARDS,
        rules("evaluator-guards", &[guard::evaluator(journey, options.target)]),
    ));
    let tests = unit_test::document(journey, &header);
    if options.target == Target::Prometheus {
        artifacts.push(file(TESTS, tests));
    } else {
        // promtool reads no objects of Kubernetes, and kubectl no files of promtool: both stand in a folder of their own.
        artifacts.push(file(PLAIN_ALERTS, rule::document("", &header, &alerts, Target::Prometheus)));
        artifacts.push(file(PLAIN_TESTS, tests));
    }
    if let Some(template) = argo::template(journey, &header, &options.address) {
        artifacts.push(file(TEMPLATE, template));
        artifacts.push(file(ROLLOUT, argo::rollout(journey, &header)));
    }
    artifacts.push(file(DASHBOARD, dashboard::document(journey)));
    let paths: Vec<String> = artifacts.iter().map(|artifact| artifact.path.clone()).collect();
    let report = report::Report::new(journey, derivation, &paths);
    if let Some(text) = policy_text::markdown(&report) {
        artifacts.push(file(POLICY_TEXT, text));
    }
    let mut text = String::with_capacity(1 << 15);
    report.write(&header, &mut text);
    artifacts.push(file(REPORT, text));
    artifacts.push(file(REPORT_TEXT, report_text::markdown(&report)));
    artifacts
}

/// What is the same for every journey: guards on emac itself.
#[must_use]
pub fn shared_artifacts(options: &Options) -> Vec<Artifact> {
    process_guard::artifacts(options.target)
}

const RECORDING: &str = "prometheus/recording-rules.yaml";
const ALERTS: &str = "prometheus/alerts.yaml";
const EVALUATOR_GUARDS: &str = "prometheus/evaluator-guards.yaml";
const TESTS: &str = "prometheus/tests.yaml";
const PLAIN_ALERTS: &str = "promtool/alerts.yaml";
const PLAIN_TESTS: &str = "promtool/tests.yaml";
const TEMPLATE: &str = "argo/analysis-template.yaml";
const ROLLOUT: &str = "argo/rollout-snippet.yaml";
const DASHBOARD: &str = "grafana/dashboard.json";
const POLICY_TEXT: &str = "report/alerts.md";
const REPORT: &str = "report/derivation.yaml";
const REPORT_TEXT: &str = "report/derivation.md";
