//! Security: dangerous calls, SQL put together from pieces, secrets in the source, checks that are turned off.

mod calls;
mod names;
mod rules;
mod secrets;
mod settings;
mod site;
mod sql;
#[cfg(test)]
mod tests;
mod values;

use codetune_plugin::Diagnostic;
use source_text::Language;
use source_words::bare;

use site::Source;

/// Every code, in the order in which they are counted.
pub const CODES: [&str; 12] = [
    "eval",
    "shell",
    "deserialisation",
    "sql",
    "secret",
    "weak-hash",
    "weak-cipher",
    "no-verification",
    "temporary-file",
    "path-traversal",
    "markup",
    "overflow",
];

/// Findings in the order of the text.
pub fn look(text: &str, language: &Language) -> Vec<Diagnostic> {
    let bare = bare(text, language);
    let source = Source {
        text,
        bare: &bare,
        language,
    };
    let mut found = Vec::new();
    calls::calls(source, &mut found);
    sql::sql(source, &mut found);
    settings::settings(source, &mut found);
    secrets::secrets(source, &mut found);
    found.sort_by_key(|finding| finding.span);
    found
}
