//! Data that is written down as text: base64, lists of bytes, escapes. StarCoder2's three patterns, scanned by hand.

/// Bytes that matches cover, and the longest of them. Matches of base64 count first, then what the others add.
pub fn encoded(text: &[u8]) -> (usize, usize) {
    let (mut all, mut longest) = (0, 0);
    let mut count = |length: usize| {
        all += length;
        longest = longest.max(length);
    };
    for run in text.split(|byte| !is_base64(*byte)) {
        if run.len() >= 64 {
            count(run.len());
        }
    }
    for find in [byte_list, escapes] {
        let mut at = 0;
        while at < text.len() {
            let length = find(text, at);
            if length > 0 {
                count(length);
            }
            at += length.max(1);
        }
    }
    (all.min(text.len()), longest)
}

/// `[a-zA-Z0-9+/\n=]`, of which StarCoder2 takes runs of 64.
fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'\n')
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
    use super::encoded;

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
}
