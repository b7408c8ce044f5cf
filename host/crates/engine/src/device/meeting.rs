//! What stands in NCCL's place in tests: threads of one process that add up what their machines hold.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::machine::Peers;
use super::patience::wait;
use crate::{Error, Result};

/// What each rank has brought to each of the calls that all make together.
type Brought = BTreeMap<usize, BTreeMap<usize, Vec<f32>>>;

/// The place of one machine among those that add up.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    brought: Arc<Mutex<Brought>>,
    rank: AtomicUsize,
    size: AtomicUsize,
    calls: AtomicUsize,
    joined: AtomicBool,
    /// The call at which it fails before the others hear of it.
    fails_at: Option<usize>,
}

/// Longer than any test.
const MOST: Duration = Duration::from_secs(600);

impl Seat {
    /// So many that belong together.
    pub(crate) fn among(count: usize) -> Vec<Self> {
        let brought = Arc::<Mutex<Brought>>::default();
        let seat = |_| Self {
            brought: brought.clone(),
            ..Self::default()
        };
        (0..count).map(seat).collect()
    }

    /// Fails at a call of those that all make, from 0: that to join.
    pub(crate) fn failing_at(self, call: usize) -> Self {
        Self {
            fails_at: Some(call),
            ..self
        }
    }

    /// What all bring to their next call, in the order of ranks.
    fn together(
        &self,
        mine: &[f32],
        look: &mut dyn FnMut() -> Result<()>,
    ) -> Result<Vec<Vec<f32>>> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if self.fails_at == Some(call) {
            return Err(Error::Compute("its GPU fell off the bus".into()));
        }
        let (rank, size) = (
            self.rank.load(Ordering::SeqCst),
            self.size.load(Ordering::SeqCst),
        );
        let all = || self.brought.lock().unwrap_or_else(PoisonError::into_inner);
        all().entry(call).or_default().insert(rank, mine.to_vec());
        let done = || Ok(all()[&call].len() == size);
        wait(done, look, MOST, || Error::Peer("they never came".into()))?;
        Ok(all()[&call].values().cloned().collect())
    }
}

impl Peers for Seat {
    fn invite(&self) -> Result<Vec<u8>> {
        Ok(b"come".to_vec())
    }

    fn join(
        &self,
        invitation: &[u8],
        rank: usize,
        size: usize,
        look: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        assert_eq!(invitation, b"come");
        self.rank.store(rank, Ordering::SeqCst);
        self.size.store(size, Ordering::SeqCst);
        self.together(&[], look)?;
        self.joined.store(true, Ordering::SeqCst);
        Ok(())
    }

    fn joined(&self) -> bool {
        self.joined.load(Ordering::SeqCst)
    }

    unsafe fn sum(&self, at: u64, len: usize, look: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        // SAFETY: promised by the caller; nothing else uses it meanwhile.
        let values = unsafe { std::slice::from_raw_parts_mut(at as *mut f32, len) };
        let all = self.together(values, look)?;
        values.fill(0.0);
        for theirs in all {
            values.iter_mut().zip(theirs).for_each(|(sum, x)| *sum += x);
        }
        Ok(())
    }
}
