//! The plan: all evidence queries of all windows of all journeys, each text once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use super::batch::{self, MemberKey};
use super::selector::{Batch, Selector, selectors_of};
use crate::journey::Journey;
use crate::journey::component::{HistogramType, LatencyUnit, Telemetry};
use crate::series::{Matcher, StepGrid};
use crate::spec::with_window;
use crate::unit::{Timestamp, Window};

/// Index into [`EvidencePlan::queries`].
pub type QueryId = usize;

/// Over which span the samples of a series are counted to learn its scrape interval.
const SCRAPE_SPAN_MS: u64 = 5 * 60_000;

/// How far ahead of the clock samples are looked for: Prometheus' lookback, so that an answer means "newer than now".
const AHEAD_MS: i64 = 5 * 60_000;

/// Into how many sub-windows a window is cut to see whether its calls come in bursts.
const SUB_WINDOWS: u64 = 12;

/// The shortest window that is cut: several scrapes must lie in a sub-window. How shorter ones differ among themselves
/// says nothing about any of them, so that their calls are taken as independent.
const LEAST_CUT_MS: u64 = 30 * 60_000;

/// The calls beyond this share, in the order of their times, tell whether slow calls come in bursts.
pub const SLOW_SHARE: f64 = 0.9;

/// What a query is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueryKind {
    /// The buckets' increase over a window.
    Increase(Window),
    /// A query of the spec for a window: numbers or buckets.
    Declared(Window),
    /// The same over sub-windows of this length that lie side by side, of a longer window.
    SubWindows(Window),
    /// How many series have each bucket.
    Layout,
    /// The time of the newest sample.
    Newest,
    /// The samples of the last five minutes.
    Samples,
    /// The newest sample ahead of the clock; asked for live only, since the past of another time is its future.
    Ahead,
}

impl QueryKind {
    /// Whether it looks for what sums hide.
    #[must_use]
    pub const fn is_side(self) -> bool {
        matches!(self, Self::Layout | Self::Newest | Self::Samples | Self::Ahead | Self::SubWindows(_))
    }
}

/// One query of a plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PlannedQuery {
    /// What it is for.
    pub kind: QueryKind,
    /// PromQL.
    pub text: String,
    /// The label that tells the members of a batch apart.
    pub member_label: Option<String>,
}

/// The queries of one family's side effects.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SideQueries {
    /// Of classic histograms.
    pub(super) layout: Option<QueryId>,
    pub(super) newest: QueryId,
    pub(super) samples: QueryId,
    pub(super) ahead: QueryId,
    pub(super) key: MemberKey,
}

/// The buckets of one selector over one window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BucketQuery {
    pub(super) query: QueryId,
    pub(super) key: MemberKey,
}

/// Where the evidence of a component stands among the answers.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    /// No telemetry.
    Nothing,
    /// One histogram split by status.
    Histogram {
        /// All calls; by window.
        all: BTreeMap<Window, BucketQuery>,
        /// Successes; by window; `None`: all calls succeed.
        success: Option<BTreeMap<Window, BucketQuery>>,
        /// The same two over the sub-windows of a window; by window.
        sub_windows: BTreeMap<Window, BucketSubWindows>,
        side: SideQueries,
        unit: LatencyUnit,
        histogram_type: HistogramType,
    },
    /// Separate queries, by window.
    Declared {
        windows: BTreeMap<Window, DeclaredQueries>,
        /// The same over the sub-windows of a window, where each query has a window to fill in; by window.
        sub_windows: BTreeMap<Window, (Window, DeclaredQueries)>,
        /// For each series that the queries read; `None` where they cannot be read.
        freshness: Option<Vec<Freshness>>,
        unit: LatencyUnit,
    },
}

/// The buckets of a component over sub-windows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BucketSubWindows {
    pub(super) length: Window,
    pub(super) all: BucketQuery,
    /// `None`: all calls succeed.
    pub(super) success: Option<BucketQuery>,
}

/// The side queries of one selector within the queries of a spec.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Freshness {
    pub(super) newest: QueryId,
    pub(super) samples: QueryId,
}

/// The separate queries of one window.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct DeclaredQueries {
    pub(super) good: Option<QueryId>,
    pub(super) total: Option<QueryId>,
    pub(super) latency: Option<QueryId>,
    pub(super) failure_latency: Option<QueryId>,
    /// The share of successes itself, instead of all others.
    pub(super) ratio: Option<QueryId>,
}

