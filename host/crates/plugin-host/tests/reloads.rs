//! Reload after reload while others call: a process of its own, since it looks at the memory and files of all of it.

#[path = "it/folder.rs"]
#[allow(dead_code)]
mod folder;
#[path = "it/wat.rs"]
#[allow(dead_code)]
mod wat;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use folder::{Folder, answer};
use wat::Component;

const CALLERS: usize = 16;
/// Reloads until everything that grows once has grown.
const WARM_UP: usize = 30;
/// A component of this size that stayed in memory would take more than this in 1,000 reloads.
const MOST_GROWTH_BYTES: u64 = 32 << 20;

fn numbered(number: usize) -> Component {
    let mut component = Component::new("a");
    component.answer = json!({ "ok": true, "number": number }).to_string();
    component
}

/// Open files, and bytes that are in memory.
#[cfg(target_os = "linux")]
fn held() -> Option<(usize, u64)> {
    let files = std::fs::read_dir("/proc/self/fd").ok()?.count();
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kilobytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some((files, kilobytes << 10))
}

#[cfg(not(target_os = "linux"))]
fn held() -> Option<(usize, u64)> {
    None
}

/// Lets the callers end, also when a check fails.
struct AtEnd<'a>(&'a AtomicBool);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn reload_under_load(reloads: usize) {
    let folder = Folder::new();
    folder.install(&numbered(0), "");
    let host = folder.open();
    let newest = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let calls = AtomicU64::new(0);
    let (before, after) = std::thread::scope(|scope| {
        for _ in 0..CALLERS {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let oldest = newest.load(Ordering::Acquire);
                    let number = answer(&host, "a")["number"].as_u64().unwrap();
                    assert!(number >= oldest, "{number} answered after {oldest}");
                    calls.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let _end = AtEnd(&done);
        let mut before = None;
        for number in 1..=reloads {
            folder.install(&numbered(number), "");
            host.reload().unwrap();
            assert_eq!(host.get("a").unwrap().last_error, None);
            newest.store(number as u64, Ordering::Release);
            if number == WARM_UP {
                before = held();
            }
        }
        (before, held())
    });
    assert!(calls.into_inner() >= CALLERS as u64);
    assert_eq!(answer(&host, "a")["number"], reloads);
    if let (Some((files, bytes)), Some((files_after, bytes_after))) = (before, after) {
        // No reload is at work here, but a caller may still be in a version before, which keeps its memory's image open. A
        // file left open by each reload would be more than there are callers.
        assert!(
            files_after <= files + CALLERS,
            "{files_after} files are open, {files} were"
        );
        let growth = bytes_after.saturating_sub(bytes);
        assert!(growth < MOST_GROWTH_BYTES, "{growth} bytes more are held");
    }
}

#[test]
fn a_hundred_reloads_under_16_callers_fail_no_call_and_hold_nothing() {
    reload_under_load(100);
}

#[test]
#[ignore = "needs a minute"]
fn a_thousand_reloads_under_16_callers_fail_no_call_and_hold_nothing() {
    reload_under_load(1000);
}
