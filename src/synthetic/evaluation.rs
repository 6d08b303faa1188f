//! One evaluation of a journey: everything from which its synthetic samples at one grid point are rendered.

use std::sync::Arc;

use crate::algebra::composition::Composition;
use crate::journey::Journey;
use crate::journey::component::ComponentId;
use crate::journey::evidence::{Evidence, Reason};
use crate::unit::{Seconds, Timestamp, Window};

/// The evidence of one window and what it composes to.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowEvaluation {
    /// What was summed over.
    pub window: Window,
    /// What was measured.
    pub evidence: Arc<Evidence>,
    /// What follows from it.
    pub composition: Arc<Composition>,
}

/// The evidence of the availability objective's window and what it composes to.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetEvaluation {
    /// The window's end; some evaluations ago.
    pub time: Timestamp,
    /// What was summed over, as far as the upstream retains it.
    pub window: Window,
    /// What follows from it.
    pub composition: Arc<Composition>,
    /// The components whose evidence covers less than the window.
    pub in_part: Vec<ComponentId>,
}

/// What is wrong with the evidence, and whose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flaw {
    /// What is wrong.
    pub reason: Reason,
    /// Whose evidence; `None`: the journey's as a whole.
    pub component: Option<ComponentId>,
}

/// Which model was evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelInfo {
    /// [`Journey::digest`].
    pub digest: String,
    /// Whether a person accepted it.
    pub accepted: bool,
    /// How often the model was changed since the start, from 1.
    pub revision: u64,
}

/// One evaluation of a journey at one grid point.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluation {
    /// The model.
    pub journey: Arc<Journey>,
    /// Its identity.
    pub model: ModelInfo,
    /// The grid point.
    pub time: Timestamp,
    /// One for each window that could be answered, rising; empty where the upstream could not be asked: then only
    /// the meta series have samples.
    pub windows: Vec<WindowEvaluation>,
    /// The age of the oldest evidence used; `None` where there was never any.
    pub evidence_age: Option<Seconds>,
    /// Everything that is wrong with the evidence, over all windows, sorted and unique.
    pub flaws: Vec<Flaw>,
    /// What is left of the error budget; `None` where that is not known, and in the past before the start.
    pub budget: Option<Arc<BudgetEvaluation>>,
}
