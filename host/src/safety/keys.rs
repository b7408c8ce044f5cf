use std::io::{self, Write};
use std::path::Path;

use rand::RngCore;
use sha2::{Digest, Sha256};

const BLOCK: usize = 64;

/// The server's secret: signs form tokens and sessions. Kept in the data folder, so that an open form and a
/// session outlive a restart.
#[derive(Clone)]
pub struct Keys([u8; 32]);

impl Keys {
    /// Reads `secret` from the data folder, or makes it, readable by its owner only.
    ///
    /// # Errors
    /// When the file can be neither read nor written.
    pub fn load(data: &Path) -> io::Result<Self> {
        let path = data.join("secret");
        if let Some(secret) = std::fs::read(&path).ok().and_then(|b| b.try_into().ok()) {
            return Ok(Self(secret));
        }
        let mut secret = [0; 32];
        rand::rng().fill_bytes(&mut secret);
        std::fs::create_dir_all(data)?;
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path)?.write_all(&secret)?;
        Ok(Self(secret))
    }

    /// HMAC-SHA-256 (RFC 2104) of the parts, as lower-case hex. The parts are length-prefixed, so that no two
    /// lists of parts sign alike.
    pub fn sign(&self, parts: &[&str]) -> String {
        let pad = |byte: u8| {
            let mut block = [byte; BLOCK];
            for (slot, key) in block.iter_mut().zip(self.0) {
                *slot ^= key;
            }
            block
        };
        let mut inner = Sha256::new_with_prefix(pad(0x36));
        for part in parts {
            inner.update((part.len() as u64).to_le_bytes());
            inner.update(part);
        }
        let outer = Sha256::new_with_prefix(pad(0x5c)).chain_update(inner.finalize());
        hex(&outer.finalize())
    }
}

/// 128 random bits as hex.
pub fn nonce() -> String {
    let mut bytes = [0; 16];
    rand::rng().fill_bytes(&mut bytes);
    hex(&bytes)
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Compares without telling by its time how much is alike.
pub fn equal(a: &str, b: &str) -> bool {
    let (a, b) = (Sha256::digest(a), Sha256::digest(b));
    a.iter().zip(&b).fold(0, |all, (x, y)| all | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_survives_a_restart_and_signs_the_parts_not_their_text() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::load(folder.path()).unwrap();
        let again = Keys::load(folder.path()).unwrap();
        assert_eq!(keys.sign(&["a", "bc"]), again.sign(&["a", "bc"]));
        assert_ne!(keys.sign(&["a", "bc"]), keys.sign(&["ab", "c"]));
        let other = Keys::load(tempfile::tempdir().unwrap().path()).unwrap();
        assert_ne!(keys.sign(&["a"]), other.sign(&["a"]));
    }

    #[test]
    fn comparing_sees_every_difference() {
        assert!(equal("abc", "abc"));
        assert!(!equal("abc", "abd"));
        assert!(!equal("abc", "abcd"));
    }
}
