//! Evaluating the past: spans of the grid by range queries, for the back-fill and for selections beyond what is kept.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use moka::future::Cache;
use rand::RngExt as _;
use tokio::sync::Semaphore;

use super::counters::add;
use super::engine::{Engine, Kept};
use super::evaluate::{self, Work};
use super::fetch;
use super::model::ModelledJourney;
use super::pass::blocking;
use super::samples::{JourneySamples, Point, PointState};
use super::selection::SelectError;
use crate::algebra::compose::Composer;
use crate::plan::EvidencePlan;
use crate::plan::read::Answers;
use crate::series::StepGrid;
use crate::synthetic::evaluation::Evaluation;
use crate::synthetic::render;
use crate::unit::{Timestamp, Window};
use crate::upstream::{Upstream, UpstreamError};

/// Points of one cached block: five minutes of the default interval, which is what an instant query looks back.
const BLOCK_POINTS: i64 = 20;

/// The most points fetched by one request of the past.
const MAX_SPAN_POINTS: i64 = 480;

/// The most requests of the past at a time, per engine.
const CONCURRENCY: usize = 4;

/// How long a request of the past may take, whoever still waits for it.
const DEADLINE: Duration = Duration::from_secs(10);

/// The most bytes of cached blocks.
const CACHE_BYTES: u64 = 64 << 20;

/// How long a block is shown before it is fetched again behind the answer that it is shown in, and how long at most:
/// evidence that reached the upstream late is seen then. Each block has times of its own, up to [`JITTER`] shorter or
/// longer, so that what was fetched together is not fetched together again. By the engine's clock.
const SOFT_TTL: Duration = Duration::from_secs(30 * 60);
const HARD_TTL: Duration = Duration::from_secs(60 * 60);
const JITTER: f64 = 0.2;

/// What a kept series costs beside its samples, in bytes; measured, rounded up.
const BYTES_PER_SERIES: usize = 250;

/// Everything that changes what a block holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct BlockKey {
    upstream: String,
    tenant: Option<String>,
    journey: String,
    digest: String,
    window: Option<Window>,
    start: Timestamp,
}

/// Some points of the past of one journey.
pub(super) type Block = Kept;

/// A block in the cache, and until when.
#[derive(Clone)]
struct Cached {
    block: Block,
    fetched: Timestamp,
    refresh_at: Timestamp,
    drop_at: Timestamp,
}

impl Cached {
    fn new(block: Block, now: Timestamp) -> Self {
        let after = |ttl: Duration| {
            let jittered = ttl.mul_f64(rand::rng().random_range(1.0 - JITTER..1.0 + JITTER));
            now.plus_millis(i64::try_from(jittered.as_millis()).unwrap_or(i64::MAX))
        };
        Self { block, fetched: now, refresh_at: after(SOFT_TTL), drop_at: after(HARD_TTL) }
    }

    /// Not one that was fetched in the future either: the clock was set back.
    fn may_be_shown(&self, now: Timestamp) -> bool {
        (self.fetched..self.drop_at).contains(&now)
    }
}

/// Blocks of one journey's past.
pub(super) struct Past {
    /// With their first points, in the order of time.
    pub(super) blocks: Vec<(Timestamp, Block)>,
    /// When the oldest of those was fetched that are due to be fetched again, if there are such.
    pub(super) overdue_since: Option<Timestamp>,
}

type Flight = Shared<BoxFuture<'static, Result<Vec<(Timestamp, Block)>, SelectError>>>;

/// The cache of the past and what is on its way into it.
pub(super) struct History {
    blocks: Cache<BlockKey, Cached>,
    flights: Mutex<HashMap<(BlockKey, Timestamp), Flight>>,
    slots: Arc<Semaphore>,
}

