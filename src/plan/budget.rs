//! The evidence of an objective's window: weeks, of which a server may retain a part.
//!
//! The sum over a month does not tell for how much of it there was anything to add. So counts are asked for slice by slice,
//! as one range query whose steps lie side by side (an hour each for 30 days: also what stores that split and cache
//! long queries do well), and added up here. A slice without any count was not retained, or the component was not there
//! yet; either way the budget is one over the rest, and says so.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::answer::Outcome;
use super::evidence::{BucketQuery, EvidencePlan, PlannedQuery, QueryId, QueryKind, Source};
use super::read::{Answers, ReadSettings, Reading};
use crate::journey::Journey;
use crate::journey::component::ComponentId;
use crate::journey::evidence::Evidence;
use crate::series::StepGrid;
use crate::unit::{Timestamp, Window};

/// Into how many slices a window is cut at most.
const SLICES: u64 = 720;

/// The shortest slice: several scrapes lie in it.
const LEAST_SLICE_MILLIS: u64 = 5 * 60_000;

/// The share of slices that must hold counts for a component's evidence to count as whole: a server deletes by the
/// block, and is restarted now and then.
const WHOLE_SHARE: f64 = 0.95;

/// What to ask for the budget of one journey.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetPlan {
    plan: EvidencePlan,
    window: Window,
    slice: Window,
    /// Sums over slices by what they stand for.
    summed: BTreeMap<QueryId, QueryId>,
    /// Components by the queries that tell whether they were there in a slice.
    presence: Vec<Vec<BucketQuery>>,
}

/// When one of the queries is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Asked {
    /// At the end of the window.
    Once,
    /// At the end of each slice.
    Slices(StepGrid),
}

/// The evidence of the whole window.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetReading {
    /// What was summed over.
    pub window: Window,
    /// What was measured.
    pub evidence: Evidence,
    /// The components that were seen in a part of the window only.
    pub in_part: Vec<ComponentId>,
}

impl BudgetPlan {
    /// The plan of `window`. `interval` is that of the evaluation.
    #[must_use]
    pub fn new(journey: &Arc<Journey>, window: Window, interval: Window) -> Self {
        let shortest = LEAST_SLICE_MILLIS.max(interval.millis().saturating_mul(4)).div_ceil(60_000) * 60_000;
        let slice = (window.millis().div_ceil(SLICES).div_ceil(60_000) * 60_000).max(shortest);
        let slice = Window::from_millis(slice).unwrap_or(window).min(window);
        let plan = EvidencePlan::with_windows(&[(Arc::clone(journey), vec![slice, window])], interval);
        let mut summed = BTreeMap::new();
        for source in &plan.sources {
            let Source::Histogram { all, success, .. } = source else { continue };
            for by_window in std::iter::once(all).chain(success) {
                if let (Some(whole), Some(slice)) = (by_window.get(&window), by_window.get(&slice)) {
                    summed.insert(whole.query, slice.query);
                }
            }
        }
        let presence = plan
            .journeys
            .iter()
            .flat_map(|journey| &journey.components)
            .map(|&source| match plan.sources.get(source) {
                Some(Source::Histogram { all, .. }) => all.get(&slice).cloned().into_iter().collect(),
                Some(Source::Declared { freshness, .. }) => freshness
                    .iter()
                    .flatten()
                    .map(|of| BucketQuery { query: of.samples, key: String::new() })
                    .collect(),
                Some(Source::Nothing) | None => Vec::new(),
            })
            .collect();
        Self { plan, window, slice, summed, presence }
    }

    /// The queries, each with when to ask for it to learn the budget at `at`. Outcomes belong in the same order.
    #[must_use]
    pub fn queries(&self, at: Timestamp) -> Vec<(&PlannedQuery, Option<Asked>)> {
        let grid = self.slices(at);
        let of_slices = |id: QueryId| {
            self.summed.values().any(|&slice| slice == id)
                || self.presence.iter().flatten().any(|presence| presence.query == id)
        };
        let ask = |(id, query): (QueryId, &PlannedQuery)| match query.kind {
            _ if of_slices(id) => Some(Asked::Slices(grid)),
            QueryKind::Declared(window) if window == self.window => Some(Asked::Once),
            _ => None,
        };
        self.plan.queries().iter().enumerate().map(|(id, query)| (query, ask((id, query)))).collect()
    }

