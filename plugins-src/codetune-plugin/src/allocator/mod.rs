//! An allocator for plugins that parse: what a syntax tree is made of comes and goes in small pieces.
//!
//! Pieces of up to 512 bytes come from lists of free ones, a list for each multiple of 16 bytes, and go back to them; new
//! ones are cut from stretches that the system's allocator gives. Taking and giving back is a few instructions then, where
//! a general allocator looks at a piece's neighbours. Memory of small pieces is never given to larger ones; an instance
//! lives for one call or one job.
//!
//! Within [`scratch`] all pieces, large ones too, are cut one behind the other, and go back at once.

mod scratch;

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

use self::scratch::Scratch;

/// Set it as the global allocator of a plugin, for WebAssembly alone:
/// `#[cfg(target_family = "wasm")] #[global_allocator] static ALLOCATOR: PluginAllocator = PluginAllocator;`
pub struct PluginAllocator;

/// A plugin is built without threads, so there is nobody to share it with.
#[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
static PIECES: SmallPieces = SmallPieces::new();

/// What [`PluginAllocator`] works with. It has no locks: one thread only.
pub struct SmallPieces(UnsafeCell<State>);

struct State {
    /// For each size the first free piece; in it stands where the next one is.
    free: [*mut u8; LARGEST / GRAIN + 1],
    /// What is left of the last stretch.
    rest: *mut u8,
    rest_length: usize,
    scratch: Scratch,
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
            scratch: Scratch::new(),
        }))
    }

    /// Makes something for a short while: `work` makes it, `keep` takes out of it what is wanted, and all memory that `work`
    /// took goes back at once, without a walk through what was made.
    ///
    /// # Safety
    /// What `work` allocates is used by nobody but `keep`: `work` leaves none of it in statics or in what it borrows, and what
    /// `keep` returns holds none of it. What `work` makes is not dropped where this is the allocator.
    pub unsafe fn scratch<T, R>(&self, work: impl FnOnce() -> T, keep: impl FnOnce(&T) -> R) -> R {
        // SAFETY: here and below: nobody else holds the state while one line of this runs.
        unsafe { (*self.0.get()).scratch.begin() };
        let made = work();
        let is_ours = unsafe { (*self.0.get()).scratch.pause() };
        let kept = keep(&made);
        match is_ours {
            true => std::mem::forget(made),
            // Another allocator is at work, or nothing was allocated.
            false => drop(made),
        }
        unsafe { (*self.0.get()).scratch.end() };
        kept
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

/// [`SmallPieces::scratch`] of the plugin's allocator; natively, or where a plugin has another allocator, what was made is
/// dropped as usual.
///
/// # Safety
/// As there.
pub unsafe fn scratch<T, R>(work: impl FnOnce() -> T, keep: impl FnOnce(&T) -> R) -> R {
    #[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
    // SAFETY: as the caller promises.
    return unsafe { PIECES.scratch(work, keep) };
    #[cfg(not(all(target_family = "wasm", not(target_feature = "atomics"))))]
    keep(&work())
}

// SAFETY: `SmallPieces` does it, by the same layouts.
#[cfg(all(target_family = "wasm", not(target_feature = "atomics")))]
unsafe impl GlobalAlloc for PluginAllocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { PIECES.alloc(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { PIECES.dealloc(piece, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, piece: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as the caller promises.
        unsafe { PIECES.realloc(piece, layout, size) }
    }
}

impl SmallPieces {
    /// A piece that outlives a scratch.
    #[inline]
    fn lasting(&self, layout: Layout) -> *mut u8 {
        let Some(list) = list(layout) else {
            // SAFETY: whoever asks for memory promises that the layout has a length.
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
}

// SAFETY: a piece is in use, or in one list, or in the scratch, whose pieces never come to a list; it is as long as its list says and aligned to `GRAIN`, as every
// stretch and every multiple of `GRAIN` in it is. `alloc` and `dealloc` come to the same list, by the same layout.
unsafe impl GlobalAlloc for SmallPieces {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: nobody else is here: there is one thread, and nothing below calls back.
        let scratch = unsafe { &mut (*self.0.get()).scratch };
        match scratch.is_on() {
            true => scratch.alloc(layout),
            false => self.lasting(layout),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, piece: *mut u8, layout: Layout) {
        // SAFETY: as in `alloc`.
        let scratch = unsafe { &mut (*self.0.get()).scratch };
        if scratch.is_on() && scratch.holds(piece) {
            return scratch.dealloc(piece, layout);
        }
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
        // SAFETY: as in `alloc`.
        let scratch = unsafe { &mut (*self.0.get()).scratch };
        if scratch.is_on() && scratch.holds(piece) {
            // SAFETY: the piece is as long as its layout says.
            return unsafe { scratch.realloc(piece, layout, new) };
        }
        match (list(layout), list(new)) {
            (None, None) => {
                // SAFETY: as the caller promises.
                unsafe { System.realloc(piece, layout, size) }
            }
            (old, new) if old == new => piece,
            _ => {
                // SAFETY: both pieces are as long as what is copied, and not the same.
                unsafe {
                    // What was there before a scratch outlives it.
                    let moved = self.lasting(new);
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
