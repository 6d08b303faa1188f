//! `emac fmt PATH…`: the operators of specs in their usual layout, or converted between tree and text.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::{Outcome, report, spec_files};
use crate::spec::{self, Form};

/// Arguments of `emac fmt`.
#[derive(Debug, Args)]
pub struct FmtArgs {
    /// Files, or directories to be searched for .yaml, .yml and .json files
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Write nothing; name the files that would change, and fail if there are any
    #[arg(long)]
    pub check: bool,
    /// Convert the operators to this form
    #[arg(long, value_enum, value_name = "FORM")]
    pub to: Option<FormArg>,
}

/// How an operator is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FormArg {
    /// `operator:` with a tree
    Tree,
    /// `expression:` with text
    Expression,
}

/// Formats, and reports what was left as it is and why.
///
/// # Errors
/// Where a path cannot be read or written, or stdout cannot be written.
pub fn run(args: &FmtArgs) -> anyhow::Result<Outcome> {
    let read = spec_files::read(&args.paths)?;
    let mut out = std::io::stdout().lock();
    let to = args.to.map(|form| match form {
        FormArg::Tree => Form::Tree,
        FormArg::Expression => Form::Expression,
    });
    let mut faulty = !read.diagnostics.is_empty();
    for diagnostic in &read.diagnostics {
        writeln!(out, "{diagnostic}")?;
    }
    for file in &read.files {
        let formatted = spec::format(file, to);
        faulty |= report::has_errors(&formatted.diagnostics);
        for diagnostic in &formatted.diagnostics {
            writeln!(out, "{diagnostic}")?;
        }
        if formatted.text == file.text {
            continue;
        }
        if args.check {
            writeln!(out, "{} would change", file.path)?;
            faulty = true;
        } else {
            replace(Path::new(&file.path), &formatted.text)?;
            writeln!(out, "{} changed", file.path)?;
        }
    }
    Ok(if faulty { Outcome::Faults } else { Outcome::Done })
}

/// Replaces a file whole or not at all: a crash in the middle leaves the old one. Its permissions stay, and a link
/// stays a link.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let target = fs::canonicalize(path).with_context(|| format!("cannot read {}", path.display()))?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = target.with_file_name(format!(".{name}.emac-fmt-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::set_permissions(&beside, fs::metadata(&target)?.permissions())?;
        fs::rename(&beside, &target)
    };
    write().map_err(|error| {
        // The old file is untouched; what was written beside it is of no use.
        let _ = fs::remove_file(&beside);
        anyhow::Error::new(error).context(format!("cannot write {}", path.display()))
    })
}
