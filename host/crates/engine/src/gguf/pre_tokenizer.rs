//! How llama.cpp names the ways in which a `tokenizer.json` cuts text before it merges bytes.
//!
//! Source: `llm_tokenizer_bpe` in llama.cpp's `src/llama-vocab.cpp`, which has one set of patterns for each name.

use serde_json::Value;

const GPT2: &str =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const LLAMA3: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const QWEN2: &str = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const GPT4O: &str = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const TEKKEN: &str = "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
const DIGIT: &str = "\\p{N}";
const HAN: &str = "[一-龥ࠀ-一가-퟿]+";

/// Steps of cutting, and what llama.cpp calls them.
const KNOWN: &[(&[&str], &str)] = &[
    (&[GPT2], "gpt-2"),
    // The same steps as `starcoder`, without clean-up of blanks when text is written.
    (&[DIGIT, GPT2], "smollm"),
    (&[QWEN2], "qwen2"),
    (&[LLAMA3], "dbrx"),
    (&[GPT4O], "gpt-4o"),
    (&[TEKKEN], "tekken"),
    (
        &["[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN, DIGIT],
        "deepseek-coder",
    ),
];

/// `tokenizer.ggml.pre` for a `tokenizer.json`; where none fits, what its steps are.
///
/// # Errors
/// The steps, as a sentence, when llama.cpp has no name for them.
pub(crate) fn name(tokenizer: &Value) -> Result<&'static str, String> {
    let mut steps = Vec::new();
    collect(&tokenizer["pre_tokenizer"], &mut steps);
    let known = KNOWN.iter().find(|(known, _)| {
        known.len() == steps.len() && known.iter().zip(&steps).all(|(a, b)| same(a, b))
    });
    match known {
        // Its vocabulary holds whole words that no merge makes.
        Some((_, "dbrx")) if tokenizer["model"]["ignore_merges"] == true => Ok("llama-bpe"),
        Some((_, name)) => Ok(name),
        None if steps.is_empty() => Err("it cuts text nowhere".to_owned()),
        None => Err(format!("it cuts text by {}", steps.join(" then "))),
    }
}

/// The steps of a `tokenizer.ggml.pre`, each a pattern whose matches are cut out; `None` for a name that is not known.
pub(crate) fn steps(name: &str) -> Option<&'static [&'static str]> {
    let name = match name {
        "default" | "gpt2" => "gpt-2",
        "starcoder" | "refact" | "command-r" | "codeshell" => "smollm",
        "llama-bpe" | "llama3" | "llama-v3" | "smaug-bpe" => "dbrx",
        "deepseek-r1-qwen" => "qwen2",
        other => other,
    };
    KNOWN
        .iter()
        .find_map(|(steps, known)| (*known == name).then_some(*steps))
}

/// Two spellings of one pattern.
fn same(a: &str, b: &str) -> bool {
    let plain = |pattern: &str| {
        pattern
            .replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?i:contractions)")
            .replace(
                "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
                "(?i:contractions)",
            )
            .replace('\r', "\\r")
            .replace('\n', "\\n")
    };
    plain(a) == plain(b)
}

fn collect(step: &Value, steps: &mut Vec<String>) {
    match step["type"].as_str() {
        Some("Sequence") => {
            for inner in step["pretokenizers"].as_array().into_iter().flatten() {
                collect(inner, steps);
            }
        }
        Some("Split") => {
            let pattern = &step["pattern"];
            let text = pattern["Regex"].as_str().or(pattern["String"].as_str());
            steps.push(text.unwrap_or_default().to_owned());
        }
        Some("Digits") => steps.push(match step["individual_digits"] == true {
            true => DIGIT.to_owned(),
            false => "\\p{N}+".to_owned(),
        }),
        // A missing key means true: it is older than the key.
        Some("ByteLevel") if step["use_regex"] != false => steps.push(GPT2.to_owned()),
        Some("ByteLevel") => {}
        Some(other) => steps.push(other.to_owned()),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_steps_of_cutting_choose_the_name() {
        let byte_level = |regex: bool| json!({ "type": "ByteLevel", "use_regex": regex });
        let split = |pattern: &str| json!({ "type": "Split", "pattern": { "Regex": pattern } });
        let of = |steps: Vec<Value>, ignore: bool| {
            name(&json!({
                "pre_tokenizer": { "type": "Sequence", "pretokenizers": steps },
                "model": { "ignore_merges": ignore },
            }))
        };
        assert_eq!(of(vec![byte_level(true)], false), Ok("gpt-2"));
        let digits = json!({ "type": "Digits", "individual_digits": true });
        assert_eq!(
            of(vec![digits.clone(), byte_level(true)], false),
            Ok("smollm")
        );
        assert_eq!(
            of(vec![split(QWEN2), byte_level(false)], false),
            Ok("qwen2")
        );
        assert_eq!(
            of(vec![split(LLAMA3), byte_level(false)], true),
            Ok("llama-bpe")
        );
        assert_eq!(
            of(vec![split(LLAMA3), byte_level(false)], false),
            Ok("dbrx")
        );
        let deepseek = ["[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN].map(split);
        let steps = [deepseek.to_vec(), vec![digits, byte_level(false)]].concat();
        assert_eq!(of(steps, false), Ok("deepseek-coder"));
        let unknown = of(vec![split("\\w+"), byte_level(false)], false).unwrap_err();
        assert!(unknown.contains("\\w+"), "{unknown}");
    }
}
