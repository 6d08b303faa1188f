//! `emac diff OLD NEW`: what changed between two versions of specs, and what that does to the bounds.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::diff_model::{Change, changes};
use super::{Outcome, spec_files};
use crate::algebra::compose::Composer;
use crate::derive::number::{decimals, seconds};
use crate::derive::{Derivation, explain, model};
use crate::emit::{self, Artifact, Options};
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::spec::Severity;
use crate::unit::{Probability, Seconds};

/// Arguments of `emac diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The specs as they were: a file or directory
    pub old: PathBuf,
    /// The specs as they are
    pub new: PathBuf,
    /// A file or directory of OpenSLO documents for both; those beside the specs are found anyway
    #[arg(long = "openslo", value_name = "PATH")]
    pub openslo: Vec<PathBuf>,
    /// How the difference is printed
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    /// Exit with 1 where anything differs
    #[arg(long)]
    pub exit_code: bool,
}

/// How a difference is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON document
    Json,
}

/// One version of a journey, composed from its contracts, and what it compiles to.
struct Version {
    model: Value,
    derivation: Derivation,
    artifacts: Vec<Artifact>,
}

/// A journey of either version.
struct Difference {
    name: String,
    changes: Vec<Change>,
    artifacts: Vec<String>,
    old: Option<Derivation>,
    new: Option<Derivation>,
}

/// Compares.
///
/// # Errors
/// Where a path cannot be read, or stdout not written.
pub fn run(args: &DiffArgs) -> anyhow::Result<Outcome> {
    let (Some(old), Some(new)) = (versions(&args.old, &args.openslo)?, versions(&args.new, &args.openslo)?)
    else {
        return Ok(Outcome::Faults);
    };
    let differences = compare(old, new);
    let mut out = std::io::stdout().lock();
    match args.format {
        Format::Text => out.write_all(text(&differences).as_bytes())?,
        Format::Json => {
            let all: Vec<Value> = differences.iter().map(Difference::json).collect();
            writeln!(out, "{}", serde_json::to_string_pretty(&json!({"journeys": all}))?)?;
        }
    }
    let differs = !differences.is_empty();
    Ok(if differs && args.exit_code { Outcome::Faults } else { Outcome::Done })
}

/// Every journey by name; `None` after faults, which are printed.
fn versions(path: &PathBuf, openslo: &[PathBuf]) -> anyhow::Result<Option<BTreeMap<String, Version>>> {
    let loaded = spec_files::load(std::slice::from_ref(path), openslo)?;
    let errors: Vec<_> =
        loaded.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
    if !errors.is_empty() {
        let mut stderr = std::io::stderr().lock();
        for error in errors {
            writeln!(stderr, "{error}")?;
        }
        return Ok(None);
    }
    let mut composer = Composer::new();
    let version = |journey: &Journey| {
        let evidence = Evidence::of_contracts(journey);
        let derivation = explain(&mut composer, journey, &evidence, None);
        let artifacts = emit::artifacts(journey, &derivation, &Options::default());
        let mut model = model::document(journey);
        // The digest says that something differs; what, is told below.
        if let Some(fields) = model.as_object_mut() {
            fields.remove("digest");
        }
        (journey.name.clone(), Version { model, derivation, artifacts })
    };
    Ok(Some(loaded.journeys.iter().map(version).collect()))
}

fn compare(mut old: BTreeMap<String, Version>, mut new: BTreeMap<String, Version>) -> Vec<Difference> {
    let names: std::collections::BTreeSet<String> = old.keys().chain(new.keys()).cloned().collect();
    let mut differences = Vec::new();
    for name in names {
        let (old, new) = (old.remove(&name), new.remove(&name));
        let changed = match (&old, &new) {
            (Some(old), Some(new)) => changes(&old.model, &new.model),
            _ => Vec::new(),
        };
        let files = |version: &Option<Version>| -> BTreeMap<String, String> {
            let artifacts = version.iter().flat_map(|version| &version.artifacts);
            artifacts.map(|artifact| (artifact.path.clone(), without_provenance(&artifact.text))).collect()
        };
        let (before, after) = (files(&old), files(&new));
        let artifacts: Vec<String> = before
            .keys()
            .chain(after.keys().filter(|path| !before.contains_key(*path)))
            .filter(|path| before.get(*path) != after.get(*path))
            .cloned()
            .collect();
        if changed.is_empty() && artifacts.is_empty() && old.is_some() == new.is_some() {
            continue;
        }
        differences.push(Difference {
            name,
            changes: changed,
            artifacts,
            old: old.map(|version| version.derivation),
            new: new.map(|version| version.derivation),
        });
    }
    differences
}

