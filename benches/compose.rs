//! Benchmarks of composition.

fn main() {}