impl Default for History {
    fn default() -> Self {
        let weigh = |_: &BlockKey, cached: &Cached| {
            let block = cached.block.read().unwrap_or_else(PoisonError::into_inner);
            let bytes = block.sample_bytes() + block.series_count() * BYTES_PER_SERIES;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self {
            blocks: Cache::builder()
                .max_capacity(CACHE_BYTES)
                .weigher(weigh)
                // What nobody asks for any more gives its memory back.
                .time_to_live(HARD_TTL.mul_f64(1.0 + JITTER))
                .build(),
            flights: Mutex::default(),
            slots: Arc::new(Semaphore::new(CONCURRENCY)),
        }
    }
}

impl History {
    /// As if nothing had been fetched; what is on its way still arrives.
    pub(super) fn forget(&self) {
        self.blocks.invalidate_all();
    }
}

/// The points of some journeys on a grid, compressed as they are made: with its labels a sample has half a KiB.
pub(super) struct Span {
    /// For each journey, in their order: its points, in blocks, in the order of time.
    pub(super) journeys: Vec<Vec<JourneySamples>>,
    /// Whether every query was answered completely, so that asking again would give the same.
    pub(super) complete: bool,
}

/// How to evaluate a span.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanOptions {
    /// Only this window; `None`: all.
    pub(super) window: Option<Window>,
    /// Begin a new block at multiples of so many points; `None`: all in one.
    pub(super) block_points: Option<i64>,
    /// Sleep as long as the work took, so that it costs at most half a core.
    pub(super) half_speed: bool,
}

impl Engine {
    /// Evaluates journeys on a grid of at most [`fetch::MAX_POINTS`] points of the past.
    pub(super) async fn span(
        &self,
        journeys: Vec<ModelledJourney>,
        grid: StepGrid,
        options: SpanOptions,
        deadline: Instant,
    ) -> Result<Span, UpstreamError> {
        let max_lookback = self.settings.max_lookback;
        let planned: Vec<_> = journeys
            .iter()
            .map(|known| {
                let journey = Arc::clone(&known.journey);
                let windows = match &options.window {
                    Some(window) => {
                        fetch::with_stand_ins(&journey, std::slice::from_ref(window), max_lookback)
                    }
                    None => journey.windows.clone(),
                };
                (journey, windows)
            })
            .collect();
        let plan = EvidencePlan::with_windows(&planned, self.settings.interval);
        let asked = &plan;
        let round = |upstream: Arc<dyn Upstream>| async move {
            fetch::on_grid(&*upstream, asked, grid, deadline).await
        };
        let fetched = self.round(deadline, round).await;
        add(&self.counting.queries, fetched.sent);
        add(&self.counting.failed_queries, fetched.failed);
        let complete = fetched.is_complete();
        if let (true, Some(fault)) = (fetched.sent == fetched.failed, &fetched.fault) {
            return Err(fault.clone());
        }
        let fault = fetched.fault.as_ref().map_or_else(
            || format!("upstream {} gave no usable evidence", self.upstream.name()),
            ToString::to_string,
        );
        let settings = self.read_settings();
        let block_millis = options.block_points.map(|points| self.interval_millis().saturating_mul(points));
        let permit = Arc::clone(&self.side_work).acquire_owned().await;
        let worked = blocking(move || {
            let _permit = permit;
            let mut composer = Composer::new();
            let mut work = Work::default();
            let mut previous: Vec<Option<Arc<Evaluation>>> = vec![None; journeys.len()];
            let mut all: Vec<Vec<JourneySamples>> = journeys.iter().map(|_| Vec::new()).collect();
            let mut block = None;
            for time in grid.iter() {
                let began = Instant::now();
                let of = block_millis.map(|length| time.millis().div_euclid(length));
                if block.replace(of) != Some(of) {
                    all.iter_mut().for_each(|blocks| blocks.push(JourneySamples::default()));
                }
                let readings = Answers::new(&plan, &fetched.outcomes).read(time, None, &settings);
                for (at, (known, mut reading)) in journeys.iter().zip(readings).enumerate() {
                    if let Some(window) = &options.window {
                        fetch::keep_windows(&mut reading, std::slice::from_ref(window));
                    }
                    let before = previous[at].as_deref();
                    let evaluation =
                        evaluate::evaluate(known, time, reading, before, &mut composer, &mut work)
                            .map(Arc::new);
                    let point = match &evaluation {
                        Some(evaluation) => {
                            Point { time, state: PointState::Answered, samples: render::samples(evaluation) }
                        }
                        None => unanswered(known, time, before, &fault),
                    };
                    if let Some(block) = all[at].last_mut() {
                        block.append(&point);
                    }
                    previous[at] = evaluation.or(previous[at].take());
                }
                if options.half_speed {
                    std::thread::sleep(began.elapsed());
                }
            }
            (all, work)
        });
        let (journeys, work) = worked.await;
        add(&self.counting.compositions, work.composed);
        add(&self.counting.reused_compositions, work.reused);
        Ok(Span { journeys, complete })
    }

