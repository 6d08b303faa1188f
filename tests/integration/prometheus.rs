//! A real Prometheus for tests: on loopback, a free port and a temporary folder, ended by its process id.
//!
//! Tests that use it say
//! `#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a test waits for a condition before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A port of loopback that was free a moment ago.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Calls `probe` until it gives a value; panics with `what` after [`PATIENCE`].
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// What a server answered.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into()
}

fn reply(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Reply> {
    let mut answer = answer.ok()?;
    let body = answer.body_mut().with_config().limit(256 << 20).read_to_vec().ok()?;
    Some(Reply { status: answer.status().as_u16(), headers: answer.headers().clone(), body })
}

/// `GET url`; `None` where nobody answers. Query values must be escaped already (see [`escape`]).
pub(crate) fn try_get(url: &str) -> Option<Reply> {
    reply(agent().get(url).call())
}

/// `GET url`; panics where nobody answers.
pub(crate) fn get(url: &str) -> Reply {
    try_get(url).unwrap_or_else(|| panic!("no answer from {url}"))
}

/// `POST url` with a form.
pub(crate) fn post_form(url: &str, form: &[(&str, &str)]) -> Reply {
    reply(agent().post(url).send_form(form.iter().copied())).unwrap_or_else(|| panic!("no answer from {url}"))
}

/// An hour of the histogram `m`, in OpenMetrics: for each of these label sets so many calls every 15 s, all of them within
/// 0.1 s; the last sample is at `end`.
pub(crate) fn hour_of_calls(end: i64, all: &[(&str, f64)]) -> String {
    let each: Vec<_> = all.iter().map(|&(labels, calls)| (labels, move |i| calls * f64::from(i))).collect();
    let each: Vec<_> = each.iter().map(|(labels, until)| (*labels, until as &dyn Fn(u8) -> f64)).collect();
    hour_of_counts(end, &each)
}

/// The same with the calls until each of the 240 samples.
pub(crate) fn hour_of_counts(end: i64, all: &[(&str, &dyn Fn(u8) -> f64)]) -> String {
    let mut text = "# TYPE m histogram\n".to_owned();
    for (labels, until) in all {
        for (suffix, le) in
            [("bucket", "le=\"0.1\","), ("bucket", "le=\"+Inf\","), ("count", ""), ("sum", "")]
        {
            for i in 0..240 {
                let value = until(i);
                let time = end - 15 * i64::from(239 - i);
                text.push_str(&format!("m_{suffix}{{{le}{labels}}} {value} {time}\n"));
            }
        }
    }
    text + "# EOF\n"
}

/// Percent-encodes a query value.
pub(crate) fn escape(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

/// A page that a Prometheus scrapes; the test sets its content.
pub(crate) struct Exporter {
    port: u16,
    page: Arc<Mutex<Vec<u8>>>,
    closed: Arc<AtomicBool>,
}

impl Exporter {
    pub(crate) fn start(page: &str) -> Self {
        Self::start_with("text/plain; version=0.0.4", page.as_bytes())
    }

    pub(crate) fn start_with(content_type: &'static str, page: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let page = Arc::new(Mutex::new(page.to_vec()));
        let closed = Arc::new(AtomicBool::new(false));
        let (served, ended) = (Arc::clone(&page), Arc::clone(&closed));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(mut stream) = stream else { return };
                let mut request = BufReader::new(stream.try_clone().unwrap());
                let mut line = String::new();
                while request.read_line(&mut line).is_ok_and(|n| n > 2) {
                    line.clear();
                }
                let body = served.lock().unwrap().clone();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nConnection: close");
                let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&body);
            }
        });
        Self { port, page, closed }
    }

    /// `127.0.0.1:port`, as a scrape target.
    pub(crate) fn target(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Replaces the page.
    pub(crate) fn set(&self, page: &str) {
        self.set_bytes(page.as_bytes());
    }

    pub(crate) fn set_bytes(&self, page: &[u8]) {
        *self.page.lock().unwrap() = page.to_vec();
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the accept loop
    }
}

/// How a test's Prometheus is set up.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// `host:port` of each scrape target; scraped every second.
    pub(crate) targets: &'a [String],
    /// Further scrape jobs, in YAML's flow style, each with a comma before it.
    pub(crate) jobs: &'a str,
    /// Further top-level YAML (`rule_files`, `remote_read`, …).
    pub(crate) config: &'a str,
    /// External labels, as `a: b, c: d`.
    pub(crate) external_labels: &'a str,
    /// Past samples in OpenMetrics text (with timestamps in seconds and a final `# EOF`).
    pub(crate) history: Option<&'a str>,
    /// Further flags.
    pub(crate) flags: &'a [&'a str],
}

