//! Reading specs from paths: files as they are, directories recursively.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::spec::{self, Code, Diagnostic, Loaded, MAX_FILE_BYTES, SourceFile};

/// The limit for the number of files of one run.
pub const MAX_FILES: usize = 10_000;
/// The limit for the depth of directories below a given one.
const MAX_DIRECTORY_DEPTH: usize = 32;

/// What was read, and what was left out with the reason.
#[derive(Debug, Default)]
pub struct SpecFiles {
    /// Sorted by path, each once.
    pub files: Vec<SourceFile>,
    /// Files that were not read.
    pub diagnostics: Vec<Diagnostic>,
}

/// Reads specs, and further files or directories for their OpenSLO documents; what was not read comes first among the
/// findings.
///
/// # Errors
/// Where a path does not exist or cannot be read.
pub fn load(specs: &[PathBuf], openslo: &[PathBuf]) -> anyhow::Result<Loaded> {
    let (specs, openslo) = (read(specs)?, read(openslo)?);
    let mut loaded = spec::load_with_contracts(&specs.files, &openslo.files);
    let mut diagnostics = specs.diagnostics;
    diagnostics.extend(openslo.diagnostics);
    diagnostics.append(&mut loaded.diagnostics);
    loaded.diagnostics = diagnostics;
    Ok(loaded)
}

/// Reads `paths`: a file whatever its name, a directory recursively (`.yaml`, `.yml`, `.json`; hidden entries and
/// links to directories are left out). A file above [`MAX_FILE_BYTES`] or one that is not UTF-8 is a diagnostic.
///
/// # Errors
/// Where a path does not exist or cannot be read.
pub fn read(paths: &[PathBuf]) -> anyhow::Result<SpecFiles> {
    let mut found = BTreeSet::new();
    for path in paths {
        let kind = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?;
        if kind.is_dir() {
            walk(path, 0, &mut found)?;
        } else {
            found.insert(path.clone());
        }
    }
    let mut read = SpecFiles::default();
    for path in found {
        match read_file(&path)? {
            Ok(text) => read.files.push(SourceFile { path: path.display().to_string(), text }),
            Err(diagnostic) => read.diagnostics.push(diagnostic),
        }
    }
    Ok(read)
}

fn walk(directory: &Path, depth: usize, found: &mut BTreeSet<PathBuf>) -> anyhow::Result<()> {
    anyhow::ensure!(
        depth <= MAX_DIRECTORY_DEPTH,
        "{} lies more than {MAX_DIRECTORY_DEPTH} directories deep",
        directory.display()
    );
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", directory.display()))?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // A link to a directory is not followed: it could lead back.
        let kind = entry.file_type().with_context(|| format!("cannot read {}", path.display()))?;
        if kind.is_dir() {
            walk(&path, depth + 1, found)?;
        } else if path.extension().is_some_and(|e| ["yaml", "yml", "json"].iter().any(|known| e == *known))
            && (kind.is_file() || path.is_file())
        {
            found.insert(path);
            anyhow::ensure!(
                found.len() <= MAX_FILES,
                "more than {MAX_FILES} files; name the directories that hold specs"
            );
        }
    }
    Ok(())
}

/// One file within the size limit, or why not.
///
/// # Errors
/// Where it cannot be read.
pub fn read_file(path: &Path) -> anyhow::Result<Result<String, Diagnostic>> {
    let refused = |code, message: String, help: &str| {
        Ok(Err(Diagnostic::of_file(code, &path.display().to_string(), message, Some(help.to_owned()))))
    };
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    // With room for all of it, reading ends with the second call.
    let size = file.metadata().map_or(0, |found| found.len()).min(MAX_FILE_BYTES as u64);
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1);
    // One byte beyond the limit tells a file that is too large from one that just fits, also where the size that
    // the file system reports is not to be believed.
    file.take(MAX_FILE_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(|| format!("cannot read {}", path.display()))?;
    if bytes.len() > MAX_FILE_BYTES {
        return refused(
            Code::FileTooLarge,
            format!("the file is larger than {MAX_FILE_BYTES} bytes"),
            "split it, one journey a file",
        );
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Ok(text)),
        Err(error) => refused(
            Code::NotUtf8,
            format!("byte {} is not UTF-8", error.utf8_error().valid_up_to() + 1),
            "save the file as UTF-8",
        ),
    }
}
