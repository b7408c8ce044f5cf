//! What becomes of grants and of the version that answers when a component changes.

use std::path::Path;

use domain::{Capability, Grants, PluginHealth};
use plugin_host::PluginHost;
use serde_json::json;

use crate::capabilities::logger;
use crate::folder::{Folder, answer, run};
use crate::wat::Component;

#[test]
fn a_version_that_asks_for_more_waits_and_the_one_before_answers_until_the_user_agrees() {
    let folder = Folder::new();
    folder.install(&logger(1), "capabilities = [\"log\"]");
    let host = folder.open();
    let first = host.get("logger").unwrap().digest;
    host.set_grants("logger", &first, &[Capability::Log]);
    folder.install(&logger(3), "capabilities = [\"log\", \"config\"]");
    host.reload().unwrap();
    assert_eq!(run(&host, "logger").log, "warn: hi\n");
    let shown = host.get("logger").unwrap();
    let pending = shown.pending.expect("it waits");
    assert_eq!(
        (shown.digest.as_str(), shown.granted.as_slice()),
        (first.as_str(), &[Capability::Log][..])
    );
    assert_eq!(pending.more, ["config"]);
    let generation = host.generation();
    let grants = Grants::from(&[Capability::Log, Capability::Config]);
    let grants = host
        .check_grants("logger", &pending.digest, grants)
        .unwrap();
    assert_eq!(grants.imports, ["codetune:plugin/log"]);
    host.set_grants("logger", &pending.digest, grants);
    assert!(host.generation() > generation);
    assert_eq!(run(&host, "logger").log, "warn: hi\n".repeat(3));
    assert_eq!(host.get("logger").unwrap().pending, None);
}

#[test]
fn a_version_that_imports_more_than_was_consented_to_waits_though_it_asks_for_the_same() {
    let folder = Folder::new();
    let mut silent = Component::new("logger");
    silent.version = "0.9.0".to_owned();
    folder.install(&silent, "capabilities = [\"log\"]");
    let host = folder.open();
    let digest = host.get("logger").unwrap().digest;
    host.set_grants("logger", &digest, &[Capability::Log]);
    folder.install(&logger(1), "capabilities = [\"log\"]");
    host.reload().unwrap();
    let pending = host.get("logger").unwrap().pending.expect("it waits");
    assert_eq!(pending.more, ["import codetune:plugin/log"]);
    assert_eq!(run(&host, "logger").log, "");
}

#[test]
fn a_changed_shipped_plugin_waits_and_only_what_the_shipped_one_has_not_is_called_more() {
    let folder = Folder::new();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../plugins/source-stats");
    let here = folder.plugins().join("source-stats");
    std::fs::create_dir(&here).unwrap();
    for file in ["plugin.toml", "source-stats.wasm"] {
        std::fs::copy(shipped.join(file), here.join(file)).unwrap();
    }
    let host = folder.open();
    let first = host.get("source-stats").unwrap();
    assert_eq!(first.granted, [Capability::Config]);
    // An empty section of no name: the same component with another digest.
    let component = here.join("source-stats.wasm");
    let mut bytes = std::fs::read(&component).unwrap();
    bytes.extend([0, 1, 0]);
    std::fs::write(&component, &bytes).unwrap();
    host.reload().unwrap();
    let shown = host.get("source-stats").unwrap();
    assert_eq!(shown.digest, first.digest);
    assert_eq!(shown.pending.expect("it waits").more, [""; 0]);
    let manifest = here.join("plugin.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(
        &manifest,
        text.replace("[\"config\"]", "[\"config\", \"log\"]"),
    )
    .unwrap();
    bytes.extend([0, 1, 0]);
    std::fs::write(&component, &bytes).unwrap();
    host.reload().unwrap();
    let pending = host.get("source-stats").unwrap().pending;
    assert_eq!(pending.expect("it waits").more, ["log"]);
    drop(host);
    let shown = folder.open().get("source-stats").unwrap();
    assert_eq!(shown.digest, first.digest);
    assert_eq!(shown.pending.expect("it still waits").more, ["log"]);
}

/// What the user agrees to for the logger, as a studio keeps it and hands it to the next host.
fn agreed(host: &PluginHost, digest: &str) -> Grants {
    let grants = Grants::from(&[Capability::Log]);
    let grants = host.check_grants("logger", digest, grants).unwrap();
    host.set_grants("logger", digest, grants.clone());
    grants
}

#[test]
fn a_version_that_came_while_no_host_ran_waits_and_the_one_before_answers() {
    let folder = Folder::new();
    folder.install(&logger(1), "capabilities = [\"log\"]");
    let host = folder.open();
    let first = host.get("logger").unwrap().digest;
    let grants = agreed(&host, &first);
    drop(host);
    folder.install(&logger(3), "capabilities = [\"log\", \"config\"]");
    // Over any number of starts.
    for _ in 0..2 {
        let host = folder.open();
        host.set_grants("logger", &first, grants.clone());
        assert_eq!(run(&host, "logger").log, "warn: hi\n");
        let shown = host.get("logger").unwrap();
        assert_eq!(
            (shown.digest.as_str(), shown.health),
            (first.as_str(), PluginHealth::Ready)
        );
        let pending = shown.pending.expect("it waits");
        assert_ne!(pending.digest, first);
        assert_eq!(pending.more, ["config"]);
    }
    let host = folder.open();
    host.set_grants("logger", &first, grants.clone());
    let digest = host.get("logger").unwrap().pending.unwrap().digest;
    let both = &[Capability::Log, Capability::Config];
    host.set_grants("logger", &digest, both);
    assert_eq!(run(&host, "logger").log, "warn: hi\n".repeat(3));
    drop(host);
    // The new one is what answers from then on.
    let host = folder.open();
    host.set_grants("logger", &digest, both);
    assert_eq!(run(&host, "logger").log, "warn: hi\n".repeat(3));
    assert_eq!(host.get("logger").unwrap().pending, None);
}

