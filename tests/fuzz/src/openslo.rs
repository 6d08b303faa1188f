//! OpenSLO documents.

use emac::openslo;
use emac::spec::SourceFile;

/// Valid ones.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let is_openslo = |seed: &Vec<u8>| String::from_utf8_lossy(seed).contains("openslo/");
    let seeds: Vec<_> = crate::specs::seeds().into_iter().filter(is_openslo).collect();
    assert!(!seeds.is_empty());
    seeds
}

/// Reads a text as OpenSLO; whether it holds anything.
pub(crate) fn read(bytes: &[u8]) -> bool {
    let Ok(text) = String::from_utf8(bytes.to_vec()) else { return false };
    let (catalog, diagnostics) = openslo::load(&[SourceFile { path: "fuzz.yaml".to_owned(), text }]);
    for diagnostic in diagnostics {
        assert!(!diagnostic.to_string().is_empty());
    }
    catalog.slos().len() > 0
}
