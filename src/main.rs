//! The `emac` command.

fn main() {}
