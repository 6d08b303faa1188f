//! HTTP: one router, pass-through first.
