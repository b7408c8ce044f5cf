//! `import "os/exec"`, `import run "os/exec"`, and both in a list.

use super::Names;
use crate::security::site::Source;

pub fn read(source: Source<'_>, names: &mut Names) {
    let code = source.bare.code.as_str();
    let mut list_end = 0;
    for string in &source.bare.strings {
        let line = code[..string.start].rsplit('\n').next().unwrap_or_default();
        let mut line = line.trim();
        let mut is_import = string.start < list_end;
        if let Some(rest) = line.strip_prefix("import") {
            is_import = true;
            line = rest.trim_start_matches([' ', '\t', '(']).trim();
        } else if !is_import && code[..string.start].trim_end().ends_with("import (") {
            is_import = true;
        }
        if !is_import {
            continue;
        }
        // All that stands up to the parenthesis belongs to it.
        let behind = &code[string.end..];
        let is_list = string.start < list_end || {
            let before = &code[..string.start];
            let at = before.rfind("import").map_or(0, |at| at + "import".len());
            before[at..].trim_start().starts_with('(')
        };
        if is_list && list_end <= string.start {
            list_end = string.end + behind.find(')').unwrap_or(behind.len());
        }
        let path = source.content(string);
        names.has_imports = true;
        match line {
            "." => names.open.push(path.to_owned()),
            "" => names.add(usual(path), path),
            name => names.add(name, path),
        }
    }
}

/// The name that a package has by itself: the last piece of its path that is no version.
fn usual(path: &str) -> &str {
    let is_version = |piece: &str| {
        let digits = piece.strip_prefix('v').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let mut pieces = path.rsplit('/').filter(|piece| !is_version(piece));
    let last = pieces.next().unwrap_or(path);
    match last.rsplit_once('.') {
        Some((name, version)) if is_version(version) => name,
        _ => last,
    }
}
