use std::path::{Path, PathBuf};

use super::chat::Chat;
use super::merge::Merged;
use super::modelfile::{self, Holds};
use super::request::{ExportDtype, Format, Progress, Report, Request, Stage, Tell, WrittenFile};
use super::verify::{self, Verification};
use super::{gguf, peft, reread, safetensors};
use crate::card::{Card, Facts};
use crate::lora::{Base, read_adapter};
use crate::model::{Decoder, Loading};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result, files};

/// An export that is being made.
pub(super) struct Job<'a> {
    pub(super) request: &'a Request,
    pub(super) tokenizer: Option<Tokenizer>,
    pub(super) chat: Chat,
}

impl Job<'_> {
    /// A folder of files, put in its place when all of them are right.
    pub(super) fn folder(self, merged: &mut Merged, tell: Tell<'_>) -> Result<Report> {
        let mut report = self.begin(merged);
        let output = &self.request.output;
        if output.is_file() {
            return Err(Error::file(output, "is a file; this format is a folder"));
        }
        files::replace_folder(output, |fresh| {
            let written = match self.request.format {
                Format::Gguf => fresh.join("model.gguf"),
                Format::GgufLora => fresh.join("adapter.gguf"),
                _ => fresh.to_owned(),
            };
            self.write(&written, merged, &mut report, tell)?;
            report.verification = self.verify(&written, fresh, merged, &mut report, tell)?;
            if written != *fresh {
                let name = written.file_name().unwrap_or_default().to_string_lossy();
                let text = self.modelfile(&name, merged, &mut report);
                files::write_synced(&fresh.join("Modelfile"), text.as_bytes())?;
            }
            let card = self.card(merged, report.verification.as_ref());
            files::write_synced(&fresh.join("README.md"), card.as_bytes())
        })?;
        let entries = std::fs::read_dir(output).map_err(Error::io("read", output))?;
        let mut paths: Vec<PathBuf> = entries
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .collect();
        paths.sort();
        report.files = paths.into_iter().map(written_file).collect::<Result<_>>()?;
        Ok(report)
    }

    /// A GGUF by its own name, with a Modelfile beside it.
    pub(super) fn file(self, merged: &mut Merged, tell: Tell<'_>) -> Result<Report> {
        let mut report = self.begin(merged);
        let output = &self.request.output;
        if output.is_dir() {
            return Err(Error::file(output, "is a folder; choose another name"));
        }
        let parent = match output.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        files::replace_file(output, |fresh| {
            self.write(fresh, merged, &mut report, tell)?;
            report.verification = self.verify(fresh, parent, merged, &mut report, tell)?;
            Ok(())
        })?;
        let name = output.file_name().unwrap_or_default().to_string_lossy();
        let text = self.modelfile(&name, merged, &mut report);
        // The first takes the name that Ollama looks for; another GGUF's is left alone.
        let usual = parent.join("Modelfile");
        let ours = |path: &Path| {
            let own = format!("./{name}\n");
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(&own))
        };
        let modelfile = match !usual.exists() || ours(&usual) {
            true => usual,
            false => output.with_extension("Modelfile"),
        };
        files::replace_file(&modelfile, |fresh| {
            files::write_synced(fresh, text.as_bytes())
        })?;
        report.files = [output.clone(), modelfile]
            .into_iter()
            .map(written_file)
            .collect::<Result<_>>()?;
        Ok(report)
    }

    fn begin(&self, merged: &Merged) -> Report {
        let request = self.request;
        let dtype = request.dtype.or(match request.format {
            Format::Gguf => Some(gguf::own_dtype(merged)),
            Format::GgufLora => Some(ExportDtype::F32),
            Format::Peft | Format::Safetensors => None,
        });
        Report {
            output: request.output.clone(),
            format: request.format,
            dtype,
            files: Vec::new(),
            adapted_tensors: merged.adapted(),
            warnings: self.chat.warnings.clone(),
            verification: None,
        }
    }

    fn write(
        &self,
        path: &Path,
        merged: &mut Merged,
        report: &mut Report,
        tell: Tell<'_>,
    ) -> Result<()> {
        let dtype = report.dtype.unwrap_or(ExportDtype::F32);
        let name = made_of(self.request);
        let merges = matches!(self.request.format, Format::Safetensors | Format::Gguf);
        if let (true, Some(module)) = (merges, merged.bias_without_place()) {
            let message = format!(
                "has no bias of {module}, into which the adapter's lora_bias could be merged; export --format peft"
            );
            return Err(Error::file(merged.folder.join("config.json"), message));
        }
        match (self.request.format, merged.adapter()) {
            (Format::Peft, Some(adapter)) => peft::write(path, merged, adapter),
            (Format::GgufLora, _) => gguf::write_lora(path, merged, dtype, &name),
            (Format::Gguf, _) => {
                let end = self.chat.end_of_turn.as_ref().map(|(_, id)| *id);
                let tokenizer = self.tokenizer.as_ref();
                let warnings = gguf::write_model(path, merged, dtype, tokenizer, end, &name, tell)?;
                report.warnings.extend(warnings);
                Ok(())
            }
            _ => {
                let most = self.request.max_shard_size;
                safetensors::write(path, merged, report.dtype, most, tell)
            }
        }
    }

    fn modelfile(&self, file: &str, merged: &Merged, report: &mut Report) -> String {
        let tokenizer = self.tokenizer.as_ref();
        let base = base_name(merged).unwrap_or_default();
        let holds = match self.request.format {
            Format::GgufLora => Holds::Adapter { file, base: &base },
            _ => Holds::Model(file),
        };
        let eos = tokenizer.and_then(|tokenizer| tokenizer.token(tokenizer.eos_id()?));
        let has_template = tokenizer.is_some_and(|tokenizer| tokenizer.chat_template().is_some());
        let (text, left_out) =
            modelfile::modelfile(&holds, &self.chat, has_template, eos.as_deref());
        report.warnings.extend(left_out);
        text
    }

    /// The README of a folder.
    fn card(&self, merged: &Merged, checked: Option<&Verification>) -> String {
        use crate::card::Holds;
        let request = self.request;
        Card {
            title: &made_of(request),
            holds: match request.format {
                Format::Peft => Holds::Adapter,
                Format::Safetensors => Holds::Model,
                Format::Gguf => Holds::Gguf,
                Format::GgufLora => Holds::GgufLora,
            },
            base: base_name(merged).as_deref(),
            adapter: merged.adapter().map(|adapter| &adapter.settings),
            adapted: merged.adapter().map(|_| merged.adapted()),
            resized: merged.resized(),
            has_tokenizer: merged.tokenizer_folder != merged.folder,
            facts: &Facts::beside(request.adapter.as_deref().unwrap_or(&request.model)),
            checked,
        }
        .text()
    }

    /// Asks base and adapter, then what was written. One model is in memory at a time.
    fn verify(
        &self,
        written: &Path,
        scratch: &Path,
        merged: &Merged,
        report: &mut Report,
        tell: Tell<'_>,
    ) -> Result<Option<Verification>> {
        if !self.request.verify {
            return Ok(None);
        }
        let mut asked = |done| {
            tell(Progress {
                stage: Stage::Check,
                done,
                total: 2,
            });
        };
        asked(0);
        let own = gguf::own_dtype(merged);
        let (model, adapter) = (&self.request.model, self.request.adapter.as_deref());
        let format = self.request.format;
        let dtype = report.dtype.unwrap_or(match format {
            Format::Peft => ExportDtype::F32,
            _ => own,
        });
        // Both sides compute in one type, so that what differs is what was written: products of bf16 weights round more than
        // any other type's weights do.
        let held = match matches!(format, Format::Peft | Format::GgufLora) || dtype == own {
            true => own,
            false => ExportDtype::F32,
        };
        let decoder = load(model, adapter, held)?;
        let ids = verify::prompt(self.tokenizer.as_ref(), &decoder)?;
        let expected = verify::ask(&decoder, &ids)?;
        drop(decoder);
        asked(1);
        if let (Format::Gguf, Some(tokenizer)) = (format, &self.tokenizer) {
            report
                .warnings
                .extend(verify::vocabulary(written, tokenizer));
        }
        let got = match format {
            Format::Peft => verify::ask(&load(model, Some(written), held)?, &ids)?,
            Format::Safetensors | Format::Gguf => verify::ask(&load(written, None, held)?, &ids)?,
            Format::GgufLora => in_scratch(scratch, |folder| {
                reread::unpack_lora(written, folder, merged)?;
                verify::ask(&load(model, Some(folder), held)?, &ids)
            })?,
        };
        asked(2);
        verify::compare(&self.request.output, &expected, &got, dtype).map(Some)
    }
}

