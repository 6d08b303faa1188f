//! The way in, protected by `--web.config.file`: TLS, users, tokens, client certificates; by the binary as it is run.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use crate::emac_binary::Binary;
use crate::faulty_upstream::{FaultyUpstream, SPEC};
use crate::http_client::send;
use crate::prometheus::wait_for;
use crate::shipped_files::OWN_METRICS;

/// Certificates of a small authority, made by openssl; `None` where it is missing.
fn authority(folder: &Path) -> Option<()> {
    let openssl = |arguments: &[&str]| {
        let ran = Command::new("openssl").args(arguments).current_dir(folder).stderr(Stdio::null()).status();
        ran.ok().filter(std::process::ExitStatus::success).map(|_| ())
    };
    let new =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    openssl(&[&new[..], &["-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"]].concat())?;
    fs::write(folder.join("san.cnf"), "subjectAltName=DNS:localhost,IP:127.0.0.1\n").unwrap();
    for name in ["server", "client"] {
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let certificate = format!("{name}.pem");
        let subject = format!("/CN={name}");
        openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &request,
        ])?;
        openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "san.cnf",
            "-out",
            &certificate,
        ])?;
    }
    Some(())
}

fn start(folder: &Path, shop: &FaultyUpstream, web: &str, more: &[&str]) -> Binary {
    fs::write(folder.join("web.yml"), web).unwrap();
    fs::write(folder.join("checkout.yaml"), SPEC).unwrap();
    let (web, spec) = (folder.join("web.yml"), folder.join("checkout.yaml"));
    let arguments = [
        "--upstream.url",
        &shop.url,
        "--spec",
        spec.to_str().unwrap(),
        "--web.config.file",
        web.to_str().unwrap(),
    ];
    Binary::start(&[&arguments[..], more].concat())
}

