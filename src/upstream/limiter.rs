//! How many requests an upstream works on at a time, and who is told at once that it is too busy.
//!
//! The limit follows the upstream: it falls when answers take longer than they usually do, or fail for overload, and
//! rises where there is demand and no delay. Whoever would wait longer than [`MAX_WAIT`] is refused on arrival: a
//! refusal after a wait costs the client its time and gains nobody anything. Evidence is asked for by ourselves, a
//! few queries at a time, and waits for its turn until its own deadline.
//!
//! By hand, since the ready-made limits know neither lanes nor refusal on arrival.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::lane::Lane;

/// The longest wait that a client is asked for.
pub const MAX_WAIT: Duration = Duration::from_millis(250);

/// Requests at a time before anything is known of the upstream.
const START: f64 = 10.0;
/// Never fewer: below that, one slow query would lock out all others.
const FLOOR: f64 = 4.0;
/// Never more: what a Prometheus runs at a time.
const CAP: f64 = 20.0;

/// The share of the limit that dashboards may use; the rest is reserved for rules, gates and the evaluation.
const DASHBOARD_SHARE: f64 = 0.7;

/// By how much a sign of overload lowers the limit.
const BACKOFF: f64 = 0.8;
/// How long one lowering stands before the next: requests that were sent before it tell nothing new.
const BACKOFF_PAUSE: Duration = Duration::from_millis(100);

/// How much slower than usual is still usual.
const TOLERANCE: f64 = 2.0;

/// Weights of a new duration in the recent and in the usual one.
const RECENT: f64 = 0.2;
const USUAL: f64 = 0.01;
/// Weight of a new estimate of the limit.
const SMOOTHING: f64 = 0.2;

/// What is assumed of a request's duration before the first is done, in seconds.
const UNKNOWN_DURATION: f64 = 0.05;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finished {
    /// Answered, well or with an error of its own.
    Answered,
    /// A sign that the upstream has more to do than it can: a timeout, 429, 503, a broken connection.
    Overloaded,
    /// Nobody waited for the end.
    Abandoned,
}

/// Why a request is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// The wait that was to be expected.
    pub wait: Duration,
}

/// How the limit stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Requests at a time.
    pub limit: f64,
    /// Under way.
    pub in_flight: usize,
    /// Waiting.
    pub queued: usize,
    /// Refused so far, in the order of [`Lane::ALL`].
    pub refused: [u64; 3],
}

struct State {
    limit: f64,
    /// Under way: which, since when, and in which lane.
    started: Vec<(u64, Instant, Lane)>,
    next: u64,
    waiting: [VecDeque<oneshot::Sender<Permit>>; 3],
    recent: Option<f64>,
    usual: Option<f64>,
    lowered: Option<Instant>,
    refused: [u64; 3],
}

/// See the module.
pub struct Limiter {
    state: Mutex<State>,
    max_wait: Duration,
    enabled: bool,
}

/// Leave for one request; given back with its value.
#[derive(Debug)]
pub struct Permit {
    /// None once it was given back.
    limiter: Option<Arc<Limiter>>,
    id: u64,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Limiter").field("standing", &self.standing()).finish_non_exhaustive()
    }
}

impl Limiter {
    /// `enabled`: false counts and never holds anybody up.
    #[must_use]
    pub fn new(enabled: bool) -> Arc<Self> {
        Self::waiting_at_most(MAX_WAIT, enabled)
    }

    fn waiting_at_most(max_wait: Duration, enabled: bool) -> Arc<Self> {
        let state = State {
            limit: START,
            started: Vec::new(),
            next: 0,
            waiting: Default::default(),
            recent: None,
            usual: None,
            lowered: None,
            refused: [0; 3],
        };
        Arc::new(Self { state: Mutex::new(state), max_wait, enabled })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let state = self.lock();
        Standing {
            limit: state.limit,
            in_flight: state.started.len(),
            queued: state.waiting.iter().map(VecDeque::len).sum(),
            refused: state.refused,
        }
    }

