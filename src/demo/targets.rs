//! The shop's metrics for a real Prometheus to scrape.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse as _;
use axum::routing::get;

use super::shop::{Shop, ShopError};
use crate::unit::Timestamp;

/// The content type of the text exposition format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A shop whose counters can be read while it runs.
#[derive(Debug, Clone)]
pub struct Targets {
    shop: Arc<Mutex<Shop>>,
}

impl Targets {
    /// Shares `shop`.
    #[must_use]
    pub fn new(shop: Shop) -> Self {
        Self { shop: Arc::new(Mutex::new(shop)) }
    }

    /// Lets the shop run; blocks as long as that takes.
    ///
    /// # Errors
    /// [`ShopError`].
    pub fn advance(&self, until: Timestamp) -> Result<(), ShopError> {
        self.shop.lock().unwrap_or_else(PoisonError::into_inner).advance(until)
    }

    /// The text exposition of everything counted so far.
    #[must_use]
    pub fn exposition(&self) -> String {
        self.shop.lock().unwrap_or_else(PoisonError::into_inner).counters().exposition()
    }

    /// `/metrics`: one page for all pods, told apart by the labels `service` and `pod`.
    pub fn router(&self) -> Router {
        let targets = self.clone();
        let metrics =
            async move || ([(header::CONTENT_TYPE, EXPOSITION)], targets.exposition()).into_response();
        Router::new().route("/metrics", get(metrics))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::demo::journeys;
    use crate::unit::Window;

    async fn scrape(targets: &Targets) -> String {
        let request = Request::get("/metrics").body(Body::empty()).unwrap();
        let answer = targets.router().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()[header::CONTENT_TYPE], EXPOSITION);
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    fn values(page: &str) -> BTreeMap<&str, f64> {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples.map(|line| line.rsplit_once(' ').unwrap()).map(|(k, v)| (k, v.parse().unwrap())).collect()
    }

    #[tokio::test]
    async fn counters_only_grow_and_every_series_exists_from_the_start() {
        let slot = Window::from_millis(15_000).unwrap();
        let start = Timestamp::from_millis(0);
        let shop = Shop::new(journeys::load().unwrap(), None, 1, start, slot, slot).unwrap();
        let targets = Targets::new(shop);
        let before = scrape(&targets).await;
        targets.advance(Timestamp::from_millis(2_000)).unwrap();
        let after = scrape(&targets).await;
        let (before, after) = (values(&before), values(&after));
        assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
        assert!(before.values().all(|value| *value == 0.0));
        let sum = |page: &BTreeMap<&str, f64>, name: &str| -> f64 {
            page.iter().filter(|(series, _)| series.starts_with(name)).map(|(_, value)| value).sum()
        };
        let calls = sum(&after, "shop_request_duration_seconds_count");
        assert!((9_000.0..11_000.0).contains(&calls), "{calls} calls in two seconds");
        for (series, value) in &after {
            if let Some((base, _)) = series.split_once("_count{") {
                let bucket = series.replace("_count{", "_bucket{").replace('}', ",le=\"+Inf\"}");
                assert_eq!(after[bucket.as_str()], *value, "{base}");
            }
        }
    }

    #[tokio::test]
    async fn every_family_is_described_once() {
        let slot = Window::from_millis(15_000).unwrap();
        let shop = Shop::new(journeys::load().unwrap(), None, 1, Timestamp::default(), slot, slot).unwrap();
        let page = scrape(&Targets::new(shop)).await;
        let types: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        assert_eq!(
            types,
            [
                "shop_request_duration_seconds histogram",
                "shop_journey_duration_seconds histogram",
                "shop_cache_requests_total counter"
            ]
        );
    }
}