fn basic(user: &str, password: &str) -> String {
    use base64::Engine as _;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

#[test]
fn only_known_users_and_tokens_come_in_and_a_reload_takes_effect_or_leaves_what_was() {
    let folder = tempfile::tempdir().unwrap();
    let shop = FaultyUpstream::start();
    let hash = bcrypt::hash("right", 4).unwrap();
    fs::write(folder.path().join("tokens"), "first-token\nsecond-token\n").unwrap();
    let web = format!("basic_auth_users:\n  alice: {hash}\nbearer_token_file: tokens\n");
    let server = start(folder.path(), &shop, &web, &[]);
    let status = |authorization: Option<&str>, target: &str| {
        let headers: Vec<(&str, &str)> = authorization.iter().map(|text| ("Authorization", *text)).collect();
        let reply = send(&server.url, "GET", target, &headers, b"");
        if reply.status == 401 {
            assert_eq!((reply.header("www-authenticate"), reply.text()), (Some("Basic"), "Unauthorized\n"));
        }
        // A posted query is held back like one in the URL.
        if target.starts_with("/api/v1/query") {
            assert_eq!(send(&server.url, "POST", target, &headers, b"").status, reply.status, "{target}");
        }
        reply.status
    };
    for target in
        ["/-/healthy", "/metrics", "/api/v1/query?query=emac_journey_gate", "/api/v1/query?query=1", "/"]
    {
        for bad in [
            None,
            Some(basic("alice", "wrong")),
            Some(basic("bob", "right")),
            Some(basic("alice", "")),
            Some("Basic %%%".to_owned()),
            Some("Bearer third-token".to_owned()),
            Some("Bearer ".to_owned()),
            Some(format!("Bearer {hash}")),
            Some("Digest x".to_owned()),
        ] {
            assert_eq!(status(bad.as_deref(), target), 401, "{bad:?} {target}");
        }
        for good in
            [basic("alice", "right"), "Bearer first-token".to_owned(), "bearer second-token".to_owned()]
        {
            assert_eq!(status(Some(&good), target), 200, "{good} {target}");
        }
    }
    // What a client shows here is not shown to the upstream.
    assert!(shop.heads().iter().all(|head| !head.to_ascii_lowercase().contains("authorization")));

    fs::write(folder.path().join("web.yml"), "basic_auth_users:\n  alice: not a hash\n").unwrap();
    server.signal("HUP");
    let alice = basic("alice", "right");
    let metric = |name: &str| {
        let headers = [("Authorization", alice.as_str())];
        let reply = send(&server.url, "GET", "/metrics", &headers, b"");
        reply.text().lines().find_map(|line| line.strip_prefix(&format!("{name} "))?.parse::<f64>().ok())
    };
    // What the shipped rules read of it.
    wait_for("the first self-check", || (metric("emac_self_check_successful") == Some(1.0)).then_some(()));
    let page = send(&server.url, "GET", "/metrics", &[("Authorization", alice.as_str())], b"");
    for name in OWN_METRICS {
        assert!(page.text().lines().any(|line| line.starts_with(name)), "{name}");
    }
    wait_for("the failed reload", || {
        (metric("emac_model_last_reload_successful") == Some(0.0)).then_some(())
    });
    assert_eq!((status(Some(&alice), "/-/ready"), status(None, "/-/ready")), (200, 401));
    let bob = bcrypt::hash("new", 4).unwrap();
    fs::write(folder.path().join("web.yml"), format!("basic_auth_users:\n  bob: {bob}\n")).unwrap();
    server.signal("HUP");
    wait_for("bob", || (status(Some(&basic("bob", "new")), "/-/ready") == 200).then_some(()));
    assert_eq!(status(Some(&alice), "/-/ready"), 401);
}

#[test]
fn tls_is_spoken_and_a_client_without_a_certificate_stays_outside_where_one_is_wanted() {
    let folder = tempfile::tempdir().unwrap();
    if authority(folder.path()).is_none() {
        eprintln!("skipped: openssl is missing");
        return;
    }
    let shop = FaultyUpstream::start();
    let web = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n  min_version: TLS13\n";
    let mutual = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.pem\n";
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    let client = |certificate: bool| {
        let mut roots = rustls::RootCertStore::empty();
        use rustls::pki_types::pem::PemObject as _;
        use rustls::pki_types::{CertificateDer, PrivateKeyDer};
        roots.add(CertificateDer::from_pem_slice(&read("ca.pem")).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(if certificate {
            let chain = vec![CertificateDer::from_pem_slice(&read("client.pem")).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(&read("client.key")).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        } else {
            builder.with_no_client_auth()
        })
    };
    let get = |server: &Binary, certificate: bool| -> std::io::Result<String> {
        use std::io::{Read as _, Write as _};
        let name = "localhost".try_into().unwrap();
        let connection = rustls::ClientConnection::new(client(certificate), name).unwrap();
        let socket = std::net::TcpStream::connect(server.url.trim_start_matches("http://"))?;
        let mut stream = rustls::StreamOwned::new(connection, socket);
        stream.write_all(b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut text = Vec::new();
        match stream.read_to_end(&mut text) {
            Err(fault) if text.is_empty() => Err(fault),
            _ => Ok(String::from_utf8(text).unwrap()),
        }
    };
    let server = start(folder.path(), &shop, web, &[]);
    assert!(get(&server, false).unwrap().ends_with("emac is healthy.\n"));
    let server = start(folder.path(), &shop, &format!("{web}{mutual}"), &[]);
    assert!(get(&server, false).is_err());
    assert!(get(&server, true).unwrap().ends_with("emac is healthy.\n"));
}

#[test]
fn passing_on_authorization_without_asking_for_any_is_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("checkout.yaml"), SPEC).unwrap();
    fs::write(path("emac.yaml"), "upstream: {url: 'http://127.0.0.1:1', forward_authorization: true}\n")
        .unwrap();
    let starts = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_emac"));
        command.args(["serve", "--config", &path("emac.yaml"), "--spec", &path("checkout.yaml")]);
        command.args(["--listen", "127.0.0.1:0"]).args(more).output().unwrap()
    };
    let refused = starts(&[]);
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("forward_authorization needs authentication"), "{said}");
    fs::write(path("web.yml"), "basic_auth_user: {}\n").unwrap();
    let refused = starts(&["--web.config.file", &path("web.yml")]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("basic_auth_user"), "{said}");

    let shop = FaultyUpstream::start();
    let hash = bcrypt::hash("right", 4).unwrap();
    fs::write(path("emac.yaml"), "upstream: {forward_authorization: true}\n").unwrap();
    let web = format!("basic_auth_users: {{alice: {hash}}}\n");
    let server = start(folder.path(), &shop, &web, &["--config", &path("emac.yaml")]);
    let alice = basic("alice", "right");
    let headers = [("Authorization", alice.as_str())];
    assert_eq!(send(&server.url, "GET", "/api/v1/query?query=1", &headers, b"").status, 200);
    let passed = |head: &String| head.contains("query=1") && head.contains(&alice);
    assert!(shop.heads().iter().any(passed));
}
