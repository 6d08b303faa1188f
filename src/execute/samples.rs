//! The samples of one journey as they are kept: XOR chunks, labels as symbols, and what is known of each grid point.

use std::collections::{BTreeMap, HashMap};
use std::hash::{Hash as _, Hasher as _};
use std::ops::ControlFlow;
use std::sync::Arc;

use rustc_hash::FxHasher;
use smallvec::SmallVec;

use super::selection::SelectError;
use crate::promql::matcher::MatcherSet;
use crate::series::{Labels, STALE_NAN_BITS, Sample, Series};
use crate::unit::Timestamp;
use crate::wire::xor_chunk::{self, XorEncoder};

/// What is known of a grid point.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PointState {
    /// Evaluated: a series without a sample there does not exist there.
    Answered,
    /// Only the meta series have samples.
    Unanswered(Arc<SelectError>),
}

/// One point to be kept.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) time: Timestamp,
    pub(super) state: PointState,
    pub(super) samples: Vec<(Labels, f64)>,
}

type Symbol = u32;
type SymbolLabels = Box<[(Symbol, Symbol)]>;

#[derive(Debug, Clone)]
struct Chunk {
    min: Timestamp,
    max: Timestamp,
    bytes: Box<[u8]>,
}

#[derive(Debug)]
struct KeptSeries {
    labels: SymbolLabels,
    /// In the order of time.
    full: Vec<Chunk>,
    head: Option<XorEncoder>,
    head_min: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct JourneySamples {
    symbols: Vec<Arc<str>>,
    symbol_ids: HashMap<Arc<str>, Symbol>,
    series: Vec<KeptSeries>,
    by_hash: HashMap<u64, SmallVec<[u32; 2]>>,
    /// The series of the newest point, in the order in which they were rendered: the next point nearly always has the
    /// same, and is then placed without a look-up.
    order: Vec<u32>,
    points: BTreeMap<Timestamp, PointState>,
    sample_bytes: usize,
}

const STALE: f64 = f64::from_bits(STALE_NAN_BITS);

impl JourneySamples {
    /// What is known of each point, in the order of time.
    pub(super) const fn points(&self) -> &BTreeMap<Timestamp, PointState> {
        &self.points
    }

    /// How many series there are.
    pub(super) fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Whether all series have ended and everything before is forgotten.
    pub(super) fn is_silent(&self) -> bool {
        self.order.is_empty()
            && self.series.iter().all(|series| {
                let last = series.head.as_ref().and_then(XorEncoder::last);
                let kept_since = self.points.first_key_value().map(|(&first, _)| first);
                series.full.is_empty() && last.zip(kept_since).is_none_or(|(last, since)| last.time < since)
            })
    }

    /// Bytes of compressed samples.
    pub(super) const fn sample_bytes(&self) -> usize {
        self.sample_bytes
    }

    /// Appends a point after all others; one that is not after them is ignored, since the past does not change. Series
    /// that end get a stale marker.
    pub(super) fn append(&mut self, point: &Point) {
        if self.points.last_key_value().is_some_and(|(&last, _)| last >= point.time) {
            return;
        }
        let mut order = Vec::with_capacity(point.samples.len());
        for (at, (labels, value)) in point.samples.iter().enumerate() {
            let guess = self.order.get(at).copied().filter(|&id| self.is_called(id, labels));
            let id = guess.unwrap_or_else(|| self.intern(labels));
            self.push(id, Sample { time: point.time, value: *value });
            order.push(id);
        }
        let ended = std::mem::replace(&mut self.order, order);
        for id in ended {
            let last = self.series[id as usize].head.as_ref().and_then(XorEncoder::last);
            if last.is_some_and(|last| last.time < point.time) {
                self.push(id, Sample { time: point.time, value: STALE });
            }
        }
        self.points.insert(point.time, point.state.clone());
    }

    /// Appends a point with the values of the newest one: what a rendering of an unchanged evaluation would give.
    pub(super) fn repeat(&mut self, time: Timestamp) {
        let Some((&last, state)) = self.points.last_key_value() else { return };
        if last >= time {
            return;
        }
        let state = state.clone();
        for id in std::mem::take(&mut self.order) {
            if let Some(last) = self.series[id as usize].head.as_ref().and_then(XorEncoder::last) {
                self.push(id, Sample { time, value: last.value });
            }
            self.order.push(id);
        }
        self.points.insert(time, state);
    }

    /// The newest point.
    pub(super) fn newest(&self) -> Option<Timestamp> {
        self.points.last_key_value().map(|(&last, _)| last)
    }

