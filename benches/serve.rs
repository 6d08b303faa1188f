//! Latency of the serving path on loopback, in percentiles: `cargo bench --bench serve`.
//!
//! Not criterion: it reports means, and the promise is about the 99th percentile. Each measurement is one keep-alive
//! connection that asks again as soon as it is answered, alone and beside seven others.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking and reports by printing"
)]

use std::time::Duration;

use emac::journey::Journey;
use emac::spec::{self, SourceFile};

use crate::loopback::{Servers, start};

mod loopback;

const JOURNEYS: usize = 50;
const COMPONENTS: usize = 10;
const REQUESTS: usize = 5_000;

/// An answer of a few series, as dashboards ask for.
const CANNED: &str = r#"{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"up","instance":"a:1","job":"a"},"value":[1700000000,"1"]},{"metric":{"__name__":"up","instance":"b:1","job":"b"},"value":[1700000000,"1"]}]}}"#;

fn journeys() -> Vec<Journey> {
    (0..JOURNEYS)
        .flat_map(|journey| {
            let names: Vec<String> = (0..COMPONENTS).map(|component| format!("c{component}")).collect();
            let mut text = format!(
                "apiVersion: emac.dev/v1alpha1\nkind: JourneyIntent\nmetadata: {{name: j{journey}}}\nspec:\n  \
                 objectives: {{availability: {{target: 0.99, window: 30d}}}}\n  windows: [5m, 30m, 1h]\n  \
                 expression: Series({})\n  components:\n",
                names.join(", ")
            );
            for name in names {
                text.push_str(&format!(
                    "    {name}: {{telemetry: {{histogram: latency_seconds, matchers: {{service: {name}}}}}}}\n"
                ));
            }
            let loaded = spec::load(&[SourceFile { path: format!("j{journey}.yaml"), text }]);
            assert!(!loaded.journeys.is_empty(), "{:?}", loaded.diagnostics);
            loaded.journeys
        })
        .collect()
}

/// Asks `REQUESTS` times on one connection.
fn ask(address: &str, target: &str) -> Vec<Duration> {
    loopback::ask(address, target, REQUESTS)
}

fn report(what: &str, address: &str, target: &str) {
    ask(address, target);
    for connections in [1, 8] {
        let mut taken: Vec<Duration> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..connections).map(|_| scope.spawn(|| ask(address, target))).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        taken.sort_unstable();
        let at = |share: usize| taken[taken.len() * share / 1_000 - 1];
        println!(
            "{what:44} {connections} connections: p50 {:>9.1?}  p99 {:>9.1?}  p99.9 {:>9.1?}",
            at(500),
            at(990),
            at(999)
        );
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let Servers { upstream, proxy } = runtime.block_on(start(CANNED, journeys()));
    println!("journeys of {COMPONENTS} components");
    report("upstream directly: up", &upstream, "/api/v1/query?query=up");
    report("passed through: up", &proxy, "/api/v1/query?query=up");
    let warm = "emac_journey_availability_pessimistic%7Bjourney%3D%22j7%22%2Cwindow%3D%225m%22%7D";
    report("one warm series", &proxy, &format!("/api/v1/query?query={warm}"));
    let all = "emac_journey_availability_pessimistic";
    report("150 warm series of 50 journeys", &proxy, &format!("/api/v1/query?query={all}"));
    report("nameless, of the upstream", &proxy, "/api/v1/query?query=%7Bjob%3D%22a%22%7D");
}
