//! Guests that a test builds from their source.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Arguments of cargo, and the target that they build for. These are the two ways that the guide for authors names.
pub(crate) type Way = (&'static [&'static str], &'static str);
pub(crate) const COMPONENT: Way = (&["component", "build"], "wasm32-wasip1");
pub(crate) const PLAIN: Way = (&["build", "--target", "wasm32-wasip2"], "wasm32-wasip2");

/// Builds a member of the guests' workspace and returns its component.
pub(crate) fn guest(package: &str, (arguments, triple): Way) -> Vec<u8> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins-src");
    let target =
        std::env::var_os("GUEST_TARGET_DIR").map_or_else(|| sources.join("target"), PathBuf::from);
    let status = Command::new("cargo")
        .args(arguments)
        .args(["--locked", "--release", "-p", package])
        .current_dir(&sources)
        .env("CARGO_TARGET_DIR", &target)
        .status()
        .unwrap();
    assert!(status.success(), "{arguments:?}");
    let file = package.replace('-', "_") + ".wasm";
    std::fs::read(target.join(triple).join("release").join(file)).unwrap()
}
