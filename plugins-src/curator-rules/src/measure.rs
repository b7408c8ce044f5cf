//! The numbers that most rules look at, in one pass over the bytes. Lengths are in characters.

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

const ALPHA: u8 = 1;
const DIGIT: u8 = 2;
const SPACE: u8 = 4;
const WORD: u8 = 8;

/// What each ASCII byte is; bytes of other characters are looked at as characters.
static CLASS: [u8; 128] = {
    let mut class = [0; 128];
    let mut byte = 0_u8;
    while byte < 128 {
        class[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' => ALPHA | WORD,
            b'0'..=b'9' => DIGIT | WORD,
            b'_' => WORD,
            b' ' | b'\t'..=b'\r' => SPACE,
            _ => 0,
        };
        byte += 1;
    }
    class
};

/// Measures one text.
pub fn measure(text: &str) -> Measures {
    let mut found = Measures {
        bytes: text.len(),
        ..Measures::default()
    };
    let (mut alpha, mut digits, mut spaces, mut replaced) = (0, 0, 0, 0);
    let (mut in_words, mut hex) = (0, 0);
    for line in text.lines() {
        let bytes = line.as_bytes();
        let mut length = 0;
        let mut word_start = None;
        let mut at = 0;
        while at < bytes.len() {
            let byte = bytes[at];
            let (class, size) = if byte < 128 {
                (CLASS[usize::from(byte)], 1)
            } else {
                let character = line[at..].chars().next().unwrap_or('\u{fffd}');
                replaced += usize::from(character == '\u{fffd}');
                let class = if character.is_alphabetic() {
                    ALPHA | WORD
                } else if character.is_whitespace() {
                    SPACE
                } else {
                    0
                };
                (class, character.len_utf8())
            };
            length += 1;
            alpha += usize::from(class & ALPHA != 0);
            digits += usize::from(class & DIGIT != 0);
            spaces += usize::from(class & SPACE != 0);
            if class & WORD != 0 {
                in_words += 1;
                word_start.get_or_insert(at);
            } else if let Some(start) = word_start.take() {
                found.words += 1;
                hex += usize::from(is_hex(&bytes[start..at]));
            }
            at += size;
        }
        if let Some(start) = word_start {
            found.words += 1;
            hex += usize::from(is_hex(&bytes[start..]));
        }
        found.lines += 1;
        found.longest_line = found.longest_line.max(length);
        found.characters += length;
    }
    found.mean_line = ratio(found.characters, found.lines);
    // Line breaks are white space.
    let breaks = text.bytes().filter(|byte| *byte == b'\n').count();
    found.characters += breaks;
    let all = found.characters;
    found.alphabetic = ratio(alpha, all);
    found.alphanumeric = ratio(alpha + digits, all);
    found.digits = ratio(digits, all);
    found.whitespace = ratio(spaces + breaks, all);
    found.replacement = ratio(replaced, all);
    found.mean_word = ratio(in_words, found.words);
    found.hex_words = ratio(hex, found.words);
    found
}

fn is_hex(word: &[u8]) -> bool {
    let digits = match word {
        [b'0', b'x' | b'X', digits @ ..] => digits,
        _ => return false,
    };
    !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit)
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
}
