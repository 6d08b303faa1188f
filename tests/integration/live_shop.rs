//! Two services under constant load, in real time, for servers that only know the present: an exporter whose counters
//! grow with the clock, and their past.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::emac_binary::Binary;
use crate::prometheus::Exporter;

/// What each component's series in the spec below give: 1 % of the calls of `front` fail, 0.5 % of those of `pay`.
pub(crate) const AVAILABILITY: f64 = 0.99 * 0.995;

const SPEC: &str = r#"
apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: checkout}
spec:
  objectives:
    availability: {target: 0.999, window: 30d}
    latency: {window: 30d, objective: {metric: p99, threshold: 800ms}}
  windows: [1m]
  components:
    front: {telemetry: {histogram: http_request_duration_seconds, matchers: {service: front}, success: {code: '!~"5.."'}}}
    pay: {telemetry: {histogram: http_request_duration_seconds, matchers: {service: pay}, success: {code: '!~"5.."'}}}
  expression: Series(front, pay)
"#;

/// Seconds of past that the counters have.
const PAST: i64 = 15 * 60;

pub(crate) struct LiveShop {
    exporter: Arc<Exporter>,
    began: f64,
    ended: Arc<AtomicBool>,
}

/// Seconds since the epoch.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

impl LiveShop {
    pub(crate) fn start() -> Self {
        let began = now().floor() - PAST as f64;
        let exporter = Arc::new(Exporter::start(&page(now() - began, "", "")));
        let ended = Arc::new(AtomicBool::new(false));
        let (shown, stop) = (Arc::clone(&exporter), Arc::clone(&ended));
        std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                shown.set(&page(now() - began, "", ""));
                std::thread::park_timeout(Duration::from_millis(200));
            }
        });
        Self { exporter, began, ended }
    }

    /// `host:port`, to be scraped as job `test`.
    pub(crate) fn target(&self) -> String {
        self.exporter.target()
    }

    /// What a server would hold had it scraped every two seconds from the beginning to a moment ago; OpenMetrics.
    pub(crate) fn history(&self) -> String {
        let target = format!(",job=\"test\",instance=\"{}\"", self.target());
        let end = (now() - self.began).floor() as i64 - 2;
        let mut samples: Vec<String> = Vec::new();
        // Series by series: the format takes a family's samples in any order of time, but together.
        for i in (0..=end).step_by(2) {
            let time = format!(" {}", self.began as i64 + i);
            samples.extend(page(i as f64, &target, &time).lines().skip(1).map(str::to_owned));
        }
        samples.sort_by(|a, b| a.split(' ').next().cmp(&b.split(' ').next()));
        let head = "# TYPE http_request_duration_seconds histogram\n";
        format!("{head}{}\n# EOF\n", samples.join("\n"))
    }
}

impl Drop for LiveShop {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
    }
}

/// The page after so many seconds: 100 calls a second to `front`, 200 to `pay`.
fn page(seconds: f64, labels: &str, time: &str) -> String {
    let mut text = "# TYPE http_request_duration_seconds histogram\n".to_owned();
    for (service, code, calls) in
        [("front", "200", 99.0), ("front", "500", 1.0), ("pay", "200", 199.0), ("pay", "500", 1.0)]
    {
        for (suffix, le, share) in [
            ("bucket", "le=\"0.1\",", 0.8),
            ("bucket", "le=\"0.25\",", 0.95),
            ("bucket", "le=\"0.5\",", 1.0),
            ("bucket", "le=\"+Inf\",", 1.0),
            ("count", "", 1.0),
            ("sum", "", 0.1),
        ] {
            let value = seconds * calls * share;
            text.push_str(&format!(
                "http_request_duration_seconds_{suffix}{{{le}service=\"{service}\",code=\"{code}\"{labels}}} {value}{time}\n"
            ));
        }
    }
    text
}

/// `emac serve` before the shop's Prometheus, evaluating every two seconds.
pub(crate) struct LiveProxy {
    pub(crate) binary: Binary,
    _folder: tempfile::TempDir,
}

impl LiveProxy {
    pub(crate) fn start(upstream: &str) -> Self {
        Self::start_at("127.0.0.1:0", upstream, "")
    }

    /// `config` is further YAML.
    pub(crate) fn start_at(address: &str, upstream: &str, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (spec, file) = (folder.path().join("checkout.yaml"), folder.path().join("emac.config"));
        std::fs::write(&spec, SPEC).unwrap();
        let evaluation = "evaluation: {interval: 2s, delay: 1s, retention: 10m}\n";
        std::fs::write(&file, format!("upstream: {{timeout: 10s}}\n{evaluation}{config}")).unwrap();
        let paths = [file.to_str().unwrap(), spec.to_str().unwrap()];
        let arguments = ["--config", paths[0], "--spec", paths[1], "--upstream.url", upstream];
        Self { binary: Binary::start_at(address, &arguments), _folder: folder }
    }

    pub(crate) fn url(&self) -> &str {
        &self.binary.url
    }
}
