//! Who may read synthetic samples: a request that names another tenant gets none, on any way in.

use std::sync::Arc;

use emac::unit::Timestamp;
use emac::upstream::Upstream;
use emac::upstream::http::{HttpSettings, HttpUpstream};

use crate::faulty_upstream::{FaultyUpstream, SPEC, STEP};
use crate::http_client::{RawReply, send};
use crate::prometheus::escape;
use crate::remote_read_client;
use crate::served::{Options, Served, journeys};

const POINT: i64 = 100;

/// A proxy as `tenant` in front of a shop that it has evaluated.
fn serve(shop: &FaultyUpstream, tenant: Option<&'static str>) -> Served {
    let url = shop.url.clone();
    let upstream = move || -> Arc<dyn Upstream> {
        let settings = HttpSettings { tenant: tenant.map(str::to_owned), ..HttpSettings::new(url) };
        Arc::new(HttpUpstream::new(settings).unwrap())
    };
    let now = Timestamp::from_millis(POINT * STEP + 5_000);
    shop.scrape_until(POINT, 1.0);
    let served = Served::start(upstream, journeys(SPEC), now, Options::default());
    served.evaluate();
    served
}

fn get_as(served: &Served, tenants: &[&str], target: &str) -> RawReply {
    let headers: Vec<(&str, &str)> = tenants.iter().map(|tenant| ("X-Scope-OrgID", *tenant)).collect();
    send(&served.url, "GET", target, &headers, b"")
}

fn query(text: &str) -> String {
    format!("/api/v1/query?query={}&time={}", escape(text), POINT * STEP / 1000 + 5)
}

/// Every way to synthetic samples, and what proves that they came.
fn ways() -> Vec<(String, &'static str)> {
    let time = POINT * STEP / 1000 + 5;
    let range = format!("&start={}&end={time}&step=15", time - 60);
    let ours = "emac_journey_availability_pessimistic";
    vec![
        (query(ours), "\"journey\":\"checkout\""),
        (query(&format!("{ours} and on() vector(1)")), "\"journey\":\"checkout\""),
        (query(&format!("{ours} * on() group_left() count(m_bucket)")), "\"journey\":\"checkout\""),
        (query("{journey=\"checkout\"}"), "\"journey\":\"checkout\""),
        (query("sum by (journey) ({journey=~\"check.*\"})"), "\"journey\":\"checkout\""),
        (query("{__name__=~\"emac_.*\",journey!=\"\"}"), "\"journey\":\"checkout\""),
        (query("{__name__=\"emac_journey_gate\"}"), "\"journey\":\"checkout\""),
        (format!("/api/v1/query_range?query={}{range}", escape(ours)), "\"journey\":\"checkout\""),
        (format!("/api/v1/explain_query?query={}", escape(ours)), "emac_journey"),
        (format!("/api/v1/series?match[]={}", escape("{journey=\"checkout\"}")), "emac_journey_gate"),
        ("/api/v1/labels".to_owned(), "journey"),
        ("/api/v1/label/__name__/values".to_owned(), "emac_journey_gate"),
        ("/api/v1/label/journey/values".to_owned(), "checkout"),
        ("/api/v1/metadata".to_owned(), "emac_journey_gate"),
        (format!("/federate?match[]={}", escape(ours)), "journey=\"checkout\""),
        (format!("/federate?match[]={}", escape("{__name__=~\"emac.*\"}")), "journey=\"checkout\""),
        ("/journeys/metrics".to_owned(), "journey=\"checkout\""),
        ("/api/v1/journeys".to_owned(), "checkout"),
        ("/api/v1/journeys/checkout/explain".to_owned(), "checkout"),
        ("/api/v1/journeys/checkout/evidence".to_owned(), "front"),
        ("/".to_owned(), "checkout"),
        ("/journeys/checkout".to_owned(), "checkout"),
    ]
}

/// The union of an `emac.*` federation needs the upstream, and the shop knows no `/federate`.
fn needs_more_than_the_shop(target: &str) -> bool {
    target.starts_with("/federate") && target.contains("emac%2E")
}

#[test]
fn a_request_that_names_another_tenant_gets_no_synthetic_sample_on_any_way() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, Some("team-a"));
    for (target, proof) in ways() {
        for own in [&[][..], &["team-a"]] {
            let reply = get_as(&served, own, &target);
            if !needs_more_than_the_shop(&target) {
                assert_eq!(reply.status, 200, "{target} as {own:?}: {}", reply.text());
                assert!(reply.text().contains(proof), "{target} as {own:?}: {}", reply.text());
            }
        }
        for other in [&["team-b"][..], &["team-a", "team-b"], &["team-a|team-b"], &["Team-A"], &[""]] {
            let reply = get_as(&served, other, &target);
            assert!(!reply.text().contains(proof), "{target} as {other:?}: {}", reply.text());
            // What asks for nothing but synthetic series is told why, and is not left with an empty answer.
            if target.contains("emac_journey") {
                assert_eq!(reply.status, 422, "{target} as {other:?}: {}", reply.text());
                let said = reply.text();
                assert!(said.contains("X-Scope-OrgID") && !said.contains("team-a"), "{said}");
            }
        }
    }
    let metrics = get_as(&served, &[], "/metrics");
    assert!(!metrics.text().contains("emac_foreign_tenant_refusals_total 0"));
    assert!(metrics.text().contains("emac_foreign_tenant_refusals_total"));
}

#[test]
fn remote_read_as_another_tenant_is_refused() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, Some("team-a"));
    let query = remote_read_client::query("emac_journey_gate", &[], 0, POINT * STEP + 5_000);
    let body = remote_read_client::body(vec![query], &[]);
    let read = |tenant: &str| send(&served.url, "POST", "/api/v1/read", &[("X-Scope-OrgID", tenant)], &body);
    let own = read("team-a");
    assert_eq!(own.status, 200);
    assert!(!own.body.is_empty());
    let other = read("team-b");
    assert_eq!((other.status, other.json()["errorType"].as_str()), (422, Some("execution")));
}

#[test]
fn where_no_tenant_is_configured_naming_one_is_naming_another() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, None);
    let target = query("emac_journey_gate");
    assert_eq!(get_as(&served, &[], &target).status, 200);
    assert_eq!(get_as(&served, &["anyone"], &target).status, 422);
}

#[test]
fn what_concerns_the_upstream_alone_goes_there_as_the_tenant_that_asks() {
    let shop = FaultyUpstream::start();
    let served = serve(&shop, Some("team-a"));
    shop.heads();
    for (tenants, seen) in [(&[][..], "team-a"), (&["team-b"], "team-b")] {
        // Also selectors without a name: for another tenant they are about the upstream's series alone.
        for text in ["m_bucket", "{journey=\"checkout\"}"] {
            assert_eq!(get_as(&served, tenants, &query(text)).status, 200, "{text}");
        }
        let heads = shop.heads();
        let of_queries = heads.iter().filter(|head| head.contains("/api/v1/query"));
        let tenants: Vec<String> = of_queries
            .flat_map(|head| head.lines())
            .filter_map(|line| line.to_ascii_lowercase().strip_prefix("x-scope-orgid: ").map(str::to_owned))
            .collect();
        assert!(!tenants.is_empty() && tenants.iter().all(|tenant| tenant == seen), "{heads:?}");
    }
}