    /// Puts what was kept of consecutive points before all others. `next` is the grid point after the last of them: a
    /// series that ends there gets its stale marker there. Ignored where they are not before all others.
    pub(super) fn prepend(&mut self, older: &Self, next: Timestamp) {
        let first_known = self.points.first_key_value().map(|(&first, _)| first);
        let last = older.points.last_key_value().map(|(&last, _)| last);
        if last.zip(first_known).is_some_and(|(last, first)| last >= first) {
            return;
        }
        let mut alive = vec![false; older.series.len()];
        older.order.iter().for_each(|&id| alive[id as usize] = true);
        for (series, alive) in older.series.iter().zip(alive) {
            let (Some(from), Some(to)) = (series.first(), last) else { continue };
            let labels = series.labels.iter();
            let labels: SymbolLabels = labels
                .map(|&(name, value)| (self.symbol(older.text(name)), self.symbol(older.text(value))))
                .collect();
            let id = self.intern_symbols(labels);
            let mut samples = series.samples(from, to);
            let goes_on = || self.series[id as usize].first().is_some_and(|first| first <= next);
            if alive && !goes_on() {
                samples.push(Sample { time: next, value: STALE });
            }
            let chunks = chunks_of(&samples);
            self.sample_bytes += chunks.iter().map(|chunk| chunk.bytes.len()).sum::<usize>();
            self.series[id as usize].full.splice(0..0, chunks);
        }
        self.points.extend(older.points.iter().map(|(&time, state)| (time, state.clone())));
    }

    /// Forgets points and whole chunks that lie before `time`.
    pub(super) fn forget_before(&mut self, time: Timestamp) {
        self.points = self.points.split_off(&time);
        for series in &mut self.series {
            let keep_from = series.full.partition_point(|chunk| chunk.max < time);
            for chunk in series.full.drain(..keep_from) {
                self.sample_bytes -= chunk.bytes.len();
            }
        }
    }

    /// The samples in `[from, to]` of the series that match; `external` labels belong to every series that lacks them.
    pub(super) fn select(
        &self,
        matchers: &MatcherSet,
        external: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<Series> {
        let mut all = Vec::new();
        self.visit(matchers, external, from, to, |labels, samples| {
            all.push(Series { labels, samples });
            ControlFlow::Continue(())
        });
        all
    }

    /// Shows each series that matches and has samples in `[from, to]`, one after the other, so that only one of them
    /// is held in full.
    pub(super) fn visit(
        &self,
        matchers: &MatcherSet,
        external: &Labels,
        from: Timestamp,
        to: Timestamp,
        mut show: impl FnMut(Labels, Vec<Sample>) -> ControlFlow<()>,
    ) {
        for series in &self.series {
            let matches = matchers.matches_by(|name| match self.label(&series.labels, name) {
                "" => external.get(name),
                value => value,
            });
            let samples = if matches { series.samples(from, to) } else { Vec::new() };
            if samples.is_empty() {
                continue;
            }
            if show(self.labels_with(series, external), samples).is_break() {
                return;
            }
        }
    }

    /// The labels of the series that match and have samples around `[from, to]`, chunk by chunk.
    pub(super) fn existing(
        &self,
        matchers: &MatcherSet,
        external: &Labels,
        from: Timestamp,
        to: Timestamp,
    ) -> Vec<Labels> {
        let overlaps = |series: &&KeptSeries| {
            let last = series.head.as_ref().and_then(XorEncoder::last).map(|last| last.time);
            let last = last.or_else(|| series.full.last().map(|chunk| chunk.max));
            series.first().zip(last).is_some_and(|(first, last)| first <= to && last >= from)
        };
        self.series
            .iter()
            .filter(overlaps)
            .map(|series| self.labels_with(series, external))
            .filter(|labels| matchers.matches(labels))
            .collect()
    }

    /// The labels of a series, with the external ones that it lacks.
    fn labels_with(&self, series: &KeptSeries, external: &Labels) -> Labels {
        let mut labels = external.clone();
        for &(name, value) in &series.labels {
            labels.set(self.text(name), self.text(value));
        }
        labels
    }

    fn text(&self, symbol: Symbol) -> &str {
        self.symbols.get(symbol as usize).map_or("", |text| text)
    }

    fn label(&self, labels: &SymbolLabels, name: &str) -> &str {
        let found = labels.iter().find(|&&(label, _)| self.text(label) == name);
        found.map_or("", |&(_, value)| self.text(value))
    }

    fn is_called(&self, id: u32, labels: &Labels) -> bool {
        let kept = &self.series[id as usize].labels;
        kept.len() == labels.len()
            && kept.iter().zip(labels.iter()).all(|(&(name, value), (other_name, other_value))| {
                self.text(value) == other_value && self.text(name) == other_name
            })
    }

    fn symbol(&mut self, text: &str) -> Symbol {
        if let Some(&known) = self.symbol_ids.get(text) {
            return known;
        }
        let symbol = Symbol::try_from(self.symbols.len()).unwrap_or(Symbol::MAX);
        let text: Arc<str> = text.into();
        self.symbols.push(Arc::clone(&text));
        self.symbol_ids.insert(text, symbol);
        symbol
    }

    /// The series of these labels, made where there is none.
    fn intern(&mut self, labels: &Labels) -> u32 {
        let pairs = labels.iter().map(|(name, value)| (self.symbol(name), self.symbol(value)));
        let pairs = pairs.collect();
        self.intern_symbols(pairs)
    }

    fn intern_symbols(&mut self, pairs: SymbolLabels) -> u32 {
        let mut hasher = FxHasher::default();
        pairs.hash(&mut hasher);
        let bucket = self.by_hash.entry(hasher.finish()).or_default();
        if let Some(&id) = bucket.iter().find(|&&id| self.series[id as usize].labels == pairs) {
            return id;
        }
        let id = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        bucket.push(id);
        self.series.push(KeptSeries {
            labels: pairs,
            full: Vec::new(),
            head: None,
            head_min: Timestamp::default(),
        });
        id
    }

    fn push(&mut self, id: u32, sample: Sample) {
        let series = &mut self.series[id as usize];
        if series.head.as_ref().is_some_and(|head| head.len() >= xor_chunk::MAX_SAMPLES) {
            series.cut();
        }
        let fresh = series.head.is_none();
        let head = series.head.get_or_insert_default();
        if fresh {
            series.head_min = sample.time;
        }
        let before = if fresh { 0 } else { head.bytes().len() };
        // Times rise (checked by the caller) and the head has room: never refused. A series that occurs twice in one
        // rendering keeps its first value.
        if head.push(sample).is_ok() {
            self.sample_bytes += head.bytes().len() - before;
        }
    }
}

impl KeptSeries {
    fn cut(&mut self) {
        if let Some(head) = self.head.take()
            && let Some(last) = head.last()
        {
            self.full.push(Chunk { min: self.head_min, max: last.time, bytes: head.bytes().into() });
        }
    }

