//! Log and config: only when the manifest asks and the user grants.

use domain::Capability;
use serde_json::json;

use crate::folder::{Folder, answer, broken, failure, run};
use crate::wat::Component;

/// Writes a line of four bytes to its log, so many times.
pub(crate) fn logger(times: u32) -> Component {
    let mut component = Component::new("logger");
    component.before = r#"
        (import "codetune:plugin/log@0.1.0" (instance $log
          (type $l (enum "debug" "info" "warn" "error"))
          (export "level" (type $level (eq $l)))
          (export "write" (func (param "level" $level) (param "message" string)))))
        (core module $memory (memory (export "memory") 1) (data (i32.const 0) "\1b[1mhi\07"))
        (core instance $memory (instantiate $memory))
        (core func $write (canon lower (func $log "write") (memory (core memory $memory "memory"))))
        (core instance $host (export "write" (func $write)))"#
        .to_owned();
    component.with = "(with \"host\" (instance $host))".to_owned();
    component.module = "(import \"host\" \"write\" (func $write (param i32 i32 i32)))".to_owned();
    component.execute = format!(
        "(local $n i32)
         (loop $l
           (call $write (i32.const 2) (i32.const 0) (i32.const 7))
           (local.set $n (i32.add (local.get $n) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get $n) (i32.const {times}))))"
    );
    component
}

#[test]
fn an_import_that_the_manifest_does_not_ask_for_is_refused() {
    let folder = Folder::new();
    folder.install(&logger(1), "");
    let message = broken(&folder.open(), "logger");
    assert!(
        message.contains("codetune:plugin/log@0.1.0") && message.contains("add `log`"),
        "{message}"
    );
}

#[test]
fn nothing_is_granted_until_the_user_says_so_and_only_to_that_digest() {
    let folder = Folder::new();
    folder.install(&logger(1), "capabilities = [\"log\"]");
    let host = folder.open();
    assert_eq!(
        host.run("logger", &json!({})).unwrap_err().code(),
        "plugin_not_granted"
    );
    assert!(broken(&host, "logger").contains("waits for your consent: it asks for log"));
    let digest = host.get("logger").unwrap().digest;
    host.set_grants("logger", "another digest", &[Capability::Log]);
    assert!(host.run("logger", &json!({})).is_err());
    host.set_grants("logger", &digest, &[Capability::Log]);
    assert_eq!(run(&host, "logger").log, "warn: hi\n");
    host.set_grants("logger", &digest, domain::Grants::default());
    assert!(host.run("logger", &json!({})).is_err());
}

#[test]
fn an_update_that_asks_for_no_more_keeps_its_log() {
    let folder = Folder::new();
    folder.install(&logger(1), "capabilities = [\"log\"]");
    let host = folder.open();
    let digest = host.get("logger").unwrap().digest;
    host.set_grants("logger", &digest, &[Capability::Log]);
    folder.install(&logger(2), "capabilities = [\"log\"]");
    host.reload().unwrap();
    assert_eq!(run(&host, "logger").log, "warn: hi\nwarn: hi\n");
}

#[test]
fn a_log_flood_is_cut_and_the_call_goes_on() {
    let folder = Folder::new();
    folder.install(
        &logger(100_000),
        "capabilities = [\"log\"]\nlimits.log_bytes = 100",
    );
    let host = folder.open();
    host.set_grants(
        "logger",
        &host.get("logger").unwrap().digest,
        &[Capability::Log],
    );
    let execution = run(&host, "logger");
    assert!(
        matches!(execution.outcome, domain::ExecutionOutcome::Ok { .. }),
        "{execution:?}"
    );
    assert!(
        execution.log.len() < 200 && execution.log.contains("the log is cut at 100 bytes"),
        "{}",
        execution.log
    );
}

#[test]
fn a_flood_of_host_calls_runs_out_of_fuel() {
    let folder = Folder::new();
    folder.install(
        &logger(1_000_000_000),
        "capabilities = [\"log\"]\nlimits.fuel = 1000000",
    );
    let host = folder.open();
    host.set_grants(
        "logger",
        &host.get("logger").unwrap().digest,
        &[Capability::Log],
    );
    assert_eq!(failure(&host, "logger").0, "fuel");
}

#[test]
fn a_config_that_its_schema_forbids_is_refused() {
    let folder = Folder::new();
    let mut component = Component::new("strict");
    component.config_schema =
        r#"{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}"#
            .to_owned();
    folder.install(&component, "config = { n = \"many\" }");
    let message = broken(&folder.open(), "strict");
    assert!(message.contains("plugin.toml: config: n:"), "{message}");
    folder.install(&component, "config = { n = 3 }");
    assert_eq!(answer(&folder.open(), "strict"), json!({"ok": true}));
}

#[test]
fn a_disabled_plugin_is_not_called_until_it_is_enabled() {
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    let host = folder.open();
    host.set_enabled("good", false);
    assert_eq!(
        host.run("good", &json!({})).unwrap_err().code(),
        "plugin_disabled"
    );
    assert_eq!(
        host.get("good").unwrap().health,
        domain::PluginHealth::Disabled
    );
    host.set_enabled("good", true);
    assert_eq!(answer(&host, "good"), json!({"ok": true}));
}
