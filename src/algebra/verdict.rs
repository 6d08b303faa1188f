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
            misses.push(clause + &dominant_by(composition, |share| share.budget_share, "unavailability"));
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
            missing.push(format!("{} ({})", component.name, reasons.join(", ")));
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
        (*used && !measured(index)).then(|| format!("{} (no latency)", journey.components[index].name))
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

fn dominant_by(
    composition: &Composition,
    share: impl Fn(&super::composition::ComponentShare) -> f64,
    of: &str,
) -> String {
    let greatest = composition.components.iter().max_by(|a, b| share(a).total_cmp(&share(b)));
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
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::algebra::composition::{
        Bounded, ComponentShare, Interval, LatencyQuantile, NodeResult, SuccessCurve,
    };
    use crate::distribution::histogram::ClassicHistogram;
    use crate::journey::component::{Component, ComponentKind, LatencyScope};
    use crate::journey::evidence::{ComponentEvidence, Counts};
    use crate::journey::governance::{BucketError, BurnRatePolicy, Dependence, Governance};
    use crate::journey::objective::{AvailabilityObjective, LatencyObjective, Objectives};
    use crate::journey::operator::{Branch, ParameterId};
    use crate::unit::{Quantile, Window};

    fn p(value: f64) -> Probability {
        Probability::new(value).unwrap()
    }

    fn window(text: &str) -> Window {
        text.parse().unwrap()
    }

    /// A series of `a` and `b`, and `c` that nobody calls; 99 % available, p99 within 400 ms.
    fn journey() -> Journey {
        let component = |name: &str| Component {
            name: name.to_owned(),
            kind: ComponentKind::Service,
            atomic_slo_ref: None,
            contract: None,
            domains: Vec::new(),
            telemetry: None,
            scope: LatencyScope::Exclusive,
        };
        Journey {
            name: "checkout".to_owned(),
            labels: Vec::new(),
            objectives: Objectives {
                availability: Some(AvailabilityObjective {
                    window: window("30d"),
                    target: p(0.99),
                    observed: None,
                }),
                latency: Some(LatencyObjective {
                    window: window("30d"),
                    quantile: Quantile::new(0.99).unwrap(),
                    threshold: Seconds::new(0.4).unwrap(),
                    observed: None,
                }),
            },
            windows: ["5m", "30m", "1h"].map(window).to_vec(),
            quantiles: vec![Quantile::new(0.99).unwrap()],
            latency_buckets: Vec::new(),
            operator: Operator::Series(vec![
                Operator::Component(ComponentId(0)),
                Operator::Component(ComponentId(1)),
            ]),
            components: ["a", "b", "c"].map(component).to_vec(),
            domains: Vec::new(),
            parameters: Vec::new(),
            governance: Governance {
                evaluation_mode: EvaluationMode::Conservative,
                dependence: Dependence::SharedFate,
                bucket_error: BucketError::Bound,
                confidence: p(0.95),
                min_model_confidence: p(0.5),
                burn_rate_policy: BurnRatePolicy {
                    budget_window: window("30d"),
                    page: Vec::new(),
                    ticket: Vec::new(),
                },
                rollout_gate: None,
            },
            digest: String::new(),
        }
    }

    fn counted() -> ComponentEvidence {
        let latency = ClassicHistogram::new(vec![0.1], vec![999.0, 999.0]).unwrap();
        let counts = Counts::new(1000.0, 999.0, Some(latency), None).unwrap();
        ComponentEvidence::measured(Measurement::Counts(counts))
    }

    fn figure() -> ComponentEvidence {
        ComponentEvidence::measured(Measurement::Figure(p(0.999)))
    }

    fn evidence(a: ComponentEvidence, b: ComponentEvidence) -> Evidence {
        let unused = ComponentEvidence::vacuous(Reason::Absent);
        Evidence { window: window("5m"), time: None, components: vec![a, b, unused], parameters: Vec::new() }
    }

    fn bounded<T>([pessimistic, estimate, optimistic]: [T; 3]) -> Bounded<T> {
        Bounded { estimate, pessimistic, optimistic }
    }

    /// Pessimistic, estimate, optimistic.
    fn composition(availability: [f64; 3], p99: [f64; 3]) -> Composition {
        let availability = bounded(availability.map(p));
        let share = |name: &str, share: f64| ComponentShare {
            name: name.to_owned(),
            availability,
            sensitivity: 1.0,
            budget_share: share,
            latency_share: 1.0 - share,
        };
        let curve = SuccessCurve { times: Vec::new(), within: Vec::new(), ever: Probability::ONE };
        Composition {
            availability,
            availability_by_dependence: BTreeMap::from([(
                Dependence::Independent,
                Interval { lower: p(0.0), upper: p(1.0) },
            )]),
            latency: vec![LatencyQuantile {
                quantile: Quantile::new(0.99).unwrap(),
                value: bounded(p99.map(|t| Seconds::new(t).unwrap())),
                by_dependence: BTreeMap::new(),
            }],
            curves: bounded([curve.clone(), curve.clone(), curve]),
            root: NodeResult {
                label: "Series".to_owned(),
                keyword: "series",
                formula: "",
                availability,
                by_dependence: BTreeMap::new(),
                latency_estimate: Seconds::ZERO,
                children: Vec::new(),
            },
            components: vec![share("a", 0.2), share("b", 0.7), share("c", 0.1)],
            domains: Vec::new(),
            warnings: Vec::new(),
        }
    }

    const GOOD: [f64; 3] = [0.995, 0.997, 0.999];
    const FAST: [f64; 3] = [0.39, 0.3, 0.2];

    fn verdict(evidence: &Evidence, availability: [f64; 3], p99: [f64; 3]) -> Judgement {
        judge(&journey(), evidence, &composition(availability, p99))
    }

    #[test]
    fn bounds_that_meet_their_objectives_pass_and_say_so() {
        let judgement = verdict(&evidence(counted(), counted()), GOOD, FAST);
        assert_eq!(judgement.verdict, Verdict::Pass);
        assert_eq!(
            judgement.reason,
            "pessimistic availability 99.5 % meets the objective 99 %; \
             pessimistic p99 390ms meets the objective 400ms"
        );
    }

    #[test]
    fn a_bound_at_its_objective_meets_it() {
        let at = verdict(&evidence(counted(), counted()), [0.99, 0.99, 0.99], [0.4, 0.4, 0.4]);
        assert_eq!(at.verdict, Verdict::Pass);
    }

    #[test]
    fn a_pessimistic_miss_blocks_and_names_bound_objective_and_dominant_component() {
        let judgement = verdict(&evidence(counted(), counted()), [0.98, 0.997, 0.999], FAST);
        assert_eq!(judgement.verdict, Verdict::Block);
        assert_eq!(
            judgement.reason,
            "pessimistic availability 98 % is below the objective 99 % (dominant: b, 70 % of the unavailability)"
        );
        let judgement = verdict(&evidence(counted(), counted()), GOOD, [f64::INFINITY, 0.3, 0.2]);
        assert_eq!(judgement.verdict, Verdict::Block);
        assert_eq!(
            judgement.reason,
            "pessimistic p99 +Inf exceeds the objective 400ms (dominant: c, 90 % of the latency)"
        );
    }

    #[test]
    fn a_narrow_miss_shows_the_digits_that_miss() {
        let text = |bound, target| percentages(bound, target).0;
        assert_eq!(text(0.992_514_49, 0.995), "99.251 %");
        assert_eq!(text(0.994_999_9, 0.995), "99.49999 %");
        assert_eq!(text(0.5, 0.5), "50 %");
        assert_eq!(text(1.0, 0.999), "100 %");
    }

    #[test]
    fn a_permissive_policy_blocks_only_where_the_optimistic_bound_misses() {
        let mut journey = journey();
        journey.governance.evaluation_mode = EvaluationMode::Permissive;
        let evidence = evidence(counted(), counted());
        let of = |availability, p99| judge(&journey, &evidence, &composition(availability, p99)).verdict;
        assert_eq!(of([0.1, 0.5, 0.999], [f64::INFINITY, 2.0, 0.4]), Verdict::Pass);
        assert_eq!(of([0.1, 0.5, 0.9], FAST), Verdict::Block);
        assert_eq!(of(GOOD, [3.0, 2.0, 0.41]), Verdict::Block);
    }

    #[test]
    fn missing_evidence_asks_for_a_review_before_anything_is_compared() {
        let mut flawed = counted();
        flawed.reasons = vec![Reason::Partial];
        let nothing =
            ComponentEvidence { measurement: Measurement::Vacuous, reasons: Vec::new(), from_window: None };
        for (component, reason) in [
            (ComponentEvidence::vacuous(Reason::NoTraffic), "evidence is missing: b (no_traffic)"),
            (flawed, "evidence is missing: b (partial)"),
            (nothing, "evidence is missing: b (nothing measured)"),
        ] {
            for availability in [GOOD, [0.0, 0.0, 0.0]] {
                let judgement = verdict(&evidence(counted(), component.clone()), availability, FAST);
                assert_eq!((judgement.verdict, judgement.reason.as_str()), (Verdict::Review, reason));
            }
        }
    }

    #[test]
    fn evidence_of_one_interval_ago_and_a_measured_overflow_are_judged() {
        let mut aged = counted();
        aged.reasons = vec![Reason::Stale, Reason::OverflowBucket];
        assert_eq!(verdict(&evidence(aged, counted()), GOOD, FAST).verdict, Verdict::Pass);
    }

    #[test]
    fn figures_suffice_for_availability_alone() {
        let figures = evidence(figure(), counted());
        let judgement = verdict(&figures, [0.98, 0.997, 0.999], FAST);
        assert_eq!(judgement.verdict, Verdict::Block, "a known miss of availability needs no latency");
        let judgement = verdict(&figures, GOOD, FAST);
        assert_eq!(judgement.verdict, Verdict::Review);
        assert_eq!(judgement.reason, "the latency objective lacks evidence: a (no latency)");

        let mut journey = journey();
        journey.objectives.latency = None;
        assert_eq!(judge(&journey, &figures, &composition(GOOD, FAST)).verdict, Verdict::Pass);
    }

    #[test]
    fn a_probability_that_nobody_measured_asks_for_a_review() {
        let mut journey = journey();
        journey.parameters = vec![crate::journey::Parameter {
            name: "p_hit".to_owned(),
            value: None,
            promql: Some("cache_hits".to_owned()),
        }];
        let branch = |probability, id| Branch { probability, body: Operator::Component(ComponentId(id)) };
        journey.operator = Operator::Cond(vec![
            branch(BranchProbability::Parameter(ParameterId(0)), 0),
            branch(BranchProbability::Remainder, 1),
        ]);
        let mut evidence = evidence(counted(), counted());
        evidence.parameters = vec![None];
        let judgement = judge(&journey, &evidence, &composition(GOOD, FAST));
        assert_eq!(judgement.verdict, Verdict::Review);
        assert_eq!(judgement.reason, "evidence is missing: parameter p_hit (unknown)");
        evidence.parameters = vec![Some(0.8)];
        assert_eq!(judge(&journey, &evidence, &composition(GOOD, FAST)).verdict, Verdict::Pass);
    }

    #[test]
    fn a_journey_without_objectives_is_never_passed() {
        let mut journey = journey();
        journey.objectives = Objectives::default();
        let judgement = judge(&journey, &evidence(counted(), counted()), &composition(GOOD, FAST));
        assert_eq!(judgement.verdict, Verdict::Review);
    }

    #[test]
    fn each_step_of_the_ladder_lowers_the_confidence_of_the_whole() {
        let mut longer = counted();
        longer.from_window = Some(window("1h"));
        let confidence = |b| model_confidence(&journey(), &evidence(counted(), b)).get();
        assert_eq!(confidence(counted()), 1.0);
        assert!((confidence(longer.clone()) - 0.64).abs() < 1e-12, "5m to 30m to 1h are two steps");
        assert_eq!(confidence(ComponentEvidence::vacuous(Reason::Absent)), 0.0);

        let mut journey = journey();
        journey.governance.min_model_confidence = p(0.7);
        let judgement = judge(&journey, &evidence(counted(), longer), &composition(GOOD, FAST));
        assert_eq!(judgement.verdict, Verdict::Review);
    }
}
