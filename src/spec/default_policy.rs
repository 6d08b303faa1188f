//! The burn-rate policy of a journey that declares none: the multi-window, multi-burn-rate tiers of the SRE Workbook,
//! scaled to the period of the budget.
//!
//! A tier is defined by the share of the budget that is spent when it fires: 2 % and 5 % page, 10 % opens a ticket. Over
//! 30 days that is 14.4 times the even burn over 1 h, 6 over 6 h, 3 over 1 d and 1 over 3 d. For another period the windows
//! scale with it, rounded to ones that people use, and the rate is what keeps the share exact.

use crate::journey::governance::BurnRateTier;
use crate::unit::Window;

const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// The period for which the windows below are meant.
const PERIOD: u64 = 30 * DAY;

/// Spent share of the budget in percent, long and short window for [`PERIOD`].
const PAGE: [(u64, u64, u64); 2] = [(2, HOUR, 5 * MINUTE), (5, 6 * HOUR, 30 * MINUTE)];
const TICKET: [(u64, u64, u64); 2] = [(10, DAY, 2 * HOUR), (10, 3 * DAY, 6 * HOUR)];

/// Windows that people use.
const ROUND: [u64; 23] = [
    MINUTE,
    2 * MINUTE,
    5 * MINUTE,
    10 * MINUTE,
    15 * MINUTE,
    20 * MINUTE,
    30 * MINUTE,
    45 * MINUTE,
    HOUR,
    2 * HOUR,
    3 * HOUR,
    4 * HOUR,
    6 * HOUR,
    8 * HOUR,
    12 * HOUR,
    DAY,
    2 * DAY,
    3 * DAY,
    4 * DAY,
    7 * DAY,
    10 * DAY,
    14 * DAY,
    30 * DAY,
];

/// The tiers that page and those that open a ticket.
pub(super) fn tiers(period: Window) -> (Vec<BurnRateTier>, Vec<BurnRateTier>) {
    let all = |tiers: &[(u64, u64, u64)]| tiers.iter().filter_map(|tier| scaled(*tier, period)).collect();
    (all(&PAGE), all(&TICKET))
}

fn scaled((percent, long, short): (u64, u64, u64), period: Window) -> Option<BurnRateTier> {
    let of = |window: u64| {
        let ideal = u128::from(window) * u128::from(period.millis()) / u128::from(PERIOD);
        // The nearest by ratio.
        #[expect(clippy::cast_precision_loss, reason = "windows are far below 2^53 ms")]
        let apart = |round: u64| (round as f64 / ideal.max(1) as f64).ln().abs();
        ROUND.iter().copied().min_by(|a, b| apart(*a).total_cmp(&apart(*b))).unwrap_or(window)
    };
    let (long, mut short) = (of(long), of(short));
    if short >= long {
        short = long / 2;
    }
    #[expect(clippy::cast_precision_loss, reason = "both are far below 2^53")]
    let burn_rate = (percent * period.millis()) as f64 / (100 * long) as f64;
    Some(BurnRateTier {
        // Below 1 the budget lasts. Thousandths: a rate that people read, where the period divides badly.
        burn_rate: ((burn_rate * 1e3).round() / 1e3).max(1.0),
        long_window: Window::from_millis(long).ok()?,
        short_window: Window::from_millis(short).ok()?,
        severity: None,
        disabled: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(period: &str) -> Vec<String> {
        let (page, ticket) = tiers(period.parse().unwrap());
        let line =
            |tier: BurnRateTier| format!("{} {}/{}", tier.burn_rate, tier.long_window, tier.short_window);
        page.into_iter().chain(ticket).map(line).collect()
    }

    #[test]
    fn thirty_days_give_the_tiers_of_the_workbook() {
        assert_eq!(shown("30d"), ["14.4 1h/5m", "6 6h/30m", "3 1d/2h", "1 3d/6h"]);
    }

    #[test]
    fn other_periods_spend_the_same_share_of_their_budget_in_windows_that_people_use() {
        assert_eq!(shown("28d"), ["13.44 1h/5m", "5.6 6h/30m", "2.8 1d/2h", "1 3d/6h"]);
        assert_eq!(shown("7d"), ["13.44 15m/1m", "8.4 1h/5m", "2.8 6h/30m", "1.4 12h/1h"]);
        assert_eq!(shown("90d"), ["14.4 3h/15m", "4.5 1d/2h", "3 3d/6h", "1 10d/1d"]);
        for text in shown("1h") {
            assert!(!text.is_empty());
        }
    }
}