    /// Leave to send a request of this lane. Evidence waits until `deadline`, clients are refused on arrival where the
    /// wait to be expected is longer than [`MAX_WAIT`].
    ///
    /// # Errors
    /// [`Refused`].
    pub async fn acquire(self: &Arc<Self>, lane: Lane, deadline: Instant) -> Result<Permit, Refused> {
        let (turn, patience) = {
            let mut state = self.lock();
            if let Some(permit) = self.next(&mut state, lane) {
                return Ok(permit);
            }
            let wait = state.expected_wait(lane);
            if lane != Lane::Evidence && wait > self.max_wait {
                state.refused[lane.index()] += 1;
                return Err(Refused { wait });
            }
            let (call, turn) = oneshot::channel();
            state.waiting[lane.index()].push_back(call);
            // What was expected may turn out wrong; nobody waits much longer for that.
            let patience = if lane == Lane::Evidence { deadline } else { Instant::now() + 2 * self.max_wait };
            (turn, patience.min(deadline))
        };
        match tokio::time::timeout_at(patience.into(), turn).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let mut state = self.lock();
                state.refused[lane.index()] += 1;
                Err(Refused { wait: state.expected_wait(lane) })
            }
        }
    }

    /// The same, where nobody has to wait for it.
    #[must_use]
    pub fn acquire_at_once(self: &Arc<Self>, lane: Lane) -> Option<Permit> {
        self.next(&mut self.lock(), lane)
    }

    fn next(self: &Arc<Self>, state: &mut State, lane: Lane) -> Option<Permit> {
        state.forget_those_who_left();
        let free = !self.enabled || state.has_room(lane) && state.ahead(lane) == 0;
        free.then(|| self.permit(state.start(lane)))
    }

    fn permit(self: &Arc<Self>, id: u64) -> Permit {
        Permit { limiter: Some(Arc::clone(self)), id }
    }

    fn finished(self: &Arc<Self>, id: u64, how: Finished) {
        let mut state = self.lock();
        if let Some(begun) = state.forget(id) {
            let now = Instant::now();
            state.learn(now.duration_since(begun).as_secs_f64(), how, now);
        }
        // Whose turn it is now, those who decide first.
        for lane in Lane::ALL {
            while !state.waiting[lane.index()].is_empty() && state.has_room(lane) {
                let Some(call) = state.waiting[lane.index()].pop_front() else { break };
                let id = state.start(lane);
                if let Err(mut unclaimed) = call.send(self.permit(id)) {
                    // Left meanwhile. Not by dropping it, which would lock this once more.
                    unclaimed.limiter = None;
                    state.forget(id);
                }
            }
        }
    }
}

impl State {
    fn capacity(&self, lane: Lane) -> f64 {
        match lane {
            Lane::Evidence | Lane::Automation => self.limit.floor(),
            Lane::Dashboard => (self.limit * DASHBOARD_SHARE).floor().max(1.0),
        }
    }

