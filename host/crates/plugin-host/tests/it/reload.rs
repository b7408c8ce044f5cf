//! Files that appear, change, break and go while the host answers.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use domain::PluginHealth;
use plugin_host::PluginHost;
use serde_json::json;

use crate::folder::{Folder, answer, broken, run};
use crate::wat::Component;

/// More than any machine takes; only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(60);

fn answering(name: &str, text: &str) -> Component {
    let mut component = Component::new(name);
    component.answer = json!({ "ok": true, "text": text }).to_string();
    component
}

/// Waits until the watcher has brought a state in which `is_there` holds.
fn wait_until(host: &PluginHost, is_there: impl Fn(&PluginHost) -> bool) {
    let mut seen = host.generation();
    while !is_there(host) {
        seen = host.wait_past(seen, PATIENCE).expect("the change arrives");
    }
}

#[test]
fn a_saved_file_answers_by_itself_and_no_call_fails_meanwhile() {
    let folder = Folder::new();
    folder.install(&answering("a", "one"), "");
    let host = folder.open();
    let _watcher = host.watch().unwrap();
    let done = AtomicBool::new(false);
    let calls = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let text = answer(&host, "a")["text"].clone();
                    assert!(text == "one" || text == "two", "{text}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        folder.install(&answering("a", "two"), "");
        wait_until(&host, |host| answer(host, "a")["text"] == "two");
        done.store(true, Ordering::Relaxed);
    });
    assert!(calls.into_inner() > 0);
}

#[test]
fn a_new_plugin_appears_and_a_removed_one_goes() {
    let folder = Folder::new();
    let host = folder.open();
    let _watcher = host.watch().unwrap();
    folder.install(&Component::new("a"), "");
    wait_until(&host, |host| host.get("a").is_some());
    assert_eq!(answer(&host, "a"), json!({"ok": true}));
    fs::remove_dir_all(folder.plugins().join("a")).unwrap();
    wait_until(&host, |host| host.get("a").is_none());
    assert_eq!(
        host.run("a", &json!({})).unwrap_err().code(),
        "plugin_unknown"
    );
}

#[test]
fn a_removed_component_removes_the_plugin_and_a_restored_one_brings_it_back() {
    let folder = Folder::new();
    folder.install(&Component::new("a"), "");
    let host = folder.open();
    fs::remove_file(folder.plugins().join("a/a.wasm")).unwrap();
    host.reload().unwrap();
    assert!(host.get("a").is_none());
    folder.install(&Component::new("a"), "");
    host.reload().unwrap();
    assert_eq!(answer(&host, "a"), json!({"ok": true}));
}

#[cfg(unix)]
#[test]
fn links_to_a_component_and_to_a_folder_are_followed_when_their_targets_change() {
    use std::os::unix::fs::symlink;
    let (folder, elsewhere) = (Folder::new(), Folder::new());
    for name in ["a", "b"] {
        elsewhere.install(&answering(name, "one"), "");
    }
    // As a build's output is linked: the system tells nothing of what happens there.
    folder.install(&answering("a", "one"), "");
    let component = folder.plugins().join("a/a.wasm");
    fs::remove_file(&component).unwrap();
    symlink(elsewhere.plugins().join("a/a.wasm"), component).unwrap();
    symlink(elsewhere.plugins().join("b"), folder.plugins().join("b")).unwrap();
    let host = folder.open();
    let _watcher = host.watch().unwrap();
    for name in ["a", "b"] {
        assert_eq!(answer(&host, name)["text"], "one");
        elsewhere.install(&answering(name, "two"), "");
        wait_until(&host, |host| answer(host, name)["text"] == "two");
    }
    fs::remove_dir_all(elsewhere.plugins().join("b")).unwrap();
    wait_until(&host, |host| host.get("b").is_none());
    assert_eq!(answer(&host, "a")["text"], "two");
}

