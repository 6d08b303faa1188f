//! The records of a JourneyIntent: the language's fields, one by one.

use super::scalar::{
    ComponentName, Confidence, DomainName, Flag, Fraction, JourneyName, LabelWord, MatcherText, MetricName,
    ParameterName, Percentile, Positive, Prose, QuantileLevel, Query, SecondsOrDuration, SelectingLabel,
    Switch, Target, WebAddress, WindowText,
};
use super::step::{ExpressionText, Step};
use super::word::{
    ApiVersion, AvailabilityBound, BucketErrorWord, DependenceWord, DomainKind, DomainLatencyWord,
    HistogramTypeWord, JourneyKind, LatencyBound, Mode, Operated, PresetName, RolloutProvider, Scope, Unit,
};
use crate::document::decode::{At, List, NonEmpty, Placed, Table, record};
use crate::document::rule::Rule;

/// Labels compared, by name.
pub(crate) type Matchers = Table<SelectingLabel, At<MatcherText>>;

record! {
    /// A journey: what users want, how calls compose, what fails together, what automation may do.
    JourneyIntent (
        /// The version of the language.
        required At<ApiVersion> = "apiVersion",
        /// What the document is.
        required At<JourneyKind> = "kind",
    ) {
        /// Name and labels.
        required metadata: Metadata = "metadata",
        /// The model.
        required spec: Placed<JourneySpec> = "spec",
    }

    /// Name and labels.
    Metadata {
        /// The journey's name, the value of the label `journey`.
        required name: At<JourneyName> = "name",
        /// For people and for selecting journeys.
        optional labels: Table<Prose, At<Prose>> = "labels",
    }

    /// The model of a journey.
    JourneySpec [
        Rule::ExactlyOne(&["operator", "expression"])
    ] {
        /// What users are promised.
        optional objectives: ObjectivesRecord = "objectives",
        /// The windows evaluated; by default those of the burn-rate policy.
        optional windows: NonEmpty<At<WindowText>> = "windows",
        /// The latency quantiles evaluated beside the objective's; by default 0.5, 0.9, 0.99.
        optional quantiles: NonEmpty<At<QuantileLevel>> = "quantiles",
        /// The upper edges of the latency histogram; by default Prometheus' own. The objective's is always among them.
        optional latency_buckets: NonEmpty<At<SecondsOrDuration>> = "latencyBuckets",
        /// How calls compose, as a tree.
        optional operator: Step = "operator",
        /// How calls compose, as text: `Series(a, Race(b, c))`.
        optional expression: ExpressionText = "expression",
        /// Probabilities that branches refer to.
        optional parameters: Table<ParameterName, ParameterRecord> = "parameters",
        /// The services called. Where this is left out, every name in the operator is one, without telemetry.
        optional components: Table<ComponentName, ComponentRecord> = "components",
        /// Variants, such as a canary.
        optional variants: Table<JourneyName, VariantRecord> = "variants",
        /// What fails together.
        optional failure_domains: FailureDomains = "failureDomains",
        /// Where the model comes from.
        optional evidence: EvidenceSource = "evidence",
        /// What automation may do.
        optional governance: GovernanceRecord = "governance",
    }

    /// What users are promised.
    ObjectivesRecord {
        /// About success.
        optional availability: AvailabilityRecord = "availability",
        /// About the latency of successes.
        optional latency: LatencyRecord = "latency",
    }

    /// A promise about success.
    AvailabilityRecord {
        /// The period of the budget.
        required window: At<WindowText> = "window",
        /// The promised share of successes.
        required target: At<Target> = "target",
        /// What is observed end to end.
        optional sli: SliRecord = "sli",
    }

    /// What is observed end to end.
    SliRecord {
        /// The number of good events.
        required good: At<Query> = "goodEventQuery",
        /// The number of all events.
        required total: At<Query> = "totalEventQuery",
    }

    /// A promise about the latency of successes.
    LatencyRecord {
        /// The period of the budget.
        required window: At<WindowText> = "window",
        /// The quantile and its bound.
        required objective: LatencyBoundRecord = "objective",
        /// What is observed end to end.
        optional evidence: ObservedLatency = "evidence",
    }

    /// The quantile and its bound.
    LatencyBoundRecord {
        /// The quantile.
        required metric: At<Percentile> = "metric",
        /// What it may not exceed, in seconds or with a unit.
        required threshold: At<SecondsOrDuration> = "threshold",
    }

    /// What is observed end to end.
    ObservedLatency {
        /// The observed quantile.
        required promql: At<Query> = "promql",
    }

    /// A probability. Without a value and a query it is unknown until a model or an evidence file supplies it.
    ParameterRecord [
        Rule::AtMostOne(&["value", "promql"])
    ] {
        /// As declared.
        optional value: At<Fraction> = "value",
        /// As measured.
        optional promql: At<Query> = "promql",
    }

