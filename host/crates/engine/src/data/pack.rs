//! Short sequences in rows of one capacity.

use std::collections::BTreeSet;

/// Fills rows of `capacity` tokens with sequences: best fit, the longest first (as TRL's strategy `bfd`), ties by
/// index, so that the same lengths always give the same rows. A sequence longer than `capacity` has a row to itself.
///
/// Rows come in the order of their first sequence, and the sequences of a row in their own order.
pub(crate) fn pack(lengths: &[usize], capacity: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(lengths[*at]), *at));
    let mut rows: Vec<Vec<usize>> = Vec::new();
    // Rows with room, by how much they have.
    let mut open: BTreeSet<(usize, usize)> = BTreeSet::new();
    for at in order {
        let length = lengths[at];
        let (room, row) = match open.range((length, 0)..).next().copied() {
            Some(fitting) => {
                open.remove(&fitting);
                fitting
            }
            None => {
                rows.push(Vec::new());
                (capacity, rows.len() - 1)
            }
        };
        rows[row].push(at);
        let left = room.saturating_sub(length);
        if left > 0 {
            open.insert((left, row));
        }
    }
    for row in &mut rows {
        row.sort_unstable();
    }
    rows.sort_unstable_by_key(|row| row.first().copied());
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_longest_goes_first_and_each_into_the_fullest_row_that_has_room() {
        assert_eq!(pack(&[5, 3, 7, 2, 3], 10), [vec![0, 3, 4], vec![1, 2]]);
        assert_eq!(pack(&[12, 1], 10), [vec![0], vec![1]]);
        assert!(pack(&[], 10).is_empty());
    }

    proptest! {
        #[test]
        fn every_sequence_is_in_one_row_and_no_row_overflows(
            lengths in proptest::collection::vec(1usize..=64, 0..200),
        ) {
            let rows = pack(&lengths, 64);
            let mut all: Vec<usize> = rows.concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..lengths.len()).collect::<Vec<_>>());
            for row in &rows {
                prop_assert!(row.iter().map(|at| lengths[*at]).sum::<usize>() <= 64);
            }
            // Two rows that are at most half full would have been one.
            let half_empty = rows.iter().filter(|row| {
                row.iter().map(|at| lengths[*at]).sum::<usize>() <= 32
            });
            prop_assert!(half_empty.count() <= 1);
        }
    }
}
