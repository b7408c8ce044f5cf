//! The curator `decontamination`: drops samples that hold text of a benchmark.
//!
//! As DeepSeek-Coder does it (arXiv 2401.14196, section 2.2.2): a sample goes when it has 10 words in a row in common with a
//! text of a benchmark; a text of 3 to 9 words has to be there whole, a shorter one says nothing. Words are runs of
//! letters, digits and `_` in lower case, so that neither white space nor marks between them count.
//! The texts come in by the settings; none is shipped.

use std::collections::{BTreeMap, HashMap};

use codetune_plugin::{About, Curator, Sample, Settings, Verdict};

/// Texts of fewer words are found in anything.
const FEWEST_WORDS: usize = 3;

/// The plugin.
pub struct Decontamination {
    /// Names of the benchmarks, in order.
    names: Vec<String>,
    /// For each length in words: hashes of runs of that length, and which benchmark has them.
    grams: BTreeMap<usize, HashMap<u64, u32>>,
    min_matches: usize,
}

impl Curator for Decontamination {
    const ABOUT: About = About {
        name: "decontamination",
        version: env!("CARGO_PKG_VERSION"),
        description: "Drops samples that have ten words in a row in common with the benchmarks of the settings.",
        author: "CodeTune Studio",
        tags: &["curator", "benchmarks", "contamination"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        let benchmarks: BTreeMap<String, Vec<String>> =
            settings.get("benchmarks", BTreeMap::new())?;
        let texts = benchmarks
            .iter()
            .flat_map(|(name, texts)| texts.iter().map(move |text| (name.as_str(), text.as_str())));
        let mut plugin = Self::of(texts, settings.get("ngram", 10)?);
        plugin.min_matches = settings.get("min_matches", 1)?;
        if plugin.grams.is_empty() {
            return Err(
                "config.benchmarks: no text of three words or more; name the benchmarks' texts"
                    .to_owned(),
            );
        }
        Ok(plugin)
    }

    fn curate(&self, sample: &Sample) -> Result<Verdict, String> {
        // What the model is given counts too: an answer to a benchmark's question is as bad as the question.
        let found: Vec<Found> = sample
            .parts
            .iter()
            .map(|part| self.find(&part.text))
            .collect();
        let matches: usize = found.iter().map(|found| found.matches).sum();
        let words: usize = found.iter().map(|found| found.words).sum();
        let first = found.iter().find_map(|found| found.benchmark);
        let verdict = match first {
            Some(benchmark) if matches >= self.min_matches => Verdict::drop(
                "benchmark",
                format!(
                    "{matches} runs of words stand in the benchmark {:?}, at most {}",
                    self.names[benchmark as usize],
                    self.min_matches - 1
                ),
            ),
            _ => Verdict::keep(),
        };
        Ok(Verdict {
            scores: vec![
                ("benchmark_matches", matches as f64),
                (
                    "benchmark_fraction",
                    (matches as f64 / words.max(1) as f64).min(1.0),
                ),
            ],
            ..verdict
        })
    }
}

/// What one text has in common with the benchmarks.
struct Found {
    matches: usize,
    words: usize,
    benchmark: Option<u32>,
}

impl Decontamination {
    fn of<'a>(texts: impl Iterator<Item = (&'a str, &'a str)>, ngram: usize) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut grams: BTreeMap<usize, HashMap<u64, u32>> = BTreeMap::new();
        for (name, text) in texts {
            if names.last().is_none_or(|last| last != name) {
                names.push(name.to_owned());
            }
            let words = words(text);
            let length = words.len().min(ngram);
            if length < FEWEST_WORDS {
                continue;
            }
            let benchmark = names.len() as u32 - 1;
            let known = grams.entry(length).or_default();
            for run in words.windows(length) {
                known.entry(gram(run)).or_insert(benchmark);
            }
        }
        Self {
            names,
            grams,
            min_matches: 1,
        }
    }

    fn find(&self, text: &str) -> Found {
        let words = words(text);
        let mut found = Found {
            matches: 0,
            words: words.len(),
            benchmark: None,
        };
        for (length, known) in &self.grams {
            for run in words.windows(*length) {
                if let Some(benchmark) = known.get(&gram(run)) {
                    found.matches += 1;
                    found.benchmark.get_or_insert(*benchmark);
                }
            }
        }
        found
    }
}

/// Hashes of the words of a text, in lower case.
fn words(text: &str) -> Vec<u64> {
    let mut words = Vec::with_capacity(text.len() / 5);
    let mut hash = None;
    for &byte in text.as_bytes() {
        // Bytes of other scripts are letters too.
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
            let before: u64 = hash.unwrap_or(0xcbf2_9ce4_8422_2325);
            let lower = u64::from(byte.to_ascii_lowercase());
            hash = Some((before.rotate_left(5) ^ lower).wrapping_mul(0x517c_c1b7_2722_0a95));
        } else if let Some(word) = hash.take() {
            words.push(word);
        }
    }
    words.extend(hash);
    words
}

/// One hash of some words in a row.
fn gram(words: &[u64]) -> u64 {
    let hash = words.iter().fold(words.len() as u64, |hash, word| {
        (hash.rotate_left(23) ^ word).wrapping_mul(0x9ddf_ea08_eb38_2d69)
    });
    hash ^ (hash >> 32)
}

codetune_plugin::curator!(Decontamination);

#[cfg(test)]
mod tests {
    use codetune_plugin::{Decision, Part};

    use super::*;

    const TASK: &str = "def has_close_pair(numbers, bound):\n    \"\"\"Say whether two of the numbers lie closer together than the bound.\"\"\"\n";

    fn is_dropped(plugin: &Decontamination, text: &str) -> bool {
        let sample = Sample {
            parts: vec![Part {
                name: "text".to_owned(),
                text: text.to_owned(),
                learned: true,
            }],
            ..Sample::default()
        };
        let verdict = plugin.curate(&sample).unwrap();
        matches!(verdict.decision, Decision::Drop(_))
    }

    fn plugin(text: &str) -> Decontamination {
        Decontamination::of([("own", text)].into_iter(), 10)
    }

    #[test]
    fn ten_words_in_a_row_are_found_whatever_stands_between_them() {
        let plugin = plugin(TASK);
        assert!(is_dropped(&plugin, TASK));
        assert!(is_dropped(
            &plugin,
            "x = 1\n# SAY whether two of the\n# numbers, lie closer together; than the bound"
        ));
        assert!(!is_dropped(
            &plugin,
            "say whether two of the numbers lie closer together"
        ));
        assert!(!is_dropped(
            &plugin,
            "def other(numbers, bound): return numbers"
        ));
    }

    #[test]
    fn a_short_text_has_to_be_there_whole_and_two_words_say_nothing() {
        let short = plugin("return sum of squares");
        assert!(is_dropped(&short, "please return(sum, of, squares)!"));
        assert!(!is_dropped(&short, "return sum of cubes"));
        assert!(plugin("two words").grams.is_empty());
    }

    #[test]
    fn a_benchmark_is_named_and_counted() {
        let texts = [("first", "one two three four"), ("second", TASK)];
        let plugin = Decontamination::of(texts.into_iter(), 10);
        let found = plugin.find(TASK);
        assert_eq!(plugin.names[found.benchmark.unwrap() as usize], "second");
        assert_eq!(found.matches, words(TASK).len() - 9);
    }

    #[test]
    fn without_texts_it_says_what_is_missing() {
        let message = Decontamination::new(&Settings::none()).err().unwrap();
        assert!(message.contains("config.benchmarks"), "{message}");
    }
}
