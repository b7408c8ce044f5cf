//! `import a.b as c`, `from a import b as c, d`, `from a import *`.

use super::Names;
use crate::security::site::Source;

pub fn read(source: Source<'_>, names: &mut Names) {
    let code = source.bare.code.as_str();
    let mut at = 0;
    for line in code.split_inclusive('\n') {
        let start = at + line.len() - line.trim_start().len();
        at += line.len();
        let line = line.trim();
        if let Some(list) = line.strip_prefix("import ") {
            for (path, name) in pairs(list) {
                names.has_imports = true;
                if name != path {
                    names.add(name, path);
                }
            }
        } else if let Some(rest) = line.strip_prefix("from ")
            && let Some((module, _)) = rest.split_once(" import")
        {
            let module = module.trim();
            let list = &code[start..];
            let list = &list[list.find(" import").map_or(0, |place| place + 7)..];
            let list = match list.trim_start().strip_prefix('(') {
                Some(list) => &list[..list.find(')').unwrap_or(list.len())],
                None => logical_line(list),
            };
            for (path, name) in pairs(list) {
                match path {
                    "*" => names.open.push(module.to_owned()),
                    path => names.add(name, format!("{module}.{path}")),
                }
            }
        }
    }
}

/// To the first end of a line that no backslash takes away.
fn logical_line(text: &str) -> &str {
    let mut ends = text.match_indices('\n');
    let end = ends.find(|(at, _)| !text[..*at].trim_end_matches('\r').ends_with('\\'));
    &text[..end.map_or(text.len(), |(at, _)| at)]
}

/// What is imported, and the name for it.
fn pairs(list: &str) -> impl Iterator<Item = (&str, &str)> {
    let list = list.split(';').next().unwrap_or_default().split(',');
    list.filter_map(|one| {
        let mut words = one.split(|c: char| c.is_whitespace() || c == '\\');
        let mut words = words.by_ref().filter(|word| !word.is_empty());
        let path = words.next()?;
        let name = match words.next() {
            Some("as") => words.next()?,
            _ => path,
        };
        Some((path, name))
    })
}
