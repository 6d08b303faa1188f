//! What the shop counts, as a Prometheus client library would: histograms that only grow, one pod apart from
//! the other.

use std::fmt::Write as _;

use super::services::{BUCKET_EDGES, Catalog, PODS};
use crate::series::{Labels, NAME, quoted};

/// The histogram of every service, split by status and pod.
pub const REQUEST_HISTOGRAM: &str = "shop_request_duration_seconds";
/// The histogram of every journey end to end, split by status: what users see.
pub const JOURNEY_HISTOGRAM: &str = "shop_journey_duration_seconds";
/// Reads of every cache, split by result.
pub const CACHE_COUNTER: &str = "shop_cache_requests_total";

/// What exists and what it means, for metadata: name, type, help.
pub const FAMILIES: [(&str, &str, &str); 3] = [
    (
        REQUEST_HISTOGRAM,
        "histogram",
        "How long a service took for a request itself, without the calls it made.",
    ),
    (JOURNEY_HISTOGRAM, "histogram", "How long a user's journey took from end to end."),
    (CACHE_COUNTER, "counter", "Reads of a cache by result."),
];

/// The `code` label of a success and of a failure.
const CODES: [&str; 2] = ["200", "503"];

/// One histogram: counts a bucket (not cumulative, the last for `+Inf`) and the sum.
#[derive(Debug, Clone, PartialEq)]
struct Histogram {
    buckets: [u64; BUCKET_EDGES.len() + 1],
    sum: f64,
}

impl Histogram {
    const EMPTY: Self = Self { buckets: [0; BUCKET_EDGES.len() + 1], sum: 0.0 };

    fn record(&mut self, seconds: f64) {
        self.buckets[BUCKET_EDGES.partition_point(|edge| *edge < seconds)] += 1;
        self.sum += seconds;
    }
}

/// Everything that the shop has counted since its start.
#[derive(Debug, Clone, PartialEq)]
pub struct Counters {
    catalog: Catalog,
    /// A service after the other, within it a pod after the other, within it success and failure.
    calls: Vec<Histogram>,
    /// A journey after the other, within it success and failure.
    journeys: Vec<Histogram>,
    /// Hits and misses of each cache.
    cache_reads: Vec<[u64; 2]>,
    journey_names: Vec<String>,
}

impl Counters {
    /// All zero. Every series exists from the start, as client libraries advise, so that `increase` misses none.
    #[must_use]
    pub fn new(catalog: Catalog, journey_names: Vec<String>) -> Self {
        Self {
            catalog,
            calls: vec![Histogram::EMPTY; catalog.services.len() * PODS * CODES.len()],
            journeys: vec![Histogram::EMPTY; journey_names.len() * CODES.len()],
            cache_reads: vec![[0; 2]; catalog.caches.len()],
            journey_names,
        }
    }

    /// A call has ended; `draw` chooses the pod.
    pub fn record_call(&mut self, service: usize, draw: u32, success: bool, seconds: f64) {
        let pod = draw as usize % PODS;
        let at = (service * PODS + pod) * CODES.len() + usize::from(!success);
        self.calls[at].record(seconds);
    }

    /// A journey has ended.
    pub fn record_journey(&mut self, journey: usize, success: bool, seconds: f64) {
        self.journeys[journey * CODES.len() + usize::from(!success)].record(seconds);
    }

    /// A cache was read.
    pub fn record_cache_read(&mut self, cache: usize, hit: bool) {
        self.cache_reads[cache][usize::from(!hit)] += 1;
    }

    /// All calls of all services so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.calls.iter().flat_map(|histogram| histogram.buckets).sum()
    }

    /// Every series, in an order that never changes.
    #[must_use]
    pub fn series(&self) -> Vec<Labels> {
        let mut all = Vec::new();
        self.visit(&mut |name, labels, _| {
            let labels = labels.iter().map(|(name, value)| (*name, *value));
            all.push(labels.chain([(NAME, name)]).collect());
        });
        all
    }

    /// The value of each of [`Counters::series`].
    #[must_use]
    pub fn values(&self) -> Vec<f64> {
        let mut all = Vec::new();
        self.visit(&mut |_, _, value| all.push(value));
        all
    }

    /// The text exposition format, one page for all pods: labels `service` and `pod` tell them apart.
    #[must_use]
    pub fn exposition(&self) -> String {
        let mut out = String::new();
        let mut family = "";
        self.visit(&mut |name, labels, value| {
            let of = FAMILIES.iter().find(|(family, ..)| name.starts_with(family));
            if let Some((name, kind, help)) = of.filter(|(name, ..)| *name != family) {
                family = name;
                let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            }
            out.push_str(name);
            for (i, (name, value)) in labels.iter().enumerate() {
                let _ = write!(out, "{}{name}={}", if i == 0 { '{' } else { ',' }, quoted(value));
            }
            let _ = writeln!(out, "}} {value}");
        });
        out
    }

    fn visit(&self, visit: &mut impl FnMut(&str, &[(&str, &str)], f64)) {
        let numbers: Vec<String> = (0..PODS).map(|i| format!("{i}")).collect();
        let mut histograms = self.calls.iter();
        for service in self.catalog.services {
            for number in &numbers {
                let pod = format!("{}-{number}", service.name);
                for (code, histogram) in CODES.iter().zip(&mut histograms) {
                    let labels = [("service", service.name), ("pod", pod.as_str()), ("code", code)];
                    histogram.visit(REQUEST_HISTOGRAM, &labels, visit);
                }
            }
        }
        let mut histograms = self.journeys.iter();
        for journey in &self.journey_names {
            for (code, histogram) in CODES.iter().zip(&mut histograms) {
                histogram.visit(JOURNEY_HISTOGRAM, &[("journey", journey.as_str()), ("code", code)], visit);
            }
        }
        for (cache, reads) in self.catalog.caches.iter().zip(&self.cache_reads) {
            for (result, count) in ["hit", "miss"].iter().zip(reads) {
                visit(CACHE_COUNTER, &[("cache", cache.name), ("result", result)], as_value(*count));
            }
        }
    }
}

impl Histogram {
    fn visit(&self, name: &str, labels: &[(&str, &str)], visit: &mut impl FnMut(&str, &[(&str, &str)], f64)) {
        let bucket = format!("{name}_bucket");
        let mut cumulative = 0;
        let edges = BUCKET_EDGES.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (edge, count) in edges.zip(self.buckets) {
            cumulative += count;
            let labels: Vec<_> = labels.iter().copied().chain([("le", edge.as_str())]).collect();
            visit(&bucket, &labels, as_value(cumulative));
        }
        visit(&format!("{name}_sum"), labels, self.sum);
        visit(&format!("{name}_count"), labels, as_value(cumulative));
    }
}

#[expect(clippy::cast_precision_loss, reason = "2^53 requests are 57,000 years of this shop")]
const fn as_value(count: u64) -> f64 {
    count as f64
}
