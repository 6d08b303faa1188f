//! What is left of the error budgets: the objective's window, evaluated in the background.
//!
//! A month of evidence takes a server seconds, and changes little from one evaluation to the next. So the loop, on which
//! pages depend, never waits for it: it takes what was found last, for as long as that is not old. Journeys are asked for
//! one by one, with pauses, so that the upstream is busy with them for a quarter of the time at most.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::StreamExt as _;

use super::counters::add;
use super::engine::Engine;
use super::fetch::{self, When};
use super::model::ModelledJourney;
use super::pass::blocking;
use crate::algebra::compose::Composer;
use crate::journey::variant::labels_of;
use crate::plan::answer::Outcome;
use crate::plan::budget::{Asked, BudgetPlan};
use crate::synthetic::evaluation::BudgetEvaluation;
use crate::unit::{Timestamp, Window};

/// How often a budget is evaluated.
const PERIOD_MILLIS: i64 = 5 * 60_000;

/// For how many periods a budget is shown at most; a share of its window where that is longer.
const SHOWN_PERIODS: i64 = 3;

/// The share of its window for which a budget is shown: in it, no more than this share of the window can have passed.
const SHOWN_SHARE: u64 = 720;

/// How far before the newest point a budget ends. VictoriaMetrics repeats a range query's last point from before
/// `-search.latencyOffset` (30 s) for the rest of it: the slice before would be counted twice and the newest not at all.
const LATENESS_MILLIS: i64 = 60_000;

/// The most queries of a budget at a time.
const CONCURRENCY: usize = 2;

/// How long the queries of one budget may take: nobody waits.
const DEADLINE: Duration = Duration::from_secs(60);

/// How much longer than the queries of a budget the pause after them is.
const PAUSES: u32 = 3;

/// How often it is looked what is due.
const LOOK: Duration = Duration::from_secs(1);

/// The newest budget of one journey.
struct Found {
    digest: String,
    /// When it was last asked for, with whatever result.
    asked: Timestamp,
    budget: Option<Arc<BudgetEvaluation>>,
}

/// The newest budgets, by journey.
#[derive(Default)]
pub(super) struct Budgets(RwLock<HashMap<String, Found>>);

impl Budgets {
    /// That of a journey for a point at `time`, while it is not too old.
    pub(super) fn at(&self, known: &ModelledJourney, time: Timestamp) -> Option<Arc<BudgetEvaluation>> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let found = all.get(&known.journey.name).filter(|found| found.digest == known.info.digest)?;
        let budget = found.budget.as_ref()?;
        let share = i64::try_from(budget.window.millis() / SHOWN_SHARE).unwrap_or(i64::MAX);
        let shown = (PERIOD_MILLIS * SHOWN_PERIODS).max(share);
        (time <= budget.time.plus_millis(shown)).then(|| Arc::clone(budget))
    }

    fn is_due(&self, known: &ModelledJourney, now: Timestamp) -> bool {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        // A variant lives for hours: what it leaves of weeks says nothing.
        labels_of(&known.journey.name).1.is_empty()
            && known.journey.objectives.availability.is_some()
            && all.get(&known.journey.name).is_none_or(|found| {
                found.digest != known.info.digest || found.asked.plus_millis(PERIOD_MILLIS) <= now
            })
    }

    fn retain(&self, is_known: impl Fn(&str) -> bool) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|name, _| is_known(name));
    }

    /// As if none had been found.
    pub(super) fn forget(&self) {
        self.retain(|_| false);
    }

    fn keep(&self, known: &ModelledJourney, asked: Timestamp, budget: Option<BudgetEvaluation>) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = all.remove(&known.journey.name).filter(|found| found.digest == known.info.digest);
        let budget = budget.map(Arc::new).or(before.and_then(|found| found.budget));
        all.insert(known.journey.name.clone(), Found { digest: known.info.digest.clone(), asked, budget });
    }
}

impl Engine {
    /// Evaluates budgets that are due, again and again. Never ends.
    pub(super) async fn keep_budgets(self: Arc<Self>) {
        loop {
            for known in self.due_budgets() {
                let begun = Instant::now();
                self.evaluate_budget(&known).await;
                tokio::time::sleep(begun.elapsed() * PAUSES).await;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Evaluates what is left of the error budget of every journey for which that is due, one after the other; what is
    /// found is shown from the next evaluation on. One that cannot be had stays as it was, until it is too old.
    /// [`Self::run`] does so by itself.
    pub async fn evaluate_budgets(&self) {
        for known in self.due_budgets() {
            self.evaluate_budget(&known).await;
        }
    }

    fn due_budgets(&self) -> Vec<ModelledJourney> {
        let model = self.model();
        self.budgets.retain(|name| model.journey(name).is_some());
        let now = self.due();
        model.journeys.iter().filter(|known| self.budgets.is_due(known, now)).cloned().collect()
    }

    async fn evaluate_budget(&self, known: &ModelledJourney) {
        let Some(objective) = &known.journey.objectives.availability else { return };
        let now = self.due();
        let at = now.plus_millis(-LATENESS_MILLIS);
        let budget = self.budget(known, objective.window, at).await;
        self.budgets.keep(known, now, budget);
    }

    fn due(&self) -> Timestamp {
        self.last_due((self.settings.clock)())
    }

    async fn budget(
        &self,
        known: &ModelledJourney,
        window: Window,
        at: Timestamp,
    ) -> Option<BudgetEvaluation> {
        let plan = BudgetPlan::new(&known.journey, window, self.settings.interval);
        let deadline = Instant::now() + DEADLINE;
        let queries = plan.queries(at);
        let mut outcomes = vec![Outcome::NotAsked; queries.len()];
        // Of one server alone, since replicas do not hold the same.
        let upstream = self.upstream.pinned(None).unwrap_or_else(|| Arc::clone(&self.upstream));
        let upstream = &*upstream;
        let asked = queries.iter().enumerate().filter_map(|(id, (query, asked))| {
            let when = match (*asked)? {
                Asked::Once => When::Instant(at),
                Asked::Slices(grid) => When::Grid(grid),
            };
            Some(async move { (id, fetch::ask(upstream, query, when, deadline).await) })
        });
        let asked: Vec<_> = asked.collect();
        let mut answers = futures::stream::iter(asked).buffer_unordered(CONCURRENCY);
        while let Some((id, (outcome, fault))) = answers.next().await {
            add(&self.counting.queries, 1);
            if !matches!(outcome, Outcome::Answered(_)) {
                add(&self.counting.failed_queries, 1);
                let fault = fault.map_or_else(|| "answered in part".to_owned(), |fault| fault.to_string());
                tracing::warn!(journey = known.journey.name, %window, fault, "no error budget could be had");
                return None;
            }
            outcomes[id] = outcome;
        }
        drop(answers);
        let settings = self.read_settings();
        let reading = plan.read(&outcomes, at, &settings)?;
        let journey = Arc::clone(&known.journey);
        let permit = Arc::clone(&self.side_work).acquire_owned().await;
        Some(
            blocking(move || {
                let _permit = permit;
                let composition = Composer::new().compose(&journey, &reading.evidence, &[]);
                BudgetEvaluation {
                    time: at,
                    window,
                    composition: Arc::new(composition),
                    in_part: reading.in_part,
                }
            })
            .await,
        )
    }
}
