//! Verdicts of a plugin with its settings, by the digest of the sample: a second run asks no plugin.
//!
//! One file for each (plugin, config), which only grows: a head of digest, lengths and checksum before each verdict. A torn end
//! is cut off. Where another process holds the file, or it cannot be used, the run goes on without it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use domain::{Judged, Score, Signature, Verdict};
use sha2::{Digest, Sha256};

/// First bytes of a file; another version is another file.
const MAGIC: &[u8; 8] = b"ctmemo02";
/// Digest, length of the JSON, length of the signature in values, checksum of both.
const HEAD: usize = 16 + 4 + 4 + 8;
/// Longest verdict that is kept.
const LONGEST: usize = 16 << 20;

type Key = [u8; 16];

/// The file of one step.
pub(crate) struct Memo {
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    /// Where each verdict's head begins.
    places: HashMap<Key, u64>,
    end: u64,
    /// What is not written yet; it begins at `end`.
    pending: Vec<u8>,
}

impl Memo {
    /// Opens or makes the file of `name`; none when another process has it, or the folder cannot be used.
    pub(crate) fn open(folder: &Path, name: &str) -> Option<Self> {
        std::fs::create_dir_all(folder).ok()?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(folder.join(format!("{name}.memo")))
            .ok()?;
        file.try_lock().ok()?;
        let (places, end) = scan(&mut file).ok()?;
        let mut inner = Inner {
            file,
            places,
            end,
            pending: Vec::new(),
        };
        inner.file.set_len(end).ok()?;
        if end == 0 {
            inner.file.write_all(MAGIC).ok()?;
            inner.end = MAGIC.len() as u64;
        }
        Some(Self {
            inner: Mutex::new(inner),
        })
    }

    /// The verdict that was kept.
    pub(crate) fn get(&self, sample: &[u8; 32]) -> Option<Judged<Verdict>> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let place = *inner.places.get(&key(sample))?;
        inner.read(place)
    }

    /// Keeps a verdict. One that is lost costs the next run a call, so a fault is nobody's concern.
    pub(crate) fn put(&self, sample: &[u8; 32], judged: &Judged<Verdict>) {
        let mut plain = judged.clone();
        let (signature, scores) = match &mut plain.result {
            Ok(verdict) => (
                verdict.signature.take(),
                std::mem::take(&mut verdict.scores),
            ),
            Err(_) => (None, Vec::new()),
        };
        let name = signature.as_ref().map(|signature| &signature.name);
        // As bits: read back from decimals, the last one may differ.
        let scores: Vec<(&str, u64)> = scores
            .iter()
            .map(|score| (score.name.as_str(), score.value.to_bits()))
            .collect();
        let Ok(json) = serde_json::to_vec(&(plain, name, scores)) else {
            return;
        };
        let values = signature
            .map(|signature| signature.values)
            .unwrap_or_default();
        if json.len() + 4 * values.len() > LONGEST {
            return;
        }
        let mut body = json.clone();
        body.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let place = inner.end + inner.pending.len() as u64;
        if inner.places.contains_key(&key(sample)) {
            return;
        }
        inner.places.insert(key(sample), place);
        let lengths = [json.len() as u32, values.len() as u32];
        inner.pending.extend_from_slice(&key(sample));
        inner
            .pending
            .extend(lengths.iter().flat_map(|length| length.to_le_bytes()));
        inner
            .pending
            .extend_from_slice(&checksum(&key(sample), &body));
        inner.pending.extend_from_slice(&body);
    }

    /// Writes what is pending.
    pub(crate) fn flush(&self) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = std::mem::take(&mut inner.pending);
        let end = inner.end;
        let written = inner
            .file
            .seek(SeekFrom::Start(end))
            .and_then(|_| inner.file.write_all(&pending));
        match written {
            Ok(()) => inner.end += pending.len() as u64,
            // A full disk: what did not get there must not be looked for there.
            Err(_) => inner.places.retain(|_, place| *place < end),
        }
    }
}

impl Inner {
    fn read(&mut self, place: u64) -> Option<Judged<Verdict>> {
        let mut head = [0; HEAD];
        self.bytes(place, &mut head)?;
        let (json, values) = lengths(&head)?;
        let mut body = vec![0; json + 4 * values];
        self.bytes(place + HEAD as u64, &mut body)?;
        if checksum(head.first_chunk()?, &body)[..] != head[24..] {
            return None;
        }
        let (mut judged, name, scores): (Judged<Verdict>, Option<String>, Vec<(String, u64)>) =
            serde_json::from_slice(&body[..json]).ok()?;
        if let Ok(verdict) = &mut judged.result {
            let scores = scores.into_iter().map(|(name, bits)| Score {
                name,
                value: f64::from_bits(bits),
                reason: String::new(),
            });
            verdict.scores = scores.collect();
            let values = body[json..].as_chunks::<4>().0;
            verdict.signature = name.map(|name| Signature {
                name,
                values: values
                    .iter()
                    .map(|value| u32::from_le_bytes(*value))
                    .collect(),
            });
        }
        Some(judged)
    }

