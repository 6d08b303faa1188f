//! Evidence: what telemetry says about each component of a journey over one window.

use crate::distribution::confidence::DesignEffect;
use crate::distribution::histogram::ClassicHistogram;
use crate::unit::{Probability, Timestamp, Window};

/// Why evidence is missing or bad: the `reason` label of `emac_journey_evidence_missing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reason {
    /// The upstream cannot be asked; the evidence is cached and not older than one interval.
    Stale,
    /// The upstream cannot be asked, or its answer cannot be used.
    Upstream,
    /// No calls in the window.
    NoTraffic,
    /// The series existed and are gone, or never existed.
    Absent,
    /// Buckets are missing or inconsistent, or only a part of the evidence arrived.
    Partial,
    /// The quantile's rank falls in the `+Inf` bucket.
    OverflowBucket,
    /// Fewer than two samples in the window after a reset.
    Reset,
    /// The spec on disk is invalid; the last good model answers.
    Model,
    /// The newest evidence is too old, or from the future.
    Clock,
    /// The upstream retains less than the SLO window.
    Retention,
}

impl Reason {
    /// Every reason, in the order of the documentation.
    pub const ALL: [Self; 10] = [
        Self::Stale,
        Self::Upstream,
        Self::NoTraffic,
        Self::Absent,
        Self::Partial,
        Self::OverflowBucket,
        Self::Reset,
        Self::Model,
        Self::Clock,
        Self::Retention,
    ];

    /// The value of the `reason` label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Upstream => "upstream",
            Self::NoTraffic => "no_traffic",
            Self::Absent => "absent",
            Self::Partial => "partial",
            Self::OverflowBucket => "overflow_bucket",
            Self::Reset => "reset",
            Self::Model => "model",
            Self::Clock => "clock",
            Self::Retention => "retention",
        }
    }
}

/// What was measured of a component.
#[derive(Debug, Clone, PartialEq)]
pub enum Measurement {
    /// Nothing: availability in [0, 1], latency in [0, ∞]. No evidence is not good evidence.
    Vacuous,
    /// An availability without counts: no latency, no sampling error.
    Figure(Probability),
    /// Counted calls.
    Counts(Counts),
}

/// Counted calls of one component over one window.
///
/// Invariants: `0 ≤ good ≤ total`, `total > 0`, all finite. Counts may be fractional (`increase` extrapolates).
#[derive(Debug, Clone, PartialEq)]
pub struct Counts {
    total: f64,
    good: f64,
    latency: Option<ClassicHistogram>,
    failure_latency: Option<ClassicHistogram>,
    design_effects: DesignEffects,
}

/// How much bursts take from the worth of counted calls; `None`: not known, taken as independent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct DesignEffects {
    /// As a sample of failures.
    pub failures: Option<DesignEffect>,
    /// As a sample of the time that successes take, at its slow end.
    pub latency: Option<DesignEffect>,
}

/// Why counts were refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("good = {good} and total = {total} are not counts with 0 ≤ good ≤ total and total > 0")]
pub struct CountsError {
    /// What was given as good.
    pub good: f64,
    /// What was given as total.
    pub total: f64,
}

impl Counts {
    /// Checks the invariants. `latency` is of the successes, `failure_latency` of the failures; their totals need
    /// not equal the counts (another instrument may have measured them), only their shapes are used.
    ///
    /// # Errors
    /// [`CountsError`].
    pub fn new(
        total: f64,
        good: f64,
        latency: Option<ClassicHistogram>,
        failure_latency: Option<ClassicHistogram>,
    ) -> Result<Self, CountsError> {
        if total.is_finite() && total > 0.0 && (0.0..=total).contains(&good) {
            Ok(Self { total, good, latency, failure_latency, design_effects: DesignEffects::default() })
        } else {
            Err(CountsError { good, total })
        }
    }

    /// Says what bursts take from the worth of the calls.
    pub const fn set_design_effects(&mut self, design_effects: DesignEffects) {
        self.design_effects = design_effects;
    }

    /// How much bursts take from the worth of the calls.
    #[must_use]
    pub const fn design_effects(&self) -> DesignEffects {
        self.design_effects
    }

    /// How many independent calls these are worth as a sample of failures.
    #[must_use]
    pub fn calls_for_failures(&self) -> f64 {
        self.design_effects.failures.unwrap_or(DesignEffect::NONE).effective(self.total)
    }

