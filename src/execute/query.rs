//! Queries over synthetic series and those of the upstream together: everything that a plan needs is fetched at once,
//! then the pure evaluator runs on a blocking thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use http::HeaderMap;

use super::engine::Engine;
use super::fetch::MAX_POINTS;
use super::query_request::{AskedAs, ask};
use super::selection::{SelectError, Selected};
use crate::promql::annotation::merged;
use crate::promql::evaluate::{Evaluated, EvaluationError, evaluate};
use crate::promql::limits::Options;
use crate::promql::pushdown::{QueryPlan, Read};
use crate::promql::pushdown_answer::{Gathered, UnusableAnswer};
use crate::promql::source::Selection;
use crate::promql::value::Value;
use crate::series::Series;
use crate::upstream::memory::{Exhausted, Reserved};
use crate::upstream::{MemoryBudget, UpstreamError};
use crate::wire::prometheus_json::Annotations;

/// The most requests of one query that the upstream works on at a time: below the 20 that a Prometheus runs at once.
const CONCURRENCY: usize = 8;

/// What one point of the grid takes in a selection, in bytes; a generous guess.
const POINT_BYTES: usize = 256;

/// What one value of an evaluation takes, in what an expression is made of and in what it makes, in bytes.
const VALUE_BYTES: usize = 32;

/// The most samples read and values made by a query that counts as small.
const SMALL: usize = 100_000;

/// The most characters × values of a query that is evaluated where it is asked: some tens of microseconds.
const BRIEF: usize = 20_000;

/// The most evaluations at a time, of those that are not small.
pub(super) const EVALUATIONS: usize = 8;

/// How long a query waits for its turn to be evaluated.
const MAX_WAIT: Duration = Duration::from_millis(250);

/// How a query is run.
#[derive(Debug, Clone)]
pub struct Running {
    /// Bounds and dialect of the evaluation.
    pub options: Options,
    /// When nobody waits any more.
    pub deadline: Instant,
    /// The headers of the client: the upstream sees the client's own credentials and tenant, where it may.
    pub headers: HeaderMap,
    /// `lookback_delta`, where the client names one: the upstream is told too.
    pub lookback_millis: Option<u64>,
    /// The greatest answer of the upstream, in bytes.
    pub body_limit: usize,
    /// What all of them together may take.
    pub memory: MemoryBudget,
}

/// The answer to a planned query.
#[derive(Debug)]
pub struct Run {
    /// The value.
    pub value: Value,
    /// The notes of the upstream and of the evaluation here, each once.
    pub annotations: Annotations,
    /// How many samples the evaluation here read.
    pub samples_read: usize,
    /// The most values, series × steps, that it held at a time.
    pub peak_values: usize,
    /// How long fetching took.
    pub fetching: Duration,
    /// How long the evaluation here took.
    pub evaluating: Duration,
}

