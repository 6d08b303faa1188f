//! Aggregations that keep some series of each group as they are: `topk`, `bottomk`, `limitk`, `limit_ratio`.

use super::label_hash;
use super::value::StepSeries;

/// Which series of a group are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ranking {
    /// The `k` greatest.
    Top,
    /// The `k` least.
    Bottom,
    /// Any `k`: the first.
    Limit,
    /// A share, chosen by a hash of the labels: the same series each time, and the complement for a negative share.
    Ratio,
}

/// A series and its value at a step.
type Entry = (usize, f64);

impl Ranking {
    /// Whether `a` is nearer to being dropped than `b`. NaN goes first.
    fn worse(self, a: f64, b: f64) -> bool {
        match self {
            Self::Bottom => a.is_nan() || a > b,
            _ => a.is_nan() || a < b,
        }
    }

    /// The series that are kept of each group at one step, best first. `limit`: `k`, or the ratio.
    pub(crate) fn of_step(
        self,
        input: &[StepSeries],
        step: usize,
        of_series: &[usize],
        groups: usize,
        limit: f64,
    ) -> Vec<Vec<Entry>> {
        let mut kept: Vec<Vec<Entry>> = vec![Vec::new(); groups];
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "k is checked, and saturates"
        )]
        let k = (limit as usize).min(input.len());
        if self != Self::Ratio && k == 0 {
            return kept;
        }
        for (series, group) in input.iter().zip(of_series).enumerate().map(|(i, (s, g))| ((i, s), *g)) {
            let (index, series) = series;
            let Some(value) = series.values[step] else { continue };
            let heap = &mut kept[group];
            match self {
                Self::Limit if heap.len() < k => heap.push((index, value)),
                Self::Limit => {}
                Self::Ratio => {
                    if in_share(label_hash::share(&series.labels), limit.clamp(-1.0, 1.0)) {
                        heap.push((index, value));
                    }
                }
                Self::Top | Self::Bottom if heap.len() < k => {
                    heap.push((index, value));
                    self.sift_up(heap);
                }
                Self::Top | Self::Bottom => {
                    let worst = heap[0].1;
                    let better = if self == Self::Top { worst < value } else { worst > value };
                    if better || (worst.is_nan() && !value.is_nan()) {
                        heap[0] = (index, value);
                        self.sift_down(heap);
                    }
                }
            }
        }
        if matches!(self, Self::Top | Self::Bottom) {
            for heap in &mut kept {
                self.sort_best_first(heap);
            }
        }
        kept
    }

    /// Prometheus builds its answer from a binary heap, and ties keep the order that leaves. The same here.
    fn sift_up(self, heap: &mut [Entry]) {
        let mut at = heap.len() - 1;
        while at > 0 {
            let parent = (at - 1) / 2;
            if !self.worse(heap[at].1, heap[parent].1) {
                break;
            }
            heap.swap(at, parent);
            at = parent;
        }
    }

    fn sift_down(self, heap: &mut [Entry]) {
        let mut at = 0;
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            if left >= heap.len() {
                return;
            }
            let child =
                if right < heap.len() && self.worse(heap[right].1, heap[left].1) { right } else { left };
            if !self.worse(heap[child].1, heap[at].1) {
                return;
            }
            heap.swap(at, child);
            at = child;
        }
    }

    /// Insertion, stable: as Go sorts short slices.
    fn sort_best_first(self, entries: &mut [Entry]) {
        entries.sort_by(|a, b| {
            // NaN is worst; two of them are equal.
            match (a.1.is_nan(), b.1.is_nan()) {
                (false, false) if self.worse(b.1, a.1) => std::cmp::Ordering::Less,
                (false, false) if self.worse(a.1, b.1) => std::cmp::Ordering::Greater,
                (false, true) => std::cmp::Ordering::Less,
                (true, false) => std::cmp::Ordering::Greater,
                _ => std::cmp::Ordering::Equal,
            }
        });
    }
}

/// Whether a series at `place` in `[0, 1]` belongs to the share `ratio`, or to the complement where that is negative.
fn in_share(place: f64, ratio: f64) -> bool {
    if ratio >= 0.0 { place < ratio } else { place >= 1.0 + ratio }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Labels;

    fn vector(values: &[f64]) -> Vec<StepSeries> {
        let series = |(i, value): (usize, &f64)| StepSeries {
            labels: Labels::named("x").with("i", i.to_string()),
            values: vec![Some(*value)],
            drops_name: false,
        };
        values.iter().enumerate().map(series).collect()
    }

    fn kept(ranking: Ranking, values: &[f64], limit: f64) -> Vec<usize> {
        let input = vector(values);
        let of_series = vec![0; values.len()];
        ranking.of_step(&input, 0, &of_series, 1, limit).remove(0).into_iter().map(|(i, _)| i).collect()
    }

    #[test]
    fn the_best_come_first_and_nan_last() {
        let values = [3.0, f64::NAN, 9.0, 1.0, 7.0];
        assert_eq!(kept(Ranking::Top, &values, 2.0), [2, 4]);
        assert_eq!(kept(Ranking::Bottom, &values, 3.0), [3, 0, 4]);
        assert_eq!(kept(Ranking::Top, &values, 9.0), [2, 4, 0, 3, 1]);
        assert_eq!(kept(Ranking::Limit, &values, 2.0), [0, 1]);
        assert_eq!(kept(Ranking::Top, &values, 0.9), [] as [usize; 0]);
        assert_eq!(kept(Ranking::Top, &values, -1.0), [] as [usize; 0]);
    }

    #[test]
    fn a_share_and_its_complement_make_the_whole() {
        let values = [1.0; 100];
        let (mut some, others) = (kept(Ranking::Ratio, &values, 0.3), kept(Ranking::Ratio, &values, -0.7));
        assert!((15..45).contains(&some.len()), "{}", some.len());
        some.extend(others);
        some.sort_unstable();
        assert_eq!(some, (0..100).collect::<Vec<_>>());
    }
}
