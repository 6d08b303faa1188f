//! Servers of VictoriaMetrics for tests: loopback, a free port, a temporary folder, ended by their process id.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};

use crate::prometheus::{free_port, try_get, wait_for};

/// A running `vmalert` or `victoria-metrics`.
pub(crate) struct Server {
    child: Child,
    pub(crate) url: String,
    _folder: tempfile::TempDir,
}

impl Server {
    fn start(program: &str, arguments: impl Fn(&std::path::Path) -> Vec<String>) -> Self {
        // Another process may take the port between our look and its start: try again with another one.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let port = free_port();
            let mut child = Command::new(program)
                .args(arguments(folder.path()))
                .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
                .arg("-loggerLevel=ERROR")
                .current_dir(folder.path())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let url = format!("http://127.0.0.1:{port}");
            let up = wait_for(program, || {
                if child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                try_get(&format!("{url}/metrics")).filter(|reply| reply.status == 200).map(|_| true)
            });
            if up {
                return Self { child, url, _folder: folder };
            }
        }
        panic!("{program} ends at once, on five ports");
    }

    /// `victoria-metrics` that scrapes a target every second; everything else as it comes.
    pub(crate) fn store(target: &str) -> Self {
        Self::start("victoria-metrics", |folder| {
            let config = folder.join("scrape.yaml");
            let text = format!(
                "scrape_configs: [{{job_name: test, scrape_interval: 1s, scrape_timeout: 1s, static_configs: [{{targets: [{target:?}]}}]}}]\n"
            );
            std::fs::write(&config, text).unwrap();
            vec![
                format!("-promscrape.config={}", config.display()),
                format!("-storageDataPath={}", folder.join("data").display()),
                "-search.disableCache".to_owned(),
            ]
        })
    }

    /// `vmalert` that evaluates rules every second.
    pub(crate) fn alerting(datasource: &str, notifier: &str, rules: &str) -> Self {
        Self::start("vmalert", |folder| {
            let file = folder.join("rules.yaml");
            std::fs::write(&file, rules).unwrap();
            vec![
                format!("-rule={}", file.display()),
                format!("-datasource.url={datasource}"),
                format!("-notifier.url={notifier}"),
                "-evaluationInterval=1s".to_owned(),
            ]
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Stands between a client and a server, and answers itself with an error when it is told to.
pub(crate) struct Interposed {
    pub(crate) url: String,
    status: Arc<AtomicU16>,
    /// First lines of what was asked, with the length of the body.
    pub(crate) asked: Arc<Mutex<Vec<(String, usize)>>>,
}

impl Interposed {
    /// Passes on to `server`, which is `host:port`.
    pub(crate) fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let status = Arc::new(AtomicU16::new(200));
        let asked: Arc<Mutex<Vec<(String, usize)>>> = Arc::default();
        let (told, server, log) = (Arc::clone(&status), server.to_owned(), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(stream), told, server, log) =
                    (stream, told.load(Ordering::SeqCst), server.clone(), Arc::clone(&log))
                else {
                    return;
                };
                std::thread::spawn(move || answer(stream, told, &server, &log));
            }
        });
        Self { url, status, asked }
    }

    /// Answers with this status from now on; 200 passes on.
    pub(crate) fn set(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }
}

/// One request on a connection that ends with it.
fn answer(stream: TcpStream, status: u16, server: &str, log: &Mutex<Vec<(String, usize)>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    log.lock().unwrap().push((head.lines().next().unwrap_or_default().to_owned(), length));
    let mut stream = stream;
    if status != 200 {
        let text = "{\"status\":\"error\",\"errorType\":\"execution\",\"error\":\"by the test\"}";
        let head =
            format!("HTTP/1.1 {status} Error\r\nContent-Type: application/json\r\nConnection: close\r\n");
        write!(stream, "{head}Content-Length: {}\r\n\r\n{text}", text.len()).ok()?;
        return Some(());
    }
    let Ok(mut onward) = TcpStream::connect(server) else { return None };
    write!(onward, "{head}Connection: close\r\n\r\n").ok()?;
    onward.write_all(&body).ok()?;
    let mut reply = Vec::new();
    onward.read_to_end(&mut reply).ok()?;
    // The client must not send a second request here.
    let end = reply.windows(4).position(|four| four == b"\r\n\r\n")?;
    stream.write_all(&reply[..end]).ok()?;
    let closes = String::from_utf8_lossy(&reply[..end]).to_ascii_lowercase().contains("connection: close");
    stream.write_all(if closes { b"" } else { b"\r\nConnection: close" }).ok()?;
    stream.write_all(&reply[end..]).ok()
}
