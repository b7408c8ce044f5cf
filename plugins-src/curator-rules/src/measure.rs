//! The numbers that most rules look at, in one pass over the bytes. Lengths are in characters.

use std::ops::Range;

use memchr::memchr_iter;

/// Of one text.
#[derive(Debug, Default, PartialEq)]
pub struct Measures {
    /// Length in bytes.
    pub bytes: usize,
    /// All characters.
    pub characters: usize,
    /// Lines; a last one without a line break counts.
    pub lines: usize,
    /// Of the longest line, without its break.
    pub longest_line: usize,
    /// Of a line, without its break.
    pub mean_line: f64,
    /// Letters of any script, over all characters.
    pub alphabetic: f64,
    /// Letters and digits, over all characters.
    pub alphanumeric: f64,
    /// Digits, over all characters.
    pub digits: f64,
    /// White space, over all characters.
    pub whitespace: f64,
    /// Runs of letters, digits and `_`.
    pub words: usize,
    /// Mean length of a word.
    pub mean_word: f64,
    /// Words like `0x1f`, over all words.
    pub hex_words: f64,
    /// U+FFFD, over all characters.
    pub replacement: f64,
}

// What is counted of every byte. Of other characters than ASCII the bytes count as `OTHER` alone.
const LETTERS: usize = 0;
const DIGITS: usize = 1;
const UNDERSCORES: usize = 2;
const SPACES: usize = 3;
const BREAKS: usize = 4;
/// `\r\n`.
const DOUBLE_BREAKS: usize = 5;
/// Where words begin.
const WORDS: usize = 6;
/// `0x` and `0X`.
const HEX_MARKS: usize = 7;
const OTHER: usize = 8;
/// Bytes of a character behind its first.
const CONTINUATIONS: usize = 9;
const COUNTS: usize = 10;

/// Bytes that are counted at a time: a count of so many fits into a byte, and sixteen lanes count at once.
const BLOCK: usize = 240;

/// Counts one block; `before` is the text one byte earlier.
fn count(before: &[u8], block: &[u8]) -> [u8; COUNTS] {
    let mut found = [0; COUNTS];
    for (previous, byte) in before.iter().copied().zip(block.iter().copied()) {
        // No branches: they would keep the lanes apart.
        found[LETTERS] += u8::from(is_letter(byte));
        found[DIGITS] += u8::from(is_digit(byte));
        found[UNDERSCORES] += u8::from(byte == b'_');
        found[SPACES] += u8::from((byte == b' ') | (byte.wrapping_sub(b'\t') < 5));
        found[BREAKS] += u8::from(byte == b'\n');
        found[DOUBLE_BREAKS] += u8::from((byte == b'\n') & (previous == b'\r'));
        found[WORDS] += u8::from(is_word_byte(byte) & !is_word_byte(previous));
        found[HEX_MARKS] += u8::from((previous == b'0') & (byte | 0x20 == b'x'));
        found[OTHER] += u8::from(byte >= 0x80);
        found[CONTINUATIONS] += u8::from(byte & 0xc0 == 0x80);
    }
    found
}

fn is_letter(byte: u8) -> bool {
    (byte | 0x20).wrapping_sub(b'a') < 26
}

fn is_digit(byte: u8) -> bool {
    byte.wrapping_sub(b'0') < 10
}

fn is_word_byte(byte: u8) -> bool {
    is_letter(byte) | is_digit(byte) | (byte == b'_')
}

/// Letters of any script, ASCII's digits and `_`.
fn is_word(character: char) -> bool {
    match u8::try_from(character) {
        Ok(byte) if byte < 0x80 => is_word_byte(byte),
        _ => character.is_alphabetic(),
    }
}

/// Measures one text.
pub fn measure(text: &str) -> Measures {
    let bytes = text.as_bytes();
    let mut all = [0_usize; COUNTS];
    let mut others = Others::default();
    let mut hex = 0;
    let mut take = |before: &[u8], place: Range<usize>| {
        let found = count(before, &bytes[place.clone()]);
        for (sum, count) in all.iter_mut().zip(found) {
            *sum += usize::from(count);
        }
        if found[OTHER] > 0 {
            others.add(text, place.clone());
        }
        if found[HEX_MARKS] > 0 {
            hex += hex_words(text, place);
        }
    };
    // The first byte stands behind none; a line break is as good.
    take(b"\n", 0..bytes.len().min(1));
    for start in (1..bytes.len()).step_by(BLOCK) {
        let end = bytes.len().min(start + BLOCK);
        take(&bytes[start - 1..end - 1], start..end);
    }
    let breaks = all[BREAKS];
    let lines = breaks + usize::from(!bytes.is_empty() && !bytes.ends_with(b"\n"));
    // Of `\r\n` only the second counts, as a break.
    let characters = bytes.len() - all[CONTINUATIONS] - all[DOUBLE_BREAKS];
    let letters = all[LETTERS] + others.letters;
    let words = all[WORDS] + others.words - others.joined;
    Measures {
        bytes: bytes.len(),
        characters,
        lines,
        longest_line: longest_line(bytes),
        mean_line: ratio(characters - breaks, lines),
        alphabetic: ratio(letters, characters),
        alphanumeric: ratio(letters + all[DIGITS], characters),
        digits: ratio(all[DIGITS], characters),
        whitespace: ratio(all[SPACES] - all[DOUBLE_BREAKS] + others.spaces, characters),
        words,
        mean_word: ratio(letters + all[DIGITS] + all[UNDERSCORES], words),
        hex_words: ratio(hex, words),
        replacement: ratio(others.replacements, characters),
    }
}

