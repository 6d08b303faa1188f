//! Guards on emac itself: the same for every journey, in a folder that no journey can be called.
//!
//! What is alerted on here makes every number of a process doubtful, so it must not be asked through emac: a Prometheus that
//! scrapes emac's own `/metrics` evaluates it, whichever way its other rules see journeys.

use super::rule::{self, Group, Rule};
use super::{Artifact, Target, provenance};

/// No journey's name begins so.
const FOLDER: &str = "_emac";
const RULES: &str = "evaluator-guards.yaml";
/// They name the rules beside them.
const TESTS: &str = include_str!("process_guard.test.yaml");

/// The files, in a fixed order.
pub(crate) fn artifacts(target: Target) -> Vec<Artifact> {
    let header = format!(
        "# {} {}, the same for every spec: for a Prometheus that scrapes emac's own /metrics.\n",
        provenance::MARK,
        env!("CARGO_PKG_VERSION")
    );
    let rules = |folder: &str, target: Target| {
        let text = rule::document("emac-process-guards", &header, &[group()], target);
        Artifact { path: format!("{FOLDER}/{folder}/{RULES}"), text }
    };
    let tests = |folder: &str| Artifact {
        path: format!("{FOLDER}/{folder}/tests.yaml"),
        text: format!("{header}{TESTS}"),
    };
    match target {
        Target::Prometheus => vec![rules("prometheus", target), tests("prometheus")],
        Target::Operator | Target::Vm => {
            vec![rules("prometheus", target), rules("promtool", Target::Prometheus), tests("promtool")]
        }
    }
}

fn group() -> Group {
    let alert =
        |name, severity: &str, expr: &str, hold_minutes, keep_minutes, [summary, description]: [&str; 2]| {
            Rule::Alert {
                name,
                expr: expr.to_owned(),
                hold_minutes,
                keep_minutes,
                labels: [("severity", severity), ("tier", "guard")]
                    .map(|(key, value)| (key.into(), value.to_owned()))
                    .to_vec(),
                annotations: vec![("summary", summary.to_owned()), ("description", description.to_owned())],
            }
        };
    let rules = vec![
        // The counter knows of a failure between two scrapes. Once is enough: a check is right or wrong.
        alert(
            "JourneySelfCheckFails",
            "page",
            "min by (job, instance) (emac_self_check_successful) == 0\nor\n\
             sum by (job, instance) (increase(emac_self_check_failures_total[10m])) > 0",
            0,
            15,
            [
                "{{ $labels.instance }} computes a journey whose answer is known, and gets it wrong.",
                "Do not trust any number of this process: its build, its machine or its memory is faulty. Take it out of \
                 service, and look for `self-check` in its log, which says what was found and what is right.",
            ],
        ),
        alert(
            "JourneySelfCheckMissing",
            "page",
            "max by (job, instance) (emac_build_info) unless on (job, instance) emac_self_check_successful",
            2,
            0,
            [
                "{{ $labels.instance }} says nothing about its self-check.",
                "The process runs, but no check has ended: whether its numbers are right is not known. Its log says more.",
            ],
        ),
        alert(
            "JourneyModelNotReloaded",
            "ticket",
            "max by (job, instance) (emac_model_last_reload_successful) == 0",
            15,
            0,
            [
                "{{ $labels.instance }} evaluates an older model than its files say.",
                "The last reload failed, and the last good model answers. Its log holds the diagnostics; since when, says \
                 emac_model_last_reload_timestamp_seconds.",
            ],
        ),
    ];
    Group { name: "emac.process".to_owned(), rules }
}
