//! What was understood of the documents.

use std::collections::BTreeMap;

use crate::document::Place;
use crate::unit::{Probability, Window};

/// How an indicator measures the share of good calls; queries hold `{{window}}` where their range stands, unless the
/// indicator is already a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ratio {
    /// Good and all calls, both counted.
    Counts {
        /// Good calls.
        good: String,
        /// All calls.
        total: String,
    },
    /// The share itself: how many calls stand behind it is not known.
    Share(String),
}

/// One SLO.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    /// `metadata.name`.
    pub name: String,
    /// The lowest target of its objectives; `None` where none can be read as a share of calls.
    pub target: Option<Probability>,
    /// The period of its budget.
    pub window: Option<Window>,
    /// What its indicator counts, where that can be asked of a Prometheus for any window.
    pub ratio: Option<Ratio>,
    /// Where it is declared.
    pub place: Place,
}

/// The SLOs of all documents, by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Catalog {
    pub(super) slos: BTreeMap<String, Slo>,
}

impl Catalog {
    /// The SLO of this name; a reference may begin with `openslo:`.
    #[must_use]
    pub fn resolve(&self, reference: &str) -> Option<&Slo> {
        self.slos.get(Self::name_of(reference))
    }

    /// The name that a reference means.
    #[must_use]
    pub fn name_of(reference: &str) -> &str {
        reference.strip_prefix("openslo:").unwrap_or(reference)
    }

    /// Every SLO, by name.
    pub fn slos(&self) -> impl ExactSizeIterator<Item = &Slo> {
        self.slos.values()
    }
}
