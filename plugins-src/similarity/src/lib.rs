//! The scorer `similarity`: how like its reference is what a model wrote, by the measures that papers report.
//!
//! - `exact_match`: the same text, white space at the end of lines and of the text left out.
//! - `edit_similarity`: 1 less Levenshtein's distance over the longer length, in characters (IntelliCode Compose,
//!   arXiv 2005.08025, section 7).
//! - `bleu`: BLEU-4 of one sentence with the counts of 2- to 4-grams smoothed by one (Lin and Och, ORANGE, 2004), which is
//!   what CodeXGLUE reports; tokens as in `tokens`.
//! - `chrf`: character 6-gram F score with beta 2, white space left out (Popović, 2015; chrF2 in sacreBLEU).

mod bleu;
mod chrf;

use codetune_plugin::{About, Completion, Score, Scorer, Settings};
use rapidfuzz::distance::levenshtein;

/// Longer texts are not compared: the distance takes time with the product of the lengths.
const MOST_CHARACTERS: usize = 100_000;

/// The plugin.
pub struct Similarity;

impl Scorer for Similarity {
    const ABOUT: About = About {
        name: "similarity",
        version: env!("CARGO_PKG_VERSION"),
        description: "How like the reference a completion is: exact match, edit similarity, BLEU-4 and chrF.",
        author: "CodeTune Studio",
        tags: &["scorer", "bleu", "chrf", "edit-similarity", "exact-match"],
        config_schema: "{}",
    };

    fn new(_settings: &Settings) -> Result<Self, String> {
        Ok(Self)
    }

    fn score(&self, completion: &Completion) -> Result<Vec<Score>, String> {
        let reference = completion
            .reference
            .as_deref()
            .ok_or("there is no reference to compare with")?;
        let (left, right) = (plain(&completion.text), plain(reference));
        for (what, text) in [("completion", &left), ("reference", &right)] {
            if text.len() > MOST_CHARACTERS {
                return Err(format!(
                    "the {what} has {} bytes, at most {MOST_CHARACTERS} are compared",
                    text.len()
                ));
            }
        }
        let score = |name, value: f64| Score {
            name,
            value: value.clamp(0.0, 1.0),
            reason: String::new(),
        };
        Ok(vec![
            score("exact_match", f64::from(u8::from(left == right))),
            score("edit_similarity", edit_similarity(&left, &right)),
            score("bleu", bleu::bleu(&left, &right)),
            score("chrf", chrf::chrf(&left, &right)),
        ])
    }
}

/// The text with `\n` at the end of its lines and no white space before them or at its end.
fn plain(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.join("\n").trim_end().to_owned()
}

fn edit_similarity(left: &str, right: &str) -> f64 {
    levenshtein::normalized_similarity(left.chars(), right.chars())
}

codetune_plugin::scorer!(Similarity);

#[cfg(test)]
mod tests {
    use super::*;

    fn scores(text: &str, reference: &str) -> Vec<f64> {
        let completion = Completion {
            text: text.to_owned(),
            reference: Some(reference.to_owned()),
            ..Completion::default()
        };
        let scores = Similarity.score(&completion).unwrap();
        scores.iter().map(|score| score.value).collect()
    }

    #[test]
    fn the_same_text_has_ones_and_nothing_in_common_zeros() {
        let code = "def f(x):\n    return x + 1\n";
        assert_eq!(scores(code, code), [1.0; 4]);
        assert_eq!(scores("def f(x):  \r\n    return x + 1", code), [1.0; 4]);
        assert_eq!(scores("qqqq", "zzzz"), [0.0; 4]);
        assert_eq!(scores("", "x"), [0.0; 4]);
        assert_eq!(scores("", ""), [1.0; 4]);
    }

    #[test]
    fn edits_are_counted_in_characters() {
        assert!((edit_similarity("kitten", "sitting") - (1.0 - 3.0 / 7.0)).abs() < 1e-12);
        assert_eq!(edit_similarity("é", "è"), 0.0);
    }

    #[test]
    fn without_a_reference_there_is_no_score() {
        let message = Similarity.score(&Completion::default()).unwrap_err();
        assert!(message.contains("reference"), "{message}");
    }
}
