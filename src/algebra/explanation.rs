//! What a reader needs beside the numbers: names and formulas of nodes, contributions, warnings.

use super::availability::{self, Bounds};
use super::compose::Composer;
use super::composition::{ComponentShare, DomainShare, Warning};
use super::engine::Engine;
use super::leaf::Leaf;
use super::readout::{Conditional, bounded_probability};
use super::sensitivity;
use super::tree::{Kind, ParameterFlaw, Tree};
use crate::distribution::histogram::ClassicHistogram;
use crate::journey::Journey;
use crate::journey::domain::DomainId;
use crate::journey::evidence::{Evidence, Measurement};
use crate::journey::governance::{BucketError, Dependence};
use crate::journey::operator::{Backoff, Jitter};
use crate::unit::Seconds;

/// The quantile at which latency is explained: the objective's, or p99.
pub(crate) fn shown_quantile(journey: &Journey) -> f64 {
    journey.objectives.latency.as_ref().map_or(0.99, |objective| objective.quantile.get())
}

/// A node's label as the text form writes its head, its keyword, and the formula applied.
pub(crate) fn named(kind: &Kind, operands: usize, journey: &Journey) -> (String, &'static str, &'static str) {
    let time = |t: f64| Seconds::new(t).unwrap_or(Seconds::INFINITY).to_string();
    match kind {
        Kind::Leaf(component) => (journey.components[*component].name.clone(), "ref", ""),
        Kind::Series => ("Series".to_owned(), "series", "A = ∏ A_i, s = s_1 * … * s_n"),
        Kind::Parallel => ("Parallel".to_owned(), "parallel", "A = ∏ A_i, S(t) = ∏ S_i(t)"),
        Kind::Cond(weights) => {
            let shown = |(branch, p): (usize, &f64)| {
                if weights.free.contains(&branch) {
                    "?".to_owned()
                } else {
                    format!("{}", (p * 1e6).round() / 1e6)
                }
            };
            // As in the text form, the last probability is what the others leave.
            let last = operands.saturating_sub(1).max(1);
            let all: Vec<String> = weights.known.iter().take(last).enumerate().map(shown).collect();
            (format!("Cond({})", all.join(", ")), "cond", "A = Σ p_i A_i, S(t) = Σ p_i S_i(t)")
        }
        Kind::Race => ("Race".to_owned(), "race", "A = 1 − ∏(1−A_i), S(t) = 1 − ∏(1−S_i(t))"),
        Kind::KofN(k) => (format!("KofN({k})"), "kofn", "A = P(N ≥ k), S(t) = P(N(t) ≥ k)"),
        Kind::Timeout(after) if operands > 1 => {
            (format!("Timeout({})", time(*after)), "timeout", "A = q + (1−q) A_f, q = S_b(T)")
        }
        Kind::Timeout(after) => (format!("Timeout({})", time(*after)), "timeout", "A = q = S_b(T)"),
        Kind::Fallback => ("Fallback".to_owned(), "fallback", "A = A_1 + (1−A_1) A_2, s = s_1 + r_1 * s_2"),
        Kind::Retry { attempts, per_try, backoff, .. } => {
            let mut head = vec![attempts.to_string()];
            head.extend(per_try.map(time));
            head.extend(backoff.map(|backoff| waits(&backoff)));
            (format!("Retry({})", head.join(", ")), "retry", "A = 1 − (1−σ)^n, σ = S(T)")
        }
        Kind::Hedge(delay) => {
            (format!("Hedge({})", time(*delay)), "hedge", "S(t) = 1 − (1−S_a(t))(1−S_b(t−d))")
        }
        Kind::Optional(timeout) => {
            (format!("Optional({})", time(*timeout)), "optional", "A = 1, S(t) = S_b(t) + R_b(t) before T")
        }
        Kind::Repeat(counts) => {
            let label = match &counts[..] {
                [(count, _)] => format!("Repeat({count})"),
                _ => {
                    let mean: f64 = counts.iter().map(|&(count, p)| f64::from(count) * p).sum();
                    format!("Repeat(≈{})", (mean * 100.0).round() / 100.0)
                }
            };
            (label, "repeat", "A = Σ p_n A^n, s = Σ p_n s * … * s")
        }
    }
}

fn waits(backoff: &Backoff) -> String {
    let jitter = if backoff.jitter == Jitter::Full { " with full jitter" } else { "" };
    let growth = if backoff.factor > 1.0 { format!("×{}", backoff.factor) } else { String::new() };
    format!("{}{growth}{jitter}", backoff.base)
}

