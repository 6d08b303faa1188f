//! `emac compile PATH… --out DIR`: rules, gates and reports for every journey.
//!
//! One journey at a time is composed and written, so that memory does not grow with their number. Nothing is written
//! outside of the output folder: journey names hold no separators, and a symbolic link below it is refused.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use super::{Outcome, spec_files};
use crate::algebra::compose::Composer;
use crate::derive::explain;
use crate::emit::{self, Artifact, Options};
use crate::journey::Journey;
use crate::journey::evidence::Evidence;
use crate::spec::{self, Severity, SourceFile};

/// Arguments of `emac compile`.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// Files, or directories to be searched for .yaml, .yml and .json files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Where the compiled files go, a folder for each journey
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// A file or directory of OpenSLO documents that atomicSLORef names; may be repeated
    #[arg(long = "openslo", value_name = "PATH")]
    pub openslo: Vec<PathBuf>,
    /// What runs the rules
    #[arg(long, value_enum, default_value_t)]
    pub target: Target,
    /// Where rollouts reach emac
    #[arg(long, value_name = "URL", default_value = "http://emac:9099")]
    pub address: String,
    /// A file of evidence for the report; without it, the contracts are what is known
    #[arg(long, value_name = "FILE")]
    pub evidence: Option<PathBuf>,
    /// Write nothing; fail where the folder differs from what would be written
    #[arg(long)]
    pub check: bool,
}

/// What runs the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Target {
    /// Rule files, with unit tests for promtool
    #[default]
    Prometheus,
    /// PrometheusRule
    Operator,
    /// VMRule
    Vm,
}

/// Compiles every journey.
///
/// # Errors
/// Where a path cannot be read or written.
pub fn run(args: &CompileArgs) -> anyhow::Result<Outcome> {
    let loaded = spec_files::load(&args.paths, &args.openslo)?;
    let mut stderr = std::io::stderr().lock();
    for diagnostic in loaded.diagnostics.iter().filter(|found| found.severity != Severity::Note) {
        writeln!(stderr, "{diagnostic}")?;
    }
    if loaded.diagnostics.iter().any(|found| found.severity == Severity::Error) {
        return Ok(Outcome::Faults);
    }
    if loaded.journeys.is_empty() {
        bail!("the specs hold no journey");
    }
    let evidence = args.evidence.as_deref().map(read_evidence_file).transpose()?;
    let options = Options {
        target: match args.target {
            Target::Prometheus => emit::Target::Prometheus,
            Target::Operator => emit::Target::Operator,
            Target::Vm => emit::Target::Vm,
        },
        address: args.address.clone(),
    };
    let mut folder = Folder::new(&args.out, args.check);
    let mut composer = Composer::new();
    for journey in &loaded.journeys {
        let Some(evidence) = evidence_of(journey, evidence.as_ref())? else { return Ok(Outcome::Faults) };
        let derivation = explain(&mut composer, journey, &evidence, None);
        for artifact in emit::artifacts(journey, &evidence, &derivation, &options) {
            folder.take(&artifact)?;
        }
        let verdict = &derivation.verdict;
        writeln!(std::io::stdout().lock(), "{}: {}: {}", journey.name, verdict.verdict, verdict.reason)?;
    }
    let left = folder.left_over(loaded.journeys.iter().map(|journey| journey.name.as_str()))?;
    let mut stdout = std::io::stdout().lock();
    for path in &left {
        writeln!(stdout, "left over, no spec compiles to it: {}", path.display())?;
    }
    for change in &folder.changes {
        writeln!(stdout, "{change}")?;
    }
    let differs = !folder.changes.is_empty() || !left.is_empty();
    writeln!(
        stdout,
        "{} files of {} journeys{}",
        folder.seen.len(),
        loaded.journeys.len(),
        match (args.check, differs) {
            (true, true) => "; the folder differs: run `emac compile` and commit the result",
            (true, false) => "; the folder is up to date",
            (false, _) => "",
        }
    )?;
    Ok(if args.check && differs { Outcome::Faults } else { Outcome::Done })
}

fn read_evidence_file(path: &Path) -> anyhow::Result<SourceFile> {
    match spec_files::read_file(path)? {
        Ok(text) => Ok(SourceFile { path: path.display().to_string(), text }),
        Err(diagnostic) => bail!("{diagnostic}"),
    }
}