/// Where a parameter's value comes from.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ParameterSource {
    /// The spec.
    Declared(Option<f64>),
    /// A query, by window.
    Measured(BTreeMap<Window, QueryId>),
}

/// A journey's part of the plan.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JourneyPlan {
    pub(super) journey: Arc<Journey>,
    /// Rising.
    pub(super) windows: Vec<Window>,
    /// One for each component: index into [`EvidencePlan::sources`].
    pub(super) components: Vec<usize>,
    pub(super) parameters: Vec<ParameterSource>,
}

/// All evidence queries of some journeys. Prints as text, one query a line.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidencePlan {
    queries: Vec<PlannedQuery>,
    pub(super) sources: Vec<Source>,
    pub(super) journeys: Vec<JourneyPlan>,
    side_interval: Window,
}

impl EvidencePlan {
    /// The plan of all declared windows. `interval` is that of the evaluation: side queries are asked for once a minute,
    /// more often only where the evaluation is much faster than the default.
    #[must_use]
    pub fn new(journeys: &[Arc<Journey>], interval: Window) -> Self {
        let all: Vec<_> =
            journeys.iter().map(|journey| (Arc::clone(journey), journey.windows.clone())).collect();
        Self::with_windows(&all, interval)
    }

    /// The plan of the given windows of each journey.
    #[must_use]
    pub fn with_windows(journeys: &[(Arc<Journey>, Vec<Window>)], interval: Window) -> Self {
        Builder::default().build(journeys, interval)
    }

    /// The queries, sorted.
    #[must_use]
    pub fn queries(&self) -> &[PlannedQuery] {
        &self.queries
    }

    /// The journeys, in the order given.
    pub fn journeys(&self) -> impl ExactSizeIterator<Item = &Arc<Journey>> {
        self.journeys.iter().map(|plan| &plan.journey)
    }

    /// The distance of two askings of a side query: four evaluations, but at most a minute.
    #[must_use]
    pub const fn side_interval(&self) -> Window {
        self.side_interval
    }

    /// At which time `kind` is asked for to evaluate `at`. What has a [`Self::period`] is asked for at multiples of it, so
    /// that a back-fill asks for the same as the live loop. `now` is the clock, `None` when the past is evaluated.
    #[must_use]
    pub fn time_of(&self, kind: QueryKind, at: Timestamp, now: Option<Timestamp>) -> Option<Timestamp> {
        match kind {
            QueryKind::Increase(_) | QueryKind::Declared(_) => Some(at),
            QueryKind::Ahead => now.map(|now| now.plus_millis(AHEAD_MS)),
            QueryKind::Layout | QueryKind::Newest | QueryKind::Samples | QueryKind::SubWindows(_) => {
                self.period(kind).map(|period| at.floor_to(period))
            }
        }
    }

    /// For how long an answer serves; `None`: for one evaluation.
    #[must_use]
    pub const fn period(&self, kind: QueryKind) -> Option<Window> {
        match kind {
            QueryKind::Increase(_) | QueryKind::Declared(_) => None,
            QueryKind::SubWindows(length) => Some(length),
            QueryKind::Layout | QueryKind::Newest | QueryKind::Samples | QueryKind::Ahead => {
                Some(self.side_interval)
            }
        }
    }

    /// The grid on which what has a [`Self::period`] is asked for to evaluate `first..=last`: its multiples; of sub-windows
    /// all ends, from the first of those of the window that ends with `first`. `None` for what has none.
    #[must_use]
    pub fn grid_of(&self, kind: QueryKind, first: Timestamp, last: Timestamp) -> Option<StepGrid> {
        let period = self.period(kind)?;
        let end = first.floor_to(period);
        let start = match kind {
            QueryKind::SubWindows(length) => Self::sub_window_ends(end, length).last()?,
            _ => end,
        };
        StepGrid::new(start, last.floor_to(period), period).ok()
    }

    /// The ends of the sub-windows of the window that ends at `end`, the newest first.
    pub(super) fn sub_window_ends(end: Timestamp, length: Window) -> impl Iterator<Item = Timestamp> {
        let step = i64::try_from(length.millis()).unwrap_or(i64::MAX);
        std::iter::successors(Some(end), move |end| Some(end.plus_millis(-step)))
            .take(usize::try_from(SUB_WINDOWS).unwrap_or(usize::MAX))
    }

