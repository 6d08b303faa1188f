//! The shop's services and caches: what each one is, how fast, and how often it fails.
//!
//! Latency is exclusive: the time a service itself takes, without the calls that it makes in turn.

use super::latency_law::LatencyLaw::{
    self, Bimodal, BoundedPareto, Gamma, LogNormal, ShiftedExponential, Weibull,
};

/// One service in good health.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Service {
    /// The value of the `service` label, and the component's name in the journeys.
    pub name: &'static str,
    /// Of its successes.
    pub latency: LatencyLaw,
    /// The share of its calls that fail.
    pub failure_rate: f64,
}

/// A cache: its hit ratio is a parameter of the journeys that read through it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cache {
    /// The value of the `cache` label.
    pub name: &'static str,
    /// The parameter of the journeys that stands for its hit ratio.
    pub parameter: &'static str,
    /// In good health.
    pub hit_ratio: f64,
}

/// What a shop consists of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Catalog {
    /// Its services.
    pub services: &'static [Service],
    /// Its caches.
    pub caches: &'static [Cache],
    /// How long a failing call takes, whichever service it is.
    pub failure_latency: LatencyLaw,
}

/// The shop of the demo.
pub const SHOP: Catalog = Catalog { services: &SERVICES, caches: &CACHES, failure_latency: FAILURE_LATENCY };

/// Some calls fail at once, some only when a pool or a peer gives up.
const FAILURE_LATENCY: LatencyLaw = Bimodal { fast: 0.004, slow: 0.120, slow_share: 0.4, sigma: 0.4 };

/// How many pods share the calls of a service evenly.
pub const PODS: usize = 2;

const fn service(name: &'static str, failure_rate: f64, latency: LatencyLaw) -> Service {
    Service { name, latency, failure_rate }
}

const SERVICES: [Service; 34] = [
    // In front of every journey.
    service("edge", 1e-4, ShiftedExponential { floor: 0.002, mean: 0.002 }),
    service("storefront", 2e-4, LogNormal { median: 0.009, sigma: 0.45 }),
    service("session", 2e-4, Gamma { shape: 3.0, mean: 0.006 }),
    // Checkout.
    service("cart", 3e-4, Gamma { shape: 2.0, mean: 0.012 }),
    service("cart-store", 2e-4, Bimodal { fast: 0.0022, slow: 0.024, slow_share: 0.12, sigma: 0.35 }),
    service("pricing", 3e-4, LogNormal { median: 0.016, sigma: 0.5 }),
    service("promotions", 4e-4, Weibull { shape: 1.3, scale: 0.018 }),
    service("tax", 2e-4, ShiftedExponential { floor: 0.006, mean: 0.008 }),
    service("inventory", 2e-4, Gamma { shape: 2.5, mean: 0.009 }),
    service("inventory-db", 2e-4, LogNormal { median: 0.007, sigma: 0.6 }),
    service("shipping-quotes", 4e-3, BoundedPareto { lowest: 0.012, highest: 2.5, shape: 1.4 }),
    service("shipping-table", 1e-4, ShiftedExponential { floor: 0.001, mean: 0.002 }),
    service("fraud", 3e-4, Gamma { shape: 4.0, mean: 0.022 }),
    service("pay-alpha", 4e-3, LogNormal { median: 0.095, sigma: 0.5 }),
    service("pay-beta", 5e-3, Gamma { shape: 3.0, mean: 0.125 }),
    service("ledger", 2e-4, Weibull { shape: 1.8, scale: 0.010 }),
    service("orders", 1e-3, LogNormal { median: 0.014, sigma: 0.4 }),
    service("notifications", 2e-3, ShiftedExponential { floor: 0.003, mean: 0.012 }),
    // Browse.
    service("product-cache", 1e-4, ShiftedExponential { floor: 0.0005, mean: 0.0008 }),
    service("catalog", 4e-4, LogNormal { median: 0.018, sigma: 0.5 }),
    service("product-db", 3e-4, BoundedPareto { lowest: 0.006, highest: 0.8, shape: 1.8 }),
    service("images", 2e-4, Weibull { shape: 1.1, scale: 0.014 }),
    service("reviews", 2e-3, Gamma { shape: 1.5, mean: 0.024 }),
    service("reviews-archive", 3e-4, LogNormal { median: 0.012, sigma: 0.4 }),
    service("recommendations", 5e-3, BoundedPareto { lowest: 0.015, highest: 1.5, shape: 1.2 }),
    // Search.
    service("query-parser", 2e-4, ShiftedExponential { floor: 0.001, mean: 0.003 }),
    service("shard-a", 2e-3, LogNormal { median: 0.026, sigma: 0.55 }),
    service("shard-b", 2e-3, Gamma { shape: 2.0, mean: 0.032 }),
    service("shard-c", 2e-3, Weibull { shape: 1.4, scale: 0.034 }),
    service("ranking", 3e-4, Gamma { shape: 5.0, mean: 0.020 }),
    // Account.
    service("auth", 3e-4, Weibull { shape: 1.6, scale: 0.015 }),
    service("profile", 1.5e-3, Bimodal { fast: 0.005, slow: 0.045, slow_share: 0.15, sigma: 0.35 }),
    service("profile-replica", 1.5e-3, Bimodal { fast: 0.006, slow: 0.050, slow_share: 0.15, sigma: 0.35 }),
    service("order-history", 4e-4, BoundedPareto { lowest: 0.010, highest: 1.2, shape: 1.7 }),
];

const CACHES: [Cache; 1] = [Cache { name: "product", parameter: "p_product_hit", hit_ratio: 0.85 }];

/// Upper edges of the shop's histograms in seconds: eight a decade, so that neighbours lie a third apart.
pub const BUCKET_EDGES: [f64; 31] = [
    0.001, 0.0013, 0.0018, 0.0024, 0.0032, 0.0042, 0.0056, 0.0075, 0.01, 0.013, 0.018, 0.024, 0.032, 0.042,
    0.056, 0.075, 0.1, 0.13, 0.18, 0.24, 0.32, 0.42, 0.56, 0.75, 1.0, 1.3, 1.8, 2.4, 3.2, 5.6, 10.0,
];
