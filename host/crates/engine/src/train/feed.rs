use std::sync::Arc;

use domain::{RunConfig, RunEvent};

use super::setup::log;
use crate::Result;
use crate::data::{Order, Sample, Stream};
use crate::distributed::{Collective, share};

/// Where the samples of a step come from, and which of them are this process's.
pub(super) struct Feed {
    source: Source,
    batch: usize,
    group: Arc<dyn Collective>,
}

/// Memory, or files that are read on the way (`data.streaming`).
enum Source {
    Held(Order),
    Streamed(Box<Streamed>),
}

struct Streamed {
    stream: Stream,
    rows: usize,
    /// The step that the stream stands at.
    next: u64,
}

/// The samples of a step.
pub(super) struct Drawn {
    /// Places of this process's samples, by micro-batch.
    pub(super) micro_batches: Vec<Vec<usize>>,
    /// Places of the samples of all processes.
    pub(super) all: Vec<usize>,
    /// Epochs done when the step is done.
    pub(super) epoch: f64,
}

impl Feed {
    /// `lengths` are those of the samples in memory.
    pub(super) fn new(
        config: &RunConfig,
        lengths: &[usize],
        stream: Option<Stream>,
        group: Arc<dyn Collective>,
    ) -> Self {
        let train = &config.train;
        Self {
            source: match stream {
                None => Source::Held(Order::new(config, lengths)),
                Some(stream) => Source::Streamed(Box::new(Streamed {
                    stream,
                    rows: (train.batch_size * train.gradient_accumulation_steps) as usize,
                    next: 0,
                })),
            },
            batch: train.batch_size as usize,
            group,
        }
    }

    /// Optimizer steps of the run.
    pub(super) fn total_steps(&self, config: &RunConfig) -> u64 {
        match &self.source {
            Source::Held(order) => order.total_steps(config),
            // A stream has no other end: the config was checked for it.
            Source::Streamed(_) => config.train.max_steps,
        }
    }

    /// Goes to a step, which a stream does by reading what comes before it: tokenizing is some hundred times faster
    /// than training, and a checkpoint needs nothing but its step.
    pub(super) fn seek(&mut self, step: u64, emit: &mut dyn FnMut(RunEvent)) -> Result<()> {
        if let Source::Streamed(streamed) = &mut self.source
            && step > 0
        {
            log(emit, format!("reading the data again up to step {step}"));
            streamed.seek(step, &mut Vec::new())?;
        }
        Ok(())
    }

    /// An epoch ends with the step that was taken last, the `done`th of the run.
    ///
    /// # Errors
    /// Those of a stream's next rows, which it may have to read to know.
    pub(super) fn ends_epoch(&mut self, done: u64) -> Result<bool> {
        match &mut self.source {
            Source::Held(order) => Ok(done.is_multiple_of(order.steps_per_epoch())),
            Source::Streamed(streamed) => streamed.stream.is_at_end(),
        }
    }

    /// The samples of a step, counted from 0, by their places in `samples`. A stream puts the step's samples there.
    ///
    /// Processes share the rows of a step out among themselves, so that one and several train on the same steps.
    pub(super) fn step(&mut self, step: u64, samples: &mut Vec<Sample>) -> Result<Drawn> {
        let (rows, epoch) = match &mut self.source {
            Source::Held(order) => order.rows(step),
            Source::Streamed(streamed) => {
                if streamed.next > step {
                    streamed.stream.rewind(0);
                    streamed.next = 0;
                }
                streamed.seek(step, samples)?;
                streamed.advance(samples)?
            }
        };
        let own = &rows[share(self.group.rank(), self.group.size(), rows.len())];
        Ok(Drawn {
            micro_batches: own.chunks(self.batch).map(<[_]>::concat).collect(),
            all: rows.concat(),
            epoch,
        })
    }
}

impl Streamed {
    fn seek(&mut self, step: u64, samples: &mut Vec<Sample>) -> Result<()> {
        while self.next < step {
            self.advance(samples)?;
        }
        Ok(())
    }

    /// Reads the next step's samples; their places, row by row.
    fn advance(&mut self, samples: &mut Vec<Sample>) -> Result<(Vec<Vec<usize>>, f64)> {
        let (rows, epoch) = self.stream.take(self.rows)?;
        samples.clear();
        let mut places = Vec::with_capacity(rows.len());
        for row in rows {
            places.push((samples.len()..samples.len() + row.len()).collect());
            samples.extend(row);
        }
        self.next += 1;
        Ok((places, epoch))
    }
}
