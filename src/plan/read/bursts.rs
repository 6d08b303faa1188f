//! Whether calls come in bursts: design effects from the counts of sub-windows that lie side by side.

use super::{Base, Reader, calls};
use crate::distribution::confidence::DesignEffect;
use crate::journey::evidence::{DesignEffects, Reason};
use crate::plan::answer::Table;
use crate::plan::evidence::{BucketSubWindows, DeclaredQueries, EvidencePlan, QueryId, QueryKind};
use crate::unit::{Timestamp, Window};

/// The calls of one sub-window.
#[derive(Debug, Clone, Copy, PartialEq)]
struct SubWindow {
    calls: f64,
    good: f64,
    /// Of how many timed successes how many were slow; `None` where none were timed.
    slow: Option<(f64, f64)>,
}

/// What the sub-windows say. Not known where too few of them had calls.
fn design_effects(sub_windows: &[SubWindow]) -> DesignEffects {
    DesignEffects {
        failures: DesignEffect::of_sub_windows(
            sub_windows.iter().map(|counted| ((counted.calls - counted.good).max(0.0), counted.calls)),
        ),
        latency: DesignEffect::of_sub_windows(sub_windows.iter().filter_map(|counted| counted.slow)),
    }
}

/// One member's columns in an answer that was [`Table::condensed`], or that holds one number a sub-window.
#[derive(Clone, Copy)]
struct Columns<'a> {
    table: &'a Table,
    number: Option<usize>,
    calls: Option<usize>,
    in_time: Option<usize>,
}

impl<'a> Columns<'a> {
    fn new(table: &'a Table, key: &str) -> Self {
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
    fn number(self, time: Timestamp) -> Option<f64> {
        self.value(self.number, time)
    }

    /// All calls.
    fn calls(self, time: Timestamp) -> Option<f64> {
        self.value(self.calls, time)
    }

    /// How many calls were slow, of how many.
    fn slow(self, time: Timestamp) -> Option<(f64, f64)> {
        let (in_time, calls) = (self.value(self.in_time, time)?, self.calls(time)?);
        Some(((calls - in_time).max(0.0), calls))
    }
}

impl Reader<'_> {
    /// The design effects of a histogram.
    pub(super) fn bursts(&self, queries: &BucketSubWindows) -> Result<DesignEffects, Base> {
        let Some(all) = self.columns(queries.all.query, &queries.all.key)? else {
            return Ok(DesignEffects::default());
        };
        let success = match &queries.success {
            Some(success) => self.columns(success.query, &success.key)?,
            None => Some(all),
        };
        Ok(design_effects(&self.sub_windows(queries.length, |end| {
            let good = success.and_then(|success| success.calls(end)).unwrap_or(0.0);
            Some(SubWindow { calls: all.calls(end)?, good, slow: success.and_then(|s| s.slow(end)) })
        })))
    }

    /// The same of the queries of a spec.
    pub(super) fn declared_bursts(
        &self,
        length: Window,
        queries: &DeclaredQueries,
    ) -> Result<DesignEffects, Base> {
        let columns = |query: Option<QueryId>| -> Result<Option<Columns<'_>>, Base> {
            query.map_or(Ok(None), |query| self.columns(query, ""))
        };
        let (good, total) = (columns(queries.good)?, columns(queries.total)?);
        let (latency, failure_latency) = (columns(queries.latency)?, columns(queries.failure_latency)?);
        Ok(design_effects(&self.sub_windows(length, |end| {
            let number = |of: Columns<'_>| of.number(end);
            let failures = failure_latency.map(|of| of.calls(end).unwrap_or(0.0));
            let (good, calls) = calls(good.map(number), total.map(number), failures)?;
            Some(SubWindow { calls, good, slow: latency.and_then(|latency| latency.slow(end)) })
        })))
    }

    fn columns<'q>(&'q self, query: QueryId, key: &'q str) -> Result<Option<Columns<'q>>, Base> {
        Ok(self.answers.table(query)?.map(|table| Columns::new(table, key)))
    }

    /// What is known of each sub-window of the window that ends now.
    fn sub_windows(
        &self,
        length: Window,
        counted: impl Fn(Timestamp) -> Option<SubWindow>,
    ) -> Vec<SubWindow> {
        let end = self.time(QueryKind::SubWindows(length)).unwrap_or(self.at);
        EvidencePlan::sub_window_ends(end, length).filter_map(counted).collect()
    }
}

impl Base {
    /// What the calls are worth as a sample; where that was asked for and not answered, the evidence is incomplete.
    pub(super) fn take_bursts(&mut self, bursts: Result<DesignEffects, Self>) -> Result<(), Self> {
        let Self::Measured(counts, reasons) = self else { return Ok(()) };
        match bursts {
            Ok(design_effects) => counts.set_design_effects(design_effects),
            Err(Self::Unusable) => return Err(Self::Unusable),
            Err(_) => {
                reasons.push(Reason::Partial);
                reasons.sort_unstable();
                reasons.dedup();
            }
        }
        Ok(())
    }
}
