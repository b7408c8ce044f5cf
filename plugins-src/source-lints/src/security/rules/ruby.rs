//! Ruby's and Rails'.

use super::*;
use crate::security::sql::is_statement;

const SQL: &str = "values are put into the text of a SQL statement; bind them as parameters";
const REQUEST: &[&str] = &["params[", "request.", "cookies["];

/// One text for the shell, not a list of arguments.
fn is_one_text(call: &Site<'_>) -> bool {
    let is_named = |one: &Site<'_>| one.code().contains(": ") || one.code().contains("=>");
    let list = call.list();
    let count = list.iter().filter(|one| !is_named(one)).count();
    count == 1
        && varies(&list[0])
        && !call.mentions(&["shellescape", "shelljoin"])
        && !is_a_list(&list[0])
}

fn is_a_list(one: &Site<'_>) -> bool {
    one.code().starts_with(['*', '['])
}

/// A text that values are put into, not one that is a block's.
fn is_made_up(call: &Site<'_>) -> bool {
    call.at(0)
        .is_some_and(|first| first.code().starts_with('"') && first.is_put_together())
}

/// A piece of a statement that values are put into; whole ones are found as such.
fn is_made_of_sql(call: &Site<'_>) -> bool {
    is_made_up(call) && !is_statement(call.text().trim_start_matches(['"', ' ']))
}

fn comes_from_a_request(call: &Site<'_>) -> bool {
    call.at(0).is_some_and(|first| first.mentions(REQUEST))
}

fn is_weak(call: &Site<'_>) -> bool {
    begins(call, 0, &["md5", "sha1"])
}

fn is_broken_cipher(call: &Site<'_>) -> bool {
    let plain = call.at(0).and_then(|one| one.plain()).unwrap_or_default();
    begins(call, 0, &["des", "rc4", "rc2", "bf-"]) || plain.to_ascii_lowercase().contains("-ecb")
}

#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    warning("eval", "eval", first_varies, "`eval` runs whatever text it gets"),
    info(".instance_eval", "eval", is_made_up, "a text is run as code; pass a block"),
    info(".class_eval", "eval", is_made_up, "a text is run as code; pass a block"),
    info(".module_eval", "eval", is_made_up, "a text is run as code; pass a block"),
    warning(".send", "eval", comes_from_a_request, "the request names the method; look its name up in a list"),
    warning(".public_send", "eval", comes_from_a_request, "the request names the method; look its name up in a list"),
    warning("system", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("exec", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("spawn", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("Kernel.system", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("Kernel.exec", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("Process.spawn", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("IO.popen", "shell", is_made_up, "a text is given to the shell; pass an array"),
    warning("Open3.capture2", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("Open3.capture2e", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("Open3.capture3", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("Open3.popen3", "shell", is_one_text, "a text is given to the shell; pass the arguments one by one"),
    warning("open", "shell", comes_from_a_request, "a name that begins with `|` is run; use `File.open`"),
    warning("Marshal.load", "deserialisation", varies, "objects of the data's author are made, and their code runs"),
    warning("Marshal.restore", "deserialisation", varies, "objects of the data's author are made, and their code runs"),
    warning("YAML.unsafe_load", "deserialisation", varies, "`YAML.unsafe_load` makes any object; use `YAML.safe_load`").instead("YAML.safe_load", 0.7),
    info("YAML.load", "deserialisation", first_varies, "before Psych 4 this makes any object; use `YAML.safe_load`").instead("YAML.safe_load", 0.6),
    warning("Digest::MD5.hexdigest", "weak-hash", is_for_passwords, PASSWORD),
    warning("Digest::SHA1.hexdigest", "weak-hash", is_for_passwords, PASSWORD),
    warning("Digest::SHA256.hexdigest", "weak-hash", is_for_passwords, PASSWORD),
    info("Digest::MD5.hexdigest", "weak-hash", always, MD5),
    info("Digest::MD5.digest", "weak-hash", always, MD5),
    info("Digest::SHA1.hexdigest", "weak-hash", always, SHA1),
    info("Digest::SHA1.digest", "weak-hash", always, SHA1),
    info("OpenSSL::Digest.new", "weak-hash", is_weak, "MD5 and SHA-1 are broken; for anything that must hold, use SHA-256"),
    warning("OpenSSL::Cipher.new", "weak-cipher", is_broken_cipher, CIPHER),
    warning(".where", "sql", is_made_of_sql, SQL),
    warning(".find_by_sql", "sql", is_made_of_sql, SQL),
    warning(".count_by_sql", "sql", is_made_of_sql, SQL),
    warning(".order", "sql", is_made_of_sql, SQL),
    warning(".having", "sql", is_made_of_sql, SQL),
    warning(".joins", "sql", is_made_of_sql, SQL),
    warning(".pluck", "sql", is_made_of_sql, SQL),
    warning(".delete_all", "sql", is_made_of_sql, SQL),
    warning(".update_all", "sql", is_made_of_sql, SQL),
    warning("send_file", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("File.open", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("File.read", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("IO.read", "path-traversal", comes_from_a_request, "the request names the file; look its name up in a list"),
    warning("raw", "markup", comes_from_a_request, "what the request says is read as HTML"),
];
