//! The file: its shape, the checks, and printing it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};

use super::size::{Bytes, parse_bytes};
use super::{
    Config, ConfigError, Credentials, Evaluation, Evidence, Limits, Log, LogFormat, LogLevel, RemoteRead,
    Tls, Upstream, Web, spelling,
};
use crate::series::Labels;
use crate::synthetic::catalog::LABELS;
use crate::unit::{Seconds, Window};

/// What stands for a secret where a configuration is shown.
const REDACTED: &str = "<secret>";

/// The longest interval of evaluation: beyond it, the usual lookback of five minutes would leave gaps.
const MAX_INTERVAL_MILLIS: u64 = 300_000;

/// The most samples that are kept of one series.
const MAX_RETAINED_POINTS: u64 = 100_000;

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    upstream: UpstreamFile,
    evaluation: EvaluationFile,
    external_labels: BTreeMap<String, String>,
    evidence: EvidenceFile,
    #[serde(skip_serializing_if = "RemoteReadFile::is_default")]
    remote_read: RemoteReadFile,
    limits: LimitsFile,
    web: WebSection,
    log: LogFile,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct UpstreamFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<Urls>,
    timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    basic_auth: Option<BasicAuthFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bearer_token_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tls: Option<TlsFile>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    forward_authorization: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    headers: BTreeMap<String, String>,
}