    /// How long the sub-windows of a window are; `None` where it is too short to be cut.
    fn sub_window(window: Window) -> Option<Window> {
        let cut = window.millis() >= LEAST_CUT_MS;
        cut.then(|| Window::from_millis(window.millis() / SUB_WINDOWS).ok()).flatten()
    }

    /// The clock when a query ahead of it was asked for `time`.
    pub(super) const fn clock_of_ahead(time: Timestamp) -> Timestamp {
        time.plus_millis(-AHEAD_MS)
    }

    /// The span that the answer of a samples query counts over.
    pub(super) fn scrape_span_seconds() -> f64 {
        crate::unit::Seconds::from_millis(SCRAPE_SPAN_MS).get()
    }
}

impl fmt::Display for EvidencePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for query in &self.queries {
            match query.kind {
                QueryKind::Increase(window) | QueryKind::Declared(window) => {
                    writeln!(f, "every evaluation, window {window}: {}", query.text)?;
                }
                QueryKind::SubWindows(length) => writeln!(
                    f,
                    "every {length}, for each of the last {SUB_WINDOWS} times {length}: {}",
                    query.text
                )?,
                QueryKind::Ahead => {
                    writeln!(f, "every {}, ahead of the clock: {}", self.side_interval, query.text)?;
                }
                _ => writeln!(f, "every {}: {}", self.side_interval, query.text)?,
            }
        }
        Ok(())
    }
}

/// Collects unique telemetry first, since only all of it together says how to batch; then numbers the queries.
#[derive(Default)]
struct Builder<'a> {
    telemetry: Vec<(Option<&'a Telemetry>, BTreeSet<Window>)>,
    known: HashMap<String, usize>,
    ids: BTreeMap<PlannedQuery, QueryId>,
}

impl<'a> Builder<'a> {
    fn build(mut self, journeys: &'a [(Arc<Journey>, Vec<Window>)], interval: Window) -> EvidencePlan {
        let components: Vec<Vec<usize>> = journeys
            .iter()
            .map(|(journey, windows)| {
                let telemetry = journey.components.iter().map(|component| component.telemetry.as_ref());
                telemetry.map(|telemetry| self.source(telemetry, windows)).collect()
            })
            .collect();
        let placed = batch::batches(&self.telemetry.iter().flat_map(|(t, _)| selectors(*t)).collect());
        let telemetry = std::mem::take(&mut self.telemetry);
        let sources =
            telemetry.iter().map(|(telemetry, windows)| self.bind(*telemetry, windows, &placed)).collect();
        let journeys = journeys
            .iter()
            .zip(components)
            .map(|((journey, windows), components)| {
                let mut windows = windows.clone();
                windows.sort_unstable();
                windows.dedup();
                let parameters = journey.parameters.iter().map(|parameter| match &parameter.promql {
                    None => ParameterSource::Declared(parameter.value),
                    Some(text) => ParameterSource::Measured(
                        windows.iter().map(|&window| (window, self.declared(text, window))).collect(),
                    ),
                });
                let parameters = parameters.collect();
                JourneyPlan { journey: Arc::clone(journey), windows, components, parameters }
            })
            .collect();
        let side = interval.millis().saturating_mul(4).min(60_000);
        let mut plan = EvidencePlan {
            queries: Vec::new(),
            sources,
            journeys,
            side_interval: Window::from_millis(side).unwrap_or(interval),
        };
        let mut queries: Vec<(PlannedQuery, QueryId)> = self.ids.into_iter().collect();
        queries.sort_by_key(|(_, id)| *id);
        plan.queries = queries.into_iter().map(|(query, _)| query).collect();
        plan
    }

    /// The index of this telemetry; equal telemetry of different components is asked for once.
    fn source(&mut self, telemetry: Option<&'a Telemetry>, windows: &[Window]) -> usize {
        let next = self.telemetry.len();
        let at = *self.known.entry(format!("{telemetry:?}")).or_insert(next);
        if at == next {
            self.telemetry.push((telemetry, BTreeSet::new()));
        }
        self.telemetry[at].1.extend(windows);
        at
    }

