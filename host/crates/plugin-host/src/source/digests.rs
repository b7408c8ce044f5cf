//! Digests of components by what the file system says of their files, so that looking at the folder again does not read a
//! hundred megabytes.
//!
//! Only what is in the cache of compiled code is ever loaded by such a digest, so what runs is always what was compiled from
//! bytes of that digest. The worst that a wrong one could do is to leave a changed file unseen.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Digests by path.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Digests(BTreeMap<PathBuf, Seen>);

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Seen {
    stat: Stat,
    digest: String,
}

/// What changes when a file is written to, replaced, or has its times set: its time of change in nanoseconds cannot be set by
/// anybody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stat {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stat {
    #[cfg(unix)]
    pub(super) fn of(about: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            device: about.dev(),
            inode: about.ino(),
            size: about.size(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        })
    }

    /// Other systems do not say when a file was changed, only what time it was given.
    #[cfg(not(unix))]
    pub(super) fn of(_: &Metadata) -> Option<Self> {
        None
    }

    /// Whether a file that is seen so now has been left alone for long enough that any change from now on gives it another
    /// time: file systems count in steps of up to two seconds.
    pub(super) fn is_settled(&self, now: SystemTime) -> bool {
        const STEP: i64 = 2;
        let now = now.duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |now| i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        self.changed.0 + STEP < now
    }
}

impl Digests {
    /// Notes a digest of a file that was seen so.
    pub(super) fn note(&mut self, path: PathBuf, stat: Stat, digest: String) {
        self.0.insert(path, Seen { stat, digest });
    }
}

/// What a scan may take as known.
pub(crate) struct Known<'a> {
    /// Of earlier scans.
    pub(crate) digests: &'a Digests,
    /// Whether what was compiled from a component of that digest is there.
    pub(crate) is_compiled: &'a (dyn Fn(&str) -> bool + Sync),
}

impl Known<'_> {
    /// The digest of the file that is `stat` now; none when it has to be read.
    pub(super) fn digest(&self, path: &Path, stat: Option<&Stat>) -> Option<String> {
        let seen = self.digests.0.get(path)?;
        (Some(&seen.stat) == stat && (self.is_compiled)(&seen.digest)).then(|| seen.digest.clone())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::source::{ComponentFile, hex};

    fn digest(path: &Path, digests: &Digests, is_compiled: bool) -> String {
        let known = Known {
            digests,
            is_compiled: &|_| is_compiled,
        };
        ComponentFile::open(path, &known).unwrap().unwrap().digest
    }

    #[test]
    fn a_file_that_was_seen_is_read_only_when_it_was_replaced_or_its_code_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        fs::write(&path, "one").unwrap();
        let mut digests = Digests::default();
        let stat = Stat::of(&fs::metadata(&path).unwrap()).unwrap();
        digests.note(path.clone(), stat, "as noted".to_owned());
        assert_eq!(digest(&path, &digests, true), "as noted");
        assert_eq!(digest(&path, &digests, false), hex(b"one"));

        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let beside = folder.path().join("beside");
        fs::write(&beside, "two").unwrap();
        fs::File::options()
            .append(true)
            .open(&beside)
            .and_then(|file| file.set_modified(modified))
            .unwrap();
        fs::rename(&beside, &path).unwrap();
        assert_eq!(digest(&path, &digests, true), hex(b"two"));
    }

    #[test]
    fn a_file_that_was_just_changed_is_not_taken_as_known() {
        let file = tempfile::tempfile().unwrap();
        let about = file.metadata().unwrap();
        let stat = Stat::of(&about).unwrap();
        let changed = UNIX_EPOCH + Duration::from_secs(stat.changed.0.unsigned_abs());
        assert!(!stat.is_settled(changed + Duration::from_secs(2)));
        assert!(stat.is_settled(changed + Duration::from_secs(3)));
        assert!(
            !stat.is_settled(changed - Duration::from_secs(60)),
            "a clock that was set back"
        );
    }
}
