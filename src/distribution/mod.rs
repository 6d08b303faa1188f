//! Latency distributions of calls that may fail: histograms as evidence, grids, sums, extremes, quantiles.

pub mod confidence;

pub mod histogram;
