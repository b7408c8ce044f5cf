//! How much of a text says the same again: lines, and n-grams of words, as OpenCoder and MassiveText count them.

/// Fractions of one text, from 0 to 1.
#[derive(Debug, Default, PartialEq)]
pub struct Repetition {
    /// Lines that stood before, over lines that are not blank.
    pub duplicate_lines: f64,
    /// Characters in the most frequent n-gram of 2, 3 and 4 words, over those in all words; 0 when none comes twice.
    pub top: [f64; 3],
    /// Words in n-grams of 5 to 10 words that come more than once, over all words.
    pub duplicate: [f64; 6],
}

/// Measures one text.
pub fn repetition(text: &str) -> Repetition {
    let mut lines: Vec<u64> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| hash(line.as_bytes()))
        .collect();
    let all = lines.len();
    lines.sort_unstable();
    lines.dedup();
    let words: Vec<(u64, usize)> = text
        .split_ascii_whitespace()
        .map(|word| (hash(word.as_bytes()), word.len()))
        .collect();
    let mut found = Repetition {
        duplicate_lines: ratio(all - lines.len(), all),
        ..Repetition::default()
    };
    for (value, n) in found.top.iter_mut().zip([2, 3, 4]) {
        *value = top(&words, n);
    }
    for (value, n) in found.duplicate.iter_mut().zip(5..=10) {
        *value = duplicate(&words, n);
    }
    found
}

/// Hashes of the n-grams with where they begin, sorted: equal ones lie together.
fn grams(words: &[(u64, usize)], n: usize) -> Vec<(u64, u32)> {
    let mut grams: Vec<(u64, u32)> = words
        .windows(n)
        .enumerate()
        .map(|(at, words)| {
            let gram = words.iter().fold(0_u64, |hash, (word, _)| {
                (hash.rotate_left(23) ^ word).wrapping_mul(0x9ddf_ea08_eb38_2d69)
            });
            (gram, at as u32)
        })
        .collect();
    grams.sort_unstable();
    grams
}

fn top(words: &[(u64, usize)], n: usize) -> f64 {
    let grams = grams(words, n);
    let length = |at: u32| -> usize {
        words[at as usize..at as usize + n]
            .iter()
            .map(|(_, length)| length)
            .sum()
    };
    let most = grams
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|same| same.len() > 1)
        .map(|same| same.len() * length(same[0].1))
        .max();
    let all = words.iter().map(|(_, length)| length).sum();
    // Overlapping occurrences count twice.
    ratio(most.unwrap_or(0), all).min(1.0)
}

fn duplicate(words: &[(u64, usize)], n: usize) -> f64 {
    let mut covered = vec![false; words.len()];
    for same in grams(words, n)
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|same| same.len() > 1)
    {
        for (_, at) in same {
            covered[*at as usize..*at as usize + n].fill(true);
        }
    }
    ratio(covered.iter().filter(|word| **word).count(), words.len())
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hash = bytes.len() as u64;
    for byte in bytes {
        hash = (hash.rotate_left(5) ^ u64::from(*byte)).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
    hash
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_once_has_no_repetition() {
        assert_eq!(
            repetition("a b c d e f g h i j k l\n\nm n o p q"),
            Repetition::default()
        );
        assert_eq!(repetition(""), Repetition::default());
    }

    #[test]
    fn what_is_said_again_is_counted() {
        let found = repetition(&"one two three four five\n".repeat(10));
        assert_eq!(found.duplicate_lines, 0.9);
        assert_eq!(found.duplicate, [1.0; 6]);
        // "three four" ten times, 9 of 19 letters a line.
        assert!((found.top[0] - 9.0 / 19.0).abs() < 1e-9, "{found:?}");
    }
}