/// Characters beyond ASCII.
#[derive(Default)]
struct Others {
    letters: usize,
    spaces: usize,
    replacements: usize,
    /// Words that begin with one.
    words: usize,
    /// Letters behind one, which was taken for no part of a word there.
    joined: usize,
}

impl Others {
    /// Adds those that begin in a stretch of bytes.
    fn add(&mut self, text: &str, place: Range<usize>) {
        for at in place.filter(|at| text.as_bytes()[*at] >= 0xc0) {
            let (before, rest) = text.split_at(at);
            let mut rest = rest.chars();
            let Some(character) = rest.next() else { return };
            if character.is_alphabetic() {
                self.letters += 1;
                self.words += usize::from(!before.chars().next_back().is_some_and(is_word));
                let next = rest.next().filter(char::is_ascii);
                self.joined += usize::from(next.is_some_and(is_word));
            }
            self.spaces += usize::from(character.is_whitespace());
            self.replacements += usize::from(character == '\u{fffd}');
        }
    }
}

/// Words that are a hexadecimal number, by the places of their `x`.
fn hex_words(text: &str, place: Range<usize>) -> usize {
    let bytes = text.as_bytes();
    let is_hex = |at: &usize| {
        if bytes[*at] | 0x20 != b'x' || *at == 0 || bytes[*at - 1] != b'0' {
            return false;
        }
        let digits = bytes[*at + 1..]
            .iter()
            .take_while(|byte| byte.is_ascii_hexdigit())
            .count();
        let (before, after) = (&text[..*at - 1], &text[*at + 1 + digits..]);
        digits > 0
            && !before.chars().next_back().is_some_and(is_word)
            && !after.chars().next().is_some_and(is_word)
    };
    place.filter(is_hex).count()
}

/// Characters of the longest line, without its break.
fn longest_line(bytes: &[u8]) -> usize {
    let mut longest = 0;
    let mut start = 0;
    for end in memchr_iter(b'\n', bytes).chain([bytes.len()]) {
        let mut line = &bytes[start..end];
        if end < bytes.len() {
            line = line.strip_suffix(b"\r").unwrap_or(line);
        }
        // A line has no more characters than bytes.
        if line.len() > longest {
            let characters = line.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
            longest = longest.max(characters);
        }
        start = end + 1;
    }
    longest
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
    fn counts_are_of_characters() {
        let found = measure("été 0x1F\n\n_a1\n");
        assert_eq!(
            (found.characters, found.lines, found.longest_line),
            (14, 3, 8)
        );
        assert_eq!((found.words, found.mean_word), (3, 10.0 / 3.0));
        assert_eq!(found.hex_words, 1.0 / 3.0);
        assert_eq!(found.alphabetic, 6.0 / 14.0);
        assert_eq!(found.digits, 3.0 / 14.0);
        assert_eq!(found.whitespace, 4.0 / 14.0);
    }

    #[test]
    fn an_empty_text_has_zeros_and_no_nan() {
        assert_eq!(measure(""), Measures::default());
    }

    /// The same character by character.
    fn slowly(text: &str) -> Measures {
        let count = |test: fn(char) -> bool| text.chars().filter(|c| test(*c)).count();
        let lines: Vec<&str> = text.lines().collect();
        let lengths = || lines.iter().map(|line| line.chars().count());
        let breaks = count(|c| c == '\n');
        let characters = lengths().sum::<usize>() + breaks;
        let letters = count(char::is_alphabetic);
        let digits = count(|c| c.is_ascii_digit());
        let words: Vec<&str> = text
            .split(|c| !is_word(c))
            .filter(|word| !word.is_empty())
            .collect();
        let is_hex = |word: &&&str| {
            let digits = word.strip_prefix("0x").or(word.strip_prefix("0X"));
            digits.is_some_and(|digits| {
                !digits.is_empty() && digits.chars().all(|c| c.is_ascii_hexdigit())
            })
        };
        let spaces = lines
            .iter()
            .flat_map(|line| line.chars())
            .filter(|c| c.is_whitespace());
        Measures {
            bytes: text.len(),
            characters,
            lines: lines.len(),
            longest_line: lengths().max().unwrap_or(0),
            mean_line: ratio(lengths().sum(), lines.len()),
            alphabetic: ratio(letters, characters),
            alphanumeric: ratio(letters + digits, characters),
            digits: ratio(digits, characters),
            whitespace: ratio(spaces.count() + breaks, characters),
            words: words.len(),
            mean_word: ratio(
                words.iter().map(|word| word.chars().count()).sum(),
                words.len(),
            ),
            hex_words: ratio(words.iter().filter(is_hex).count(), words.len()),
            replacement: ratio(count(|c| c == '\u{fffd}'), characters),
        }
    }

    #[test]
    fn counting_in_lanes_finds_what_counting_by_character_finds() {
        let pieces = [
            "a", "_", "7", " ", "\n", "\r\n", "\r", "\t", "\u{b}", "0x", "0X1f", "0xg", "é",
            "日本", "\u{fffd}", "\u{a0}", "٣", "'", "word ", "0", "x",
        ];
        let mut random = draws::Random::new(1, "");
        for round in 0..2000 {
            let mut text = String::new();
            // Around the ends of blocks too.
            for _ in 0..round % 400 {
                text.push_str(random.pick(&pieces));
            }
            assert_eq!(measure(&text), slowly(&text), "{text:?}");
        }
    }
}
