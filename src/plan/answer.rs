//! What came back for the queries of a plan, at one time or on a grid.

use std::collections::HashMap;
use std::sync::Arc;

use super::buckets::parse_le;
use super::selector::LE;
use crate::series::{STALE_NAN_BITS, Series, StepGrid};
use crate::unit::Timestamp;

/// Stands for "no sample" in a table; no upstream can send it, since JSON has no stale markers.
const ABSENT: f64 = f64::from_bits(STALE_NAN_BITS);

const fn is_there(value: &f64) -> bool {
    value.to_bits() != STALE_NAN_BITS
}

/// The series of an answer as columns over a grid. Of their labels only what the plan reads is kept, since a round of
/// evidence may hold hundreds of thousands of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    grid: StepGrid,
    /// Series by the value of the label that tells the members of a batch apart, with their edge.
    members: HashMap<Box<str>, Vec<Member>>,
    /// One run of `grid.points()` for each series.
    values: Vec<f64>,
}

/// One series of a batch's member.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Member {
    /// The value of `le`, where it is a number.
    pub edge: Option<f64>,
    /// Which series of the table.
    pub series: usize,
}

impl Table {
    /// Places each sample at the grid point of its time; samples off the grid are dropped (the upstream's client has
    /// refused them already). An instant query's samples belong to its time, whatever time they carry.
    ///
    /// `member_label` tells the members of a batch apart; without it all series belong to one member, the empty text.
    #[must_use]
    pub fn new(series: Vec<Series>, grid: StepGrid, member_label: Option<&str>) -> Self {
        let points = grid.points();
        let mut values = vec![ABSENT; points * series.len()];
        let mut members: HashMap<Box<str>, Vec<Member>> = HashMap::new();
        for (at, (column, series)) in values.chunks_exact_mut(points).zip(series).enumerate() {
            if points == 1 {
                column[0] = series.samples.last().map_or(ABSENT, |sample| sample.value);
            } else {
                for sample in &series.samples {
                    if let Some(cell) = point(&grid, sample.time).and_then(|at| column.get_mut(at)) {
                        *cell = sample.value;
                    }
                }
            }
            let key = member_label.map_or("", |label| series.labels.get(label));
            let member = Member { edge: parse_le(series.labels.get(LE)), series: at };
            match members.get_mut(key) {
                Some(all) => all.push(member),
                None => {
                    members.insert(key.into(), vec![member]);
                }
            }
        }
        Self { grid, members, values }
    }

    /// The series of one member, in the upstream's order.
    #[must_use]
    pub fn member(&self, key: &str) -> &[Member] {
        self.members.get(key).map_or(&[], Vec::as_slice)
    }

    /// The sum of each series over the grid, as if asked for once at `time`.
    #[must_use]
    pub fn summed(&self, time: Timestamp) -> Self {
        let sum = |column: &[f64]| {
            column.iter().filter(|value| is_there(value)).copied().reduce(|a, b| a + b).unwrap_or(ABSENT)
        };
        Self {
            grid: StepGrid::instant(time, self.grid.step()),
            members: self.members.clone(),
            values: self.values.chunks_exact(self.grid.points()).map(sum).collect(),
        }
    }

    /// What tells of bursts: for each member the counts of all calls, and of those in time for the edge at which the share
    /// of all, over the whole grid, is nearest to `share` (no such column where all calls are in one bucket). Columns
    /// without an edge stay. Of a dozen buckets that is a sixth.
    #[must_use]
    pub fn condensed(self, share: f64) -> Self {
        let points = self.grid.points();
        let mut condensed = Self { grid: self.grid, members: HashMap::new(), values: Vec::new() };
        for (key, members) in &self.members {
            let mut columns: Vec<(Option<f64>, Vec<f64>)> = Vec::with_capacity(members.len());
            for member in members {
                let column = self.column(member.series);
                match columns.iter_mut().find(|(edge, _)| *edge == member.edge && edge.is_some()) {
                    // Another spelling of the same edge.
                    Some((_, known)) => known.iter_mut().zip(column).for_each(|(a, b)| *a = added(*a, *b)),
                    None => columns.push((member.edge, column.to_vec())),
                }
            }
            let (mut by_edge, mut kept): (Vec<_>, Vec<_>) =
                columns.into_iter().partition(|(edge, _)| edge.is_some());
            by_edge.sort_by(|a, b| a.0.unwrap_or_default().total_cmp(&b.0.unwrap_or_default()));
            let all = by_edge.pop_if(|(edge, _)| *edge == Some(f64::INFINITY));
            if let Some((edge, all)) = all {
                kept.extend(nearest(by_edge, &all, share));
                kept.push((edge, all));
            }
            let kept = kept.into_iter().map(|(edge, column)| {
                condensed.values.extend_from_slice(&column);
                Member { edge, series: condensed.values.len() / points - 1 }
            });
            let kept = kept.collect();
            condensed.members.insert(key.clone(), kept);
        }
        condensed
    }

    fn column(&self, series: usize) -> &[f64] {
        let points = self.grid.points();
        self.values.get(series * points..(series + 1) * points).unwrap_or_default()
    }

    /// How many points of the grid have a value of a member.
    #[must_use]
    pub fn points_with(&self, key: &str) -> usize {
        let columns: Vec<&[f64]> = self.member(key).iter().map(|member| self.column(member.series)).collect();
        let has = |at: &usize| columns.iter().any(|column| column.get(*at).is_some_and(is_there));
        (0..self.grid.points()).filter(has).count()
    }