    fn query(&mut self, kind: QueryKind, text: String, member_label: Option<String>) -> QueryId {
        let next = self.ids.len();
        *self.ids.entry(PlannedQuery { kind, text, member_label }).or_insert(next)
    }

    fn declared(&mut self, text: &str, window: Window) -> QueryId {
        self.query(QueryKind::Declared(window), with_window(text, window), None)
    }

    /// What a spec's queries yield over the sub-windows; `None` where one of them has no window to fill in, or where
    /// shares are all that they yield.
    fn declared_sub_windows(
        &mut self,
        telemetry: &Telemetry,
        window: Window,
    ) -> Option<(Window, DeclaredQueries)> {
        let Telemetry::Queries { good, total, latency, failure_latency, .. } = telemetry else { return None };
        let length = EvidencePlan::sub_window(window)?;
        let all = [good, total, latency, failure_latency];
        let fixed = |text: &&String| with_window(text, length) == **text;
        if all.into_iter().flatten().any(|text| fixed(&text)) {
            return None;
        }
        let [good, total, latency, failure_latency] = all.map(|text| {
            text.as_ref()
                .map(|text| self.query(QueryKind::SubWindows(length), with_window(text, length), None))
        });
        Some((length, DeclaredQueries { good, total, latency, failure_latency, ratio: None }))
    }

    /// Sums say nothing of the age of what they add up: the newest sample of each selector does.
    fn freshness<'q>(&mut self, queries: impl Iterator<Item = &'q String>) -> Option<Vec<Freshness>> {
        let span = Window::from_millis(SCRAPE_SPAN_MS).ok()?;
        let mut selectors = BTreeSet::new();
        for query in queries {
            selectors.extend(selectors_of(&with_window(query, span))?);
        }
        let side = |selector: String| Freshness {
            newest: self.query(QueryKind::Newest, format!("max(timestamp({selector}))"), None),
            samples: self.query(
                QueryKind::Samples,
                format!("max(count_over_time({selector}[{span}]))"),
                None,
            ),
        };
        Some(selectors.into_iter().map(side).collect())
    }

    fn bind(
        &mut self,
        telemetry: Option<&Telemetry>,
        windows: &BTreeSet<Window>,
        placed: &BTreeMap<Selector, (Batch, MemberKey)>,
    ) -> Source {
        match telemetry {
            None => Source::Nothing,
            Some(telemetry @ Telemetry::Queries { good, total, latency, failure_latency, unit }) => {
                Source::Declared {
                    sub_windows: windows
                        .iter()
                        .filter_map(|&window| Some((window, self.declared_sub_windows(telemetry, window)?)))
                        .collect(),
                    freshness: self.freshness([good, total, latency, failure_latency].into_iter().flatten()),
                    windows: windows
                        .iter()
                        .map(|&window| {
                            let mut id =
                                |text: &Option<String>| text.as_ref().map(|t| self.declared(t, window));
                            let queries = DeclaredQueries {
                                good: id(good),
                                total: id(total),
                                latency: id(latency),
                                failure_latency: id(failure_latency),
                                ratio: None,
                            };
                            (window, queries)
                        })
                        .collect(),
                    unit: *unit,
                }
            }
            Some(Telemetry::Ratio { query }) => Source::Declared {
                sub_windows: BTreeMap::new(),
                freshness: self.freshness([query].into_iter()),
                windows: windows
                    .iter()
                    .map(|&window| {
                        let ratio = Some(self.declared(query, window));
                        (window, DeclaredQueries { ratio, ..DeclaredQueries::default() })
                    })
                    .collect(),
                unit: LatencyUnit::Seconds,
            },
            Some(Telemetry::Histogram { metric, matchers, success, unit, histogram_type }) => {
                let every = Selector::new(metric, *histogram_type, matchers);
                let good = Selector::new(metric, *histogram_type, matchers.iter().chain(success));
                let (batch, key) = &placed[&every];
                let label = batch.members.as_ref().map(|(label, _)| label.clone());
                let mut side = |kind, text| self.query(kind, text, label.clone());
                let span = Window::from_millis(SCRAPE_SPAN_MS);
                let side = SideQueries {
                    layout: batch.layout().map(|text| side(QueryKind::Layout, text)),
                    newest: side(QueryKind::Newest, batch.newest()),
                    samples: side(
                        QueryKind::Samples,
                        span.map_or_else(|_| batch.newest(), |s| batch.samples(s)),
                    ),
                    ahead: side(QueryKind::Ahead, batch.newest()),
                    key: key.clone(),
                };
                let mut increase = |selector: &Selector, kind, window| {
                    let (batch, key) = &placed[selector];
                    let label = batch.members.as_ref().map(|(label, _)| label);
                    let query = self.query(kind, batch.increase(window), label.cloned());
                    BucketQuery { query, key: key.clone() }
                };
                let mut increases = |selector: &Selector| -> BTreeMap<Window, BucketQuery> {
                    let of = |&window| (window, increase(selector, QueryKind::Increase(window), window));
                    windows.iter().map(of).collect()
                };
                let all = increases(&every);
                let success = (good != every).then(|| increases(&good));
                let sub_windows = windows.iter().filter_map(|&window| {
                    let length = EvidencePlan::sub_window(window)?;
                    let mut of = |selector| increase(selector, QueryKind::SubWindows(length), length);
                    let (all, success) = (of(&every), (good != every).then(|| of(&good)));
                    Some((window, BucketSubWindows { length, all, success }))
                });
                let sub_windows = sub_windows.collect();
                let (unit, histogram_type) = (*unit, *histogram_type);
                Source::Histogram { all, success, sub_windows, side, unit, histogram_type }
            }
        }
    }
}

