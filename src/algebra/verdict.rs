//! The verdict on a journey over one window: may automation go on (semantics §7)?
//!
//! Missing evidence comes before every comparison, since a bound over a vacuous component says nothing about the
//! journey: it would block for want of data, or worse, pass because the component hardly matters today. A static
//! figure suffices for the availability objective alone, so that a known miss of it blocks even where no latency is
//! measured; only then does the missing latency ask for a review.

use std::fmt;

use super::composition::{Composition, Side};
use crate::journey::Journey;
use crate::journey::component::ComponentId;
use crate::journey::evidence::{Evidence, Measurement, Reason};
use crate::journey::governance::EvaluationMode;
use crate::journey::operator::{BranchProbability, Operator};
use crate::unit::{Probability, Seconds};

/// A bound misses its objective only by more than this: the rounding of some thousand products of `f64`.
const ROUNDING: f64 = 1e-12;

/// What each step of the ladder for zero traffic (semantics §3) takes off the confidence: a convention.
const CONFIDENCE_PER_LADDER_STEP: f64 = 0.8;

/// What automation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Every objective is met by the bound that the policy names.
    Pass,
    /// An objective is missed.
    Block,
    /// A person must look: the evidence does not carry a verdict.
    Review,
}

impl Verdict {
    /// In the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Pass, Self::Block, Self::Review];

    /// The value of the `verdict` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Block => "block",
            Self::Review => "review",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A verdict and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// What automation may do.
    pub verdict: Verdict,
    /// One or more clauses that name the bound, the objective and the dominant component, or what is missing.
    pub reason: String,
}

/// Judges one window: review where evidence is missing, block where the policy's bound misses an objective, else pass.
///
/// `evidence` and `composition` are of the same journey. Components and parameters that the operator tree does not use
/// are ignored. A journey without objectives is never passed.
#[must_use]
pub fn judge(journey: &Journey, evidence: &Evidence, composition: &Composition) -> Judgement {
    let used = Used::by(journey);
    let missing = missing_evidence(journey, evidence, &used);
    if !missing.is_empty() {
        return Judgement { verdict: Verdict::Review, reason: listed("evidence is missing: ", &missing) };
    }
    let confidence = model_confidence(journey, evidence);
    let least = journey.governance.min_model_confidence;
    if confidence < least {
        let reason = format!("the confidence {} is below the least of {}", confidence.get(), least.get());
        return Judgement { verdict: Verdict::Review, reason };
    }

    let side = match journey.governance.evaluation_mode {
        EvaluationMode::Conservative => Side::Pessimistic,
        EvaluationMode::Permissive => Side::Optimistic,
    };
    let mut misses = Vec::new();
    let mut met = Vec::new();
    if let Some(objective) = &journey.objectives.availability {
        let bound = composition.availability.side(side).get();
        let target = objective.target.get();
        let missed = bound + ROUNDING < target;
        let (bound, target) = percentages(bound, target);
        let relation = if missed { "is below" } else { "meets" };
        let clause = format!("{side} availability {bound} {relation} the objective {target}");
        if missed {
            misses.push(clause + &dominant_in_availability(composition));
        } else {
            met.push(clause);
        }
    }
    let mut unmeasured = Vec::new();
    if let Some(objective) = &journey.objectives.latency {
        unmeasured = unmeasured_latency(journey, evidence, &used);
        match composition.latency.iter().find(|latency| latency.quantile == objective.quantile) {
            None => unmeasured.push(format!("the quantile {} was not computed", objective.quantile)),
            Some(latency) if unmeasured.is_empty() => {
                let bound = latency.value.side(side).get();
                let missed = bound > objective.threshold.get() * (1.0 + ROUNDING);
                let clause = format!(
                    "{side} {} {} {} the objective {}",
                    percentile(objective.quantile.get()),
                    rounded(*latency.value.side(side)),
                    if missed { "exceeds" } else { "meets" },
                    objective.threshold
                );
                if missed {
                    misses.push(clause + &dominant_by(composition, |share| share.latency_share, "latency"));
                } else {
                    met.push(clause);
                }
            }
            Some(_) => {}
        }
    }
    if !misses.is_empty() {
        Judgement { verdict: Verdict::Block, reason: misses.join("; ") }
    } else if !unmeasured.is_empty() {
        let reason = listed("the latency objective lacks evidence: ", &unmeasured);
        Judgement { verdict: Verdict::Review, reason }
    } else if met.is_empty() {
        Judgement { verdict: Verdict::Review, reason: "the journey declares no objective".to_owned() }
    } else {
        Judgement { verdict: Verdict::Pass, reason: met.join("; ") }
    }
}