/// Two domains that meet below one anchor slow together in the scenarios.
pub(crate) fn shared_factor() -> Warning {
    Warning {
        code: "domains-share-a-factor",
        message: "Failure domains are interleaved in the tree: the latency scenarios let them slow together, which is \
                  more than their declarations say."
            .to_owned(),
    }
}

/// What the explanation is about.
pub(crate) struct Explained<'a> {
    pub(crate) journey: &'a Journey,
    pub(crate) evidence: &'a Evidence,
    pub(crate) tree: &'a Tree,
    pub(crate) leaves: &'a [Leaf],
    pub(crate) policy: &'a [Bounds],
    /// One-sided bounds of each component's own availability.
    pub(crate) components: &'a [Bounds],
}

impl Explained<'_> {
    /// The contributions of the components, in their order.
    pub(crate) fn components(
        &self,
        availability: &[Bounds],
        on_time: &[Option<Bounds>],
        composer: &mut Composer,
        estimate: &Conditional,
    ) -> Vec<ComponentShare> {
        let derivative = sensitivity::of_availability(self.tree, self.leaves.len(), availability, on_time);
        let mut engine = Engine { tree: self.tree, leaves: self.leaves, transforms: composer.transforms() };
        let q = shown_quantile(self.journey);
        let latency = if estimate.quantile(q).is_finite() {
            sensitivity::of_latency(&mut engine, estimate.end(), on_time, q)
        } else {
            vec![0.0; self.leaves.len()]
        };
        let unavailability = 1.0 - availability[self.tree.root()].lower;
        (0..self.leaves.len())
            .map(|component| {
                let leaf = &self.leaves[component];
                let bounds = self.components[component];
                let lost = (1.0 - leaf.availability) * derivative[component];
                ComponentShare {
                    name: self.journey.components[component].name.clone(),
                    availability: bounded_probability(leaf.availability, bounds.lower, bounds.upper),
                    sensitivity: derivative[component],
                    budget_share: share(lost, unavailability),
                    latency_share: latency[component],
                }
            })
            .collect()
    }

    /// The contributions of the failure domains, in their order.
    pub(crate) fn domains(&self, availability: &[Bounds], on_time: &[Option<Bounds>]) -> Vec<DomainShare> {
        let leaves: Vec<Bounds> = self.leaves.iter().map(|leaf| Bounds::exactly(leaf.availability)).collect();
        let root = self.tree.root();
        let fold = |leaves: &[Bounds], dependence| {
            // As many of a body's successes are on time as in the estimate.
            let on_time = |at: usize, below: &[Bounds]| {
                let body = self.tree.nodes[at].operands[0];
                let (all, timely) = (availability[body].lower, on_time[at].map(|bounds| bounds.lower));
                let share = timely.filter(|_| all > 0.0).map_or(1.0, |timely| timely / all);
                Bounds { lower: share * below[body].lower, upper: share * below[body].upper }
            };
            availability::fold(self.tree, leaves, on_time, dependence)[root].lower
        };
        let together = fold(&leaves, Dependence::SharedFate);
        let apart = fold(&leaves, Dependence::Independent);
        (0..self.journey.domains.len())
            .map(|domain| {
                let with = |value: f64| -> Vec<Bounds> {
                    let member = |component: usize| {
                        self.journey.components[component].domains.contains(&DomainId(domain))
                    };
                    let of = |component: usize| {
                        if member(component) { Bounds::exactly(value) } else { leaves[component] }
                    };
                    (0..leaves.len()).map(of).collect()
                };
                let never_failing = with(1.0);
                let best = fold(&never_failing, Dependence::Independent);
                let gained = fold(&never_failing, Dependence::SharedFate) - together;
                DomainShare {
                    name: self.journey.domains[domain].name.clone(),
                    sensitivity: best - fold(&with(0.0), Dependence::Independent),
                    budget_share: share(gained, 1.0 - together),
                    together_share: share(gained - (best - apart), 1.0 - together),
                }
            })
            .collect()
    }

    /// What a reader must know.
    pub(crate) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let mut warn = |code, message: String| warnings.push(Warning { code, message });
        let buckets = self.journey.governance.bucket_error;
        let failures_matter = self.tree.failure_times_matter();
        let unknown: Vec<&str> = (0..self.leaves.len())
            .filter(|&index| self.tree.occurrences[index] > 0 && self.leaves[index].vacuous)
            .map(|index| self.journey.components[index].name.as_str())
            .collect();
        if !unknown.is_empty() {
            warn(
                "no-evidence",
                format!(
                    "There is no evidence of {}: availability may be anything from 0 to 1 there and latency anything at \
                     all. The estimate takes it as failing.",
                    unknown.join(", ")
                ),
            );
        }
        for (index, leaf) in self.leaves.iter().enumerate() {
            let name = &self.journey.components[index].name;
            if self.tree.occurrences[index] == 0 || leaf.vacuous {
                continue;
            }
            if leaf.timeless && leaf.availability > 0.0 {
                warn(
                    "no-latency-evidence",
                    format!(
                        "The latency of {name} is not measured: no finite latency can be stated where it is needed."
                    ),
                );
            }
            if leaf.assumed_failure_time && failures_matter[index] {
                warn(
                    "assumed-failure-time",
                    format!(
                        "The time that {name} takes to fail is not measured: the estimate takes the last finite bucket \
                         edge for it, the bounds take it as unknown."
                    ),
                );
            }
            if let Measurement::Counts(counts) = &self.evidence.components[index].measurement
                && let Some(histogram) = counts.latency().filter(|histogram| histogram.total() > 0.0)
            {
                histogram_warnings(histogram, name, shown_quantile(self.journey), &mut warn);
            }
        }
        for flaw in &self.tree.flaws {
            let name = |index: usize| {
                self.journey.parameters.get(index).map_or_else(|| index.to_string(), |p| p.name.clone())
            };
            match flaw {
                ParameterFlaw::Unknown(index) => warn(
                    "unknown-parameter",
                    format!(
                        "The parameter {} has no value: the bounds take the worst and the best probability, the \
                         estimate the branch that succeeds least.",
                        name(*index)
                    ),
                ),
                ParameterFlaw::OutOfRange(index) => warn(
                    "parameter-out-of-range",
                    format!(
                        "The value of the parameter {} is no probability; it is taken as unknown.",
                        name(*index)
                    ),
                ),
                ParameterFlaw::Contradiction => warn(
                    "contradictory-parameters",
                    "The probabilities of a condition do not sum to 1; its parameters are taken as unknown."
                        .to_owned(),
                ),
            }
        }
        if self.journey.governance.dependence == Dependence::PaperEq1 {
            warn(
                "optimistic-dependence",
                "The policy paper_eq1 collapses a Series within a failure domain to its least available member, which \
                 is optimistic: its bounds are for comparison alone."
                    .to_owned(),
            );
        }
        if buckets == BucketError::Interpolate {
            warn(
                "interpolated-buckets",
                "The bounds interpolate within buckets: they do not cover the width of the buckets."
                    .to_owned(),
            );
        }
        let used = || (0..self.leaves.len()).filter(|&index| self.tree.occurrences[index] > 0);
        if used().count() > 1 {
            for (index, domain) in self.journey.domains.iter().enumerate() {
                let member =
                    |component: usize| self.journey.components[component].domains.contains(&DomainId(index));
                if used().all(member) {
                    warn(
                        "domain-holds-every-component",
                        format!(
                            "The failure domain {} holds every component of the journey: the bounds let all of them \
                             fail and slow together.",
                            domain.name
                        ),
                    );
                }
            }
        }
        let root = self.policy[self.tree.root()];
        if root.lower <= 0.0 && root.upper >= 1.0 {
            warn("vacuous-bounds", "The bounds of availability are 0 and 1: nothing is known.".to_owned());
        }
        warnings
    }
}

