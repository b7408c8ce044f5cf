//! Long runs of bytes of a kind, without looking at every byte.

use std::ops::Range;

/// Which bytes belong to a run.
pub type Kind = [bool; 256];

/// The bytes that `is_in` accepts, as a table.
#[macro_export]
macro_rules! kind {
    ($pattern:pat) => {{
        let mut kind = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            kind[byte] = matches!(byte as u8, $pattern);
            byte += 1;
        }
        kind
    }};
}

/// The stretches of at least `least` bytes that are all of a kind, each as long as it can be, in their order.
///
/// As in Boyer and Moore's search: a run that begins here covers the next `least` bytes, so the last of these that is of
/// another kind says where the next run can begin, and nothing before it is looked at.
pub fn long_runs<'a>(
    text: &'a [u8],
    kind: &'a Kind,
    least: usize,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let is_in = |byte: &u8| kind[usize::from(*byte)];
    let mut start = 0;
    std::iter::from_fn(move || {
        while let Some(window) = text.get(start..start + least) {
            if let Some(at) = window.iter().rposition(|byte| !is_in(byte)) {
                start += at + 1;
                continue;
            }
            let rest = text[start + least..].iter();
            let end = start + least + rest.take_while(|byte| is_in(byte)).count();
            let run = start..end;
            // The byte at the end is of another kind.
            start = end + 1;
            return Some(run);
        }
        None
    })
}

/// The longest stretch of a kind around the byte at `at`; empty when that is of another kind.
pub fn run_around(text: &[u8], kind: &Kind, at: usize) -> Range<usize> {
    let is_in = |byte: &u8| kind[usize::from(*byte)];
    let before = text[..at].iter().rev().take_while(|byte| is_in(byte));
    let after = text[at..].iter().take_while(|byte| is_in(byte)).count();
    match after {
        0 => at..at,
        after => at - before.count()..at + after,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static DIGITS: Kind = kind!(b'0'..=b'9');

    #[test]
    fn runs_are_those_that_a_look_at_every_byte_finds() {
        // Every text of twelve letters out of two.
        for bits in 0..1_u32 << 12 {
            let text: Vec<u8> = (0..12)
                .map(|at| if bits >> at & 1 == 1 { b'7' } else { b'x' })
                .collect();
            for least in 1..5 {
                let mut expected = Vec::new();
                let mut start = 0;
                for piece in text.split(|byte| *byte == b'x') {
                    if piece.len() >= least {
                        expected.push(start..start + piece.len());
                    }
                    start += piece.len() + 1;
                }
                let found: Vec<_> = long_runs(&text, &DIGITS, least).collect();
                assert_eq!(found, expected, "{}", String::from_utf8_lossy(&text));
            }
        }
        assert_eq!(long_runs(b"", &DIGITS, 1).count(), 0);
    }

    #[test]
    fn a_run_reaches_to_both_sides() {
        assert_eq!(run_around(b"a123b", &DIGITS, 2), 1..4);
        assert_eq!(run_around(b"123", &DIGITS, 0), 0..3);
        assert_eq!(run_around(b"a123b", &DIGITS, 4), 4..4);
    }
}
