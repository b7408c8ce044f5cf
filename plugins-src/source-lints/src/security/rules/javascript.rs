//! JavaScript's and TypeScript's.

use super::*;

const TEXT: &str = "a text is run as code; pass a function";

fn is_a_text(call: &Site<'_>) -> bool {
    call.code().trim_start().starts_with(['"', '\'', '`'])
}

fn has_shell(call: &Site<'_>) -> bool {
    let list = call.list();
    let options = list.last().map_or("", |one| one.text());
    let is_on = options.split_once("shell").is_some_and(|(_, value)| {
        let value = value.trim_start();
        value
            .strip_prefix(':')
            .is_some_and(|value| value.trim_start().starts_with("true"))
    });
    is_on && list[..list.len().saturating_sub(1)].iter().any(varies)
}

fn is_weak(call: &Site<'_>) -> bool {
    begins(call, 0, &["md5", "md4", "sha1", "ripemd"])
}

fn is_broken_cipher(call: &Site<'_>) -> bool {
    let plain = call.at(0).and_then(|one| one.plain()).unwrap_or_default();
    begins(call, 0, &["des", "rc4", "rc2", "bf-"]) || plain.to_ascii_lowercase().ends_with("-ecb")
}

#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    warning("eval", "eval", varies, "`eval` runs whatever text it gets"),
    warning("Function", "eval", varies, "a function made from a text runs whatever the text says"),
    warning("setTimeout", "eval", is_a_text, TEXT),
    warning("setInterval", "eval", is_a_text, TEXT),
    warning("vm.runInThisContext", "eval", first_varies, "`vm` keeps no code from the rest of the program"),
    warning("vm.runInNewContext", "eval", first_varies, "`vm` keeps no code from the rest of the program"),
    warning("child_process.exec", "shell", first_varies, "`exec` gives a text to the shell; use `execFile` with a list of arguments"),
    warning("child_process.execSync", "shell", first_varies, "`execSync` gives a text to the shell; use `execFileSync`"),
    warning("execSync", "shell", first_varies, "`execSync` gives a text to the shell; use `execFileSync`"),
    warning("child_process.spawn", "shell", has_shell, "`shell: true` gives a text to the shell; leave it out"),
    warning("child_process.spawnSync", "shell", has_shell, "`shell: true` gives a text to the shell; leave it out"),
    warning("child_process.execFile", "shell", has_shell, "`shell: true` gives a text to the shell; leave it out"),
    warning("node-serialize.unserialize", "deserialisation", always, "functions of the data's author are run; use `JSON.parse`"),
    info("crypto.createHash", "weak-hash", is_weak, "MD5 and SHA-1 are broken; for anything that must hold, use SHA-256"),
    warning("crypto.createCipher", "weak-cipher", always, "the key is made of the password by one round of MD5; use `createCipheriv`"),
    warning("crypto.createCipheriv", "weak-cipher", is_broken_cipher, CIPHER),
    info("document.write", "markup", varies, "what is written is read as HTML"),
    info(".insertAdjacentHTML", "markup", |call| call.at(1).is_some_and(|html| html.is_put_together()), "what varies is read as HTML"),
];