/// A running Prometheus.
pub(crate) struct Prometheus {
    child: Child,
    arguments: Vec<String>,
    url: String,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(setup: &Setup<'_>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (data, config) = (folder.path().join("data"), folder.path().join("prometheus.yml"));
        let targets: Vec<String> = setup.targets.iter().map(|target| format!("{target:?}")).collect();
        let yaml = format!(
            "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s, external_labels: {{{}}}}}\n\
             scrape_configs: [{{job_name: test, static_configs: [{{targets: [{}]}}]}}{}]\n{}\n",
            setup.external_labels,
            targets.join(", "),
            setup.jobs,
            setup.config
        );
        std::fs::write(&config, yaml).unwrap();
        if let Some(history) = setup.history {
            let text = folder.path().join("history.om");
            std::fs::write(&text, history).unwrap();
            let output = Command::new("promtool")
                .args(["tsdb", "create-blocks-from", "openmetrics", "-q"])
                .args([&text, &data])
                .output()
                .unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        // Another process may take the port between our look and its start: try again with another one.
        for _ in 0..5 {
            let port = free_port();
            let mut arguments = vec![
                format!("--config.file={}", config.display()),
                format!("--storage.tsdb.path={}", data.display()),
                format!("--web.listen-address=127.0.0.1:{port}"),
                "--storage.tsdb.retention.time=100y".to_owned(),
                "--log.level=warn".to_owned(),
            ];
            arguments.extend(setup.flags.iter().map(|&flag| flag.to_owned()));
            let url = format!("http://127.0.0.1:{port}");
            let mut child = spawn(&arguments);
            if is_up(&mut child, &url) {
                return Self { child, arguments, url, folder };
            }
            let mut said = String::new();
            child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            assert!(said.contains("address already in use"), "Prometheus ended at once: {said}");
        }
        panic!("no free port for Prometheus");
    }

    /// Its base URL, without a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Its folder, removed at the end.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The result of an instant query now, as Prometheus' `data.result`.
    pub(crate) fn query(&self, expression: &str) -> serde_json::Value {
        get(&format!("{}/api/v1/query?query={}", self.url, escape(expression))).json()["data"]["result"]
            .clone()
    }

    /// Waits until an instant query gives at least one series.
    pub(crate) fn wait_for_series(&self, expression: &str) {
        wait_for(expression, || (!self.query(expression).as_array()?.is_empty()).then_some(()));
    }

    /// Starts it again after [`Self::kill`], with all that it stored.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.arguments);
        assert!(is_up(&mut self.child, &self.url), "Prometheus ended at once");
    }

    /// Kills it at once and waits for its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program that is not ready yet.
fn spawn(arguments: &[String]) -> Child {
    Command::new("prometheus").args(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until it is ready, or has ended.
fn is_up(child: &mut Child, url: &str) -> bool {
    wait_for("Prometheus to be ready", || {
        if child.try_wait().unwrap().is_some() {
            return Some(false);
        }
        try_get(&format!("{url}/-/ready")).filter(|reply| reply.status == 200).map(|_| true)
    })
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.kill();
    }
}

#[test]
#[cfg_attr(not(has_prometheus), ignore = "needs prometheus and promtool: tests/run installs them")]
fn the_harness_gives_a_prometheus_that_scrapes_and_remembers() {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let history = format!("# TYPE past counter\npast_total 7 {}\n# EOF\n", now - 3 * 3600);
    let exporter = Exporter::start("# TYPE present gauge\npresent 1\n");
    let setup = Setup { targets: &[exporter.target()], history: Some(&history), ..Setup::default() };
    let mut prometheus = Prometheus::start(&setup);
    assert!(prometheus.folder().exists());
    prometheus.wait_for_series("present == 1");
    exporter.set("# TYPE present gauge\npresent 2\n");
    prometheus.wait_for_series("present == 2");
    assert_eq!(prometheus.query("last_over_time(past_total[4h])")[0]["value"][1], "7");
    let reply = post_form(&format!("{}/api/v1/query", prometheus.url()), &[("query", "1+")]);
    assert_eq!((reply.status, reply.headers["content-type"].to_str().unwrap()), (400, "application/json"));
    assert!(reply.text().contains("bad_data"));
    prometheus.kill();
    assert!(try_get(prometheus.url()).is_none());
}
