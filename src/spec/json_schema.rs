//! The JSON Schema of the language, generated from the records that the decoder uses.

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};

use super::evidence_file::EvidenceFile;
use super::intent::JourneyIntent;

/// A document of the language.
struct AnyDocument;

impl JsonSchema for AnyDocument {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Emergence-as-Code".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (intent, evidence) =
            (generator.subschema_for::<JourneyIntent>(), generator.subschema_for::<EvidenceFile>());
        schemars::json_schema!({
            "description": "A document of the EmaC language, apiVersion emac.dev/v1alpha1.",
            "oneOf": [intent, evidence],
        })
    }
}

/// The schema (draft 2020-12) that accepts the structure that the decoder accepts: fields, types, words, ranges. What
/// only the whole document shows (names that resolve, probabilities that sum to 1) is beyond it.
#[must_use]
pub fn json_schema() -> serde_json::Value {
    SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<AnyDocument>().to_value()
}
