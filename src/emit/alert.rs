//! Alerts on burning budgets, one a tier and budget, and on the contributors that dominate.

use super::rule::{Group, Labels, Rule};
use super::selector::{burning, over};
use super::tier::{Budget, Tier, tiers};
use crate::journey::Journey;
use crate::journey::domain::DomainId;
use crate::synthetic::catalog;

/// The share of the journey's unavailability above which a contributor dominates.
pub(crate) const DOMINANT_SHARE: &str = "0.5";
/// What the contributors' alerts are called.
pub(crate) const COMPONENT_ALERT: &str = "JourneyComponentDominates";
pub(crate) const DOMAIN_ALERT: &str = "JourneyFailureDomainDominates";

pub(crate) fn group(journey: &Journey) -> Group {
    let tiers = tiers(journey);
    let mut rules = Vec::new();
    for tier in &tiers {
        for budget in Budget::of(journey) {
            rules.push(tier_rule(journey, budget, tier));
        }
    }
    if journey.objectives.availability.is_some() && !tiers.is_empty() {
        if journey.components.len() > 1 {
            rules.push(contributor(journey, &tiers, "component"));
        }
        if shared_domains(journey) {
            rules.push(contributor(journey, &tiers, "domain"));
        }
    }
    Group { name: format!("emac.{}.alerts", journey.name), rules }
}

/// Whether any failure domain holds more than one component.
pub(crate) fn shared_domains(journey: &Journey) -> bool {
    (0..journey.domains.len()).any(|domain| {
        let members = journey.components.iter().filter(|c| c.domains.contains(&DomainId(domain)));
        members.count() > 1
    })
}

/// Labels for routing: the journey's own where Prometheus accepts their names, then ours, which win.
pub(crate) fn labels(journey: &Journey, severity: &str, tier: &str) -> Labels {
    let legal = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && !name.starts_with("__")
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !["alertname", "component", "domain", "journey", "severity", "tier", "variant", "window"]
                .contains(&name)
    };
    let own = journey.labels.iter().filter(|(name, _)| legal(name));
    let mut labels: Labels = own.map(|(name, value)| (name.clone().into(), value.clone())).collect();
    labels.sort();
    labels.dedup_by(|a, b| a.0 == b.0);
    labels.push(("severity".into(), severity.to_owned()));
    labels.push(("tier".into(), tier.to_owned()));
    labels
}

/// Links that the policy gives, at the end of an alert's annotations.
pub(crate) fn links(journey: &Journey) -> Vec<(&'static str, String)> {
    let policy = &journey.governance.burn_rate_policy;
    let runbook = policy.links.runbook_url.clone().map(|url| ("runbook_url", url));
    let dashboard = policy.links.dashboard_url.clone().map(|url| ("dashboard_url", url));
    runbook.into_iter().chain(dashboard).collect()
}

/// What a tier's alert says.
pub(crate) fn annotations(journey: &Journey, budget: Budget, tier: &Tier) -> Vec<(&'static str, String)> {
    let (summary, description, share) = match budget {
        Budget::Availability => (
            format!(
                "Journey {} burns its error budget too fast over {} and {}.",
                journey.name, tier.long_text, tier.short_text
            ),
            "The pessimistic bound of its availability is that low, and the samples prove that budget burns.",
            catalog::COMPONENT_BUDGET_SHARE,
        ),
        Budget::Latency => (
            format!(
                "Journey {} is slower than promised over {} and {}.",
                journey.name, tier.long_text, tier.short_text
            ),
            "The pessimistic share of slow successes is that high, and the samples prove that budget burns.",
            catalog::COMPONENT_LATENCY_SHARE,
        ),
    };
    let whole = if journey.variants.is_empty() { "" } else { ",variant=''" };
    let dominant = format!(
        "{{{{ with query \"topk(1, {share}{{journey='{}'{whole},window='{}'}})\" }}}}{{{{ . | first | label \"component\" }}}}\
         {{{{ else }}}}not known{{{{ end }}}}",
        journey.name, tier.long_text
    );
    let mut annotations =
        vec![("summary", summary), ("description", format!("{description} Dominant component: {dominant}."))];
    annotations.extend(links(journey));
    annotations
}

fn tier_rule(journey: &Journey, budget: Budget, tier: &Tier) -> Rule {
    Rule::Alert {
        name: budget.alert(),
        expr: burning(journey, budget, tier, tier.rate, ""),
        hold_minutes: tier.urgency.hold_minutes(),
        keep_minutes: tier.urgency.keep_minutes(),
        labels: labels(journey, &tier.severity, &tier.label),
        annotations: annotations(journey, budget, tier),
    }
}

/// Of a component or a failure domain: it accounts for most of the loss while some tier's windows burn beyond what lasts.
fn contributor(journey: &Journey, tiers: &[Tier], kind: &'static str) -> Rule {
    let (name, share) = match kind {
        "component" => (COMPONENT_ALERT, catalog::COMPONENT_BUDGET_SHARE),
        _ => (DOMAIN_ALERT, catalog::DOMAIN_BUDGET_SHARE),
    };
    let one = |tier: &Tier| {
        let condition = burning(journey, Budget::Availability, tier, 1.0, "  ");
        format!(
            "max by (journey, {kind}) ({}) > {DOMINANT_SHARE}\nand on (journey) (\n{condition}\n)",
            over(share, journey, &tier.long_text)
        )
    };
    let expr = tiers.iter().map(one).collect::<Vec<_>>().join(&format!("\nor on (journey, {kind})\n"));
    Rule::Alert {
        name,
        expr,
        hold_minutes: super::tier::Urgency::Page.hold_minutes(),
        keep_minutes: super::tier::Urgency::Page.keep_minutes(),
        labels: labels(journey, "info", "contributor"),
        annotations: contributor_annotations(journey, kind),
    }
}

/// What a contributor's alert says.
pub(crate) fn contributor_annotations(journey: &Journey, kind: &str) -> Vec<(&'static str, String)> {
    let what = if kind == "component" { "component" } else { "failure domain" };
    let mut annotations = vec![
        (
            "summary",
            format!("The {what} {{{{ $labels.{kind} }}}} dominates what journey {} loses.", journey.name),
        ),
        (
            "description",
            format!(
                "The journey burns budget faster than it lasts, and more than half of the loss is this {what}'s."
            ),
        ),
    ];
    annotations.extend(links(journey));
    annotations
}
