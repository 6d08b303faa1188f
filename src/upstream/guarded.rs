//! Discipline towards upstreams: a limit of concurrency with lanes, a retry budget, a circuit breaker, and failover from
//! one upstream to the next.
//!
//! Several upstreams are replicas in order of preference. They are never mixed within one round of evidence: counters of
//! replicas differ by what each has seen, so a round asks one of them alone ([`Upstream::pinned`]), and goes to the
//! next as a whole.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode};
use rand::RngExt as _;

use super::breaker::{Breaker, PROBE_EVERY};
use super::lane::Lane;
use super::limiter::{Finished, Limiter, MAX_WAIT, Permit};
use super::retry_budget::RetryBudget;
use super::{Answer, Body, Condition, Upstream, UpstreamError};
use crate::series::StepGrid;
use crate::unit::Timestamp;

/// How long a probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// Which guards are on. All are, but where it is to be shown what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GuardSettings {
    /// The limit of concurrency, and refusal on arrival.
    pub limiter: bool,
    /// Retries within their budget.
    pub retries: bool,
    /// The circuit breaker, and with it failover.
    pub breaker: bool,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self { limiter: true, retries: true, breaker: true }
    }
}

struct Member {
    upstream: Arc<dyn Upstream>,
    limiter: Arc<Limiter>,
    breaker: Breaker,
    retries: RetryBudget,
    settings: GuardSettings,
}

/// See the module.
#[derive(Clone)]
pub struct GuardedUpstream {
    /// In order of preference; never empty.
    members: Vec<Arc<Member>>,
}

impl GuardedUpstream {
    /// Guards `first` and those that stand in for it, in order of preference.
    #[must_use]
    pub fn new(first: Arc<dyn Upstream>, others: Vec<Arc<dyn Upstream>>, settings: GuardSettings) -> Self {
        let member = |upstream| {
            Arc::new(Member {
                upstream,
                limiter: Limiter::new(settings.limiter),
                breaker: Breaker::default(),
                retries: RetryBudget::default(),
                settings,
            })
        };
        Self { members: std::iter::once(first).chain(others).map(member).collect() }
    }

    /// The first that answers as far as is known, else the first.
    fn current(&self) -> &Arc<Member> {
        let answering = self.members.iter().find(|member| !member.breaker.is_open());
        answering.unwrap_or(&self.members[0])
    }

    /// Where a request goes that `failed` did not answer: to the next that answers, else there again.
    fn after<'a>(&'a self, failed: &'a Arc<Member>) -> &'a Arc<Member> {
        let mut others = self.members.iter().filter(|member| !Arc::ptr_eq(member, failed));
        others.find(|member| !member.breaker.is_open()).unwrap_or(failed)
    }

    async fn evidence<'a>(
        &'a self,
        deadline: Instant,
        ask: impl Fn(&'a dyn Upstream) -> BoxFuture<'a, Result<Answer, UpstreamError>>,
    ) -> Result<Answer, UpstreamError> {
        let member = self.current();
        member.retries.earn();
        let mut retried = false;
        loop {
            let permit = member.limiter.acquire(Lane::Evidence, deadline).await;
            let permit = permit.map_err(|_| UpstreamError::Timeout { upstream: member.name() })?;
            let answer = ask(&*member.upstream).await;
            member.note(permit, answer.as_ref().map(|_| StatusCode::OK));
            let Err(fault) = &answer else { return answer };
            if retried || !is_passing(fault) || member.breaker.is_open() {
                return answer;
            }
            let Some(pause) = member.retry(deadline) else { return answer };
            tokio::time::sleep(pause).await;
            retried = true;
        }
    }

    async fn pass_on(&self, request: &mut Request<Body>) -> Result<Response<Body>, UpstreamError> {
        let lane = Lane::of_client(request.headers());
        let again = request.body().again();
        let member = self.current();
        member.retries.earn();
        let answer = member.pass_on(lane, request).await;
        let (Err(UpstreamError::Unreachable { .. }), Some(again)) = (&answer, again) else { return answer };
        let next = self.after(member);
        if next.breaker.is_open() {
            return answer;
        }
        let Some(pause) = member.retry(Instant::now() + MAX_WAIT) else { return answer };
        // Rarely, and in a box of its own, which no other request makes room for.
        Box::pin(async {
            tokio::time::sleep(pause).await;
            *request.body_mut() = again;
            next.pass_on(lane, request).await
        })
        .await
    }
}

/// Whether asking again may help: the connection broke, or whoever stands before the upstream could not reach it.
const fn is_passing(fault: &UpstreamError) -> bool {
    matches!(fault, UpstreamError::Unreachable { .. } | UpstreamError::Refused { status: 502..=504, .. })
}

impl Member {
    fn name(&self) -> String {
        self.upstream.name().to_owned()
    }

    /// The pause before a retry, if there may be one and it ends in time.
    fn retry(&self, deadline: Instant) -> Option<Duration> {
        if !self.settings.retries {
            return None;
        }
        self.retries.spend().filter(|pause| Instant::now() + *pause < deadline)
    }

