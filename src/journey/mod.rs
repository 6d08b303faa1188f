//! The model of a journey: what users want, how calls compose, what fails together, what automation may do.

pub mod component;
pub mod domain;
pub mod evidence;
pub mod expression;
#[cfg(test)]
pub(crate) mod fixture;
pub mod governance;
pub mod objective;
pub mod operator;
pub mod variant;

use crate::unit::{Quantile, Seconds, Window};
use component::{Component, ComponentId};
use domain::FailureDomain;
use governance::Governance;
use objective::Objectives;
use operator::Operator;
use variant::Variant;

/// A probability that evidence may supply: `parameters.<name>` of the language.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name, as branches refer to it.
    pub name: String,
    /// The declared value, if any.
    pub value: Option<f64>,
    /// The query that measures it (`{{window}}` stands for the window), if any.
    pub promql: Option<String>,
}

/// A journey as declared: the accepted model that evidence is composed along.
///
/// Made by [`crate::spec`], which checks all of it; [`Journey::check`] holds the invariants that the core relies on.
#[derive(Debug, Clone, PartialEq)]
pub struct Journey {
    /// `metadata.name`, the value of the `journey` label.
    pub name: String,
    /// `metadata.labels`.
    pub labels: Vec<(String, String)>,
    /// What users are promised.
    pub objectives: Objectives,
    /// The windows evaluated, rising and unique.
    pub windows: Vec<Window>,
    /// The latency quantiles evaluated, rising and unique; they hold the objective's.
    pub quantiles: Vec<Quantile>,
    /// Upper edges of `emac_journey_latency_*_seconds_bucket`, finite and rising; they hold the objective.
    pub latency_buckets: Vec<Seconds>,
    /// How calls compose.
    pub operator: Operator,
    /// The components, addressed by [`ComponentId`].
    pub components: Vec<Component>,
    /// The failure domains, addressed by [`domain::DomainId`].
    pub domains: Vec<FailureDomain>,
    /// The parameters, addressed by [`operator::ParameterId`].
    pub parameters: Vec<Parameter>,
    /// What is evaluated besides, for some of the traffic alone.
    pub variants: Vec<Variant>,
    /// What automation may do with the numbers.
    pub governance: Governance,
    /// SHA-256 of the canonical text of the model, in hex: identifies what was evaluated.
    pub digest: String,
}

/// An operator that refers to nothing, or breaks its own rules.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JourneyError {
    /// An id beyond the journey's tables.
    #[error("the operator tree refers to {kind} {index}, but there are {len}")]
    DanglingId {
        /// `component`, `domain` or `parameter`.
        kind: &'static str,
        /// The id.
        index: usize,
        /// How many the journey has.
        len: usize,
    },
    /// An operator that breaks its own rules.
    #[error("{operator}: {fault}")]
    Operator {
        /// The operator's keyword.
        operator: &'static str,
        /// What is wrong.
        fault: String,
    },
}

impl Journey {
    /// Checks what the core relies on: every id resolves, every operator obeys its own rules
    /// ([`Operator::check`]).
    ///
    /// # Errors
    /// The first fault; [`crate::spec`] has already reported all of them with their places.
    pub fn check(&self) -> Result<(), JourneyError> {
        let resolves = |kind, index: usize, len: usize| {
            if index < len { Ok(()) } else { Err(JourneyError::DanglingId { kind, index, len }) }
        };
        for component in &self.components {
            for domain in &component.domains {
                resolves("domain", domain.0, self.domains.len())?;
            }
        }
        for id in self.variants.iter().flat_map(|variant| &variant.components) {
            resolves("component", id.0, self.components.len())?;
        }
        self.operator.visit(&mut |operator| {
            operator.check()?;
            match operator {
                Operator::Component(id) => resolves("component", id.0, self.components.len()),
                Operator::Cond(branches) => branches.iter().try_for_each(|branch| match branch.probability {
                    operator::BranchProbability::Parameter(id) => {
                        resolves("parameter", id.0, self.parameters.len())
                    }
                    operator::BranchProbability::Fixed(_) | operator::BranchProbability::Remainder => Ok(()),
                }),
                _ => Ok(()),
            }
        })
    }

    /// The component with this id.
    ///
    /// # Panics
    /// Where the id is not of this journey ([`Journey::check`]).
    #[must_use]
    pub fn component(&self, id: ComponentId) -> &Component {
        &self.components[id.0]
    }
}
