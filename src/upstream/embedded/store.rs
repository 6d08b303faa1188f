//! Samples in memory, a column for each series and one column of times for each target that is scraped.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::promql::matcher::MatcherSet;
use crate::promql::source::{Selection, SeriesSource};
use crate::series::{Labels, NAME, Sample, Series};
use crate::unit::{Timestamp, Window};

/// What a metric family is, for metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// `counter`, `gauge` or `histogram`.
    pub kind: String,
    /// For readers.
    pub help: String,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreLimits {
    /// Samples older than this, seen from the newest, are dropped.
    pub retention: Window,
    /// The most samples that one series keeps, whatever the retention.
    pub samples_per_series: usize,
    /// The most series of all targets together.
    pub series: usize,
}

/// A target whose samples arrive together: an index of the store that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TargetId(usize);

/// What a store refuses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// More series than allowed.
    #[error("{series} series are more than the store holds ({limit})")]
    TooManySeries {
        /// How many there would be.
        series: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A series that is already there.
    #[error("the series {0} exists already")]
    Duplicate(Labels),
    /// A time that does not come after the newest.
    #[error("a sample at {} does not come after the newest at {}", at.millis(), newest.millis())]
    OutOfOrder {
        /// What was given.
        at: Timestamp,
        /// The newest.
        newest: Timestamp,
    },
    /// Not one value for each series of the target.
    #[error("the target has {series} series, but {values} values were given")]
    Values {
        /// How many series there are.
        series: usize,
        /// How many values were given.
        values: usize,
    },
    /// No target of this store.
    #[error("there is no such target")]
    UnknownTarget,
}

/// A bounded store of counters and gauges. Readers see whole scrapes only.
#[derive(Debug)]
pub struct EmbeddedStore {
    limits: StoreLimits,
    held: RwLock<Held>,
}

#[derive(Debug, Default)]
struct Held {
    targets: Vec<Target>,
    metadata: BTreeMap<String, Metadata>,
}

#[derive(Debug)]
struct Target {
    labels: Vec<Labels>,
    times: VecDeque<i64>,
    /// One column for each of `labels`, each as long as `times`.
    columns: Vec<VecDeque<f64>>,
}

impl EmbeddedStore {
    /// An empty store.
    #[must_use]
    pub fn new(limits: StoreLimits) -> Self {
        Self { limits, held: RwLock::default() }
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what a metric family is.
    pub fn describe(&self, family: &str, metadata: Metadata) {
        self.write().metadata.insert(family.to_owned(), metadata);
    }

    /// What is known of each metric family.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, Metadata> {
        self.read().metadata.clone()
    }

    /// Adds a target with these series, which must be new.
    ///
    /// # Errors
    /// [`StoreError::TooManySeries`], [`StoreError::Duplicate`].
    pub fn add_target(&self, labels: Vec<Labels>) -> Result<TargetId, StoreError> {
        let mut held = self.write();
        let series = labels.len() + held.targets.iter().map(|target| target.labels.len()).sum::<usize>();
        if series > self.limits.series {
            return Err(StoreError::TooManySeries { series, limit: self.limits.series });
        }
        let mut known: BTreeSet<&Labels> = held.targets.iter().flat_map(|target| &target.labels).collect();
        if let Some(twice) = labels.iter().find(|labels| !known.insert(labels)) {
            return Err(StoreError::Duplicate(twice.clone()));
        }
        let columns = vec![VecDeque::new(); labels.len()];
        held.targets.push(Target { labels, times: VecDeque::new(), columns });
        Ok(TargetId(held.targets.len() - 1))
    }

    /// Adds one sample to each series of a target, in the order of [`EmbeddedStore::add_target`], and drops what is
    /// too old.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`], [`StoreError::Values`], [`StoreError::UnknownTarget`]; nothing is then added.
    pub fn append(&self, target: TargetId, at: Timestamp, values: &[f64]) -> Result<(), StoreError> {
        let mut held = self.write();
        let target = held.targets.get_mut(target.0).ok_or(StoreError::UnknownTarget)?;
        if values.len() != target.labels.len() {
            return Err(StoreError::Values { series: target.labels.len(), values: values.len() });
        }
        if let Some(newest) = target.times.back().filter(|newest| **newest >= at.millis()) {
            return Err(StoreError::OutOfOrder { at, newest: Timestamp::from_millis(*newest) });
        }
        target.times.push_back(at.millis());
        for (column, value) in target.columns.iter_mut().zip(values) {
            column.push_back(*value);
        }
        let retention = i64::try_from(self.limits.retention.millis()).unwrap_or(i64::MAX);
        let oldest = at.millis().saturating_sub(retention);
        let aged = target.times.partition_point(|time| *time < oldest);
        let surplus = target.times.len().saturating_sub(self.limits.samples_per_series);
        let drop = aged.max(surplus);
        if drop > 0 {
            target.times.drain(..drop);
            for column in &mut target.columns {
                column.drain(..drop);
            }
        }
        Ok(())
    }

