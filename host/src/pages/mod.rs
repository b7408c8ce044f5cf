//! The pages: one file per page, one struct and one template each.

/// `/adapters`
pub mod adapters;
/// `/static`
pub mod assets;
/// `/compare`
pub mod compare;
/// `/datasets/curations/{id}`
pub mod curation;
/// `/datasets/curate`
pub mod curation_form;
/// `/`
pub mod dashboard;
/// `/datasets`
pub mod datasets;
/// `/docs`
pub mod docs;
/// `/exports`
pub mod exports;
/// `/login`
pub mod login;
/// `/try`
pub mod playground;
/// `/plugins/{name}`
pub mod plugin;
/// What a plugin may use, on its page.
pub mod plugin_consent;
mod plugin_suggestions;
/// `/plugins`
pub mod plugins;
/// `/runs/{id}`
pub mod run;
pub mod run_form;
/// A run as pages show it.
pub mod run_view;
/// `/runs`
pub mod runs;
pub mod schema_form;
/// `/settings`
pub mod settings;
/// `/tokenizers`
pub mod tokenizers;

/// A bound of a setting: 1e-20 instead of a row of zeros.
fn number(value: f64) -> String {
    let text = format!("{value:?}");
    text.trim_end_matches(".0").to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn bounds_are_short() {
        for (value, text) in [
            (1e-20, "1e-20"),
            (0.001, "0.001"),
            (10.0, "10"),
            (0.5, "0.5"),
        ] {
            assert_eq!(super::number(value), text);
        }
    }
}
