use std::path::Path;

use domain::{Method, Quantize, RunConfig};

use crate::Result;
use crate::gguf::{Gguf, is_gguf};
use crate::lora::Settings;
use crate::model::{Description, Weights};

/// The tensors of a run's model, counted without reading them.
pub(crate) struct Inventory {
    /// Layers.
    pub(crate) layers: usize,
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
    /// Adapters begin as a part of the base, which is kept beside them (PiSSA).
    pub(crate) splits_base: bool,
}

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
            parameters: matrices().map(|matrix| matrix.len()).sum(),
            bytes: matrices().map(|matrix| matrix.bytes()).sum(),
            adapter_parameters: 0,
            ranks: 0,
            decomposed: 0,
            dropout: false,
            splits_base: false,
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
            Some(quantize) => packed(quantize, count),
            None => float * count,
        };
        let mut inventory = Self {
            layers: description.layer_count(),
            parameters: 0,
            bytes: 0,
            adapter_parameters: 0,
            ranks: 0,
            decomposed: 0,
            dropout: false,
            splits_base: false,
        };
        if config.model.random_init {
            inventory.parameters = description.parameters();
            inventory.bytes = 4 * inventory.parameters;
            return Ok(inventory);
        }
        let (mut modules, mut tensors) = (Vec::new(), Vec::new());
        let mut add = |name: &str, shape: &[usize], matrix_bytes: u64| {
            let count = shape.iter().map(|size| *size as u64).product::<u64>();
            inventory.parameters += count;
            tensors.push((name.to_owned(), count));
            match shape {
                [out, input] => {
                    inventory.bytes += matrix_bytes;
                    if let Some(module) = name.strip_suffix(".weight") {
                        modules.push((module.to_owned(), *out as u64, *input as u64));
                    }
                }
                _ => inventory.bytes += 4 * count,
            }
        };
        if is_gguf(folder) {
            let file = Gguf::open(folder)?;
            let (architecture, _) = crate::gguf::config(&file)?;
            for (own, entry) in file.tensors() {
                if let Some(name) = architecture.hugging_face_name(own) {
                    let count = entry.shape.iter().map(|size| *size as u64).product::<u64>();
                    let bytes = match entry.stored.block() {
                        (1, _) => held(count),
                        (elements, bytes) => count / elements as u64 * bytes as u64,
                    };
                    add(&name, &entry.shape, bytes);
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
                let shape = weights.shape(name).unwrap_or_default();
                let count = shape.iter().map(|size| *size as u64).product();
                add(name, shape, held(count));
            }
        }
        if !full {
            let settings = match &config.lora.init_adapter {
                Some(adapter) => Settings::read(Path::new(adapter))?,
                None => Settings::of_run(&config.lora),
            };
            let ends = [description.names.embedding, "lm_head"];
            modules.retain(|(name, ..)| name.split('.').any(|word| word.parse::<u32>().is_ok()));
            let names: Vec<&str> = modules.iter().map(|(name, ..)| name.as_str()).collect();
            let chosen = crate::lora::targets(&settings, &names, &ends)
                .map_err(|message| domain::FieldErrors::one("lora", message))?;
            for (name, out, input) in modules.iter().filter(|(name, ..)| chosen.contains(name)) {
                let rank = settings.rank(name) as u64;
                inventory.adapter_parameters += rank * (out + input);
                inventory.ranks += rank;
                if settings.use_dora {
                    inventory.adapter_parameters += out;
                    inventory.decomposed += out;
                }
            }
            let size = (description.vocab + description.hidden) as u64;
            for end in ends
                .iter()
                .filter(|end| chosen.iter().any(|name| name == *end))
            {
                inventory.adapter_parameters += settings.rank(end) as u64 * size;
            }
            if description.tied_head {
                let count = description.vocab * description.hidden;
                tensors.push((format!("{}.weight", ends[1]), count as u64));
            }
            let saved = |name: &str| {
                let module = name.rsplit_once('.').map_or(name, |(module, _)| module);
                crate::lora::saves(&settings.modules_to_save, module)
            };
            let whole = tensors.iter().filter(|(name, _)| saved(name));
            inventory.adapter_parameters += whole.map(|(_, count)| count).sum::<u64>();
            let layers = inventory.layers.max(1) as u64;
            inventory.ranks /= layers;
            inventory.decomposed /= layers;
            inventory.dropout = settings.lora_dropout > 0.0;
            inventory.splits_base = crate::lora::Split::of(&settings.init).is_some();
        }
        Ok(inventory)
    }
}