/// The file's evidence where it is this journey's, else what the contracts say; `None` after faults, which are printed.
fn evidence_of(journey: &Journey, file: Option<&SourceFile>) -> anyhow::Result<Option<Evidence>> {
    let Some(file) = file else { return Ok(Some(Evidence::of_contracts(journey))) };
    let (evidence, diagnostics) = spec::load_evidence(journey, file);
    let mut faulty = false;
    for diagnostic in diagnostics.iter().filter(|found| found.severity == Severity::Error) {
        if diagnostic.code == spec::Code::EvidenceOfOther.as_str() {
            return Ok(Some(Evidence::of_contracts(journey)));
        }
        faulty = true;
        writeln!(std::io::stderr().lock(), "{diagnostic}")?;
    }
    Ok(if faulty { None } else { Some(evidence.unwrap_or_else(|| Evidence::of_contracts(journey))) })
}

/// The output folder: written to, or compared with.
struct Folder {
    root: PathBuf,
    check: bool,
    seen: BTreeSet<PathBuf>,
    /// Folders known not to be links.
    sound: BTreeSet<PathBuf>,
    /// What is missing or differs; only where nothing is written.
    changes: Vec<String>,
}

impl Folder {
    fn new(root: &Path, check: bool) -> Self {
        let (seen, sound) = (BTreeSet::new(), BTreeSet::new());
        Self { root: root.to_owned(), check, seen, sound, changes: Vec::new() }
    }

    fn take(&mut self, artifact: &Artifact) -> anyhow::Result<()> {
        let path = self.root.join(&artifact.path);
        self.refuse_links(&path)?;
        let found = match fs::read(&path) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let same = found.as_deref() == Some(artifact.text.as_bytes());
        if self.check {
            match found {
                None => self.changes.push(format!("missing: {}", path.display())),
                Some(_) if !same => self.changes.push(format!("differs: {}", path.display())),
                Some(_) => {}
            }
        } else if !same {
            write(&path, &artifact.text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        self.seen.insert(path);
        Ok(())
    }

    /// A link below the folder could lead anywhere.
    fn refuse_links(&mut self, path: &Path) -> anyhow::Result<()> {
        let below: Vec<PathBuf> =
            path.ancestors().take_while(|above| *above != self.root).map(Path::to_owned).collect();
        for at in below.into_iter().rev() {
            if self.sound.contains(&at) {
                continue;
            }
            match fs::symlink_metadata(&at) {
                Ok(found) if found.is_symlink() => {
                    bail!("{} is a symbolic link: nothing is written through it", at.display())
                }
                Ok(found) if found.is_dir() => {
                    self.sound.insert(at);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Compiled files below the folders of these journeys, or of none, that no journey compiles to: an alert that is left
    /// over would go on paging.
    fn left_over<'a>(&self, journeys: impl Iterator<Item = &'a str>) -> anyhow::Result<Vec<PathBuf>> {
        let _ = journeys;
        let mut left = Vec::new();
        let mut pending = vec![self.root.clone()];
        while let Some(folder) = pending.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
                let (path, kind) = (entry.path(), entry.file_type());
                let kind = kind.with_context(|| format!("cannot read {}", path.display()))?;
                if kind.is_dir() && path.components().count() <= self.root.components().count() + 2 {
                    pending.push(path);
                } else if kind.is_file() && !self.seen.contains(&path) && is_compiled(&path) {
                    left.push(path);
                }
            }
        }
        left.sort();
        Ok(left)
    }
}

/// Whether a file says that it was compiled.
fn is_compiled(path: &Path) -> bool {
    const LOOKED_AT: u64 = 4096;
    use std::io::Read as _;
    let mut start = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start));
    read.is_ok() && String::from_utf8_lossy(&start).contains(emit::MARK)
}

/// Whole or not at all: a reader never sees half a file.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("no folder")?;
    fs::create_dir_all(folder)?;
    let mut name = path.file_name().context("no name")?.to_owned();
    name.push(".new");
    let new = folder.join(name);
    fs::write(&new, text)?;
    fs::rename(&new, path)?;
    Ok(())
}
