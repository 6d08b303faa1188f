//! HTTP: one router, pass-through first.

pub mod page;