fn histogram_warnings(
    histogram: &ClassicHistogram,
    name: &str,
    q: f64,
    warn: &mut impl FnMut(&'static str, String),
) {
    let total = histogram.total();
    let counts = histogram.counts();
    let finite = counts.get(counts.len().wrapping_sub(2)).copied().unwrap_or(0.0);
    let overflow = 1.0 - finite / total;
    if overflow > 0.0 {
        let percent = (overflow * 1e4).round() / 1e2;
        warn(
            "overflow-bucket",
            format!(
                "{percent} % of the successes of {name} took longer than its last finite bucket edge ({} s): how long is \
                 not known, and no quantile above is finite.",
                histogram.last_edge()
            ),
        );
    }
    let occupied = counts.iter().scan(0.0, |before, &count| {
        let mass = count - *before;
        *before = count;
        Some(mass)
    });
    if occupied.filter(|&mass| mass > 0.0).count() == 1 {
        warn(
            "one-bucket",
            format!("All latencies of {name} lie in one bucket: the estimate is linear within it."),
        );
    }
    let first = counts.first().copied().unwrap_or(0.0);
    if first >= q * total && total > 0.0 {
        warn(
            "first-bucket-holds-quantile",
            format!(
                "The quantile {q} of {name} lies in its first bucket: below its edge the estimate is a guess."
            ),
        );
    }
}

fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (part / whole).clamp(0.0, 1.0) } else { 0.0 }
}