    /// How many series there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len() / self.grid.points()
    }

    /// Whether nothing matched.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The grid that was asked for.
    #[must_use]
    pub const fn grid(&self) -> StepGrid {
        self.grid
    }

    /// The value of a series at a grid point; `None` where it has no sample or the time is not on the grid.
    #[must_use]
    pub fn value(&self, series: usize, time: Timestamp) -> Option<f64> {
        let at = point(&self.grid, time)?;
        let value = *self.values.get(series * self.grid.points() + at)?;
        is_there(&value).then_some(value)
    }
}

/// The sum of two values of which any may be absent.
fn added(a: f64, b: f64) -> f64 {
    match (is_there(&a), is_there(&b)) {
        (false, _) => b,
        (_, false) => a,
        _ => a + b,
    }
}

/// The column of cumulative counts, by rising edges, whose share of all calls is nearest to `share` and neither none nor
/// all. Where a bucket was not written while calls were counted it holds none of its own: its count is that of the
/// edge below.
fn nearest(
    by_edge: Vec<(Option<f64>, Vec<f64>)>,
    all: &[f64],
    share: f64,
) -> Option<(Option<f64>, Vec<f64>)> {
    let sum = |column: &[f64]| column.iter().filter(|value| value.is_finite()).sum::<f64>();
    let total = sum(all);
    let mut below = vec![0.0; all.len()];
    let mut best: Option<(f64, Option<f64>, Vec<f64>)> = None;
    for (edge, mut column) in by_edge {
        for ((value, below), all) in column.iter_mut().zip(&mut below).zip(all) {
            if !is_there(value) && is_there(all) {
                *value = *below;
            }
            *below = *value;
        }
        let calls = sum(&column);
        let distance = (calls / total - share).abs();
        if calls > 0.0 && calls < total && best.as_ref().is_none_or(|(least, ..)| distance < *least) {
            best = Some((distance, edge, column));
        }
    }
    best.map(|(_, edge, column)| (edge, column))
}

fn point(grid: &StepGrid, time: Timestamp) -> Option<usize> {
    if !(grid.start()..=grid.end()).contains(&time) {
        return None;
    }
    let distance = time.millis().abs_diff(grid.start().millis());
    distance
        .is_multiple_of(grid.step().millis())
        .then(|| usize::try_from(distance / grid.step().millis()).ok())
        .flatten()
}

/// How a query of a plan ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Completely answered. Shared, since answers of side queries serve several evaluations.
    Answered(Arc<Table>),
    /// Answered with warnings: a part may be missing, so nothing of it is used.
    Incomplete,
    /// Not answered: unreachable, late, refused.
    Failed,
    /// Answered with something that is not an answer.
    Malformed,
    /// Not asked for: this kind of query has no meaning at that time.
    NotAsked,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Labels, Sample};
    use crate::unit::Window;

    #[test]
    fn condensed_columns_are_all_calls_and_those_nearest_to_the_share() {
        let at = |minute: i64| Timestamp::from_millis(minute * 60_000);
        let grid = StepGrid::new(at(0), at(2), Window::from_millis(60_000).unwrap()).unwrap();
        let series = |service: &str, le: &str, values: [f64; 3]| Series {
            labels: [("le", le.to_owned()), ("service", service.to_owned())].into_iter().collect(),
            samples: (0..3)
                .zip(values)
                .filter(|(_, value)| *value >= 0.0)
                .map(|(minute, value)| Sample { time: at(minute), value })
                .collect(),
        };
        let all = vec![
            series("a", "0.1", [10.0, 10.0, 10.0]),
            // Not written in the second minute: nothing lay between the two edges. Spelt in two ways.
            series("a", "0.5", [40.0, -1.0, 85.0]),
            series("a", "0.50", [45.0, -1.0, -1.0]),
            series("a", "2", [95.0, 99.0, 99.0]),
            series("a", "+Inf", [100.0, 100.0, 100.0]),
            series("b", "1", [5.0, 5.0, 5.0]),
            series("b", "+Inf", [5.0, 5.0, 5.0]),
        ];
        let table = Table::new(all, grid, Some("service"));
        let columns = |share: f64, key: &str| -> Vec<(Option<f64>, Vec<f64>)> {
            let condensed = table.clone().condensed(share);
            let of = |member: &Member| {
                (member.edge, grid.iter().map(|time| condensed.value(member.series, time).unwrap()).collect())
            };
            condensed.member(key).iter().map(of).collect()
        };
        let calls = (Some(f64::INFINITY), vec![100.0; 3]);
        assert_eq!(columns(0.6, "a"), [(Some(0.5), vec![85.0, 10.0, 85.0]), calls.clone()]);
        assert_eq!(columns(0.9, "a"), [(Some(2.0), vec![95.0, 99.0, 99.0]), calls]);
        assert_eq!(columns(0.9, "b"), [(Some(f64::INFINITY), vec![5.0; 3])]);
    }

    #[test]
    fn a_table_gives_back_each_sample_at_its_time_and_nothing_elsewhere() {
        let at = Timestamp::from_millis;
        let grid = StepGrid::new(at(0), at(45_000), Window::from_millis(15_000).unwrap()).unwrap();
        let samples =
            vec![Sample { time: at(15_000), value: 1.0 }, Sample { time: at(45_000), value: f64::NAN }];
        let series = Series { labels: Labels::named("a"), samples };
        let table = Table::new(vec![Series::default(), series], grid, None);
        assert_eq!(table.value(1, at(15_000)), Some(1.0));
        assert!(table.value(1, at(45_000)).unwrap().is_nan());
        for (series, time) in
            [(1, 0), (1, 30_000), (1, 7_500), (1, 60_000), (1, -15_000), (0, 15_000), (2, 0)]
        {
            assert_eq!(table.value(series, at(time)), None, "{series} {time}");
        }
    }
}
