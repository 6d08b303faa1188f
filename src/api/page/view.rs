//! What a page shows of one journey, gathered from its newest evaluation.

use std::sync::Arc;

use super::observed::{Observed, Observer};
use crate::algebra::composition::Composition;
use crate::algebra::verdict::{Judgement, Verdict};
use crate::derive::{Derivation, reason};
use crate::journey::Journey;
use crate::journey::evidence::Reason;
use crate::synthetic::evaluation::Evaluation;
use crate::unit::{Probability, Seconds, Window};

/// One journey.
pub struct JourneyView {
    /// Its newest evaluation.
    pub evaluation: Arc<Evaluation>,
    /// The window shown; `None` where none could be answered.
    pub shown: Option<ShownWindow>,
    /// Every window that could be answered, rising.
    pub windows: Vec<WindowSummary>,
}

/// The window that is shown in full.
pub struct ShownWindow {
    /// Its length.
    pub window: Window,
    /// Where its numbers come from.
    pub derivation: Derivation,
    /// Its curves.
    pub composition: Arc<Composition>,
    /// What users saw meanwhile, where that is measured.
    pub observed: Option<Observed>,
}

/// One window's line in the table of budgets.
pub struct WindowSummary {
    /// Its length.
    pub window: Window,
    /// What automation may do by it.
    pub verdict: Verdict,
    /// Burn of the availability budget, as estimated and as a bound.
    pub availability_burn: Option<(f64, f64)>,
    /// Burn of the latency budget, as estimated and as a bound.
    pub latency_burn: Option<(f64, f64)>,
}

/// Something wrong with the evidence, for the banner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The `reason` label.
    pub reason: &'static str,
    /// A sentence.
    pub sentence: String,
    /// The components concerned; empty: the journey as a whole.
    pub components: Vec<String>,
}

impl JourneyView {
    /// Gathers; `wanted` is the window to show, the shortest answered one without it (or where it is not answered).
    #[must_use]
    pub fn new(
        evaluation: &Arc<Evaluation>,
        wanted: Option<Window>,
        observer: Option<&dyn Observer>,
    ) -> Self {
        let journey = &evaluation.journey;
        let windows = &evaluation.windows;
        let found = windows.iter().find(|found| Some(found.window) == wanted).or_else(|| windows.first());
        let shown = found.map(|found| ShownWindow {
            window: found.window,
            derivation: Derivation::new(
                journey,
                &found.evidence,
                &found.composition,
                evaluation.evidence_age,
            ),
            composition: Arc::clone(&found.composition),
            observed: observer.and_then(|observer| observer.observed(&journey.name, found.window)),
        });
        let summaries = windows.iter().map(|found| {
            let derivation = Derivation::new(journey, &found.evidence, &found.composition, None);
            let objectives = &derivation.objectives;
            WindowSummary {
                window: found.window,
                verdict: derivation.verdict.verdict,
                availability_burn: objectives
                    .availability
                    .as_ref()
                    .map(|objective| (objective.burn_rate.estimate, objective.burn_rate.pessimistic)),
                latency_burn: objectives
                    .latency
                    .as_ref()
                    .map(|objective| (objective.burn_rate.estimate, objective.burn_rate.pessimistic)),
            }
        });
        Self { evaluation: Arc::clone(evaluation), windows: summaries.collect(), shown }
    }

    /// The model.
    #[must_use]
    pub fn journey(&self) -> &Journey {
        &self.evaluation.journey
    }

    /// The verdict shown, and why; review where no window could be answered.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        self.shown.as_ref().map_or_else(
            || Judgement {
                verdict: Verdict::Review,
                reason: "no window could be answered, so there are no numbers".to_owned(),
            },
            |shown| Judgement {
                verdict: shown.derivation.verdict.verdict,
                reason: shown.derivation.verdict.reason.clone(),
            },
        )
    }

    /// Everything wrong with the evidence, over all windows shown: one entry a reason. What is not retained of the
    /// objective's window concerns none of them.
    #[must_use]
    pub fn troubles(&self) -> Vec<Trouble> {
        let mut troubles: Vec<Trouble> = Vec::new();
        let shown = self.evaluation.flaws.iter().filter(|flaw| flaw.reason != Reason::Retention);
        for flaw in shown {
            let name =
                flaw.component.and_then(|id| self.journey().components.get(id.0)).map(|c| c.name.clone());
            let reason = flaw.reason.as_str();
            match troubles.iter_mut().find(|trouble| trouble.reason == reason) {
                Some(trouble) => trouble.components.extend(name),
                None => troubles.push(Trouble {
                    reason,
                    sentence: reason::sentence(flaw.reason).to_owned(),
                    components: name.into_iter().collect(),
                }),
            }
        }
        troubles
    }

    /// What was observed at the objective's quantile.
    #[must_use]
    pub fn observed_latency(&self) -> Option<Seconds> {
        let objective = self.journey().objectives.latency.as_ref()?;
        self.shown.as_ref()?.observed.as_ref()?.latency_at(objective.quantile)
    }

    /// The observed availability.
    #[must_use]
    pub fn observed_availability(&self) -> Option<Probability> {
        self.shown.as_ref()?.observed.as_ref().map(|observed| observed.availability)
    }
}
