//! Signatures by minisign, which need no server and no certificate: a key that fits on a line, and a file beside.

use std::path::Path;

use anyhow::Context;
use minisign_verify::{PublicKey, Signature};

use super::usage_error;

/// Holds `bytes` to the signature in a file and gives its trusted comment; `key` is a public key as text, or a file with one.
///
/// # Errors
/// A key or signature that is none, and bytes that the key did not sign.
pub(super) fn verify(bytes: &[u8], signature: &Path, key: &str) -> anyhow::Result<String> {
    let key = if Path::new(key).is_file() {
        PublicKey::from_file(key)
    } else {
        PublicKey::from_base64(key)
    }
    .map_err(|error| usage_error(format!("--public-key {key}: no key of minisign: {error}")))?;
    let shown = signature.display();
    let text = std::fs::read_to_string(signature)
        .map_err(|error| usage_error(format!("--signature {shown}: {error}")))?;
    let signature = Signature::decode(&text)
        .map_err(|error| usage_error(format!("--signature {shown}: none of minisign: {error}")))?;
    key.verify(bytes, &signature, false).with_context(|| {
        format!("{shown} does not fit the component and the key; nothing is installed")
    })?;
    Ok(signature.trusted_comment().to_owned())
}

#[cfg(test)]
mod tests {
    use super::verify;

    /// Both made by the package py-minisign.
    const KEY: &str = "RWRZHUDEKRJQ9nMnkxTRvQ9gCnhjAh9NbG4ZbFuAUaEyxK55S+dZzxks";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key
RURZHUDEKRJQ9iTGz18tThPFfa0O4P2EopE2TQ5bgfaS/nUBN4m3pgYBJ4Iluc5Cy4dkeSU6aXsCDAcw/GNGeQk1sIaMEvuw2A0=
trusted comment: for a test of CodeTune Studio
SMydMqAO7lgpHmR0iBJCUUDi+GXKpPx18BvDqv/UXLkHpcS0kKMolKzufakRQ5ACJ8eINj+R4axKGe4x4SZwCA==
";

    #[test]
    fn only_the_signed_bytes_pass_and_only_by_the_key_that_signed() {
        let folder = tempfile::tempdir().unwrap();
        let signature = folder.path().join("a.minisig");
        std::fs::write(&signature, SIGNATURE).unwrap();
        let comment = verify(b"a component\n", &signature, KEY).unwrap();
        assert_eq!(comment, "for a test of CodeTune Studio");
        assert!(verify(b"a component!\n", &signature, KEY).is_err());
        let other = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
        assert!(verify(b"a component\n", &signature, other).is_err());
        let no_key = verify(b"a component\n", &signature, "x").unwrap_err();
        assert!(no_key.to_string().contains("--public-key"), "{no_key}");
        let key_file = folder.path().join("minisign.pub");
        std::fs::write(&key_file, format!("untrusted comment: a key\n{KEY}\n")).unwrap();
        assert!(verify(b"a component\n", &signature, key_file.to_str().unwrap()).is_ok());
    }
}
