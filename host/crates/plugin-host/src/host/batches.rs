//! Files in batches of a bounded size.

use std::sync::atomic::{AtomicUsize, Ordering};

use domain::SourceFile;
use rayon::prelude::*;

/// Source that one call of an analyzer gets: enough that the call and its fresh memory cost nothing, little enough for its time.
const BATCH_BYTES: usize = 2 << 20;
const BATCH_FILES: usize = 256;

/// Cuts `files` into batches of a bounded size, each with at least one file.
pub(super) fn batches(files: &[SourceFile]) -> Vec<&[SourceFile]> {
    let mut batches = Vec::new();
    let (mut start, mut size) = (0, 0);
    for (index, file) in files.iter().enumerate() {
        let is_full = size + file.code.len() > BATCH_BYTES || index - start >= BATCH_FILES;
        if index > start && is_full {
            batches.push(&files[start..index]);
            (start, size) = (index, 0);
        }
        size += file.code.len();
    }
    if start < files.len() {
        batches.push(&files[start..]);
    }
    batches
}

/// Does `work` to each item, at most `workers` at once, on threads of the pool that this is called on; the answers are in the
/// order of `items`.
pub(super) fn on_workers<T: Sync, R: Send>(
    items: &[T],
    workers: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let one_after_another = |_| {
        std::iter::from_fn(|| {
            let index = next.fetch_add(1, Ordering::Relaxed);
            Some((index, work(items.get(index)?)))
        })
    };
    let workers = (0..workers.min(items.len()))
        .into_par_iter()
        .with_max_len(1);
    let mut answers: Vec<(usize, R)> = workers.flat_map_iter(one_after_another).collect();
    answers.sort_by_key(|(index, _)| *index);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use domain::SourceFile;

    use super::{BATCH_BYTES, BATCH_FILES, batches, on_workers};

    #[test]
    fn workers_are_no_more_than_asked_for_and_answer_in_order() {
        let items: Vec<usize> = (0..500).collect();
        let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let answers = on_workers(&items, 2, |item| {
            most.fetch_max(1 + running.fetch_add(1, Ordering::SeqCst), Ordering::SeqCst);
            std::thread::yield_now();
            running.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert!(most.into_inner() <= 2);
        assert_eq!(
            answers,
            items.iter().map(|item| item * 2).collect::<Vec<_>>()
        );
        assert!(on_workers(&[], 4, |item: &u8| *item).is_empty());
    }

    #[test]
    fn batches_are_bounded_and_lose_no_file() {
        let file = |bytes: usize| SourceFile {
            path: String::new(),
            code: "x".repeat(bytes),
            language: None,
        };
        let files = [file(10), file(BATCH_BYTES), file(10), file(10)];
        let sizes = |files: &[SourceFile]| {
            batches(files)
                .iter()
                .map(|batch| batch.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(&files), [1, 1, 2]);
        assert_eq!(sizes(&vec![file(0); BATCH_FILES + 1]), [BATCH_FILES, 1]);
        assert!(sizes(&[]).is_empty());
    }
}
