//! Specs, evidence files, OpenSLO documents and configurations: all that is read as YAML.

use std::path::Path;

use emac::algebra::compose::Composer;
use emac::config::{Config, WebFile};
use emac::journey::evidence::{ComponentEvidence, Evidence, Reason};
use emac::plan::EvidencePlan;
use emac::spec::{self, Severity, SourceFile};

/// Valid ones.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_root = |folder: &&Path| folder.join("examples/specs").is_dir();
    let root = manifest.ancestors().find(is_root).unwrap();
    let mut all = Vec::new();
    let mut folders = vec![root.join("tests/testdata/spec/good"), root.join("examples/specs")];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                all.push(std::fs::read(path).unwrap());
            }
        }
    }
    all.push(b"upstream: {url: http://a:9090, timeout: 10s, tenant: a}\nlimits: {points: 11000}\n".to_vec());
    all.push(b"tls_server_config: {cert_file: a, key_file: b}\nbasic_auth_users: {a: b}\n".to_vec());
    assert!(all.len() > 5);
    all
}

/// Reads a text as everything that it may be; whether it is anything. A journey that results is planned, and composed
/// without evidence, as a reload does before it swaps.
pub(crate) fn read(bytes: &[u8]) -> bool {
    let Ok(text) = String::from_utf8(bytes.to_vec()) else {
        // Files are read as text before they come so far.
        return false;
    };
    let file = SourceFile { path: "fuzz.yaml".to_owned(), text: text.clone() };
    let contracts = [file.clone()];
    let loaded = spec::load_with_contracts(std::slice::from_ref(&file), &contracts);
    for journey in &loaded.journeys {
        let journey = std::sync::Arc::new(journey.clone());
        let interval = "15s".parse().unwrap();
        let plan = EvidencePlan::new(std::slice::from_ref(&journey), interval);
        assert!(!plan.to_string().is_empty() || plan.queries().is_empty());
        let _ = spec::load_evidence(&journey, &file);
        if let Some(&window) = journey.windows.first() {
            let evidence = Evidence {
                window,
                time: None,
                components: vec![ComponentEvidence::vacuous(Reason::Absent); journey.components.len()],
                parameters: vec![None; journey.parameters.len()],
            };
            let composition = Composer::new().compose(&journey, &evidence, &[]);
            assert!(composition.availability.pessimistic <= composition.availability.optimistic);
        }
    }
    let _ = spec::format(&file, None);
    let (config, web) = (Config::from_yaml(&text), WebFile::from_yaml(&text));
    let refused = loaded.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    !refused || config.is_ok() || web.is_ok()
}
