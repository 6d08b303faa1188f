//! `emac compile PATH… --out DIR`: rules, gates and reports for every journey.
//!
//! One journey at a time is composed and written, so that memory does not grow with their number. Nothing is written
//! outside of the output folder: journey names hold no separators, and a symbolic link below it is refused.

use std::collections::{HashMap, HashSet};
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
    /// PrometheusRule, and the same alerts as a rule file with its unit tests
    Operator,
    /// VMRule, and the same alerts as a rule file with its unit tests
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
    let mut folder = Folder::new(&args.out, args.check)?;
    let mut stdout = std::io::BufWriter::new(std::io::stdout().lock());
    let mut composer = Composer::new();
    for journey in &loaded.journeys {
        let Some(evidence) = evidence_of(journey, evidence.as_ref())? else { return Ok(Outcome::Faults) };
        let derivation = explain(&mut composer, journey, &evidence, None);
        folder.take_all(&journey.name, &emit::artifacts(journey, &derivation, &options))?;
        let verdict = &derivation.verdict;
        writeln!(stdout, "{}: {}: {}", journey.name, verdict.verdict, verdict.reason)?;
    }
    for artifact in emit::shared_artifacts(&options) {
        folder.take(&artifact)?;
    }
    let left = folder.left_over()?;
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
    stdout.flush()?;
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
    seen: HashSet<PathBuf>,
    /// Folders below the root that are known not to be links.
    sound: HashMap<PathBuf, Origin>,
    /// What is missing or differs; only where nothing is written.
    changes: Vec<String>,
}

/// Since when a folder is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    Found,
    /// Made by this run, or only looked for in vain: it holds nothing of others.
    New,
}

impl Folder {
    fn new(root: &Path, check: bool) -> anyhow::Result<Self> {
        if !check {
            fs::create_dir_all(root).with_context(|| format!("cannot make the folder {}", root.display()))?;
        }
        let (seen, sound) = (HashSet::new(), HashMap::new());
        Ok(Self { root: root.to_owned(), check, seen, sound, changes: Vec::new() })
    }

    /// Everything of one journey, below a folder of its name. Where that is not there yet, it is made under another name and
    /// renamed when it is complete.
    fn take_all(&mut self, name: &str, artifacts: &[Artifact]) -> anyhow::Result<()> {
        let path = self.root.join(name);
        let made = self.root.join(format!(".{name}.new"));
        if self.check || existing(&path)?.is_some() || !made_anew(&made)? {
            return artifacts.iter().try_for_each(|artifact| self.take(artifact));
        }
        let mut folders: Vec<&str> = Vec::new();
        for artifact in artifacts {
            let below = artifact.path.strip_prefix(name).and_then(|below| below.strip_prefix('/'));
            let below = below.with_context(|| format!("{} is not below {name}", artifact.path))?;
            let to = made.join(below);
            if let Some((folder, _)) = below.rsplit_once('/')
                && !folders.contains(&folder)
            {
                folders.push(folder);
                let folder = made.join(folder);
                fs::create_dir(&folder)
                    .with_context(|| format!("cannot make the folder {}", folder.display()))?;
            }
            fs::write(&to, &artifact.text).with_context(|| format!("cannot write {}", to.display()))?;
            self.seen.insert(self.root.join(&artifact.path));
        }
        fs::rename(&made, &path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        self.sound.insert(path, Origin::New);
        Ok(())
    }

    fn take(&mut self, artifact: &Artifact) -> anyhow::Result<()> {
        let path = self.root.join(&artifact.path);
        let above = path.parent().unwrap_or(&path).to_owned();
        let found = match self.folder(&above)? {
            Origin::New => None,
            Origin::Found => read_unless_link(&path)?,
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

    /// A folder below the root, made where it is not there and files are written. A link could lead anywhere: it is refused.
    fn folder(&mut self, path: &Path) -> anyhow::Result<Origin> {
        if path == self.root {
            return Ok(Origin::Found);
        }
        if let Some(origin) = self.sound.get(path) {
            return Ok(*origin);
        }
        let above = path.parent().map_or(Ok(Origin::Found), |above| self.folder(above))?;
        let found = match above {
            Origin::New => None,
            Origin::Found => existing(path)?,
        };
        let origin = match found {
            Some(found) if found.is_symlink() => return Err(refused(path)),
            Some(_) => Origin::Found,
            None => Origin::New,
        };
        if origin == Origin::New && !self.check {
            fs::create_dir(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        self.sound.insert(path.to_owned(), origin);
        Ok(origin)
    }

    /// Compiled files below the folder that no journey compiles to: an alert that is left over would go on paging.
    fn left_over(&self) -> anyhow::Result<Vec<PathBuf>> {
        let mut left = Vec::new();
        let mut pending = vec![self.root.clone()];
        while let Some(folder) = pending.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries {
                let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
                let (path, kind) = (entry.path(), entry.file_type());
                let kind = kind.with_context(|| format!("cannot read {}", path.display()))?;
                let ours = self.sound.get(&path) == Some(&Origin::New);
                let deep = path.components().count() > self.root.components().count() + 2;
                if kind.is_dir() && !deep && !ours {
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

/// Makes a folder; `false` where something of that name is left of a run that was broken off.
fn made_anew(path: &Path) -> anyhow::Result<bool> {
    match fs::create_dir(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot make the folder {}", path.display())),
    }
}

fn refused(path: &Path) -> anyhow::Error {
    anyhow::anyhow!("{} is a symbolic link: nothing is written through it", path.display())
}

/// What is there, if anything is, without following links.
fn existing(path: &Path) -> anyhow::Result<Option<fs::Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn read_unless_link(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match existing(path)? {
        None => Ok(None),
        Some(found) if found.is_symlink() => Err(refused(path)),
        Some(_) => fs::read(path).map(Some).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Whether a file says that it was compiled, and from what; a text about compiling may well name the mark alone.
fn is_compiled(path: &Path) -> bool {
    const LOOKED_AT: u64 = 4096;
    use std::io::Read as _;
    let mut start = Vec::new();
    let read = fs::File::open(path).and_then(|file| file.take(LOOKED_AT).read_to_end(&mut start));
    let says = |line: &str| line.contains(emit::MARK) && line.contains("spec sha256:");
    read.is_ok() && String::from_utf8_lossy(&start).lines().any(says)
}

/// Whole or not at all: a reader never sees half a file.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut name = path.file_name().context("no name")?.to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    fs::write(&new, text)?;
    fs::rename(&new, path)?;
    Ok(())
}
