//! The scorer `allowed-imports`: whether a completion imports only what the user allows.
//!
//! 1 when it does, 0 when it imports anything else; the reason names it. What the prompt imports is not the completion's.
//! A name stands for all that is under it, in each language's own way: `os` for `os.path`, `std` for `std::fmt`, `lodash` for
//! `lodash/map`.

use codetune_plugin::{About, Completion, Score, Scorer, Settings};
use source_parsers::analyze;
use source_text::fences;

/// The plugin.
pub struct AllowedImports {
    allow: Vec<String>,
    relative: bool,
}

impl Scorer for AllowedImports {
    const ABOUT: About = About {
        name: "allowed-imports",
        version: env!("CARGO_PKG_VERSION"),
        description: "Whether a completion imports only what is on a list.",
        author: "CodeTune Studio",
        tags: &["scorer", "imports"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        Ok(Self {
            allow: settings.get("allow", Vec::new())?,
            relative: settings.get("relative", true)?,
        })
    }

    fn score(&self, completion: &Completion) -> Result<Vec<Score>, String> {
        let mut pieces = fences(&completion.text);
        if pieces.is_empty() {
            pieces.push((None, &completion.text));
        }
        let mut others: Vec<String> = Vec::new();
        for (tag, code) in pieces {
            let language = completion.language.as_deref().or(tag);
            let imports = analyze(code, language, None, u32::MAX)?.imports;
            others.extend(imports.into_iter().filter(|import| !self.allows(import)));
        }
        others.sort_unstable();
        others.dedup();
        let reason = match others.is_empty() {
            true => String::new(),
            false => format!("not on the list: {}", others.join(", ")),
        };
        Ok(vec![Score {
            name: "allowed_imports",
            value: f64::from(u8::from(others.is_empty())),
            reason,
        }])
    }
}

impl AllowedImports {
    fn allows(&self, import: &str) -> bool {
        let is_relative = import.starts_with('.')
            || ["crate", "self", "super"]
                .iter()
                .any(|own| is_under(import, own));
        if is_relative {
            return self.relative;
        }
        self.allow.iter().any(|allowed| is_under(import, allowed))
    }
}

/// Whether `import` is `module` or something in it.
fn is_under(import: &str, module: &str) -> bool {
    let import = import.trim_start_matches("::");
    import
        .strip_prefix(module)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/', ':']))
}

codetune_plugin::scorer!(AllowedImports);

#[cfg(test)]
mod tests {
    use super::*;

    fn score(allow: &[&str], relative: bool, language: &str, text: &str) -> Score {
        let plugin = AllowedImports {
            allow: allow.iter().map(|&name| name.to_owned()).collect(),
            relative,
        };
        let completion = Completion {
            text: text.to_owned(),
            language: Some(language.to_owned()),
            ..Completion::default()
        };
        plugin.score(&completion).unwrap().remove(0)
    }

    #[test]
    fn a_name_stands_for_all_that_is_under_it() {
        for (language, text, allowed, refused) in [
            ("python", "import os.path\n", "os", "o"),
            ("js", "import a from 'lodash/map';\n", "lodash", "lod"),
            ("rust", "use std::fmt;\n", "std", "st"),
            ("go", "package p\nimport \"net/http\"\n", "net", "http"),
            ("c", "#include <sys/stat.h>\n", "sys", "stat"),
            ("java", "import java.util.List;\n", "java.util", "java.io"),
        ] {
            assert_eq!(score(&[allowed], true, language, text).value, 1.0, "{text}");
            assert_eq!(score(&[refused], true, language, text).value, 0.0, "{text}");
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_named_once() {
        let found = score(
            &["os"],
            true,
            "python",
            "import sys\nimport os\ndef f():\n    import sys, re\n",
        );
        assert_eq!(found.reason, "not on the list: re, sys");
        assert_eq!(score(&[], true, "python", "x = 1\n").value, 1.0);
    }

    #[test]
    fn relative_imports_are_the_users_choice() {
        for (language, text) in [
            ("python", "from . import a\n"),
            ("js", "import './a';\n"),
            ("rust", "use crate::a;\nuse super::b;\n"),
        ] {
            assert_eq!(score(&[], true, language, text).value, 1.0, "{text}");
            assert_eq!(score(&[], false, language, text).value, 0.0, "{text}");
        }
    }

    #[test]
    fn imports_in_fences_count() {
        let text = "First:\n```python\nimport os\n```\nthen\n```python\nimport re\n```\n";
        assert_eq!(
            score(&["os"], true, "python", text).reason,
            "not on the list: re"
        );
    }
}
