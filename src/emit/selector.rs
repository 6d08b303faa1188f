//! PromQL over a journey's synthetic series, written in one place.
//!
//! Every expression aggregates by the labels that carry meaning: a scrape adds `job` and `instance`, and several
//! replicas of emac answer at once. Then the side that hurts is taken.

use super::tier::{Budget, Tier};
use crate::journey::Journey;
use crate::synthetic::catalog;
use crate::unit::Window;

pub(crate) fn pessimistic(budget: Budget) -> &'static str {
    match budget {
        Budget::Availability => catalog::ERROR_BUDGET_BURN_RATE_PESSIMISTIC,
        Budget::Latency => catalog::LATENCY_BUDGET_BURN_RATE_PESSIMISTIC,
    }
}

pub(crate) fn proven(budget: Budget) -> &'static str {
    match budget {
        Budget::Availability => catalog::ERROR_BUDGET_BURN_RATE_LOWER_CONFIDENCE,
        Budget::Latency => catalog::LATENCY_BUDGET_BURN_RATE_LOWER_CONFIDENCE,
    }
}

/// `name{journey="…"…}`, its further matchers in parts, commas included: a compiled file holds hundreds.
pub(crate) fn selector(name: &str, journey: &Journey, more: &[&str]) -> String {
    let lengths: usize = more.iter().map(|part| part.len()).sum();
    let mut text = String::with_capacity(name.len() + journey.name.len() + lengths + "{journey=\"\"}".len());
    for part in [name, "{journey=\"", &journey.name, "\""].iter().chain(more) {
        text.push_str(part);
    }
    text.push('}');
    text
}

/// A matcher of what is of all traffic, where there are variants; behind a comma.
fn whole(journey: &Journey) -> &'static str {
    if journey.variants.is_empty() { "" } else { ",variant=\"\"" }
}

/// A selector with further matchers as written: of all traffic, not of one variant.
pub(crate) fn series(name: &str, journey: &Journey, more: &str) -> String {
    selector(name, journey, &[whole(journey), if more.is_empty() { "" } else { "," }, more])
}

/// The same of one variant, or of all traffic where there is none.
pub(crate) fn of_variant(name: &str, journey: &Journey, variant: Option<&str>, more: &str) -> String {
    let Some(variant) = variant else { return series(name, journey, more) };
    let comma = if more.is_empty() { "" } else { "," };
    selector(name, journey, &[",variant=\"", variant, "\"", comma, more])
}

/// The same of all traffic over one window.
pub(crate) fn over(name: &str, journey: &Journey, window: &str) -> String {
    selector(name, journey, &[whole(journey), ",window=\"", window, "\""])
}

/// The labels by which numbers of a journey are kept apart: variants too, where it has any.
pub(crate) fn identity(journey: &Journey) -> &'static str {
    if journey.variants.is_empty() { "journey" } else { "journey, variant" }
}

/// The same series of every variant.
pub(crate) fn of_any_variant(name: &str, journey: &Journey) -> String {
    selector(name, journey, &[])
}

/// A regular expression of these windows.
pub(crate) fn any_of(windows: &[Window]) -> String {
    windows.iter().map(ToString::to_string).collect::<Vec<_>>().join("|")
}

/// The pessimistic reading burns faster than `rate` in both windows, and the samples prove that budget burns at all. Each
/// condition stands behind `lead`.
pub(crate) fn burning(journey: &Journey, budget: Budget, tier: &Tier, rate: f64, lead: &str) -> String {
    let rate = super::decimal::exact(rate);
    let mut text = String::with_capacity(512);
    let mut worst = |name: &str, window: &str, above: &str, end: &str| {
        let selector = over(name, journey, window);
        for part in [lead, "max by (journey) (", &selector, ") > ", above, end] {
            text.push_str(part);
        }
    };
    let and = format!("\n{lead}and\n");
    worst(pessimistic(budget), &tier.long_text, &rate, &and);
    worst(pessimistic(budget), &tier.short_text, &rate, &and);
    worst(proven(budget), &tier.long_text, "1", "");
    text
}

/// The model is there, but not every burn rate that the tiers read is there as a number. (NaN fails `>= 0`.)
pub(crate) fn incomplete(journey: &Journey, budgets: &[Budget], all: &[Window], long: &[Window]) -> String {
    let mut complete = Vec::new();
    for &budget in budgets {
        for (name, windows) in [(pessimistic(budget), all), (proven(budget), long)] {
            let selector = series(name, journey, &format!("window=~\"{}\"", any_of(windows)));
            complete.push(format!(
                "  count by (journey) (max by (journey, window) ({selector}) >= 0) == {}",
                windows.len()
            ));
        }
    }
    format!(
        "max by (journey) ({})\nunless on (journey) (\n{}\n)",
        series(catalog::MODEL_INFO, journey, ""),
        complete.join("\n  and on (journey)\n")
    )
}
