//! Latency distributions of calls that may fail: histograms as evidence, tabulated laws, sums on a grid, order statistics.

pub mod confidence;
pub mod expected_shortfall;
pub mod histogram;
pub mod interpolation;
pub mod law;
pub mod normal;
pub mod order_statistic;
pub mod stepped;
pub mod transform;
