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
            Source::Declared { windows, freshness, unit } => {
                let side = self.declared_side(freshness.as_deref());
                let reading = |queries: &DeclaredQueries| {
                    let side = side.as_ref().map_err(Base::clone)?;
                    if side.newest == Some(None) {
                        return Err(Base::Vacuous(Reason::Absent));
                    }
                    let mut base = self.declared(queries, *unit)?;
                    if let Base::Measured(_, reasons) | Base::Figure(_, reasons) = &mut base
                        && side.clock_is_wrong
                    {
                        reasons.push(Reason::Clock);
                        reasons.sort_unstable();
                    }
                    Ok(base)
                };
                let bases =
                    windows.iter().map(|(&window, q)| (window, reading(q).unwrap_or_else(|base| base)));
                SourceReading {
                    windows: bases.collect(),
                    age: side.as_ref().ok().and_then(|side| side.age),
                    answered: self.any_answered(windows.values().flat_map(|q| {
                        [q.good, q.total, q.latency, q.failure_latency, q.ratio].into_iter().flatten()
                    })),
                }
            }
            Source::Histogram { all, success, side, unit, histogram_type } => {
                let queries = all.values().chain(success.iter().flat_map(BTreeMap::values));
                let answered = self.any_answered(queries.map(|bucket| bucket.query));
                let side = self.side(side);
                let windows = all.iter().map(|(&window, all)| {
                    let success = success.as_ref().map(|success| success.get(&window));
                    let base = match &side {
                        Ok(side) => {
                            let success = success.map(|s| s.unwrap_or(all));
                            self.histogram(all, success, side, *unit, *histogram_type)
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
        let layout = layout.map(|pairs| {
            let buckets = Buckets::collect(pairs)?;
            if buckets.is_level() { Ok(buckets.edges().collect()) } else { Err(BucketFault::Shape) }
        });
        Ok(Side { newest, edges: layout, clock_is_wrong: too_old || from_the_future, age })
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
        let total = every.total().ok_or(Base::Vacuous(Reason::Partial))?;
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
        let (good, total) = match (number(queries.good)?, number(queries.total)?) {
            // Calls but no successes: every one of them failed.
            (Some(good), Some(Some(total))) => (good.unwrap_or(0.0), total),
            (None, Some(Some(total))) => match failures {
                Some(failures) => (total - failures, total),
                None => return Err(Base::Vacuous(Reason::Absent)),
            },
            (Some(Some(good)), None) => match failures {
                Some(failures) => (good, good + failures),
                None => return Err(Base::Vacuous(Reason::Absent)),
            },
            _ => return Err(Base::Vacuous(Reason::Absent)),
        };
        if total <= 0.0 {
            return Ok(Base::NoTraffic);
        }
        reasons.dedup();
        counts(total, good, latency, failure_latency, reasons)
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::journey::Journey;
    use crate::journey::component::{Component, Telemetry};
    use crate::journey::fixture;
    use crate::journey::operator::Operator;
    use crate::series::{Labels, MatchOp, Matcher, Sample, Series, StepGrid};

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher { name: name.to_owned(), op, value: value.to_owned() }
    }

    pub(in super::super) fn component(service: &str) -> Component {
        with_telemetry(
            service,
            Telemetry::Histogram {
                metric: "m".to_owned(),
                matchers: vec![matcher("service", MatchOp::Equal, service)],
                success: vec![matcher("code", MatchOp::NotRegex, "5..")],
                unit: LatencyUnit::Seconds,
                histogram_type: HistogramType::Classic,
            },
        )
    }

    fn with_telemetry(name: &str, telemetry: Telemetry) -> Component {
        Component { telemetry: Some(telemetry), ..Component::new(name) }
    }

    pub(in super::super) fn journey(windows: &[&str], components: Vec<Component>) -> Journey {
        let all = (0..components.len()).map(|i| Operator::Component(ComponentId(i))).collect();
        Journey {
            name: "j".to_owned(),
            windows: windows.iter().map(|text| text.parse().unwrap()).collect(),
            ..fixture::journey(Operator::Series(all), components)
        }
    }

    const AT: Timestamp = Timestamp::from_millis(600_000);

    /// Rows of an answer: labels as `name=value` pairs and the value.
    type Rows = Vec<(Vec<(&'static str, String)>, f64)>;

    /// Answers each query of the plan by what `script` says to its text; `None`: nothing matches.
    fn read_all(
        journey: Journey,
        now: Option<Timestamp>,
        script: impl Fn(QueryKind, &str) -> Result<Rows, Outcome>,
    ) -> Reading {
        let plan = EvidencePlan::new(&[Arc::new(journey)], "15s".parse().unwrap());
        let outcomes: Vec<Outcome> = plan
            .queries()
            .iter()
            .map(|query| {
                let Some(time) = plan.time_of(query.kind, AT, now) else { return Outcome::NotAsked };
                match script(query.kind, &query.text) {
                    Err(outcome) => outcome,
                    Ok(rows) => {
                        let series = rows.into_iter().map(|(labels, value)| Series {
                            labels: labels.into_iter().collect::<Labels>(),
                            samples: vec![Sample { time, value }],
                        });
                        let grid = StepGrid::instant(time, plan.side_interval());
                        Outcome::Answered(Arc::new(Table::new(
                            series.collect(),
                            grid,
                            query.member_label.as_deref(),
                        )))
                    }
                }
            })
            .collect();
        let settings = ReadSettings { max_lookback: "1h".parse().unwrap(), delay: Duration::from_secs(5) };
        Answers::new(&plan, &outcomes).read(AT, now, &settings).remove(0)
    }

    fn buckets(counts: [f64; 3]) -> Rows {
        ["0.1", "1", "+Inf"].into_iter().zip(counts).map(|(le, n)| (vec![("le", le.to_owned())], n)).collect()
    }

    fn one(value: f64) -> Rows {
        vec![(Vec::new(), value)]
    }

    /// A healthy service: 100 calls, 90 of them successes, scraped every 15 s.
    fn healthy(kind: QueryKind, text: &str) -> Result<Rows, Outcome> {
        Ok(match kind {
            QueryKind::Increase(_) if text.contains("code") => buckets([50.0, 80.0, 90.0]),
            QueryKind::Increase(_) => buckets([55.0, 85.0, 100.0]),
            QueryKind::Layout => buckets([2.0, 2.0, 2.0]),
            QueryKind::Newest => one(595.0),
            QueryKind::Samples => one(20.0),
            QueryKind::Ahead => Vec::new(),
            QueryKind::Declared(_) => unreachable!(),
        })
    }

    fn only(reading: &Reading, window: &str) -> ComponentEvidence {
        let Reading::Evidence { windows, .. } = reading else { panic!("unusable") };
        let window = window.parse().unwrap();
        windows.iter().find(|w| w.window == window).unwrap().evidence.components[0].clone()
    }

    fn read_one(script: impl Fn(QueryKind, &str) -> Result<Rows, Outcome>) -> ComponentEvidence {
        only(&read_all(journey(&["5m"], vec![component("a")]), Some(AT), script), "5m")
    }

    fn measured(evidence: &ComponentEvidence) -> &Counts {
        match &evidence.measurement {
            Measurement::Counts(counts) => counts,
            other => panic!("{other:?} {:?}", evidence.reasons),
        }
    }

    #[test]
    fn good_total_and_both_latencies_come_from_one_histogram() {
        let evidence = read_one(healthy);
        assert_eq!(evidence.reasons, []);
        let counts = measured(&evidence);
        assert_eq!((counts.good(), counts.total()), (90.0, 100.0));
        assert_eq!(counts.latency().unwrap().counts(), [50.0, 80.0, 90.0]);
        assert_eq!(counts.failure_latency().unwrap().counts(), [5.0, 5.0, 10.0]);
        let reading = read_all(journey(&["5m"], vec![component("a")]), Some(AT), healthy);
        let Reading::Evidence { age, .. } = reading else { panic!() };
        assert_eq!(age.unwrap().get(), 5.0);
    }

    #[test]
    fn native_buckets_that_hold_no_success_are_still_edges_of_the_failures() {
        let native = |edges: &[(&str, f64)]| -> Rows {
            edges.iter().map(|&(le, n)| (vec![("le", le.to_owned())], n)).collect()
        };
        let mut component = component("a");
        if let Some(Telemetry::Histogram { histogram_type, .. }) = &mut component.telemetry {
            *histogram_type = HistogramType::Native;
        }
        let reading = read_all(journey(&["5m"], vec![component]), Some(AT), |kind, text| {
            Ok(match kind {
                QueryKind::Increase(_) if text.contains("code") => {
                    native(&[("0.1", 0.0), ("0.2", 60.0), ("0.4", 90.0), ("+Inf", 90.0)])
                }
                QueryKind::Increase(_) => native(&[
                    ("0.1", 0.0),
                    ("0.2", 60.0),
                    ("0.4", 91.0),
                    ("0.8", 91.0),
                    ("1.6", 100.0),
                    ("+Inf", 100.0),
                ]),
                QueryKind::Layout => panic!("asked for the layout of a native histogram: {text}"),
                _ => return healthy(kind, text),
            })
        });
        let evidence = only(&reading, "5m");
        assert_eq!(evidence.reasons, []);
        let counts = measured(&evidence);
        assert_eq!((counts.good(), counts.total()), (90.0, 100.0));
        assert_eq!(counts.latency().unwrap().counts(), [0.0, 60.0, 90.0, 90.0, 90.0, 90.0]);
        assert_eq!(counts.failure_latency().unwrap().counts(), [0.0, 0.0, 1.0, 1.0, 10.0, 10.0]);
    }

    #[test]
    fn calls_without_a_success_series_are_failures_and_no_flaw() {
        let evidence =
            read_one(|kind, text| if text.contains("code") { Ok(Vec::new()) } else { healthy(kind, text) });
        assert_eq!(evidence.reasons, []);
        let counts = measured(&evidence);
        assert_eq!((counts.good(), counts.total()), (0.0, 100.0));
        assert_eq!(counts.failure_latency().unwrap().counts(), [55.0, 85.0, 100.0]);
        assert!(counts.latency().is_none());
    }

    #[test]
    fn without_traffic_the_next_longer_window_with_traffic_stands_in_and_says_so() {
        let quiet = |window: &'static str| {
            move |kind: QueryKind, text: &str| match kind {
                QueryKind::Increase(w) if w <= window.parse().unwrap() => Ok(buckets([0.0; 3])),
                _ => healthy(kind, text),
            }
        };
        let windows = ["5m", "30m", "1h", "6h"];
        let model = || journey(&windows, vec![component("a")]);
        let reading = read_all(model(), Some(AT), quiet("5m"));
        let evidence = only(&reading, "5m");
        assert_eq!(evidence.from_window, Some("30m".parse().unwrap()));
        assert_eq!(evidence.reasons, [Reason::NoTraffic]);
        assert_eq!(measured(&evidence).total(), 100.0);
        assert_eq!(only(&reading, "30m").from_window, None);
        // 6h has traffic, but lies beyond the longest lookback.
        let reading = read_all(model(), Some(AT), quiet("1h"));
        assert_eq!(only(&reading, "5m"), ComponentEvidence::vacuous(Reason::NoTraffic));
        let Reading::Evidence { flaws, .. } = reading else { panic!() };
        assert_eq!(flaws, [Flaw { reason: Reason::NoTraffic, component: Some(ComponentId(0)) }]);
    }

    #[test]
    fn series_that_are_gone_are_absent_even_where_the_window_still_holds_their_past() {
        let never = read_one(|kind, text| match kind {
            QueryKind::Increase(_) | QueryKind::Layout | QueryKind::Newest => Ok(Vec::new()),
            _ => healthy(kind, text),
        });
        assert_eq!(never, ComponentEvidence::vacuous(Reason::Absent));
        let gone = read_one(|kind, text| match kind {
            QueryKind::Layout | QueryKind::Newest | QueryKind::Samples => Ok(Vec::new()),
            _ => healthy(kind, text),
        });
        assert_eq!(gone, ComponentEvidence::vacuous(Reason::Absent));
    }

    #[test]
    fn a_series_that_is_there_with_too_few_samples_is_reset() {
        let evidence = read_one(|kind, text| match kind {
            QueryKind::Increase(_) => Ok(Vec::new()),
            _ => healthy(kind, text),
        });
        assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Reset));
    }

    #[test]
    fn edges_that_some_instance_lacks_cost_the_latency_but_not_the_counts() {
        for layout in [buckets([1.0, 2.0, 2.0]), buckets([2.0; 3])[1..].to_vec(), Vec::new()] {
            let evidence = read_one(|kind, text| match kind {
                QueryKind::Layout => Ok(layout.clone()),
                _ => healthy(kind, text),
            });
            assert_eq!(evidence.reasons, [Reason::Partial]);
            let counts = measured(&evidence);
            assert_eq!((counts.good(), counts.total()), (90.0, 100.0));
            assert_eq!((counts.latency(), counts.failure_latency()), (None, None));
        }
    }

    #[test]
    fn without_the_infinite_bucket_nothing_is_known() {
        for success in [false, true] {
            let evidence = read_one(|kind, text| match kind {
                QueryKind::Increase(_) if text.contains("code") == success => {
                    Ok(buckets([50.0, 80.0, 90.0])[..2].to_vec())
                }
                _ => healthy(kind, text),
            });
            assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Partial));
        }
    }

    #[test]
    fn broken_order_is_partial_and_a_little_of_it_is_repaired() {
        let with = |first: f64| {
            read_one(move |kind, text| match kind {
                QueryKind::Increase(_) if text.contains("code") => Ok(buckets([first, 80.0, 90.0])),
                QueryKind::Increase(_) => Ok(buckets([first, 85.0, 100.0])),
                _ => healthy(kind, text),
            })
        };
        let repaired = with(80.05);
        assert_eq!(measured(&repaired).latency().unwrap().counts(), [80.0, 80.0, 90.0]);
        assert_eq!(repaired.reasons, []);
        let broken = with(80.5);
        assert_eq!(broken.reasons, [Reason::Partial]);
        assert_eq!(measured(&broken).latency(), None);
    }

    #[test]
    fn a_failed_or_incomplete_part_makes_its_component_vacuous_never_a_partial_sum() {
        for outcome in [Outcome::Failed, Outcome::Incomplete] {
            for failing in ["code", "[5m]", "count by", "timestamp", "count_over_time"] {
                let evidence = read_one(|kind, text| {
                    if text.contains(failing) && (failing != "[5m]" || !text.contains("code")) {
                        Err(outcome.clone())
                    } else {
                        healthy(kind, text)
                    }
                });
                assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Partial), "{failing}");
            }
        }
    }

    #[test]
    fn an_upstream_that_answers_nothing_or_nonsense_is_no_evidence_at_all() {
        let model = || journey(&["5m"], vec![component("a")]);
        assert_eq!(read_all(model(), Some(AT), |_, _| Err(Outcome::Failed)), Reading::Unusable);
        let one_bad = read_all(model(), Some(AT), |kind, text| match kind {
            QueryKind::Layout => Err(Outcome::Malformed),
            _ => healthy(kind, text),
        });
        assert_eq!(one_bad, Reading::Unusable);
    }

    #[test]
    fn numbers_that_are_none_never_become_evidence() {
        for value in [f64::NAN, f64::INFINITY, -1.0] {
            let evidence = read_one(|kind, text| match kind {
                QueryKind::Increase(_) => Ok(buckets([50.0, value, 90.0])),
                _ => healthy(kind, text),
            });
            assert_eq!(evidence, ComponentEvidence::vacuous(Reason::Upstream));
        }
    }

    #[test]
    fn evidence_that_is_too_old_or_from_the_future_has_a_wrong_clock() {
        let newest = |value: f64| {
            read_one(move |kind, text| match kind {
                QueryKind::Newest => Ok(one(value)),
                _ => healthy(kind, text),
            })
        };
        // Scraped every 15 s, 5 s of delay: up to 35 s are usual.
        assert_eq!(newest(565.0).reasons, []);
        let old = newest(564.9);
        assert_eq!(old.reasons, [Reason::Clock]);
        assert_eq!(measured(&old).total(), 100.0);
        let ahead = |value: f64| {
            read_one(move |kind, text| match kind {
                QueryKind::Ahead => Ok(one(value)),
                _ => healthy(kind, text),
            })
        };
        assert_eq!(ahead(630.0).reasons, []);
        assert_eq!(ahead(630.1).reasons, [Reason::Clock]);
    }

    #[test]
    fn separate_queries_give_the_same_evidence() {
        let text = |text: &str| Some(text.to_owned());
        let telemetry = |total| {
            with_telemetry(
                "a",
                Telemetry::Queries {
                    good: text("good[{{window}}]"),
                    total,
                    latency: text("ok[{{ .window }}]"),
                    failure_latency: text("bad[{{.window}}]"),
                    unit: LatencyUnit::Milliseconds,
                },
            )
        };
        let answer = |kind: QueryKind, text: &str| {
            if kind.is_side() {
                return healthy(kind, text);
            }
            Ok(match text {
                "good[5m]" => one(90.0),
                "total[5m]" => one(100.0),
                "ok[5m]" => buckets([50.0, 80.0, 90.0]),
                "bad[5m]" => buckets([5.0, 5.0, 10.0]),
                other => panic!("{other}"),
            })
        };
        for total in [text("total[{{window}}]"), None] {
            let evidence = only(&read_all(journey(&["5m"], vec![telemetry(total)]), None, answer), "5m");
            let counts = measured(&evidence);
            assert_eq!((counts.good(), counts.total(), evidence.reasons.len()), (90.0, 100.0, 0));
            assert_eq!(counts.latency().unwrap().edges(), [0.0001, 0.001]);
            assert_eq!(counts.failure_latency().unwrap().total(), 10.0);
        }
        let model = journey(&["5m"], vec![telemetry(text("total[{{window}}]"))]);
        let two = |kind: QueryKind, text: &str| match text {
            "total[5m]" => Ok([one(1.0), one(2.0)].concat()),
            "good[5m]" => Ok(Vec::new()),
            _ => answer(kind, text),
        };
        assert_eq!(
            only(&read_all(model.clone(), None, two), "5m"),
            ComponentEvidence::vacuous(Reason::Upstream)
        );
        let all_failed = |kind: QueryKind, text: &str| match text {
            "good[5m]" => Ok(Vec::new()),
            _ => answer(kind, text),
        };
        let evidence = only(&read_all(model, None, all_failed), "5m");
        assert_eq!((measured(&evidence).good(), evidence.reasons.len()), (0.0, 0));
    }

    #[test]
    fn separate_queries_are_as_old_as_the_stalest_series_that_they_read() {
        let telemetry = |total: &str| {
            let text = |text: &str| Some(text.to_owned());
            let (good, total) = (text("sum(increase(good[{{window}}]))"), text(total));
            let unit = LatencyUnit::Seconds;
            with_telemetry(
                "a",
                Telemetry::Queries { good, total, latency: None, failure_latency: None, unit },
            )
        };
        let model = |total: &str| journey(&["5m"], vec![telemetry(total)]);
        let readable = "sum(increase(total[{{window}}]))";
        let newest = |good: Option<f64>, total: Option<f64>| {
            move |kind: QueryKind, text: &str| match kind {
                QueryKind::Newest => {
                    let time = if text.contains("good") { good } else { total };
                    Ok(time.map_or_else(Vec::new, one))
                }
                QueryKind::Declared(_) => Ok(one(if text.contains("good") { 90.0 } else { 100.0 })),
                _ => healthy(kind, text),
            }
        };
        let age = |reading: &Reading| match reading {
            Reading::Evidence { age, .. } => age.map(Seconds::get),
            other => panic!("{other:?}"),
        };
        let fresh = read_all(model(readable), None, newest(Some(595.0), Some(598.0)));
        assert_eq!((age(&fresh), only(&fresh, "5m").reasons), (Some(5.0), vec![]));
        let old = read_all(model(readable), None, newest(Some(598.0), Some(400.0)));
        assert_eq!((age(&old), only(&old, "5m").reasons), (Some(200.0), vec![Reason::Clock]));
        // No success in the lookback is not a gap as long as calls are counted.
        let failing = read_all(model(readable), None, newest(None, Some(598.0)));
        assert_eq!((age(&failing), only(&failing, "5m").reasons), (Some(2.0), vec![]));
        let gone = read_all(model(readable), None, newest(None, None));
        assert_eq!(only(&gone, "5m"), ComponentEvidence::vacuous(Reason::Absent));
        let unreadable =
            read_all(model("sum(total[{{window}}] syntax of tomorrow)"), None, newest(None, None));
        assert_eq!(age(&unreadable), Some(f64::INFINITY));
    }

    #[test]
    fn more_successes_than_calls_are_noise_within_a_thousandth_and_beyond_it_inconsistent() {
        let with = |good: f64| {
            read_one(move |kind, text| match kind {
                QueryKind::Increase(_) if text.contains("code") => Ok(buckets([50.0, 80.0, good])),
                _ => healthy(kind, text),
            })
        };
        assert_eq!(measured(&with(100.05)).good(), 100.0);
        assert_eq!(with(100.2), ComponentEvidence::vacuous(Reason::Partial));
    }
}
