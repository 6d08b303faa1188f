//! Asking the upstream the queries of a plan, a few at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::BoxFuture;

use crate::journey::Journey;
use crate::plan::EvidencePlan;
use crate::plan::answer::{Outcome, Table};
use crate::plan::evidence::{PlannedQuery, QueryId, QueryKind, SLOW_SHARE};
use crate::plan::read::{Answers, ReadSettings, Reading};
use crate::series::StepGrid;
use crate::unit::{Timestamp, Window};
use crate::upstream::{Answer, Upstream, UpstreamError};

/// The most evidence queries asked at once: below the 20 that a Prometheus runs at a time.
const CONCURRENCY: usize = 8;

/// The most points of a range query: Prometheus refuses 11,001.
pub(super) const MAX_POINTS: usize = 11_000;

/// The outcomes of a plan's queries, and what went wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct Fetched {
    /// One for each query of the plan, in its order.
    pub outcomes: Vec<Outcome>,
    /// How many were sent.
    pub sent: u64,
    /// How many of those failed or were incomplete.
    pub failed: u64,
    /// The first failure, in the order of the queries.
    pub fault: Option<UpstreamError>,
    /// Series in all answers.
    pub series: usize,
}

impl Fetched {
    /// Whether all of it is complete, so that it may be kept.
    pub(super) const fn is_complete(&self) -> bool {
        self.failed == 0
    }
}

/// When a query is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    Instant(Timestamp),
    Grid(StepGrid),
}

/// Asks for everything at one time. `now` is the clock, `None` where the past is evaluated. `known` may give an answer
/// that was had before.
pub(super) async fn at_instant(
    upstream: &dyn Upstream,
    plan: &EvidencePlan,
    at: Timestamp,
    now: Option<Timestamp>,
    deadline: Instant,
    known: impl Fn(&PlannedQuery, Timestamp) -> Option<Outcome>,
) -> Fetched {
    let tasks = plan.queries().iter().enumerate().map(|(id, query)| {
        let time = plan.time_of(query.kind, at, now);
        let known = time.and_then(|time| known(query, time));
        let when = time.map(|time| match query.kind {
            kind @ QueryKind::SubWindows(_) => {
                plan.grid_of(kind, time, time).map_or(When::Instant(time), When::Grid)
            }
            _ => When::Instant(time),
        });
        (id, query, when, known)
    });
    collect(upstream, plan, tasks.collect(), deadline).await
}

/// Asks for everything on a grid, the past evaluated: one range query each, side queries on their own coarser grid.
pub(super) async fn on_grid(
    upstream: &dyn Upstream,
    plan: &EvidencePlan,
    grid: StepGrid,
    deadline: Instant,
) -> Fetched {
    let tasks = plan.queries().iter().enumerate().map(|(id, query)| {
        let when = match query.kind {
            QueryKind::Ahead => None,
            kind if kind.is_side() => plan.grid_of(kind, grid.start(), grid.end()).map(When::Grid),
            _ => Some(When::Grid(grid)),
        };
        (id, query, when, None)
    });
    collect(upstream, plan, tasks.collect(), deadline).await
}

async fn collect(
    upstream: &dyn Upstream,
    plan: &EvidencePlan,
    mut tasks: Vec<(QueryId, &PlannedQuery, Option<When>, Option<Outcome>)>,
    deadline: Instant,
) -> Fetched {
    // What only tells how wide an interval is must not make the evidence itself late.
    tasks.sort_by_key(|(_, query, ..)| matches!(query.kind, QueryKind::SubWindows(_)));
    let mut fetched = Fetched {
        outcomes: vec![Outcome::NotAsked; plan.queries().len()],
        sent: 0,
        failed: 0,
        fault: None,
        series: 0,
    };
    let mut asked: Vec<BoxFuture<'_, (QueryId, Outcome, Option<UpstreamError>)>> = Vec::new();
    for (id, query, when, known) in tasks {
        match (when, known) {
            (None, _) => {}
            (Some(_), Some(known)) => fetched.outcomes[id] = known,
            (Some(when), None) => asked.push(Box::pin(async move {
                let (outcome, fault) = ask(upstream, query, when, deadline).await;
                (id, outcome, fault)
            })),
        }
    }
    let mut first_fault = None;
    let mut answers = futures::stream::iter(asked).buffer_unordered(CONCURRENCY);
    while let Some((id, outcome, fault)) = answers.next().await {
        fetched.sent += 1;
        match &outcome {
            Outcome::Answered(table) => fetched.series += table.len(),
            _ => fetched.failed += 1,
        }
        if let Some(fault) = fault
            && first_fault.as_ref().is_none_or(|(first, _)| id < *first)
        {
            first_fault = Some((id, fault));
        }
        fetched.outcomes[id] = outcome;
    }
    fetched.fault = first_fault.map(|(_, fault)| fault);
    fetched
}

