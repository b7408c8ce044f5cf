//! The tensors of a model with an adapter merged in, made one at a time.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use safetensors::Dtype;
use serde_json::{Value, json};

use crate::lora::{
    BaseEnds, HEAD, PREFIX, Settings, bias_name, delta_name, lora_bias_name, repeats, token_ids,
};
use crate::model::{Description, Weights, weights};
use crate::{Error, Result, ops};

/// What PEFT puts behind a module's path.
const KINDS: [&str; 11] = [
    "lora_A.weight",
    "lora_B.weight",
    "lora_B.bias",
    "lora_embedding_A",
    "lora_embedding_B",
    "lora_magnitude_vector",
    "token_adapter.trainable_tokens_delta",
    // Weights of the base under an adapter of embedding or head, and biases that train with one.
    "token_adapter.base_layer.weight",
    "original_module.weight",
    "base_layer.weight",
    "base_layer.bias",
];

/// A model's tensors, with what an adapter adds to them.
///
/// It works on the tensors of the files, not on the decoder: no tensor but the one at hand is ever in memory, and
/// whatever the family calls its layers, PEFT calls them the same.
pub(super) struct Merged {
    pub(super) folder: PathBuf,
    /// The tokenizer's, which an adapter may bring.
    pub(super) tokenizer_folder: PathBuf,
    /// With the adapter's number of tokens.
    pub(super) description: Description,
    /// `config.json`, with the same.
    pub(super) config: Value,
    base: Weights,
    /// Tokens of the base as it is.
    base_tokens: usize,
    adapter: Option<Adapter>,
    /// The base's head is its embedding.
    tied: bool,
    /// Modules of embedding and head.
    ends: [String; 2],
    /// What the adapter brings in the places of their weights, and the tokens of each that it has rows of its own for.
    held: [Option<String>; 2],
    tokens: [Vec<u32>; 2],
    /// Which of them it has whole, and whether that is one copy for both.
    saved: [bool; 2],
    ties_saved: bool,
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
    pub(super) fn open(
        model: &Path,
        adapter: Option<&Path>,
        tokenizer_folder: &Path,
    ) -> Result<Self> {
        crate::model::check_folder(model)?;
        let path = model.join("config.json");
        let description = Description::read(model)?;
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let config: Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
        let base = Weights::open_folder(model)?;
        let adapter = adapter.map(Adapter::open).transpose()?;
        let mut merged = Self {
            folder: model.to_owned(),
            tokenizer_folder: tokenizer_folder.to_owned(),
            tied: description.tied_head,
            ends: [description.names.embedding, HEAD].map(str::to_owned),
            base_tokens: description.vocab,
            description,
            config,
            base,
            adapter,
            held: [None, None],
            saved: [false, false],
            ties_saved: false,
            tokens: [Vec::new(), Vec::new()],
        };
        merged.read_ends()?;
        merged.check()?;
        Ok(merged)
    }

    /// What the adapter says of embedding and head as they are before it.
    fn read_ends(&mut self) -> Result<()> {
        let Some(adapter) = &self.adapter else {
            return Ok(());
        };
        let path = adapter.path();
        let (settings, embedding) = (&adapter.settings, &self.ends[0]);
        let ends = BaseEnds::of(
            settings,
            &adapter.weights,
            embedding,
            self.base_tokens,
            self.tied,
        )
        .map_err(|message| Error::file(&path, message))?;
        self.tokens = token_ids(settings, embedding, ends.tokens, self.tied)
            .map_err(|message| Error::file(&path, format!("trainable_token_indices {message}")))?;
        if ends.tokens != self.base_tokens {
            self.description.vocab = ends.tokens;
            self.config["vocab_size"] = json!(ends.tokens);
        }
        self.ties_saved = settings.ensure_weight_tying && self.tied && ends.saved[0];
        self.saved = ends.saved;
        self.held = ends.held;
        Ok(())
    }

    pub(super) fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// The number of tokens that the base must be given before an adapter by itself fits it; `None` where it has it.
    pub(super) fn resized(&self) -> Option<usize> {
        let tokens = self.description.vocab;
        (tokens != self.base_tokens).then_some(tokens)
    }

