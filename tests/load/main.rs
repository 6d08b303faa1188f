//! The proxy under load, as its users run it: each study starts the binary in front of an upstream of its own, measures,
//! and says what it found; the control arm has the guard switched off.
//!
//! `cargo test --release --test load -- --ignored --nocapture --test-threads 1`; the figures are in ARCHITECTURE.md.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a study fails by panicking and reports by printing"
)]

mod amplification;
mod client;
#[path = "../support/closed_connection.rs"]
mod closed_connection;
mod evidence;
mod forwarder;
mod memory_attacks;
mod overload;
mod pass_through;
#[path = "../integration/prometheus.rs"]
#[expect(dead_code, reason = "shared with the integration tests, which need more of it")]
mod prometheus;
mod slow_clients;
mod soak;
mod upstream;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// `emac serve`, ended with its value.
pub(crate) struct Emac {
    child: Child,
    pub(crate) address: String,
    /// What it reads at each reload.
    pub(crate) spec: std::path::PathBuf,
    _folder: tempfile::TempDir,
}

pub(crate) const SPEC: &str = include_str!("../testdata/front_and_pay.yaml");

impl Emac {
    pub(crate) fn start(upstream: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let spec = folder.path().join("checkout.yaml");
        std::fs::write(&spec, SPEC).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_emac"))
            .args(["serve", "--listen", "127.0.0.1:0", "--upstream.url", upstream, "--spec"])
            .arg(&spec)
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended");
            if let Some(address) = line.split("address=").nth(1) {
                break address.split_whitespace().next().unwrap().to_owned();
            }
        };
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, address, spec, _folder: folder }
    }

    /// A figure of `/proc/…/status` in MiB, such as `VmRSS` or `VmHWM`.
    pub(crate) fn memory(&self, what: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
    }

    /// Whether it still runs.
    pub(crate) fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Emac {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One study after the other, also where the test runner has threads: they would measure one another.
pub(crate) fn alone() -> std::sync::MutexGuard<'static, ()> {
    static STUDY: std::sync::Mutex<()> = std::sync::Mutex::new(());
    STUDY.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The quantile of durations, in milliseconds.
pub(crate) fn quantile(durations: &mut [Duration], quantile: f64) -> f64 {
    if durations.is_empty() {
        return f64::NAN;
    }
    durations.sort_unstable();
    let at = ((durations.len() - 1) as f64 * quantile).round() as usize;
    durations[at].as_secs_f64() * 1_000.0
}
