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
