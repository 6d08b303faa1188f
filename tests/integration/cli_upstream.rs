//! Commands that ask an upstream do so with the tenant and the credentials of the server's configuration.

use std::path::Path;
use std::process::{Command, Output};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::any;

const SPEC: &str = "apiVersion: emac.dev/v1alpha1
kind: JourneyIntent
metadata: {name: shop}
spec:
  expression: front
  objectives:
    availability: {window: 30d, target: 0.99}
  windows: [5m]
  components:
    front: {telemetry: {histogram: rq_seconds, matchers: {service: front}}}
";

/// Serves one tenant that shows its token; no series at all.
async fn guarded() -> String {
    let answer = any(|headers: HeaderMap, uri: axum::http::Uri| async move {
        let is = |name: &str, value: &str| headers.get(name).is_some_and(|found| found == value);
        if !is("authorization", "Bearer open-sesame") || !is("x-scope-orgid", "team-a") {
            return (StatusCode::UNAUTHORIZED, "who are you?");
        }
        match uri.path().contains("/label") {
            true => (StatusCode::OK, r#"{"status":"success","data":[]}"#),
            false => (StatusCode::OK, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#),
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await.unwrap() });
    format!("http://{address}")
}

fn emac(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_emac")).args(arguments).current_dir(folder).output().unwrap()
}

#[test]
fn explain_and_check_ask_with_the_tenant_and_the_token_of_the_configuration() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let url = runtime.block_on(guarded());
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    std::fs::write(folder.join("spec.yaml"), SPEC).unwrap();
    std::fs::write(folder.join("token"), "open-sesame\n").unwrap();
    let token = folder.join("token");
    let config =
        format!("upstream: {{url: {url}, tenant: team-a, bearer_token_file: {}}}\n", token.display());
    std::fs::write(folder.join("emac.yaml"), config).unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();

    let explain = ["explain", "shop", "--spec", "spec.yaml"];
    let known = emac(folder, &[&explain[..], &["--config", "emac.yaml"]].concat());
    assert!(known.status.success(), "{}", text(&known.stderr));
    assert!(text(&known.stdout).contains("front"), "{}", text(&known.stdout));
    let unknown = emac(folder, &[&explain[..], &["--upstream.url", &url]].concat());
    assert!(!unknown.status.success());
    assert!(text(&unknown.stderr).contains(&url["http://".len()..]), "{}", text(&unknown.stderr));

    let known = emac(folder, &["check", "spec.yaml", "--config", "emac.yaml", "--format", "json"]);
    assert!(text(&known.stdout).contains("there is no series `rq_seconds_bucket` upstream"), "{known:?}");
    let unknown = emac(folder, &["check", "spec.yaml", "--upstream.url", &url]);
    assert!(text(&unknown.stderr).contains("401"), "{}", text(&unknown.stderr));

    let both = emac(folder, &[&explain[..], &["--config", "emac.yaml", "--evidence", "e.yaml"]].concat());
    assert_eq!(both.status.code(), Some(2), "{}", text(&both.stderr));
    let neither = emac(folder, &explain);
    assert_eq!(neither.status.code(), Some(2), "{}", text(&neither.stderr));
}
