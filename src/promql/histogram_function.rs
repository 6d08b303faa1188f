//! The evaluation of `histogram_quantile`, `histogram_quantiles` and `histogram_fraction`.

use super::annotation::Annotation;
use super::call::text;
use super::classic_histogram::{Histogram, bucket_fraction, bucket_quantile, histograms};
use super::evaluate::{Evaluation, EvaluationError};
use super::expression::Node;
use super::grid::Grid;
use super::number::go_f;
use super::value::{StepSeries, Value};
use crate::series::NAME;

/// The histograms of an argument; warns of series that are no buckets.
fn of_argument(
    evaluation: &Evaluation<'_>,
    node: &Node,
    grid: Grid,
) -> Result<(Vec<StepSeries>, Vec<Histogram>), EvaluationError> {
    let vector = evaluation.vector(node, grid)?;
    let (found, bad) = histograms(&vector);
    for index in bad {
        let labels = &vector[index].labels;
        let name = if evaluation.options.names_dropped_late { labels.get(NAME) } else { "" };
        evaluation.annotate(&Annotation::BadBucketLabel(name, labels.get("le")), node.at);
    }
    Ok((vector, found))
}

fn argument(arguments: &[Node], index: usize) -> Result<&Node, EvaluationError> {
    arguments.get(index).ok_or(EvaluationError::MissingArgument)
}

/// One series for each histogram, with a value at each step at which it has a bucket.
fn computed(
    found: &[Histogram],
    vector: &[StepSeries],
    grid: Grid,
    mut value: impl FnMut(usize, Vec<super::classic_histogram::Bucket>, &Histogram) -> f64,
) -> Vec<StepSeries> {
    let of_histogram = |histogram: &Histogram| {
        let at_step = |step: usize| {
            let buckets = histogram.at(vector, step);
            (!buckets.is_empty()).then(|| value(step, buckets, histogram))
        };
        let values = (0..grid.count).map(at_step).collect();
        StepSeries { labels: histogram.labels.clone(), values, drops_name: true }
    };
    found.iter().map(of_histogram).collect()
}

fn quantiles_of(
    evaluation: &Evaluation<'_>,
    (vector, found): (&[StepSeries], &[Histogram]),
    (q, q_at): (&[f64], usize),
    vector_at: usize,
    grid: Grid,
) -> Vec<StepSeries> {
    for q in q.iter().filter(|q| !(0.0..=1.0).contains(*q)) {
        evaluation.annotate(&Annotation::InvalidQuantile(*q), q_at);
    }
    computed(found, vector, grid, |step, buckets, histogram| {
        let (value, forced) = bucket_quantile(q[step], buckets);
        if forced {
            let name = if evaluation.options.names_dropped_late { histogram.name.as_str() } else { "" };
            evaluation.annotate(&Annotation::ForcedMonotonicity(name), vector_at);
        }
        value
    })
}

pub(crate) fn quantile(
    evaluation: &Evaluation<'_>,
    arguments: &[Node],
    grid: Grid,
) -> Result<Value, EvaluationError> {
    let (level, node) = (argument(arguments, 0)?, argument(arguments, 1)?);
    let q = evaluation.scalar(level, grid)?;
    let (vector, found) = of_argument(evaluation, node, grid)?;
    let out = quantiles_of(evaluation, (&vector, &found), (&q, level.at), node.at, grid);
    evaluation.without_names(out).map(Value::Vector)
}

/// `histogram_quantiles(v, label, q…)`: one series for each level, which `label` tells.
pub(crate) fn quantiles(
    evaluation: &Evaluation<'_>,
    arguments: &[Node],
    grid: Grid,
) -> Result<Value, EvaluationError> {
    let (node, label) = (argument(arguments, 0)?, text(argument(arguments, 1)?)?);
    let (vector, found) = of_argument(evaluation, node, grid)?;
    let mut out: Vec<StepSeries> = Vec::new();
    for level in arguments.get(2..).unwrap_or_default() {
        let q = evaluation.scalar(level, grid)?;
        let of_level = quantiles_of(evaluation, (&vector, &found), (&q, level.at), node.at, grid);
        for series in of_level {
            for (step, value) in series.values.iter().enumerate() {
                let Some(value) = *value else { continue };
                let labels = series.labels.clone().with(label, as_open_metrics(q[step]));
                let place = out.iter().position(|known| known.labels == labels).unwrap_or_else(|| {
                    let values = vec![None; grid.count];
                    out.push(StepSeries { labels, values, drops_name: true });
                    out.len() - 1
                });
                if out[place].values[step].replace(value).is_some() {
                    return Err(EvaluationError::SameLabels);
                }
            }
        }
    }
    evaluation.without_names(out).map(Value::Vector)
}

/// As OpenMetrics writes the values of `quantile` and `le`: whole numbers with `.0`.
fn as_open_metrics(value: f64) -> String {
    let text = go_f(value);
    if value.is_finite() && !text.contains('.') { format!("{text}.0") } else { text }
}

pub(crate) fn fraction(
    evaluation: &Evaluation<'_>,
    arguments: &[Node],
    grid: Grid,
) -> Result<Value, EvaluationError> {
    let lower = evaluation.scalar(argument(arguments, 0)?, grid)?;
    let upper = evaluation.scalar(argument(arguments, 1)?, grid)?;
    let (vector, found) = of_argument(evaluation, argument(arguments, 2)?, grid)?;
    let out = computed(&found, &vector, grid, |step, buckets, _| {
        bucket_fraction(lower[step], upper[step], buckets)
    });
    evaluation.without_names(out).map(Value::Vector)
}
