//! Tells the tests which real servers this machine has: `cfg(has_prometheus)` and so on. A test that needs one is
//! `#[cfg_attr(not(has_prometheus), ignore = "…")]`, so that `cargo test` reports it as ignored, with the reason.
//!
//! And has a release linked so that what often runs together lies together, where the linker knows how.

use std::env;
use std::path::PathBuf;
use std::process::Command;

const TOOLS: [(&str, &[&str]); 3] = [
    ("has_prometheus", &["prometheus", "promtool"]),
    ("has_vmalert", &["vmalert", "victoria-metrics"]),
    ("has_chromium", &["chromium"]),
];

/// Which functions lie next to each other, and why.
const LAYOUT: &str = ".cargo/hot_functions.ld";

fn main() {
    find_tools();
    lay_out();
}

/// Has the linker follow [`LAYOUT`]. It only moves functions: a linker that does not take it goes without.
fn lay_out() {
    println!("cargo::rerun-if-changed={LAYOUT}");
    let variable = |name| env::var(name).unwrap_or_default();
    if variable("PROFILE") != "release" || variable("CARGO_CFG_TARGET_OS") != "linux" {
        return;
    }
    // Cargo keeps what is said here, and corrects paths below its own folder where a checkout has moved.
    let folder = PathBuf::from(variable("OUT_DIR"));
    let (source, program) = (folder.join("linked.rs"), folder.join("linked"));
    let layout = folder.join("hot_functions.ld");
    if std::fs::copy(LAYOUT, &layout).is_err() || std::fs::write(&source, "fn main() {}").is_err() {
        return;
    }
    let argument = format!("-T{}", layout.display());
    // Tried as the program itself will be linked.
    let mut link = Command::new(variable("RUSTC"));
    link.arg(&source).arg("-o").arg(&program).args(["--crate-type", "bin", "--target", &variable("TARGET")]);
    let flags = variable("CARGO_ENCODED_RUSTFLAGS");
    link.args(flags.split('\u{1f}').filter(|flag| !flag.is_empty()));
    if let Ok(linker) = env::var("RUSTC_LINKER") {
        link.arg(format!("-Clinker={linker}"));
    }
    let links = link.arg(format!("-Clink-arg={argument}")).output().is_ok_and(|done| done.status.success());
    let runs = || Command::new(&program).status().is_ok_and(|status| status.success());
    if links && (variable("HOST") != variable("TARGET") || runs()) {
        println!("cargo::rustc-link-arg-bin=emac={argument}");
    }
}

fn find_tools() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = env::split_paths(&path).filter(|folder| folder.is_dir()).collect();
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
