//! Data that is written down as text: base64, lists of bytes, escapes. StarCoder2's three patterns, scanned by hand.

use source_text::{Kind, kind, long_runs};

/// `[a-zA-Z0-9+/\n=]`, of which StarCoder2 takes runs of 64.
static BASE64: Kind = kind!(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'+' | b'/' | b'=' | b'\n');
const SHORTEST_BASE64: usize = 64;
/// What a list of bytes is made of; eight of two digits each have something between them.
static BYTE_LIST: Kind = kind!(
    b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b'x' | b'\\' | b',' | b' ' | b'\t' | b'\n' | b'\x0c' | b'\r'
);
const SHORTEST_LIST: usize = 8 * 2 + 7;
/// What escapes are made of.
static ESCAPES: Kind = kind!(b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' | b'u' | b'\\');
const SHORTEST_ESCAPES: usize = 8 * 6;

/// Length of a match at a place; 0 when there is none.
type Find = fn(&[u8], usize) -> usize;

/// Bytes that matches cover, and the longest of them. Matches of base64 count first, then what the others add.
pub fn encoded(text: &[u8]) -> (usize, usize) {
    let (mut all, mut longest) = (0, 0);
    let mut count = |length: usize| {
        all += length;
        longest = longest.max(length);
    };
    for run in long_runs(text, &BASE64, SHORTEST_BASE64) {
        count(run.len());
    }
    let patterns: [(&Kind, usize, Find); 2] = [
        (&BYTE_LIST, SHORTEST_LIST, byte_list),
        (&ESCAPES, SHORTEST_ESCAPES, escapes),
    ];
    for (kind, shortest, find) in patterns {
        // A match never reaches beyond a run of its own bytes.
        for run in long_runs(text, kind, shortest) {
            let mut at = run.start;
            while at + shortest <= run.end {
                let length = find(text, at);
                if length > 0 {
                    count(length);
                }
                at += length.max(1);
            }
        }
    }
    (all.min(text.len()), longest)
}

/// `(?:\b(?:0x|\\x)?[0-9a-fA-F]{2}(?:,|\b\s*)){8,}`.
fn byte_list(text: &[u8], start: usize) -> usize {
    let is_word = |at: Option<&u8>| at.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let boundary =
        |at: usize| is_word(at.checked_sub(1).and_then(|at| text.get(at))) != is_word(text.get(at));
    let hex = |at: usize| text.get(at).is_some_and(u8::is_ascii_hexdigit);
    let (mut at, mut count) = (start, 0);
    while boundary(at) {
        let prefix = match text.get(at..at + 2) {
            Some(b"0x" | b"\\x") if hex(at + 2) && hex(at + 3) => 2,
            _ => 0,
        };
        let end = at + prefix + 2;
        if !hex(end - 2) || !hex(end - 1) {
            break;
        }
        if text.get(end) == Some(&b',') {
            at = end + 1;
        } else if boundary(end) {
            let spaces = text[end..]
                .iter()
                .take_while(|byte| byte.is_ascii_whitespace());
            at = end + spaces.count();
        } else {
            break;
        }
        count += 1;
    }
    if count >= 8 { at - start } else { 0 }
}

/// `(?:\\u[0-9a-fA-F]{4}){8,}`.
fn escapes(text: &[u8], start: usize) -> usize {
    let mut at = start;
    while text.get(at..at + 6).is_some_and(|found| {
        found.starts_with(b"\\u") && found[2..].iter().all(u8::is_ascii_hexdigit)
    }) {
        at += 6;
    }
    if at - start >= 48 { at - start } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_forms_are_found_and_code_is_not() {
        assert_eq!(encoded(&[b'Q'; 100]), (100, 100));
        assert_eq!(encoded(&[b'Q'; 63]).0, 0);
        let list = "0x00,0x01,0x02,0x03,0x04,0x05,0x06,0x07,0x08,";
        assert_eq!(encoded(list.as_bytes()).1, list.len());
        assert_eq!(encoded(b"x = 12 ab 34 cd 56 ef 78 90 end").1, 24);
        assert_eq!(encoded("\\u00e9".repeat(8).as_bytes()).1, 48);
        assert_eq!(encoded("\\u00e9".repeat(7).as_bytes()).1, 0);
        assert_eq!(encoded(b"def f(x):\n    return x + 12\n"), (0, 0));
        assert_eq!(encoded(b""), (0, 0));
    }

    /// The same by looking at every byte.
    fn slowly(text: &[u8]) -> (usize, usize) {
        let (mut all, mut longest) = (0, 0);
        let runs = text.split(|byte| !BASE64[usize::from(*byte)]);
        for run in runs.filter(|run| run.len() >= SHORTEST_BASE64) {
            (all, longest) = (all + run.len(), longest.max(run.len()));
        }
        for find in [byte_list as Find, escapes] {
            let mut at = 0;
            while at < text.len() {
                let length = find(text, at);
                (all, longest) = (all + length, longest.max(length));
                at += length.max(1);
            }
        }
        (all.min(text.len()), longest)
    }

    #[test]
    fn skipping_finds_what_a_look_at_every_byte_finds() {
        // Words of the three forms and of code, drawn by a multiplicative generator and put together.
        let words = [
            "ab",
            "\\x0f",
            "0x1F",
            ",",
            " ",
            "\n",
            "\\u00e9",
            "QUJDRA==",
            "x",
            "_",
            ", ",
            "def f(g):",
            "\u{e9}",
            "12",
        ];
        let mut random = draws::Random::new(1, "");
        for round in 0..3000 {
            let mut text = String::new();
            // Few words a text, so that the same come again and again.
            let few = 1 + round % 4;
            let first = random.below(words.len() as u64);
            for _ in 0..40 {
                let word = (first + random.below(few)) as usize;
                text.push_str(words[word % words.len()]);
            }
            assert_eq!(
                encoded(text.as_bytes()),
                slowly(text.as_bytes()),
                "{text:?}"
            );
        }
    }
}
