//! Bytes on the wire: remote read messages, XOR chunks.
