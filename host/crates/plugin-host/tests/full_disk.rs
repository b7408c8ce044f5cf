//! Files that cannot be written to their end while plugins are reloaded: a process of its own, since the limit is the whole
//! process's. A limit on the size of files stands for the full disk: it needs no rights, and `write` ends as on a full
//! one, early and with an error.
#![cfg(unix)]

#[path = "it/folder.rs"]
#[allow(dead_code)]
mod folder;
#[path = "it/wat.rs"]
#[allow(dead_code)]
mod wat;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use plugin_host::PluginHost;
use serde_json::json;

use folder::{Folder, answer};
use wat::Component;

/// What wasmtime writes to files that lie in memory: the first pages of a plugin's memory.
const IMAGE_BYTES: u64 = 64 << 10;

/// No file of this process can be made longer, until it is dropped.
struct FullDisk(libc::rlimit);

impl FullDisk {
    fn at(bytes: u64) -> Self {
        let mut before = libc::rlimit {
            rlim_cur: 0,
            rlim_max: 0,
        };
        // SAFETY: both take a struct that lives here; ignoring a signal replaces no handler of anybody's.
        unsafe {
            assert_eq!(libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut before), 0);
            // By default the process would be ended, where a full disk only gives an error.
            libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        }
        let disk = Self(before);
        disk.set(libc::rlimit {
            rlim_cur: bytes,
            ..before
        });
        disk
    }

    fn set(&self, limit: libc::rlimit) {
        // SAFETY: it only reads the struct.
        let set = unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) };
        assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        self.set(self.0);
    }
}

/// Large enough that its compiled code is the largest file here.
fn answering(text: &str) -> Component {
    let mut component = Component::new("a");
    component.answer = json!({ "ok": true, "text": text }).to_string();
    let filling = (0..4000).map(|number| {
        format!("(func (param i32) (result i32) (i32.div_u (i32.const {number}) (local.get 0)))")
    });
    component.module = filling.collect();
    component
}

fn says(host: &PluginHost, text: &str) {
    assert_eq!(answer(host, "a")["text"], text);
}

/// Sizes of what is in the cache.
fn cached(folder: &Folder) -> BTreeMap<PathBuf, u64> {
    let engines = fs::read_dir(folder.cache()).unwrap();
    let files = engines.flat_map(|engine| fs::read_dir(engine.unwrap().path()).unwrap());
    files
        .map(|file| {
            let file = file.unwrap();
            (file.path(), file.metadata().unwrap().len())
        })
        .collect()
}

// One test: two at once would share the limit.
#[test]
fn on_a_full_disk_calls_go_on_the_fault_is_said_and_it_mends_itself_when_there_is_room() {
    let folder = Folder::new();
    folder.install(&answering("one"), "");
    let host = folder.open();
    says(&host, "one");

    // The new component does not fit where the plugins lie: its first half is there.
    let place = folder.plugins().join("a/a.wasm");
    let two = answering("two").bytes();
    {
        let _disk = FullDisk::at(two.len() as u64 / 2);
        fs::write(&place, &two).expect_err("the disk is full");
        assert_eq!(fs::metadata(&place).unwrap().len(), two.len() as u64 / 2);
        host.reload().unwrap();
        says(&host, "one");
        let fault = host.get("a").unwrap().last_error.unwrap();
        assert!(
            fault.contains("is no whole WebAssembly component"),
            "{fault}"
        );
    }
    fs::write(&place, &two).unwrap();
    host.reload().unwrap();
    says(&host, "two");
    assert_eq!(host.get("a").unwrap().last_error, None);

    // The new component fits, its compiled code does not.
    let before = cached(&folder);
    let largest = before.values().copied().max().unwrap();
    let three = answering("three");
    let room = largest / 2;
    assert!(
        room > IMAGE_BYTES && room > three.bytes().len() as u64,
        "{before:?}"
    );
    {
        let _disk = FullDisk::at(room);
        folder.install(&three, "");
        host.reload().unwrap();
        // It is compiled in memory, and needs no disk to answer.
        says(&host, "three");
        let info = host.get("a").unwrap();
        assert_eq!(info.last_error, None);
        let why = info.unkept.unwrap();
        assert!(why.contains(folder.cache().to_str().unwrap()), "{why}");
        assert!(why.to_lowercase().contains("large"), "{why}");
        assert_eq!(cached(&folder), before, "nothing half-written stays");
        // Still full: it tries, and says the same.
        host.reload().unwrap();
        assert_eq!(host.get("a").unwrap().unkept, Some(why));
        // And a process that starts now compiles it, and answers too.
        let another = folder.open();
        says(&another, "three");
        assert!(another.get("a").unwrap().unkept.is_some());
    }
    host.reload().unwrap();
    says(&host, "three");
    assert_eq!(host.get("a").unwrap().unkept, None);
    let after = cached(&folder);
    assert_eq!(after.len(), before.len() + 2, "code and record: {after:?}");
    let another = folder.open();
    says(&another, "three");
    assert_eq!(another.get("a").unwrap().unkept, None);
    assert_eq!(cached(&folder), after, "a warm start compiles nothing");
}
