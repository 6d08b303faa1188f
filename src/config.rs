//! Configuration: one checked value, from a YAML file and flags.
//!
//! The file is read into a private shadow that refuses unknown keys ([`file`]); [`Config::from_yaml`] then checks all
//! values and reports every fault at once, so that an operator does not mend them one by one. Only what something
//! reads is accepted: a key that is ignored is a promise that is broken in silence.

mod file;
mod size;
mod web;

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use regex::Regex;

use crate::series::Labels;
use crate::unit::Window;

pub use size::{Bytes, parse_bytes};
pub use web::{ClientCertificates, WebFile, WebTls};

/// Everything that a server is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Prometheus behind.
    pub upstream: Upstream,
    /// When and how journeys are evaluated.
    pub evaluation: Evaluation,
    /// Attached to every synthetic series.
    pub external_labels: Labels,
    /// How far evidence may be looked for.
    pub evidence: Evidence,
    /// What remote readers are like.
    pub remote_read: RemoteRead,
    /// Bounds of one query.
    pub limits: Limits,
    /// How clients reach this server.
    pub web: Web,
    /// The server's own log.
    pub log: Log,
}

/// The Prometheus behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// `http://host:port/prefix`, replicas in order of preference; empty where neither file nor flag says it.
    pub urls: Vec<String>,
    /// How long one round of evidence, or one query of synthetic series, may take.
    pub timeout: Duration,
    /// The value of `X-Scope-OrgID`.
    pub tenant: Option<String>,
    /// Who we are.
    pub credentials: Option<Credentials>,
    /// For `https`.
    pub tls: Tls,
    /// Whether a client's own `Authorization` goes on instead of ours, where it asks for what is the upstream's.
    pub forward_authorization: bool,
    /// Sent with every request; values are taken for secrets.
    pub headers: Vec<(String, String)>,
}

/// Who we are to the upstream. Secrets are in files, so that no configuration holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// HTTP basic authentication.
    Basic {
        /// The user.
        username: String,
        /// The file that holds the password.
        password_file: String,
    },
    /// A bearer token.
    BearerFile(String),
}

/// TLS towards the upstream; all are paths of PEM files but the last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// The authorities that are trusted.
    pub ca_file: Option<String>,
    /// Our certificate and its key.
    pub identity: Option<(String, String)>,
    /// The name that the upstream's certificate must carry.
    pub server_name: Option<String>,
}

/// When and how journeys are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluation {
    /// The distance of two samples.
    pub interval: Window,
    /// How old a grid point must be to be offered; at most one interval.
    pub delay: Duration,
    /// How long computed samples are kept.
    pub retention: Window,
}

/// How far evidence may be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// The longest window that may stand in for one without traffic.
    pub max_lookback: Window,
}

/// What remote readers are like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemoteRead {
    /// The labels that readers add to their selectors and that synthetic series lack; `None`: the upstream's own
    /// external labels, `replica`, `prometheus` and `prometheus_replica`.
    pub reader_labels: Option<BTreeSet<String>>,
}

/// Bounds of one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest text that is parsed.
    pub query_bytes: Bytes,
    /// The most points of a series.
    pub points: usize,
    /// The most samples that one query may read.
    pub samples: usize,
    /// The most series of an answer.
    pub series: usize,
    /// The greatest body of the upstream that is read.
    pub body: Bytes,
    /// What all such bodies, and answers on their way to clients, may take at a time.
    pub in_flight: Bytes,
}

/// How clients reach this server.
#[derive(Debug, Clone)]
pub struct Web {
    /// The file that protects the way in; see [`WebFile`].
    pub config_file: Option<String>,
    /// Which origins may read answers; anchored.
    pub cors_origin: Regex,
}

/// The server's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How lines are written.
    pub format: LogFormat,
    /// The least severity that is written.
    pub level: LogLevel,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Severities of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Only what needs a person.
    Error,
    /// What may soon.
    Warn,
    /// What happens.
    Info,
    /// Everything of use to a developer.
    Debug,
}

impl LogFormat {
    const ALL: [(&'static str, Self); 2] = [("text", Self::Text), ("json", Self::Json)];
}

impl LogLevel {
    const ALL: [(&'static str, Self); 4] =
        [("error", Self::Error), ("warn", Self::Warn), ("info", Self::Info), ("debug", Self::Debug)];

    /// Its spelling.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        spelling(&Self::ALL, self)
    }
}

fn spelling<T: PartialEq>(all: &[(&'static str, T)], wanted: T) -> &'static str {
    all.iter().find(|(_, value)| *value == wanted).map_or("", |(text, _)| text)
}

/// Everything that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// One sentence for each fault, with the key that it concerns.
    pub faults: Vec<String>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if at > 0 { "\n" } else { "" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads a file; an empty one gives the defaults.
    ///
    /// # Errors
    /// Every fault at once; an unknown key or a value of the wrong type ends the reading at the first.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        file::parse(text)
    }

    /// The configuration as a file that means the same, with the values of headers redacted.
    ///
    /// # Errors
    /// Where it cannot be written as YAML.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        file::print(self)
    }
}
