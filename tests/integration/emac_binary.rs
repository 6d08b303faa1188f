//! `emac serve` as its users run it, ended by its process id. `EMAC_PROGRAM` names another build of it than the tests' own.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

pub(crate) struct Binary {
    pub(crate) child: Child,
    pub(crate) url: String,
}

impl Binary {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_at("127.0.0.1:0", arguments)
    }

    /// Listens on an address that others must know before.
    pub(crate) fn start_at(address: &str, arguments: &[&str]) -> Self {
        let program = std::env::var("EMAC_PROGRAM");
        let mut child = Command::new(program.as_deref().unwrap_or(env!("CARGO_BIN_EXE_emac")))
            .arg("serve")
            .args(arguments)
            .args(["--listen", address])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        let url = loop {
            let mut line = String::new();
            assert!(log.read_line(&mut line).unwrap() > 0, "it ended: {said}");
            said.push_str(&line);
            if let Some(address) = line.split("address=").nth(1) {
                break format!("http://{}", address.split_whitespace().next().unwrap());
            }
        };
        // Read on, or a full pipe would stop it.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Self { child, url }
    }

    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for Binary {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
