//! The configuration of the server: a private serde shadow, then checked values.
