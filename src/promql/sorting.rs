//! `sort`, `sort_by_label` and the natural order of label values, in which `node-9` comes before `node-10`.

use std::cmp::Ordering;

use super::value::StepSeries;

/// Sorts an instant vector by its values; NaN is last either way.
pub(crate) fn by_value(vector: &mut [StepSeries], descending: bool) {
    let value = |series: &StepSeries| series.values.first().copied().flatten().unwrap_or(f64::NAN);
    vector.sort_by(|a, b| {
        let (a, b) = (value(a), value(b));
        match (a.is_nan(), b.is_nan()) {
            (false, false) => {
                let rising = a.partial_cmp(&b).unwrap_or(Ordering::Equal);
                if descending { rising.reverse() } else { rising }
            }
            (a, b) => a.cmp(&b),
        }
    });
}

/// Sorts an instant vector by the natural order of the given labels, then by all labels.
pub(crate) fn by_labels(vector: &mut [StepSeries], labels: &[&str], descending: bool) {
    vector.sort_by(|a, b| {
        let by_value = |label: &&str| natural(a.labels.get(label), b.labels.get(label));
        let order = labels.iter().map(by_value).find(|order| order.is_ne());
        let order = order.unwrap_or_else(|| a.labels.cmp(&b.labels));
        if descending { order.reverse() } else { order }
    });
}

/// Digits compare as numbers, everything else as text.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    while !left.is_empty() && !right.is_empty() {
        let (a_part, a_rest) = part(left);
        let (b_part, b_rest) = part(right);
        let numbers = is_digit(a_part) && is_digit(b_part);
        let order = if numbers { by_number(a_part, b_part) } else { a_part.cmp(b_part) };
        if order.is_ne() {
            return order;
        }
        (left, right) = (a_rest, b_rest);
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

fn is_digit(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_digit())
}

/// The longest start of digits alone, or without any.
fn part(text: &str) -> (&str, &str) {
    let digits = is_digit(text);
    text.split_at(text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len()))
}

fn by_number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::Labels;

    #[test]
    fn digits_in_labels_count_as_numbers() {
        let mut values = ["n10", "n9", "n9a", "", "n100", "m", "v1.20.3", "v1.3.11", "007", "7"];
        values.sort_by(|a, b| natural(a, b));
        assert_eq!(values, ["", "007", "7", "m", "n9", "n9a", "n10", "n100", "v1.3.11", "v1.20.3"]);
    }

    #[test]
    fn nan_is_last_whichever_the_direction() {
        let vector = |values: &[f64]| -> Vec<StepSeries> {
            let series = |value: &f64| StepSeries {
                labels: Labels::new(),
                values: vec![Some(*value)],
                drops_name: false,
            };
            values.iter().map(series).collect()
        };
        for (descending, first) in [(false, 1.0), (true, 2.0)] {
            let mut sorted = vector(&[f64::NAN, 2.0, 1.0]);
            by_value(&mut sorted, descending);
            assert_eq!(sorted[0].values[0], Some(first));
            assert!(sorted[2].values[0].is_some_and(f64::is_nan));
        }
    }
}
