//! The EmaC language: YAML files become diagnostics or a journey.
