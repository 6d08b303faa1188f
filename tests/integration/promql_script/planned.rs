//! Evaluations over series that two hold: some here, some by an upstream in memory that is asked in text and answers in
//! JSON. Both hold the same series, so that whoever is asked for which, the answer must be the same.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use emac::promql::annotation::merged;
use emac::promql::evaluate::{EvaluationError, check_supported, evaluate, into_series};
use emac::promql::expression::Node;
use emac::promql::guard;
use emac::promql::limits::Options;
use emac::promql::matcher::MatcherSet;
use emac::promql::pushdown::{Origin, QueryPlan, Request, Side, When};
use emac::promql::pushdown_answer::Gathered;
use emac::promql::query::Query;
use emac::promql::source::SeriesSource;
use emac::promql::value::Value;
use emac::series::{Labels, Sample, Series, StepGrid};
use emac::unit::Window;
use emac::wire::prometheus_json::{Annotations, QueryAnswer, QueryData, decode, encode};

/// Who holds which series.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    /// All of them are here.
    Local,
    /// All of them are the upstream's, which evaluates all that it can.
    Pushed,
    /// All of them are the upstream's, which evaluates nothing but selectors.
    Selectors,
    /// Each selector is here, there or at both, and each subtree is evaluated there or not, by a hash of this and its
    /// text.
    Split(u64),
}

impl Mode {
    fn draw(self, text: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        let Self::Split(seed) = self else { return 0 };
        (seed, text).hash(&mut hasher);
        hasher.finish()
    }
}

impl Origin for Mode {
    fn side(&self, matchers: &MatcherSet) -> Side {
        match self {
            Self::Local => Side::Ours,
            Self::Pushed | Self::Selectors => Side::Theirs,
            Self::Split(_) => match self.draw(&matchers.to_string()) % 5 {
                0 => Side::Both,
                1 | 2 => Side::Ours,
                _ => Side::Theirs,
            },
        }
    }

    fn pushes(&self, subtree: &Node) -> bool {
        match self {
            Self::Local | Self::Pushed => true,
            Self::Selectors => false,
            Self::Split(_) => !self.draw(&subtree.to_string()).is_multiple_of(3),
        }
    }
}

/// A value with its notes.
#[derive(Debug)]
pub(crate) struct Noted {
    pub(crate) value: Value,
    pub(crate) warnings: Vec<String>,
    pub(crate) infos: Vec<String>,
}

/// As the API would: plan, ask, gather, evaluate.
pub(crate) fn evaluate_in(
    mode: Mode,
    query: &Query,
    grid: &StepGrid,
    range_query: bool,
    options: &Options,
    source: &dyn SeriesSource,
) -> Result<Noted, EvaluationError> {
    evaluate_with(&mode, query, grid, range_query, options, source)
}

/// The same with any origin.
pub(crate) fn evaluate_with(
    origin: &dyn Origin,
    query: &Query,
    grid: &StepGrid,
    range_query: bool,
    options: &Options,
    source: &dyn SeriesSource,
) -> Result<Noted, EvaluationError> {
    check_supported(query, range_query)?;
    let plan = QueryPlan::new(query, grid, range_query, options, origin)?;
    let (mut warnings, mut infos, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for request in plan.requests() {
        let QueryAnswer { data, annotations } = asked(request, options, source)?;
        let translated = |notes: Vec<String>| {
            notes.into_iter().map(|note| request.translated(&note, query)).collect::<Vec<_>>()
        };
        warnings.extend(translated(annotations.warnings));
        infos.extend(translated(annotations.infos));
        answers.push(match data {
            QueryData::Vector(series) | QueryData::Matrix(series) => series,
            QueryData::Scalar(sample) => vec![Series { labels: Labels::new(), samples: vec![sample] }],
            QueryData::String { .. } => panic!("a string was asked for: {}", request.text()),
        });
    }
    let ours = plan.reads().iter().map(|read| {
        if read.ours {
            source.select(&read.selection).map_err(EvaluationError::Source)
        } else {
            Ok(Vec::new())
        }
    });
    let ours = ours.collect::<Result<Vec<_>, _>>()?;
    let gathered = Gathered::new(&plan, answers, ours).unwrap_or_else(|fault| panic!("{fault} in\n{plan}"));
    let evaluated = evaluate(plan.query(), grid, range_query, options, &gathered)?;
    warnings.extend(evaluated.annotations.warnings());
    infos.extend(evaluated.annotations.infos());
    Ok(Noted { value: evaluated.value, warnings: merged(warnings), infos: merged(infos) })
}

/// The upstream's answer, through its text and through JSON.
fn asked(
    request: &Request,
    options: &Options,
    source: &dyn SeriesSource,
) -> Result<QueryAnswer, EvaluationError> {
    let query = Query::parse(request.text(), 8 * guard::MAX_QUERY_BYTES)
        .unwrap_or_else(|fault| panic!("{}: {fault}", request.text()));
    let (grid, range_query) = match request.when {
        When::Instant(at) | When::Samples(at) => (StepGrid::instant(at, Window::MINUTE), false),
        When::Steps(grid) => (grid, true),
    };
    let evaluated = evaluate(&query, &grid, range_query, options, source)?;
    let data = match evaluated.value {
        Value::Vector(vector) if range_query => QueryData::Matrix(into_series(vector, &grid)),
        Value::Vector(vector) => QueryData::Vector(into_series(vector, &grid)),
        Value::Scalar(numbers) => {
            let samples: Vec<Sample> =
                grid.iter().zip(numbers).map(|(time, value)| Sample { time, value }).collect();
            match range_query {
                true => QueryData::Matrix(vec![Series { labels: Labels::new(), samples }]),
                false => QueryData::Scalar(samples[0]),
            }
        }
        Value::Range(series) => QueryData::Matrix(series),
        Value::Text(value) => QueryData::String { time: grid.start(), value },
    };
    let annotations =
        Annotations { warnings: evaluated.annotations.warnings(), infos: evaluated.annotations.infos() };
    let body = encode::query(&QueryAnswer { data, annotations });
    Ok(decode::query(body.as_bytes()).unwrap())
}
