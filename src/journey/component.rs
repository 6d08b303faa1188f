//! Components: the services that a journey calls, and where their evidence comes from.

use std::fmt;

use super::domain::DomainId;
use crate::series::Matcher;
use crate::unit::Probability;

/// Index into [`super::Journey::components`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComponentId(pub usize);

/// Who operates a component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ComponentKind {
    /// Ours.
    #[default]
    Service,
    /// Someone else's.
    ExternalDependency,
}

/// The unit of a latency histogram's edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum LatencyUnit {
    /// The Prometheus convention.
    #[default]
    Seconds,
    /// As Istio and older OpenTelemetry metrics.
    Milliseconds,
}

/// How an upstream stores a histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum HistogramType {
    /// A series for each bucket, `<name>_bucket` with the label `le`.
    #[default]
    Classic,
    /// One series of samples that are histograms, with exponential buckets.
    Native,
}

impl HistogramType {
    /// The name of the series that hold the buckets of `metric`.
    #[must_use]
    pub fn series_name(self, metric: &str) -> String {
        match self {
            Self::Classic => format!("{metric}_bucket"),
            Self::Native => metric.to_owned(),
        }
    }
}

impl fmt::Display for HistogramType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Classic => "classic",
            Self::Native => "native",
        })
    }
}

impl LatencyUnit {
    /// What an edge is multiplied with to be in seconds.
    #[must_use]
    pub const fn in_seconds(self) -> f64 {
        match self {
            Self::Seconds => 1.0,
            Self::Milliseconds => 1e-3,
        }
    }
}

/// Whether a component's latency contains the calls that it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LatencyScope {
    /// Self time, or a client-side histogram of a leaf call.
    #[default]
    Exclusive,
    /// A server histogram of a caller: it includes its callees.
    Inclusive,
}

/// Where a component's evidence comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Telemetry {
    /// One histogram, split by status.
    Histogram {
        /// Its base name, without `_bucket`.
        metric: String,
        /// Which of its series are this component's.
        matchers: Vec<Matcher>,
        /// Which of those count as success; empty: all of them.
        success: Vec<Matcher>,
        /// The unit of its edges.
        unit: LatencyUnit,
        /// How it is stored.
        histogram_type: HistogramType,
    },
    /// Separate queries, with `{{window}}` or `{{ .window }}` for the window.
    Queries {
        /// Successful calls, one number.
        good: Option<String>,
        /// All calls, one number.
        total: Option<String>,
        /// Cumulative `le` buckets of the successes.
        latency: Option<String>,
        /// Cumulative `le` buckets of the failures.
        failure_latency: Option<String>,
        /// The unit of `le`.
        unit: LatencyUnit,
    },
    /// One query of the share of successes, 0…1: without counts there is no sampling error, and no latency.
    Ratio {
        /// It may hold `{{window}}`.
        query: String,
    },
}

/// One service as the journey sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Component {
    /// Its name within the journey: the value of the `component` label.
    pub name: String,
    /// Who operates it.
    pub kind: ComponentKind,
    /// Its atomic SLO (`openslo:<name>`), if any.
    pub atomic_slo_ref: Option<String>,
    /// The availability target of that SLO, where it resolved.
    pub contract: Option<Probability>,
    /// What it fails with, without repetition.
    pub domains: Vec<DomainId>,
    /// Where its evidence comes from; `None`: from an evidence file, or nowhere.
    pub telemetry: Option<Telemetry>,
    /// What its latency contains.
    pub scope: LatencyScope,
}

impl Component {
    /// A service of which nothing else is said: in no domain, with no telemetry, its latency its own.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: ComponentKind::Service,
            atomic_slo_ref: None,
            contract: None,
            domains: Vec::new(),
            telemetry: None,
            scope: LatencyScope::Exclusive,
        }
    }
}
