//! One journey and its evidence, as `emac explain` and `emac what-if` are told them: from a file or an upstream.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use clap::{ArgGroup, Args, ValueEnum};

use super::serve::{configuration, first_upstream};
use super::spec_files;
use crate::api::parse_time;
use crate::execute::fetch_evidence;
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::plan::read::{ReadSettings, Reading};
use crate::spec::{self, Diagnostic, Severity, SourceFile};
use crate::unit::{Seconds, Timestamp, Window};
use crate::upstream::Upstream as _;

/// How long the upstream may take to answer all evidence queries.
const UPSTREAM_TIMEOUT: Duration = Duration::from_secs(30);
/// The window asked for without `--window`.
const DEFAULT_WINDOW: &str = "5m";

/// Which journey, and where its evidence is.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("source").required(true).multiple(true).args(["evidence", "upstream_url", "config"]))]
pub struct JourneyEvidenceArgs {
    /// A file or directory of journey specs; may be repeated
    #[arg(long = "spec", value_name = "PATH", required = true)]
    pub specs: Vec<PathBuf>,
    /// A file or directory of OpenSLO documents that atomicSLORef names; may be repeated
    #[arg(long = "openslo", value_name = "PATH")]
    pub openslo: Vec<PathBuf>,
    /// The journey's name
    pub journey: String,
    /// A file of evidence
    #[arg(long, value_name = "FILE", conflicts_with_all = ["upstream_url", "config"])]
    pub evidence: Option<PathBuf>,
    /// The Prometheus to take the evidence from; overrides the configuration file
    #[arg(long = "upstream.url", value_name = "URL")]
    pub upstream_url: Option<String>,
    /// The configuration file of `emac serve`, for its upstream with tenant and credentials
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// What to sum over; 5m, or the window of the file
    #[arg(long)]
    pub window: Option<Window>,
    /// The window's end, as seconds since the epoch or RFC 3339; now without it
    #[arg(long, value_name = "TIME", conflicts_with = "evidence", value_parser = timestamp)]
    pub time: Option<Timestamp>,
}

/// A journey, its evidence, and the age of the oldest of it where it is known.
pub(super) struct JourneyEvidence {
    pub(super) journey: Journey,
    pub(super) evidence: Evidence,
    pub(super) age: Option<Seconds>,
}

impl JourneyEvidenceArgs {
    /// `None` where the specs or the evidence have faults, all of them reported.
    ///
    /// # Errors
    /// Where a file cannot be read, the journey does not exist, or the upstream cannot be asked.
    pub(super) fn read(&self) -> anyhow::Result<Option<JourneyEvidence>> {
        let loaded = spec_files::load(&self.specs, &self.openslo)?;
        if report(&loaded.diagnostics)? {
            return Ok(None);
        }
        let mut journeys: Vec<Journey> =
            loaded.journeys.into_iter().flat_map(Journey::with_variants).collect();
        let Some(at) = journeys.iter().position(|journey| journey.name == self.journey) else {
            return Err(unknown(&self.journey, &journeys));
        };
        let journey = journeys.swap_remove(at);
        let (evidence, age) = match &self.evidence {
            Some(path) => match evidence_of(path, &journey, self.window)? {
                Some(evidence) => (evidence, None),
                None => return Ok(None),
            },
            None => fetch(&journey, self)?,
        };
        Ok(Some(JourneyEvidence { journey, evidence, age }))
    }
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// The documented JSON
    Json,
    /// The same as YAML
    Yaml,
}

impl Format {
    /// As text, JSON or YAML; ends with a line break.
    pub(super) fn print(
        self,
        value: &impl serde::Serialize,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let printed = match self {
            Self::Text => text(),
            Self::Json => serde_json::to_string_pretty(value)? + "\n",
            Self::Yaml => serde_saphyr::to_string(value)?,
        };
        std::io::stdout().lock().write_all(printed.as_bytes())?;
        Ok(())
    }
}

fn timestamp(text: &str) -> Result<Timestamp, String> {
    parse_time(text)
        .ok_or_else(|| "seconds since the epoch or RFC 3339, such as 2026-03-01T09:30:00Z".to_owned())
}

/// Reads an evidence file; `None` where it has faults, all of them reported.
fn evidence_of(path: &Path, journey: &Journey, asked: Option<Window>) -> anyhow::Result<Option<Evidence>> {
    let text = match spec_files::read_file(path)? {
        Ok(text) => text,
        Err(diagnostic) => {
            report([&diagnostic])?;
            return Ok(None);
        }
    };
    let file = SourceFile { path: path.display().to_string(), text };
    let (evidence, diagnostics) = spec::load_evidence(journey, &file);
    if report(&diagnostics)? {
        return Ok(None);
    }
    let evidence = evidence.with_context(|| format!("{} holds no evidence", file.path))?;
    if let Some(asked) = asked.filter(|asked| *asked != evidence.window) {
        bail!("{} holds the evidence of {}, not of {asked}", file.path, evidence.window);
    }
    Ok(Some(evidence))
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

/// Asks the upstream for the evidence of one window.
fn fetch(journey: &Journey, args: &JourneyEvidenceArgs) -> anyhow::Result<(Evidence, Option<Seconds>)> {
    let window = match args.window {
        Some(window) => window,
        None => DEFAULT_WINDOW.parse()?,
    };
    let at = match args.time {
        Some(at) => at,
        None => {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
            Timestamp::from_millis(i64::try_from(since.as_millis())?)
        }
    };
    let journeys = [Arc::new(journey.clone())];
    let config = configuration(args.config.as_deref(), args.upstream_url.as_slice())?;
    let settings =
        ReadSettings { max_lookback: config.evidence.max_lookback, delay: config.evaluation.delay };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (url, readings) = runtime.block_on(async {
        let upstream = first_upstream(&config)?;
        let deadline = Instant::now() + UPSTREAM_TIMEOUT;
        let readings = fetch_evidence(&upstream, &journeys, Some(&[window]), at, &settings, deadline).await?;
        anyhow::Ok((upstream.name().to_owned(), readings))
    })?;
    match readings.into_iter().next() {
        Some(Reading::Evidence { windows, age, .. }) => {
            let found = windows.into_iter().find(|reading| reading.window == window);
            let found = found.with_context(|| format!("the upstream {url} answered nothing for {window}"))?;
            Ok((found.evidence, age))
        }
        Some(Reading::Unusable) | None => bail!("the upstream {url} gave no usable answer"),
    }
}