#[test]
fn a_file_that_was_broken_while_no_host_ran_leaves_the_version_before_answering() {
    let folder = Folder::new();
    folder.install(&logger(1), "capabilities = [\"log\"]");
    let host = folder.open();
    let first = host.get("logger").unwrap().digest;
    let grants = agreed(&host, &first);
    drop(host);
    let component = folder.plugins().join("logger/logger.wasm");
    let whole = std::fs::read(&component).unwrap();
    std::fs::write(&component, &whole[..whole.len() / 2]).unwrap();
    for _ in 0..2 {
        let host = folder.open();
        host.set_grants("logger", &first, grants.clone());
        assert_eq!(run(&host, "logger").log, "warn: hi\n");
        let shown = host.get("logger").unwrap();
        assert_eq!(
            (shown.digest.as_str(), shown.health),
            (&*first, PluginHealth::Ready)
        );
        assert!(shown.last_error.is_some(), "{:?}", shown.last_error);
    }
    let host = folder.open();
    host.set_grants("logger", &first, grants);
    std::fs::write(&component, &whole).unwrap();
    host.reload().unwrap();
    assert_eq!(host.get("logger").unwrap().last_error, None);
    assert_eq!(run(&host, "logger").log, "warn: hi\n");
}

#[test]
fn a_version_whose_predecessor_is_not_kept_waits_alone_and_shows_what_it_wants_more() {
    let folder = Folder::new();
    folder.install(&logger(1), "capabilities = [\"log\"]");
    let host = folder.open();
    let first = host.get("logger").unwrap().digest;
    let grants = agreed(&host, &first);
    drop(host);
    std::fs::remove_dir_all(folder.cache()).unwrap();
    folder.install(&logger(3), "capabilities = [\"log\", \"config\"]");
    let host = folder.open();
    host.set_grants("logger", &first, grants.clone());
    let refused = host.run("logger", &json!({})).unwrap_err();
    assert_eq!(refused.code(), "plugin_not_granted");
    assert!(
        refused.to_string().contains("plugin grant logger"),
        "{refused}"
    );
    let shown = host.get("logger").unwrap();
    let pending = shown.pending.expect("it waits");
    assert_eq!(pending.digest, shown.digest);
    assert_eq!(pending.more, ["config"]);
    // Taken back, nothing is waited for.
    host.set_grants("logger", &first, Grants::default());
    assert_eq!(host.get("logger").unwrap().pending, None);
}

#[test]
fn what_a_removed_plugin_answered_with_is_not_taken_out_again_for_another_of_its_name() {
    let folder = Folder::new();
    folder.install(&Component::new("logger"), "");
    let host = folder.open();
    std::fs::remove_dir_all(folder.plugins().join("logger")).unwrap();
    host.reload().unwrap();
    drop(host);
    folder.install(&logger(1), "capabilities = [\"log\"]");
    let host = folder.open();
    assert_eq!(
        host.run("logger", &json!({})).unwrap_err().code(),
        "plugin_not_granted"
    );
    assert_eq!(host.get("logger").unwrap().pending, None);
}

#[test]
fn what_is_lent_goes_on_to_the_next_version_only_when_the_user_said_so() {
    for updates in [false, true] {
        let folder = Folder::new();
        let manifest = "capabilities = [\"generate\"]\nasks.tokens = 5";
        folder.install(&Component::new("writer"), manifest);
        let host = folder.open();
        let digest = host.get("writer").unwrap().digest;
        let grants = Grants {
            tokens: 5,
            updates,
            ..Grants::from(&[Capability::Generate])
        };
        host.set_grants("writer", &digest, grants);
        let mut next = Component::new("writer");
        next.version = "2.0.0".to_owned();
        folder.install(&next, manifest);
        host.reload().unwrap();
        let shown = host.get("writer").unwrap();
        assert_eq!(shown.pending.is_none(), updates);
        assert_eq!(shown.digest != digest, updates);
        assert_eq!(answer(&host, "writer"), json!({"ok": true}));
        let canary = shown.canary.and_then(|canary| canary.skipped);
        assert_eq!(canary.is_some(), updates, "{canary:?}");
    }
}

#[test]
fn grants_for_a_version_that_is_gone_are_refused() {
    let folder = Folder::new();
    folder.install(&logger(1), "capabilities = [\"log\"]");
    let host = folder.open();
    let refused = host.check_grants("logger", "another", Grants::default());
    assert_eq!(refused.unwrap_err().0, "digest");
}

#[test]
fn settings_of_the_user_lie_over_those_of_the_manifest() {
    let folder = Folder::new();
    let mut component = Component::new("strict");
    component.config_schema =
        r#"{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}"#
            .to_owned();
    folder.install(
        &component,
        "capabilities = [\"config\"]\nconfig = { n = 1 }",
    );
    let host = folder.open();
    let digest = host.get("strict").unwrap().digest;
    host.set_grants("strict", &digest, &[Capability::Config]);
    let config = |n: serde_json::Value| [("n".to_owned(), n)].into();
    assert!(host.check_config("strict", &config(json!("many"))).is_err());
    host.check_config("strict", &config(json!(2))).unwrap();
    host.set_config("strict", config(json!(2)));
    assert_eq!(answer(&host, "strict"), json!({"ok": true}));
    // One that a later version does not take is named at the call.
    host.set_config("strict", config(json!("many")));
    let refused = host.run("strict", &json!({})).unwrap_err();
    assert_eq!(refused.code(), "plugin_config");
    host.set_config("strict", Default::default());
    assert_eq!(answer(&host, "strict"), json!({"ok": true}));
}
