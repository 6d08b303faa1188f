//! The families of synthetic series: the one place where their names, help texts, types and units stand.
//!
//! [`super::render`] takes its names from here, discovery and the exposition format their metadata. A family that
//! is not listed here is not synthetic: a query for it belongs to the upstream.

/// The prefix that every synthetic series shares; a query without it names none.
pub const PREFIX: &str = "emac_journey_";

/// Every label of synthetic series besides their names and the external ones.
pub const LABELS: [&str; 15] = [
    "accepted",
    "component",
    "dependence",
    "digest",
    "domain",
    "journey",
    "le",
    "quantile",
    "reason",
    "revision",
    "side",
    "source",
    "variant",
    "verdict",
    "window",
];

/// The type of a family, as in the exposition format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A value that goes up and down. Every synthetic family is one, also the `_bucket`s: they hold probabilities
    /// over a window, not counters.
    Gauge,
}

impl Kind {
    /// The spelling of `# TYPE` and of `/api/v1/metadata`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
        }
    }
}

/// All series of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Family {
    /// Its name, the value of `__name__`.
    pub name: &'static str,
    /// What it says, one line.
    pub help: &'static str,
    /// Its base unit: `seconds`, `ratio`, or empty where it has none.
    pub unit: &'static str,
    /// Its type.
    pub kind: Kind,
}

/// Declares each family as a constant and lists all of them in [`FAMILIES`].
macro_rules! families {
    ($($constant:ident = $name:literal, $unit:literal, $help:literal;)+) => {
        $(
            #[doc = $help]
            pub const $constant: &str = $name;
        )+
        /// Every family, sorted by name.
        const FAMILIES: &[Family] =
            &[$(Family { name: $name, help: $help, unit: $unit, kind: Kind::Gauge }),+];
    };
}

families! {
    AVAILABILITY_BOUND = "emac_journey_availability_bound", "ratio",
        "Lower and upper bound (side) of the journey's availability under each dependence assumption.";
    AVAILABILITY_ESTIMATE = "emac_journey_availability_estimate", "ratio",
        "Probability that the journey succeeds, components taken as independent.";
    AVAILABILITY_OPTIMISTIC = "emac_journey_availability_optimistic", "ratio",
        "Upper bound of the probability that the journey succeeds, under the policy's dependence.";
    AVAILABILITY_PESSIMISTIC = "emac_journey_availability_pessimistic", "ratio",
        "Lower bound of the probability that the journey succeeds, under the policy's dependence.";
    COMPONENT_AVAILABILITY_ESTIMATE = "emac_journey_component_availability_estimate", "ratio",
        "Availability of a component as measured.";
    COMPONENT_AVAILABILITY_OPTIMISTIC = "emac_journey_component_availability_optimistic", "ratio",
        "Upper bound of a component's availability as used for the journey.";
    COMPONENT_AVAILABILITY_PESSIMISTIC = "emac_journey_component_availability_pessimistic", "ratio",
        "Lower bound of a component's availability as used for the journey.";
    COMPONENT_BUDGET = "emac_journey_component_budget", "ratio",
        "Availability objective allocated to a component.";
    COMPONENT_BUDGET_SHARE = "emac_journey_component_budget_share", "ratio",
        "Share of the journey's unavailability that a component accounts for.";
    COMPONENT_LATENCY_SHARE = "emac_journey_component_latency_share", "ratio",
        "Share of the journey's tail latency that a component accounts for.";
    COMPONENT_SENSITIVITY = "emac_journey_component_sensitivity", "",
        "Change of the journey's availability per change of a component's availability.";
    CONFIDENCE = "emac_journey_confidence", "ratio",
        "How far the model of the journey is believed, 0 to 1.";
    DOMAIN_BUDGET_SHARE = "emac_journey_domain_budget_share", "ratio",
        "Share of the journey's unavailability that a failure domain accounts for.";
    DRIFT = "emac_journey_drift", "",
        "1 where the observed journey departs significantly from the composed one.";
    DRIFT_DISTANCE = "emac_journey_drift_distance_seconds", "seconds",
        "Distance between the observed and the composed latency distribution.";
    ERROR_BUDGET_BURN_RATE_ESTIMATE = "emac_journey_error_budget_burn_rate_estimate", "",
        "Unavailability relative to what the objective allows, by the estimate.";
    ERROR_BUDGET_BURN_RATE_LOWER_CONFIDENCE = "emac_journey_error_budget_burn_rate_lower_confidence", "",
        "Unavailability relative to what the objective allows, as far as the samples prove it.";
    ERROR_BUDGET_BURN_RATE_PESSIMISTIC = "emac_journey_error_budget_burn_rate_pessimistic", "",
        "Unavailability relative to what the objective allows, by the pessimistic bound.";
    ERROR_BUDGET_REMAINING_ESTIMATE = "emac_journey_error_budget_remaining_estimate", "ratio",
        "Share of the error budget that is left, by the estimate, over what the upstream retains of its window.";
    ERROR_BUDGET_REMAINING_PESSIMISTIC = "emac_journey_error_budget_remaining_pessimistic", "ratio",
        "Share of the error budget that is left, by the pessimistic bound, over what the upstream retains of its window.";
    EVIDENCE_AGE = "emac_journey_evidence_age_seconds", "seconds",
        "Age of the oldest evidence used; +Inf where there was never any.";
    EVIDENCE_MISSING = "emac_journey_evidence_missing", "",
        "1 where evidence is missing or bad for this reason; with a component label for each component concerned.";
    GATE = "emac_journey_gate", "",
        "State set of the verdict: 1 for the current one of pass, block and review.";
    LATENCY_BOUND = "emac_journey_latency_bound_seconds", "seconds",
        "Lower and upper bound (side) of the latency quantile given success under each dependence assumption.";
    LATENCY_BUDGET_BURN_RATE_ESTIMATE = "emac_journey_latency_budget_burn_rate_estimate", "",
        "Share of slow successes relative to what the latency objective allows, by the estimate.";
    LATENCY_BUDGET_BURN_RATE_LOWER_CONFIDENCE = "emac_journey_latency_budget_burn_rate_lower_confidence", "",
        "Share of slow successes relative to what the objective allows, as far as the samples prove it.";
    LATENCY_BUDGET_BURN_RATE_PESSIMISTIC = "emac_journey_latency_budget_burn_rate_pessimistic", "",
        "Share of slow successes relative to what the latency objective allows, by the pessimistic bound.";
    LATENCY_ESTIMATE = "emac_journey_latency_estimate_seconds", "seconds",
        "Latency quantile of the journey given success, components taken as independent.";
    LATENCY_ESTIMATE_BUCKET = "emac_journey_latency_estimate_seconds_bucket", "ratio",
        "Probability that the journey succeeds within le seconds, components taken as independent.";
    LATENCY_OPTIMISTIC = "emac_journey_latency_optimistic_seconds", "seconds",
        "Lower bound of the latency quantile given success, under the policy's dependence.";
    LATENCY_OPTIMISTIC_BUCKET = "emac_journey_latency_optimistic_seconds_bucket", "ratio",
        "Upper bound of the probability that the journey succeeds within le seconds.";
    LATENCY_PESSIMISTIC = "emac_journey_latency_pessimistic_seconds", "seconds",
        "Upper bound of the latency quantile given success, under the policy's dependence; +Inf where none exists.";
    LATENCY_PESSIMISTIC_BUCKET = "emac_journey_latency_pessimistic_seconds_bucket", "ratio",
        "Pessimistic probability that the journey succeeds within le seconds; its quantiles are the pessimistic ones.";
    MODEL_INFO = "emac_journey_model_info", "",
        "1; identifies the model that answers: its digest, whether it is accepted, its revision.";
    OBJECTIVE_AVAILABILITY = "emac_journey_objective_availability", "ratio",
        "The availability that users are promised.";
    OBJECTIVE_LATENCY = "emac_journey_objective_latency_seconds", "seconds",
        "What the latency quantile may not exceed.";
    WIDTH_SHARE = "emac_journey_width_share", "ratio",
        "Share of the interval's width that is due to samples, buckets or dependence (source).";
}

