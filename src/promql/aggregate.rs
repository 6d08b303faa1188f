//! The evaluation of aggregations: their parameters, and what is warned about.

use super::aggregation::{self, Aggregation};
use super::annotation::Annotation;
use super::evaluate::{Evaluation, EvaluationError};
use super::expression::{Aggregate, Kind};
use super::grid::Grid;
use super::label_function::{is_label_name, merged};
use super::number::go_g;
use super::ranking::Ranking;
use super::value::StepSeries;

pub(crate) fn evaluated(
    evaluation: &Evaluation<'_>,
    aggregate: &Aggregate,
    grid: Grid,
) -> Result<Vec<StepSeries>, EvaluationError> {
    let Aggregate { aggregation, parameter, inner, grouping } = aggregate;
    if *aggregation == Aggregation::CountValues {
        let Some(Kind::Text(label)) = parameter.as_ref().map(|parameter| &parameter.kind) else {
            return Err(EvaluationError::Parameter("count_values needs the name of a label".to_owned()));
        };
        if !is_label_name(label) {
            return Err(EvaluationError::Labels(format!("invalid label name {label:?}")));
        }
        let input = evaluation.vector(inner, grid)?;
        return Ok(aggregation::values_counted(grouping, label, &input, grid.count));
    }
    let numbers = parameter.as_ref().map(|parameter| evaluation.scalar(parameter, grid)).transpose()?;
    let input = evaluation.vector(inner, grid)?;
    let at = parameter.as_ref().map_or(0, |parameter| parameter.at);
    match (aggregation, numbers) {
        (Aggregation::Rank(ranking), Some(limits)) => {
            if !check_limits(evaluation, *ranking, &limits, at)? {
                return Ok(Vec::new());
            }
            let (of_series, groups) = aggregation::groups(grouping, &input);
            if grid.count == 1 {
                let kept = ranking.of_step(&input, 0, &of_series, groups.len(), limits[0]);
                return Ok(kept.into_iter().flatten().map(|(index, _)| input[index].clone()).collect());
            }
            let mut out: Vec<StepSeries> = input
                .iter()
                .map(|series| StepSeries { values: vec![None; grid.count], ..series.clone() })
                .collect();
            for (step, limit) in limits.iter().enumerate() {
                let kept = ranking.of_step(&input, step, &of_series, groups.len(), *limit);
                for (index, value) in kept.into_iter().flatten() {
                    out[index].values[step] = Some(value);
                }
            }
            out.retain(|series| series.values.iter().any(Option::is_some));
            merged(out)
        }
        (_, numbers) => {
            if *aggregation == Aggregation::Quantile {
                numbers.iter().for_each(|numbers| warn_of_quantiles(evaluation, numbers, at));
            }
            Ok(aggregation::aggregated(*aggregation, grouping, &input, numbers.as_deref(), grid.count))
        }
    }
}

fn extremes(numbers: &[f64]) -> (f64, f64) {
    let least = numbers.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (least, greatest)
}

/// Whether anything is kept at all.
fn check_limits(
    evaluation: &Evaluation<'_>,
    ranking: Ranking,
    limits: &[f64],
    at: usize,
) -> Result<bool, EvaluationError> {
    let fault = |text: String| Err(EvaluationError::Parameter(text));
    let any_nan = limits.iter().any(|limit| limit.is_nan());
    let (least, greatest) = extremes(limits);
    if ranking == Ranking::Ratio {
        if any_nan {
            return fault("Ratio value is NaN".to_owned());
        }
        if greatest > 1.0 {
            evaluation.annotate(&Annotation::InvalidRatio(greatest, 1.0), at);
        }
        if least < -1.0 {
            evaluation.annotate(&Annotation::InvalidRatio(least, -1.0), at);
        }
        return Ok(greatest != 0.0 || least != 0.0);
    }
    if any_nan {
        return fault("Parameter value is NaN".to_owned());
    }
    #[expect(clippy::cast_precision_loss, reason = "as Prometheus compares")]
    let (lowest, highest) = (i64::MIN as f64, i64::MAX as f64);
    if greatest < 1.0 {
        return Ok(false);
    }
    if least <= lowest {
        return fault(format!("Scalar value {} underflows int64", go_g(least)));
    }
    if greatest >= highest {
        return fault(format!("Scalar value {} overflows int64", go_g(greatest)));
    }
    Ok(true)
}

fn warn_of_quantiles(evaluation: &Evaluation<'_>, quantiles: &[f64], at: usize) {
    let (least, greatest) = extremes(quantiles);
    if quantiles.iter().any(|q| q.is_nan()) {
        evaluation.annotate(&Annotation::InvalidQuantile(f64::NAN), at);
    }
    if greatest > 1.0 {
        evaluation.annotate(&Annotation::InvalidQuantile(greatest), at);
    }
    if least < 0.0 {
        evaluation.annotate(&Annotation::InvalidQuantile(least), at);
    }
}
