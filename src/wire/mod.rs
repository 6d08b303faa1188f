//! Bytes on the wire: Prometheus' JSON, remote read messages, XOR chunks.

pub mod prometheus_json;
pub mod remote_read;
pub mod xor_chunk;
