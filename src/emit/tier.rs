//! The tiers of a journey's burn-rate policy as they are emitted, and what each can and cannot see.

use crate::journey::Journey;
use crate::journey::governance::{BurnRateTier, PROVEN_BY_ONE_ERROR};
use crate::unit::Window;

/// Which budget burns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Budget {
    Availability,
    Latency,
}

impl Budget {
    /// The budgets that the journey's objectives give it.
    pub(crate) fn of(journey: &Journey) -> Vec<Self> {
        let availability = journey.objectives.availability.is_some().then_some(Self::Availability);
        let latency = journey.objectives.latency.is_some().then_some(Self::Latency);
        availability.into_iter().chain(latency).collect()
    }

    pub(crate) const fn alert(self) -> &'static str {
        match self {
            Self::Availability => "JourneyErrorBudgetBurns",
            Self::Latency => "JourneyLatencyBudgetBurns",
        }
    }

    /// What may be lost: the complement of the target, or of the quantile.
    pub(crate) fn allowed(self, journey: &Journey) -> f64 {
        let objectives = &journey.objectives;
        match self {
            Self::Availability => {
                objectives.availability.as_ref().map_or(1.0, |objective| objective.target.complement().get())
            }
            Self::Latency => {
                objectives.latency.as_ref().map_or(1.0, |objective| 1.0 - objective.quantile.get())
            }
        }
    }
}

/// Whether a person is woken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Urgency {
    Page,
    Ticket,
}

impl Urgency {
    /// How long the condition must hold, in minutes.
    pub(crate) const fn hold_minutes(self) -> u64 {
        match self {
            Self::Page => 2,
            Self::Ticket => 15,
        }
    }

    /// How long an alert stays after its condition ended, in minutes: longer than any guard takes to fire, so that a
    /// signal which vanishes is announced before the alert that it carried resolves.
    pub(crate) const fn keep_minutes(self) -> u64 {
        match self {
            Self::Page => 10,
            Self::Ticket => 30,
        }
    }
}

/// One tier that is not disabled.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tier {
    /// The value of the `tier` label; it stays when the burn rate is tuned.
    pub(crate) label: String,
    pub(crate) urgency: Urgency,
    pub(crate) severity: String,
    pub(crate) rate: f64,
    pub(crate) long: Window,
    pub(crate) short: Window,
    /// As Prometheus prints them.
    pub(crate) long_text: String,
    pub(crate) short_text: String,
}

/// The enabled tiers as declared, pages first, each with the word for its urgency.
pub(crate) fn enabled(journey: &Journey) -> impl Iterator<Item = (Urgency, &'static str, &BurnRateTier)> {
    let policy = &journey.governance.burn_rate_policy;
    let page = policy.page.iter().map(|tier| (Urgency::Page, "page", tier));
    let ticket = policy.ticket.iter().map(|tier| (Urgency::Ticket, "ticket", tier));
    page.chain(ticket).filter(|(_, _, tier)| !tier.disabled)
}

/// Its severity: by default the word for its urgency.
pub(crate) fn severity_of<'t>(tier: &'t BurnRateTier, word: &'t str) -> &'t str {
    tier.severity.as_deref().unwrap_or(word)
}

/// The enabled tiers, pages first.
pub(crate) fn tiers(journey: &Journey) -> Vec<Tier> {
    let mut tiers: Vec<Tier> = Vec::new();
    for (urgency, word, tier) in enabled(journey) {
        let (long_text, short_text) = (tier.long_window.to_string(), tier.short_window.to_string());
        let plain = [word, "-", &long_text].concat();
        let taken = |label: &str| tiers.iter().any(|tier| tier.label == label);
        let label = if taken(&plain) { format!("{plain}-{short_text}") } else { plain };
        let label = if taken(&label) { format!("{label}-{}", tiers.len() + 1) } else { label };
        tiers.push(Tier {
            label,
            urgency,
            severity: severity_of(tier, word).to_owned(),
            rate: tier.burn_rate,
            long: tier.long_window,
            short: tier.short_window,
            long_text,
            short_text,
        });
    }
    tiers
}

/// The windows that the tiers read, rising and unique; and the long ones among them.
pub(crate) fn windows(tiers: &[Tier]) -> (Vec<Window>, Vec<Window>) {
    let unique = |windows: Vec<Window>| {
        let mut windows = windows;
        windows.sort_unstable();
        windows.dedup();
        windows
    };
    let long = unique(tiers.iter().map(|tier| tier.long).collect());
    let all = unique(tiers.iter().flat_map(|tier| [tier.long, tier.short]).collect());
    (all, long)
}

/// What a tier can see of one budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Reach {
    /// Whether any loss burns that fast.
    pub(crate) can_fire: bool,
    /// The shortest total outage that it detects, in seconds; anything shorter stays silent.
    pub(crate) smallest_outage_seconds: f64,
    /// The share of the budget that is spent when a steady burn at the threshold has filled the long window.
    pub(crate) spent: f64,
    /// With fewer requests in the long window than this, a single error burns above the threshold *and* is proven: it
    /// fires. Below 1 it never does.
    pub(crate) single_error_below: f64,
}

impl Tier {
    /// An outage of d seconds lifts the long window over the threshold after `lost·long` of it, and the short one stays
    /// above until `(1 − lost)·short` after it: in between the condition must hold for as long as the alert waits.
    fn smallest_outage(&self, lost: f64) -> f64 {
        let (long, short) = (self.long.seconds().get(), self.short.seconds().get());
        let hold = crate::unit::Seconds::from_millis(60_000 * self.urgency.hold_minutes()).get();
        lost * long + (hold - (1.0 - lost).max(0.0) * short).max(0.0)
    }

    pub(crate) fn reach(&self, journey: &Journey, budget: Budget) -> Reach {
        let allowed = budget.allowed(journey);
        let lost = self.rate * allowed;
        let period = journey.governance.burn_rate_policy.budget_window;
        Reach {
            can_fire: lost < 1.0 - 1e-9,
            smallest_outage_seconds: self.smallest_outage(lost),
            spent: self.rate * self.long.seconds().get() / period.seconds().get(),
            single_error_below: (1.0 / lost).min(PROVEN_BY_ONE_ERROR / allowed),
        }
    }
}