    fn has_room(&self, lane: Lane) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let below = |count: usize, most: f64| (count as f64) < most;
        let dashboards = || self.started.iter().filter(|(.., lane)| *lane == Lane::Dashboard).count();
        below(self.started.len(), self.capacity(Lane::Automation))
            && (lane != Lane::Dashboard || below(dashboards(), self.capacity(Lane::Dashboard)))
    }

    fn start(&mut self, lane: Lane) -> u64 {
        let id = self.next;
        self.next += 1;
        self.started.push((id, Instant::now(), lane));
        id
    }

    /// It ended; since when it was under way.
    fn forget(&mut self, id: u64) -> Option<Instant> {
        let at = self.started.iter().position(|(known, ..)| *known == id)?;
        Some(self.started.swap_remove(at).1)
    }

    /// How many wait that are served before a newcomer of this lane.
    fn ahead(&self, lane: Lane) -> usize {
        self.waiting[..=lane.index()].iter().map(VecDeque::len).sum()
    }

    fn expected_wait(&self, lane: Lane) -> Duration {
        // Those under way take at least as long as they have: an upstream that stopped answers nothing to learn from.
        let now = Instant::now();
        let ages = self.started.iter().map(|(_, begun, _)| now.duration_since(*begun).as_secs_f64());
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let age = ages.sum::<f64>() / self.started.len().max(1) as f64;
        let seconds = self.recent.unwrap_or(UNKNOWN_DURATION).max(age);
        #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
        let turns = (self.ahead(lane) + 1) as f64 / self.capacity(lane);
        Duration::from_secs_f64((turns * seconds).clamp(0.0, 3_600.0))
    }

    fn forget_those_who_left(&mut self) {
        for lane in self.waiting.iter_mut().filter(|lane| !lane.is_empty()) {
            lane.retain(|call| !call.is_closed());
        }
    }

    fn learn(&mut self, seconds: f64, how: Finished, now: Instant) {
        match how {
            // How long it would have taken is not known, but at least so long.
            Finished::Abandoned => {
                if self.recent.is_none_or(|recent| seconds > recent) {
                    self.recent = Some(mix(self.recent, seconds, RECENT));
                }
            }
            Finished::Overloaded => {
                self.recent = Some(mix(self.recent, seconds, RECENT));
                if self.lowered.is_none_or(|at| now.duration_since(at) >= BACKOFF_PAUSE) {
                    self.lowered = Some(now);
                    self.limit = (self.limit * BACKOFF).max(FLOOR);
                }
            }
            Finished::Answered => {
                let recent = mix(self.recent, seconds, RECENT);
                let mut usual = mix(self.usual, seconds, USUAL);
                if usual > TOLERANCE * recent {
                    // It became faster, for good as it seems.
                    usual *= 0.95;
                }
                (self.recent, self.usual) = (Some(recent), Some(usual));
                #[expect(clippy::cast_precision_loss, reason = "a count of requests")]
                let in_demand = (self.started.len() + 1) as f64 >= self.limit / 2.0;
                if in_demand {
                    let gradient = (TOLERANCE * usual / recent.max(1e-6)).clamp(0.5, 1.0);
                    let wanted = self.limit * gradient + self.limit.sqrt();
                    let limit = self.limit + SMOOTHING * (wanted - self.limit);
                    self.limit = limit.clamp(FLOOR, CAP);
                }
            }
        }
    }
}

fn mix(before: Option<f64>, new: f64, weight: f64) -> f64 {
    before.map_or(new, |before| before + weight * (new - before))
}

impl Permit {
    /// Gives it back, and says how the request ended.
    pub fn finish(mut self, how: Finished) {
        self.give_back(how);
    }