    /// A service as the journey sees it. Its evidence comes from `telemetry`, or from the same fields written here.
    ComponentRecord [
        Rule::AtMostOne(&["telemetry", "preset", "histogram", "good"]),
        Rule::AtMostOne(&["preset", "total"]), Rule::AtMostOne(&["histogram", "total"]),
        Rule::AtMostOne(&["telemetry", "matchers"]), Rule::AtMostOne(&["telemetry", "success"]),
        Rule::AtMostOne(&["telemetry", "unit"]), Rule::AtMostOne(&["telemetry", "histogramType"]), Rule::AtMostOne(&["good", "histogramType"]), Rule::AtMostOne(&["telemetry", "latency"]),
        Rule::AtMostOne(&["telemetry", "total"]), Rule::AtMostOne(&["telemetry", "failureLatency"]),
        Rule::AtMostOne(&["telemetry", "scope"]),
        Rule::AtMostOne(&["good", "matchers"]), Rule::AtMostOne(&["good", "success"]),
        Rule::AtMostOne(&["preset", "failureLatency"]), Rule::AtMostOne(&["histogram", "failureLatency"]),
        Rule::Needs("good", "total"), Rule::Needs("scope", "good"), Rule::Words { beside: &["preset", "histogram"], field: "latency", words: &["exclusive", "inclusive"] }, Rule::Needs("total", "good")
    ] {
        /// Who operates it.
        optional kind: At<Operated> = "kind",
        /// Its atomic SLO, such as openslo:slo.front.availability.
        optional atomic_slo_ref: At<Prose> = "atomicSLORef",
        /// What it fails with.
        optional failure_domains: List<At<DomainName>> = "failureDomains",
        /// Where its evidence comes from.
        optional telemetry: TelemetryRecord = "telemetry",
        /// A well-known instrumentation.
        optional preset: At<PresetName> = "preset",
        /// The base name of a histogram, without _bucket.
        optional histogram: At<MetricName> = "histogram",
        /// Which series are this component's.
        optional matchers: Matchers = "matchers",
        /// Which of the histogram's requests succeeded; without it, all of them.
        optional success: Matchers = "success",
        /// The unit of the histogram's edges.
        optional unit: At<Unit> = "unit",
        /// How the histogram is stored: classic (with le buckets, the default) or native.
        optional histogram_type: At<HistogramTypeWord> = "histogramType",
        /// A query of the number of successful calls.
        optional good: At<Query> = "good",
        /// A query of the number of all calls.
        optional total: At<Query> = "total",
        /// Beside a histogram or preset, exclusive or inclusive: what its latency contains. Beside good and total, a query of the `le` buckets of successes.
        optional latency: At<Query> = "latency",
        /// A query of the `le` buckets of failures.
        optional failure_latency: At<Query> = "failureLatency",
        /// What the latency of queries contains.
        optional scope: At<Scope> = "scope",
    }

    /// Where a component's evidence comes from: a histogram, a preset, or separate queries.
    TelemetryRecord [
        Rule::ExactlyOne(&["preset", "histogram", "good"]), Rule::AtMostOne(&["good", "histogramType"]),
        Rule::AtMostOne(&["preset", "total"]), Rule::AtMostOne(&["histogram", "total"]),
        Rule::AtMostOne(&["good", "matchers"]), Rule::AtMostOne(&["good", "success"]),
        Rule::AtMostOne(&["preset", "failureLatency"]), Rule::AtMostOne(&["histogram", "failureLatency"]),
        Rule::Needs("good", "total"), Rule::Needs("scope", "good"), Rule::Words { beside: &["preset", "histogram"], field: "latency", words: &["exclusive", "inclusive"] }, Rule::Needs("total", "good")
    ] {
        /// A well-known instrumentation.
        optional preset: At<PresetName> = "preset",
        /// The base name of a histogram, without _bucket.
        optional histogram: At<MetricName> = "histogram",
        /// Which series are this component's.
        optional matchers: Matchers = "matchers",
        /// Which of the histogram's requests succeeded; without it, all of them.
        optional success: Matchers = "success",
        /// The unit of the histogram's edges.
        optional unit: At<Unit> = "unit",
        /// How the histogram is stored: classic (with le buckets, the default) or native.
        optional histogram_type: At<HistogramTypeWord> = "histogramType",
        /// A query of the number of successful calls.
        optional good: At<Query> = "good",
        /// A query of the number of all calls.
        optional total: At<Query> = "total",
        /// Beside a histogram or preset, exclusive or inclusive: what its latency contains. Beside good and total, a query of the `le` buckets of successes.
        optional latency: At<Query> = "latency",
        /// A query of the `le` buckets of failures.
        optional failure_latency: At<Query> = "failureLatency",
        /// What the latency of queries contains.
        optional scope: At<Scope> = "scope",
    }

