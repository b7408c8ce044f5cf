//! The tensors of a model with an adapter merged in, made one at a time.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use safetensors::Dtype;
use serde_json::Value;

use crate::lora::Settings;
use crate::model::{Description, Weights, weights};
use crate::{Error, Result, ops};

/// What PEFT puts before a module's path.
pub(super) const PREFIX: &str = "base_model.model.";

/// What PEFT puts behind a module's path.
const KINDS: [&str; 6] = [
    "lora_A.weight",
    "lora_B.weight",
    "lora_embedding_A",
    "lora_embedding_B",
    "lora_magnitude_vector",
    // The weight under an adapter of embedding or head, as it was.
    "base_layer.weight",
];

/// A model's tensors, with what an adapter adds to them.
///
/// It works on the tensors of the files, not on the decoder: no tensor but the one at hand is ever in memory, and
/// whatever the family calls its layers, PEFT calls them the same.
pub(super) struct Merged {
    pub(super) folder: PathBuf,
    pub(super) description: Description,
    /// `config.json`.
    pub(super) config: Value,
    base: Weights,
    adapter: Option<Adapter>,
    /// The base's head is its embedding.
    tied: bool,
    /// Names of embedding and head.
    ends: (String, String),
}

/// A PEFT folder.
pub(super) struct Adapter {
    pub(super) folder: PathBuf,
    pub(super) settings: Settings,
    pub(super) weights: Weights,
}

/// One tensor that will be written.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    /// Type in the base's file.
    pub(super) stored: Dtype,
}

impl Merged {
    /// Opens a model and an adapter, and checks that they fit.
    ///
    /// # Errors
    /// One of them cannot be read, asks for what is not supported, or the adapter is another model's.
    pub(super) fn open(model: &Path, adapter: Option<&Path>) -> Result<Self> {
        crate::model::check_folder(model)?;
        let path = model.join("config.json");
        let description = Description::read(model)?;
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let config: Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
        let base = Weights::open_folder(model)?;
        let adapter = adapter.map(Adapter::open).transpose()?;
        let embedding = ["model.embed_tokens.weight", "transformer.wte.weight"]
            .into_iter()
            .find(|name| base.contains(name))
            .unwrap_or("model.embed_tokens.weight");
        let merged = Self {
            folder: model.to_owned(),
            tied: description.tied_head,
            description,
            config,
            base,
            adapter,
            ends: (embedding.to_owned(), "lm_head.weight".to_owned()),
        };
        merged.check()?;
        Ok(merged)
    }

    pub(super) fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// The adapter changes embedding or head of a model whose head is its embedding: they are two tensors then.
    pub(super) fn unties(&self) -> bool {
        self.tied && (self.changes(&self.ends.0) || self.changes(&self.ends.1))
    }

    /// The head of what is written is its embedding.
    pub(super) fn tied(&self) -> bool {
        self.tied && !self.unties()
    }

    /// Modules that the adapter changes.
    pub(super) fn adapted(&self) -> usize {
        let entries = self.entries();
        entries
            .iter()
            .filter(|entry| self.changes(&entry.name))
            .count()
    }