    fn give_back(&mut self, how: Finished) {
        if let Some(limiter) = self.limiter.take() {
            limiter.finished(self.id, how);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.give_back(Finished::Abandoned);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    async fn fill(limiter: &Arc<Limiter>, lane: Lane, most: usize) -> Vec<Permit> {
        let mut held = Vec::new();
        while held.len() < most {
            match tokio::time::timeout(Duration::from_millis(1), limiter.acquire(lane, later())).await {
                Ok(Ok(permit)) => held.push(permit),
                _ => break,
            }
        }
        held
    }

    fn taking(limiter: &Limiter, seconds: f64) {
        let mut state = limiter.lock();
        (state.recent, state.usual) = (Some(seconds), Some(seconds));
    }

    #[tokio::test]
    async fn dashboards_leave_a_share_to_rules_and_gates() {
        let limiter = Limiter::new(true);
        let dashboards = fill(&limiter, Lane::Dashboard, 100).await;
        assert_eq!(dashboards.len(), 7);
        let rules = fill(&limiter, Lane::Automation, 100).await;
        assert_eq!(rules.len(), 3);
    }

    #[tokio::test]
    async fn whoever_would_wait_too_long_is_refused_on_arrival() {
        let limiter = Limiter::new(true);
        let held = fill(&limiter, Lane::Automation, 10).await;
        taking(&limiter, 10.0);
        // At once: the first look at it is the last.
        let refusal = || limiter.acquire(Lane::Automation, later()).now_or_never().unwrap().unwrap_err();
        let refused = refusal();
        // One turn of ten at ten seconds each.
        assert_eq!(refused.wait, Duration::from_secs(1));
        // Where nothing was ever finished, the age of those under way tells.
        limiter.lock().recent = None;
        for (_, begun, _) in &mut limiter.lock().started {
            *begun -= Duration::from_secs(20);
        }
        let refused_again = refusal();
        assert!(refused_again.wait >= Duration::from_secs(2), "{refused_again:?}");
        assert_eq!(limiter.standing().refused, [0, 2, 0]);
        drop(held);
        assert_eq!(limiter.standing().in_flight, 0);
    }

    #[tokio::test]
    async fn a_short_wait_is_waited_and_rules_go_before_dashboards() {
        let limiter = Limiter::waiting_at_most(Duration::from_secs(20), true);
        let mut held = fill(&limiter, Lane::Automation, 10).await;
        taking(&limiter, 0.001);
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut waiting = Vec::new();
        for lane in [Lane::Dashboard, Lane::Automation, Lane::Evidence] {
            let (waits, order) = (Arc::clone(&limiter), Arc::clone(&order));
            waiting.push(tokio::spawn(async move {
                let permit = waits.acquire(lane, later()).await.unwrap();
                order.lock().unwrap().push(lane);
                drop(permit);
            }));
            while limiter.standing().queued < waiting.len() {
                tokio::task::yield_now().await;
            }
        }
        // Nothing is learnt from one that is given up: on a busy machine the limit would fall.
        drop(held.pop());
        for one in waiting {
            one.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [Lane::Evidence, Lane::Automation, Lane::Dashboard]);
    }

    #[tokio::test]
    async fn whoever_leaves_the_queue_gives_its_turn_to_the_next() {
        let limiter = Limiter::waiting_at_most(Duration::from_secs(20), true);
        let mut held = fill(&limiter, Lane::Automation, 10).await;
        taking(&limiter, 0.001);
        let impatient =
            tokio::time::timeout(Duration::from_millis(1), limiter.acquire(Lane::Automation, later()));
        assert!(impatient.await.is_err());
        drop(held.pop());
        assert_eq!(limiter.standing().in_flight, 9);
        assert_eq!(fill(&limiter, Lane::Automation, 1).await.len(), 1);
    }

    #[tokio::test]
    async fn evidence_waits_until_its_deadline_and_not_longer() {
        let limiter = Limiter::new(true);
        let _held = fill(&limiter, Lane::Automation, 10).await;
        taking(&limiter, 100.0);
        let begun = Instant::now();
        let deadline = begun + Duration::from_millis(700);
        assert!(limiter.acquire(Lane::Evidence, deadline).await.is_err());
        assert!(begun.elapsed() >= Duration::from_millis(690));
    }

    #[test]
    fn the_limit_falls_with_overload_to_its_floor_and_rises_with_demand_to_its_cap() {
        let limiter = Limiter::new(true);
        let mut state = limiter.lock();
        let mut now = Instant::now();
        for _ in 0..50 {
            now += BACKOFF_PAUSE;
            state.learn(1.0, Finished::Overloaded, now);
        }
        assert_eq!(state.limit, FLOOR);
        // Without demand nothing is learnt.
        for _ in 0..1_000 {
            state.learn(0.01, Finished::Answered, now);
        }
        assert_eq!(state.limit, FLOOR);
        for _ in 0..20 {
            state.start(Lane::Automation);
        }
        for _ in 0..1_000 {
            state.learn(0.01, Finished::Answered, now);
        }
        assert_eq!(state.limit, CAP);
        // Ten times slower than usual: it gives way, before the slow becomes the usual.
        for _ in 0..20 {
            state.learn(0.1, Finished::Answered, now);
        }
        assert!(state.limit < 14.0, "{}", state.limit);
    }

    #[tokio::test]
    async fn switched_off_it_holds_nobody_up() {
        let limiter = Limiter::new(false);
        assert_eq!(fill(&limiter, Lane::Dashboard, 100).await.len(), 100);
    }
}
