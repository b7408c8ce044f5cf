//! Memory that is cut from front to back and goes back all at once.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// Of the first stretch; each further one is twice as long.
const FIRST: usize = 1 << 20;
/// Twice as long each: they hold more than a plugin may have.
const MOST: usize = 24;
const ALIGN: usize = 16;

/// One stretch that stays, and more of them for what does not fit.
pub(super) struct Scratch {
    is_on: bool,
    /// Where the next piece is cut from the last stretch, and where that ends.
    at: usize,
    end: usize,
    stretches: [Stretch; MOST],
    count: usize,
}

#[derive(Clone, Copy)]
struct Stretch {
    start: *mut u8,
    length: usize,
}

impl Scratch {
    pub(super) const fn new() -> Self {
        Self {
            is_on: false,
            at: 0,
            end: 0,
            stretches: [Stretch {
                start: ptr::null_mut(),
                length: 0,
            }; MOST],
            count: 0,
        }
    }

    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// From now on pieces come from here.
    pub(super) fn begin(&mut self) {
        assert!(!self.is_on, "a scratch within a scratch");
        self.is_on = true;
    }

    /// No longer, but they stay; whether there are any.
    pub(super) fn pause(&mut self) -> bool {
        self.is_on = false;
        let first = self.stretches[0];
        self.count > 1 || self.count == 1 && self.at > first.start as usize
    }

    /// All pieces go back. Where one stretch was too short, there is one next time that has room for all.
    pub(super) fn end(&mut self) {
        if self.count > 1 {
            let all: usize = self.take().map(|stretch| stretch.length).sum();
            self.stretch(all);
        } else if self.count == 1 {
            self.at = self.stretches[0].start as usize;
        }
    }

    /// Gives all stretches back to the system.
    fn take(&mut self) -> impl Iterator<Item = Stretch> {
        let (stretches, count) = (self.stretches, self.count);
        (self.count, self.at, self.end) = (0, 0, 0);
        stretches.into_iter().take(count).inspect(|stretch| {
            // SAFETY: it came from the system with this layout, and nobody uses what was cut from it.
            unsafe { System.dealloc(stretch.start, layout(stretch.length)) };
        })
    }

    /// Takes a stretch from the system; false when there is none.
    fn stretch(&mut self, length: usize) -> bool {
        if self.count == MOST {
            return false;
        }
        // SAFETY: the layout has a length.
        let start = unsafe { System.alloc(layout(length)) };
        if start.is_null() {
            return false;
        }
        self.stretches[self.count] = Stretch { start, length };
        self.count += 1;
        (self.at, self.end) = (start as usize, start as usize + length);
        true
    }

    #[inline]
    pub(super) fn alloc(&mut self, layout: Layout) -> *mut u8 {
        let at = self.at.next_multiple_of(layout.align());
        // Without a stretch both are 0, and no piece is so short.
        if self.end.saturating_sub(at) >= layout.size() {
            self.at = at + layout.size();
            return at as *mut u8;
        }
        self.cut_from_new(layout)
    }

    #[cold]
    fn cut_from_new(&mut self, layout: Layout) -> *mut u8 {
        let last = self.count.checked_sub(1).map(|last| self.stretches[last]);
        let length = last.map_or(FIRST, |last| last.length * 2);
        let needed = layout.size() + layout.align();
        match self.stretch(length.max(needed)) || self.stretch(needed) {
            true => self.alloc(layout),
            false => ptr::null_mut(),
        }
    }

    /// Whether a piece was cut from one of the stretches.
    #[inline]
    pub(super) fn holds(&self, piece: *mut u8) -> bool {
        let holds = |stretch: &Stretch| {
            (piece as usize).wrapping_sub(stretch.start as usize) < stretch.length
        };
        self.stretches[..self.count].iter().rev().any(holds)
    }

    /// The last piece makes room for the next one; others stay until the end.
    #[inline]
    pub(super) fn dealloc(&mut self, piece: *mut u8, layout: Layout) {
        if piece as usize + layout.size() == self.at {
            self.at = piece as usize;
        }
    }

    /// # Safety
    /// The piece was cut here by `old`; `new` has the same alignment.
    #[inline]
    pub(super) unsafe fn realloc(&mut self, piece: *mut u8, old: Layout, new: Layout) -> *mut u8 {
        let is_last = piece as usize + old.size() == self.at;
        if is_last && self.end - piece as usize >= new.size() {
            self.at = piece as usize + new.size();
            return piece;
        }
        if new.size() <= old.size() {
            return piece;
        }
        let moved = self.alloc(new);
        if !moved.is_null() {
            // SAFETY: both are at least as long as the old one, and the new one was free.
            unsafe { ptr::copy_nonoverlapping(piece, moved, old.size()) };
        }
        moved
    }
}

fn layout(length: usize) -> Layout {
    Layout::from_size_align(length, ALIGN).expect("a length that fits in memory")
}
