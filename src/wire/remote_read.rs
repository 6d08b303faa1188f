//! The messages of Prometheus' remote read protocol, generated from `proto/remote_read.proto`.

include!("generated/prometheus.rs");
