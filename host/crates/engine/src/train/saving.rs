use domain::{FinishReason, RunEvent};

use super::Report;
use super::checkpoint::{self, Checkpoint};
use super::output::write_model;
use super::setup::{dtype, log};
use super::trainer::Trainer;
use crate::lora::write_adapter;
use crate::model::{Decoder, Loading};
use crate::optim::all_finite;
use crate::{Error, Result, files};

/// Times that what was learned is tried to be written at the end of a run.
const TRIES: usize = 5;

impl Trainer<'_> {
    /// Writes a checkpoint. Where that fails, a full disk say, the run goes on from memory and says so.
    pub(super) fn save(&mut self, emit: &mut dyn FnMut(RunEvent)) -> Result<()> {
        match self.try_save(emit) {
            Err(error @ Error::Io { .. }) => {
                let step = self.state.step;
                let message = format!(
                    "checkpoint-{step} could not be written ({error}); {}. The run goes on from memory, and the next \
                     save tries again",
                    self.kept()
                );
                log(emit, message);
                Ok(())
            }
            other => other,
        }
    }

    fn try_save(&mut self, emit: &mut dyn FnMut(RunEvent)) -> Result<()> {
        let step = self.state.step;
        if self.saved == Some(step) {
            return Ok(());
        }
        // An update can ruin weights whose own loss was a number; such a checkpoint must not replace a good one.
        if !all_finite(&self.setup.decoder.trainable())? {
            return Err(Error::NonFiniteLoss {
                what: "weights",
                step,
                batch: "after its update".into(),
                kept: self.kept(),
            });
        }
        let path = checkpoint::save(&self.output, &self.setup, &self.optimizer, &self.state)?;
        self.saved = Some(step);
        emit(RunEvent::Checkpoint { step, path });
        let limit = self.config.train.save_total_limit;
        if let Err(error) = checkpoint::remove_oldest(&self.output, limit, self.state.best_step) {
            log(emit, format!("an old checkpoint is still there: {error}"));
        }
        Ok(())
    }

    /// Saves what was learned and says how the run ended.
    pub(super) fn finish(
        mut self,
        reason: FinishReason,
        emit: &mut dyn FnMut(RunEvent),
    ) -> Result<Report> {
        if self.state.step > 0 {
            self.insist(emit, |trainer, emit| trainer.try_save(emit))?;
        }
        let best = self.best(emit);
        let paths = self.insist(emit, |trainer, _| trainer.write_result(best.as_ref()))?;
        let (adapter, model) = paths;
        let steps = self.state.step;
        emit(RunEvent::Finished {
            reason,
            steps,
            adapter: adapter.clone(),
            model: model.clone(),
        });
        Ok(Report {
            reason,
            steps,
            loss: self.state.loss,
            eval_loss: self.state.eval_loss,
            adapter,
            model,
        })
    }

    /// Tries to write a few times.
    fn insist<T>(
        &mut self,
        emit: &mut dyn FnMut(RunEvent),
        write: impl Fn(&mut Self, &mut dyn FnMut(RunEvent)) -> Result<T>,
    ) -> Result<T> {
        let mut tries = 1;
        loop {
            match write(self, emit) {
                Err(error @ Error::Io { .. }) if tries < TRIES => {
                    let pause = self.save_pause;
                    let message = format!("{error}; trying again in {} s", pause.as_secs());
                    log(emit, message);
                    tries += 1;
                    std::thread::sleep(pause);
                }
                Err(error @ Error::Io { .. }) => {
                    return Err(Error::NotSaved {
                        tries,
                        kept: self.kept(),
                        source: Box::new(error),
                    });
                }
                other => return other,
            }
        }
    }

    /// The checkpoint with the lowest evaluation loss, where the result is to come from it.
    fn best(&self, emit: &mut dyn FnMut(RunEvent)) -> Option<Checkpoint> {
        let step = self.state.best_step?;
        if !self.config.train.load_best_model_at_end || step == self.state.step {
            return None;
        }
        match Checkpoint::open(&self.output.join(format!("checkpoint-{step}"))) {
            Ok(checkpoint) => {
                log(
                    emit,
                    format!("the result is that of step {step}, the best evaluation"),
                );
                Some(checkpoint)
            }
            Err(error) => {
                log(
                    emit,
                    format!(
                        "the best checkpoint is lost ({error}); the result is that of the last step"
                    ),
                );
                None
            }
        }
    }

    /// Writes the adapter, or the model for method full, and says where: adapter, model.
    fn write_result(
        &self,
        best: Option<&Checkpoint>,
    ) -> Result<(Option<std::path::PathBuf>, Option<std::path::PathBuf>)> {
        let Some(settings) = &self.setup.lora else {
            let path = self.output.join("model");
            let dtype = dtype(self.config.model.dtype);
            match best {
                None => write_model(&path, &self.setup.folder, &self.setup.decoder, dtype)?,
                Some(best) => {
                    let loading = Loading {
                        dtype: candle_core::DType::F32,
                        trainable: false,
                        random: None,
                        quantize: None,
                    };
                    let decoder = Decoder::load(best.folder(), loading)?;
                    write_model(&path, &self.setup.folder, &decoder, dtype)?;
                }
            }
            return Ok((None, Some(path)));
        };
        let path = self.output.join("adapter");
        match best {
            Some(best) => best.copy_adapter(&path)?,
            None => files::replace_folder(&path, |fresh| {
                write_adapter(fresh, &self.setup.decoder, settings, &self.setup.base)
            })?,
        }
        Ok((Some(path), None))
    }
}
