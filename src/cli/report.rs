//! Findings as text for people, JSON for machines, and SARIF for code review.

use std::io::{self, Write};

use clap::ValueEnum;
use serde_json::{Value, json};

use crate::journey::Journey;
use crate::spec::{Code, Diagnostic, Severity};

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Format {
    /// One line a finding
    #[default]
    Text,
    /// One JSON document
    Json,
    /// SARIF 2.1.0
    Sarif,
}

/// Whether any finding is an error.
#[must_use]
pub fn has_errors(diagnostics: &[Diagnostic]) -> bool {
    diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
}

/// Prints findings, and which journeys were read.
///
/// # Errors
/// Where `out` cannot be written.
pub fn write(
    out: &mut dyn Write,
    format: Format,
    journeys: &[Journey],
    diagnostics: &[Diagnostic],
) -> io::Result<()> {
    let document = match format {
        Format::Text => return write_text(out, journeys, diagnostics),
        Format::Json => json(journeys, diagnostics),
        Format::Sarif => sarif(diagnostics),
    };
    serde_json::to_writer_pretty(&mut *out, &document)
        .map_err(|error| error.io_error_kind().map_or_else(|| error.into(), io::Error::from))?;
    writeln!(out)
}

fn count(diagnostics: &[Diagnostic], severity: Severity) -> usize {
    diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
}

fn write_text(out: &mut dyn Write, journeys: &[Journey], diagnostics: &[Diagnostic]) -> io::Result<()> {
    for diagnostic in diagnostics {
        writeln!(out, "{diagnostic}")?;
    }
    let counted = |n: usize, noun: &str| format!("{n} {noun}{}", if n == 1 { "" } else { "s" });
    writeln!(
        out,
        "{}; {}, {}, {}",
        counted(journeys.len(), "valid journey"),
        counted(count(diagnostics, Severity::Error), "error"),
        counted(count(diagnostics, Severity::Warning), "warning"),
        counted(count(diagnostics, Severity::Note), "note"),
    )
}

fn json(journeys: &[Journey], diagnostics: &[Diagnostic]) -> Value {
    let journeys: Vec<_> =
        journeys.iter().map(|journey| json!({ "name": journey.name, "digest": journey.digest })).collect();
    let findings: Vec<_> = diagnostics
        .iter()
        .map(|diagnostic| {
            json!({
                "severity": diagnostic.severity.as_str(),
                "code": diagnostic.code,
                "file": diagnostic.file,
                "line": diagnostic.line,
                "column": diagnostic.column,
                "path": diagnostic.path,
                "message": diagnostic.message,
                "help": diagnostic.help,
            })
        })
        .collect();
    json!({
        "journeys": journeys,
        "diagnostics": findings,
        "errors": count(diagnostics, Severity::Error),
        "warnings": count(diagnostics, Severity::Warning),
        "notes": count(diagnostics, Severity::Note),
    })
}

fn sarif(diagnostics: &[Diagnostic]) -> Value {
    let rules: Vec<_> = Code::ALL
        .iter()
        .map(|code| {
            json!({
                "id": code.as_str(),
                "shortDescription": { "text": code.title() },
                "defaultConfiguration": { "level": code.severity().as_str() },
            })
        })
        .collect();
    let results: Vec<_> = diagnostics
        .iter()
        .map(|diagnostic| {
            let mut message = diagnostic.message.clone();
            if let Some(help) = &diagnostic.help {
                message.push_str("; help: ");
                message.push_str(help);
            }
            let mut physical = json!({ "artifactLocation": { "uri": uri(&diagnostic.file) } });
            if diagnostic.line > 0 {
                physical["region"] =
                    json!({ "startLine": diagnostic.line, "startColumn": diagnostic.column.max(1) });
            }
            let mut location = json!({ "physicalLocation": physical });
            if !diagnostic.path.is_empty() {
                location["logicalLocations"] = json!([{ "fullyQualifiedName": diagnostic.path }]);
            }
            let index = Code::ALL.iter().position(|code| code.as_str() == diagnostic.code);
            json!({
                "ruleId": diagnostic.code,
                "ruleIndex": index,
                "level": diagnostic.severity.as_str(),
                "message": { "text": message },
                "locations": [location],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "emac", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// A path as a URI reference (RFC 3986): what is not unreserved is escaped, slashes stay.
fn uri(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_becomes_a_uri_reference() {
        assert_eq!(uri("specs/a b%.yaml"), "specs/a%20b%25.yaml");
    }

    #[test]
    fn sarif_has_a_rule_for_every_result() {
        let finding = Diagnostic::of_file(Code::NotUtf8, "a.yaml", "bad", Some("save it".to_owned()));
        let document = sarif(&[finding]);
        let result = &document["runs"][0]["results"][0];
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(document["runs"][0]["tool"]["driver"]["rules"][index]["id"], "E002");
        assert_eq!(result["message"]["text"], "bad; help: save it");
        assert_eq!(result["locations"][0]["physicalLocation"].get("region"), None);
    }
}