    /// A variant of some components.
    VariantRecord {
        /// Which components have it.
        required components: NonEmpty<At<ComponentName>> = "components",
        /// What distinguishes their series.
        required matchers: Matchers = "matchers",
        /// The label of these series that holds the hash of the pod template: a gate then sees to it that the rollout's own pods were measured.
        optional pod_hash_label: At<SelectingLabel> = "podHashLabel",
    }

    /// What fails together.
    FailureDomains {
        /// One for each domain.
        required rules: List<DomainRule> = "rules",
    }

    /// A failure domain.
    DomainRule (
        /// What it was inferred from.
        optional At<Prose> = "source",
        /// The label that it was inferred from.
        optional At<Prose> = "key",
    ) {
        /// Its name, as components refer to it.
        required name: At<DomainName> = "name",
        /// Whether a person declared it or it was inferred.
        optional kind: At<DomainKind> = "kind",
        /// For people.
        optional description: At<Prose> = "description",
        /// Whether its members slow together.
        optional latency: At<DomainLatencyWord> = "latency",
        /// How much they slow together; the worse of this and 0 is taken.
        optional correlation: At<Fraction> = "correlation",
    }

    /// Where the model comes from.
    EvidenceSource {
        /// A discovered model.
        optional model_discovery: Placed<ModelDiscovery> = "modelDiscovery",
    }

    /// A discovered model.
    ModelDiscovery (
        /// Whether it is used.
        optional At<Flag> = "enabled",
        /// The file that holds it.
        optional At<Prose> = "discoveredModelRef",
        /// What it was discovered from.
        optional List<DiscoveryInput> = "inputs",
    ) {

    }

    /// What a model was discovered from.
    DiscoveryInput (
        /// The kind of source.
        required At<Prose> = "type",
        /// For people.
        optional At<Prose> = "notes",
    ) {

    }

    /// What automation may do.
    GovernanceRecord (
        /// Which bounds automation uses.
        optional Bounds = "useBoundsForAutomation",
    ) {
        /// Which bound an objective is held against.
        optional evaluation_mode: At<Mode> = "evaluationMode",
        /// What may be assumed inside a failure domain.
        optional dependence: At<DependenceWord> = "dependence",
        /// How the width of buckets enters the bounds.
        optional bucket_error: At<BucketErrorWord> = "bucketError",
        /// The one-sided level of the intervals.
        optional confidence: At<Confidence> = "confidence",
        /// Below this model confidence the verdict is review.
        optional min_model_confidence: At<Fraction> = "minModelConfidence",
        /// When to page and when to open a ticket.
        optional alerts: Alerts = "alerts",
        /// What a rollout must hold.
        optional progressive_delivery: ProgressiveDelivery = "progressiveDelivery",
    }

    /// Which bounds automation uses.
    Bounds (
        /// Of availability.
        optional At<AvailabilityBound> = "availability",
        /// Of latency.
        optional At<LatencyBound> = "latency",
    ) {

    }

    /// When to page and when to open a ticket.
    Alerts {
        /// Ignored: compiled files go to `--out`.
        optional output: At<Prose> = "promRuleOutput",
        /// The period of the budget; by default that of the availability objective.
        optional budget_window: At<WindowText> = "sloBudgetWindow",
        /// What to do about an alert.
        optional runbook_url: At<WebAddress> = "runbookURL",
        /// What to look at.
        optional dashboard_url: At<WebAddress> = "dashboardURL",
        /// The tiers.
        optional policy: Policy = "burnRatePolicy",
    }

    /// The tiers of the burn-rate policy.
    Policy {
        /// Tiers that page.
        optional page: List<Placed<Tier>> = "page",
        /// Tiers that open a ticket.
        optional ticket: List<Placed<Tier>> = "ticket",
    }

    /// A tier of the burn-rate policy.
    Tier {
        /// Fires above this multiple of the budget's even burn.
        required burn_rate: At<Positive> = "burnRate",
        /// The window that proves it.
        required long_window: At<WindowText> = "longWindow",
        /// The window that ends it quickly.
        required short_window: At<WindowText> = "shortWindow",
        /// The `severity` label of its alert; by default `page` or `ticket`.
        optional severity: At<LabelWord> = "severity",
        /// No alert comes from it.
        optional disabled: At<Switch> = "disabled",
    }

    /// What a rollout must hold.
    ProgressiveDelivery (
        /// What performs it.
        optional At<RolloutProvider> = "provider",
    ) {
        /// Ignored: compiled files go to `--out`.
        optional output: At<Prose> = "analysisTemplateOutput",
        /// The limits.
        optional gate: Gate = "gate",
    }

    /// What a rollout must hold to go on.
    Gate {
        /// The greatest burn rate of the canary.
        optional max_burn_rate: At<Positive> = "maxCanaryBurnRate",
        /// The greatest p99.
        optional max_p99: At<Positive> = "maxP99LatencySeconds",
    }
}