#[test]
fn a_half_written_file_keeps_the_old_version_and_shows_why() {
    let folder = Folder::new();
    folder.install(&answering("a", "one"), "");
    let host = folder.open();
    let digest = host.get("a").unwrap().digest;
    let new = answering("a", "two").bytes();
    // In place, as a compiler or `cp` writes.
    fs::write(folder.plugins().join("a/a.wasm"), &new[..new.len() - 3]).unwrap();
    host.reload().unwrap();
    let info = host.get("a").unwrap();
    assert_eq!((info.digest, info.health), (digest, PluginHealth::Ready));
    let fault = info.last_error.unwrap();
    assert!(
        fault.contains("is no whole WebAssembly component"),
        "{fault}"
    );
    assert_eq!(answer(&host, "a")["text"], "one");
    fs::write(folder.plugins().join("a/a.wasm"), &new).unwrap();
    host.reload().unwrap();
    assert_eq!(host.get("a").unwrap().last_error, None);
    assert_eq!(answer(&host, "a")["text"], "two");
}

#[test]
fn a_new_version_that_fails_anything_keeps_the_old_one() {
    let folder = Folder::new();
    folder.install(&answering("a", "one"), "");
    let host = folder.open();
    let mut bad_version = answering("a", "two");
    bad_version.version = "two".to_owned();
    let mut hanging = answering("a", "two");
    hanging.metadata = "(loop $l (br $l))".to_owned();
    let mut importing = answering("a", "two");
    importing.before = "(import \"wasi:sockets/network@0.2.3\" (instance))".to_owned();
    for (component, part) in [
        (bad_version, "metadata.version"),
        (hanging, "cannot say its metadata: fuel"),
        (importing, "wasi:sockets/network@0.2.3"),
    ] {
        folder.install(&component, "limits.fuel = 1000000");
        host.reload().unwrap();
        assert_eq!(answer(&host, "a")["text"], "one");
        let fault = host.get("a").unwrap().last_error.unwrap();
        assert!(fault.contains(part), "{fault}");
    }
    folder.write(
        "a/plugin.toml",
        "name = \"a\"\ncomponent = \"a.wasm\"\ncolour = \"red\"\n",
    );
    host.reload().unwrap();
    assert!(
        host.get("a")
            .unwrap()
            .last_error
            .unwrap()
            .contains("colour")
    );
    assert_eq!(answer(&host, "a")["text"], "one");
}

#[test]
fn a_new_version_must_pass_its_own_examples() {
    let folder = Folder::new();
    folder.install(&answering("a", "one"), "");
    let host = folder.open();
    folder.write(
        "a/fixtures.json",
        r#"[{"input":{},"output":{"ok":true,"text":"two"}}]"#,
    );
    folder.install(&answering("a", "three"), "");
    host.reload().unwrap();
    let fault = host.get("a").unwrap().last_error.unwrap();
    assert!(fault.contains("fails its own example 0"), "{fault}");
    assert_eq!(answer(&host, "a")["text"], "one");
    folder.install(&answering("a", "two"), "");
    host.reload().unwrap();
    assert_eq!(answer(&host, "a")["text"], "two");
}

