//! BLEU-4 of one text against one reference, smoothed.

use std::collections::HashMap;

/// Words, numbers and single marks; white space is between tokens and no token.
pub fn tokens(text: &str) -> Vec<&str> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        tokens.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    tokens
}

/// From 0 to 1; two texts without a token are the same.
pub fn bleu(text: &str, reference: &str) -> f64 {
    let (text, reference) = (tokens(text), tokens(reference));
    if text.is_empty() || reference.is_empty() {
        return f64::from(u8::from(text.is_empty() && reference.is_empty()));
    }
    let mut log_precision = 0.0;
    for n in 1..=4 {
        let (matches, all) = matches(&text, &reference, n);
        // One match and one n-gram more, but not for single tokens: nothing in common stays 0.
        let one = f64::from(u8::from(n > 1));
        let precision = (matches as f64 + one) / (all as f64 + one);
        if precision == 0.0 {
            return 0.0;
        }
        log_precision += precision.ln() / 4.0;
    }
    let ratio = reference.len() as f64 / text.len() as f64;
    let brevity = (1.0 - ratio).min(0.0);
    (log_precision + brevity).exp()
}

/// N-grams of the text that the reference has too, each at most as often as there, and all n-grams of the text.
fn matches(text: &[&str], reference: &[&str], n: usize) -> (usize, usize) {
    let mut known: HashMap<&[&str], usize> = HashMap::new();
    for gram in reference.windows(n) {
        *known.entry(gram).or_default() += 1;
    }
    let mut matches = 0;
    for gram in text.windows(n) {
        if let Some(left) = known.get_mut(gram).filter(|left| **left > 0) {
            *left -= 1;
            matches += 1;
        }
    }
    (matches, text.len().saturating_sub(n - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_tokens_of_their_own() {
        assert_eq!(
            tokens(" a_1+=f(é)\n"),
            ["a_1", "+", "=", "f", "(", "é", ")"]
        );
    }

    #[test]
    fn a_value_worked_out_by_hand() {
        // 5 of 6 words, (3 + 1) of (5 + 1) pairs, (1 + 1) of (4 + 1) triples, (0 + 1) of (3 + 1); equal lengths.
        let found = bleu("the cat sat on the mat", "the cat lay on the mat");
        let expected = (5.0 / 6.0 * 4.0 / 6.0 * 2.0 / 5.0 * 1.0 / 4.0_f64).powf(0.25);
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    #[test]
    fn a_short_text_is_punished_and_a_repeated_word_counts_once() {
        // All n-grams match, so only the brevity is left: exp(1 - 6 / 3).
        let found = bleu("the cat sat", "the cat sat on the mat");
        assert!((found - (-1.0_f64).exp()).abs() < 1e-12, "{found}");
        assert_eq!(matches(&["a", "a", "a"], &["a", "b"], 1), (1, 3));
    }
}