/// Lines that name the digest differ after every change, and say nothing of it.
fn without_provenance(text: &str) -> String {
    let says_more = |line: &&str| !line.contains(emit::MARK) && !line.trim_start().starts_with("digest: ");
    text.lines().filter(says_more).collect::<Vec<_>>().join("\n")
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None => "nothing".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    }
}

/// The rows of the table of effects: what, before, after.
fn effects(old: &Derivation, new: &Derivation) -> Vec<(String, String, String)> {
    let mut rows = Vec::new();
    let mut row = |what: &str, old: String, new: String| rows.push((what.to_owned(), old, new));
    /// Reads one side of a derivation.
    type Of = fn(&Derivation) -> Probability;
    let availability: [(&str, Of); 3] = [
        ("availability, pessimistic", |d| d.availability.pessimistic),
        ("availability, estimate", |d| d.availability.estimate),
        ("availability, optimistic", |d| d.availability.optimistic),
    ];
    for (what, of) in availability {
        row(what, decimals(of(old)), decimals(of(new)));
    }
    let quantile = new.objectives.latency.as_ref().or(old.objectives.latency.as_ref());
    if let Some(quantile) = quantile.map(|objective| objective.quantile.clone()) {
        let of = |derivation: &Derivation, pick: fn(&crate::derive::derivation::LatencyResult) -> Seconds| {
            derivation.latency.get(&quantile).map_or_else(|| "–".to_owned(), |latency| seconds(pick(latency)))
        };
        row("latency, pessimistic", of(old, |l| l.pessimistic), of(new, |l| l.pessimistic));
        row("latency, optimistic", of(old, |l| l.optimistic), of(new, |l| l.optimistic));
    }
    let target = |d: &Derivation| {
        d.objectives.availability.as_ref().map_or_else(|| "–".to_owned(), |o| decimals(o.target))
    };
    row("objective", target(old), target(new));
    row("verdict", old.verdict.verdict.to_string(), new.verdict.verdict.to_string());
    rows
}

fn text(differences: &[Difference]) -> String {
    if differences.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text.replace(|c: char| c.is_control(), "\u{fffd}"));
        out.push('\n');
    };
    for difference in differences {
        let name = &difference.name;
        match (&difference.old, &difference.new) {
            (None, Some(new)) => {
                line(format!("{name}: new; {}: {}", new.verdict.verdict, new.verdict.reason))
            }
            (Some(_), None) => line(format!("{name}: gone, and its alerts with it")),
            (Some(old), Some(new)) => {
                line(format!("{name}: changed"));
                for change in &difference.changes {
                    let (old, new) = (shown(change.old.as_ref()), shown(change.new.as_ref()));
                    line(format!("  {}: {old} → {new}", change.path));
                }
                line("  by the contracts:".to_owned());
                for (what, old, new) in effects(old, new) {
                    let mark = if old == new { "unchanged".to_owned() } else { format!("→ {new}") };
                    line(format!("    {what:<28}{old:<14}{mark}"));
                }
                if old.verdict.reason != new.verdict.reason {
                    line(format!("    because {}", new.verdict.reason));
                }
            }
            (None, None) => {}
        }
        for path in &difference.artifacts {
            line(format!("  file {path}"));
        }
    }
    out
}

impl Difference {
    fn json(&self) -> Value {
        let numbers = |derivation: &Derivation| {
            json!({
                "availability": {
                    "pessimistic": derivation.availability.pessimistic.get(),
                    "estimate": derivation.availability.estimate.get(),
                    "optimistic": derivation.availability.optimistic.get(),
                },
                "verdict": derivation.verdict.verdict.as_str(),
                "reason": derivation.verdict.reason,
            })
        };
        let change = |change: &Change| json!({"path": change.path, "old": change.old, "new": change.new});
        json!({
            "journey": self.name,
            "changes": self.changes.iter().map(change).collect::<Vec<_>>(),
            "old": self.old.as_ref().map(numbers),
            "new": self.new.as_ref().map(numbers),
            "artifacts": self.artifacts,
        })
    }
}