/// The last word of the output's path.
fn made_of(request: &Request) -> String {
    let name = request.output.file_stem();
    name.map_or("model".into(), |name| name.to_string_lossy().into_owned())
}

/// Hub id of the base, or the name of its folder.
pub(super) fn base_name(merged: &Merged) -> Option<String> {
    let hub = Base::repo_of(&merged.folder);
    hub.or_else(|| Some(merged.folder.file_name()?.to_string_lossy().into_owned()))
}

/// A folder beside the output for what is unpacked, removed at the end.
fn in_scratch<T>(parent: &Path, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    let folder = tempfile::Builder::new()
        .prefix(".verify-")
        .tempdir_in(parent)
        .map_err(Error::io("create", parent))?;
    work(folder.path())
}

pub(super) fn load(model: &Path, adapter: Option<&Path>, dtype: ExportDtype) -> Result<Decoder> {
    let mut decoder = Decoder::load(model, Loading::frozen(verify::held(dtype)))?;
    if let Some(adapter) = adapter {
        read_adapter(&mut decoder, adapter, false)?;
    }
    Ok(decoder)
}

fn written_file(path: PathBuf) -> Result<WrittenFile> {
    let metadata = std::fs::metadata(&path).map_err(Error::io("read", &path))?;
    Ok(WrittenFile {
        bytes: metadata.len(),
        path,
    })
}
