//! A journey whose answer is known, composed again every interval: what computes wrongly on this machine, in this build,
//! must not page people or stop releases without saying so.
//!
//! Two reads of the same tree: independent, and with both payment providers on one fate. The numbers follow by hand, as
//! products of the availabilities below.

use crate::algebra::compose::Composer;
use crate::document::SourceFile;
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::journey::governance::Dependence;
use crate::spec;

const SPEC: &str = "
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: self-check}
spec:
  objectives: {availability: {window: 30d, target: 0.995}}
  windows: [5m]
  expression: Series(front, Parallel(cart, pricing), Race(paya, payb))
  components:
    front: {telemetry: {histogram: x}}
    cart: {telemetry: {histogram: x}}
    pricing: {telemetry: {histogram: x}}
    paya: {telemetry: {histogram: x}, failureDomains: [network]}
    payb: {telemetry: {histogram: x}, failureDomains: [network]}
  failureDomains:
    rules: [{name: network, kind: declared}]
";

const EVIDENCE: &str = "
apiVersion: emac.dev/v1alpha1
kind: Evidence
metadata: {journey: self-check}
spec:
  window: 5m
  components:
    front: {availability: 0.9995}
    cart: {availability: 0.999}
    pricing: {availability: 0.999}
    paya: {availability: 0.995}
    payb: {availability: 0.995}
";

/// Without the race: front, cart and pricing all succeed.
const BEFORE_PAYING: f64 = 0.9995 * 0.999 * 0.999;
const INDEPENDENT: f64 = BEFORE_PAYING * (1.0 - 0.005 * 0.005);
const SHARED_FATE: f64 = BEFORE_PAYING * 0.995;

/// What composition may differ by, since it sums in another order.
const TOLERANCE: f64 = 1e-12;

/// Why the check did not pass.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum SelfCheckError {
    /// The journey of the check cannot be read.
    #[error("the journey of the self-check cannot be read: {0}")]
    Unreadable(String),
    /// A number is not the known one.
    #[error(
        "{what} of the self-check is {found}, right is {right}: do not trust the numbers of this process"
    )]
    Wrong {
        /// Which.
        what: &'static str,
        /// What was computed.
        found: f64,
        /// What it must be.
        right: f64,
    },
}

/// The journey and its evidence, ready to be composed.
#[derive(Debug)]
pub struct SelfCheck {
    journey: Journey,
    evidence: Evidence,
}

impl SelfCheck {
    /// Reads the journey.
    ///
    /// # Errors
    /// [`SelfCheckError::Unreadable`].
    pub fn new() -> Result<Self, SelfCheckError> {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        let unreadable = |diagnostics: Vec<_>| {
            let lines: Vec<String> = diagnostics.iter().map(crate::spec::Diagnostic::to_string).collect();
            SelfCheckError::Unreadable(lines.join("; "))
        };
        let loaded = spec::load(&[file("self-check.yaml", SPEC)]);
        let Some(journey) = loaded.journeys.into_iter().next() else {
            return Err(unreadable(loaded.diagnostics));
        };
        match spec::load_evidence(&journey, &file("self-check-evidence.yaml", EVIDENCE)) {
            (Some(evidence), _) => Ok(Self { journey, evidence }),
            (None, diagnostics) => Err(unreadable(diagnostics)),
        }
    }

    /// Composes anew, and compares; takes milliseconds of a blocking thread.
    ///
    /// # Errors
    /// [`SelfCheckError::Wrong`].
    pub fn run(&self) -> Result<(), SelfCheckError> {
        let composition = Composer::new().compose(&self.journey, &self.evidence, &[]);
        // NaN where it is missing: wrong, too.
        let lower = |dependence: Dependence| {
            composition.availability_by_dependence.get(&dependence).map_or(f64::NAN, |by| by.lower.get())
        };
        for (what, found, right) in [
            ("the independent availability", lower(Dependence::Independent), INDEPENDENT),
            ("the availability under a shared fate", lower(Dependence::SharedFate), SHARED_FATE),
            ("the estimate", composition.availability.estimate.get(), INDEPENDENT),
            ("the pessimistic availability", composition.availability.pessimistic.get(), SHARED_FATE),
        ] {
            let agrees = (found - right).abs() <= TOLERANCE;
            if !agrees {
                return Err(SelfCheckError::Wrong { what, found, right });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journey::evidence::Measurement;
    use crate::unit::Probability;

    #[test]
    fn the_known_answer_is_found_and_any_other_is_told() {
        let mut check = SelfCheck::new().unwrap();
        check.run().unwrap();
        assert!((INDEPENDENT - 0.997_477_06).abs() < 1e-8 && (SHARED_FATE - 0.992_514_49).abs() < 1e-8);
        let figure = &mut check.evidence.components[1].measurement;
        assert!(matches!(figure, Measurement::Figure(_)));
        *figure = Measurement::Figure(Probability::saturating(0.999_000_1));
        let error = check.run().unwrap_err().to_string();
        assert!(error.contains("do not trust"), "{error}");
    }
}
