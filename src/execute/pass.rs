//! One pass of the evaluation loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use super::counters::add;
use super::engine::{Engine, Kept};
use super::evaluate::{self, Work};
use super::fetch;
use super::model::ModelledJourney;
use super::samples::{Point, PointState};
use super::selection::SelectError;
use crate::algebra::compose::Composer;
use crate::journey::evidence::Reason;
use crate::plan::answer::Outcome;
use crate::plan::evidence::PlannedQuery;
use crate::plan::read::{Answers, Reading};
use crate::synthetic::evaluation::{BudgetEvaluation, Evaluation};
use crate::synthetic::render;
use crate::unit::Timestamp;

/// By how many points the clock may step back before what was evaluated is dropped.
const STEPS_BACK: i64 = 2;

/// What one pass leaves for the next.
#[derive(Default)]
pub(super) struct PassState {
    last: Option<Timestamp>,
    /// Answers of side queries, with the time that they were asked for.
    side: HashMap<PlannedQuery, (Timestamp, Outcome)>,
    /// The newest evaluation of each journey that had evidence.
    good: HashMap<String, Arc<Evaluation>>,
}

/// One journey's share of a pass.
struct Task {
    known: ModelledJourney,
    reading: Reading,
    newest: Option<Arc<Evaluation>>,
    budget: Option<Arc<BudgetEvaluation>>,
    kept: Kept,
}

/// What holds for all journeys of a pass.
#[derive(Clone)]
struct Context {
    time: Timestamp,
    forget_before: Timestamp,
    interval: i64,
    model_invalid: bool,
    fault: Arc<str>,
}

/// A journey's evaluation, and whether it rests on fresh evidence.
struct Done {
    evaluation: Arc<Evaluation>,
    good: bool,
}

impl Engine {
    /// Evaluates all journeys at the grid point `time`, unless it lies in the past.
    pub(super) async fn pass(&self, time: Timestamp) {
        let mut state = self.pass.lock().await;
        if state.last.is_some_and(|last| self.is_beyond_the_clock(last)) {
            self.start_over(&mut state);
        }
        if state.last.is_some_and(|last| last >= time) {
            return;
        }
        self.skip_to(&mut state, time);
        let running = self.running.load_full();
        let now = (self.settings.clock)();
        let deadline = Instant::now() + self.settings.timeout;
        let side = &state.side;
        let plan = &running.plan;
        let known = |query: &PlannedQuery, at: Timestamp| {
            let period = plan.period(query.kind)?.millis();
            let (asked, outcome) = side.get(query)?;
            (*asked <= at && at.millis().abs_diff(asked.millis()) < period).then(|| outcome.clone())
        };
        let fetched = self
            .round(deadline, |upstream| async move {
                fetch::at_instant(&*upstream, plan, time, Some(now), deadline, known).await
            })
            .await;
        add(&self.counting.queries, fetched.sent);
        add(&self.counting.failed_queries, fetched.failed);
        let mut side = HashMap::new();
        for (query, outcome) in running.plan.queries().iter().zip(&fetched.outcomes) {
            if let (true, Outcome::Answered(table)) = (query.kind.is_side(), outcome) {
                side.insert(query.clone(), (table.grid().end(), outcome.clone()));
            }
        }
        state.side = side;
        self.evidence_series.store(fetched.series, std::sync::atomic::Ordering::Relaxed);
        let fault = fetched.fault.as_ref().map_or_else(
            || format!("upstream {} gave no usable evidence", self.upstream.name()),
            ToString::to_string,
        );
        let context = Context {
            time,
            forget_before: time
                .plus_millis(-i64::try_from(self.settings.retention.millis()).unwrap_or(i64::MAX)),
            interval: self.interval_millis(),
            model_invalid: running.model.invalid_since.is_some(),
            fault: fault.into(),
        };
        let settings = self.read_settings();
        let plan = Arc::clone(&running.plan);
        let readings =
            blocking(move || Answers::new(&plan, &fetched.outcomes).read(time, Some(now), &settings));
        let readings = readings.await;
        if !readings.is_empty() && readings.iter().all(|reading| *reading == Reading::Unusable) {
            add(&self.counting.failed_passes, 1);
        }
        let tasks = running.model.journeys.iter().zip(readings).map(|(known, reading)| Task {
            known: known.clone(),
            reading,
            newest: state.good.get(&known.journey.name).cloned(),
            budget: self.budgets.at(known, time),
            kept: self.kept(&known.journey.name),
        });
        let done = self.spread(tasks.collect(), &context).await;
        state.good.retain(|name, _| running.model.journey(name).is_some());
        for done in done.iter().filter(|done| done.good) {
            state.good.insert(done.evaluation.journey.name.clone(), Arc::clone(&done.evaluation));
        }
        self.latest.store(Arc::new(done.into_iter().map(|done| done.evaluation).collect()));
        self.end_removed(&context, |name| running.model.journey(name).is_some());
        state.last = Some(time);
        add(&self.counting.evaluations, 1);
    }

    /// Whether this point can only have been evaluated by a clock that was ahead of what it is now. A small step back is
    /// waited for instead.
    pub(super) fn is_beyond_the_clock(&self, point: Timestamp) -> bool {
        let due = self.last_due((self.settings.clock)());
        point > due.plus_millis(self.interval_millis().saturating_mul(STEPS_BACK))
    }