    /// Every tensor that is written, in the order of the base's files.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for name in self.base.names_in_order() {
            // A tied model's head is the embedding, whatever copy of it the file holds.
            if self.tied && name == self.ends.1 {
                continue;
            }
            entries.extend(self.entry(&name, &name));
        }
        if self.unties() {
            entries.extend(self.entry(&self.ends.1, &self.ends.0));
        }
        entries
    }

    fn entry(&self, name: &str, source: &str) -> Option<Entry> {
        Some(Entry {
            name: name.to_owned(),
            shape: self.base.shape(source)?.to_vec(),
            stored: self.base.stored(source)?,
        })
    }

    /// The bytes of the base's file, where the adapter leaves a tensor as it is.
    pub(super) fn unchanged(&self, name: &str) -> Option<&[u8]> {
        if self.changes(name) {
            return None;
        }
        self.base.bytes(self.source(name))
    }

    /// A tensor with the adapter's update, in f32: `W + scale · B A`; with DoRA its rows at the learned magnitude
    /// (arXiv 2402.09353).
    ///
    /// # Errors
    /// It is no float, or the adapter does not fit it.
    pub(super) fn values(&mut self, name: &str) -> Result<Tensor> {
        let source = self.source(name).to_owned();
        let shape = self.base.shape(&source).unwrap_or_default().to_vec();
        let Some(adapter) = self.adapter.as_mut() else {
            return self.base.take(&source, &shape, DType::F32);
        };
        let full = format!("{PREFIX}{name}");
        if adapter.weights.contains(&full) {
            return adapter.weights.take(&full, &shape, DType::F32);
        }
        let weight = self.base.take(&source, &shape, DType::F32)?;
        if let Some((module, a, b)) = adapter.embedding_pair(name) {
            // The embedding's rows are its inputs: what DoRA holds to a length are the columns.
            let rank = adapter.settings.rank(&module);
            let a = adapter.weights.take(&a, &[rank, shape[0]], DType::F32)?;
            let b = adapter.weights.take(&b, &[shape[1], rank], DType::F32)?;
            let scale = adapter.settings.scale(&module);
            ops::matmul_into(&weight, &a.t()?, &b.t()?, scale, 1.0)?;
            let Some(magnitude) = adapter.magnitude(&module) else {
                return Ok(weight);
            };
            let magnitude = adapter.weights.take(&magnitude, &[shape[1]], DType::F32)?;
            let norms = weight.sqr()?.sum(0)?.sqrt()?;
            return Ok(weight.broadcast_mul(&(magnitude / norms)?.unsqueeze(0)?)?);
        }
        let Some((module, a, b)) = adapter.pair(name) else {
            return Ok(weight);
        };
        let rank = adapter.settings.rank(&module);
        let a = adapter.weights.take(&a, &[rank, shape[1]], DType::F32)?;
        let b = adapter.weights.take(&b, &[shape[0], rank], DType::F32)?;
        ops::matmul_into(&weight, &b, &a, adapter.settings.scale(&module), 1.0)?;
        match adapter.magnitude(&module) {
            None => Ok(weight),
            Some(magnitude) => {
                let magnitude = adapter.weights.take(&magnitude, &[shape[0]], DType::F32)?;
                let norms = weight.sqr()?.sum(1)?.sqrt()?;
                Ok(weight.broadcast_mul(&(magnitude / norms)?.unsqueeze(1)?)?)
            }
        }
    }

    /// The name under which the base holds what is written as `name`.
    fn source<'a>(&'a self, name: &'a str) -> &'a str {
        if self.tied && name == self.ends.1 {
            &self.ends.0
        } else {
            name
        }
    }

    fn changes(&self, name: &str) -> bool {
        let Some(adapter) = &self.adapter else {
            return false;
        };
        adapter.weights.contains(&format!("{PREFIX}{name}"))
            || adapter.pair(name).is_some()
            || adapter.embedding_pair(name).is_some()
    }

    /// Everything in the adapter's file has a place in the base.
    fn check(&self) -> Result<()> {
        let Some(adapter) = &self.adapter else {
            return Ok(());
        };
        let path = adapter.path();
        let mut layers = 0;
        for name in adapter.weights.names() {
            let rest = name.strip_prefix(PREFIX).unwrap_or(name);
            let (module, kind) = KINDS
                .into_iter()
                .find_map(|kind| Some((rest.strip_suffix(kind)?.strip_suffix('.')?, kind)))
                // A tensor of a module that is saved whole.
                .unwrap_or(rest.rsplit_once('.').unwrap_or((rest, "weight")));
            let weight = match kind {
                "bias" => format!("{module}.bias"),
                _ => format!("{module}.weight"),
            };
            let refuse = |message: String| Err(Error::file(&path, message));
            let Some(shape) = self.base.shape(self.source(&weight)) else {
                return refuse(format!(
                    "holds {name}, but the model has no {module}; it belongs to another model"
                ));
            };
            let rank = adapter.settings.rank(module);
            let expected = match (kind, shape) {
                ("lora_A.weight", [_, input]) => vec![rank, *input],
                ("lora_B.weight", [out, _]) => vec![*out, rank],
                ("lora_embedding_A", [vocab, _]) => vec![rank, *vocab],
                ("lora_embedding_B", [_, hidden]) => vec![*hidden, rank],
                ("lora_magnitude_vector", [_, hidden])
                    if adapter.embedding_pair(&weight).is_some() =>
                {
                    vec![*hidden]
                }
                ("lora_magnitude_vector", [out, _]) => vec![*out],
                _ => shape.to_vec(),
            };
            let found = adapter.weights.shape(name).unwrap_or_default();
            if found != expected {
                return refuse(format!(
                    "{name} has shape {found:?}, but this model and r = {rank} call for {expected:?}"
                ));
            }
            if kind == "lora_A.weight" && adapter.pair(&weight).is_none() {
                return refuse(format!("holds {name} without its lora_B"));
            }
            layers += 1;
        }
        match layers {
            0 => Err(Error::file(&path, "holds no adapter")),
            _ => Ok(()),
        }
    }
}

impl Adapter {
    pub(super) fn open(folder: &Path) -> Result<Self> {
        let settings = Settings::read(folder)?;
        let path = folder.join("adapter_model.safetensors");
        if !path.is_file() {
            let pickle = folder.join("adapter_model.bin");
            return Err(match pickle.is_file() {
                true => weights::refuse_pickle(&pickle),
                false => Error::file(&path, "is missing"),
            });
        }
        Ok(Self {
            folder: folder.to_owned(),
            settings,
            weights: Weights::open(&[path])?,
        })
    }

    pub(super) fn path(&self) -> PathBuf {
        self.folder.join("adapter_model.safetensors")
    }

    /// Module, name of A and name of B for a base tensor that has both.
    pub(super) fn pair(&self, tensor: &str) -> Option<(String, String, String)> {
        let module = tensor.strip_suffix(".weight")?;
        let (a, b) = (
            format!("{PREFIX}{module}.lora_A.weight"),
            format!("{PREFIX}{module}.lora_B.weight"),
        );
        let both = self.weights.contains(&a) && self.weights.contains(&b);
        both.then(|| (module.to_owned(), a, b))
    }

    /// As [`Self::pair`], of an embedding: A [r, V] and B [H, r].
    fn embedding_pair(&self, tensor: &str) -> Option<(String, String, String)> {
        let module = tensor.strip_suffix(".weight")?;
        let [a, b] = ["A", "B"].map(|letter| format!("{PREFIX}{module}.lora_embedding_{letter}"));
        let both = self.weights.contains(&a) && self.weights.contains(&b);
        both.then(|| (module.to_owned(), a, b))
    }

    fn magnitude(&self, module: &str) -> Option<String> {
        let name = format!("{PREFIX}{module}.lora_magnitude_vector");
        self.weights.contains(&name).then_some(name)
    }

    /// Whether the adapter is more than pairs of A and B: what a format for plain LoRA cannot carry.
    pub(super) fn beyond_pairs(&self) -> Option<&str> {
        // A weight as it was before is no change.
        let plain = [".lora_A.weight", ".lora_B.weight", ".base_layer.weight"];
        let mut names = self.weights.names();
        names.find(|name| !plain.iter().any(|ending| name.ends_with(ending)))
    }
}
