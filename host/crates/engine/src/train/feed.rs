use domain::{RunConfig, RunEvent};

use super::order::Order;
use super::setup::log;
use crate::Result;
use crate::data::{Sample, Stream};

/// Where the samples of a step come from: memory, or files that are read on the way (`data.streaming`).
pub(super) enum Feed {
    Held(Order),
    Streamed(Box<Streamed>),
}

pub(super) struct Streamed {
    stream: Stream,
    batch: usize,
    accumulation: usize,
    /// The step that the stream stands at.
    next: u64,
}

impl Feed {
    /// `lengths` are those of the samples in memory.
    pub(super) fn new(config: &RunConfig, lengths: &[usize], stream: Option<Stream>) -> Self {
        match stream {
            None => Self::Held(Order::new(config, lengths)),
            Some(stream) => Self::Streamed(Box::new(Streamed {
                stream,
                batch: config.train.batch_size as usize,
                accumulation: config.train.gradient_accumulation_steps as usize,
                next: 0,
            })),
        }
    }

    /// Optimizer steps of the run.
    pub(super) fn total_steps(&self, config: &RunConfig) -> u64 {
        match self {
            Self::Held(order) => order.total_steps(config),
            // A stream has no other end: the config was checked for it.
            Self::Streamed(_) => config.train.max_steps,
        }
    }

    /// Goes to a step, which a stream does by reading what comes before it: tokenizing is some hundred times faster
    /// than training, and a checkpoint needs nothing but its step.
    pub(super) fn seek(&mut self, step: u64, emit: &mut dyn FnMut(RunEvent)) -> Result<()> {
        if let Self::Streamed(streamed) = self
            && step > 0
        {
            log(emit, format!("reading the data again up to step {step}"));
            while streamed.next < step {
                streamed.advance(&mut Vec::new())?;
            }
        }
        Ok(())
    }

    /// Places in `samples` of the micro-batches of a step, counted from 0, and the epochs done when it is done. A
    /// stream puts the step's samples there.
    pub(super) fn step(
        &mut self,
        step: u64,
        samples: &mut Vec<Sample>,
    ) -> Result<(Vec<Vec<usize>>, f64)> {
        match self {
            Self::Held(order) => Ok(order.step(step)),
            Self::Streamed(streamed) => {
                if streamed.next > step {
                    streamed.stream.rewind(0);
                    streamed.next = 0;
                }
                while streamed.next < step {
                    streamed.advance(samples)?;
                }
                streamed.advance(samples)
            }
        }
    }
}

impl Streamed {
    fn advance(&mut self, samples: &mut Vec<Sample>) -> Result<(Vec<Vec<usize>>, f64)> {
        let (rows, epoch) = self.stream.take(self.batch * self.accumulation)?;
        samples.clear();
        let mut micro_batches = Vec::with_capacity(self.accumulation);
        for (at, row) in rows.into_iter().enumerate() {
            if at.is_multiple_of(self.batch) {
                micro_batches.push(Vec::new());
            }
            if let Some(micro) = micro_batches.last_mut() {
                micro.extend(samples.len()..samples.len() + row.len());
            }
            samples.extend(row);
        }
        self.next += 1;
        Ok((micro_batches, epoch))
    }
}
