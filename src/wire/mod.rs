//! Bytes on the wire: Prometheus' JSON, remote read messages, XOR chunks.

pub mod chunked_frame;
pub mod prometheus_json;
pub mod remote_read;
pub mod remote_read_request;
pub mod remote_read_response;
pub mod xor_chunk;