    /// The blocks that cover `[first, last]` (grid points) of one journey, from the cache or the upstream, in the order
    /// of time. What is fetched is fetched to its end, even when nobody waits any more: otherwise an impatient client
    /// starts the same work again and again and never sees it done.
    pub(super) async fn past(
        self: &Arc<Self>,
        known: &ModelledJourney,
        window: Option<Window>,
        first: Timestamp,
        last: Timestamp,
        deadline: Instant,
    ) -> Result<Past, SelectError> {
        let length = self.interval_millis().saturating_mul(BLOCK_POINTS);
        let block_length = Window::from_millis(length.unsigned_abs()).unwrap_or(self.settings.interval);
        let key = |start| BlockKey {
            upstream: self.upstream.name().to_owned(),
            tenant: self.upstream.tenant().map(str::to_owned),
            journey: known.journey.name.clone(),
            digest: known.info.digest.clone(),
            window,
            start,
        };
        let mut blocks = Vec::new();
        let (mut missing, mut to_refresh): (Vec<Timestamp>, Vec<Timestamp>) = (Vec::new(), Vec::new());
        let mut overdue_since: Option<Timestamp> = None;
        let now = (self.settings.clock)();
        let mut start = first.floor_to(block_length);
        while start <= last {
            match self.history.blocks.get(&key(start)).await.filter(|cached| cached.may_be_shown(now)) {
                Some(cached) => {
                    if now >= cached.refresh_at {
                        to_refresh.push(start);
                        let oldest =
                            overdue_since.map_or(cached.fetched, |oldest| oldest.min(cached.fetched));
                        overdue_since = Some(oldest);
                    }
                    blocks.push((start, cached.block));
                }
                None => missing.push(start),
            }
            start = start.plus_millis(length);
        }
        let most = usize::try_from(MAX_SPAN_POINTS / BLOCK_POINTS).unwrap_or(1);
        let fly = |run: &[Timestamp]| {
            let (first, last) = run.first().zip(run.last())?;
            let end = last.plus_millis(length - self.interval_millis());
            Some(self.flight(known.clone(), key(*first), end))
        };
        let runs = |starts: &[Timestamp]| -> Vec<Vec<Timestamp>> {
            let consecutive = starts.chunk_by(|a, b| a.plus_millis(length) == *b);
            consecutive.flat_map(|run| run.chunks(most)).map(<[Timestamp]>::to_vec).collect()
        };
        let flights: Vec<Flight> = runs(&missing).iter().filter_map(|run| fly(run)).collect();
        // One at a time, and only where nothing is waited for: the rest is refreshed behind the next answers.
        if let (true, Some(run)) = (missing.is_empty(), runs(&to_refresh).first()) {
            let _behind = fly(run);
        }
        for flight in flights {
            let landed = tokio::time::timeout_at(deadline.into(), flight).await;
            blocks.extend(landed.map_err(|_| SelectError::Deadline { time: first })??);
        }
        blocks.sort_by_key(|(start, _)| *start);
        Ok(Past { blocks, overdue_since })
    }

