//! Comparisons that Python's guide has in another way.

use codetune_plugin::{Diagnostic, Severity};
use source_words::Bare;

/// `== None` and `!= None`, which PEP 8 has as `is None` and `is not None`.
pub fn comparisons(bare: &Bare, found: &mut Vec<Diagnostic>) {
    for (sign, word) in [("==", "is"), ("!=", "is not")] {
        for (at, _) in bare.code.match_indices(sign) {
            let rest = bare.code[at + 2..].trim_start_matches(' ');
            let is_none = rest.strip_prefix("None").is_some_and(|rest| {
                !rest.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '('))
            });
            if !is_none {
                continue;
            }
            let space = if bare.code[..at].ends_with(' ') {
                ""
            } else {
                " "
            };
            let is_apart = bare.code[at + 2..].starts_with(' ');
            let message = format!("a comparison with None is written `{word} None`");
            let instead = format!("{space}{word}{}", if is_apart { "" } else { " " });
            found.push(
                Diagnostic::new("comparison", Severity::Warning, (at, at + 2), message)
                    .instead(instead, 0.8),
            );
        }
    }
}