/// One, or replicas in order of preference.
#[derive(Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Several(Vec<String>),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct BasicAuthFile {
    username: String,
    password_file: String,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct TlsFile {
    #[serde(skip_serializing_if = "Option::is_none")]
    ca_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cert_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_name: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct EvaluationFile {
    interval: Option<String>,
    delay: Option<String>,
    retention: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct EvidenceFile {
    max_lookback: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct RemoteReadFile {
    reader_labels: Option<BTreeSet<String>>,
}

impl RemoteReadFile {
    const fn is_default(&self) -> bool {
        self.reader_labels.is_none()
    }
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsFile {
    query_bytes: Option<String>,
    points: Option<usize>,
    samples: Option<usize>,
    series: Option<usize>,
    body: Option<String>,
    in_flight: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct WebSection {
    #[serde(skip_serializing_if = "Option::is_none")]
    config_file: Option<String>,
    cors_origin: Option<String>,
}

#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct LogFile {
    format: Option<String>,
    level: Option<String>,
}

/// Collects faults; each check yields a legal value, so that the checks after it go on.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn check<T>(
        &mut self,
        key: &str,
        text: &str,
        allowed: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let value = read(text);
        if value.is_none() {
            self.0.push(format!("{key}: `{text}` is not allowed; allowed: {allowed}"));
        }
        value
    }

    fn duration(&mut self, key: &str, text: Option<&str>, default: &str) -> Duration {
        let read = |text: &str| {
            let seconds = text.parse::<Seconds>().ok().filter(|seconds| seconds.get() <= 1e9)?;
            Some(Duration::from_secs_f64(seconds.get()))
        };
        self.check(key, text.unwrap_or(default), "a time with a unit, such as 10s or 500ms", read)
            .unwrap_or_default()
    }

    fn window(&mut self, key: &str, text: Option<&str>, default: &str) -> Option<Window> {
        let read = |text: &str| text.parse::<Window>().ok();
        self.check(key, text.unwrap_or(default), "a Prometheus duration, such as 15s or 1h", read)
    }

    fn bytes(&mut self, key: &str, text: Option<&str>, default: &str) -> Bytes {
        self.check(key, text.unwrap_or(default), "a size with a unit, such as 8KiB or 64MiB", parse_bytes)
            .unwrap_or(Bytes(1))
    }

    fn count(&mut self, key: &str, value: Option<usize>, default: usize, most: usize) -> usize {
        let value = value.unwrap_or(default);
        if !(1..=most).contains(&value) {
            self.0.push(format!("{key}: {value} is not allowed; allowed: 1 to {most}"));
        }
        value
    }

    fn one_of<T: Copy>(&mut self, key: &str, text: Option<&str>, all: &[(&'static str, T)], default: T) -> T {
        let Some(text) = text else { return default };
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let read = |text: &str| all.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        self.check(key, text, &names.join(", "), read).unwrap_or(default)
    }
}

pub(super) fn parse(text: &str) -> Result<Config, ConfigError> {
    let file: File = if text.trim().is_empty() {
        File::default()
    } else {
        serde_saphyr::from_str(text).map_err(|error| ConfigError { faults: vec![error.to_string()] })?
    };
    let mut faults = Faults::default();
    let config = checked(file, &mut faults);
    match config {
        Some(config) if faults.0.is_empty() => Ok(config),
        _ => Err(ConfigError { faults: faults.0 }),
    }
}

/// `None` only with a fault.
fn checked(file: File, faults: &mut Faults) -> Option<Config> {
    let upstream = upstream(file.upstream, faults);
    let evaluation = evaluation(&file.evaluation, faults);
    let external_labels = external_labels(file.external_labels, faults);
    let max_lookback = faults.window("evidence.max_lookback", file.evidence.max_lookback.as_deref(), "1h");
    let limits = Limits {
        query_bytes: faults.bytes("limits.query_bytes", file.limits.query_bytes.as_deref(), "8KiB"),
        points: faults.count("limits.points", file.limits.points, 11_000, 1_000_000),
        samples: faults.count("limits.samples", file.limits.samples, 2_000_000, 1_000_000_000),
        series: faults.count("limits.series", file.limits.series, 10_000, 10_000_000),
        body: faults.bytes("limits.body", file.limits.body.as_deref(), "64MiB"),
        in_flight: faults.bytes("limits.in_flight", file.limits.in_flight.as_deref(), "256MiB"),
    };
    if limits.in_flight < limits.body {
        faults.0.push(format!(
            "limits.in_flight: {} is not allowed; allowed: from limits.body, {}, on",
            limits.in_flight, limits.body
        ));
    }
    if limits.query_bytes > Bytes(64 << 10) {
        // Depth and operators are bounded apart; a longer text only costs the parser time.
        faults
            .0
            .push(format!("limits.query_bytes: {} is not allowed; allowed: up to 64KiB", limits.query_bytes));
    }
    let anchored = |text: &str| {
        Regex::new(text).ok()?;
        Regex::new(&format!("^(?:{text})$")).ok()
    };
    let origin = file.web.cors_origin.as_deref().unwrap_or(".*");
    let cors_origin = faults.check("web.cors_origin", origin, "a regular expression", anchored);
    let log = Log {
        format: faults.one_of("log.format", file.log.format.as_deref(), &LogFormat::ALL, LogFormat::Text),
        level: faults.one_of("log.level", file.log.level.as_deref(), &LogLevel::ALL, LogLevel::Info),
    };
    Some(Config {
        upstream,
        evaluation: evaluation?,
        external_labels,
        evidence: Evidence { max_lookback: max_lookback? },
        remote_read: RemoteRead { reader_labels: file.remote_read.reader_labels },
        limits,
        web: Web { config_file: file.web.config_file, cors_origin: cors_origin? },
        log,
    })
}

fn upstream(file: UpstreamFile, faults: &mut Faults) -> Upstream {
    let timeout = faults.duration("upstream.timeout", file.timeout.as_deref(), "10s");
    if timeout < Duration::from_millis(100) || timeout > Duration::from_secs(600) {
        faults.0.push(format!("upstream.timeout: {timeout:?} is not allowed; allowed: 100ms to 10m"));
    }
    let credentials = match (file.basic_auth, file.bearer_token_file) {
        (None, None) => None,
        (Some(basic), None) => {
            Some(Credentials::Basic { username: basic.username, password_file: basic.password_file })
        }
        (None, Some(path)) => Some(Credentials::BearerFile(path)),
        (Some(_), Some(_)) => {
            let fault = "upstream: basic_auth and bearer_token_file exclude each other; keep one";
            faults.0.push(fault.to_owned());
            None
        }
    };
    let tls = file.tls.unwrap_or_default();
    let identity = match (tls.cert_file, tls.key_file) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            faults.0.push("upstream.tls: cert_file and key_file belong together; give both".to_owned());
            None
        }
    };
    Upstream {
        urls: match file.url {
            None => Vec::new(),
            Some(Urls::One(url)) => vec![url],
            Some(Urls::Several(urls)) => urls,
        },
        timeout,
        tenant: file.tenant,
        credentials,
        tls: Tls { ca_file: tls.ca_file, identity, server_name: tls.server_name },
        forward_authorization: file.forward_authorization,
        headers: file.headers.into_iter().collect(),
    }
}

fn evaluation(file: &EvaluationFile, faults: &mut Faults) -> Option<Evaluation> {
    let interval = faults.window("evaluation.interval", file.interval.as_deref(), "15s");
    let delay = faults.duration("evaluation.delay", file.delay.as_deref(), "5s");
    let retention = faults.window("evaluation.retention", file.retention.as_deref(), "1h");
    let (interval, retention) = (interval?, retention?);
    if !(1_000..=MAX_INTERVAL_MILLIS).contains(&interval.millis()) {
        faults.0.push(format!("evaluation.interval: {interval} is not allowed; allowed: 1s to 5m"));
    }
    if delay > Duration::from_millis(interval.millis()) {
        faults.0.push(format!(
            "evaluation.delay: {delay:?} is not allowed; allowed: up to the interval, {interval}"
        ));
    }
    let points = retention.millis() / interval.millis();
    if !(1..=MAX_RETAINED_POINTS).contains(&points) {
        faults.0.push(format!(
            "evaluation.retention: {retention} is not allowed; allowed: 1 to {MAX_RETAINED_POINTS} intervals"
        ));
    }
    Some(Evaluation { interval, delay, retention })
}

fn external_labels(file: BTreeMap<String, String>, faults: &mut Faults) -> Labels {
    for (name, value) in &file {
        let mut letters = name.chars();
        let legal = letters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && letters.all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !name.starts_with("__");
        if !legal {
            faults.0.push(format!(
                "external_labels: `{name}` is not allowed; allowed: letters, digits and _, not beginning with a digit or __"
            ));
        }
        // Series would bear it where ours is absent, and another meaning where it is there.
        if LABELS.contains(&name.as_str()) {
            faults.0.push(format!(
                "external_labels: `{name}` is a label of synthetic series itself; choose another name than {}",
                LABELS.join(", ")
            ));
        }
        if value.is_empty() {
            faults.0.push(format!("external_labels.{name}: the value is empty; leave the label out"));
        }
    }
    file.into_iter().collect()
}

pub(super) fn print(config: &Config) -> Result<String, ConfigError> {
    let upstream = &config.upstream;
    let text = |text: &dyn std::fmt::Display| Some(text.to_string());
    let seconds = |duration: Duration| Seconds::new(duration.as_secs_f64()).map(|s| s.to_string()).ok();
    let (basic_auth, bearer_token_file) = match &upstream.credentials {
        None => (None, None),
        Some(Credentials::Basic { username, password_file }) => {
            let (username, password_file) = (username.clone(), password_file.clone());
            (Some(BasicAuthFile { username, password_file }), None)
        }
        Some(Credentials::BearerFile(path)) => (None, Some(path.clone())),
    };
    let tls = (upstream.tls != Tls::default()).then(|| TlsFile {
        ca_file: upstream.tls.ca_file.clone(),
        cert_file: upstream.tls.identity.as_ref().map(|(certificate, _)| certificate.clone()),
        key_file: upstream.tls.identity.as_ref().map(|(_, key)| key.clone()),
        server_name: upstream.tls.server_name.clone(),
    });
    let origin = config.web.cors_origin.as_str();
    let origin = origin.strip_prefix("^(?:").and_then(|rest| rest.strip_suffix(")$")).unwrap_or(origin);
    let file = File {
        upstream: UpstreamFile {
            url: match upstream.urls.as_slice() {
                [] => None,
                [url] => Some(Urls::One(url.clone())),
                urls => Some(Urls::Several(urls.to_vec())),
            },
            timeout: seconds(upstream.timeout),
            tenant: upstream.tenant.clone(),
            basic_auth,
            bearer_token_file,
            tls,
            forward_authorization: upstream.forward_authorization,
            headers: upstream.headers.iter().map(|(name, _)| (name.clone(), REDACTED.to_owned())).collect(),
        },
        evaluation: EvaluationFile {
            interval: text(&config.evaluation.interval),
            delay: seconds(config.evaluation.delay),
            retention: text(&config.evaluation.retention),
        },
        external_labels: config
            .external_labels
            .iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        evidence: EvidenceFile { max_lookback: text(&config.evidence.max_lookback) },
        remote_read: RemoteReadFile { reader_labels: config.remote_read.reader_labels.clone() },
        limits: LimitsFile {
            query_bytes: text(&config.limits.query_bytes),
            points: Some(config.limits.points),
            samples: Some(config.limits.samples),
            series: Some(config.limits.series),
            body: text(&config.limits.body),
            in_flight: text(&config.limits.in_flight),
        },
        web: WebSection { config_file: config.web.config_file.clone(), cors_origin: text(&origin) },
        log: LogFile {
            format: text(&spelling(&LogFormat::ALL, config.log.format)),
            level: text(&config.log.level.as_str()),
        },
    };
    serde_saphyr::to_string(&file).map_err(|error| ConfigError { faults: vec![error.to_string()] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_gives_the_documented_defaults() {
        let config = parse("").unwrap();
        assert_eq!(config.evaluation.interval.to_string(), "15s");
        assert_eq!(config.evaluation.delay, Duration::from_secs(5));
        assert_eq!(config.evaluation.retention.to_string(), "1h");
        assert_eq!(config.upstream.timeout, Duration::from_secs(10));
        assert_eq!(config.limits.query_bytes, Bytes(8192));
        assert_eq!(config.limits.points, 11_000);
    }

    #[test]
    fn a_printed_configuration_reads_back_as_the_same_without_its_secrets() {
        let text = "
upstream:
  url: [https://prometheus:9090/prefix, https://replica:9090]
  timeout: 2.5s
  tenant: team-a
  basic_auth: {username: emac, password_file: /etc/emac/password}
  tls: {ca_file: /ca.pem, server_name: prom}
  forward_authorization: true
  headers: {X-Key: hidden}
evaluation: {interval: 30s, delay: 500ms, retention: 2h}
external_labels: {cluster: eu-1}
evidence: {max_lookback: 30m}
remote_read: {reader_labels: [az, replica]}
limits: {query_bytes: 4KiB, points: 500, samples: 1000, series: 10, body: 1MiB, in_flight: 2MiB}
web: {config_file: web.yml, cors_origin: 'https://.*\\.example'}
log: {format: json, level: debug}
";
        let config = parse(text).unwrap();
        let printed = print(&config).unwrap();
        assert!(!printed.contains("hidden"), "{printed}");
        let again = parse(&printed).unwrap();
        assert_eq!(print(&again).unwrap(), printed);
        assert_eq!(again.evaluation, config.evaluation);
        assert_eq!(again.limits, config.limits);
        assert_eq!(again.log, config.log);
        assert_eq!(again.external_labels, config.external_labels);
        assert_eq!(again.remote_read, config.remote_read);
        assert_eq!(config.remote_read.reader_labels.unwrap().len(), 2);
        assert_eq!(
            Upstream { headers: Vec::new(), ..again.upstream },
            Upstream { headers: Vec::new(), ..config.upstream }
        );
        assert_eq!(again.web.config_file.as_deref(), Some("web.yml"));
        assert!(again.web.cors_origin.is_match("https://a.example"));
        assert!(!again.web.cors_origin.is_match("https://a.example.evil"));
    }

    #[test]
    fn every_fault_of_the_values_is_reported_at_once() {
        let text = "
upstream: {timeout: 10, basic_auth: {username: a, password_file: b}, bearer_token_file: c, tls: {cert_file: d}}
evaluation: {interval: 10s, delay: 11s, retention: 5s}
external_labels: {__name__: x, ok: '', 0a: b, window: w}
limits: {query_bytes: 8KB, points: 0, body: 0B}
web: {cors_origin: '('}
log: {format: xml, level: loud}
";
        let faults = parse(text).unwrap_err().faults;
        for key in [
            "upstream.timeout: `10`",
            "upstream: basic_auth",
            "upstream.tls",
            "evaluation.delay",
            "evaluation.retention",
            "external_labels: `__name__`",
            "external_labels.ok",
            "external_labels: `0a`",
            "external_labels: `window` is a label of synthetic series",
            "limits.query_bytes",
            "limits.points",
            "limits.body",
            "web.cors_origin",
            "log.format: `xml` is not allowed; allowed: text, json",
            "log.level",
        ] {
            assert!(faults.iter().any(|fault| fault.starts_with(key)), "no {key} in {faults:#?}");
        }
    }

    #[test]
    fn unknown_keys_are_errors_with_their_place() {
        for text in ["upstreams: {}", "evaluation: {intervall: 15s}", "web: {config_path: x}", "a", "[]"] {
            let error = parse(text).unwrap_err().to_string();
            assert!(!error.is_empty(), "{text}");
        }
        let error = parse("evaluation:\n  intervall: 15s\n").unwrap_err().to_string();
        assert!(error.contains("intervall") && error.contains('2'), "{error}");
    }
}