    /// Joins the request that is on its way, or starts one.
    fn flight(self: &Arc<Self>, known: ModelledJourney, first: BlockKey, end: Timestamp) -> Flight {
        let mut flights = self.history.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let id = (first.clone(), end);
        if let Some(flight) = flights.get(&id) {
            return flight.clone();
        }
        let engine = Arc::clone(self);
        let done = id.clone();
        let task = tokio::spawn(async move {
            let result = engine.fetch_blocks(known, first, end).await;
            engine.history.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&done);
            result
        });
        let start = id.0.start;
        let flight = async move { task.await.unwrap_or(Err(SelectError::Deadline { time: start })) };
        let flight = flight.boxed().shared();
        flights.insert(id, flight.clone());
        flight
    }

    async fn fetch_blocks(
        &self,
        known: ModelledJourney,
        first: BlockKey,
        end: Timestamp,
    ) -> Result<Vec<(Timestamp, Block)>, SelectError> {
        let deadline = Instant::now() + DEADLINE;
        let late = || SelectError::Deadline { time: first.start };
        let slot =
            tokio::time::timeout_at(deadline.into(), Arc::clone(&self.history.slots).acquire_owned()).await;
        let _slot = slot.map_err(|_| late())?.map_err(|_| late())?;
        let newest = self.last_due((self.settings.clock)());
        let Ok(grid) = StepGrid::new(first.start, end.min(newest), self.settings.interval) else {
            return Ok(Vec::new());
        };
        let options =
            SpanOptions { window: first.window, block_points: Some(BLOCK_POINTS), half_speed: false };
        let span = self.span(vec![known.clone()], grid, options, deadline).await.map_err(|fault| {
            let newest = self.latest.load();
            let newest = newest.iter().find(|evaluation| evaluation.journey.name == known.journey.name);
            SelectError::Upstream {
                fault: fault.to_string(),
                age: newest.and_then(|newest| newest.evidence_age),
            }
        })?;
        let mut blocks = Vec::new();
        for samples in span.journeys.into_iter().next().unwrap_or_default() {
            let Some(start) = samples.points().first_key_value().map(|(&start, _)| start) else { continue };
            let whole = i64::try_from(samples.points().len()) == Ok(BLOCK_POINTS);
            let block: Block = Arc::new(RwLock::new(samples));
            if whole && span.complete {
                let cached = Cached::new(Arc::clone(&block), (self.settings.clock)());
                self.history.blocks.insert(BlockKey { start, ..first.clone() }, cached).await;
            }
            blocks.push((start, block));
        }
        Ok(blocks)
    }
}

fn unanswered(known: &ModelledJourney, time: Timestamp, before: Option<&Evaluation>, fault: &str) -> Point {
    let evaluation = evaluate::unanswered(known, time, before);
    let fault = SelectError::Upstream { fault: fault.to_owned(), age: evaluation.evidence_age };
    Point { time, state: PointState::Unanswered(Arc::new(fault)), samples: render::samples(&evaluation) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_due_after_half_an_hour_and_gone_after_one_a_fifth_more_or_less() {
        let fetched = Timestamp::from_millis(1_000_000);
        let minutes = |at: Timestamp| (at.millis() - fetched.millis()) as f64 / 60_000.0;
        let cached: Vec<Cached> = (0..1_000).map(|_| Cached::new(Block::default(), fetched)).collect();
        for (times, ttl) in [
            (cached.iter().map(|one| minutes(one.refresh_at)).collect::<Vec<f64>>(), 30.0),
            (cached.iter().map(|one| minutes(one.drop_at)).collect(), 60.0),
        ] {
            let (least, most) = times.iter().fold((f64::MAX, 0.0_f64), |(a, b), t| (a.min(*t), b.max(*t)));
            assert!((0.8 * ttl..0.85 * ttl).contains(&least), "{least} of {ttl}");
            assert!((1.15 * ttl..=1.2 * ttl).contains(&most), "{most} of {ttl}");
        }
        let shown_at = |millis: i64| cached[0].may_be_shown(fetched.plus_millis(millis));
        assert!(shown_at(0) && shown_at(47 * 60_000));
        assert!(!shown_at(73 * 60_000) && !shown_at(-1), "too old, and from the future");
    }
}
