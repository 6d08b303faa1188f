//! From files to journeys.

use std::collections::HashMap;

use super::intent::JourneyIntent;
use super::{canonical, evidence_file, lower};
use crate::document::decode::{Decode as _, Decoder, ValidRegexes};
use crate::document::diagnostic::{Code, Diagnostic, did_you_mean, nearest};
use crate::document::parse::parse;
use crate::document::tree::{self as document, Content, Document, NodeId, Plain};
use crate::document::{Place, SourceFile};
use crate::journey::Journey;
use crate::openslo::{self, Catalog};

/// The kinds of this language.
const KINDS: [&str; 2] = ["JourneyIntent", "Evidence"];

/// Where the parts of a journey are declared.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JourneyPlaces {
    /// One for each [`Journey::components`], in their order.
    pub components: Vec<Place>,
    /// One for each [`Journey::parameters`], in their order.
    pub parameters: Vec<Place>,
}

/// What was understood, and everything that is to be said about it.
#[derive(Debug, Clone, Default)]
pub struct Loaded {
    /// One for each valid JourneyIntent.
    pub journeys: Vec<Journey>,
    /// One for each journey, in their order.
    pub places: Vec<JourneyPlaces>,
    /// In the order of files and places.
    pub diagnostics: Vec<Diagnostic>,
    /// How many documents of this language were found, valid or not.
    pub documents: usize,
}

/// What a document is.
pub(crate) enum Kind {
    Journey,
    Evidence,
    /// `openslo/v1`.
    OpenSlo,
    /// Not of this language: its description.
    Other(String),
    /// Meant to be of this language, but its kind is unknown.
    Unknown,
    Empty,
}

/// Reads all documents of all files. A journey with an error is left out; so are documents of other kinds, each with a
/// note. Evidence documents are checked against their journey, where it is among the files.
///
/// OpenSLO documents among the files supply contracts; see [`load_with_contracts`].
#[must_use]
pub fn load(files: &[SourceFile]) -> Loaded {
    load_with_contracts(files, &[])
}

/// As [`load`], with further files that hold OpenSLO documents; whatever else those hold is left alone.
#[must_use]
pub fn load_with_contracts(files: &[SourceFile], contracts: &[SourceFile]) -> Loaded {
    let mut loaded = Loaded::default();
    let all: Vec<SourceFile> = files
        .iter()
        .chain(contracts.iter().filter(|contract| files.iter().all(|file| file.path != contract.path)))
        .filter(|file| openslo::concerns(file))
        .cloned()
        .collect();
    let (contracts, mut of_contracts) = openslo::load(&all);
    // Where each journey was declared.
    let mut named: HashMap<String, String> = HashMap::new();
    let mut with_evidence = Vec::new();
    let valid_regexes = ValidRegexes::default();
    // One file's nodes at a time: memory is bounded by one file, whatever the directory holds.
    for file in files {
        let (documents, mut diagnostics) = parse(file);
        // A document that cannot even be parsed is taken to be of this language.
        loaded.documents += usize::from(!diagnostics.is_empty());
        for document in &documents {
            let kind = kind(document);
            loaded.documents += usize::from(matches!(kind, Kind::Journey | Kind::Evidence | Kind::Unknown));
            match kind {
                Kind::Journey => {
                    let mut decoder = Decoder::new(file, document).knowing(&valid_regexes);
                    let journey = JourneyIntent::decode(document.root(), &mut decoder)
                        .and_then(|intent| finish(&intent, &mut decoder, &contracts, &mut named));
                    if let Some((journey, places)) = journey {
                        loaded.journeys.push(journey);
                        loaded.places.push(places);
                    }
                    diagnostics.extend(decoder.finish());
                }
                Kind::Evidence => with_evidence.push(file),
                Kind::OpenSlo | Kind::Empty => {}
                Kind::Other(what) => diagnostics.push(at_root(
                    document,
                    Code::OtherDocument,
                    file,
                    format!("{what} is not of this language and is skipped"),
                    None,
                )),
                Kind::Unknown => diagnostics.push(unknown_kind(document, file)),
            }
        }
        loaded.diagnostics.extend(diagnostics);
    }
    loaded.diagnostics.append(&mut of_contracts);
    with_evidence.dedup();
    for file in with_evidence {
        for document in &parse(file).0 {
            if matches!(kind(document), Kind::Evidence) {
                loaded.diagnostics.extend(evidence_file::check(file, document, &loaded.journeys));
            }
        }
    }
    loaded
}

