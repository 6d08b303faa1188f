//! `emac check PATH…`: every fault of the given specs.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::{Outcome, spec_files};
use crate::spec::{self, Severity};

/// Arguments of `emac check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files, or directories to be searched for .yaml, .yml and .json files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
}

/// Checks and reports.
///
/// # Errors
/// Where a path cannot be read or stdout cannot be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<Outcome> {
    let read = spec_files::read(&args.paths)?;
    let mut diagnostics = read.diagnostics;
    diagnostics.extend(spec::load(&read.files).diagnostics);
    let mut out = std::io::stdout().lock();
    for diagnostic in &diagnostics {
        writeln!(out, "{diagnostic}")?;
    }
    let faulty = diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    Ok(if faulty { Outcome::Faults } else { Outcome::Done })
}
