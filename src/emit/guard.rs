//! Guards: what fires where a signal is missing, so that silence is never read as health.
//!
//! Tiers test series that are there. A guard fires on absence, each within [`HOLD_MINUTES`], which is less than any tier's
//! alert is kept: a page whose signal vanishes does not resolve before the guard is there.

use super::Target;
use super::alert::{labels, links};
use super::rule::{Group, Rule};
use super::selector::{incomplete, series};
use super::tier::{Budget, Urgency, enabled, severity_of, tiers, windows};
use crate::journey::Journey;
use crate::synthetic::catalog;

/// How long a signal is missing before its guard fires.
pub(crate) const HOLD_MINUTES: u64 = 5;
/// The age beyond which evidence is old, in seconds.
pub(crate) const OLD_SECONDS: u64 = 120;
/// Reasons that leave a bound vacuous: the samples then prove nothing, and the tiers are silent.
pub(crate) const BLIND_REASONS: &str = "upstream|absent|partial|reset|clock";
/// Reasons to look into by day.
pub(crate) const WEAK_REASONS: &str = "no_traffic|stale|model|overflow_bucket";

pub(crate) const ABSENT: &str = "JourneyNotEvaluated";
pub(crate) const INCOMPLETE: &str = "JourneySignalIncomplete";
pub(crate) const OLD: &str = "JourneyEvidenceOld";
pub(crate) const MISSING: &str = "JourneyEvidenceMissing";
pub(crate) const WEAK: &str = "JourneyEvidenceWeak";
pub(crate) const EVALUATION: &str = "JourneyRulesFail";
pub(crate) const PROXY: &str = "JourneyProxyDown";

/// The severity of guards: that of the most urgent tier.
pub(crate) fn severity(journey: &Journey) -> String {
    let first = enabled(journey).next();
    first.map_or("page", |(_, word, tier)| severity_of(tier, word)).to_owned()
}

/// The severity of what can wait: that of the last tier.
pub(crate) fn weak_severity(journey: &Journey) -> String {
    let last = enabled(journey).filter(|(urgency, ..)| *urgency == Urgency::Ticket).last();
    last.map_or("ticket", |(_, word, tier)| severity_of(tier, word)).to_owned()
}

/// What a guard's alert says.
pub(crate) fn annotations(journey: &Journey, name: &str) -> Vec<(&'static str, String)> {
    let journey_name = &journey.name;
    let (summary, description) = match name {
        ABSENT => (
            format!("Journey {journey_name} is not evaluated."),
            "emac is down, is not asked, or has no valid model of it: the journey's alerts are silent.",
        ),
        INCOMPLETE => (
            format!("Journey {journey_name} lacks burn rates that its alerts read."),
            "A window's burn rate is missing or is no number: the tiers that read it are silent.",
        ),
        OLD => (
            format!("The evidence of journey {journey_name} is old."),
            "Nothing newer is known; its numbers tell of the past.",
        ),
        MISSING => (
            format!("Evidence of journey {journey_name} is missing or bad ({{{{ $labels.reason }}}})."),
            "Its bounds are wide or vacuous, and what the samples prove is less than what happens.",
        ),
        WEAK => (
            format!("Evidence of journey {journey_name} is weak ({{{{ $labels.reason }}}})."),
            "Its bounds are wider than they need be.",
        ),
        EVALUATION => (
            format!("Rules of journey {journey_name} cannot be evaluated."),
            "The evaluator gets errors instead of answers; alerts stay as they were.",
        ),
        _ => (
            "emac does not answer scrapes.".to_owned(),
            "While it is down, every rule on journeys is silent or fails.",
        ),
    };
    let mut annotations = vec![("summary", summary), ("description", description.to_owned())];
    annotations.extend(links(journey));
    annotations
}

pub(crate) fn group(journey: &Journey) -> Group {
    let guard = |name: &'static str, severity: String, expr: String| Rule::Alert {
        name,
        expr,
        hold_minutes: HOLD_MINUTES,
        keep_minutes: 0,
        labels: labels(journey, &severity, "guard"),
        annotations: annotations(journey, name),
    };
    let tiers = tiers(journey);
    let budgets = Budget::of(journey);
    let mut rules = vec![guard(
        ABSENT,
        severity(journey),
        format!("absent({})", series(catalog::MODEL_INFO, journey, "")),
    )];
    if !tiers.is_empty() && !budgets.is_empty() {
        let (all, long) = windows(&tiers);
        rules.push(guard(INCOMPLETE, severity(journey), incomplete(journey, &budgets, &all, &long)));
    }
    rules.push(guard(
        OLD,
        severity(journey),
        format!("max by (journey) ({}) > {OLD_SECONDS}", series(catalog::EVIDENCE_AGE, journey, "")),
    ));
    for (name, severity, reasons) in
        [(MISSING, severity(journey), BLIND_REASONS), (WEAK, weak_severity(journey), WEAK_REASONS)]
    {
        let selector = series(catalog::EVIDENCE_MISSING, journey, &format!("reason=~\"{reasons}\""));
        rules.push(guard(name, severity, format!("max by (journey, reason) ({selector}) == 1")));
    }
    Group { name: format!("emac.{}.guards", journey.name), rules }
}

/// Guards on the evaluator and on emac itself. An evaluator that queries emac's API gets an error when emac is gone, so
/// that an `absent` guard fails with the rest: these are to be evaluated against the storage, not through emac.
pub(crate) fn evaluator(journey: &Journey, target: Target) -> Group {
    let groups = format!("emac[.]{}[.].*", journey.name.replace('.', "[.]"));
    let failures = match target {
        Target::Vm => {
            // A state in older versions, a counter in newer ones.
            format!(
                "max by (group) (vmalert_alerting_rules_error{{group=~\"{groups}\"}}) > 0\nor\n\
                 sum by (group) (increase(vmalert_alerting_rules_errors_total{{group=~\"{groups}\"}}[5m])) > 0"
            )
        }
        Target::Prometheus | Target::Operator => {
            format!(
                "increase(prometheus_rule_evaluation_failures_total{{rule_group=~\".*;{groups}\"}}[5m]) > 0"
            )
        }
    };
    let guard = |name: &'static str, expr: String| Rule::Alert {
        name,
        expr,
        hold_minutes: 2,
        keep_minutes: 0,
        labels: labels(journey, &severity(journey), "guard"),
        annotations: annotations(journey, name),
    };
    Group {
        name: format!("emac.{}.evaluator", journey.name),
        rules: vec![
            guard(EVALUATION, failures),
            guard(PROXY, "max(up{job=\"emac\"}) == 0\nor\nabsent(up{job=\"emac\"})".to_owned()),
        ],
    }
}