    fn bytes(&mut self, place: u64, into: &mut [u8]) -> Option<()> {
        if place >= self.end {
            let start = usize::try_from(place - self.end).ok()?;
            into.copy_from_slice(self.pending.get(start..start + into.len())?);
            return Some(());
        }
        self.file.seek(SeekFrom::Start(place)).ok()?;
        self.file.read_exact(into).ok()
    }
}

fn key(sample: &[u8; 32]) -> Key {
    *sample.first_chunk().unwrap_or(&[0; 16])
}

fn checksum(key: &Key, body: &[u8]) -> [u8; 8] {
    let digest: [u8; 32] = Sha256::new()
        .chain_update(key)
        .chain_update(body)
        .finalize()
        .into();
    *digest.first_chunk().unwrap_or(&[0; 8])
}

fn lengths(head: &[u8; HEAD]) -> Option<(usize, usize)> {
    let word = |at: usize| {
        let bytes: [u8; 4] = head[at..at + 4].try_into().ok()?;
        usize::try_from(u32::from_le_bytes(bytes)).ok()
    };
    let (json, values) = (word(16)?, word(20)?);
    (json.checked_add(values.checked_mul(4)?)? <= LONGEST).then_some((json, values))
}

/// Finds the heads; the end is behind the last whole verdict.
fn scan(file: &mut File) -> std::io::Result<(HashMap<Key, u64>, u64)> {
    let size = file.metadata()?.len();
    let mut reader = BufReader::new(file);
    let mut places = HashMap::new();
    let mut magic = [0; MAGIC.len()];
    if reader.read_exact(&mut magic).is_err() || magic != *MAGIC {
        return Ok((places, 0));
    }
    let mut end = MAGIC.len() as u64;
    let mut head = [0; HEAD];
    while reader.read_exact(&mut head).is_ok() {
        let Some((json, values)) = lengths(&head) else {
            break;
        };
        let body = (json + 4 * values) as u64;
        if end + HEAD as u64 + body > size {
            break;
        }
        reader.seek_relative(body as i64)?;
        if let Some(key) = head.first_chunk::<16>() {
            places.insert(*key, end);
        }
        end += HEAD as u64 + body;
    }
    Ok((places, end))
}

#[cfg(test)]
mod tests {
    use domain::{Decision, Judged, Reason, Score, Signature, Verdict};

    use super::Memo;

    fn judged(n: u32) -> Judged<Verdict> {
        Judged {
            result: match n % 3 {
                0 => Err(format!("trap: {n}")),
                _ => Ok(Verdict {
                    decision: Decision::Drop {
                        reason: Reason {
                            code: "x".to_owned(),
                            message: "é".repeat(n as usize),
                        },
                    },
                    scores: vec![Score {
                        name: "s".to_owned(),
                        value: 0.1 + f64::from(n),
                        reason: String::new(),
                    }],
                    signature: n.is_multiple_of(2).then(|| Signature {
                        name: "m".to_owned(),
                        values: vec![n; 256],
                    }),
                }),
            },
            fuel: u64::from(n),
        }
    }

    fn digest(n: u32) -> [u8; 32] {
        let mut digest = [7; 32];
        digest[..4].copy_from_slice(&n.to_le_bytes());
        digest
    }

    #[test]
    fn verdicts_come_back_as_they_were_and_a_torn_end_costs_only_itself() {
        let folder = tempfile::tempdir().unwrap();
        let memo = Memo::open(folder.path(), "a").unwrap();
        assert!(memo.get(&digest(1)).is_none());
        for n in 0..20 {
            memo.put(&digest(n), &judged(n));
            assert_eq!(memo.get(&digest(n)), Some(judged(n)));
            if n == 10 {
                memo.flush();
            }
        }
        memo.flush();
        assert!(Memo::open(folder.path(), "a").is_none(), "it is held");
        drop(memo);
        let path = folder.path().join("a.memo");
        let length = std::fs::metadata(&path).unwrap().len();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(length - 3).unwrap();
        let memo = Memo::open(folder.path(), "a").unwrap();
        for n in 0..19 {
            assert_eq!(memo.get(&digest(n)), Some(judged(n)), "{n}");
        }
        assert_eq!(memo.get(&digest(19)), None);
        memo.put(&digest(19), &judged(19));
        memo.flush();
        drop(memo);
        let memo = Memo::open(folder.path(), "a").unwrap();
        assert_eq!(memo.get(&digest(19)), Some(judged(19)));
    }

    #[test]
    fn a_changed_byte_is_no_verdict() {
        let folder = tempfile::tempdir().unwrap();
        let memo = Memo::open(folder.path(), "a").unwrap();
        memo.put(&digest(2), &judged(2));
        memo.flush();
        drop(memo);
        let path = folder.path().join("a.memo");
        let mut bytes = std::fs::read(&path).unwrap();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(
            Memo::open(folder.path(), "a").unwrap().get(&digest(2)),
            None
        );
    }
}
