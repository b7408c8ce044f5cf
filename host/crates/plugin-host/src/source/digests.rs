//! Digests of components by what the file system says of their files, so that looking at the folder again does not read a
//! hundred megabytes.
//!
//! Such a digest only leads to compiled code: bytes are digested again before they are compiled, so what runs is always what
//! was compiled from bytes of that digest. The worst that a wrong one could do is to leave a changed file unseen.

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

    /// The digest of the file that is `stat` now; none when it has to be read.
    pub(super) fn digest(&self, path: &Path, stat: Option<&Stat>) -> Option<String> {
        let seen = self.0.get(path)?;
        (Some(&seen.stat) == stat).then(|| seen.digest.clone())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;
    use crate::source::{ComponentFile, hex};

    fn open(path: &Path, digests: &Digests) -> ComponentFile {
        ComponentFile::open(path, digests).unwrap().unwrap()
    }

    #[test]
    fn a_file_that_was_seen_is_read_only_when_it_was_replaced_or_is_to_be_compiled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wasm");
        fs::write(&path, "one").unwrap();
        let mut digests = Digests::default();
        let stat = Stat::of(&fs::metadata(&path).unwrap()).unwrap();
        digests.note(path.clone(), stat, "as noted".to_owned());
        assert_eq!(open(&path, &digests).digest, "as noted");
        let compiled = open(&path, &digests).with_bytes(|_| Ok(()));
        assert!(
            compiled.unwrap_err().contains("a.wasm changed"),
            "bytes of another digest are not compiled under this one"
        );

        let modified = fs::metadata(&path).unwrap().modified().unwrap();
        let beside = folder.path().join("beside");
        fs::write(&beside, "two").unwrap();
        fs::File::options()
            .append(true)
            .open(&beside)
            .and_then(|file| file.set_modified(modified))
            .unwrap();
        fs::rename(&beside, &path).unwrap();
        assert_eq!(open(&path, &digests).digest, hex(b"two"));
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