fn unknown_kind(document: &Document, file: &SourceFile) -> Diagnostic {
    let found =
        document.get(document.root(), "kind").and_then(|node| document.text(node)).unwrap_or_default();
    let message = format!(
        "found the kind `{}`; allowed: {} with `apiVersion: emac.dev/v1alpha1`",
        document::shortened(found),
        KINDS.join(", ")
    );
    at_root(document, Code::UnknownKind, file, message, did_you_mean(found, KINDS))
}

fn at_root(
    document: &Document,
    code: Code,
    file: &SourceFile,
    message: String,
    help: Option<String>,
) -> Diagnostic {
    let root = document.node(document.root());
    Diagnostic {
        line: root.line,
        column: root.column,
        ..Diagnostic::of_file(code, &file.path, message, help)
    }
}

/// Lowers a journey, and refuses a name that is taken.
fn finish(
    intent: &JourneyIntent,
    decoder: &mut Decoder<'_>,
    contracts: &Catalog,
    named: &mut HashMap<String, String>,
) -> Option<(Journey, JourneyPlaces)> {
    let name = intent.metadata.as_ref().and_then(|metadata| metadata.name.as_ref());
    if let Some(name) = name {
        let node = decoder.document.node(name.at);
        let here = format!("{}:{}:{}", decoder.file, node.line, node.column);
        if let Some(there) = named.get(&name.value.0) {
            let message =
                format!("the journey `{}` is declared twice; the other stands at {there}", name.value.0);
            decoder.report(Code::DuplicateName, name.at, message, Some("rename one of them".to_owned()));
        } else {
            named.insert(name.value.0.clone(), here);
        }
    }
    let (mut journey, places) = lower::lower(intent, decoder, contracts)?;
    journey.digest = canonical::digest(&journey);
    let place = |at: &NodeId| Place::of(decoder.file, decoder.document, *at);
    let places = JourneyPlaces {
        components: places.components.iter().map(place).collect(),
        parameters: places.parameters.iter().map(place).collect(),
    };
    Some((journey, places))
}

/// What a document is, by its `apiVersion` and `kind`.
pub(crate) fn kind(document: &Document) -> Kind {
    let root = document.root();
    if !matches!(document.node(root).content, Content::Mapping(_)) {
        return match document.plain(root) {
            Some(Plain::Null) => Kind::Empty,
            _ => Kind::Other(document.describe(root)),
        };
    }
    let text = |key| document.get(root, key).and_then(|node| document.text(node)).unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    let spec = document.get(root, "spec");
    let has_operator = spec
        .is_some_and(|spec| ["operator", "expression"].iter().any(|key| document.get(spec, key).is_some()));
    match (version, kind) {
        (_, "JourneyIntent") => Kind::Journey,
        (_, "Evidence") if version.starts_with("emac") || version.is_empty() => Kind::Evidence,
        ("openslo/v1", _) => Kind::OpenSlo,
        // A typo; other kinds of this project are other tools' business.
        _ if nearest(kind, KINDS).is_some() || version.starts_with("emac") && kind.is_empty() => {
            Kind::Unknown
        }
        // Its kind was forgotten: better to say so than to skip it.
        _ if has_operator => Kind::Journey,
        ("", "") => Kind::Other("a document without apiVersion and kind".to_owned()),
        _ => Kind::Other(format!("{} {}", document::shortened(version), document::shortened(kind))),
    }
}
