//! What `load` fills: series in memory, which notice when a native histogram is selected.

use std::cell::Cell;
use std::collections::BTreeMap;

use emac::promql::source::{Selection, SeriesSource};
use emac::series::{Labels, NAME, Sample, Series};
use emac::unit::Timestamp;

use super::notation::Point;

/// Series with their points by time.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    series: BTreeMap<Labels, BTreeMap<i64, Point>>,
    /// A selection held a native histogram.
    pub(crate) met_histogram: Cell<bool>,
}

impl Storage {
    /// Adds points that are `step` milliseconds apart. `native_histograms`: classic histograms are stored a second
    /// time as native ones, under the name without its suffix.
    pub(crate) fn load(&mut self, step: i64, native_histograms: bool, series: &[(Labels, Vec<Point>)]) {
        for (labels, points) in series {
            let mut add = |labels: Labels, as_histogram: bool| {
                let stored = self.series.entry(labels).or_default();
                for (index, point) in points.iter().enumerate() {
                    let time = step * i64::try_from(index).unwrap();
                    match point {
                        Point::Omitted => {}
                        Point::Float(_) if as_histogram => drop(stored.insert(time, Point::Histogram)),
                        _ => drop(stored.insert(time, *point)),
                    }
                }
            };
            add(labels.clone(), false);
            let name = labels.get(NAME);
            let base = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix));
            if let (Some(base), true) = (base, native_histograms) {
                add(labels.clone().with(NAME, base).with("le", ""), true);
            }
        }
    }
}

impl SeriesSource for Storage {
    fn select(&self, selection: &Selection) -> Result<Vec<Series>, String> {
        let (matchers, from, to) = (&selection.matchers, selection.from, selection.to);
        let mut found = Vec::new();
        if from > to {
            return Ok(found);
        }
        for (labels, points) in self.series.iter().filter(|(labels, _)| matchers.matches(labels)) {
            let mut samples = Vec::new();
            for (time, point) in points.range(from.millis()..=to.millis()) {
                match point {
                    Point::Float(value) => {
                        samples.push(Sample { time: Timestamp::from_millis(*time), value: *value });
                    }
                    _ => self.met_histogram.set(true),
                }
            }
            found.push(Series { labels: labels.clone(), samples });
        }
        Ok(found)
    }
}
