//! From answers to evidence: what is missing or bad becomes the pessimistic reading, with its reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Outcome, Table};
use super::buckets::{BucketFault, Buckets, ORDER_TOLERANCE};
use super::evidence::{
    BucketQuery, DeclaredQueries, EvidencePlan, Freshness, JourneyPlan, ParameterSource, QueryId, QueryKind,
    SideQueries, Source,
};
use crate::distribution::histogram::ClassicHistogram;
use crate::journey::component::{ComponentId, HistogramType, LatencyUnit};
use crate::journey::evidence::{ComponentEvidence, Counts, Evidence, Measurement, Reason};
use crate::synthetic::evaluation::Flaw;
use crate::unit::{Probability, Seconds, Timestamp, Window};

/// Evidence from further in the future than this has a wrong clock.
const FUTURE_SECONDS: f64 = 30.0;

/// What does not come from the answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReadSettings {
    /// The longest window that may stand in for one without traffic.
    pub max_lookback: Window,
    /// How late scrapes may be.
    pub delay: Duration,
}

/// One window's evidence of a journey.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowReading {
    /// What was summed over.
    pub window: Window,
    /// What was measured.
    pub evidence: Evidence,
}

/// What the answers say about one journey at one time.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// Evidence, good or bad.
    Evidence {
        /// One for each window, rising.
        windows: Vec<WindowReading>,
        /// The age of the oldest evidence used, where any says its age.
        age: Option<Seconds>,
        /// Everything that is wrong, sorted and unique.
        flaws: Vec<Flaw>,
    },
    /// Nothing that may be used: no query was answered, or an answer was none.
    Unusable,
}

/// The outcomes of a plan's queries.
pub struct Answers<'a> {
    plan: &'a EvidencePlan,
    outcomes: &'a [Outcome],
}

/// Why a query gives nothing.
enum Fault {
    /// The answer is no answer.
    Unusable,
    /// The answer is missing or incomplete.
    Partial,
}

impl<'a> Answers<'a> {
    /// `outcomes` are those of [`EvidencePlan::queries`], in their order; missing ones were not asked for.
    #[must_use]
    pub const fn new(plan: &'a EvidencePlan, outcomes: &'a [Outcome]) -> Self {
        Self { plan, outcomes }
    }

    /// The readings at `at`, one for each journey of the plan. `now` is the clock, `None` when the past is evaluated.
    #[must_use]
    pub fn read(&self, at: Timestamp, now: Option<Timestamp>, settings: &ReadSettings) -> Vec<Reading> {
        let reader = Reader { answers: self, at, now, settings };
        let sources: Vec<SourceReading> =
            self.plan.sources.iter().map(|source| reader.source(source)).collect();
        self.plan.journeys.iter().map(|journey| reader.journey(journey, &sources)).collect()
    }

    /// Whether the upstream said anything of use, be it incomplete.
    fn is_answered(&self, query: QueryId) -> bool {
        !matches!(self.outcomes.get(query), Some(Outcome::Failed | Outcome::Malformed))
    }

    fn table(&self, query: QueryId) -> Result<Option<&'a Table>, Fault> {
        match self.outcomes.get(query) {
            Some(Outcome::Answered(table)) => Ok(Some(table)),
            Some(Outcome::Malformed) => Err(Fault::Unusable),
            Some(Outcome::Incomplete | Outcome::Failed) => Err(Fault::Partial),
            Some(Outcome::NotAsked) | None => Ok(None),
        }
    }
}

/// The upper edge of a bucket (none for a plain number) and its value.
type EdgeValue = (Option<f64>, f64);

/// A source's reading over one window, before the ladder.
#[derive(Debug, Clone)]
enum Base {
    Unusable,
    Vacuous(Reason),
    NoTraffic,
    Measured(Box<Counts>, Vec<Reason>),
    /// A share of successes without counts.
    Figure(Probability, Vec<Reason>),
}

struct SourceReading {
    windows: BTreeMap<Window, Base>,
    age: Option<f64>,
    /// Whether any of its queries was answered, if it has any.
    answered: Option<bool>,
}