#[test]
fn examples_hold_a_component_that_was_compiled_before_them() {
    let folder = Folder::new();
    folder.install(&answering("a", "one"), "");
    let host = folder.open();
    let wanted =
        |text: &str| format!(r#"[{{"input":{{}},"output":{{"ok":true,"text":"{text}"}}}}]"#);
    folder.write("a/fixtures.json", wanted("two"));
    host.reload().unwrap();
    let fault = host.get("a").unwrap().last_error.unwrap();
    assert!(fault.contains("fails its own example 0"), "{fault}");
    assert_eq!(answer(&host, "a")["text"], "one");
    folder.write("a/fixtures.json", wanted("one"));
    host.reload().unwrap();
    assert_eq!(host.get("a").unwrap().last_error, None);
    folder.write("a/fixtures.json", wanted("two"));
    drop(host);
    let host = folder.open();
    assert!(host.get("a").unwrap().last_error.is_some());
    assert_eq!(
        answer(&host, "a")["text"],
        "one",
        "what answered before goes on"
    );
}

#[test]
fn two_plugins_of_one_name_are_a_visible_conflict_and_the_first_keeps_the_name() {
    let folder = Folder::new();
    folder.install(&answering("a", "first"), "");
    let host = folder.open();
    // Earlier in the order of names, but later in time.
    folder.write("0.wasm", answering("a", "second").bytes());
    folder.write("0/a.wasm", answering("a", "third").bytes());
    folder.write("0/plugin.toml", "name = \"a\"\ncomponent = \"a.wasm\"\n");
    host.reload().unwrap();
    assert_eq!(answer(&host, "a")["text"], "first");
    let message = broken(&host, "a@0");
    assert!(
        message.contains("both named \"a\"") && message.contains("a keeps the name"),
        "{message}"
    );
    assert!(host.run("a@0", &json!({})).is_err());
    fs::remove_dir_all(folder.plugins().join("a")).unwrap();
    host.reload().unwrap();
    assert_eq!(answer(&host, "a")["text"], "third");
}

#[test]
fn a_reload_that_finds_nothing_new_changes_nothing() {
    let folder = Folder::new();
    folder.install(&Component::new("a"), "");
    let host = folder.open();
    let generation = host.generation();
    assert_eq!(host.reload().unwrap(), generation);
}

#[test]
fn a_warm_start_compiles_nothing_and_a_damaged_cache_is_made_anew() {
    let folder = Folder::new();
    folder.install(&Component::new("a"), "");
    drop(folder.open());
    let cached = |extension: &str| {
        let engine = fs::read_dir(folder.cache())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let mut files = fs::read_dir(engine)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        files
            .find(|path| path.extension().is_some_and(|found| found == extension))
            .unwrap()
    };
    let written = fs::metadata(cached("cwasm")).unwrap().modified().unwrap();
    assert_eq!(answer(&folder.open(), "a"), json!({"ok": true}));
    assert_eq!(
        fs::metadata(cached("cwasm")).unwrap().modified().unwrap(),
        written
    );
    let half = fs::metadata(cached("cwasm")).unwrap().len() / 2;
    fs::OpenOptions::new()
        .write(true)
        .open(cached("cwasm"))
        .unwrap()
        .set_len(half)
        .unwrap();
    assert_eq!(answer(&folder.open(), "a"), json!({"ok": true}));
    fs::write(cached("json"), "{").unwrap();
    assert_eq!(answer(&folder.open(), "a"), json!({"ok": true}));
}

#[test]
fn whether_fuel_is_counted_is_the_manifests_and_changes_with_it() {
    let folder = Folder::new();
    let fuel = |host: &PluginHost| {
        assert_eq!(answer(host, "a"), json!({"ok": true}));
        run(host, "a").fuel
    };
    folder.install(&Component::new("a"), "");
    let host = folder.open();
    let counted = fuel(&host);
    assert!(counted > 0);
    folder.install(&Component::new("a"), "limits.fuel = 0");
    host.reload().unwrap();
    assert_eq!(fuel(&host), 0);
    drop(host);
    let host = folder.open();
    assert_eq!(fuel(&host), 0, "from the cache");
    folder.install(&Component::new("a"), "");
    host.reload().unwrap();
    assert_eq!(fuel(&host), counted);
}

#[cfg(unix)]
#[test]
fn the_cache_is_the_users_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    drop(folder.open());
    let engine = fs::read_dir(folder.cache())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(
        engine.metadata().unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn a_missing_plugins_folder_holds_no_plugins() {
    let folder = Folder::new();
    fs::remove_dir(folder.plugins()).unwrap();
    let host = folder.open();
    assert!(host.list().is_empty());
    let message = host.run("a", &json!({})).unwrap_err().to_string();
    assert!(message.ends_with("there are: none"), "{message}");
}
