//! Recording rules: the synthetic series copied into the TSDB, the journey as a label; and what was observed end to end.

use super::rule::{Group, Rule};
use super::selector::{identity, of_any_variant};
use super::tier::Budget;
use crate::journey::Journey;
use crate::spec::with_window;
use crate::synthetic::catalog;
use crate::unit::Window;

/// The window at which observed events are counted; longer ones are sums of it.
const OBSERVED: Window = Window::FIVE_MINUTES;

pub(crate) fn group(journey: &Journey) -> Group {
    let mut rules = observed(journey);
    let mut copy = |name: &str, by: &str, worst: &str, of: &str| {
        rules.push(Rule::Record {
            name: format!("journey:{name}"),
            expr: format!("{worst} by ({}{by}) ({})", identity(journey), of_any_variant(of, journey)),
            labels: Vec::new(),
        });
    };
    // The side that hurts, where several replicas answer.
    for (name, worst, of) in [
        ("availability:pessimistic", "min", catalog::AVAILABILITY_PESSIMISTIC),
        ("availability:estimate", "avg", catalog::AVAILABILITY_ESTIMATE),
        ("availability:optimistic", "max", catalog::AVAILABILITY_OPTIMISTIC),
    ] {
        copy(name, ", window", worst, of);
    }
    for (name, worst, of) in [
        ("latency_seconds:pessimistic", "max", catalog::LATENCY_PESSIMISTIC),
        ("latency_seconds:estimate", "avg", catalog::LATENCY_ESTIMATE),
        ("latency_seconds:optimistic", "min", catalog::LATENCY_OPTIMISTIC),
    ] {
        copy(name, ", window, quantile", worst, of);
    }
    for budget in Budget::of(journey) {
        let [pessimistic, estimate, proven] = match budget {
            Budget::Availability => [
                ("error_budget_burn_rate:pessimistic", catalog::ERROR_BUDGET_BURN_RATE_PESSIMISTIC),
                ("error_budget_burn_rate:estimate", catalog::ERROR_BUDGET_BURN_RATE_ESTIMATE),
                ("error_budget_burn_rate:lower_confidence", catalog::ERROR_BUDGET_BURN_RATE_LOWER_CONFIDENCE),
            ],
            Budget::Latency => [
                ("latency_budget_burn_rate:pessimistic", catalog::LATENCY_BUDGET_BURN_RATE_PESSIMISTIC),
                ("latency_budget_burn_rate:estimate", catalog::LATENCY_BUDGET_BURN_RATE_ESTIMATE),
                (
                    "latency_budget_burn_rate:lower_confidence",
                    catalog::LATENCY_BUDGET_BURN_RATE_LOWER_CONFIDENCE,
                ),
            ],
        };
        for ((name, of), worst) in [(pessimistic, "max"), (estimate, "avg"), (proven, "max")] {
            copy(name, ", window", worst, of);
        }
    }
    copy("gate", ", window, verdict", "min", catalog::GATE);
    copy("evidence_age_seconds", "", "max", catalog::EVIDENCE_AGE);
    Group { name: format!("emac.{}.records", journey.name), rules }
}

/// What was observed end to end: events a second, and the share of bad ones over each window as a ratio of sums, since an
/// average of ratios would weigh quiet hours like busy ones.
fn observed(journey: &Journey) -> Vec<Rule> {
    let Some((good, total)) = journey.objectives.availability.as_ref().and_then(|o| o.observed.as_ref())
    else {
        return Vec::new();
    };
    let label = |more: Option<Window>| {
        let mut labels = vec![("journey".into(), journey.name.clone())];
        labels.extend(more.map(|window| ("window".into(), window.to_string())));
        labels
    };
    let total = format!("sum({})", with_window(total.trim(), OBSERVED));
    // Where nothing succeeds the series of successes may be absent: that is 0, not "no data".
    let good = format!("sum({}) or\n{total} * 0", with_window(good.trim(), OBSERVED));
    let mut rules = vec![
        Rule::Record { name: "journey:observed_good:5m".to_owned(), expr: good, labels: label(None) },
        Rule::Record { name: "journey:observed_total:5m".to_owned(), expr: total, labels: label(None) },
    ];
    for &window in journey.windows.iter().filter(|window| **window >= OBSERVED) {
        let sum = |name: &str| {
            let selector = of_any_variant(&format!("journey:{name}:5m"), journey);
            if window == OBSERVED { selector } else { format!("sum_over_time({selector}[{window}])") }
        };
        rules.push(Rule::Record {
            name: "journey:observed_error_ratio".to_owned(),
            expr: format!("1 - {} / {}", sum("observed_good"), sum("observed_total")),
            labels: label(Some(window)),
        });
    }
    rules
}