/// What the side queries say.
#[derive(Default)]
struct Side {
    /// `None`: not known; otherwise the time of the newest sample, if the series is there at all.
    newest: Option<Option<f64>>,
    /// The edges that every series has; `None` where not known.
    edges: Option<Result<Vec<f64>, BucketFault>>,
    /// Whether some series lack the bucket that counts all calls, so that what others sum up is a part.
    total_is_partial: bool,
    clock_is_wrong: bool,
    age: Option<f64>,
}

struct Reader<'a> {
    answers: &'a Answers<'a>,
    at: Timestamp,
    now: Option<Timestamp>,
    settings: &'a ReadSettings,
}

impl Reader<'_> {
    fn journey(&self, plan: &JourneyPlan, sources: &[SourceReading]) -> Reading {
        let parameters: Vec<QueryId> = plan
            .parameters
            .iter()
            .flat_map(|parameter| match parameter {
                ParameterSource::Declared(_) => Vec::new(),
                ParameterSource::Measured(queries) => queries.values().copied().collect(),
            })
            .collect();
        let used = || plan.components.iter().map(|&source| &sources[source]);
        let answered: Vec<bool> = used()
            .filter_map(|source| source.answered)
            .chain(parameters.iter().map(|&query| self.answers.is_answered(query)))
            .collect();
        let unusable = used().flat_map(|s| s.windows.values()).any(|base| matches!(base, Base::Unusable))
            || parameters.iter().any(|&query| matches!(self.answers.table(query), Err(Fault::Unusable)));
        if unusable || !answered.is_empty() && !answered.contains(&true) {
            return Reading::Unusable;
        }
        let mut flaws = BTreeSet::new();
        let windows =
            plan.windows.iter().map(|&window| self.window(plan, sources, window, &mut flaws)).collect();
        let age = used().filter_map(|source| source.age).reduce(f64::max);
        let age = age.and_then(|age| Seconds::new(age.max(0.0)).ok());
        Reading::Evidence { windows, age, flaws: flaws.into_iter().collect() }
    }

    fn window(
        &self,
        plan: &JourneyPlan,
        sources: &[SourceReading],
        window: Window,
        flaws: &mut BTreeSet<Flaw>,
    ) -> WindowReading {
        let components: Vec<ComponentEvidence> = plan
            .components
            .iter()
            .map(|&source| self.ladder(&sources[source].windows, window, &plan.windows))
            .collect();
        for (at, component) in components.iter().enumerate() {
            let component_id = Some(ComponentId(at));
            flaws.extend(component.reasons.iter().map(|&reason| Flaw { reason, component: component_id }));
        }
        let parameters = plan
            .parameters
            .iter()
            .map(|parameter| {
                self.parameter(parameter, window).unwrap_or_else(|reason| {
                    flaws.insert(Flaw { reason, component: None });
                    None
                })
            })
            .collect();
        let evidence = Evidence { window, time: Some(self.at), components, parameters };
        WindowReading { window, evidence }
    }

    /// Zero traffic: the next longer declared window with traffic stands in, then nothing does.
    fn ladder(
        &self,
        bases: &BTreeMap<Window, Base>,
        window: Window,
        declared: &[Window],
    ) -> ComponentEvidence {
        match bases.get(&window) {
            None | Some(Base::Unusable) => ComponentEvidence::vacuous(Reason::Absent),
            Some(Base::Vacuous(reason)) => ComponentEvidence::vacuous(*reason),
            Some(Base::Measured(counts, reasons)) => ComponentEvidence {
                measurement: Measurement::Counts((**counts).clone()),
                reasons: reasons.clone(),
                from_window: None,
            },
            Some(Base::Figure(share, reasons)) => ComponentEvidence {
                measurement: Measurement::Figure(*share),
                reasons: reasons.clone(),
                from_window: None,
            },
            Some(Base::NoTraffic) => declared
                .iter()
                .filter(|&&longer| longer > window && longer <= self.settings.max_lookback)
                .find_map(|longer| match bases.get(longer) {
                    Some(Base::Measured(counts, reasons)) => {
                        let mut reasons = reasons.clone();
                        reasons.push(Reason::NoTraffic);
                        reasons.sort_unstable();
                        Some(ComponentEvidence {
                            measurement: Measurement::Counts((**counts).clone()),
                            reasons,
                            from_window: Some(*longer),
                        })
                    }
                    _ => None,
                })
                .unwrap_or_else(|| ComponentEvidence::vacuous(Reason::NoTraffic)),
        }
    }

    fn parameter(&self, source: &ParameterSource, window: Window) -> Result<Option<f64>, Reason> {
        match source {
            ParameterSource::Declared(value) => Ok(*value),
            ParameterSource::Measured(queries) => {
                let query = queries.get(&window).ok_or(Reason::Absent)?;
                match self.number(*query) {
                    Ok(Some(value)) if (0.0..=1.0).contains(&value) => Ok(Some(value)),
                    Ok(Some(_)) => Err(Reason::Upstream),
                    Ok(None) => Err(Reason::Absent),
                    Err(base) => Err(base.reason()),
                }
            }
        }
    }

    fn source(&self, source: &Source) -> SourceReading {
        match source {
            Source::Nothing => SourceReading { windows: BTreeMap::new(), age: None, answered: None },
            Source::Declared { windows, sub_windows, freshness, unit } => {
                let side = self.declared_side(freshness.as_deref());
                let reading = |window: Window, queries: &DeclaredQueries| {
                    let side = side.as_ref().map_err(Base::clone)?;
                    if side.newest == Some(None) {
                        return Err(Base::Vacuous(Reason::Absent));
                    }
                    let mut base = self.declared(queries, *unit)?;
                    if let Some((length, queries)) = sub_windows.get(&window) {
                        base.take_bursts(self.declared_bursts(*length, queries))?;
                    }
                    if let Base::Measured(_, reasons) | Base::Figure(_, reasons) = &mut base
                        && side.clock_is_wrong
                    {
                        reasons.push(Reason::Clock);
                        reasons.sort_unstable();
                    }
                    Ok(base)
                };
                let bases = windows
                    .iter()
                    .map(|(&window, queries)| (window, reading(window, queries).unwrap_or_else(|base| base)));
                SourceReading {
                    windows: bases.collect(),
                    age: side.as_ref().ok().and_then(|side| side.age),
                    answered: self.any_answered(windows.values().flat_map(|q| {
                        [q.good, q.total, q.latency, q.failure_latency, q.ratio].into_iter().flatten()
                    })),
                }
            }
            Source::Histogram { all, success, sub_windows, side, unit, histogram_type } => {
                let queries = all.values().chain(success.iter().flat_map(BTreeMap::values));
                let answered = self.any_answered(queries.map(|bucket| bucket.query));
                let side = self.side(side);
                let windows = all.iter().map(|(&window, all)| {
                    let success = success.as_ref().map(|success| success.get(&window));
                    let base = match &side {
                        Ok(side) => {
                            let success = success.map(|s| s.unwrap_or(all));
                            self.histogram(all, success, side, *unit, *histogram_type).and_then(|mut base| {
                                if let Some(queries) = sub_windows.get(&window) {
                                    base.take_bursts(self.bursts(queries))?;
                                }
                                Ok(base)
                            })
                        }
                        Err(base) => Err(base.clone()),
                    };
                    (window, base.unwrap_or_else(|base| base))
                });
                SourceReading {
                    windows: windows.collect(),
                    age: side.as_ref().ok().and_then(|side| side.age),
                    answered,
                }
            }
        }
    }

    /// Whether at least one of the queries was answered; `None` where there are none.
    fn any_answered(&self, queries: impl Iterator<Item = QueryId>) -> Option<bool> {
        queries.map(|query| self.answers.is_answered(query)).reduce(|a, b| a || b)
    }

    fn time(&self, kind: QueryKind) -> Option<Timestamp> {
        self.answers.plan.time_of(kind, self.at, self.now)
    }

    /// The values of a batch's member; `None` where the query was not asked for.
    fn values(&self, query: QueryId, key: &str) -> Result<Option<Vec<EdgeValue>>, Base> {
        let Some(table) = self.answers.table(query)? else { return Ok(None) };
        let time = match self.answers.plan.queries()[query].kind {
            // Asked for ahead of the clock of that moment, which may be some evaluations ago.
            QueryKind::Ahead => Some(table.grid().start()),
            kind => self.time(kind),
        };
        let Some(time) = time else { return Ok(None) };
        let members = table.member(key).iter();
        Ok(Some(members.filter_map(|m| Some((m.edge, table.value(m.series, time)?))).collect()))
    }

    fn buckets(&self, query: QueryId, key: &str) -> Result<Buckets, Base> {
        let values = self.values(query, key)?.unwrap_or_default();
        Buckets::collect(values).map_err(Base::from)
    }

    /// The one number of a query; `None` where it yields nothing.
    fn number(&self, query: QueryId) -> Result<Option<f64>, Base> {
        match self.values(query, "")?.unwrap_or_default().as_slice() {
            [] => Ok(None),
            [(_, value)] if value.is_finite() && *value >= 0.0 => Ok(Some(*value)),
            _ => Err(Base::Vacuous(Reason::Upstream)),
        }
    }

    fn side(&self, queries: &SideQueries) -> Result<Side, Base> {
        let one = |query| -> Result<Option<Option<f64>>, Base> {
            let values = self.values(query, &queries.key)?;
            Ok(values.map(|values| values.first().map(|&(_, value)| value)))
        };
        let newest = one(queries.newest)?;
        let samples = one(queries.samples)?.flatten();
        let ahead = one(queries.ahead)?.flatten();
        let age = newest.flatten().map(|newest| self.side_time() - newest);
        let too_old = age.is_some_and(|age| self.is_too_old(age, samples));
        let asked_at = self
            .answers
            .table(queries.ahead)?
            .map(|table| EvidencePlan::clock_of_ahead(table.grid().start()));
        let from_the_future =
            ahead.zip(asked_at).is_some_and(|(ahead, asked_at)| ahead > asked_at.seconds() + FUTURE_SECONDS);
        let layout = match queries.layout {
            Some(layout) => self.values(layout, &queries.key)?,
            None => None,
        };
        let mut total_is_partial = false;
        let layout = layout.map(|pairs| {
            let most = pairs.iter().map(|&(_, series)| series).fold(0.0, f64::max);
            let buckets = Buckets::collect(pairs)?;
            total_is_partial = buckets.total().is_some_and(|series| series < most);
            if buckets.is_level() { Ok(buckets.edges().collect()) } else { Err(BucketFault::Shape) }
        });
        let clock_is_wrong = too_old || from_the_future;
        Ok(Side { newest, edges: layout, total_is_partial, clock_is_wrong, age })
    }

    /// When the side queries were asked for, in seconds.
    fn side_time(&self) -> f64 {
        self.time(QueryKind::Newest).unwrap_or(self.at).seconds()
    }

    /// Whether evidence of this age has missed two scrapes; `samples` are those of the busiest series in five minutes.
    fn is_too_old(&self, age: f64, samples: Option<f64>) -> bool {
        let scrape_interval =
            samples.filter(|&n| n >= 1.0).map_or(0.0, |n| EvidencePlan::scrape_span_seconds() / n);
        age > 2.0 * scrape_interval + self.settings.delay.as_secs_f64()
    }

    /// What is known of the age of what the queries of a spec add up: that of the stalest selector. Selectors without
    /// series are passed over (there may be no success); where none has any, the evidence is gone. Where the queries
    /// cannot be read, the age is not known and taken as infinite.
    fn declared_side(&self, freshness: Option<&[Freshness]>) -> Result<Side, Base> {
        let Some(selectors) = freshness else {
            return Ok(Side { age: Some(f64::INFINITY), ..Side::default() });
        };
        let mut side = Side::default();
        for selector in selectors {
            let Some(newest) = self.values(selector.newest, "")? else { continue };
            let newest = newest.first().map(|&(_, value)| value);
            side.newest = Some(match (side.newest.flatten(), newest) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            });
            let Some(age) = newest.map(|newest| self.side_time() - newest) else { continue };
            let samples = self.values(selector.samples, "")?.and_then(|all| all.first().map(|&(_, n)| n));
            side.age = Some(side.age.map_or(age, |known| known.max(age)));
            side.clock_is_wrong |= self.is_too_old(age, samples);
        }
        Ok(side)
    }

    fn histogram(
        &self,
        all: &BucketQuery,
        success: Option<&BucketQuery>,
        side: &Side,
        unit: LatencyUnit,
        histogram_type: HistogramType,
    ) -> Result<Base, Base> {
        let every = self.buckets(all.query, &all.key)?;
        if every.is_empty() || side.newest == Some(None) {
            let there = side.newest.is_some_and(|newest| newest.is_some());
            return Err(Base::Vacuous(if there { Reason::Reset } else { Reason::Absent }));
        }
        let total = every.total().filter(|_| !side.total_is_partial).ok_or(Base::Vacuous(Reason::Partial))?;
        if total <= 0.0 {
            return Ok(Base::NoTraffic);
        }
        let successes = match success {
            None => every.clone(),
            // Calls but no successes: every one of them failed.
            Some(success) => self.buckets(success.query, &success.key)?,
        };
        let good = match successes.is_empty() {
            true => 0.0,
            false => successes.total().ok_or(Base::Vacuous(Reason::Partial))?,
        };
        let mut reasons = Vec::new();
        let same_edges = |buckets: &Buckets| match &side.edges {
            None => true,
            Some(Ok(edges)) => buckets.edges().eq(edges.iter().copied()),
            Some(Err(_)) => false,
        };
        // Native buckets that hold nothing are not written.
        let successes = match histogram_type {
            HistogramType::Classic => successes,
            HistogramType::Native => successes.at_edges_of(&every),
        };
        let consistent = same_edges(&every) && (successes.is_empty() || successes.edges().eq(every.edges()));
        let shape = |buckets: Result<Buckets, BucketFault>, calls: f64| match (consistent, calls > 0.0) {
            (_, false) => Ok(None),
            (false, true) => Err(BucketFault::Shape),
            (true, true) => buckets?.histogram(unit, ORDER_TOLERANCE).map(Some),
        };
        let latency = shape(Ok(successes.clone()), good);
        let failures = if successes.is_empty() { Ok(every.clone()) } else { every.minus(&successes) };
        let failed = failures.as_ref().ok().and_then(Buckets::total).unwrap_or(total - good);
        // The order among failures is that of a difference: what is noise beside all calls may be much beside a few
        // failures, so that it is repaired as far as needed. Downward: a failure known later never helps.
        let failure_latency = match (consistent, failed > 0.0) {
            (_, false) => Ok(None),
            (false, true) => Err(BucketFault::Shape),
            (true, true) => failures.and_then(|failures| failures.histogram(unit, 1.0)).map(Some),
        };
        let mut take = |shape: Result<Option<ClassicHistogram>, BucketFault>| {
            shape.unwrap_or_else(|_| {
                reasons.push(Reason::Partial);
                None
            })
        };
        let (latency, failure_latency) = (take(latency), take(failure_latency));
        if side.clock_is_wrong {
            reasons.push(Reason::Clock);
        }
        counts(total, good, latency, failure_latency, reasons)
    }

    fn declared(&self, queries: &DeclaredQueries, unit: LatencyUnit) -> Result<Base, Base> {
        let number = |query: Option<QueryId>| query.map(|query| self.number(query)).transpose();
        if let Some(ratio) = number(queries.ratio)? {
            return match ratio.map(Probability::new) {
                Some(Ok(share)) => Ok(Base::Figure(share, Vec::new())),
                Some(Err(_)) => Err(Base::Vacuous(Reason::Upstream)),
                None => Err(Base::Vacuous(Reason::Absent)),
            };
        }
        let mut reasons = Vec::new();
        let mut histogram = |query: Option<QueryId>| -> Result<Option<ClassicHistogram>, Base> {
            let Some(query) = query else { return Ok(None) };
            let values = self.values(query, "")?.unwrap_or_default();
            let series = values.len();
            let buckets = match Buckets::collect(values) {
                // Two series of one edge: the query does not sum over the instances.
                Ok(buckets) if buckets.edges().count() == series => buckets,
                Ok(_) | Err(BucketFault::Shape) => {
                    reasons.push(Reason::Partial);
                    return Ok(None);
                }
                Err(BucketFault::Number) => return Err(Base::Vacuous(Reason::Upstream)),
            };
            if buckets.is_empty() || buckets.total() == Some(0.0) {
                return Ok(None);
            }
            Ok(buckets.histogram(unit, ORDER_TOLERANCE).map_err(|_| reasons.push(Reason::Partial)).ok())
        };
        let latency = histogram(queries.latency)?;
        let failure_latency = histogram(queries.failure_latency)?;
        let failures =
            queries.failure_latency.map(|_| failure_latency.as_ref().map_or(0.0, ClassicHistogram::total));
        let (good, total) = calls(number(queries.good)?, number(queries.total)?, failures)
            .ok_or(Base::Vacuous(Reason::Absent))?;
        if total <= 0.0 {
            return Ok(Base::NoTraffic);
        }
        reasons.dedup();
        counts(total, good, latency, failure_latency, reasons)
    }
}

