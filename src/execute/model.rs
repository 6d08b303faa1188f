//! The journeys that are evaluated now, and which revision of each.

use std::sync::Arc;

use crate::journey::Journey;
use crate::synthetic::evaluation::ModelInfo;
use crate::unit::Timestamp;

/// One journey and its identity.
#[derive(Debug, Clone)]
pub struct ModelledJourney {
    /// The journey.
    pub journey: Arc<Journey>,
    /// Its digest and revision: the revision counts this journey's own changes, so that a reload which leaves it alone
    /// does not start new series.
    pub info: ModelInfo,
}

/// Everything that is evaluated, swapped whole on reload.
#[derive(Debug, Clone)]
pub struct Model {
    /// In the order of the spec files, each followed by its variants.
    pub journeys: Vec<ModelledJourney>,
    /// How often the model was replaced since the start, from 1.
    pub revision: u64,
    /// Since when the spec on disk is invalid, so that an older model answers.
    pub invalid_since: Option<Timestamp>,
}

impl Model {
    /// The first model, of these journeys and their variants.
    #[must_use]
    pub fn new(journeys: Vec<Journey>) -> Self {
        Self { journeys: Vec::new(), revision: 0, invalid_since: None }.replaced(journeys)
    }

    /// The next model: journeys whose digest did not change keep their revision.
    #[must_use]
    pub fn replaced(&self, journeys: Vec<Journey>) -> Self {
        let journeys = journeys
            .into_iter()
            .flat_map(Journey::with_variants)
            .map(|journey| {
                let before = self.journeys.iter().find(|known| known.journey.name == journey.name);
                let revision = match before {
                    Some(known) if known.info.digest == journey.digest => known.info.revision,
                    Some(known) => known.info.revision + 1,
                    None => 1,
                };
                let info = ModelInfo { digest: journey.digest.clone(), accepted: true, revision };
                ModelledJourney { journey: Arc::new(journey), info }
            })
            .collect();
        Self { journeys, revision: self.revision + 1, invalid_since: None }
    }

    /// The journey of this name.
    #[must_use]
    pub fn journey(&self, name: &str) -> Option<&ModelledJourney> {
        self.journeys.iter().find(|known| known.journey.name == name)
    }
}
