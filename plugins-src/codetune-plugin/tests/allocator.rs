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

/// A list whose pieces come from the allocator, and lie there when it is looked at.
struct Made(Vec<Piece>);

impl Drop for Made {
    fn drop(&mut self) {
        panic!("what a scratch made is not dropped");
    }
}

#[test]
fn a_scratch_gives_back_all_at_once_and_touches_nothing_else() {
    let allocator = SmallPieces::new();
    let mut random = draws::Random::new(2, "");
    let layout = Layout::from_size_align(100, 16).unwrap();
    // SAFETY: pieces are used until the scratch ends that they are from, by the layouts that they were made with.
    unsafe {
        let mut lasting = Piece(allocator.alloc(layout), layout, 1);
        ptr::write_bytes(lasting.0, 1, 100);
        let mut firsts = Vec::new();
        // Each more than the one before: stretches are added, then joined.
        for most in [10, 100, 1000, 10_000, 10_000, 10_000] {
            let work = || {
                let mut pieces: Vec<Piece> = Vec::new();
                for turn in 0..most {
                    let size = 1 + random.below(if turn % 10 == 0 { 5000 } else { 200 }) as usize;
                    let layout = Layout::from_size_align(size, 1 << random.below(5)).unwrap();
                    let mut piece = Piece(allocator.alloc(layout), layout, turn as u8);
                    assert_eq!(piece.0 as usize % layout.align(), 0);
                    ptr::write_bytes(piece.0, piece.2, size);
                    if turn % 3 == 0 {
                        let layout = Layout::from_size_align(size * 2, layout.align()).unwrap();
                        piece.0 = allocator.realloc(piece.0, piece.1, size * 2);
                        let kept = std::slice::from_raw_parts(piece.0, size);
                        assert!(kept.iter().all(|byte| *byte == piece.2));
                        ptr::write_bytes(piece.0, piece.2, size * 2);
                        piece.1 = layout;
                    }
                    if turn % 7 == 0 {
                        allocator.dealloc(piece.0, piece.1);
                    } else {
                        pieces.push(piece);
                    }
                }
                // What was there before is made longer within, and outlives it.
                let longer = lasting.1.size() + 150;
                lasting.0 = allocator.realloc(lasting.0, lasting.1, longer);
                lasting.1 = Layout::from_size_align(longer, 16).unwrap();
                Made(pieces)
            };
            let kept = allocator.scratch(work, |made| {
                for Piece(piece, layout, mark) in &made.0 {
                    let bytes = std::slice::from_raw_parts(*piece, layout.size());
                    assert!(bytes.iter().all(|byte| byte == mark));
                }
                // Taken while the scratch still stands, and used when it is gone.
                let kept = allocator.alloc(layout);
                ptr::write_bytes(kept, 2, 100);
                firsts.push(made.0[0].0 as usize);
                kept
            });
            let bytes = std::slice::from_raw_parts(kept, 100);
            assert!(bytes.iter().all(|byte| *byte == 2));
            allocator.dealloc(kept, layout);
        }
        let bytes = std::slice::from_raw_parts(lasting.0, 100);
        assert!(bytes.iter().all(|byte| *byte == 1));
        // Once there is room for all, it is the same room again.
        assert_eq!(firsts[4], firsts[5]);
    }
}

#[test]
fn what_is_made_by_another_allocator_is_dropped_as_usual() {
    let counted = std::rc::Rc::new(());
    let clone = std::rc::Rc::clone(&counted);
    // SAFETY: nothing of it is used afterwards.
    let text = unsafe { codetune_plugin::scratch(|| vec![clone], |made| made.len().to_string()) };
    assert_eq!(
        (text.as_str(), std::rc::Rc::strong_count(&counted)),
        ("1", 1)
    );
    let clone = std::rc::Rc::clone(&counted);
    // SAFETY: as above; this one is nobody's allocator, so that nothing comes from it.
    unsafe { SmallPieces::new().scratch(|| vec![clone], |_| ()) };
    assert_eq!(std::rc::Rc::strong_count(&counted), 1);
}