/// How far the evidence carries the model, 0…1: that of the weakest component that the operator tree uses. 1 for
/// evidence of the window asked for, a factor 0.8 less for every step that the ladder for zero traffic went to a
/// longer declared window, 0 for none. It is not the level of the intervals.
#[must_use]
pub fn model_confidence(journey: &Journey, evidence: &Evidence) -> Probability {
    let used = Used::by(journey);
    let of = |(index, component): (usize, &crate::journey::evidence::ComponentEvidence)| {
        if !used.components.get(index).copied().unwrap_or(false) {
            return 1.0;
        }
        match (&component.measurement, component.from_window) {
            (Measurement::Vacuous, _) => 0.0,
            (_, None) => 1.0,
            (_, Some(from)) => {
                let between = |window: &&_| **window > evidence.window && **window <= from;
                let steps = journey.windows.iter().filter(between).count().max(1);
                CONFIDENCE_PER_LADDER_STEP.powi(i32::try_from(steps).unwrap_or(i32::MAX))
            }
        }
    };
    Probability::saturating(evidence.components.iter().enumerate().map(of).fold(1.0, f64::min))
}

/// Which components and parameters the operator tree uses.
struct Used {
    components: Vec<bool>,
    parameters: Vec<bool>,
}

impl Used {
    fn by(journey: &Journey) -> Self {
        let mut used = Self {
            components: vec![false; journey.components.len()],
            parameters: vec![false; journey.parameters.len()],
        };
        let mut pending = vec![&journey.operator];
        while let Some(operator) = pending.pop() {
            match operator {
                Operator::Component(ComponentId(index)) => {
                    if let Some(component) = used.components.get_mut(*index) {
                        *component = true;
                    }
                }
                Operator::Cond(branches) => {
                    for branch in branches {
                        if let BranchProbability::Parameter(id) = branch.probability
                            && let Some(parameter) = used.parameters.get_mut(id.0)
                        {
                            *parameter = true;
                        }
                    }
                }
                _ => {}
            }
            pending.extend(operator.children());
        }
        used
    }
}

/// Whether a flaw leaves too little behind for a verdict. `stale` is at most one interval old, `overflow_bucket` is a
/// measured `+Inf`, `model` and `retention` do not concern this window.
const fn undermines(reason: Reason) -> bool {
    match reason {
        Reason::Upstream
        | Reason::NoTraffic
        | Reason::Absent
        | Reason::Partial
        | Reason::Reset
        | Reason::Clock => true,
        Reason::Stale | Reason::OverflowBucket | Reason::Model | Reason::Retention => false,
    }
}

fn missing_evidence(journey: &Journey, evidence: &Evidence, used: &Used) -> Vec<String> {
    let mut missing = Vec::new();
    for ((component, used), index) in journey.components.iter().zip(&used.components).zip(0..) {
        if !used {
            continue;
        }
        let Some(found) = evidence.components.get(index) else {
            missing.push(format!("{} (absent)", component.name));
            continue;
        };
        let reasons: Vec<_> = found
            .reasons
            .iter()
            .filter(|reason| undermines(**reason))
            .map(|reason| reason.as_str())
            .collect();
        if !reasons.is_empty() {
            missing.push([&component.name, " (", &reasons.join(", "), ")"].concat());
        } else if found.measurement == Measurement::Vacuous {
            missing.push(format!("{} (nothing measured)", component.name));
        }
    }
    for ((parameter, used), index) in journey.parameters.iter().zip(&used.parameters).zip(0..) {
        let measured = evidence.parameters.get(index).copied().flatten();
        if *used && measured.is_none() {
            missing.push(format!("parameter {} (unknown)", parameter.name));
        }
    }
    missing
}

