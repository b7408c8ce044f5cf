//! `require` in its shapes, `import … from`, and functions that `promisify` makes of others.

use super::{Names, last_name};
use crate::security::site::Source;

pub fn read(source: Source<'_>, names: &mut Names) {
    let code = source.bare.code.as_str();
    for string in &source.bare.strings {
        let module = source.content(string);
        let module = module.strip_prefix("node:").unwrap_or(module);
        let before = code[..string.start].trim_end();
        if let Some(before) = before.strip_suffix("require(") {
            required(before, &code[string.end..], module, names);
        } else if let Some(before) = before.strip_suffix("from")
            && let Some(at) = before.rfind("import")
        {
            imported(&before[at + "import".len()..], module, names);
        }
    }
    for (at, word) in code.match_indices("promisify(") {
        let inner = &code[at + word.len()..];
        let Some((inner, _)) = inner.split_once(')') else {
            continue;
        };
        if let Some((before, _)) = code[..at].rsplit_once('=')
            && code[before.len()..at].trim_matches(['=', ' ', '.']).len() <= "util".len()
            && let Some(full) = names.full(inner.trim()).into_iter().next()
        {
            names.add(last_name(before), full);
        }
    }
}

/// `before require("module") behind`.
fn required(before: &str, behind: &str, module: &str, names: &mut Names) {
    names.has_imports = true;
    let Some(before) = before.trim_end().strip_suffix('=') else {
        return;
    };
    let before = before.trim_end();
    // `require("module").exec`.
    let member = behind.trim_start().strip_prefix(')').unwrap_or_default();
    let member = member.strip_prefix('.').unwrap_or_default();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let member = &member[..member.find(|c| !is_name(c)).unwrap_or(member.len())];
    let full = match member {
        "" => module.to_owned(),
        member => format!("{module}.{member}"),
    };
    match before.strip_suffix('}') {
        Some(list) => {
            let list = &list[list.rfind('{').map_or(0, |at| at + 1)..];
            all(list, ":", &full, names);
        }
        None => names.add(last_name(before), full),
    }
}

/// `import words from "module"`.
fn imported(words: &str, module: &str, names: &mut Names) {
    let words = words.trim().trim_start_matches("type ").trim();
    let (before, list) = words.split_once('{').unwrap_or((words, ""));
    all(list.trim_end().trim_end_matches('}'), " as ", module, names);
    for name in before.split(',') {
        let name = name.trim();
        let name = name.strip_prefix('*').map_or(name, |rest| {
            rest.trim_start().trim_start_matches("as ").trim_start()
        });
        names.add(name, module);
    }
}

/// A list in braces: `exec as run, spawn` or `exec: run, spawn`.
fn all(list: &str, sign: &str, module: &str, names: &mut Names) {
    for one in list.split(',') {
        let (member, name) = one.split_once(sign).unwrap_or((one, one));
        let name = name.split('=').next().unwrap_or_default().trim();
        let member = member.trim();
        if !member.is_empty() {
            names.add(name, format!("{module}.{member}"));
        }
    }
}
