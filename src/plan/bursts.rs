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
    key: &'a str,
}

impl<'a> Columns<'a> {
    pub(super) const fn new(table: &'a Table, key: &'a str) -> Self {
        Self { table, key }
    }

    /// The value of the columns whose edge is as asked for.
    fn value(self, time: Timestamp, is_wanted: impl Fn(Option<f64>) -> bool) -> Option<f64> {
        let wanted = self.table.member(self.key).iter().filter(|member| is_wanted(member.edge));
        let mut values = wanted.filter_map(|member| self.table.value(member.series, time));
        values.next().filter(|value| *value >= 0.0)
    }

    /// The number of a sub-window: an answer without edges.
    pub(super) fn number(self, time: Timestamp) -> Option<f64> {
        self.value(time, |edge| edge.is_none())
    }

    /// All calls.
    pub(super) fn calls(self, time: Timestamp) -> Option<f64> {
        self.value(time, |edge| edge == Some(f64::INFINITY))
    }

    /// How many calls were slow, of how many.
    pub(super) fn slow(self, time: Timestamp) -> Option<(f64, f64)> {
        let in_time = self.value(time, |edge| edge.is_some_and(f64::is_finite))?;
        let calls = self.calls(time)?;
        Some(((calls - in_time).max(0.0), calls))
    }
}