/// Why a planned query has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RunError {
    /// The evaluation failed.
    #[error(transparent)]
    Evaluation(#[from] EvaluationError),
    /// Synthetic series cannot be given.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The upstream cannot be asked.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The upstream's answer is not one to the question.
    #[error("upstream {upstream}: {fault}")]
    Unusable {
        /// Its address, without credentials.
        upstream: String,
        /// What is wrong.
        fault: UnusableAnswer,
    },
    /// The deadline passed.
    #[error("query timed out in expression evaluation")]
    Timeout,
    /// It takes more memory than there is, now or at all.
    #[error(transparent)]
    NoRoom(#[from] Exhausted),
    /// Too many queries are being evaluated.
    #[error("too many queries are being evaluated at the moment")]
    Busy,
    /// The evaluation ended in a panic.
    #[error("the evaluation ended in a fault of its own; the log says more")]
    Internal,
}

/// Runs a plan. Dropping the future ends the requests to the upstream, and the evaluation soon after.
///
/// # Errors
/// [`RunError`]. An instant that cannot be answered, or a range without any step that can, is an error and not an empty
/// answer: a rule keeps firing on an error, and resolves on emptiness.
pub async fn run(engine: &Arc<Engine>, plan: QueryPlan, running: Running) -> Result<Run, RunError> {
    let begun = Instant::now();
    let selections = running.memory.reserve(selection_bytes(engine, &plan))?;
    let deadline = tokio::time::Instant::from_std(running.deadline);
    let fetching =
        async { tokio::try_join!(answers(engine, &plan, &running), ours(engine, &plan, &running)) };
    let (answered, selected) =
        tokio::time::timeout_at(deadline, fetching).await.map_err(|_| RunError::Timeout)??;
    check_answered(&plan, &selected, &running.options)?;
    let mut annotations = answered.annotations;
    let mut series_of_ours = Vec::with_capacity(selected.len());
    for mut selected in selected {
        annotations.warnings.append(&mut selected.warnings);
        annotations.infos.append(&mut selected.infos);
        series_of_ours.push(selected.series);
    }
    let fetching = begun.elapsed();
    let (options, awaited) = running.options.while_awaited();
    let upstream = engine.upstream().name().to_owned();
    let all = answered.series.iter().chain(&series_of_ours).flatten();
    let (samples, series) =
        all.fold((0, 0), |(samples, series), one| (samples + one.samples.len(), series + 1));
    // Each holds its series and its values, also those of the steps of its subqueries: as many at once as there may be
    // memory for. Small ones need no turn, so that a few slow queries of somebody's do not keep rules from their answers.
    let steps = plan.query().most_steps(plan.grid(), &options)?.max(plan.grid().points());
    let values = steps.saturating_mul(series);
    let made = running.memory.reserve(values.saturating_mul(VALUE_BYTES))?;
    let turn = if samples.saturating_add(values) <= SMALL {
        None
    } else {
        let turn = tokio::time::timeout(MAX_WAIT, Arc::clone(&engine.evaluations).acquire_owned()).await;
        Some(turn.map_err(|_| RunError::Busy)?.map_err(|_| RunError::Busy)?)
    };
    let at_once = is_brief(plan.query().text(), samples.saturating_add(values));
    let work = move || -> Result<(Evaluated, Duration), RunError> {
        // Given back when the work is done, though nobody may wait any more.
        let _held = (turn, answered.reserved, selections, made);
        let begun = Instant::now();
        let gathered = Gathered::new(&plan, answered.series, series_of_ours)
            .map_err(|fault| RunError::Unusable { upstream, fault })?;
        let evaluated = evaluate(plan.query(), plan.grid(), plan.range_query(), &options, &gathered)?;
        Ok((evaluated, begun.elapsed()))
    };
    let (evaluated, evaluating) = if at_once {
        work()?
    } else {
        match tokio::time::timeout_at(deadline, tokio::task::spawn_blocking(work)).await {
            Err(_) => return Err(RunError::Timeout),
            Ok(Err(_)) => return Err(RunError::Internal),
            Ok(Ok(done)) => done?,
        }
    };
    drop(awaited);
    annotations.warnings.extend(evaluated.annotations.warnings());
    annotations.infos.extend(evaluated.annotations.infos());
    annotations.warnings = merged(annotations.warnings);
    annotations.infos = merged(annotations.infos);
    Ok(Run {
        value: evaluated.value,
        annotations,
        samples_read: evaluated.samples_read,
        peak_values: evaluated.peak_values,
        fetching,
        evaluating,
    })
}

/// Whether an evaluation takes less than handing it to another thread does: each value is looked at by at most each
/// character of the text. Subqueries, whose steps may belong to no selector, are written with a colon.
fn is_brief(text: &str, values: usize) -> bool {
    !text.contains(':') && text.len().saturating_mul(values) <= BRIEF
}

/// What the selections of a plan may hold, by the points of the evaluation grid that they reach over: many queries that
/// wait for a long past would fill the memory with what each has of it.
fn selection_bytes(engine: &Engine, plan: &QueryPlan) -> usize {
    let interval = engine.interval_millis().unsigned_abs().max(1);
    let points = |read: &Read| {
        let span = read.selection.to.millis().abs_diff(read.selection.from.millis());
        usize::try_from(span / interval).unwrap_or(usize::MAX).min(MAX_POINTS)
    };
    plan.reads().iter().filter(|read| read.ours).map(points).sum::<usize>() * POINT_BYTES
}

/// The answers to all requests, in their order.
struct Answers {
    series: Vec<Vec<Series>>,
    annotations: Annotations,
    /// What they take.
    reserved: Vec<Reserved>,
}

async fn answers(engine: &Arc<Engine>, plan: &QueryPlan, running: &Running) -> Result<Answers, RunError> {
    let upstream = &**engine.upstream();
    let asked_as = AskedAs {
        headers: &running.headers,
        lookback_millis: running.lookback_millis,
        body_limit: running.body_limit,
        memory: &running.memory,
        deadline: running.deadline,
    };
    let asked: Vec<BoxFuture<'_, _>> =
        plan.requests().iter().map(|request| ask(upstream, request, asked_as).boxed()).collect();
    let answered: Vec<_> = futures::stream::iter(asked).buffered(CONCURRENCY).try_collect().await?;
    let mut answers =
        Answers { series: Vec::new(), annotations: Annotations::default(), reserved: Vec::new() };
    for (request, answered) in plan.requests().iter().zip(answered) {
        let translated = |note: &String| request.translated(note, plan.query());
        let notes = answered.annotations;
        answers.annotations.warnings.extend(notes.warnings.iter().map(translated));
        answers.annotations.infos.extend(notes.infos.iter().map(translated));
        answers.series.push(answered.series);
        answers.reserved.push(answered.reserved);
    }
    Ok(answers)
}

/// What the reads of a plan select of the synthetic series, in their order; nothing for those that are the upstream's.
async fn ours(engine: &Arc<Engine>, plan: &QueryPlan, running: &Running) -> Result<Vec<Selected>, RunError> {
    let mut selecting: Vec<BoxFuture<'_, Result<Selected, SelectError>>> = Vec::new();
    for read in plan.reads() {
        selecting.push(match read.ours {
            true => select(engine, &read.selection, running.deadline).boxed(),
            false => std::future::ready(Ok(Selected::default())).boxed(),
        });
    }
    Ok(futures::future::try_join_all(selecting).await?)
}

async fn select(
    engine: &Arc<Engine>,
    selection: &Selection,
    deadline: Instant,
) -> Result<Selected, SelectError> {
    engine.select(selection.matchers.matchers(), selection.from, selection.to, deadline).await
}

/// Whether some step of each selector of ours can be answered.
fn check_answered(plan: &QueryPlan, selected: &[Selected], options: &Options) -> Result<(), RunError> {
    if selected.iter().all(|selected| selected.unanswered.is_empty()) {
        return Ok(());
    }
    let query = plan.query();
    for (at, times) in query.looked_at(plan.grid(), options)?.into_iter().enumerate() {
        let mine = |read: &Read| Some(&read.selection.matchers) == query.selectors().get(at);
        let answers: Vec<&Selected> = plan
            .reads()
            .iter()
            .zip(selected)
            .filter(|(read, _)| mine(read))
            .map(|(_, selected)| selected)
            .collect();
        let mut last = None;
        let none_answered = times.iter().all(|&time| {
            last = answers.iter().find_map(|answer| answer.unanswered_at(time));
            last.is_some()
        });
        if let (true, Some(fault)) = (none_answered, last) {
            return Err(fault.clone().into());
        }
    }
    Ok(())
}