fn selectors(telemetry: Option<&Telemetry>) -> Vec<Selector> {
    match telemetry {
        Some(Telemetry::Histogram { metric, matchers, success, histogram_type, .. }) => {
            let of = |matchers: Vec<&Matcher>| Selector::new(metric, *histogram_type, matchers);
            vec![of(matchers.iter().collect()), of(matchers.iter().chain(success).collect())]
        }
        Some(Telemetry::Queries { .. } | Telemetry::Ratio { .. }) | None => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::tests::{component, journey};
    use super::*;

    #[test]
    fn components_that_differ_in_one_label_share_their_queries_over_all_journeys_and_windows() {
        let first = journey(&["5m", "1h"], vec![component("a"), component("b")]);
        let second = journey(&["5m", "6h"], vec![component("b"), component("c")]);
        let interval = "15s".parse().unwrap();
        let plan = EvidencePlan::new(&[Arc::new(first), Arc::new(second)], interval);
        // Three windows, all calls and successes each, and the sub-windows of an hour and of six; layout, newest, samples,
        // ahead.
        assert_eq!(plan.queries().len(), 3 * 2 + 2 * 2 + 4, "{plan}");
        let text = plan.to_string();
        for line in [
            r#"every evaluation, window 6h: sum by (le, service) (increase(m_bucket{service=~"a|b|c"}[6h]))"#,
            r#"every evaluation, window 5m: sum by (le, service) (increase(m_bucket{code!~"5..",service=~"a|b|c"}[5m]))"#,
            r#"every 30m, for each of the last 12 times 30m: sum by (le, service) (increase(m_bucket{service=~"a|b|c"}[30m]))"#,
            r#"every 1m: count by (le, service) (m_bucket{service=~"a|b|c"})"#,
            r#"every 1m: max by (service) (timestamp(m_bucket{service=~"a|b|c",le="+Inf"}))"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn side_queries_stand_at_multiples_of_their_interval_so_that_a_back_fill_asks_the_same() {
        let plan = EvidencePlan::new(&[], "15s".parse().unwrap());
        let at = Timestamp::from_millis;
        assert_eq!(plan.time_of(QueryKind::Layout, at(119_000), None), Some(at(60_000)));
        assert_eq!(plan.time_of(QueryKind::Ahead, at(119_000), None), None);
        let sub_windows = QueryKind::SubWindows("5m".parse().unwrap());
        assert_eq!(plan.time_of(sub_windows, at(3_899_000), None), Some(at(3_600_000)));
        let grid = plan.grid_of(sub_windows, at(3_899_000), at(4_300_000)).unwrap();
        assert_eq!((grid.start(), grid.end(), grid.points()), (at(300_000), at(4_200_000), 14));
        let fast = EvidencePlan::new(&[], "1s".parse().unwrap());
        assert_eq!(fast.side_interval().millis(), 4_000);
    }
}
