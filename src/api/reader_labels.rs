//! The labels that remote readers add to every selector: their own external ones.
//!
//! A Prometheus asks with its `external_labels` as equality matchers, to find its own series. Synthetic series have
//! none of them, and one such condition would empty every answer without a word. So a label that is known to be a
//! reader's, and that synthetic series lack, is satisfied by any value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::Deserialize;

use super::body;
use crate::upstream::{MemoryBudget, Upstream, whole_body};

/// Labels with which the members of a highly available pair commonly tell themselves apart.
const COMMON: [&str; 3] = ["prometheus", "prometheus_replica", "replica"];

/// The wait after the upstream's configuration could not be read.
const RETRY: Duration = Duration::from_secs(15);

/// How often it is read again: a reload of the upstream may have changed it.
const REFRESH: Duration = Duration::from_secs(300);

/// How long reading it may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest configuration that is read, in bytes.
const MAX_CONFIG_BYTES: usize = 16 << 20;

/// The most names of labels that are remembered as said.
const MAX_SAID: usize = 1_000;

/// See the module.
pub(crate) struct ReaderLabels {
    names: ArcSwap<BTreeSet<String>>,
    follow: bool,
    said: Mutex<BTreeSet<String>>,
}

impl ReaderLabels {
    /// Those of the configuration; `None`: the common ones and the upstream's own, once they are read.
    pub(crate) fn new(configured: Option<BTreeSet<String>>) -> Self {
        let follow = configured.is_none();
        let names = configured.unwrap_or_else(common);
        Self { names: ArcSwap::from_pointee(names), follow, said: Mutex::default() }
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.names.load().contains(name)
    }

    /// Whether `name` is asked about for the first time.
    pub(crate) fn is_first(&self, name: &str) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.len() < MAX_SAID && said.insert(name.to_owned())
    }

    /// Reads the upstream's external labels again and again. Ends at once where they are configured.
    pub(crate) async fn follow(&self, upstream: Arc<dyn Upstream>) {
        if !self.follow {
            return;
        }
        loop {
            let wait = match tokio::time::timeout(TIMEOUT, external_labels(&*upstream)).await {
                Ok(Some(labels)) => {
                    self.names.store(Arc::new(common().into_iter().chain(labels).collect()));
                    REFRESH
                }
                Ok(None) | Err(_) => RETRY,
            };
            tokio::time::sleep(wait).await;
        }
    }
}

fn common() -> BTreeSet<String> {
    COMMON.map(str::to_owned).into()
}

/// The part of the answer, and of the YAML in it, that matters here.
#[derive(Deserialize)]
struct Answer {
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    yaml: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Config {
    global: Global,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Global {
    external_labels: BTreeMap<String, String>,
}

/// The names of the upstream's external labels; `None` where it does not say them.
async fn external_labels(upstream: &dyn Upstream) -> Option<Vec<String>> {
    let request = http::Request::get("/api/v1/status/config").body(whole_body(Bytes::new())).ok()?;
    let answer = upstream.forward(request).await.ok()?;
    if !answer.status().is_success() {
        return None;
    }
    let text =
        body::read(answer.into_body(), MAX_CONFIG_BYTES, &mut MemoryBudget::new(MAX_CONFIG_BYTES).open())
            .await
            .ok()?;
    let answer: Answer = serde_json::from_slice(&text).ok()?;
    names(&answer.data.yaml)
}

fn names(yaml: &str) -> Option<Vec<String>> {
    let config: Config = serde_saphyr::from_str(yaml).ok()?;
    Some(config.global.external_labels.into_keys().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_those_of_the_global_section() {
        let yaml = "global:\n  scrape_interval: 15s\n  external_labels:\n    cluster: eu\n    \"n\": \"1\"\nscrape_configs:\n- job_name: x\n  static_configs: [{targets: [a], labels: {y: z}}]\n";
        assert_eq!(names(yaml).unwrap(), ["cluster", "n"]);
        assert_eq!(names("global:\n  scrape_interval: 15s\n").unwrap(), [""; 0]);
        assert_eq!(names("- a"), None);
    }

    #[test]
    fn configured_labels_replace_the_common_ones_and_each_unknown_one_is_said_once() {
        let configured = ReaderLabels::new(Some(["az".to_owned()].into()));
        assert!(configured.contains("az") && !configured.contains("replica"));
        let common = ReaderLabels::new(None);
        assert!(common.contains("replica") && !common.contains("az"));
        assert!(common.is_first("x") && !common.is_first("x") && common.is_first("y"));
    }
}