/// Every family of synthetic series, sorted by name.
#[must_use]
pub const fn families() -> &'static [Family] {
    FAMILIES
}

/// The family called `name`, if it is synthetic.
#[must_use]
pub fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.binary_search_by(|family| family.name.cmp(name)).ok().map(|at| &FAMILIES[at])
}

/// Whether series of this name are answered here and not by the upstream.
#[must_use]
pub fn is_synthetic(name: &str) -> bool {
    name.starts_with(PREFIX) && family(name).is_some()
}

/// The families whose samples are statements about the evidence and the model, not numbers composed from them:
/// they are answered also where the evidence cannot be (the gate then says review).
#[must_use]
pub fn is_meta(name: &str) -> bool {
    matches!(
        name,
        CONFIDENCE
            | EVIDENCE_AGE
            | EVIDENCE_MISSING
            | GATE
            | MODEL_INFO
            | OBJECTIVE_AVAILABILITY
            | OBJECTIVE_LATENCY
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_sorted_unique_and_carry_the_prefix() {
        assert!(FAMILIES.windows(2).all(|pair| pair[0].name < pair[1].name));
        for family in families() {
            assert!(family.name.starts_with(PREFIX), "{}", family.name);
            assert!(is_synthetic(family.name), "{}", family.name);
            assert!(!family.help.is_empty() && !family.help.contains('\n'), "{}", family.name);
            assert_eq!(family.name.ends_with("_seconds"), family.unit == "seconds", "{}", family.name);
        }
    }

    #[test]
    fn names_that_only_resemble_a_family_belong_to_the_upstream() {
        for name in
            ["", "up", "emac_journey_", "emac_journey_gate_total", "emac_journey_gat", "emac_build_info"]
        {
            assert!(!is_synthetic(name), "{name}");
        }
    }
}
