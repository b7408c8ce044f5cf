//! A new version on the inputs of late.

use serde_json::json;

use crate::folder::{Folder, answer};
use crate::wat::Component;

fn versions(second: impl FnOnce(&mut Component)) -> (Folder, plugin_host::PluginHost) {
    let folder = Folder::new();
    folder.install(&Component::new("good"), "");
    let host = folder.open();
    for n in 0..60 {
        host.run("good", &json!({ "n": n })).unwrap();
    }
    let mut next = Component::new("good");
    next.version = "2.0.0".to_owned();
    second(&mut next);
    folder.install(&next, "");
    host.reload().unwrap();
    (folder, host)
}

#[test]
fn a_version_that_says_the_same_replays_the_last_fifty_and_shows_no_change() {
    let (_folder, host) = versions(|_| {});
    let canary = host.get("good").unwrap().canary.unwrap();
    assert_eq!((canary.replayed, canary.changed), (50, 0));
}

#[test]
fn what_a_new_version_says_otherwise_is_shown() {
    let (_folder, host) = versions(|next| next.answer = r#"{"ok":false}"#.to_owned());
    assert_eq!(answer(&host, "good"), json!({"ok": false}));
    let canary = host.get("good").unwrap().canary.unwrap();
    assert_eq!((canary.replayed, canary.changed), (50, 50));
    assert_eq!(canary.changes.len(), 10);
    let change = &canary.changes[0];
    assert_eq!(
        (
            change.input.as_str(),
            change.before.as_str(),
            change.after.as_str()
        ),
        (r#"{"n":10}"#, r#"{"ok":true}"#, r#"{"ok":false}"#)
    );
}

#[test]
fn a_version_that_traps_on_an_input_that_the_one_before_passed_does_not_take_its_place() {
    // It traps on inputs of seven bytes, {"n":7}, and on no longer ones.
    let trap = "(if (i32.eq (local.get $length) (i32.const 7)) (then unreachable))";
    let (folder, host) = versions(|next| next.execute = trap.to_owned());
    // None of the last fifty is so short: 10 to 59.
    assert_eq!(host.get("good").unwrap().metadata.unwrap().version, "2.0.0");
    let mut third = Component::executing("good", "(unreachable)");
    third.version = "3.0.0".to_owned();
    folder.install(&third, "");
    host.reload().unwrap();
    let shown = host.get("good").unwrap();
    assert_eq!(shown.metadata.unwrap().version, "2.0.0");
    let fault = shown.last_error.unwrap();
    assert!(fault.contains("the version before passed"), "{fault}");
    assert!(fault.contains("trap"), "{fault}");
    let answered = host.run("good", &json!({ "n": 10 })).unwrap();
    assert!(matches!(
        answered.outcome,
        domain::ExecutionOutcome::Ok { .. }
    ));
}

#[test]
fn a_version_that_falls_over_where_the_one_before_did_too_takes_its_place() {
    let folder = Folder::new();
    folder.install(&Component::executing("bad", "(unreachable)"), "");
    let host = folder.open();
    host.run("bad", &json!({})).unwrap();
    let mut next = Component::executing("bad", "(unreachable)");
    next.version = "2.0.0".to_owned();
    folder.install(&next, "");
    host.reload().unwrap();
    assert_eq!(host.get("bad").unwrap().metadata.unwrap().version, "2.0.0");
}
