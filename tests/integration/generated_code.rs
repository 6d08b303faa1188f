//! Generated code is checked in, so that ordinary builds need no `protoc`; this test keeps it current.

use std::path::Path;

/// Regenerate with `EMAC_REGENERATE=1 cargo test --test integration generated_code`.
#[test]
fn the_remote_read_messages_are_those_of_the_proto_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let messages = protox::compile([root.join("proto/remote_read.proto")], [root.join("proto")]).unwrap();
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new().bytes(["."]).out_dir(out.path()).compile_fds(messages).unwrap();
    let generated = std::fs::read_to_string(out.path().join("prometheus.rs")).unwrap();
    let kept = root.join("src/wire/generated/prometheus.rs");
    if std::env::var_os("EMAC_REGENERATE").is_some() {
        std::fs::write(&kept, &generated).unwrap();
    }
    let current = std::fs::read_to_string(&kept).unwrap();
    assert!(
        current == generated,
        "src/wire/generated/prometheus.rs is out of date: set EMAC_REGENERATE=1 and rerun"
    );
}
