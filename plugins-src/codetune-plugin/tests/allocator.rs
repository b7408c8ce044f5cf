//! The allocator for plugins, natively. Not beside it: projects carry the crate's sources without what tests need.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use codetune_plugin::SmallPieces;

/// One piece and what was written into it.
#[derive(Clone, Copy)]
struct Piece(*mut u8, Layout, u8);

#[test]
fn pieces_never_overlap_and_keep_what_is_written() {
    let allocator = SmallPieces::new();
    let mut pieces: Vec<Piece> = Vec::new();
    let mut random = draws::Random::new(1, "");
    let mut draw = |below: usize| random.below(below as u64) as usize;
    for turn in 0..20_000_usize {
        let mark = turn as u8;
        let align = 1 << draw(6);
        let size = 1 + draw(if turn % 10 == 0 { 3000 } else { 300 });
        // SAFETY: layouts are those that the pieces were made with.
        unsafe {
            match draw(3) {
                0 if !pieces.is_empty() => {
                    let Piece(piece, layout, mark) = pieces.swap_remove(draw(pieces.len()));
                    let bytes = std::slice::from_raw_parts(piece, layout.size());
                    assert!(bytes.iter().all(|byte| *byte == mark));
                    allocator.dealloc(piece, layout);
                }
                1 if !pieces.is_empty() => {
                    let at = draw(pieces.len());
                    let Piece(piece, layout, mark) = pieces[at];
                    let moved = allocator.realloc(piece, layout, size);
                    let kept = std::slice::from_raw_parts(moved, layout.size().min(size));
                    assert!(kept.iter().all(|byte| *byte == mark));
                    ptr::write_bytes(moved, mark, size);
                    let layout = Layout::from_size_align_unchecked(size, layout.align());
                    pieces[at] = Piece(moved, layout, mark);
                }
                _ => {
                    let layout = Layout::from_size_align_unchecked(size, align);
                    let piece = allocator.alloc(layout);
                    assert_eq!(piece as usize % align, 0);
                    ptr::write_bytes(piece, mark, size);
                    pieces.push(Piece(piece, layout, mark));
                }
            }
        }
    }
    let mut places: Vec<(usize, usize)> = pieces
        .iter()
        .map(|Piece(piece, layout, _)| (*piece as usize, layout.size()))
        .collect();
    places.sort_unstable();
    assert!(places.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0));
}
