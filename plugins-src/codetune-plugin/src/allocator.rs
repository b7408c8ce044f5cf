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
/// What is asked of the system at a time. Each growth of the memory is a call of the host's kernel, so few of them; pages that are
/// never touched cost nothing.
const STRETCH: usize = 512 << 10;

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
