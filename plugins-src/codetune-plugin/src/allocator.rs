//! An allocator for plugins that parse: what a syntax tree is made of comes and goes in small pieces.
//!
//! Pieces of up to 512 bytes come from lists of free ones, a list for each multiple of 16 bytes, and go back to them; new
//! ones are cut from stretches that the system's allocator gives. Taking and giving back is a few instructions then, where
//! a general allocator looks at a piece's neighbours. Memory of small pieces is never given to larger ones; an instance
//! lives for one call or one job.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;

/// What sizes are rounded up to, and what every small piece is aligned to.
const GRAIN: usize = 16;
/// Larger pieces are the system's.
const LARGEST: usize = 512;
/// What is asked of the system at a time.
const STRETCH: usize = 64 << 10;

/// Set it as the global allocator of a plugin. WebAssembly without threads only: it has no locks.
pub struct SmallPieces(UnsafeCell<State>);

struct State {
    /// For each size the first free piece; in it stands where the next one is.
    free: [*mut u8; LARGEST / GRAIN + 1],
    /// What is left of the last stretch.
    rest: *mut u8,
    rest_length: usize,
}

// SAFETY: a plugin is built without threads, so there is nobody to share it with.
#[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
unsafe impl Sync for SmallPieces {}

impl Default for SmallPieces {
    fn default() -> Self {
        Self::new()
    }
}

impl SmallPieces {
    /// Holds nothing yet.
    pub const fn new() -> Self {
        Self(UnsafeCell::new(State {
            free: [ptr::null_mut(); LARGEST / GRAIN + 1],
            rest: ptr::null_mut(),
            rest_length: 0,
        }))
    }
}

/// The list of a size; none for the system's.
fn list(layout: Layout) -> Option<usize> {
    let is_small = layout.size() <= LARGEST && layout.align() <= GRAIN;
    is_small.then(|| layout.size().div_ceil(GRAIN))
}

impl State {
    /// Cuts a new piece for a list.
    #[cold]
    fn cut(&mut self, list: usize) -> *mut u8 {
        let length = list * GRAIN;
        if self.rest_length < length {
            // SAFETY: the layout has a length and a power of two to align to.
            let stretch =
                unsafe { System.alloc(Layout::from_size_align_unchecked(STRETCH, GRAIN)) };
            if stretch.is_null() {
                return stretch;
            }
            (self.rest, self.rest_length) = (stretch, STRETCH);
        }
        let piece = self.rest;
        // SAFETY: `rest` has at least `length` bytes.
        self.rest = unsafe { self.rest.add(length) };
        self.rest_length -= length;
        piece
    }
}

// SAFETY: a piece is in use or in one list, never both; it is as long as its list says and aligned to `GRAIN`, as every
// stretch and every multiple of `GRAIN` in it is. `alloc` and `dealloc` come to the same list, by the same layout.
unsafe impl GlobalAlloc for SmallPieces {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(list) = list(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { System.alloc(layout) };
        };
        // SAFETY: nobody else is here: there is one thread, and nothing below calls back.
        let state = unsafe { &mut *self.0.get() };
        let piece = state.free[list];
        if piece.is_null() {
            return state.cut(list);
        }
        // SAFETY: in a free piece stands where the next one is.
        state.free[list] = unsafe { piece.cast::<*mut u8>().read() };
        piece
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        let Some(list) = list(layout) else {
            // SAFETY: as the caller promises.
            return unsafe { System.dealloc(piece, layout) };
        };
        // SAFETY: as in `alloc`; a piece has room for a pointer, since no list has pieces of nothing.
        unsafe {
            let state = &mut *self.0.get();
            piece.cast::<*mut u8>().write(state.free[list]);
            state.free[list] = piece;
        }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that size and alignment make a layout.
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (list(layout), list(new)) {
            (None, None) => {
                // SAFETY: as the caller promises.
                unsafe { System.realloc(piece, layout, size) }
            }
            (old, new) if old == new => piece,
            _ => {
                // SAFETY: both pieces are as long as what is copied, and not the same.
                unsafe {
                    let moved = self.alloc(new);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(piece, moved, layout.size().min(size));
                        self.dealloc(piece, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One piece and what was written into it.
    #[derive(Clone, Copy)]
    struct Piece(*mut u8, Layout, u8);

    #[test]
    fn pieces_never_overlap_and_keep_what_is_written() {
        let allocator = SmallPieces::new();
        let mut pieces: Vec<Piece> = Vec::new();
        let mut state = 1_u64;
        let mut draw = |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
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
}
