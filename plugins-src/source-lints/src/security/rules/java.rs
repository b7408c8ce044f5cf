//! Java's, by the simple names of classes.

use super::*;

const OBJECTS: &str = "objects of the data's author are made, and their code runs";

fn is_weak(call: &Site<'_>) -> bool {
    begins(call, 0, &["md2", "md4", "md5", "sha-1", "sha1"]) || is_plain(call, &["sha"])
}

fn is_plain(call: &Site<'_>, names: &[&str]) -> bool {
    let plain = call.at(0).and_then(|one| one.plain()).unwrap_or_default();
    names.iter().any(|name| plain.eq_ignore_ascii_case(name))
}

/// DES, RC4, or blocks that are enciphered one by one, which is also what the name of a cipher alone stands for.
fn is_broken_cipher(call: &Site<'_>) -> bool {
    let plain = call.at(0).and_then(|one| one.plain()).unwrap_or_default();
    let plain = plain.to_ascii_lowercase();
    begins(call, 0, &["des", "rc2", "rc4", "arcfour"])
        || plain.contains("/ecb") && !plain.starts_with("rsa")
        || plain == "aes"
}

fn trusts_any_host(call: &Site<'_>) -> bool {
    let code: String = call.code().split_whitespace().collect();
    code.contains("->true") || code.contains("returntrue;")
}

/// Whether it is a variable, not a list.
fn is_a_variable(call: &Site<'_>) -> bool {
    let code = call.code().trim();
    !code.is_empty() && code.chars().all(|c| c.is_alphanumeric() || c == '_') && !call.is_fixed()
}

fn runs_a_script(call: &Site<'_>) -> bool {
    let receiver = call.name.to_ascii_lowercase();
    receiver.contains("engine") && first_varies(call)
}

fn comes_from_a_request(call: &Site<'_>) -> bool {
    call.mentions(&["getparameter(", "getheader(", "getquerystring("])
}

fn has_a_password(call: &Site<'_>) -> bool {
    let password = call.at(2).and_then(|one| one.plain()).unwrap_or_default();
    password.len() > 3 && !password.contains(['<', '$', '{'])
}

/// A key whose bytes are a text of the source.
fn is_a_literal(call: &Site<'_>) -> bool {
    let first = call.at(0);
    first.is_some_and(|first| {
        let code = first.code();
        code.starts_with('"') && code.contains("\".getBytes(")
    })
}

#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    warning("Runtime.getRuntime().exec", "shell", is_put_together, "values become words of the command; pass an array of arguments"),
    info("Runtime.getRuntime().exec", "shell", is_a_variable, "a text is split at its spaces; pass an array of arguments"),
    warning("new ProcessBuilder", "shell", gives_text_to_a_shell, "a text is given to the shell; name the program and its arguments"),
    warning(".eval", "eval", runs_a_script, "a script engine runs whatever text it gets"),
    warning("MessageDigest.getInstance", "weak-hash", |call| is_weak(call) && is_for_passwords(call), PASSWORD),
    info("MessageDigest.getInstance", "weak-hash", is_weak, "MD5 and SHA-1 are broken; for anything that must hold, use SHA-256"),
    warning("DigestUtils.md5Hex", "weak-hash", is_for_passwords, PASSWORD),
    warning("DigestUtils.sha1Hex", "weak-hash", is_for_passwords, PASSWORD),
    warning("DigestUtils.sha256Hex", "weak-hash", is_for_passwords, PASSWORD),
    info("DigestUtils.md5", "weak-hash", always, MD5),
    info("DigestUtils.md5Hex", "weak-hash", always, MD5),
    info("DigestUtils.sha1", "weak-hash", always, SHA1),
    info("DigestUtils.sha1Hex", "weak-hash", always, SHA1),
    warning("Cipher.getInstance", "weak-cipher", is_broken_cipher, CIPHER),
    warning("new NullCipher", "weak-cipher", always, "nothing is enciphered"),
    warning("new ObjectInputStream", "deserialisation", always, OBJECTS),
    warning("new XMLDecoder", "deserialisation", always, OBJECTS),
    warning(".enableDefaultTyping", "deserialisation", always, "the data names the classes that are made; use `@JsonTypeInfo` with names"),
    warning(".setHostnameVerifier", "no-verification", trusts_any_host, CERTIFICATE),
    warning(".setDefaultHostnameVerifier", "no-verification", trusts_any_host, CERTIFICATE),
    warning("HttpsURLConnection.setDefaultHostnameVerifier", "no-verification", trusts_any_host, CERTIFICATE),
    warning("DriverManager.getConnection", "secret", has_a_password, "a password stands in the source; read it from the environment"),
    warning("new SecretKeySpec", "secret", is_a_literal, "a key stands in the source; read it from a store of keys"),
    warning("new File", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("new FileInputStream", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("Paths.get", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning(".getWriter().println", "markup", comes_from_a_request, "what the request says is read as HTML; escape it"),
    warning(".getWriter().print", "markup", comes_from_a_request, "what the request says is read as HTML; escape it"),
    warning(".getWriter().write", "markup", comes_from_a_request, "what the request says is read as HTML; escape it"),
];
