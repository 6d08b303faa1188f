//! Bytes on the wire: Prometheus' JSON, XOR chunks.

pub mod prometheus_json;
