//! Plugins that mean harm, or are only broken. After each the host answers as before.

mod answers;
mod calls;
mod files;
mod limits;

use plugin_host::PluginHost;
use serde_json::json;

use crate::folder::{Folder, answer, broken, failure};
use crate::wat::Component;

/// A host with a good plugin, which every test asks last, and the hostile one.
fn with(component: &Component, manifest: &str) -> (Folder, PluginHost) {
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    folder.install(component, manifest);
    let host = folder.open();
    (folder, host)
}

fn goes_on(host: &PluginHost) {
    assert_eq!(answer(host, "good"), json!({"ok": true}));
}

/// What `execute` ends with.
fn ends_with(execute: &str, manifest: &str) -> (String, String) {
    let (_folder, host) = with(&Component::executing("hostile", execute), manifest);
    let failed = failure(&host, "hostile");
    goes_on(&host);
    failed
}

/// Why the host does not take a file.
fn refusal(bytes: &[u8]) -> String {
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    folder.write("hostile.wasm", bytes);
    let host = folder.open();
    let message = broken(&host, "hostile");
    assert!(
        host.run("hostile", &json!({}))
            .unwrap_err()
            .to_string()
            .contains(&message)
    );
    goes_on(&host);
    message
}
