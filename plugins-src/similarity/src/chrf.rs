//! chrF: how many runs of characters two texts have in common.

use std::collections::HashMap;

/// Longest run of characters.
const ORDER: usize = 6;
/// Recall weighs so many times as much as precision.
const BETA: f64 = 2.0;

/// From 0 to 1; two texts without a character are the same. Orders that either text is too short for are left out.
pub fn chrf(text: &str, reference: &str) -> f64 {
    let characters =
        |text: &str| -> Vec<char> { text.chars().filter(|c| !c.is_whitespace()).collect() };
    let (text, reference) = (characters(text), characters(reference));
    if text.is_empty() || reference.is_empty() {
        return f64::from(u8::from(text.is_empty() && reference.is_empty()));
    }
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for n in 1..=ORDER.min(text.len()).min(reference.len()) {
        let mut known: HashMap<&[char], usize> = HashMap::new();
        for gram in reference.windows(n) {
            *known.entry(gram).or_default() += 1;
        }
        let mut matches = 0_usize;
        for gram in text.windows(n) {
            if let Some(left) = known.get_mut(gram).filter(|left| **left > 0) {
                *left -= 1;
                matches += 1;
            }
        }
        precision += matches as f64 / (text.len() + 1 - n) as f64;
        recall += matches as f64 / (reference.len() + 1 - n) as f64;
        orders += 1.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    if precision + recall == 0.0 {
        return 0.0;
    }
    (1.0 + BETA * BETA) * precision * recall / (BETA * BETA * precision + recall)
}

#[cfg(test)]
mod tests {
    use super::chrf;

    #[test]
    fn a_value_worked_out_by_hand() {
        // "abc" against "abcd": precision 1 in orders 1 to 3, recall 3/4, 2/3, 1/2.
        let recall = (0.75 + 2.0 / 3.0 + 0.5) / 3.0;
        let expected = 5.0 * recall / (4.0 + recall);
        assert!((chrf("a b c", "abcd") - expected).abs() < 1e-12);
    }
}
