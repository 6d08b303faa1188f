//! Operators between two instant vectors: which series belong together, and what the result is called.

use std::collections::{HashMap, HashSet};

use super::arithmetic::{Operation, SetOperation};
use super::evaluate::EvaluationError;
use super::expression::{Binary, Cardinality, Grouping, Matching};
use super::label_function::without_metadata;
use super::value::StepSeries;
use crate::series::{Labels, quoted};

/// The signature of each series of both sides: equal numbers belong together. And how many there are.
struct Signatures {
    left: Vec<usize>,
    right: Vec<usize>,
    count: usize,
}

impl Signatures {
    fn of(grouping: &Grouping, left: &[StepSeries], right: &[StepSeries]) -> Self {
        let mut known: HashMap<Labels, usize> = HashMap::new();
        let mut number = |series: &StepSeries| {
            let next = known.len();
            *known.entry(grouping.group(&series.labels)).or_insert(next)
        };
        let (left, right) = (left.iter().map(&mut number).collect(), right.iter().map(&mut number).collect());
        Self { left, right, count: known.len() }
    }
}

fn present<'a>(side: &'a [StepSeries], step: usize) -> impl Iterator<Item = (usize, f64)> + 'a {
    side.iter().enumerate().filter_map(move |(index, series)| Some((index, series.values[step]?)))
}

/// `and`, `or`, `unless`.
pub(crate) fn set_operation(
    operation: SetOperation,
    grouping: &Grouping,
    mut left: Vec<StepSeries>,
    mut right: Vec<StepSeries>,
    steps: usize,
) -> Vec<StepSeries> {
    let signatures = Signatures::of(grouping, &left, &right);
    let mut seen = vec![false; signatures.count];
    for step in 0..steps {
        seen.fill(false);
        let (from, of, keeps_seen) = match operation {
            SetOperation::And => ((&right, &signatures.right), (&mut left, &signatures.left), true),
            SetOperation::Unless => ((&right, &signatures.right), (&mut left, &signatures.left), false),
            SetOperation::Or => {
                present(&left, step).for_each(|(index, _)| seen[signatures.left[index]] = true);
                for (series, signature) in right.iter_mut().zip(&signatures.right) {
                    if seen[*signature] {
                        series.values[step] = None;
                    }
                }
                continue;
            }
        };
        present(from.0, step).for_each(|(index, _)| seen[from.1[index]] = true);
        for (series, signature) in of.0.iter_mut().zip(of.1) {
            if seen[*signature] != keeps_seen {
                series.values[step] = None;
            }
        }
    }
    if operation == SetOperation::Or {
        left.extend(right);
    }
    left.retain(|series| series.values.iter().any(Option::is_some));
    left
}

/// Arithmetic and comparison, one to one or many to one.
///
/// # Errors
/// Several series of the same signature where one is expected, or results that would have the same labels.
pub(crate) fn matched(
    binary: &Binary,
    left: &[StepSeries],
    right: &[StepSeries],
    steps: usize,
    names_dropped_late: bool,
) -> Result<Vec<StepSeries>, EvaluationError> {
    let matching = &binary.matching;
    let signatures = Signatures::of(&matching.grouping, left, right);
    // The "one" side is called `one`, whichever it is in the text.
    let swapped = matches!(matching.cardinality, Cardinality::OneToMany(_));
    let (many, one) = if swapped { (right, left) } else { (left, right) };
    let (many_signatures, one_signatures) =
        if swapped { (&signatures.right, &signatures.left) } else { (&signatures.left, &signatures.right) };
    // With `group_right` too, although its documentation speaks of sides in the text: Prometheus exchanges the sides and
    // not what fills them, and its tests hold it to that.
    let (fill_many, fill_one) = (matching.fill_left, matching.fill_right);
    let mut results = Results::new(binary, steps, names_dropped_late);
    let mut one_of: Vec<Option<usize>> = vec![None; signatures.count];
    let mut matched = vec![false; signatures.count];
    for step in 0..steps {
        let (any_many, any_one) = (present(many, step).next().is_some(), present(one, step).next().is_some());
        // Where a side is empty and nothing fills it, not even duplicates matter.
        let fills = fill_many.is_some() || fill_one.is_some();
        if !(any_many && any_one) && (!fills || !(any_many || any_one)) {
            continue;
        }
        one_of.fill(None);
        matched.fill(false);
        results.start_step(step);
        for (index, _) in present(one, step) {
            let signature = one_signatures[index];
            if let Some(other) = one_of[signature].replace(index) {
                let side = if swapped { "left" } else { "right" };
                return Err(duplicate(matching, side, &one[other].labels, &one[index].labels));
            }
        }
        for (index, value) in present(many, step) {
            let signature = many_signatures[index];
            let other = one_of[signature];
            let other_value = match other {
                Some(other) => one[other].values[step],
                None => fill_one,
            };
            let Some(other_value) = other_value else { continue };
            let (l, r) = if swapped { (other_value, value) } else { (value, other_value) };
            results.add((Some(index), other), signature, &mut matched, many, one, l, r)?;
        }
        if let Some(fill) = fill_many {
            for (index, value) in present(one, step) {
                let signature = one_signatures[index];
                if !matched[signature] {
                    let (l, r) = if swapped { (value, fill) } else { (fill, value) };
                    results.add((None, Some(index)), signature, &mut matched, many, one, l, r)?;
                }
            }
        }
    }
    Ok(results.out)
}

