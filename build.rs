//! Tells the tests which real servers this machine has: `cfg(has_prometheus)` and so on. A test that needs one is
//! `#[cfg_attr(not(has_prometheus), ignore = "…")]`, so that `cargo test` reports it as ignored, with the reason.

use std::path::PathBuf;

const TOOLS: [(&str, &[&str]); 3] = [
    ("has_prometheus", &["prometheus", "promtool"]),
    ("has_vmalert", &["vmalert", "victoria-metrics"]),
    ("has_chromium", &["chromium"]),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PATH");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).filter(|folder| folder.is_dir()).collect();
    for (cfg, programs) in TOOLS {
        println!("cargo::rustc-check-cfg=cfg({cfg})");
        if programs.iter().all(|program| folders.iter().any(|folder| folder.join(program).is_file())) {
            println!("cargo::rustc-cfg={cfg}");
        }
    }
    // Where the programs land when they are installed later: the folder's own time changes then.
    if std::path::Path::new("/usr/bin").is_dir() {
        println!("cargo::rerun-if-changed=/usr/bin");
    }
}
