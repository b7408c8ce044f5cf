//! The curator `near-duplicates`: a MinHash signature for each sample; the host compares them and drops what is too like
//! an earlier sample.
//!
//! 256 hash functions over 5-grams of words (runs of letters, digits and `_`), as bigcode's and StarCoder2's
//! deduplication. The functions are `a x + b` modulo 2^32 over a mixed 64-bit hash of each n-gram: four lanes at a time.

use codetune_plugin::{About, Curator, Sample, Settings, Verdict};

/// Hash functions.
const FUNCTIONS: usize = 256;
/// Functions at a time: their factors and minima stay in registers.
const AT_ONCE: usize = 16;
const SEED: u64 = 42;

/// The plugin.
pub struct NearDuplicates {
    ngram: usize,
    factors: [u32; FUNCTIONS],
    offsets: [u32; FUNCTIONS],
}

impl Curator for NearDuplicates {
    const ABOUT: About = About {
        name: "near-duplicates",
        version: env!("CARGO_PKG_VERSION"),
        description: "MinHash signatures of samples, by which the studio drops near duplicates.",
        author: "CodeTune Studio",
        tags: &["curator", "duplicates", "minhash"],
        config_schema: include_str!("config.json"),
    };

    fn new(settings: &Settings) -> Result<Self, String> {
        let mut state = SEED;
        let mut draw = || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            (mix(state) >> 32) as u32
        };
        Ok(Self {
            ngram: settings.get("ngram", 5)?,
            // An odd factor makes the function a permutation.
            factors: std::array::from_fn(|_| draw() | 1),
            offsets: std::array::from_fn(|_| draw()),
        })
    }

    fn curate(&self, sample: &Sample) -> Result<Verdict, String> {
        let mut grams = Vec::new();
        for part in sample.parts.iter().filter(|part| part.learned) {
            self.grams(&part.text, &mut grams);
        }
        let signature = (!grams.is_empty()).then(|| self.minima(&grams));
        Ok(Verdict {
            scores: vec![("ngrams", grams.len() as f64)],
            signature: signature
                .map(|minima| (format!("minhash-{FUNCTIONS}-{}", self.ngram), minima)),
            ..Verdict::keep()
        })
    }
}

impl NearDuplicates {
    /// Hashes of the n-grams of words; none when there are too few words for one.
    fn grams(&self, text: &str, grams: &mut Vec<u32>) {
        const BASE: u64 = 0x9ddf_ea08_eb38_2d69;
        // What the word that leaves the window weighs.
        let oldest = BASE.wrapping_pow(self.ngram as u32);
        let mut words = Vec::with_capacity(text.len() / 4);
        let mut hash = 0_u64;
        let mut within = false;
        for &byte in text.as_bytes() {
            // Bytes of other scripts are letters too.
            if byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80 {
                hash = (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
                within = true;
            } else if within {
                words.push(hash);
                (hash, within) = (0, false);
            }
        }
        if within {
            words.push(hash);
        }
        let mut window = 0_u64;
        for (index, word) in words.iter().enumerate() {
            window = window.wrapping_mul(BASE).wrapping_add(*word);
            if index >= self.ngram {
                window = window.wrapping_sub(words[index - self.ngram].wrapping_mul(oldest));
            }
            if index + 1 >= self.ngram {
                grams.push((mix(window) >> 32) as u32);
            }
        }
    }

    /// The least value of each function over all n-grams.
    fn minima(&self, grams: &[u32]) -> Vec<u32> {
        let mut minima = Vec::with_capacity(FUNCTIONS);
        let blocks = self.factors.as_chunks::<AT_ONCE>().0.iter();
        for (factors, offsets) in blocks.zip(self.offsets.as_chunks::<AT_ONCE>().0) {
            let mut least = [u32::MAX; AT_ONCE];
            for gram in grams {
                for index in 0..AT_ONCE {
                    let value = factors[index]
                        .wrapping_mul(*gram)
                        .wrapping_add(offsets[index]);
                    least[index] = least[index].min(value);
                }
            }
            minima.extend(least);
        }
        minima
    }
}

/// The finalizer of MurmurHash3: every bit of the input moves every bit of the output.
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

codetune_plugin::curator!(NearDuplicates);

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use codetune_plugin::Part;

    use super::*;

    fn signature(text: &str) -> Option<Vec<u32>> {
        let plugin = NearDuplicates::new(&Settings::none()).unwrap();
        let sample = Sample {
            parts: vec![Part {
                name: "text".to_owned(),
                text: text.to_owned(),
                learned: true,
            }],
            ..Sample::default()
        };
        plugin
            .curate(&sample)
            .unwrap()
            .signature
            .map(|(_, values)| values)
    }

    fn jaccard(a: &str, b: &str) -> f64 {
        let grams = |text: &str| -> HashSet<Vec<String>> {
            let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
            words.windows(5).map(<[String]>::to_vec).collect()
        };
        let (a, b) = (grams(a), grams(b));
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    #[test]
    fn equal_values_estimate_the_jaccard_similarity() {
        let words: Vec<String> = (0..2000).map(|n| format!("word{}", mix(n) % 500)).collect();
        let mut error = 0.0;
        let cases = [0, 10, 30, 60, 100, 200, 400];
        for changes in cases {
            let mut changed = words.clone();
            for at in 0..changes {
                changed[at * (2000 / 400)] = format!("new{at}");
            }
            let (a, b) = (words.join(" "), changed.join(" "));
            let (left, right) = (signature(&a).unwrap(), signature(&b).unwrap());
            let equal = left.iter().zip(&right).filter(|(a, b)| a == b).count();
            let estimate = equal as f64 / FUNCTIONS as f64;
            let truth = jaccard(&a, &b);
            // Four standard deviations of a binomial of 256 draws.
            assert!(
                (estimate - truth).abs() < 0.125,
                "{truth} is estimated {estimate}"
            );
            error += estimate - truth;
        }
        assert!((error / cases.len() as f64).abs() < 0.04, "bias {error}");
    }

    #[test]
    fn spaces_and_marks_between_words_do_not_count() {
        let a = signature("def f(x, y): return x + y").unwrap();
        assert_eq!(a, signature("def  f ( x,y ):\n\treturn x+y;").unwrap());
        assert_ne!(a, signature("def g(x, y): return x + y").unwrap());
    }

    #[test]
    fn too_few_words_have_no_signature() {
        assert_eq!(signature("one two three four"), None);
        assert_eq!(signature(""), None);
        assert!(signature("one two three four five").is_some());
    }
}
