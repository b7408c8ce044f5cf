use std::path::Path;

use domain::{Method, Quantize, RunConfig};

use crate::Result;
use crate::gguf::{Gguf, is_gguf};
use crate::lora::{BaseEnds, HEAD, Settings, base_ends};
use crate::model::{Description, Weights};

/// The tensors of a run's model, counted without reading them.
#[derive(Default)]
pub(crate) struct Inventory {
    /// Layers.
    pub(crate) layers: usize,
    /// Tokens of the vocabulary: an adapter to go on from may have been trained over others than the model's own.
    pub(crate) tokens: usize,
    /// Parameters of the base.
    pub(crate) parameters: u64,
    /// Bytes of the base as the run holds it.
    pub(crate) bytes: u64,
    /// Parameters of the adapter.
    pub(crate) adapter_parameters: u64,
    /// Sum over a layer's adapters of their ranks: what their low side takes for each token.
    pub(crate) ranks: u64,
    /// Sum over a layer's adapters of the outputs that DoRA decomposes.
    pub(crate) decomposed: u64,
    /// Adapters drop some of their inputs.
    pub(crate) dropout: bool,
    /// Tokens whose logits come from rows of their own.
    pub(crate) head_tokens: u64,
    /// Parameters that the adapter begins as a part of the base with, which is kept beside it (PiSSA).
    pub(crate) split_parameters: u64,
}

/// A tensor of the base by its name.
pub(super) type Shaped = (String, Vec<usize>);

/// Bytes of so many elements, packed.
fn packed(quantize: Quantize, count: u64) -> u64 {
    match quantize {
        // Codes, a scale for 64 and a scale of scales for 64 · 256.
        Quantize::Nf4 => count.div_ceil(64) * 33 + count.div_ceil(64 * 256) * 4,
        Quantize::Q4k => count.div_ceil(256) * 144,
        Quantize::Q8_0 => count.div_ceil(32) * 34,
    }
}

impl Inventory {
    /// What a decoder's layers have beside their widths.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn of_layers(decoder: &crate::model::Decoder) -> Self {
        let base = decoder.base();
        let matrices = || base.iter().filter_map(|stored| stored.matrix());
        let mut inventory = Self {
            layers: decoder.blocks.len(),
            tokens: decoder.description.vocab,
            parameters: matrices().map(|matrix| matrix.len()).sum(),
            bytes: matrices().map(|matrix| matrix.bytes()).sum(),
            ..Self::default()
        };
        for lora in decoder
            .blocks
            .iter()
            .flat_map(|block| block.linears())
            .filter_map(|linear| linear.lora.as_ref())
        {
            inventory.ranks += lora.a.value.dims().first().copied().unwrap_or(0) as u64;
            if let Some(dora) = &lora.dora {
                inventory.decomposed += dora.magnitude.value.elem_count() as u64;
            }
            inventory.dropout |= lora.dropout > 0.0;
        }
        let layers = inventory.layers.max(1) as u64;
        inventory.ranks = inventory.ranks.div_ceil(layers);
        inventory.decomposed = inventory.decomposed.div_ceil(layers);
        inventory
    }

    pub(crate) fn of(config: &RunConfig, folder: &Path, description: &Description) -> Result<Self> {
        let full = config.train.method == Method::Full;
        let float = match config.model.dtype {
            _ if full => 4,
            domain::ModelDtype::F32 => 4,
            _ => 2,
        };
        let held = |count: u64| match config.model.quantize.filter(|_| !full) {
            Some(quantize) => Held::Packed(packed(quantize, count)),
            None => Held::Plain(float * count),
        };
        let mut inventory = Self {
            layers: description.layer_count(),
            tokens: description.vocab,
            ..Self::default()
        };
        if config.model.random_init {
            inventory.parameters = description.parameters();
            inventory.bytes = 4 * inventory.parameters;
            return Ok(inventory);
        }
        let settings = match &config.lora.init_adapter {
            _ if full => None,
            Some(adapter) => Some(Settings::read(Path::new(adapter))?),
            None => Some(Settings::of_run(&config.lora)),
        };
        let ends = match (&config.lora.init_adapter, &settings) {
            (Some(adapter), Some(settings)) => {
                base_ends(Path::new(adapter), settings, description)?
            }
            _ => None,
        };
        let ends = ends.filter(|ends| ends.replaced || ends.tokens != description.vocab);
        inventory.tokens = ends.as_ref().map_or(description.vocab, |ends| ends.tokens);
        let in_place = InPlace::of(description, ends.as_ref());
        let mut tensors: Vec<Shaped> = Vec::new();
        let mut add = |name: &str, shape: &[usize], held: &dyn Fn(u64) -> Held| {
            let (shape, is_replaced) = match in_place.shape(name) {
                Some(other) => (other.to_vec(), true),
                None => (shape.to_vec(), false),
            };
            let count = shape.iter().map(|size| *size as u64).product::<u64>();
            inventory.parameters += count;
            inventory.bytes += match (shape.len(), held(count)) {
                (2, Held::Plain(bytes)) => bytes,
                (2, Held::Packed(bytes)) if !is_replaced => bytes,
                _ => 4 * count,
            };
            tensors.push((name.to_owned(), shape));
        };
        if is_gguf(folder) {
            let file = Gguf::open(folder)?;
            let (architecture, _) = crate::gguf::config(&file)?;
            for (own, entry) in file.tensors() {
                if let Some(name) = architecture.hugging_face_name(own) {
                    let stored = |count: u64| match entry.stored.block() {
                        (1, _) => held(count),
                        (elements, bytes) => Held::Packed(count / elements as u64 * bytes as u64),
                    };
                    add(&name, &entry.shape, &stored);
                }
            }
        } else {
            let weights = Weights::open_folder(folder)?;
            for name in weights.names() {
                if name.ends_with("rotary_emb.inv_freq")
                    || (description.tied_head && name == "lm_head.weight")
                {
                    continue;
                }
                add(name, weights.shape(name).unwrap_or_default(), &held);
            }
        }
        if let Some(settings) = settings {
            inventory.count_adapter(&settings, description, tensors)?;
        }
        Ok(inventory)
    }
}

/// Bytes of a matrix as it is held.
enum Held {
    Plain(u64),
    /// What takes the place of such a matrix is not packed.
    Packed(u64),
}

/// The shape of embedding and head where an adapter's file has others for them.
struct InPlace {
    names: [String; 2],
    shape: Option<[usize; 2]>,
}

impl InPlace {
    fn of(description: &Description, ends: Option<&BaseEnds>) -> Self {
        Self {
            names: [description.names.embedding, HEAD].map(|end| format!("{end}.weight")),
            shape: ends.map(|ends| [ends.tokens, description.hidden]),
        }
    }

    fn shape(&self, name: &str) -> Option<[usize; 2]> {
        self.shape
            .filter(|_| self.names.iter().any(|end| end == name))
    }
}
