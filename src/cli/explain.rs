//! `emac explain`: how a journey's numbers follow from its model and its evidence.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};

use super::{Outcome, spec_files};
use crate::algebra::compose::Composer;
use crate::derive::{Derivation, explain, text};
use crate::journey::Journey;
use crate::spec::{self, Diagnostic, Severity, SourceFile};
use crate::unit::Window;

/// Arguments of `emac explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A file or directory of journey specs; may be repeated
    #[arg(long = "spec", value_name = "PATH", required = true)]
    pub specs: Vec<PathBuf>,
    /// The journey's name
    pub journey: String,
    /// A file of evidence
    #[arg(long, value_name = "FILE")]
    pub evidence: PathBuf,
    /// What was summed over, to be sure; the window of the file without it
    #[arg(long)]
    pub window: Option<Window>,
    /// How to print the derivation
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// How a derivation is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// A tree for people
    #[default]
    Text,
    /// The documented JSON
    Json,
    /// The same as YAML
    Yaml,
}

/// Explains one journey over one window.
///
/// # Errors
/// Where a file cannot be read, the journey does not exist, or the upstream cannot be asked.
pub fn run(args: &ExplainArgs) -> anyhow::Result<Outcome> {
    let read = spec_files::read(&args.specs)?;
    let loaded = spec::load(&read.files);
    if report(read.diagnostics.iter().chain(&loaded.diagnostics))? {
        return Ok(Outcome::Faults);
    }
    let Some(journey) = loaded.journeys.iter().find(|journey| journey.name == args.journey) else {
        return Err(unknown(&args.journey, &loaded.journeys));
    };
    let text = match spec_files::read_file(&args.evidence)? {
        Ok(text) => text,
        Err(diagnostic) => {
            report([&diagnostic])?;
            return Ok(Outcome::Faults);
        }
    };
    let file = SourceFile { path: args.evidence.display().to_string(), text };
    let (evidence, diagnostics) = spec::load_evidence(journey, &file);
    if report(&diagnostics)? {
        return Ok(Outcome::Faults);
    }
    let evidence = evidence.with_context(|| format!("{} holds no evidence", file.path))?;
    if let Some(asked) = args.window.filter(|asked| *asked != evidence.window) {
        bail!("{} holds the evidence of {}, not of {asked}", file.path, evidence.window);
    }
    let derivation = explain(&mut Composer::new(), journey, &evidence, None);
    std::io::stdout().lock().write_all(printed(&derivation, args.format)?.as_bytes())?;
    Ok(Outcome::Done)
}

/// The derivation as text, JSON or YAML; ends with a line break.
fn printed(derivation: &Derivation, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Text => text::render(derivation),
        Format::Json => serde_json::to_string_pretty(derivation)? + "\n",
        Format::Yaml => serde_saphyr::to_string(derivation)?,
    })
}

/// Prints the errors; whether there was one. Warnings are `emac check`'s to tell: many of them, such as missing
/// telemetry, are moot here.
fn report<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> anyhow::Result<bool> {
    let mut stderr = std::io::stderr().lock();
    let mut faulty = false;
    for diagnostic in diagnostics.into_iter().filter(|found| found.severity == Severity::Error) {
        faulty = true;
        writeln!(stderr, "{diagnostic}")?;
    }
    Ok(faulty)
}

fn unknown(name: &str, journeys: &[Journey]) -> anyhow::Error {
    const SHOWN: usize = 5;
    let mut names: Vec<_> = journeys
        .iter()
        .map(|journey| (strsim::damerau_levenshtein(name, &journey.name), journey.name.as_str()))
        .collect();
    names.sort_unstable();
    if names.is_empty() {
        return anyhow!("there is no journey `{name}`: the specs hold none");
    }
    let nearest: Vec<_> = names.into_iter().take(SHOWN).map(|(_, name)| name).collect();
    anyhow!("there is no journey `{name}`; nearest are: {}", nearest.join(", "))
}
