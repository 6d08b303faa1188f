//! `emac check PATH…`: every fault of the given specs.

use std::path::PathBuf;

use clap::Args;

use super::report::{self, Format};
use super::serve::configuration;
use super::{Outcome, check_upstream, spec_files};
use crate::spec::{Code, Diagnostic};

/// Arguments of `emac check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Files, or directories to be searched for .yaml, .yml and .json files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// A file or directory of OpenSLO documents that atomicSLORef names; may be repeated
    #[arg(long = "openslo", value_name = "PATH")]
    pub openslo: Vec<PathBuf>,
    /// How findings are printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// A Prometheus to be asked whether the telemetry that the specs name exists
    #[arg(long = "upstream.url", value_name = "URL")]
    pub upstream_url: Option<String>,
    /// The configuration file of `emac serve`, for its upstream with tenant and credentials
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Checks and reports.
///
/// # Errors
/// Where a path cannot be read, the upstream does not answer, or stdout cannot be written.
pub fn run(args: &CheckArgs) -> anyhow::Result<Outcome> {
    let mut loaded = spec_files::load(&args.paths, &args.openslo)?;
    let mut diagnostics = std::mem::take(&mut loaded.diagnostics);
    if loaded.documents == 0 && diagnostics.iter().all(|diagnostic| diagnostic.code.starts_with('N')) {
        let paths: Vec<_> = args.paths.iter().map(|path| path.display().to_string()).collect();
        let message = "no document of the language was found";
        let help = "a journey has `apiVersion: emac.dev/v1alpha1` and `kind: JourneyIntent`".to_owned();
        diagnostics.push(Diagnostic::of_file(Code::NothingFound, &paths.join(", "), message, Some(help)));
    }
    if args.upstream_url.is_some() || args.config.is_some() {
        let config = configuration(args.config.as_deref(), args.upstream_url.as_slice())?;
        diagnostics.extend(check_upstream::check(&config, &loaded.journeys, &loaded.places)?);
    }
    report::write(&mut std::io::stdout().lock(), args.format, &loaded.journeys, &diagnostics)?;
    Ok(if report::has_errors(&diagnostics) { Outcome::Faults } else { Outcome::Done })
}