    /// The clock was set back: what was evaluated by the wrong one is no sample of those times, and would stand still
    /// until the clock is there again. As after a start, all is evaluated and filled anew.
    fn start_over(&self, state: &mut PassState) {
        tracing::warn!(
            newest = state.last.map(Timestamp::seconds),
            "the clock was set back: what was evaluated before is dropped and evaluated again"
        );
        *state = PassState::default();
        self.latest.store(Arc::default());
        self.samples.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.history.forget();
        self.budgets.forget();
    }

    /// Composes, renders and keeps on a bounded number of blocking threads. A journey stays with its thread.
    async fn spread(&self, tasks: Vec<Task>, context: &Context) -> Vec<Done> {
        let threads = self.composers.len();
        let mut shares: Vec<Vec<(usize, Task)>> = (0..threads).map(|_| Vec::new()).collect();
        for (at, task) in tasks.into_iter().enumerate() {
            shares[at % threads].push((at, task));
        }
        let running = shares.into_iter().zip(&self.composers).map(|(share, composer)| {
            let (composer, context) = (Arc::clone(composer), context.clone());
            blocking(move || {
                let mut composer: std::sync::MutexGuard<'_, Composer> =
                    Mutex::lock(&composer).unwrap_or_else(PoisonError::into_inner);
                let mut work = Work::default();
                let done: Vec<(usize, Done)> = share
                    .into_iter()
                    .map(|(at, task)| (at, task.run(&context, &mut composer, &mut work)))
                    .collect();
                (done, work)
            })
        });
        let mut all = Vec::new();
        for (done, work) in futures::future::join_all(running).await {
            add(&self.counting.compositions, work.composed);
            add(&self.counting.reused_compositions, work.reused);
            all.extend(done);
        }
        all.sort_by_key(|(at, _)| *at);
        all.into_iter().map(|(_, done)| done).collect()
    }

    /// Records the points between the last pass and `time` as skipped: every series ends at the first of them.
    fn skip_to(&self, state: &mut PassState, time: Timestamp) {
        let Some(last) = state.last else { return };
        let interval = self.interval_millis();
        let retention = i64::try_from(self.settings.retention.millis()).unwrap_or(i64::MAX);
        let first = last.plus_millis(interval);
        // After a long sleep only what is still retained needs to be told apart.
        let oldest = time.plus_millis(-retention).floor_to(self.settings.interval);
        let mut skipped = Vec::new();
        let mut next = first;
        while next < time {
            skipped.push(next);
            next = next.plus_millis(interval).max(oldest);
        }
        if skipped.is_empty() {
            return;
        }
        add(&self.counting.skipped_points, u64::try_from(skipped.len()).unwrap_or(u64::MAX));
        let all: Vec<Kept> =
            self.samples.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for kept in all {
            let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
            if kept.points().is_empty() {
                continue;
            }
            for &time in &skipped {
                let state = PointState::Unanswered(Arc::new(SelectError::Skipped { time }));
                kept.append(&Point { time, state, samples: Vec::new() });
            }
        }
    }

    /// Journeys that the model no longer has end now, and are forgotten when their last sample is.
    fn end_removed(&self, context: &Context, is_known: impl Fn(&str) -> bool) {
        let mut all = self.samples.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|name, kept| {
            if is_known(name) {
                return true;
            }
            let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
            kept.append(&Point { time: context.time, state: PointState::Answered, samples: Vec::new() });
            kept.forget_before(context.forget_before);
            !kept.is_silent()
        });
    }
}

impl Task {
    fn run(self, context: &Context, composer: &mut Composer, work: &mut Work) -> Done {
        let Self { known, reading, newest, budget, kept } = self;
        let time = context.time;
        let fresh = evaluate::evaluate(&known, time, reading, newest.as_deref(), composer, work)
            .map(|fresh| evaluate::with_budget(fresh, budget));
        let good = fresh.is_some();
        let repeats = fresh
            .as_ref()
            .zip(newest.clone())
            .filter(|(fresh, newest)| !context.model_invalid && evaluate::renders_alike(fresh, newest));
        if let Some((fresh, newest)) = repeats {
            let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
            if kept.newest() == Some(newest.time) {
                kept.repeat(time);
                kept.forget_before(context.forget_before);
                return Done { evaluation: Arc::new(fresh.clone()), good };
            }
        }
        let (mut evaluation, state) = match (fresh, newest) {
            (Some(fresh), _) => (fresh, PointState::Answered),
            (None, Some(newest))
                if newest.time >= time.plus_millis(-context.interval)
                    && newest.model.digest == known.info.digest =>
            {
                (evaluate::stale(&newest, &known, time), PointState::Answered)
            }
            (None, newest) => {
                let evaluation = evaluate::unanswered(&known, time, newest.as_deref());
                let fault =
                    SelectError::Upstream { fault: context.fault.to_string(), age: evaluation.evidence_age };
                (evaluation, PointState::Unanswered(Arc::new(fault)))
            }
        };
        if context.model_invalid {
            evaluate::with_flaw(&mut evaluation, Reason::Model);
        }
        let point = Point { time, state, samples: render::samples(&evaluation) };
        let mut kept = kept.write().unwrap_or_else(PoisonError::into_inner);
        kept.append(&point);
        kept.forget_before(context.forget_before);
        Done { evaluation: Arc::new(evaluation), good }
    }
}

/// Runs pure work off the async threads.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Cancelled: the runtime is shutting down, nobody will see this future again.
            Err(_) => std::future::pending().await,
        },
    }
}
