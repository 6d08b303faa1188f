//! Runs a script's evaluations and compares what comes out.

use emac::promql::evaluate::EvaluationError;
use emac::promql::guard::MAX_QUERY_BYTES;
use emac::promql::limits::Options;
use emac::promql::query::{ParseError, Query};
use emac::promql::value::Value;
use emac::series::{Labels, STALE_NAN_BITS, StepGrid};
use emac::unit::{Timestamp, Window};

use super::notation::Point;
use super::planned::{Mode, Noted, evaluate_in};
use super::script::{Command, Eval, Message, Times};
use super::storage::Storage;

/// What became of the evaluations of a script.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: usize,
    /// They select or expect native histograms.
    pub(crate) histograms: usize,
    /// The parser crate does not know their syntax.
    pub(crate) unparsed: Vec<String>,
    pub(crate) failed: Vec<String>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.histograms += other.histograms;
        self.unparsed.extend(other.unparsed);
        self.failed.extend(other.failed);
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { passed, histograms, unparsed, failed } = self;
        let (unparsed, failed) = (unparsed.len(), failed.len());
        write!(
            f,
            "{passed} passed, {histograms} skipped (native histograms), {unparsed} not parsed by promql-parser, {failed} failed"
        )
    }
}

/// Runs the commands in their order.
pub(crate) fn run(commands: &[Command], options: &Options, mode: Mode) -> Tally {
    let mut storage = Storage::default();
    let mut tally = Tally::default();
    for command in commands {
        match command {
            Command::Clear => storage = Storage::default(),
            Command::Load { step, native_histograms, series } => {
                storage.load(*step, *native_histograms, series)
            }
            Command::Eval(eval) => {
                storage.met_histogram.set(false);
                let outcome = run_eval(eval, options, &storage, mode);
                let says = |what: &str| format!("line {}: {}: {what}", eval.line, eval.expression);
                let expects_histogram = eval
                    .series
                    .iter()
                    .any(|(_, points)| points.iter().any(|p| matches!(p, Point::Histogram)));
                if storage.met_histogram.get() || expects_histogram {
                    tally.histograms += 1;
                } else {
                    match outcome {
                        Ok(()) => tally.passed += 1,
                        Err(Fault::Unparsed(what)) => tally.unparsed.push(says(&what)),
                        Err(Fault::Wrong(what)) => tally.failed.push(says(&what)),
                    }
                }
            }
        }
    }
    tally
}

enum Fault {
    Unparsed(String),
    Wrong(String),
}

impl<T: Into<String>> From<T> for Fault {
    fn from(text: T) -> Self {
        Self::Wrong(text.into())
    }
}

fn grid(times: Times) -> StepGrid {
    let at = Timestamp::from_millis;
    let step = Window::from_millis(u64::try_from(times.step.max(1)).unwrap()).unwrap();
    StepGrid::new(at(times.start), at(times.end), step).unwrap()
}

fn run_eval(eval: &Eval, options: &Options, storage: &Storage, mode: Mode) -> Result<(), Fault> {
    let query = match Query::parse(&eval.expression, MAX_QUERY_BYTES) {
        Ok(query) => query,
        Err(fault) => {
            return match (&eval.fail, fault) {
                (Some(Message::Any), _) => Ok(()),
                (Some(message), fault) if message.matches(&fault.to_string()) => Ok(()),
                (_, ParseError::Syntax(fault)) => Err(Fault::Unparsed(fault)),
                (_, fault) => Err(fault.to_string().into()),
            };
        }
    };
    let run = |query: &Query, times, range_query| {
        evaluate_in(mode, query, &grid(times), range_query, options, storage)
    };
    let outcome = run(&query, eval.times, eval.range_query);
    if let Ok(evaluated) = &outcome {
        check_notes("warn", &eval.warn, eval.no_warn, &evaluated.warnings)?;
        check_notes("info", &eval.info, eval.no_info, &evaluated.infos)?;
    }
    compare(eval, outcome, eval.times, eval.range_query)?;
    if eval.range_query {
        return Ok(());
    }
    // An instant query must say the same in the middle of a range query …
    let comparable =
        eval.fail.is_none() && !eval.ordered && eval.text.is_none() && eval.range_vector.is_none();
    if comparable && !super::fixed_time::tells_query_times(query.expression()) {
        let at = eval.times.start;
        let around = Times { start: at - 60_000, end: at + 60_000, step: 60_000 };
        let in_range = run(&query, around, true).map_err(|fault| format!("in a range query: {fault}"))?;
        let middle = middle_of(in_range);
        compare(eval, Ok(middle), eval.times, false).map_err(|fault| match fault {
            Fault::Wrong(what) => Fault::Wrong(format!("in a range query: {what}")),
            unparsed => unparsed,
        })?;
    }
    // … and at any time, once every selector is fixed to its own.
    if let Some(fixed) = super::fixed_time::fixed(&query, eval.times.start) {
        for at in [-10 * eval.times.start, 0, eval.times.start / 5, 10 * eval.times.start, -1_000] {
            let times = Times { start: at, end: at, step: 0 };
            let outcome = run(&fixed, times, false);
            compare(eval, outcome, eval.times, false).map_err(|fault| match fault {
                Fault::Wrong(what) => Fault::Wrong(format!("with @ at {at} ms: {what}")),
                unparsed => unparsed,
            })?;
        }
    }
    Ok(())
}

