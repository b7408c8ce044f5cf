//! What names mean in a file: `import subprocess as sp`, `const { exec: run } = require("child_process")`.

mod go;
mod javascript;
mod python;

use std::collections::BTreeMap;

use super::site::Source;

/// The names that a file gives to what it imports.
#[derive(Default)]
pub struct Names {
    /// The name in the file, and the full one.
    known: BTreeMap<String, String>,
    /// Modules all of whose names are here.
    open: Vec<String>,
    /// Whether it imports anything: a piece of a file may not.
    pub has_imports: bool,
}

impl Names {
    /// Reads the imports of a file.
    pub fn read(source: Source<'_>) -> Self {
        let mut names = Self::default();
        match source.language.name {
            "python" => python::read(source, &mut names),
            "javascript" | "jsx" | "typescript" | "tsx" => javascript::read(source, &mut names),
            "go" => go::read(source, &mut names),
            "java" => java(source, &mut names),
            _ => {}
        }
        names
    }

    fn add(&mut self, name: &str, full: impl Into<String>) {
        self.has_imports = true;
        if !name.is_empty() {
            self.known.insert(name.to_owned(), full.into());
        }
    }

    /// What a name may stand for: first the one that it is known to stand for.
    pub fn full(&self, name: &str) -> Vec<String> {
        let (first, rest) = match name.find('.') {
            Some(at) if at > 0 => name.split_at(at),
            _ => (name, ""),
        };
        if let Some(full) = self.known.get(first) {
            return vec![format!("{full}{rest}")];
        }
        let mut all = vec![name.to_owned()];
        if rest.is_empty() {
            all.extend(self.open.iter().map(|module| format!("{module}.{name}")));
        }
        all
    }
}

/// `import static a.b.C.m;`, and variables that hold the runtime.
fn java(source: Source<'_>, names: &mut Names) {
    let code = source.bare.code.as_str();
    for line in code.lines() {
        let Some(path) = line.trim().strip_prefix("import static ") else {
            continue;
        };
        let mut path = path.trim_end_matches([';', ' ']).rsplit('.');
        if let (Some(method), Some(class)) = (path.next(), path.next()) {
            match method {
                "*" => names.open.push(class.to_owned()),
                _ => names.add(method, format!("{class}.{method}")),
            }
        }
    }
    let runtime = "Runtime.getRuntime()";
    for (at, _) in code.match_indices(runtime) {
        let is_all = code[at + runtime.len()..].trim_start().starts_with(';');
        let before = code[..at].trim_end().trim_end_matches("java.lang.");
        if let Some(before) = before.strip_suffix('=')
            && is_all
        {
            names.add(last_name(before), runtime);
        }
    }
}

/// The name that a text ends with.
fn last_name(text: &str) -> &str {
    let text = text.trim_end();
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
    let start = text
        .char_indices()
        .rev()
        .take_while(|(_, c)| is_name(*c))
        .last();
    start.map_or("", |(at, _)| &text[at..])
}
