//! From a reading to an evaluation: the synchronous step between fetching and keeping.

use std::sync::Arc;

use super::model::ModelledJourney;
use crate::algebra::compose::Composer;
use crate::algebra::composition::Composition;
use crate::journey::Journey;
use crate::journey::component::ComponentId;
use crate::journey::evidence::{ComponentEvidence, Evidence, Measurement, Reason};
use crate::journey::variant::labels_of;
use crate::plan::read::Reading;
use crate::synthetic::evaluation::{BudgetEvaluation, Evaluation, Flaw, WindowEvaluation};
use crate::unit::{Seconds, Timestamp};

/// How much was composed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Work {
    pub(super) composed: u64,
    pub(super) reused: u64,
}

/// Composes every window whose evidence differs from that of `previous`. `None` where the reading is unusable.
pub(super) fn evaluate(
    known: &ModelledJourney,
    time: Timestamp,
    reading: Reading,
    previous: Option<&Evaluation>,
    composer: &mut Composer,
    work: &mut Work,
) -> Option<Evaluation> {
    let Reading::Evidence { windows, age, flaws } = reading else { return None };
    let journey = &known.journey;
    // An equal digest is an equal model, also where a reload made a new object of it.
    let previous = previous.filter(|previous| previous.model.digest == known.info.digest);
    let mut evaluated: Vec<WindowEvaluation> = Vec::with_capacity(windows.len());
    for reading in windows {
        let (window, evidence) = reading.shared();
        let before = previous
            .into_iter()
            .flat_map(|previous| &previous.windows)
            .find(|before| before.window == window && same(&before.evidence, &evidence));
        let composition = match before {
            Some(before) => {
                work.reused += 1;
                Arc::clone(&before.composition)
            }
            None => {
                work.composed += 1;
                Arc::new(composer.compose(journey, &evidence, &[]))
            }
        };
        evaluated.push(WindowEvaluation { window, evidence, composition });
    }
    let mut flaws = flaws;
    for window in &evaluated {
        flaws.extend(overflow(journey, &window.evidence, &window.composition));
    }
    flaws.sort_unstable();
    flaws.dedup();
    Some(Evaluation {
        journey: Arc::clone(journey),
        model: known.info.clone(),
        time,
        windows: evaluated,
        evidence_age: Some(age.unwrap_or(Seconds::ZERO)),
        flaws,
        budget: None,
    })
}

/// The evaluation of a point whose evidence cannot be had: only the meta series have samples.
pub(super) fn unanswered(
    known: &ModelledJourney,
    time: Timestamp,
    newest: Option<&Evaluation>,
) -> Evaluation {
    Evaluation {
        journey: Arc::clone(&known.journey),
        model: known.info.clone(),
        time,
        windows: Vec::new(),
        evidence_age: newest.and_then(|newest| aged(newest, time)),
        flaws: vec![Flaw { reason: Reason::Upstream, component: None }],
        budget: None,
    }
}

/// The newest good evaluation once more, with its age.
pub(super) fn stale(newest: &Evaluation, known: &ModelledJourney, time: Timestamp) -> Evaluation {
    let mut again = newest.clone();
    again.time = time;
    again.model = known.info.clone();
    again.evidence_age = aged(newest, time);
    with_flaw(&mut again, Reason::Stale);
    again
}

/// Adds what is left of the error budget, and names the components that it knows in part.
pub(super) fn with_budget(mut evaluation: Evaluation, budget: Option<Arc<BudgetEvaluation>>) -> Evaluation {
    for &component in budget.iter().flat_map(|budget| &budget.in_part) {
        evaluation.flaws.push(Flaw { reason: Reason::Retention, component: Some(component) });
    }
    evaluation.flaws.sort_unstable();
    evaluation.budget = budget;
    evaluation
}

/// Adds a flaw of the journey as a whole.
pub(super) fn with_flaw(evaluation: &mut Evaluation, reason: Reason) {
    evaluation.flaws.push(Flaw { reason, component: None });
    evaluation.flaws.sort_unstable();
    evaluation.flaws.dedup();
}

/// Whether two evaluations differ in nothing but their time, so that their samples are equal.
pub(super) fn renders_alike(a: &Evaluation, b: &Evaluation) -> bool {
    let windows = a.windows.iter().zip(&b.windows);
    a.windows.len() == b.windows.len()
        && windows
            .into_iter()
            .all(|(a, b)| a.window == b.window && Arc::ptr_eq(&a.composition, &b.composition))
        && a.flaws == b.flaws
        && a.evidence_age == b.evidence_age
        && a.model == b.model
        && match (&a.budget, &b.budget) {
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            (None, None) => true,
            _ => false,
        }
}

fn aged(newest: &Evaluation, time: Timestamp) -> Option<Seconds> {
    let since = time.seconds() - newest.time.seconds();
    newest.evidence_age.and_then(|age| Seconds::new(age.get() + since).ok())
}

/// Whether two pieces of evidence compose to the same: all but their time.
fn same(a: &Evidence, b: &Evidence) -> bool {
    a.components == b.components && a.parameters == b.parameters
}

/// Where every component has a latency and a quantile of the journey still has no finite estimate, its rank lies in an
/// `+Inf` bucket.
fn overflow(journey: &Journey, evidence: &Evidence, composition: &Composition) -> Vec<Flaw> {
    let infinite = composition
        .latency
        .iter()
        .any(|q| journey.quantiles.contains(&q.quantile) && !q.value.estimate.is_finite());
    let overflows = |component: &ComponentEvidence| match &component.measurement {
        Measurement::Counts(counts) => counts.latency().is_some_and(|histogram| {
            let counts = histogram.counts();
            counts.len() >= 2 && counts[counts.len() - 2] < counts[counts.len() - 1]
        }),
        Measurement::Vacuous | Measurement::Figure(_) => false,
    };
    if !infinite {
        return Vec::new();
    }
    let concerned = evidence.components.iter().enumerate().filter(|(_, component)| overflows(component));
    concerned
        .map(|(at, _)| Flaw { reason: Reason::OverflowBucket, component: Some(ComponentId(at)) })
        .collect()
}

/// An evaluation without any evidence: it has every label that the journey's series will have, whatever the answers.
pub(super) fn shadow(known: &ModelledJourney, composer: &mut Composer) -> Evaluation {
    let journey = &known.journey;
    let evidence = |window| Evidence {
        window,
        time: None,
        components: vec![ComponentEvidence::vacuous(Reason::Absent); journey.components.len()],
        parameters: vec![None; journey.parameters.len()],
    };
    let composed =
        journey.windows.first().map(|&window| Arc::new(composer.compose(journey, &evidence(window), &[])));
    let windows =
        journey.windows.iter().zip(std::iter::repeat(composed.clone())).filter_map(|(&window, composed)| {
            Some(WindowEvaluation { window, evidence: Arc::new(evidence(window)), composition: composed? })
        });
    let whole = labels_of(&journey.name).1.is_empty();
    let budget = journey.objectives.availability.as_ref().filter(|_| whole).zip(composed.clone());
    let budget = budget.map(|(objective, composition)| BudgetEvaluation {
        time: Timestamp::default(),
        window: objective.window,
        composition,
        in_part: Vec::new(),
    });
    Evaluation {
        journey: Arc::clone(journey),
        model: known.info.clone(),
        time: Timestamp::default(),
        windows: windows.collect(),
        evidence_age: None,
        flaws: Vec::new(),
        budget: budget.map(Arc::new),
    }
}