/// The second step alone.
fn middle_of(mut evaluated: Noted) -> Noted {
    match &mut evaluated.value {
        Value::Scalar(numbers) => *numbers = vec![numbers[1]],
        Value::Vector(vector) => {
            vector.iter_mut().for_each(|series| series.values = vec![series.values[1]]);
            vector.retain(|series| series.values[0].is_some());
        }
        Value::Range(_) | Value::Text(_) => {}
    }
    evaluated
}

fn compare(
    eval: &Eval,
    outcome: Result<Noted, EvaluationError>,
    times: Times,
    range_query: bool,
) -> Result<(), Fault> {
    let evaluated = match (outcome, &eval.fail) {
        (Ok(_), Some(_)) => return Err("it should fail".into()),
        (Err(fault), None) => return Err(fault.to_string().into()),
        (Err(fault), Some(message)) => {
            let fault = fault.to_string();
            return if message.matches(&fault) {
                Ok(())
            } else {
                Err(format!("failed otherwise: {fault}").into())
            };
        }
        (Ok(evaluated), None) => evaluated,
    };
    let times = eval.range_vector.unwrap_or(times);
    match evaluated.value {
        Value::Text(text) => match &eval.text {
            Some(expected) if *expected == text => Ok(()),
            expected => Err(format!("expected {expected:?}, got {text:?}").into()),
        },
        Value::Scalar(numbers) if !range_query => match eval.scalar {
            Some(expected) if almost_equal(expected, numbers[0]) => Ok(()),
            expected => Err(format!("expected {expected:?}, got the scalar {}", numbers[0]).into()),
        },
        Value::Scalar(numbers) => {
            let series =
                vec![(Labels::new(), grid(times).iter().map(Timestamp::millis).zip(numbers).collect())];
            compare_series(eval, &series, times)
        }
        Value::Vector(vector) => {
            let grid = grid(times);
            let points = |values: &[Option<f64>]| {
                grid.iter().zip(values).filter_map(|(time, value)| Some((time.millis(), (*value)?))).collect()
            };
            let series: Vec<_> = vector.iter().map(|s| (s.labels.clone(), points(&s.values))).collect();
            compare_series(eval, &series, times)
        }
        Value::Range(all) => {
            let points =
                |s: &emac::series::Series| s.samples.iter().map(|s| (s.time.millis(), s.value)).collect();
            let series: Vec<_> = all.iter().map(|s| (s.labels.clone(), points(s))).collect();
            compare_series(eval, &series, times)
        }
    }
}

fn check_notes(kind: &str, expected: &[Message], none: bool, found: &[String]) -> Result<(), Fault> {
    if none && !found.is_empty() {
        return Err(format!("expected no {kind}, got {found:?}").into());
    }
    // Prometheus' own runner compares texts without places, and patterns need not name them.
    let matches = |message: &Message, text: &str| {
        let said = text.strip_suffix(')').and_then(|text| text.rsplit_once(" ("));
        message.matches(text) || said.is_some_and(|(said, _)| message.matches(said))
    };
    if let Some(missing) = expected.iter().find(|message| !found.iter().any(|text| matches(message, text))) {
        return Err(format!("expected {kind} {missing:?}, got {found:?}").into());
    }
    let unexpected = found.iter().find(|text| !expected.iter().any(|message| matches(message, text)));
    match unexpected {
        Some(unexpected) if !expected.is_empty() => Err(format!("unexpected {kind} {unexpected}").into()),
        _ => Ok(()),
    }
}

fn compare_series(eval: &Eval, found: &[(Labels, Vec<(i64, f64)>)], times: Times) -> Result<(), Fault> {
    if eval.scalar.is_some() {
        return Err("expected a scalar, got a vector".into());
    }
    for (position, (labels, points)) in found.iter().enumerate() {
        let Some(place) = eval.series.iter().rposition(|(expected, _)| expected == labels) else {
            return Err(format!("unexpected series {labels} {points:?}").into());
        };
        if eval.ordered && place != position {
            return Err(format!("{labels} is at place {position}, not {place}").into());
        }
        let mut expected = Vec::new();
        for (index, point) in eval.series[place].1.iter().enumerate() {
            let time = times.start + times.step * i64::try_from(index).unwrap();
            if time > times.end {
                return Err("the script expects more points than there are steps".into());
            }
            if let Point::Float(value) = point {
                expected.push((time, *value));
            }
        }
        let equal = expected.len() == points.len()
            && expected.iter().zip(points).all(|(e, p)| e.0 == p.0 && almost_equal(e.1, p.1));
        if !equal {
            return Err(format!("{labels}: expected {expected:?}, got {points:?}").into());
        }
    }
    match eval.series.iter().find(|(labels, _)| !found.iter().any(|(found, _)| found == labels)) {
        Some((labels, _)) => Err(format!("missing series {labels}, got {found:?}").into()),
        None => Ok(()),
    }
}

/// Within a millionth of each other, as Prometheus' own runner compares.
fn almost_equal(a: f64, b: f64) -> bool {
    const TOLERANCE: f64 = 1e-6;
    let is_stale = |x: f64| x.to_bits() == STALE_NAN_BITS;
    if is_stale(a) || is_stale(b) {
        return is_stale(a) && is_stale(b);
    }
    if a.is_nan() && b.is_nan() || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}