    /// The ends of the slices of the window that ends at `at`.
    fn slices(&self, at: Timestamp) -> StepGrid {
        let rest = self.window.millis() - self.slice.millis();
        let back = i64::try_from(rest - rest % self.slice.millis()).unwrap_or(i64::MAX);
        StepGrid::new(at.plus_millis(back.saturating_neg()), at, self.slice)
            .unwrap_or_else(|_| StepGrid::instant(at, self.slice))
    }

    /// Adds up. `None` where anything that was asked for was not answered: a sum that lacks a part would be a guess.
    #[must_use]
    pub fn read(
        &self,
        outcomes: &[Outcome],
        at: Timestamp,
        settings: &ReadSettings,
    ) -> Option<BudgetReading> {
        let mut whole = vec![Outcome::NotAsked; outcomes.len()];
        for (id, (_, asked)) in self.queries(at).iter().enumerate() {
            match (asked, outcomes.get(id)?) {
                (None, _) => {}
                (Some(Asked::Once), answered @ Outcome::Answered(_)) => whole[id] = answered.clone(),
                (Some(Asked::Slices(_)), Outcome::Answered(_)) => {}
                (Some(_), _) => return None,
            }
        }
        for (&sum, slice) in &self.summed {
            if let Some(Outcome::Answered(table)) = outcomes.get(*slice) {
                whole[sum] = Outcome::Answered(Arc::new(table.summed(at)));
            }
        }
        let reading = Answers::new(&self.plan, &whole).read(at, None, settings).pop()?;
        let Reading::Evidence { windows, .. } = reading else { return None };
        let evidence = windows.into_iter().find(|reading| reading.window == self.window)?.evidence;
        let slices = self.slices(at).points();
        let seen = |presence: &BucketQuery| match outcomes.get(presence.query) {
            Some(Outcome::Answered(table)) => table.points_with(&presence.key),
            _ => 0,
        };
        let in_part = |queries: &Vec<BucketQuery>| {
            #[expect(clippy::cast_precision_loss, reason = "at most some hundred slices")]
            let enough = slices as f64 * WHOLE_SHARE;
            #[expect(clippy::cast_precision_loss, reason = "at most some hundred slices")]
            let most = queries.iter().map(seen).max().map(|most| most as f64);
            most.is_some_and(|most| most < enough)
        };
        let components = self.presence.iter().enumerate();
        let in_part = components.filter(|(_, queries)| in_part(queries)).map(|(at, _)| ComponentId(at));
        Some(BudgetReading { window: self.window, evidence, in_part: in_part.collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::answer::Table;
    use super::super::read::tests::{component, journey};
    use super::*;
    use crate::journey::evidence::Measurement;
    use crate::series::{Labels, Sample, Series};

    const HOUR: i64 = 3_600_000;
    const END: i64 = 1_000 * HOUR + 7 * 60_000;

    fn plan(window: &str) -> BudgetPlan {
        let journey = Arc::new(journey(&["5m"], vec![component("a"), component("b")]));
        BudgetPlan::new(&journey, window.parse().unwrap(), "15s".parse().unwrap())
    }

    fn settings() -> ReadSettings {
        ReadSettings { max_lookback: "1h".parse().unwrap(), delay: std::time::Duration::from_secs(5) }
    }

    /// `a` has 10 calls a slice, `b` 20 in those of the last `hours_of_b`; one of each fails.
    fn outcomes(plan: &BudgetPlan, hours_of_b: i64) -> Vec<Outcome> {
        let at = Timestamp::from_millis(END);
        let answer = |query: &PlannedQuery, asked| {
            let Some(Asked::Slices(grid)) = asked else { return Outcome::NotAsked };
            let failures = if query.text.contains("code") { 1.0 } else { 0.0 };
            let column = |service: &str, le: &str, calls: f64, hours: i64| Series {
                labels: Labels::new().with("service", service).with("le", le),
                samples: grid
                    .iter()
                    .filter(|time| at.millis() - time.millis() < hours * HOUR)
                    .map(|time| Sample { time, value: calls })
                    .collect(),
            };
            let mut series = Vec::new();
            for (service, calls, hours) in [("a", 10.0, i64::MAX / HOUR), ("b", 20.0, hours_of_b)] {
                series.push(column(service, "0.1", (calls - failures) / 2.0, hours));
                series.push(column(service, "+Inf", calls - failures, hours));
            }
            Outcome::Answered(Arc::new(Table::new(series, grid, query.member_label.as_deref())))
        };
        plan.queries(at).into_iter().map(|(query, asked)| answer(query, asked)).collect()
    }

    #[test]
    fn a_month_is_asked_for_by_the_hour_and_never_at_once() {
        let plan = plan("30d");
        let at = Timestamp::from_millis(END);
        let asked: Vec<_> =
            plan.queries(at).into_iter().filter_map(|(query, asked)| Some((&query.text, asked?))).collect();
        assert_eq!(asked.len(), 2, "{asked:?}");
        for (text, asked) in asked {
            assert!(text.contains("[1h]"), "{text}");
            let Asked::Slices(grid) = asked else { panic!("{text}") };
            assert_eq!((grid.points(), grid.end().millis() - grid.start().millis()), (720, 719 * HOUR));
            assert_eq!(grid.end(), at);
        }
    }

    #[test]
    fn slices_lie_side_by_side_within_any_window() {
        for (window, slice, count) in
            [("30d", "1h", 720), ("28d", "56m", 720), ("90d", "3h", 720), ("1d", "5m", 288), ("1h", "5m", 12)]
        {
            let plan = plan(window);
            let grid = plan.slices(Timestamp::from_millis(END));
            assert_eq!((plan.slice.to_string().as_str(), grid.points()), (slice, count), "{window}");
        }
        // One that is no longer than a slice is asked for as it is.
        let short = plan("3m");
        assert_eq!((short.slice, short.slices(Timestamp::from_millis(END)).points()), (short.window, 1));
    }

    #[test]
    fn counts_are_added_up_and_a_component_that_was_there_for_a_part_is_named() {
        let plan = plan("30d");
        let at = Timestamp::from_millis(END);
        for (hours, expected) in
            [(24 * 15, vec![ComponentId(1)]), (24 * 30, vec![]), (0, vec![ComponentId(1)])]
        {
            let reading = plan.read(&outcomes(&plan, hours), at, &settings()).unwrap();
            assert_eq!(reading.in_part, expected, "{hours}");
            let counts = |i: usize| match &reading.evidence.components[i].measurement {
                Measurement::Counts(counts) => Some((counts.total(), counts.good())),
                _ => None,
            };
            assert_eq!(counts(0), Some((7_200.0, 6_480.0)));
            let slices = hours as f64;
            assert_eq!(counts(1), (hours > 0).then_some((20.0 * slices, 19.0 * slices)), "{hours}");
            assert_eq!(reading.evidence.window, plan.window);
        }
    }

    #[test]
    fn a_sum_that_lacks_an_answer_is_none() {
        let plan = plan("30d");
        let at = Timestamp::from_millis(END);
        let whole = outcomes(&plan, 720);
        for id in (0..whole.len()).filter(|&id| matches!(whole[id], Outcome::Answered(_))) {
            for lost in [Outcome::Failed, Outcome::Incomplete, Outcome::Malformed, Outcome::NotAsked] {
                let mut outcomes = whole.clone();
                outcomes[id] = lost;
                assert_eq!(plan.read(&outcomes, at, &settings()), None);
            }
        }
    }
}
