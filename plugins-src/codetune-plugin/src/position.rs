/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
}

/// Turns byte offsets into lines and columns.
#[derive(Debug)]
pub struct LineIndex<'a> {
    text: &'a str,
    starts: Vec<u32>,
}

/// Bytes that one instruction looks at.
const LANES: usize = 16;

/// A bit for each byte that may end a line, the first byte's lowest.
#[cfg(all(target_family = "wasm", target_feature = "simd128"))]
fn ends(piece: &[u8; LANES]) -> u16 {
    use std::arch::wasm32::{i8x16_bitmask, i8x16_eq, u8x16_splat, v128_load, v128_or};

    // SAFETY: the piece has the sixteen bytes that are read, and they may lie anywhere.
    let piece = unsafe { v128_load(piece.as_ptr().cast()) };
    let is = |byte| i8x16_eq(piece, u8x16_splat(byte));
    i8x16_bitmask(v128_or(is(b'\n'), is(b'\r')))
}

#[cfg(not(all(target_family = "wasm", target_feature = "simd128")))]
fn ends(piece: &[u8; LANES]) -> u16 {
    let bits = (0..).zip(piece);
    bits.fold(0, |ends, (at, byte)| {
        ends | u16::from((*byte == b'\n') | (*byte == b'\r')) << at
    })
}

impl<'a> LineIndex<'a> {
    /// Finds the lines of `text`; `\n`, `\r\n` and a lone `\r` each end one.
    pub fn new(text: &'a str) -> Self {
        let bytes = text.as_bytes();
        let mut starts = Vec::with_capacity(bytes.len() / 32 + 1);
        starts.push(0);
        let mut take = |start: usize, mut ends: u16| {
            while ends != 0 {
                let at = start + ends.trailing_zeros() as usize;
                // Of `\r\n` the second ends the line.
                if bytes[at] == b'\n' || bytes.get(at + 1) != Some(&b'\n') {
                    starts.push(at as u32 + 1);
                }
                ends &= ends - 1;
            }
        };
        let (pieces, rest) = bytes.as_chunks::<LANES>();
        for (piece, start) in pieces.iter().zip((0..).step_by(LANES)) {
            take(start, ends(piece));
        }
        let mut last = [0; LANES];
        last[..rest.len()].copy_from_slice(rest);
        take(bytes.len() - rest.len(), ends(&last));
        Self { text, starts }
    }

    /// The line of a byte, from 1.
    pub fn line(&self, offset: u32) -> u32 {
        self.starts.partition_point(|start| *start <= offset) as u32
    }

    /// Line and column of a byte; an offset beyond the text means its end.
    pub fn position(&self, offset: u32) -> Position {
        let mut offset = (offset as usize).min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.line(offset as u32);
        let start = self.starts[line as usize - 1] as usize;
        let column = self.text[start..offset].chars().count() as u32 + 1;
        Position { line, column }
    }

    /// The byte of a line and column, both from 1; past the end of a line means its end.
    pub fn offset(&self, position: Position) -> u32 {
        let line = position.line.saturating_sub(1) as usize;
        let Some(&start) = self.starts.get(line) else {
            return self.text.len() as u32;
        };
        let end = self
            .starts
            .get(line + 1)
            .map_or(self.text.len(), |next| *next as usize);
        self.text[start as usize..end]
            .char_indices()
            .nth(position.column.saturating_sub(1) as usize)
            .map_or(end as u32, |(at, _)| start + at as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::{LineIndex, Position};

    #[test]
    fn columns_count_characters_and_every_line_ending_counts_once() {
        let index = LineIndex::new("é = 1\r\nb\rc\n");
        assert_eq!(index.position(3), Position { line: 1, column: 3 });
        assert_eq!(index.position(8), Position { line: 2, column: 1 });
        assert_eq!(index.position(10), Position { line: 3, column: 1 });
        assert_eq!(index.position(999), Position { line: 4, column: 1 });
    }

    #[test]
    fn every_line_is_found_wherever_it_lies() {
        // Every text of six letters out of four, behind some others: ends lie on both sides of a piece's bounds.
        for before in [0, 12, 13, 14, 15, 16, 29] {
            for number in 0..4_usize.pow(6) {
                let letters = (0..6).map(|at| ["x", "\n", "\r", "é"][number / 4_usize.pow(at) % 4]);
                let text = "-".repeat(before) + &letters.collect::<String>();
                let ends = text.replace("\r\n", "-\n").replace('\r', "\n");
                let starts: Vec<u32> = ends
                    .match_indices('\n')
                    .map(|(at, _)| at as u32 + 1)
                    .collect();
                assert_eq!(LineIndex::new(&text).starts[1..], starts, "{text:?}");
            }
        }
    }

    #[test]
    fn offset_is_the_way_back() {
        let text = "é = 1\nfoo\n";
        let index = LineIndex::new(text);
        for (at, _) in text.char_indices().filter(|(_, c)| *c != '\n') {
            assert_eq!(index.offset(index.position(at as u32)), at as u32);
        }
    }
}
