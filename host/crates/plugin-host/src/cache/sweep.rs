//! What nobody has used for long goes, so that the cache of one who builds a plugin all day does not grow for ever.
//!
//! A record's time of change says when its component was used last, to a day. Code that another process has mapped stays
//! valid without its name; where a system refuses to take the name away, it goes another time.

use std::fs::{self, DirEntry, File};
use std::path::Path;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Unused for longer, a component goes.
const KEPT: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Beyond so many bytes of code those go that were used longest ago.
const MOST: u64 = 4 << 30;

/// Notes that a record's component was used.
pub(super) fn used(record: &Path) {
    let now = SystemTime::now();
    let age = fs::metadata(record)
        .and_then(|about| about.modified())
        .map(|at| now.duration_since(at).unwrap_or_default());
    // A cache that cannot be written to is one that does not shrink.
    if age.is_ok_and(|age| age > DAY) {
        let _ = File::options()
            .append(true)
            .open(record)
            .and_then(|file| file.set_modified(now));
    }
}

/// Removes what is old from the folder of this engine, and the folders of engines that were not used for as long.
pub(super) fn sweep(all: &Path, own: &Path, now: SystemTime) {
    for entry in entries(all) {
        let path = entry.path();
        let name = entry.file_name();
        // Nothing else in there is ours.
        let of_engine = name.len() == 16
            && name
                .to_string_lossy()
                .bytes()
                .all(|byte| byte.is_ascii_hexdigit());
        if of_engine && path != own && entries(&path).all(|entry| is_old(&entry, now)) {
            remove(|| fs::remove_dir_all(&path), &path);
        }
    }
    let mut records = Vec::new();
    for entry in entries(own) {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        match path.extension().and_then(|ending| ending.to_str()) {
            Some("json") if !is_of_folder(&name) => {
                let code = path.with_extension("cwasm");
                let size = fs::metadata(&code).map_or(0, |about| about.len());
                records.push((age(&entry, now), size, path, code));
            }
            // Half written, or code whose record was never written.
            Some("cwasm") if path.with_extension("json").exists() => {}
            Some("json") => {}
            _ if is_old(&entry, now) => remove(|| fs::remove_file(&path), &path),
            _ => {}
        }
    }
    records.sort_by_key(|(age, ..)| *age);
    let mut bytes = 0;
    for (age, size, record, code) in records {
        bytes += size;
        if age > KEPT || bytes > MOST {
            // The record first: without it the code is not looked at.
            remove(|| fs::remove_file(&record), &record);
            remove(|| fs::remove_file(&code), &code);
        }
    }
}

/// What is known of a plugins folder, and is no component's record.
fn is_of_folder(name: &str) -> bool {
    [super::ANSWERS, super::DIGESTS]
        .iter()
        .any(|what| name.starts_with(&format!("{what}-")))
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(folder).into_iter().flatten().flatten()
}

/// What cannot be told is new.
fn age(entry: &DirEntry, now: SystemTime) -> Duration {
    let changed = entry.metadata().and_then(|about| about.modified());
    changed
        .map(|at| now.duration_since(at).unwrap_or_default())
        .unwrap_or_default()
}

fn is_old(entry: &DirEntry, now: SystemTime) -> bool {
    age(entry, now) > KEPT
}

fn remove(how: impl FnOnce() -> std::io::Result<()>, path: &Path) {
    if let Err(error) = how() {
        tracing::debug!("{} cannot be removed: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(folder: &Path, name: &str, days: u32) {
        fs::create_dir_all(folder).unwrap();
        let file = File::create(folder.join(name)).unwrap();
        file.set_modified(SystemTime::now() - DAY * days).unwrap();
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = entries(folder)
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_not_used_for_a_month_goes_and_the_rest_stays() {
        let all = tempfile::tempdir().unwrap();
        let own = all.path().join("0123456789abcdef");
        for (name, days) in [
            ("new.json", 1),
            // As old as it was made: its record says when it was used.
            ("new.cwasm", 90),
            ("old.json", 40),
            ("old.cwasm", 40),
            ("lost.cwasm", 40),
            (".tmp1", 40),
            (".tmp2", 0),
            ("answers-1.json", 90),
            ("digests-1.json", 90),
        ] {
            file(&own, name, days);
        }
        file(&all.path().join("1111111111111111"), "a.json", 50);
        file(&all.path().join("2222222222222222"), "a.json", 50);
        file(&all.path().join("2222222222222222"), "b.json", 2);
        file(&all.path().join("somebody's"), "a.json", 50);
        sweep(all.path(), &own, SystemTime::now());
        assert_eq!(
            names(&own),
            [
                ".tmp2",
                "answers-1.json",
                "digests-1.json",
                "new.cwasm",
                "new.json"
            ]
        );
        assert_eq!(
            names(all.path()),
            ["0123456789abcdef", "2222222222222222", "somebody's"]
        );
    }

    #[test]
    fn what_is_used_is_new_again() {
        let all = tempfile::tempdir().unwrap();
        let own = all.path().join("0123456789abcdef");
        file(&own, "one.json", 29);
        used(&own.join("one.json"));
        sweep(all.path(), &own, SystemTime::now() + DAY * 2);
        assert_eq!(names(&own), ["one.json"]);
        used(&own.join("missing.json"));
    }
}
