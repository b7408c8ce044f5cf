//! Files in batches of a bounded size.

use domain::SourceFile;

/// Source that one call of an analyzer gets: enough that the call itself costs nothing, little enough for its memory.
const BATCH_BYTES: usize = 512 << 10;
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

#[cfg(test)]
mod tests {
    use domain::SourceFile;

    use super::{BATCH_BYTES, BATCH_FILES, batches};

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