/// Successes and all calls, from two of the three kinds of queries that a spec may have; each kind's number, where it has
/// one.
fn calls(good: Option<Option<f64>>, total: Option<Option<f64>>, failures: Option<f64>) -> Option<(f64, f64)> {
    match (good, total) {
        // Calls but no successes: every one of them failed.
        (Some(good), Some(Some(total))) => Some((good.unwrap_or(0.0), total)),
        (None, Some(Some(total))) => failures.map(|failures| (total - failures, total)),
        (Some(Some(good)), None) => failures.map(|failures| (good, good + failures)),
        _ => None,
    }
}

/// Counts with `good ≤ total` up to the noise of extrapolation; beyond that one of the two is incomplete, and
/// nobody knows which.
fn counts(
    total: f64,
    good: f64,
    latency: Option<ClassicHistogram>,
    failure_latency: Option<ClassicHistogram>,
    mut reasons: Vec<Reason>,
) -> Result<Base, Base> {
    if !(0.0..=total * (1.0 + ORDER_TOLERANCE)).contains(&good) {
        return Err(Base::Vacuous(Reason::Partial));
    }
    reasons.sort_unstable();
    reasons.dedup();
    Counts::new(total, good.min(total), latency, failure_latency)
        .map(|counts| Base::Measured(Box::new(counts), reasons))
        .map_err(|_| Base::Vacuous(Reason::Upstream))
}

impl Base {
    fn reason(&self) -> Reason {
        match self {
            Self::Unusable => Reason::Upstream,
            Self::Vacuous(reason) => *reason,
            Self::NoTraffic => Reason::NoTraffic,
            Self::Measured(..) | Self::Figure(..) => Reason::Partial,
        }
    }
}

impl From<Fault> for Base {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unusable => Self::Unusable,
            Fault::Partial => Self::Vacuous(Reason::Partial),
        }
    }
}

impl From<BucketFault> for Base {
    fn from(fault: BucketFault) -> Self {
        Self::Vacuous(match fault {
            BucketFault::Number => Reason::Upstream,
            BucketFault::Shape => Reason::Partial,
        })
    }
}

impl WindowReading {
    /// The evidence, shared.
    #[must_use]
    pub fn shared(self) -> (Window, Arc<Evidence>) {
        (self.window, Arc::new(self.evidence))
    }
}

mod bursts;

#[cfg(test)]
pub(super) mod tests;
