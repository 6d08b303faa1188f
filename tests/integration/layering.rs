//! The architecture as a test: dependencies between top-level modules run one way, and the core stays pure.

use std::path::{Path, PathBuf};

/// The modules in the order of `src/lib.rs`: each may use those before it, and itself.
const LAYERS: [&str; 21] = [
    "unit",
    "series",
    "distribution",
    "journey",
    "algebra",
    "derive",
    "promql",
    "document",
    "openslo",
    "spec",
    "synthetic",
    "emit",
    "plan",
    "config",
    "telemetry",
    "wire",
    "upstream",
    "execute",
    "api",
    "demo",
    "cli",
];

/// Everything up to and including this layer is pure.
const LAST_PURE: &str = "plan";

/// What a pure module may not name: I/O, async, clocks.
const IMPURE: [&str; 14] = [
    "tokio",
    "hyper",
    "axum",
    "tower",
    "futures",
    "async fn",
    "async move",
    ".await",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime",
];

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The top-level module of a file below `src`, as `algebra` for `src/algebra/compose.rs`.
fn module_of(file: &Path) -> String {
    let below = file.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let first = below.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The file without comments and without its test module, which may use what it likes.
fn code_of(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The top-level modules that the code names, by `crate::x` or in `use crate::{x::…, y}`.
fn modules_named(code: &str) -> Vec<String> {
    let first_word = |text: &str| -> String {
        text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let mut named = Vec::new();
    for (at, path) in code.match_indices("crate::") {
        let rest = &code[at + path.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            named.push(first_word(rest));
            continue;
        };
        let (mut depth, mut start) = (1, 0);
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 || depth == 1 && c == ',' {
                named.push(first_word(&group[start..i]));
                start = i + 1;
            }
            if depth == 0 {
                break;
            }
        }
    }
    named.retain(|word| !word.is_empty());
    named
}

#[test]
fn the_library_declares_its_modules_in_the_order_of_the_layers() {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let declared: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    assert_eq!(declared, LAYERS);
}

#[test]
fn dependencies_between_modules_run_one_way() {
    let rank = |module: &str| LAYERS.iter().position(|layer| *layer == module);
    let mut faults = Vec::new();
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let module = module_of(&file);
        if module == "lib" || module == "main" {
            continue;
        }
        let own = rank(&module).unwrap_or_else(|| panic!("{} is in no layer", file.display()));
        for named in modules_named(&code_of(&std::fs::read_to_string(&file).unwrap())) {
            if rank(&named).is_some_and(|other| other > own) {
                faults.push(format!("{}: `{module}` may not use `{named}`", file.display()));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_pure_core_holds_no_io_no_async_and_no_clock() {
    let pure = LAYERS.iter().position(|layer| *layer == LAST_PURE).unwrap();
    let mut faults = Vec::new();
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let module = module_of(&file);
        if LAYERS.iter().position(|layer| *layer == module).is_none_or(|rank| rank > pure) {
            continue;
        }
        let code = code_of(&std::fs::read_to_string(&file).unwrap());
        for word in IMPURE.iter().filter(|word| code.contains(*word)) {
            faults.push(format!("{}: the pure core may not name `{word}`", file.display()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn errors_of_many_kinds_are_for_the_command_line_alone() {
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let module = module_of(&file);
        let uses = code_of(&std::fs::read_to_string(&file).unwrap()).contains("anyhow");
        assert!(!uses || module == "cli" || module == "main", "{} uses anyhow", file.display());
    }
}

#[test]
fn the_check_itself_sees_every_way_of_naming_a_module() {
    let code = "use crate::{unit::Seconds, series::{Labels, Series}, api};\nfn f() { crate::execute::go() }\nuse crate::demo;";
    assert_eq!(modules_named(code), ["unit", "series", "api", "execute", "demo"]);
}