    /// How many independent calls these are worth as a sample of latencies.
    #[must_use]
    pub fn calls_for_latency(&self) -> f64 {
        self.design_effects.latency.unwrap_or(DesignEffect::NONE).effective(self.total)
    }

    /// All calls.
    #[must_use]
    pub const fn total(&self) -> f64 {
        self.total
    }

    /// Successful calls.
    #[must_use]
    pub const fn good(&self) -> f64 {
        self.good
    }

    /// The share of successes.
    #[must_use]
    pub fn availability(&self) -> Probability {
        Probability::saturating(self.good / self.total)
    }

    /// Latency of the successes.
    #[must_use]
    pub const fn latency(&self) -> Option<&ClassicHistogram> {
        self.latency.as_ref()
    }

    /// Latency of the failures.
    #[must_use]
    pub const fn failure_latency(&self) -> Option<&ClassicHistogram> {
        self.failure_latency.as_ref()
    }
}

/// Why nothing else can be supposed of a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuppositionError {
    /// There is no evidence of it.
    #[error("nothing was measured of it")]
    NothingMeasured,
    /// Another latency is supposed of what has none.
    #[error("its latency was not measured")]
    NoLatency,
}

/// The evidence of one component.
#[derive(Debug, Clone, PartialEq)]
pub struct ComponentEvidence {
    /// What was measured.
    pub measurement: Measurement,
    /// What is wrong with it; empty where nothing is.
    pub reasons: Vec<Reason>,
    /// The window that it comes from, where the ladder for zero traffic had to take a longer one.
    pub from_window: Option<Window>,
}

impl ComponentEvidence {
    /// Good evidence.
    #[must_use]
    pub const fn measured(measurement: Measurement) -> Self {
        Self { measurement, reasons: Vec::new(), from_window: None }
    }

    /// The same evidence, had so many of the calls succeeded and had they taken `slowdown` times as long (above 0 and
    /// finite). `None` in place of an availability: as many as did.
    ///
    /// # Errors
    /// Where nothing was measured that could be different.
    pub fn supposing(
        &self,
        availability: Option<Probability>,
        slowdown: f64,
    ) -> Result<Self, SuppositionError> {
        let measurement = match &self.measurement {
            Measurement::Vacuous => return Err(SuppositionError::NothingMeasured),
            Measurement::Figure(_) if slowdown != 1.0 => return Err(SuppositionError::NoLatency),
            Measurement::Figure(own) => Measurement::Figure(availability.unwrap_or(*own)),
            Measurement::Counts(counts) if slowdown != 1.0 && counts.latency.is_none() => {
                return Err(SuppositionError::NoLatency);
            }
            Measurement::Counts(counts) => {
                let slowed = |histogram: &Option<ClassicHistogram>| {
                    histogram.as_ref().map(|histogram| histogram.slowed(slowdown))
                };
                Measurement::Counts(Counts {
                    total: counts.total,
                    good: availability.map_or(counts.good, |availability| availability.get() * counts.total),
                    latency: slowed(&counts.latency),
                    failure_latency: slowed(&counts.failure_latency),
                    design_effects: counts.design_effects,
                })
            }
        };
        Ok(Self { measurement, reasons: self.reasons.clone(), from_window: self.from_window })
    }

    /// No evidence, and why.
    #[must_use]
    pub fn vacuous(reason: Reason) -> Self {
        Self { measurement: Measurement::Vacuous, reasons: vec![reason], from_window: None }
    }
}

/// The evidence of a journey over one window.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// What was summed over.
    pub window: Window,
    /// The window's end, where it is known (an evidence file need not say).
    pub time: Option<Timestamp>,
    /// One for each [`super::Journey::components`], in their order.
    pub components: Vec<ComponentEvidence>,
    /// One for each [`super::Journey::parameters`], in their order; `None`: unknown, any probability.
    pub parameters: Vec<Option<f64>>,
}

impl Evidence {
    /// What is known without any server: the contract of each component as a figure, and declared parameters. A component
    /// without a contract is vacuous.
    #[must_use]
    pub fn of_contracts(journey: &super::Journey) -> Self {
        let component = |component: &super::component::Component| match component.contract {
            Some(contract) => ComponentEvidence::measured(Measurement::Figure(contract)),
            None => ComponentEvidence::vacuous(Reason::Absent),
        };
        Self {
            window: journey.governance.burn_rate_policy.budget_window,
            time: None,
            components: journey.components.iter().map(component).collect(),
            parameters: journey.parameters.iter().map(|parameter| parameter.value).collect(),
        }
    }
}