    /// The adapter changes embedding or head of a model whose head is its embedding, and not both alike: they are two tensors
    /// then.
    pub(super) fn unties(&self) -> bool {
        let alike = self.tokens[1].is_empty();
        let apart = |end: usize| {
            let name = format!("{}.weight", self.ends[end]);
            (self.trains(&name) && !self.ties_saved) || !(self.tokens[end].is_empty() || alike)
        };
        self.tied && (apart(0) || apart(1))
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

    /// A module whose bias in the adapter has no place in the model, which has none there.
    pub(super) fn bias_without_place(&self) -> Option<&str> {
        let adapter = self.adapter.as_ref()?;
        let mut modules = adapter.weights.names().filter_map(|name| {
            let module = name.strip_suffix(".lora_B.bias")?;
            Some(module.strip_prefix(PREFIX).unwrap_or(module))
        });
        modules.find(|module| !self.base.contains(&format!("{module}.bias")))
    }

    /// Every tensor that is written, in the order of the base's files.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let head = format!("{HEAD}.weight");
        let mut entries: Vec<Entry> = Vec::new();
        for name in self.base.names_in_order() {
            // A tied model's head is the embedding, whatever copy of it the file holds.
            if self.tied && name == head {
                continue;
            }
            entries.extend(self.entry(&name));
        }
        if self.unties() {
            entries.extend(self.entry(&head));
        }
        entries
    }

    fn entry(&self, name: &str) -> Option<Entry> {
        Some(Entry {
            name: name.to_owned(),
            shape: self.shape(name)?,
            stored: self.base.stored(&self.source(name))?,
        })
    }