/// A series of the many side and one of the one side; `None` where a side is filled.
type Pair = (Option<usize>, Option<usize>);

struct Results<'a> {
    binary: &'a Binary,
    names_dropped_late: bool,
    steps: usize,
    step: usize,
    /// The result of each pair, by its place in `out`.
    of_pair: HashMap<Pair, usize>,
    places: HashMap<Labels, usize>,
    /// Signature and place of the results of this step, kept or filtered.
    of_step: HashSet<(usize, usize)>,
    out: Vec<StepSeries>,
}

impl<'a> Results<'a> {
    fn new(binary: &'a Binary, steps: usize, names_dropped_late: bool) -> Self {
        Self {
            binary,
            names_dropped_late,
            steps,
            step: 0,
            of_pair: HashMap::new(),
            places: HashMap::new(),
            of_step: HashSet::new(),
            out: Vec::new(),
        }
    }

    fn start_step(&mut self, step: usize) {
        self.step = step;
        self.of_step.clear();
    }

    #[expect(clippy::too_many_arguments, reason = "one place, called twice")]
    fn add(
        &mut self,
        pair: Pair,
        signature: usize,
        matched: &mut [bool],
        many: &[StepSeries],
        one: &[StepSeries],
        left: f64,
        right: f64,
    ) -> Result<(), EvaluationError> {
        let place = match self.of_pair.get(&pair) {
            Some(place) => *place,
            None => self.place_of(pair, many, one),
        };
        let already = std::mem::replace(&mut matched[signature], true);
        if self.binary.matching.cardinality == Cardinality::OneToOne {
            if already {
                return Err(EvaluationError::ManyToOneImplicit);
            }
        } else if !self.of_step.insert((signature, place)) {
            return Err(EvaluationError::GroupingNotUnique);
        }
        let (value, keeps) = self.binary.operation.apply(left, right);
        let value = if self.binary.as_number && matches!(self.binary.operation, Operation::Comparison(_)) {
            f64::from(u8::from(keeps))
        } else if keeps {
            value
        } else {
            return Ok(());
        };
        match self.out[place].values[self.step].replace(value) {
            None => Ok(()),
            Some(_) => Err(EvaluationError::SameLabels),
        }
    }

    fn place_of(&mut self, pair: Pair, many: &[StepSeries], one: &[StepSeries]) -> usize {
        let matching = &self.binary.matching;
        let absent =
            |other: Option<&Labels>| other.map_or_else(Labels::new, |labels| matching.grouping.group(labels));
        let one_labels = pair.1.map(|index| &one[index].labels);
        let many_labels = match pair.0 {
            Some(index) => many[index].labels.clone(),
            None => absent(one_labels),
        };
        let one_labels = one_labels.cloned().unwrap_or_else(|| absent(Some(&many_labels)));
        let mut labels = self.result_labels(many_labels, &one_labels);
        let as_number = self.binary.as_number;
        if as_number && !self.names_dropped_late {
            labels = without_metadata(&labels);
        }
        let (steps, out) = (self.steps, &mut self.out);
        let place = *self.places.entry(labels).or_insert_with_key(|labels| {
            out.push(StepSeries { labels: labels.clone(), values: vec![None; steps], drops_name: as_number });
            out.len() - 1
        });
        self.of_pair.insert(pair, place);
        place
    }

    /// The labels of the many side: without the name for arithmetic, only those matched on for one to one, and with
    /// those that `group_left` or `group_right` copies.
    fn result_labels(&self, mut labels: Labels, one: &Labels) -> Labels {
        if matches!(self.binary.operation, Operation::Arithmetic(_)) {
            labels = without_metadata(&labels);
        }
        let matching = &self.binary.matching;
        match (&matching.cardinality, &matching.grouping) {
            (Cardinality::OneToOne, only @ Grouping::Only(_)) => labels = only.group(&labels),
            (Cardinality::OneToOne, Grouping::Except(names)) => {
                names.iter().for_each(|name| labels.set(name, ""));
            }
            (Cardinality::ManyToOne(include) | Cardinality::OneToMany(include), _) => {
                include.iter().for_each(|name| labels.set(name, one.get(name)));
            }
        }
        labels
    }
}

fn duplicate(matching: &Matching, side: &'static str, a: &Labels, b: &Labels) -> EvaluationError {
    let (first, second) = if a <= b { (a, b) } else { (b, a) };
    EvaluationError::Duplicate {
        group: with_name(&matching.grouping.group(a)),
        side,
        first: with_name(first),
        second: with_name(second),
    }
}

/// As Prometheus prints labels in this message: the name is one of them.
fn with_name(labels: &Labels) -> String {
    let pairs: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}