    /// The labels of the series that match any of `any_of` (all series where it is empty) and have a sample in
    /// `[from, to]`, sorted.
    #[must_use]
    pub fn series(&self, any_of: &[MatcherSet], from: Timestamp, to: Timestamp) -> Vec<Labels> {
        let held = self.read();
        let alive = held.targets.iter().filter(|target| !target.between(from, to).is_empty());
        let mut found: Vec<Labels> = alive
            .flat_map(|target| &target.labels)
            .filter(|labels| any_of.is_empty() || any_of.iter().any(|matchers| matchers.matches(labels)))
            .cloned()
            .collect();
        found.sort();
        found
    }

    /// How many series there are.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.read().targets.iter().map(|target| target.labels.len()).sum()
    }
}

impl Target {
    /// The places of the samples in `[from, to]`.
    fn between(&self, from: Timestamp, to: Timestamp) -> std::ops::Range<usize> {
        let start = self.times.partition_point(|time| *time < from.millis());
        let end = self.times.partition_point(|time| *time <= to.millis());
        start..end.max(start)
    }
}

impl SeriesSource for EmbeddedStore {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, String> {
        let (matchers, from, to) = (&selection.matchers, selection.from, selection.to);
        let held = self.read();
        let mut found = Vec::new();
        for target in &held.targets {
            let places = target.between(from, to);
            if places.is_empty() {
                continue;
            }
            for (labels, column) in target.labels.iter().zip(&target.columns) {
                if labels.get(NAME).is_empty() || !matchers.matches(labels) {
                    continue;
                }
                let times = target.times.range(places.clone());
                let samples = times.zip(column.range(places.clone()));
                let samples = samples
                    .map(|(time, value)| Sample { time: Timestamp::from_millis(*time), value: *value });
                found.push(Series { labels: labels.clone(), samples: samples.collect() });
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::source::Reading;
    use crate::series::{MatchOp, Matcher};

    fn store(retention: &str, samples_per_series: usize) -> EmbeddedStore {
        let retention = retention.parse().unwrap();
        EmbeddedStore::new(StoreLimits { retention, samples_per_series, series: 3 })
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    fn named(name: &str) -> MatcherSet {
        let matcher = Matcher { name: NAME.to_owned(), op: MatchOp::Equal, value: name.to_owned() };
        MatcherSet::new(vec![matcher]).unwrap()
    }

    fn held(store: &EmbeddedStore, name: &str, from: i64, to: i64) -> Vec<(i64, f64)> {
        let selection =
            Selection { matchers: named(name), from: at(from), to: at(to), reading: Reading::Range };
        let found = store.select(&selection).unwrap();
        let samples = found.iter().flat_map(|series| &series.samples);
        samples.map(|sample| (sample.time.millis() / 1000, sample.value)).collect()
    }

    #[test]
    fn a_selection_holds_both_its_ends_and_only_the_series_asked_for() {
        let store = store("1h", 1000);
        let target = store.add_target(vec![Labels::named("a"), Labels::named("b")]).unwrap();
        for i in 0..4_i32 {
            store.append(target, at(i64::from(i) * 15), &[f64::from(i), 100.0]).unwrap();
        }
        assert_eq!(held(&store, "a", 15, 30), [(15, 1.0), (30, 2.0)]);
        assert_eq!(held(&store, "a", 16, 29), []);
        assert_eq!(store.series(&[named("b")], at(0), at(0)), [Labels::named("b")]);
        assert!(store.series(&[], at(46), at(100)).is_empty());
    }

    #[test]
    fn what_is_older_than_the_retention_or_too_many_is_dropped() {
        let by_age = store("30s", 1000);
        let by_count = store("1h", 2);
        for store in [&by_age, &by_count] {
            let target = store.add_target(vec![Labels::named("a")]).unwrap();
            for i in 0..4_i32 {
                store.append(target, at(i64::from(i) * 15), &[f64::from(i)]).unwrap();
            }
        }
        assert_eq!(held(&by_age, "a", 0, 100), [(15, 1.0), (30, 2.0), (45, 3.0)]);
        assert_eq!(held(&by_count, "a", 0, 100), [(30, 2.0), (45, 3.0)]);
    }

    #[test]
    fn what_does_not_fit_is_refused_and_changes_nothing() {
        let store = store("1h", 1000);
        let target = store.add_target(vec![Labels::named("a"), Labels::named("b")]).unwrap();
        assert_eq!(
            store.add_target(vec![Labels::named("a")]),
            Err(StoreError::Duplicate(Labels::named("a")))
        );
        let two = vec![Labels::named("c"), Labels::named("d")];
        assert_eq!(store.add_target(two), Err(StoreError::TooManySeries { series: 4, limit: 3 }));
        store.append(target, at(10), &[1.0, 1.0]).unwrap();
        assert!(matches!(store.append(target, at(10), &[2.0, 2.0]), Err(StoreError::OutOfOrder { .. })));
        assert!(matches!(store.append(target, at(20), &[2.0]), Err(StoreError::Values { .. })));
        assert_eq!(held(&store, "a", 0, 100), [(10, 1.0)]);
    }
}