    /// The shape of a tensor as it is written.
    fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let mut shape = self.base.shape(&self.source(name))?.to_vec();
        if let (Some(_), [rows, _]) = (self.end(name), shape.as_mut_slice()) {
            *rows = self.description.vocab;
        }
        Some(shape)
    }

    /// The bytes of the base's file, where the adapter leaves a tensor as it is.
    pub(super) fn unchanged(&self, name: &str) -> Option<&[u8]> {
        if self.changes(name) {
            return None;
        }
        self.base.bytes(&self.source(name))
    }

    /// A tensor with what the adapter makes of it, in f32.
    ///
    /// # Errors
    /// It is no float, or the adapter does not fit it.
    pub(super) fn values(&mut self, name: &str) -> Result<Tensor> {
        let (source, shape) = (self.source(name), self.shape(name).unwrap_or_default());
        let held = self.end(name).and_then(|end| self.held[end].clone());
        let own = self.own(name);
        let tokens = match self.end(name) {
            Some(end) => self.tokens[end].clone(),
            None => Vec::new(),
        };
        let Some(adapter) = self.adapter.as_mut() else {
            return self.base.take(&source, &shape, DType::F32);
        };
        let value = match own.or(held) {
            Some(own) => adapter.weights.take(&own, &shape, DType::F32)?,
            None => self.base.take(&source, &shape, DType::F32)?,
        };
        if let Some(module) = name.strip_suffix(".bias") {
            return adapter.with_bias(module, value);
        }
        let Some(module) = name.strip_suffix(".weight") else {
            return Ok(value);
        };
        let value = adapter.with_update(module, value)?;
        match tokens.is_empty() {
            true => Ok(value),
            false => adapter.with_tokens(module, &value, &tokens),
        }
    }

    /// The name under which the base holds what is written as `name`.
    fn source(&self, name: &str) -> String {
        match self.tied && name.strip_suffix(".weight") == Some(HEAD) {
            true => format!("{}.weight", self.ends[0]),
            false => name.to_owned(),
        }
    }

    /// Which of the ends a tensor is: embedding or head.
    fn end(&self, name: &str) -> Option<usize> {
        let module = name.strip_suffix(".weight")?;
        self.ends.iter().position(|end| end == module)
    }

    /// The tensor of the adapter's file that is this one, trained: of a module that is saved whole, or a bias.
    fn own(&self, name: &str) -> Option<String> {
        let weights = &self.adapter.as_ref()?.weights;
        // What PEFT saves of embedding or head for their own sake does not train.
        if let Some(end) = self.end(name)
            && !self.saved[end]
        {
            return None;
        }
        let module = name.strip_suffix(".bias");
        let under_lora = module.map(|module| bias_name(module, true));
        let names = [Some(format!("{PREFIX}{name}")), under_lora];
        let mut names = names.into_iter().flatten();
        names.find(|own| weights.contains(own))
    }

    /// Whether the adapter trains a tensor whole or adds to it.
    fn trains(&self, name: &str) -> bool {
        let Some(adapter) = &self.adapter else {
            return false;
        };
        let bias = name.strip_suffix(".bias").map(lora_bias_name);
        self.own(name).is_some()
            || adapter.pair(name).is_some()
            || adapter.embedding_pair(name).is_some()
            || bias.is_some_and(|bias| adapter.weights.contains(&bias))
    }

    fn changes(&self, name: &str) -> bool {
        let end = self.end(name);
        let replaced = |end: usize| self.held[end].is_some() || !self.tokens[end].is_empty();
        self.trains(name) || end.is_some_and(replaced)
    }

    /// Everything in the adapter's file has a place in the base.
    fn check(&self) -> Result<()> {
        let Some(adapter) = &self.adapter else {
            return Ok(());
        };
        let path = adapter.path();
        let mut layers = 0;
        for name in adapter.weights.names().filter(|name| !repeats(name)) {
            let rest = name.strip_prefix(PREFIX).unwrap_or(name);
            let (module, kind) = KINDS
                .into_iter()
                .find_map(|kind| Some((rest.strip_suffix(kind)?.strip_suffix('.')?, kind)))
                // A tensor of a module that is saved whole.
                .unwrap_or(rest.rsplit_once('.').unwrap_or((rest, "weight")));
            let weight = match kind {
                "bias" | "base_layer.bias" => format!("{module}.bias"),
                _ => format!("{module}.weight"),
            };
            let refuse = |message: String| Err(Error::file(&path, message));
            let Some(shape) = self.shape(&weight) else {
                return refuse(format!(
                    "holds {name}, but the model has no {module}; it belongs to another model"
                ));
            };
            let rank = adapter.settings.rank(module);
            let expected = match (kind, &shape[..]) {
                ("lora_A.weight", [_, input]) => vec![rank, *input],
                ("lora_B.weight", [out, _]) => vec![*out, rank],
                ("lora_B.bias", [out, _]) => vec![*out],
                ("lora_embedding_A", [vocab, _]) => vec![rank, *vocab],
                ("lora_embedding_B", [_, hidden]) => vec![*hidden, rank],
                ("lora_magnitude_vector", [_, hidden])
                    if adapter.embedding_pair(&weight).is_some() =>
                {
                    vec![*hidden]
                }
                ("lora_magnitude_vector", [out, _]) => vec![*out],
                ("token_adapter.trainable_tokens_delta", [_, hidden]) => {
                    let own = self.end(&weight).map(|end| self.tokens[end].len());
                    // A head that learns with the embedding is saved with the embedding's.
                    let tokens = own.filter(|own| *own > 0).unwrap_or(self.tokens[0].len());
                    vec![tokens, *hidden]
                }
                _ => shape.clone(),
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

    /// A weight with the adapter's update: `W + scale · B A`; with DoRA its rows at the learned magnitude (arXiv 2402.09353).
    fn with_update(&mut self, module: &str, weight: Tensor) -> Result<Tensor> {
        let name = format!("{module}.weight");
        let (rows, columns) = match weight.dims() {
            [rows, columns] => (*rows, *columns),
            _ => return Ok(weight),
        };
        let (rank, scale) = (self.settings.rank(module), self.settings.scale(module));
        if let Some((_, a, b)) = self.embedding_pair(&name) {
            // The embedding's rows are its inputs: what DoRA holds to a length are the columns.
            let a = self.weights.take(&a, &[rank, rows], DType::F32)?;
            let b = self.weights.take(&b, &[columns, rank], DType::F32)?;
            ops::matmul_into(&weight, &a.t()?, &b.t()?, scale, 1.0)?;
            let Some(magnitude) = self.magnitude(module) else {
                return Ok(weight);
            };
            let magnitude = self.weights.take(&magnitude, &[columns], DType::F32)?;
            let norms = weight.sqr()?.sum(0)?.sqrt()?;
            return Ok(weight.broadcast_mul(&(magnitude / norms)?.unsqueeze(0)?)?);
        }
        let Some((_, a, b)) = self.pair(&name) else {
            return Ok(weight);
        };
        let a = self.weights.take(&a, &[rank, columns], DType::F32)?;
        let b = self.weights.take(&b, &[rows, rank], DType::F32)?;
        ops::matmul_into(&weight, &b, &a, scale, 1.0)?;
        let Some(magnitude) = self.magnitude(module) else {
            return Ok(weight);
        };
        let magnitude = self.weights.take(&magnitude, &[rows], DType::F32)?;
        let norms = weight.sqr()?.sum(1)?.sqrt()?;
        Ok(weight.broadcast_mul(&(magnitude / norms)?.unsqueeze(1)?)?)
    }

    /// A bias with that of the adapter's B.
    fn with_bias(&mut self, module: &str, bias: Tensor) -> Result<Tensor> {
        let name = lora_bias_name(module);
        if !self.weights.contains(&name) {
            return Ok(bias);
        }
        let added = self.weights.take(&name, bias.dims(), DType::F32)?;
        let scale = f64::from(self.settings.scale(module));
        Ok((bias + (added * scale)?)?)
    }

    /// A table with the adapter's rows of tokens in it.
    fn with_tokens(&mut self, module: &str, table: &Tensor, tokens: &[u32]) -> Result<Tensor> {
        let shape = [tokens.len(), table.dims()[1]];
        let rows = self.weights.take(&delta_name(module), &shape, DType::F32)?;
        let table = ops::copy(table)?;
        for (at, token) in tokens.iter().enumerate() {
            let row = table.narrow(0, *token as usize, 1)?;
            ops::assign(&row, &rows.narrow(0, at, 1)?)?;
        }
        Ok(table)
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