    async fn pass_on(
        self: &Arc<Self>,
        lane: Lane,
        request: &mut Request<Body>,
    ) -> Result<Response<Body>, UpstreamError> {
        if let Some(fault) = self.breaker.fault() {
            let fault = format!("{fault}; it is asked again every second");
            return Err(UpstreamError::Unreachable { upstream: self.name(), fault });
        }
        let permit = match self.limiter.acquire_at_once(lane) {
            Some(permit) => permit,
            None => {
                let permit = Box::pin(self.limiter.acquire(lane, Instant::now() + 2 * MAX_WAIT)).await;
                permit.map_err(|refused| UpstreamError::Busy { upstream: self.name(), wait: refused.wait })?
            }
        };
        let answer = self.upstream.attempt(request).await;
        // The upstream has done its work when the head is there: whoever takes the body slowly keeps nobody waiting.
        self.note(permit, answer.as_ref().map(Response::status));
        answer
    }

    /// Learns from an answer.
    fn note(self: &Arc<Self>, permit: Permit, answer: Result<StatusCode, &UpstreamError>) {
        let status = match answer {
            Ok(status) => Ok(status.as_u16()),
            Err(UpstreamError::Refused { status, .. }) => Ok(*status),
            Err(UpstreamError::Malformed { .. }) => Ok(200),
            Err(UpstreamError::RequestBroken { .. } | UpstreamError::Busy { .. }) => {
                return permit.finish(Finished::Abandoned);
            }
            Err(fault @ (UpstreamError::Unreachable { .. } | UpstreamError::Timeout { .. })) => {
                Err(fault.bare())
            }
        };
        match &status {
            // Said by whoever stands before an upstream that does not answer.
            Ok(status @ (502 | 504)) => self.failed(&format!("it answered {status}")),
            Ok(_) => self.answered(),
            Err(fault) => self.failed(fault),
        }
        let overloaded = !matches!(status, Ok(status) if ![429, 502, 503, 504].contains(&status));
        permit.finish(if overloaded { Finished::Overloaded } else { Finished::Answered });
    }

    fn answered(&self) {
        if self.breaker.answered() {
            tracing::info!(upstream = self.upstream.name(), "the upstream answers again");
        }
    }

    fn failed(self: &Arc<Self>, fault: &str) {
        if self.settings.breaker && self.breaker.failed(fault) {
            tracing::warn!(
                upstream = self.upstream.name(),
                fault,
                "the upstream does not answer: circuit open"
            );
            tokio::spawn(probe(Arc::downgrade(self)));
        }
    }
}

/// Asks again and again, until the upstream answers or is forgotten.
async fn probe(member: Weak<Member>) {
    loop {
        let jitter = 0.8 + 0.4 * rand::rng().random::<f64>();
        tokio::time::sleep(PROBE_EVERY.mul_f64(jitter)).await;
        let Some(member) = member.upgrade() else { return };
        if !member.breaker.is_open() {
            return;
        }
        let deadline = Instant::now() + PROBE_TIMEOUT;
        match member.upstream.instant("1", Timestamp::from_millis(0), deadline).await {
            Ok(_) => return member.answered(),
            Err(fault) => tracing::debug!(%fault, "the upstream still does not answer"),
        }
    }
}

impl Upstream for GuardedUpstream {
    fn name(&self) -> &str {
        self.current().upstream.name()
    }

    fn tenant(&self) -> Option<&str> {
        self.members[0].upstream.tenant()
    }

    fn pinned(&self, except: Option<&str>) -> Option<Arc<dyn Upstream>> {
        if self.members.len() < 2 {
            return None;
        }
        let allowed = |member: &&Arc<Member>| Some(member.upstream.name()) != except;
        let answering = self.members.iter().filter(allowed).find(|member| !member.breaker.is_open());
        let one = Arc::clone(answering.unwrap_or_else(|| self.current()));
        Some(Arc::new(Self { members: vec![one] }))
    }

    fn conditions(&self) -> Vec<Condition> {
        let condition = |member: &Arc<Member>| {
            let standing = member.limiter.standing();
            Condition {
                upstream: member.name(),
                limit: standing.limit,
                in_flight: standing.in_flight,
                queued: standing.queued,
                refused: Lane::ALL.map(|lane| (lane.as_str(), standing.refused[lane.index()])),
                retries: member.retries.spent(),
                circuit_open: member.breaker.is_open(),
                circuit_opened: member.breaker.opened(),
            }
        };
        self.members.iter().map(condition).collect()
    }

    fn instant(
        &self,
        query: &str,
        at: Timestamp,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let query = query.to_owned();
        Box::pin(
            async move { self.evidence(deadline, |upstream| upstream.instant(&query, at, deadline)).await },
        )
    }

    fn range(
        &self,
        query: &str,
        grid: StepGrid,
        deadline: Instant,
    ) -> BoxFuture<'_, Result<Answer, UpstreamError>> {
        let query = query.to_owned();
        Box::pin(
            async move { self.evidence(deadline, |upstream| upstream.range(&query, grid, deadline)).await },
        )
    }

    fn forward(&self, mut request: Request<Body>) -> BoxFuture<'_, Result<Response<Body>, UpstreamError>> {
        Box::pin(async move { self.pass_on(&mut request).await })
    }

    fn attempt<'a>(
        &'a self,
        request: &'a mut Request<Body>,
    ) -> BoxFuture<'a, Result<Response<Body>, UpstreamError>> {
        Box::pin(self.pass_on(request))
    }
}
