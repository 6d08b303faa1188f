//! The simulated shop behind `emac demo`.