    fn first(&self) -> Option<Timestamp> {
        self.full.first().map(|chunk| chunk.min).or_else(|| self.head.as_ref().map(|_| self.head_min))
    }

    fn samples(&self, from: Timestamp, to: Timestamp) -> Vec<Sample> {
        let overlapping = self.full.iter().filter(|chunk| chunk.max >= from && chunk.min <= to);
        let mut all: Vec<&[u8]> = overlapping.map(|chunk| &*chunk.bytes).collect();
        if let Some(head) = &self.head
            && self.head_min <= to
            && head.last().is_some_and(|last| last.time >= from)
        {
            all.push(head.bytes());
        }
        // Chunks are written here and nowhere else: a damaged one cannot be.
        let decoded = all.into_iter().filter_map(|bytes| xor_chunk::decode(bytes).ok()).flatten();
        decoded.filter(|sample| (from..=to).contains(&sample.time)).collect()
    }
}

fn chunks_of(samples: &[Sample]) -> Vec<Chunk> {
    let cut = samples.chunks(usize::from(xor_chunk::MAX_SAMPLES));
    cut.filter_map(|samples| {
        let mut encoder = XorEncoder::default();
        for &sample in samples {
            // A repeated time is dropped, as above.
            let _ = encoder.push(sample);
        }
        let (min, max) = (samples.first()?.time, encoder.last()?.time);
        Some(Chunk { min, max, bytes: encoder.bytes().into() })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{MatchOp, Matcher, NAME};

    fn at(point: i64) -> Timestamp {
        Timestamp::from_millis(point * 15_000)
    }

    fn point(time: i64, samples: &[(&str, f64)]) -> Point {
        let samples = samples.iter().map(|&(name, value)| (Labels::named(name).with("journey", "j"), value));
        Point { time: at(time), state: PointState::Answered, samples: samples.collect() }
    }

    fn kept(points: &[Point]) -> JourneySamples {
        let mut kept = JourneySamples::default();
        points.iter().for_each(|point| kept.append(point));
        kept
    }

    fn named(name: &str) -> MatcherSet {
        MatcherSet::new(vec![Matcher { name: NAME.into(), op: MatchOp::Equal, value: name.into() }]).unwrap()
    }

    /// Point numbers and values; `None`: stale.
    fn read(samples: &JourneySamples, name: &str, from: i64, to: i64) -> Vec<(i64, Option<f64>)> {
        let found = samples.select(&named(name), &Labels::new(), at(from), at(to));
        let value = |v: f64| (v.to_bits() != STALE_NAN_BITS).then_some(v);
        found.iter().flat_map(|s| &s.samples).map(|s| (s.time.millis() / 15_000, value(s.value))).collect()
    }

    #[test]
    fn a_series_that_ends_gets_one_stale_marker_at_once() {
        let mut kept = JourneySamples::default();
        kept.append(&point(1, &[("a", 1.0), ("b", 2.0)]));
        kept.append(&point(2, &[("b", 3.0)]));
        kept.append(&point(3, &[("b", 3.0)]));
        kept.append(&point(4, &[("a", 5.0), ("b", 3.0)]));
        assert_eq!(read(&kept, "a", 0, 9), [(1, Some(1.0)), (2, None), (4, Some(5.0))]);
        assert_eq!(read(&kept, "b", 2, 3), [(2, Some(3.0)), (3, Some(3.0))]);
    }

    #[test]
    fn the_past_does_not_change() {
        let mut kept = JourneySamples::default();
        kept.append(&point(2, &[("a", 1.0)]));
        kept.append(&point(2, &[("a", 9.0)]));
        kept.append(&point(1, &[("a", 9.0)]));
        kept.prepend(&self::kept(&[point(2, &[("a", 9.0)])]), at(3));
        assert_eq!(read(&kept, "a", 0, 9), [(2, Some(1.0))]);
    }

    #[test]
    fn blocks_put_before_the_rest_join_without_a_gap_and_end_what_does_not_go_on() {
        let mut kept = JourneySamples::default();
        kept.append(&point(10, &[("a", 10.0)]));
        let older = [point(8, &[("a", 8.0), ("b", 8.0)]), point(9, &[("b", 9.0), ("a", 9.0)])];
        kept.prepend(&self::kept(&older), at(10));
        kept.prepend(&self::kept(&[point(6, &[("c", 6.0), ("a", 6.0)]), point(7, &[("a", 7.0)])]), at(8));
        let whole: Vec<_> = (6..=10).map(|i| (i, Some(f64::from(i as i32)))).collect();
        assert_eq!(read(&kept, "a", 0, 20), whole);
        assert_eq!(read(&kept, "b", 0, 20), [(8, Some(8.0)), (9, Some(9.0)), (10, None)]);
        assert_eq!(read(&kept, "c", 0, 20), [(6, Some(6.0)), (7, None)]);
        assert_eq!(kept.points().len(), 5);
    }

    #[test]
    fn many_points_span_chunks_and_whole_chunks_are_forgotten() {
        let mut kept = JourneySamples::default();
        for i in 0..500 {
            kept.append(&point(i, &[("a", i as f64)]));
        }
        assert_eq!(read(&kept, "a", 0, 499).len(), 500);
        let before = kept.sample_bytes();
        kept.forget_before(at(300));
        // Points 240 to 299 share a chunk with later ones.
        assert_eq!(read(&kept, "a", 0, 499).first(), Some(&(240, Some(240.0))));
        assert_eq!(kept.points().len(), 200);
        assert!(kept.sample_bytes() < before);
    }

    #[test]
    fn a_repeated_point_has_the_same_values_and_series_that_ended_stay_ended() {
        let mut kept = JourneySamples::default();
        kept.append(&point(1, &[("a", 1.0), ("b", 2.0)]));
        kept.append(&point(2, &[("b", 3.0)]));
        for repeated in 3..200 {
            kept.repeat(at(repeated));
        }
        assert_eq!(read(&kept, "a", 0, 300), [(1, Some(1.0)), (2, None)]);
        assert_eq!(read(&kept, "b", 2, 300), (2..200).map(|i| (i, Some(3.0))).collect::<Vec<_>>());
        assert_eq!((kept.newest(), kept.points().len()), (Some(at(199)), 199));
    }

    #[test]
    fn external_labels_are_matched_and_given_back() {
        let mut kept = JourneySamples::default();
        kept.append(&point(1, &[("a", 1.0)]));
        let external = Labels::new().with("cluster", "eu");
        let matcher =
            |value: &str| Matcher { name: "cluster".into(), op: MatchOp::Equal, value: value.into() };
        let eu = MatcherSet::new(vec![matcher("eu")]).unwrap();
        let found = kept.select(&eu, &external, at(0), at(9));
        assert_eq!(found[0].labels.to_string(), r#"a{cluster="eu", journey="j"}"#);
        let us = MatcherSet::new(vec![matcher("us")]).unwrap();
        assert_eq!(kept.select(&us, &external, at(0), at(9)), []);
    }
}
