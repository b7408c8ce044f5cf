//! How families write a fill-in-the-middle sample. The names and layouts are those of the engine's format `fim`.

use codetune_plugin::{Edit, Settings};
use serde::Deserialize;

/// Whose tokens are written.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Family {
    Qwen,
    Starcoder,
    Codellama,
    Deepseek,
    Santacoder,
    Glm,
    Codestral,
}

/// Which of prefix and suffix comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Psm,
    Spm,
    Both,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Tokens {
    prefix: String,
    suffix: String,
    middle: String,
    /// Behind the middle, where the family has one.
    end: &'static str,
    /// `[SUFFIX]suffix[PREFIX]prefix` and the middle, whatever the mode; nothing stands for the middle.
    suffix_first: bool,
}

impl Tokens {
    /// The user's own, or a family's.
    pub(crate) fn of(settings: &Settings) -> Result<Self, String> {
        let names = ["prefix_token", "suffix_token", "middle_token"];
        let mut own: Vec<String> = Vec::new();
        let mut missing = Vec::new();
        for name in names {
            match settings.get(name, None)? {
                Some(token) => own.push(token),
                None => missing.push(name),
            }
        }
        let family = Self::of_family(settings.get("tokens", Family::Qwen)?);
        let tokens = match <[String; 3]>::try_from(own) {
            Ok([prefix, suffix, middle]) => Self {
                prefix,
                suffix,
                middle,
                end: "",
                suffix_first: false,
            },
            Err(own) if own.is_empty() => family,
            Err(_) => {
                return Err(format!(
                    "config.{}: is missing; prefix_token, suffix_token and middle_token go together",
                    missing[0]
                ));
            }
        };
        tokens.are_told_apart()?;
        Ok(tokens)
    }

    fn of_family(family: Family) -> Self {
        let mut end = "";
        let [prefix, suffix, middle] = match family {
            Family::Qwen => ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
            Family::Starcoder => ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
            Family::Codellama => {
                end = "▁<EOT>";
                ["▁<PRE>", "▁<SUF>", "▁<MID>"]
            }
            // What it calls the hole stands where the suffix begins.
            Family::Deepseek => ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
            Family::Santacoder => ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
            Family::Glm => ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"],
            Family::Codestral => ["[PREFIX]", "[SUFFIX]", "[MIDDLE]"],
        };
        Self {
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
            middle: middle.to_owned(),
            end,
            suffix_first: matches!(family, Family::Codestral),
        }
    }

    fn are_told_apart(&self) -> Result<(), String> {
        let all = [&self.prefix, &self.suffix, &self.middle];
        for (at, one) in all.iter().enumerate() {
            let mut others = all.iter().enumerate().filter(|(other, _)| *other != at);
            if others.any(|(_, other)| other.contains(one.as_str())) {
                return Err(format!(
                    "config: the token {one:?} stands in another; they must be told apart"
                ));
            }
        }
        Ok(())
    }

    /// The first of the tokens that a text holds already.
    pub(crate) fn held_by(&self, text: &str) -> Option<&str> {
        let all = [&self.prefix, &self.suffix, &self.middle];
        let mut all = all.into_iter().map(String::as_str).chain([self.end]);
        all.find(|token| !token.is_empty() && text.contains(token))
    }

    /// What turns a text into a sample whose middle is `start..end`. SPM is variant 2 of arXiv 2207.14255, in which
    /// prefix and middle lie together.
    pub(crate) fn split(&self, text: &str, start: usize, end: usize, is_spm: bool) -> Vec<Edit> {
        let Self {
            prefix,
            suffix,
            middle,
            end: over,
            ..
        } = self;
        let edit = |start, end, replacement| Edit {
            part: 0,
            start,
            end,
            replacement,
        };
        let last = |replacement| edit(text.len(), text.len(), replacement);
        let (before, inner) = (&text[..start], &text[start..end]);
        if self.suffix_first {
            return vec![
                edit(0, end, suffix.clone()),
                last(format!("{prefix}{before}{inner}")),
            ];
        }
        if is_spm {
            return vec![
                edit(0, end, format!("{prefix}{suffix}")),
                last(format!("{middle}{before}{inner}{over}")),
            ];
        }
        vec![
            edit(0, 0, prefix.clone()),
            edit(start, end, suffix.clone()),
            last(format!("{middle}{inner}{over}")),
        ]
    }

    /// What is said of the order of the parts.
    pub(crate) fn order(&self, is_spm: bool) -> &'static str {
        match self.suffix_first || is_spm {
            true => "suffix, prefix, middle",
            false => "prefix, suffix, middle",
        }
    }
}
