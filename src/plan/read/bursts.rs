//! Whether calls come in bursts: design effects from the counts of sub-windows that lie side by side.

use super::answer::Table;
use crate::distribution::confidence::DesignEffect;
use crate::journey::evidence::DesignEffects;
use crate::unit::Timestamp;

/// The calls of one sub-window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct SubWindow {
    pub(super) calls: f64,
    pub(super) good: f64,
    /// Of how many timed successes how many were slow; `None` where none were timed.
    pub(super) slow: Option<(f64, f64)>,
}

/// What the sub-windows say. Not known where too few of them had calls.
pub(super) fn design_effects(sub_windows: &[SubWindow]) -> DesignEffects {
    DesignEffects {
        failures: DesignEffect::of_sub_windows(
            sub_windows.iter().map(|counted| ((counted.calls - counted.good).max(0.0), counted.calls)),
        ),
        latency: DesignEffect::of_sub_windows(sub_windows.iter().filter_map(|counted| counted.slow)),
    }
}

/// One member's columns in an answer that was [`Table::condensed`], or that holds one number a sub-window.
#[derive(Clone, Copy)]
pub(super) struct Columns<'a> {
    table: &'a Table,
    number: Option<usize>,
    calls: Option<usize>,
    in_time: Option<usize>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(table: &'a Table, key: &str) -> Self {
        let members = table.member(key);
        let of = |is_wanted: fn(Option<f64>) -> bool| {
            members.iter().find(|member| is_wanted(member.edge)).map(|member| member.series)
        };
        Self {
            table,
            number: of(|edge| edge.is_none()),
            calls: of(|edge| edge == Some(f64::INFINITY)),
            in_time: of(|edge| edge.is_some_and(f64::is_finite)),
        }
    }

    fn value(self, series: Option<usize>, time: Timestamp) -> Option<f64> {
        self.table.value(series?, time).filter(|value| *value >= 0.0)
    }

    /// The number of a sub-window: an answer without edges.
    pub(super) fn number(self, time: Timestamp) -> Option<f64> {
        self.value(self.number, time)
    }

    /// All calls.
    pub(super) fn calls(self, time: Timestamp) -> Option<f64> {
        self.value(self.calls, time)
    }

    /// How many calls were slow, of how many.
    pub(super) fn slow(self, time: Timestamp) -> Option<(f64, f64)> {
        let (in_time, calls) = (self.value(self.in_time, time)?, self.calls(time)?);
        Some(((calls - in_time).max(0.0), calls))
    }
}
