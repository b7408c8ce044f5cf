//! Published rule packs as bounds, and what the user sets over them.

use codetune_plugin::Settings;

/// Bounds; none where a pack has no such rule. Fractions are of characters unless their name says lines or words.
#[derive(Debug, Clone, PartialEq)]
pub struct Bounds {
    /// Whether the special rules for data, text and HTML files hold.
    pub by_language: bool,
    /// Whether generated and minified files go.
    pub generated: bool,
    /// Whether files of encoded data go.
    pub encoded: bool,
    /// Whether Python that sets no variable goes.
    pub variables: bool,
    /// Those that are set: few, so that asking for one that is not costs little.
    set: Vec<(&'static str, f64)>,
}

/// Settings that are bounds.
pub const NAMES: [&str; 43] = [
    "min_chars",
    "min_lines",
    "max_lines",
    "min_words",
    "max_line_length",
    "min_mean_line_length",
    "max_mean_line_length",
    "min_alphabetic",
    "min_alphanumeric",
    "max_digits",
    "max_whitespace",
    "min_mean_word_length",
    "max_mean_word_length",
    "max_replacement_characters",
    "max_hex_words",
    "min_comments",
    "max_comments",
    "max_duplicate_lines",
    "max_top_2gram",
    "max_top_3gram",
    "max_top_4gram",
    "max_duplicate_5gram",
    "max_duplicate_10gram",
    "max_todo_lines",
    "max_assert_lines",
    "max_duplicate_6gram",
    "max_duplicate_7gram",
    "max_duplicate_8gram",
    "max_duplicate_9gram",
    "max_bytes",
    "max_sql_digits",
    "max_data_chars",
    "min_data_unique_words",
    "max_long_string_lines",
    "max_string_chars",
    "max_long_word_chars",
    "max_function_lines",
    "max_simple_functions",
    "max_pass_lines",
    "max_import_lines",
    "max_print_lines",
    "max_preprocessor_lines",
    "max_main_functions",
];

impl Bounds {
    /// One bound by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        let mut set = self.set.iter();
        set.find(|(found, _)| *found == name)
            .map(|(_, value)| *value)
    }

    fn with(mut self, bounds: &[(&'static str, f64)]) -> Self {
        self.set.extend_from_slice(bounds);
        self
    }

    /// A published pack.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn pack(name: &str) -> Result<Self, String> {
        let start = Self {
            by_language: true,
            generated: true,
            encoded: true,
            variables: false,
            set: Vec::new(),
        };
        match name {
            // Lozhkov and others, StarCoder 2 and The Stack v2, arXiv 2402.19173, section 2.1.
            "starcoder2" => Ok(start.with(&[
                ("max_lines", 100_000.0),
                ("max_line_length", 1000.0),
                ("max_mean_line_length", 100.0),
                ("min_alphabetic", 0.25),
            ])),
            // bigcode-dataset, preprocessing/filtering.py and its arguments.
            "bigcode" => Ok(Self {
                encoded: false,
                ..start
            }
            .with(&[
                ("max_line_length", 1000.0),
                ("max_mean_line_length", 100.0),
                ("min_alphanumeric", 0.25),
                ("min_comments", 0.01),
                ("max_comments", 0.8),
            ])),
            // Huang and others, OpenCoder, arXiv 2411.04905, appendix A, as in opc_data_filtering. Left out are its rules that
            // draw at random, that a text must parse (the plugin `syntax-validity`), and counts of functions and variables
            // for which languages other than these need a syntax tree.
            "opencoder" => Ok(Self {
                variables: true,
                ..start
            }
            .with(&[
                ("min_chars", 50.0),
                ("min_lines", 10.0),
                ("max_lines", 100_000.0),
                ("min_words", 30.0),
                ("max_line_length", 1000.0),
                ("min_mean_line_length", 5.0),
                ("max_mean_line_length", 100.0),
                ("min_alphabetic", 0.5),
                ("max_digits", 0.2),
                ("max_whitespace", 0.5),
                ("min_mean_word_length", 2.0),
                ("max_mean_word_length", 10.0),
                ("max_replacement_characters", 0.01),
                ("max_hex_words", 0.4),
                ("max_comments", 0.8),
                ("max_duplicate_lines", 0.7),
                ("max_top_2gram", 0.2),
                ("max_top_3gram", 0.18),
                ("max_top_4gram", 0.16),
                ("max_duplicate_5gram", 0.8),
                ("max_duplicate_6gram", 0.7),
                ("max_duplicate_7gram", 0.7),
                ("max_duplicate_8gram", 0.7),
                ("max_duplicate_9gram", 0.7),
                ("max_duplicate_10gram", 0.6),
                ("max_todo_lines", 0.01),
                ("max_assert_lines", 0.4),
                ("max_bytes", 3_000_000.0),
                ("max_sql_digits", 0.3),
                ("max_data_chars", 5000.0),
                ("min_data_unique_words", 0.4),
                ("max_long_string_lines", 0.2),
                ("max_string_chars", 0.6),
                ("max_long_word_chars", 0.4),
                ("max_function_lines", 0.2),
                ("max_simple_functions", 0.1),
                ("max_pass_lines", 0.05),
                ("max_import_lines", 0.3),
                ("max_print_lines", 0.4),
                ("max_preprocessor_lines", 0.8),
                ("max_main_functions", 1.0),
            ])),
            "none" => Ok(Self {
                by_language: false,
                generated: false,
                encoded: false,
                ..start
            }),
            other => Err(format!("config.pack: there is no pack {other:?}")),
        }
    }

    /// The pack that the settings name, with what they set over it; null takes a bound away.
    ///
    /// # Errors
    /// Names the setting.
    pub fn from_settings(settings: &Settings) -> Result<Self, String> {
        let mut bounds = Self::pack(&settings.get("pack", "starcoder2".to_owned())?)?;
        bounds.generated = settings.get("generated", bounds.generated)?;
        bounds.encoded = settings.get("encoded_data", bounds.encoded)?;
        bounds.variables = settings.get("variables", bounds.variables)?;
        for name in NAMES {
            let value = settings.get(name, bounds.get(name))?;
            bounds.set.retain(|(found, _)| *found != name);
            bounds.set.extend(value.map(|value| (name, value)));
        }
        Ok(bounds)
    }
}