/// Asks one query; whatever comes late is a failure.
pub(super) async fn ask(
    upstream: &dyn Upstream,
    query: &PlannedQuery,
    when: When,
    deadline: Instant,
) -> (Outcome, Option<UpstreamError>) {
    let label = query.member_label.as_deref();
    let grid = match when {
        When::Grid(grid) => grid,
        When::Instant(time) => match Window::from_millis(1) {
            Ok(step) => StepGrid::instant(time, step),
            Err(_) => return (Outcome::NotAsked, None),
        },
    };
    let asking = async {
        match when {
            When::Instant(time) => upstream.instant(&query.text, time, deadline).await,
            When::Grid(grid) => upstream.range(&query.text, grid, deadline).await,
        }
    };
    // Whoever implements the trait may forget the deadline; a pass that hangs would stop every journey.
    let late = deadline + Duration::from_millis(500);
    let answer = tokio::time::timeout_at(late.into(), asking)
        .await
        .unwrap_or_else(|_| Err(UpstreamError::Timeout { upstream: upstream.name().to_owned() }));
    match answer {
        Ok(Answer { series, warnings }) if warnings.is_empty() => {
            let table = Table::new(series, grid, label);
            let table = match query.kind {
                QueryKind::SubWindows(_) => table.condensed(SLOW_SHARE),
                _ => table,
            };
            (Outcome::Answered(Arc::new(table)), None)
        }
        Ok(_) => (Outcome::Incomplete, None),
        Err(fault @ UpstreamError::Malformed { .. }) => (Outcome::Malformed, Some(fault)),
        Err(fault) => (Outcome::Failed, Some(fault)),
    }
}

/// The evidence of some journeys at one time, without an engine.
///
/// `windows`: those to evaluate; `None`: the declared ones of each journey. Longer declared windows up to
/// `settings.max_lookback` are asked for too, since they may have to stand in for one without traffic. One reading for
/// each journey, which holds just the windows asked for.
///
/// # Errors
/// The upstream's failure, where no journey can be read.
pub async fn fetch_evidence(
    upstream: &dyn Upstream,
    journeys: &[Arc<Journey>],
    windows: Option<&[Window]>,
    at: Timestamp,
    settings: &ReadSettings,
    deadline: Instant,
) -> Result<Vec<Reading>, UpstreamError> {
    let planned: Vec<(Arc<Journey>, Vec<Window>)> = journeys
        .iter()
        .map(|journey| {
            let asked = windows.unwrap_or(&journey.windows);
            (Arc::clone(journey), with_stand_ins(journey, asked, settings.max_lookback))
        })
        .collect();
    let interval = Window::from_millis(15_000).unwrap_or(settings.max_lookback);
    let plan = EvidencePlan::with_windows(&planned, interval);
    let fetched = at_instant(upstream, &plan, at, None, deadline, |_, _| None).await;
    let mut readings = Answers::new(&plan, &fetched.outcomes).read(at, None, settings);
    if let (true, Some(fault)) = (readings.iter().all(|r| *r == Reading::Unusable), fetched.fault)
        && !readings.is_empty()
    {
        return Err(fault);
    }
    for (reading, journey) in readings.iter_mut().zip(journeys) {
        keep_windows(reading, windows.unwrap_or(&journey.windows));
    }
    Ok(readings)
}

/// `asked` and the declared windows that may stand in for one of them.
pub(super) fn with_stand_ins(journey: &Journey, asked: &[Window], max_lookback: Window) -> Vec<Window> {
    let shortest = asked.iter().min();
    let may_stand_in = |w: &&Window| **w <= max_lookback && shortest.is_some_and(|shortest| *w > shortest);
    let mut all: Vec<Window> =
        asked.iter().chain(journey.windows.iter().filter(may_stand_in)).copied().collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Drops what was asked for only to stand in.
pub(super) fn keep_windows(reading: &mut Reading, asked: &[Window]) {
    if let Reading::Evidence { windows, flaws, .. } = reading {
        windows.retain(|reading| asked.contains(&reading.window));
        let of_journey = flaws.iter().filter(|flaw| flaw.component.is_none()).copied();
        let mut kept: Vec<_> = of_journey.collect();
        for window in windows {
            for (at, component) in window.evidence.components.iter().enumerate() {
                let component_id = Some(crate::journey::component::ComponentId(at));
                kept.extend(
                    component.reasons.iter().map(|&reason| crate::synthetic::evaluation::Flaw {
                        reason,
                        component: component_id,
                    }),
                );
            }
        }
        kept.sort_unstable();
        kept.dedup();
        *flaws = kept;
    }
}