fn unmeasured_latency(journey: &Journey, evidence: &Evidence, used: &Used) -> Vec<String> {
    let measured = |index: usize| match evidence.components.get(index).map(|found| &found.measurement) {
        Some(Measurement::Counts(counts)) => counts.latency().is_some(),
        Some(Measurement::Figure(_) | Measurement::Vacuous) | None => false,
    };
    let without = |(index, used): (usize, &bool)| {
        (*used && !measured(index)).then(|| [&journey.components[index].name, " (no latency)"].concat())
    };
    used.components.iter().enumerate().filter_map(without).collect()
}

/// The first few items; a reason is read by people, in an alert.
fn listed(head: &str, items: &[String]) -> String {
    const SHOWN: usize = 5;
    let mut text = head.to_owned() + &items[..items.len().min(SHOWN)].join(", ");
    if items.len() > SHOWN {
        text += &format!(" and {} more", items.len() - SHOWN);
    }
    text
}

/// The component with the greatest share, and before it the failure domain, where sharing its fate costs more.
fn dominant_in_availability(composition: &Composition) -> String {
    let component = composition.components.iter().map(|share| share.budget_share).fold(0.0, f64::max);
    let domain = composition.domains.iter().max_by(|a, b| a.budget_share.total_cmp(&b.budget_share));
    let of_component = dominant_by(composition, |share| share.budget_share, "unavailability");
    match domain {
        Some(domain) if domain.budget_share > component => {
            let of_component = of_component.strip_prefix(" (dominant: ").unwrap_or(")");
            let separator = if of_component == ")" { "" } else { "; component " };
            format!(
                " (dominant: failure domain {}, {:.0} %{separator}{of_component}",
                domain.name,
                100.0 * domain.budget_share
            )
        }
        _ => of_component,
    }
}

fn dominant_by(
    composition: &Composition,
    share: impl Fn(&super::composition::ComponentShare) -> f64,
    of: &str,
) -> String {
    // The first of equals, as in the tables.
    let greatest = composition.components.iter().rev().max_by(|a, b| share(a).total_cmp(&share(b)));
    match greatest {
        Some(component) if share(component) > 0.0 => {
            format!(" (dominant: {}, {:.0} % of the {of})", component.name, 100.0 * share(component))
        }
        _ => String::new(),
    }
}

/// A bound and its objective as percentages, with as few decimals as tell them apart, but at least three significant
/// digits of what is missing to 100 %.
fn percentages(bound: f64, target: f64) -> (String, String) {
    const MOST: usize = 10;
    let text = |share: f64, places: usize| {
        let text = format!("{:.places$}", 100.0 * share);
        format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
    };
    let missing = (100.0 * (1.0 - target.max(bound))).max(1e-8);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 1…10 first")]
    let least = (2.0 - missing.log10().floor()).clamp(1.0, 10.0) as usize;
    let apart = |places: &usize| bound == target || text(bound, *places) != text(target, *places);
    let places = (least..=MOST).find(apart).unwrap_or(MOST);
    (text(bound, places), text(target, places))
}

/// To four significant digits, which is more than a bound can tell.
fn rounded(time: Seconds) -> Seconds {
    if !time.is_finite() || time.get() <= 0.0 {
        return time;
    }
    let scale = 10_f64.powf(3.0 - time.get().log10().floor());
    Seconds::new((time.get() * scale).round() / scale).unwrap_or(time)
}

/// `0.99` as `p99`.
fn percentile(level: f64) -> String {
    format!("p{}", (level * 1e10).round() / 1e8)
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests;
