//! The arrows between the crates: who may call whom, and which heavy dependency lives where.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Our crates and the crates of ours that each may name.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "codetune",
        &["domain", "store", "plugin-host", "engine", "curation"],
    ),
    ("store", &["domain"]),
    ("plugin-host", &["domain"]),
    ("engine", &["domain"]),
    ("curation", &["domain"]),
    ("domain", &[]),
    // For the engine's tests alone.
    ("emulated-kernels", &[]),
];

/// Dependencies that one crate alone may name.
const HOMES: &[(&str, &str)] = &[
    ("diesel", "store"),
    ("diesel_migrations", "store"),
    ("wasmtime", "plugin-host"),
    ("wasmtime-wasi", "plugin-host"),
    ("candle-core", "engine"),
    ("candle-nn", "engine"),
    ("actix-web", "codetune"),
    ("tera", "codetune"),
];

fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
            "--offline",
        ])
        .arg("--manifest-path")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
    let text = |value: &Value| value.as_str().expect("a name").to_owned();
    metadata["packages"]
        .as_array()
        .expect("packages")
        .iter()
        .map(|package| {
            let names = package["dependencies"].as_array().expect("dependencies");
            let names = names
                .iter()
                .filter(|dependency| dependency["kind"].is_null());
            (
                text(&package["name"]),
                names.map(|dependency| text(&dependency["name"])).collect(),
            )
        })
        .collect()
}

#[test]
fn crates_name_only_the_crates_that_the_design_lets_them_name() {
    let dependencies = dependencies();
    let ours: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(
        dependencies.keys().map(String::as_str).collect::<Vec<_>>(),
        {
            let mut sorted = ours.clone();
            sorted.sort_unstable();
            sorted
        },
        "a crate came or went: say in ARROWS whom it may name"
    );
    for (name, allowed) in ARROWS {
        for dependency in &dependencies[*name] {
            if ours.contains(&dependency.as_str()) {
                assert!(
                    allowed.contains(&dependency.as_str()),
                    "{name} must not name {dependency}"
                );
            }
        }
    }
}

#[test]
fn each_heavy_dependency_has_one_home() {
    for (name, names) in dependencies() {
        for (dependency, home) in HOMES {
            if names.iter().any(|other| other == dependency) {
                assert_eq!(&name, home, "{dependency} belongs in {home}, not in {name}");
            }
        }
    }
}
