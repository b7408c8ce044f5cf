use std::path::Path;

use candle_core::DType;
use domain::{FinishReason, RunEvent};

use super::Report;
use super::checkpoint::{self, Checkpoint};
use super::output::{copy_tokenizer, write_weights};
use super::setup::{dtype, log};
use super::trainer::Trainer;
use crate::card::{Card, Facts, Holds, without_paths};
use crate::gguf::is_gguf;
use crate::lora::{write_adapter, write_origin};
use crate::model::{Decoder, Description, Loading};
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
        // Of several processes, which all hold the same, the first saves.
        if self.saved == Some(step) || self.group.rank() > 0 {
            return Ok(());
        }
        let trainable = self.setup.decoder.trainable();
        self.compute.pull(&mut self.optimizer, &trainable)?;
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
        let (adapter, model) = match self.group.rank() {
            0 => {
                let best = self.best(emit);
                self.insist(emit, |trainer, _| trainer.write_result(best.as_ref()))?
            }
            _ => (None, None),
        };
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
        let facts = self.facts(best);
        let Some(settings) = &self.setup.lora else {
            let path = self.output.join("model");
            let dtype = dtype(self.config.model.dtype);
            let best = best
                .map(|best| Decoder::load(best.folder(), Loading::frozen(DType::F32)))
                .transpose()?;
            let decoder = best.as_ref().unwrap_or(&self.setup.decoder);
            files::replace_folder(&path, |fresh| {
                write_weights(fresh, &self.setup.folder, decoder, dtype)?;
                self.describe(fresh, &facts)
            })?;
            return Ok((None, Some(path)));
        };
        let path = self.output.join("adapter");
        files::replace_folder(&path, |fresh| {
            match best {
                Some(best) => best.copy_adapter(fresh)?,
                None => write_adapter(fresh, &self.setup.decoder, settings, &self.setup.base)?,
            }
            // What an adapter to go on from brought belongs to this one too.
            if self.setup.tokenizer_folder != self.setup.folder {
                copy_tokenizer(&self.setup.tokenizer_folder, fresh)?;
            }
            self.describe(fresh, &facts)
        })?;
        Ok((Some(path), None))
    }

    /// What there is to tell of this run.
    fn facts(&self, best: Option<&Checkpoint>) -> Facts {
        let state = &self.state;
        let trainable = self.setup.decoder.trainable();
        let mut settings = without_paths(self.config);
        // An adapter to go on from brought these.
        if let (Some(_), Some(lora)) = (&self.config.lora.init_adapter, &self.setup.lora) {
            settings.lora = lora.to_run(&self.config.lora);
        }
        Facts {
            steps: Some(state.step),
            best_step: best.and(state.best_step),
            epochs: Some(state.epoch),
            samples: (!self.config.data.streaming).then_some(state.cursor.samples as u64),
            data_sha256: Some(state.cursor.data_sha256.clone()),
            trained_parameters: Some(trainable.iter().map(|parameter| parameter.len()).sum()),
            first_loss: state.first_loss,
            last_loss: state.loss,
            eval_loss: state.eval_loss,
            best_eval_loss: state.best_eval_loss,
            settings: Some(settings),
            curation: self.curation.clone(),
            highest_rate: None,
            base_sha256: Some(self.setup.base.digest.clone()),
        }
    }

    /// The number of tokens that the base must be given before the adapter fits it; `None` where it has it.
    fn resized(&self) -> Result<Option<usize>> {
        if self.setup.lora.is_none() || is_gguf(&self.setup.folder) {
            return Ok(None);
        }
        let tokens = self.setup.decoder.description.vocab;
        let before = Description::read(&self.setup.folder)?.vocab;
        Ok((tokens != before).then_some(tokens))
    }

    /// Writes what stands beside the weights: where they come from, and the model card.
    fn describe(&self, folder: &Path, facts: &Facts) -> Result<()> {
        let setup = &self.setup;
        let model_type = &setup.decoder.description.model_type;
        write_origin(folder, &setup.base, model_type, Some(facts))?;
        let own = setup.folder.file_stem().map(|name| name.to_string_lossy());
        let holds = match &setup.lora {
            Some(_) => Holds::Adapter,
            None => Holds::Model,
        };
        let card = Card {
            title: &format!("{} fine-tuned", own.as_deref().unwrap_or("A model")),
            holds,
            base: setup.base.repo.as_deref().or(own.as_deref()),
            adapter: setup.lora.as_ref(),
            adapted: None,
            resized: self.resized()?,
            has_tokenizer: setup.tokenizer_folder != setup.folder,
            facts,
            checked: None,
        };
        files::write_synced(&folder.join("README.md"), card.text().as_bytes())
    }
}
