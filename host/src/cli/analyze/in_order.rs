//! Work on items by several threads, whose results are taken in the order of the items while others are made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Does `work` to each item on so many threads, and calls `take` with what comes of it, on this thread and in order. Nobody
/// begins an item that is `ahead` or more of the one that is taken next, so that a slow one does not pile up all after it.
///
/// # Errors
/// The first of `take`, after which nothing else is begun.
pub(super) fn in_order<T: Sync, R: Send, E>(
    items: &[T],
    threads: usize,
    ahead: usize,
    work: impl Fn(&T) -> R + Sync,
    mut take: impl FnMut(R) -> Result<(), E>,
) -> Result<(), E> {
    let line = Line::default();
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                let _end = EndOnPanic(&line);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let is_far = |state: &mut State<R>| index >= state.next + ahead;
                    if line.wait_while(is_far).is_ended {
                        return;
                    }
                    let result = work(item);
                    line.lock().made.insert(index, result);
                    line.changed.notify_all();
                }
            });
        }
        let _end = End(&line);
        for index in 0..items.len() {
            line.lock().next = index;
            line.changed.notify_all();
            let mut state = line.wait_while(|state| !state.made.contains_key(&index));
            // None when a thread has panicked, which goes on at the end of the scope.
            let Some(result) = state.made.remove(&index) else {
                return Ok(());
            };
            drop(state);
            take(result)?;
        }
        Ok(())
    })
}

struct Line<R> {
    state: Mutex<State<R>>,
    changed: Condvar,
}

struct State<R> {
    made: BTreeMap<usize, R>,
    /// Which is taken next.
    next: usize,
    is_ended: bool,
}

impl<R> Default for Line<R> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                made: BTreeMap::new(),
                next: 0,
                is_ended: false,
            }),
            changed: Condvar::new(),
        }
    }
}

impl<R> Line<R> {
    fn lock(&self) -> MutexGuard<'_, State<R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Or until nothing else comes.
    fn wait_while(&self, waits: impl Fn(&mut State<R>) -> bool) -> MutexGuard<'_, State<R>> {
        self.changed
            .wait_while(self.lock(), |state| !state.is_ended && waits(state))
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().is_ended = true;
        self.changed.notify_all();
    }
}

/// Sends everybody home.
struct End<'a, R>(&'a Line<R>);

impl<R> Drop for End<'_, R> {
    fn drop(&mut self) {
        self.0.end();
    }
}

struct EndOnPanic<'a, R>(&'a Line<R>);

impl<R> Drop for EndOnPanic<'_, R> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::in_order;

    #[test]
    fn results_come_in_order_and_only_so_many_are_made_ahead() {
        let items: Vec<usize> = (0..300).collect();
        let taken = AtomicUsize::new(0);
        let work = |item: &usize| {
            let most = taken.load(Ordering::SeqCst) + 5;
            assert!(*item < most, "{item} of {most} was begun");
            if item.is_multiple_of(7) {
                std::thread::yield_now();
            }
            *item
        };
        let mut results = Vec::new();
        let take = |item| {
            results.push(item);
            taken.store(results.len(), Ordering::SeqCst);
            Ok::<_, ()>(())
        };
        in_order(&items, 4, 5, work, take).unwrap();
        assert_eq!(results, items);
        in_order(&[0; 0], 4, 5, |_| (), |()| Err("taken")).unwrap();
        in_order(&[1, 2, 3], 2, 1, |_| (), |()| Ok::<_, ()>(())).unwrap();
    }

    #[test]
    fn nothing_is_begun_after_a_fault() {
        let begun = AtomicUsize::new(0);
        let work = |item: &usize| {
            begun.fetch_add(1, Ordering::SeqCst);
            *item
        };
        let take = |item| if item == 10 { Err(item) } else { Ok(()) };
        let items: Vec<usize> = (0..100_000).collect();
        assert_eq!(in_order(&items, 3, 4, work, take), Err(10));
        assert!(begun.into_inner() <= 10 + 4);
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panic_of_a_thread_is_no_wait_without_an_end() {
        let work = |item: &usize| assert!(*item != 7, "it is seven");
        let _ = in_order(&[0, 3, 7, 9, 11], 2, 2, work, |()| Ok::<_, ()>(()));
    }
}
