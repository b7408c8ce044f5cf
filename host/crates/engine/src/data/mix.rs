//! Several datasets as one: what each holds, in the order of their names, and how many samples of it are taken.

use domain::DataConfig;
use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

use super::{Data, Pair, TokenizerSource, pairs};
use crate::Result;

/// Every dataset of a run: its samples behind one another, and one report.
pub(super) fn load(config: &DataConfig, tokens: TokenizerSource<'_>, seed: u64) -> Result<Data> {
    let mut all: Option<Data> = None;
    for (name, one) in config.each() {
        let mut data = super::load_one(&one, tokens, seed)?;
        let said = said(name, data.train.len(), data.eval.len());
        data.report.notes.extend(said);
        match &mut all {
            None => all = Some(data),
            Some(all) => {
                all.train.append(&mut data.train);
                all.eval.append(&mut data.eval);
                all.report.add(&data.report);
            }
        }
    }
    Ok(all.expect("a run has data"))
}

/// Every pair of a run: what is trained on, and what is held out. `tell` hears what was passed over, cut and left out.
///
/// # Errors
/// As [`super::load`], and where the data is of another format.
pub(crate) fn load_pairs<'a>(
    config: &DataConfig,
    tokens: impl Into<TokenizerSource<'a>>,
    seed: u64,
    tell: &mut dyn FnMut(String),
) -> Result<(Vec<Pair>, Vec<Pair>)> {
    let tokens = tokens.into();
    let (mut train, mut eval) = (Vec::new(), Vec::new());
    for (name, one) in config.each() {
        let (mut more, mut held_out) = pairs::load_one(&one, tokens, seed, tell)?;
        said(name, more.len(), held_out.len())
            .into_iter()
            .for_each(&mut *tell);
        train.append(&mut more);
        eval.append(&mut held_out);
    }
    Ok((train, eval))
}

/// What a further dataset brought.
fn said(name: Option<&str>, train: usize, eval: usize) -> Option<String> {
    name.map(|name| format!("data.mix.{name}: {train} to train on, {eval} held out"))
}

/// So many of the items, drawn by `seed`, in their order; where there are fewer, all of them as often as they fit and then some
/// once more. All where no number is given.
pub(super) fn drawn<T: Clone>(items: Vec<T>, wanted: Option<u32>, seed: u64) -> Vec<T> {
    let Some(wanted) = wanted.map(|wanted| wanted as usize) else {
        return items;
    };
    if items.is_empty() || wanted == items.len() {
        return items;
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = index::sample(&mut random, items.len(), wanted % items.len()).into_vec();
    chosen.sort_unstable();
    let whole = (0..wanted / items.len()).flat_map(|_| 0..items.len());
    let all = whole.chain(chosen);
    all.map(|at| items[at].clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::drawn;

    #[test]
    fn a_number_of_samples_is_drawn_by_the_seed_and_none_twice_before_all_are_there_once() {
        let items: Vec<u32> = (0..100).collect();
        assert_eq!(drawn(items.clone(), None, 1), items);
        let few = drawn(items.clone(), Some(30), 1);
        assert_eq!(few.len(), 30);
        assert!(few.is_sorted_by(|a, b| a < b), "{few:?}");
        assert_eq!(drawn(items.clone(), Some(30), 1), few);
        assert_ne!(drawn(items.clone(), Some(30), 2), few);
        let many = drawn(items.clone(), Some(230), 1);
        assert_eq!(many.len(), 230);
        assert_eq!(many[..100], items);
        assert_eq!(many[100..200], items);
        assert_eq!(many[200..], few);
        assert!(drawn(Vec::<u32>::new(), Some(3), 1).is_empty());
    }
}
