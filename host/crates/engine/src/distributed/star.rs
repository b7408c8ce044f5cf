use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Collective;
use super::wire::{Kind, Link};
use crate::{Error, Result};

/// Processes that are all connected with process 0, which adds up for all and tells what it came to.
#[derive(Debug)]
pub(super) struct Star {
    rank: usize,
    size: usize,
    /// Process 0: those to 1, 2, 3 and so on. Any other: the one to process 0.
    links: Vec<Link>,
    /// The others know of a fault.
    told: AtomicBool,
}

/// Numbers that are added up.
trait Number: Copy + AddAssign {
    const KIND: Kind;
    const BYTES: usize;

    fn put(self, bytes: &mut Vec<u8>);
    fn get(bytes: &[u8]) -> Self;
}

macro_rules! number {
    ($type:ty, $kind:expr) => {
        impl Number for $type {
            const KIND: Kind = $kind;
            const BYTES: usize = size_of::<Self>();

            fn put(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn get(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<Self>()];
                own.copy_from_slice(bytes);
                Self::from_le_bytes(own)
            }
        }
    };
}
number!(f64, Kind::Sum);
number!(f32, Kind::SumAll);

fn bytes_of<N: Number>(values: &[N]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * N::BYTES);
    values.iter().for_each(|value| value.put(&mut bytes));
    bytes
}

impl Star {
    pub(super) fn new(rank: usize, size: usize, links: Vec<Link>) -> Self {
        Self {
            rank,
            size,
            links,
            told: AtomicBool::new(false),
        }
    }

    fn add_up<N: Number>(&self, values: &mut [N]) -> Result<()> {
        let done = match self.rank {
            0 => self.add_for_all(values),
            _ => self.add_mine(values),
        };
        self.known(done)
    }

    fn add_for_all<N: Number>(&self, values: &mut [N]) -> Result<()> {
        for link in &self.links {
            let theirs = link.receive(N::KIND, Some(values.len() * N::BYTES))?;
            for (value, bytes) in values.iter_mut().zip(theirs.chunks_exact(N::BYTES)) {
                *value += N::get(bytes);
            }
        }
        let sums = bytes_of(values);
        self.links
            .iter()
            .try_for_each(|link| link.send(N::KIND, &sums))
    }

    fn add_mine<N: Number>(&self, values: &mut [N]) -> Result<()> {
        for link in &self.links {
            link.send(N::KIND, &bytes_of(values))?;
            let sums = link.receive(N::KIND, Some(values.len() * N::BYTES))?;
            for (value, bytes) in values.iter_mut().zip(sums.chunks_exact(N::BYTES)) {
                *value = N::get(bytes);
            }
        }
        Ok(())
    }

    /// Whoever learns of a fault passes it on once, in the words in which it came.
    fn known<T>(&self, done: Result<T>) -> Result<T> {
        if let Err(error) = &done {
            self.tell(&error.to_string());
        }
        done
    }

    fn tell(&self, sentence: &str) {
        if self.told.swap(true, Ordering::Relaxed) {
            return;
        }
        for link in &self.links {
            // One of them may be the one that is gone.
            let _ = link.send(Kind::Fault, sentence.as_bytes());
        }
    }
}

impl Collective for Star {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, values: &mut [f64]) -> Result<()> {
        self.add_up(values)
    }

    fn sum_all(&self, values: &mut [f32]) -> Result<()> {
        self.add_up(values)
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let done = match (self.rank, self.links.first()) {
            (0, _) => {
                let sent = self
                    .links
                    .iter()
                    .try_for_each(|link| link.send(Kind::Broadcast, &bytes));
                sent.map(|()| bytes)
            }
            (_, Some(link)) => link.receive(Kind::Broadcast, None),
            (_, None) => Err(Error::Peer("there is no way to process rank 0".into())),
        };
        self.known(done)
    }

    #[cfg(any(test, feature = "cuda"))]
    fn look(&self) -> Result<()> {
        self.known(self.links.iter().try_for_each(Link::look))
    }

    fn fail(&self, fault: &str) {
        self.tell(&format!(
            "process rank {} of {} failed, so this one ends too: {fault}",
            self.rank, self.size
        ));
    }
}
