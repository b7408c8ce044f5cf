//! PHP's, in small letters.

use super::*;

const REQUEST: [&str; 5] = ["$_get", "$_post", "$_request", "$_cookie", "$_server["];

fn is_unescaped(call: &Site<'_>) -> bool {
    first_varies(call) && !call.mentions(&["escapeshellarg", "escapeshellcmd"])
}

fn comes_from_a_request(call: &Site<'_>) -> bool {
    call.mentions(&REQUEST) && !call.mentions(&["basename(", "realpath("])
}

/// A pattern whose flags have `e`.
fn runs_its_text(call: &Site<'_>) -> bool {
    let pattern = call.at(0).and_then(|one| one.plain()).unwrap_or_default();
    let Some(mark) = pattern
        .chars()
        .next()
        .filter(|mark| !mark.is_alphanumeric())
    else {
        return false;
    };
    let flags = pattern.rsplit(mark).next().unwrap_or_default();
    flags.contains('e') && flags.chars().all(|flag| "imsxADSUXJue".contains(flag))
}

fn makes_any_object(call: &Site<'_>) -> bool {
    !call.mentions(&["allowed_classes"])
}

fn is_broken_cipher(call: &Site<'_>) -> bool {
    let cipher = call.at(1).and_then(|one| one.plain()).unwrap_or_default();
    begins(call, 1, &["des", "rc4", "rc2", "bf-"]) || cipher.to_ascii_lowercase().ends_with("-ecb")
}

#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    warning("eval", "eval", varies, "`eval` runs whatever text it gets"),
    warning("create_function", "eval", varies, "a function made from a text runs whatever the text says"),
    warning("assert", "eval", is_text_with_values, "before PHP 8 a text is run as code"),
    warning("preg_replace", "eval", runs_its_text, "the flag `e` runs the replacement; use `preg_replace_callback`"),
    warning("shell_exec", "shell", is_unescaped, SHELL),
    warning("exec", "shell", is_unescaped, SHELL),
    warning("system", "shell", is_unescaped, SHELL),
    warning("passthru", "shell", is_unescaped, SHELL),
    warning("popen", "shell", is_unescaped, SHELL),
    warning("proc_open", "shell", |call| is_unescaped(call) && is_put_together(call), SHELL),
    warning("unserialize", "deserialisation", makes_any_object, "objects of the data's author are made; use `json_decode`"),
    warning("md5", "weak-hash", is_for_passwords, "a quick hash lets passwords be guessed; use `password_hash`"),
    warning("sha1", "weak-hash", is_for_passwords, "a quick hash lets passwords be guessed; use `password_hash`"),
    warning("hash", "weak-hash", is_for_passwords, "a quick hash lets passwords be guessed; use `password_hash`"),
    warning("openssl_encrypt", "weak-cipher", is_broken_cipher, CIPHER),
    warning("mcrypt_encrypt", "weak-cipher", always, "`mcrypt` is no longer kept; use `sodium_crypto_secretbox`"),
    warning("file_get_contents", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("fopen", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("readfile", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("unlink", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("include", "path-traversal", comes_from_a_request, "the request names code that is run; look its name up in a list"),
    warning("include_once", "path-traversal", comes_from_a_request, "the request names code that is run; look its name up in a list"),
    warning("require", "path-traversal", comes_from_a_request, "the request names code that is run; look its name up in a list"),
    warning("require_once", "path-traversal", comes_from_a_request, "the request names code that is run; look its name up in a list"),
    warning("echo", "markup", is_raw, "what the request says is read as HTML; use `htmlspecialchars`"),
    warning("print", "markup", is_raw, "what the request says is read as HTML; use `htmlspecialchars`"),
];

/// Something of a request that nothing escapes.
fn is_raw(call: &Site<'_>) -> bool {
    let is_made_safe = [
        "htmlspecialchars",
        "htmlentities",
        "strip_tags",
        "json_encode",
        "intval",
        "(int)",
        "urlencode",
        "count(",
        "isset(",
        "esc_",
        "? ",
        "escape",
        "purify",
    ];
    call.mentions(&REQUEST[..4]) && !call.mentions(&is_made_safe)
}
