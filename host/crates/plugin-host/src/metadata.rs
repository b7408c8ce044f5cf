//! Whether what a plugin says of itself can be shown and used.

use domain::PluginMetadata;
use serde_json::Value;

use crate::sanitize;
use crate::schema::Schema;

const MAX_SCHEMA: usize = 256 << 10;

/// Checks and cleans metadata and parses its three schemas.
///
/// # Errors
/// One sentence that names the field.
pub(crate) fn check(
    mut metadata: PluginMetadata,
    schemas: [String; 3],
) -> Result<PluginMetadata, String> {
    check_name(&metadata.name).map_err(|why| format!("metadata.name {:?} {why}", metadata.name))?;
    if !is_version(&metadata.version) {
        return Err(format!(
            "metadata.version {:?} is no version like 1.2.3",
            metadata.version
        ));
    }
    for (field, text, longest) in [
        ("description", &mut metadata.description, 2000),
        ("author", &mut metadata.author, 200),
    ] {
        sanitize::string(text);
        if text.chars().count() > longest {
            return Err(format!(
                "metadata.{field} has more than {longest} characters"
            ));
        }
    }
    if metadata.tags.len() > 32 || metadata.tags.iter().any(|tag| tag.len() > 64) {
        return Err("metadata.tags: at most 32 of 64 bytes each".to_owned());
    }
    metadata.tags.iter_mut().for_each(sanitize::string);
    let [input, output, config] = schemas;
    metadata.input_schema = schema("input-schema", &input)?;
    metadata.output_schema = schema("output-schema", &output)?;
    metadata.config_schema = schema("config-schema", &config)?;
    Ok(metadata)
}

/// Kebab-case, so that it can stand in a URL, a file name and a command.
///
/// # Errors
/// The end of a sentence.
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let fits = !name.is_empty()
        && name.len() <= 64
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && !name.ends_with('-')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    match fits {
        true => Ok(()),
        false => {
            Err("is not in kebab-case: a to z, 0 to 9 and `-`, at most 64, beginning with a letter")
        }
    }
}

fn is_version(version: &str) -> bool {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let numbers: Vec<&str> = core.split('.').collect();
    version.len() <= 64
        && numbers.len() == 3
        && numbers
            .iter()
            .all(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-+.".contains(&b))
}

fn schema(field: &str, text: &str) -> Result<Value, String> {
    if text.len() > MAX_SCHEMA {
        return Err(format!(
            "metadata.{field} has more than {} KiB",
            MAX_SCHEMA >> 10
        ));
    }
    let mut value: Value = serde_json::from_str(text)
        .map_err(|error| format!("metadata.{field} is no JSON: {error}"))?;
    sanitize::value(&mut value);
    let schema = Schema::checked(value)
        .map_err(|error| format!("metadata.{field} is no JSON Schema: {error}"))?;
    Ok(schema.value().clone())
}

#[cfg(test)]
mod tests {
    use super::{check_name, is_version};

    #[test]
    fn names_and_versions_are_plain() {
        assert!(check_name("code-analyzer").is_ok());
        for name in ["", "A", "a b", "-a", "a-", "1a", "../a", "a\u{1b}"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
        assert!(is_version("1.2.3") && is_version("0.1.0-rc.1"));
        assert!(!is_version("1.2") && !is_version("1.2.x") && !is_version("1.2.3 \u{1b}[0m"));
    }
}
