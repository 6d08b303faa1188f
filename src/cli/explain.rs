//! `emac explain`: how a journey's numbers follow from its model and its evidence.

use clap::Args;

use super::Outcome;
use super::journey_evidence::{Format, JourneyEvidence, JourneyEvidenceArgs};
use crate::algebra::compose::Composer;
use crate::derive::{explain, text};

/// Arguments of `emac explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Which journey over which evidence.
    #[command(flatten)]
    pub of: JourneyEvidenceArgs,
    /// How to print the derivation
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Explains one journey over one window.
///
/// # Errors
/// Where a file cannot be read, the journey does not exist, or the upstream cannot be asked.
pub fn run(args: &ExplainArgs) -> anyhow::Result<Outcome> {
    let Some(JourneyEvidence { journey, evidence, age }) = args.of.read()? else {
        return Ok(Outcome::Faults);
    };
    let derivation = explain(&mut Composer::new(), &journey, &evidence, age);
    args.format.print(&derivation, || text::render(&derivation))?;
    Ok(Outcome::Done)
}
