//! A merged model as a GGUF, and an adapter as a GGUF LoRA, as llama.cpp's converters write them.

use std::path::Path;

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;

use super::ExportDtype;
use super::merge::Merged;
use super::request::{Progress, Stage, Tell};
use crate::gguf::names::{Architecture, Layout, key, rows_to_gguf};
use crate::gguf::sizes::{Sizes, sizes};
use crate::gguf::vocabulary::vocabulary;
use crate::gguf::write::{Described, Kind, Value, Writer};
use crate::tokenizer::Tokenizer;
use crate::{Error, Result};

/// A tensor of the file: where it comes from, and how it will stand there.
struct Planned {
    source: String,
    layout: Layout,
    described: Described,
}

/// Writes the merged model. Returns what a user should know about the file.
///
/// # Errors
/// The family or its settings have no place in a GGUF, or the file cannot be written.
pub(super) fn write_model(
    path: &Path,
    merged: &mut Merged,
    dtype: ExportDtype,
    tokenizer: Option<&Tokenizer>,
    end_of_turn: Option<u32>,
    name: &str,
    tell: Tell<'_>,
) -> Result<Vec<String>> {
    let architecture = architecture(merged)?;
    let config = merged.folder.join("config.json");
    let Sizes {
        metadata: sizes,
        factors,
        mut warnings,
    } = sizes(architecture, &merged.config, &merged.description)
        .map_err(|message| Error::file(&config, message))?;
    let mut metadata = general("model", architecture, name);
    metadata.push((key::FILE_TYPE.into(), Value::U32(file_type(dtype))));
    if matches!(dtype, ExportDtype::Q8_0 | ExportDtype::Q4K) {
        metadata.push((key::QUANTIZATION_VERSION.into(), Value::U32(2)));
    }
    metadata.extend(sizes);
    match tokenizer {
        Some(tokenizer) => {
            let rows = merged.description.vocab;
            let folder = &merged.tokenizer_folder;
            let found = vocabulary(folder, tokenizer, rows, end_of_turn)?;
            metadata.extend(found.metadata);
            warnings.extend(found.warnings);
        }
        None => {
            metadata.push((key::TOKENIZER.into(), Value::Text("none".into())));
            warnings.push("the model folder holds no tokenizer.json: the GGUF has no tokenizer and takes token ids only".to_owned());
        }
    }
    let planned = plan(merged, architecture, dtype)?;
    let small = factors.iter().map(|(name, values)| Described {
        name: (*name).to_owned(),
        shape: vec![values.len()],
        kind: Kind::F32,
    });
    let described = planned.iter().map(|planned| planned.described.clone());
    let mut file = Writer::create(path, &metadata, small.chain(described).collect())?;
    for (_, values) in factors {
        let len = values.len();
        file.put(&Tensor::from_vec(values, len, &Device::Cpu)?)?;
    }
    let total = planned.len();
    for (done, planned) in planned.into_iter().enumerate() {
        tell(Progress {
            stage: Stage::Write,
            done,
            total,
        });
        file.put(&laid_out(&merged.values(&planned.source)?, planned.layout)?)?;
    }
    file.finish()?;
    Ok(warnings)
}

/// Writes the adapter by itself, in f32 or f16.
///
/// # Errors
/// The adapter is more than plain LoRA on layers that llama.cpp knows, or the file cannot be written.
pub(super) fn write_lora(
    path: &Path,
    merged: &mut Merged,
    dtype: ExportDtype,
    name: &str,
) -> Result<()> {
    let architecture = architecture(merged)?;
    let kind = plain(dtype);
    let d = &merged.description;
    let (heads, kv_heads) = (d.heads, d.kv_heads);
    let Some(adapter) = merged.adapter() else {
        return Err(Error::Input("gguf-lora needs an adapter".into()));
    };
    let file = adapter.folder.join("adapter_model.safetensors");
    if let Some(other) = adapter.beyond_pairs() {
        let message = format!(
            "holds {other}, which a GGUF LoRA has no place for; export --format gguf, which merges it"
        );
        return Err(Error::file(&file, message));
    }
    // llama.cpp multiplies by alpha over the rank; whatever else the scale is made of goes into B.
    let alpha = match adapter.settings.lora_alpha {
        0.0 => 1.0,
        alpha => alpha,
    };
    let mut metadata = general("adapter", architecture, name);
    metadata.push((key::ADAPTER_TYPE.into(), Value::Text("lora".into())));
    metadata.push((key::LORA_ALPHA.into(), Value::F32(alpha as f32)));
    let (mut described, mut tensors) = (Vec::new(), Vec::new());
    for entry in merged.entries() {
        let Some((module, a, b)) = adapter.pair(&entry.name) else {
            continue;
        };
        let Some(own) = architecture.gguf_name(&entry.name) else {
            let message = format!("adapts {module}, which llama.cpp has no name for");
            return Err(Error::file(&file, message));
        };
        if own.starts_with("token_embd") || (module == "lm_head" && merged.description.tied_head) {
            let message = format!("adapts {module}, which llama.cpp's adapters cannot");
            return Err(Error::file(&file, message));
        }
        let rank = adapter.settings.rank(&module);
        let factor = f64::from(adapter.settings.scale(&module)) * rank as f64 / alpha;
        for (ending, shape) in [
            ("lora_a", vec![rank, entry.shape[1]]),
            ("lora_b", vec![entry.shape[0], rank]),
        ] {
            described.push(Described {
                name: format!("{own}.{ending}"),
                shape,
                kind,
            });
        }
        let layout = architecture.layout(&entry.name, heads, kv_heads);
        tensors.push((a, Layout::Same, 1.0));
        tensors.push((b, layout, factor));
    }
    let mut adapter = crate::model::Weights::open(&[file])?;
    let mut out = Writer::create(path, &metadata, described)?;
    for (name, layout, factor) in tensors {
        let shape = adapter.shape(&name).unwrap_or_default().to_vec();
        let values = adapter.take(&name, &shape, DType::F32)?;
        out.put(&laid_out(&(values * factor)?, layout)?)?;
    }
    out.finish()
}

/// The type that stands for the base's own.
pub(super) fn own_dtype(merged: &Merged) -> ExportDtype {
    let matrices = merged.entries();
    let largest = matrices
        .iter()
        .max_by_key(|entry| entry.shape.iter().product::<usize>());
    match largest.map(|entry| entry.stored) {
        Some(Dtype::F16) => ExportDtype::F16,
        Some(Dtype::BF16) => ExportDtype::Bf16,
        _ => ExportDtype::F32,
    }
}

fn architecture(merged: &Merged) -> Result<&'static Architecture> {
    let model_type = &merged.description.model_type;
    if merged.description.qkv_by_head {
        let message = "multi_query = false has no place in a GGUF; export --format safetensors";
        return Err(Error::file(merged.folder.join("config.json"), message));
    }
    Architecture::of_model_type(model_type).ok_or_else(|| {
        let message =
            format!("model_type {model_type:?} has no GGUF form here; export --format safetensors");
        Error::file(merged.folder.join("config.json"), message)
    })
}

fn general(kind: &str, architecture: &Architecture, name: &str) -> Vec<(String, Value)> {
    [
        (key::ARCHITECTURE, architecture.name),
        (key::TYPE, kind),
        (key::NAME, name),
    ]
    .into_iter()
    .map(|(key, word)| (key.to_owned(), Value::Text(word.to_owned())))
    .collect()
}

fn plan(merged: &Merged, architecture: &Architecture, dtype: ExportDtype) -> Result<Vec<Planned>> {
    let d = &merged.description;
    let mut planned = Vec::new();
    for entry in merged.entries() {
        // Older files hold what is computed from the config anyway.
        if entry.name.ends_with("rotary_emb.inv_freq") {
            continue;
        }
        let Some(name) = architecture.gguf_name(&entry.name) else {
            let message = format!("holds {}, which llama.cpp has no name for", entry.name);
            return Err(Error::file(&merged.folder, message));
        };
        let kind = kind(&name, &entry.shape, dtype, merged.tied());
        planned.push(Planned {
            layout: architecture.layout(&entry.name, d.heads, d.kv_heads),
            source: entry.name,
            described: Described {
                name,
                shape: entry.shape,
                kind,
            },
        });
    }
    Ok(planned)
}

/// Vectors and positions stay in f32, as llama.cpp wants them. In 4 bits the head keeps 6, as llama.cpp's own
/// quantization has it. A row that is no multiple of a type's block goes into the next larger type that fits.
fn kind(name: &str, shape: &[usize], dtype: ExportDtype, tied: bool) -> Kind {
    if shape.len() < 2 || name == "position_embd.weight" {
        return Kind::F32;
    }
    let head = name == "output.weight" || (tied && name == "token_embd.weight");
    let row = shape[shape.len() - 1];
    let wanted: &[Kind] = match dtype {
        ExportDtype::F32 | ExportDtype::F16 | ExportDtype::Bf16 => return plain(dtype),
        ExportDtype::Q8_0 => &[Kind::Q8_0],
        ExportDtype::Q4K if head => &[Kind::Q6K, Kind::Q8_0],
        ExportDtype::Q4K => &[Kind::Q4K, Kind::Q8_0],
    };
    wanted
        .iter()
        .copied()
        .find(|kind| row.is_multiple_of(kind.block()))
        .unwrap_or(Kind::F16)
}

fn plain(dtype: ExportDtype) -> Kind {
    match dtype {
        ExportDtype::F16 => Kind::F16,
        ExportDtype::Bf16 => Kind::Bf16,
        _ => Kind::F32,
    }
}

/// `llama_ftype` of llama.cpp.
fn file_type(dtype: ExportDtype) -> u32 {
    match dtype {
        ExportDtype::F32 => 0,
        ExportDtype::F16 => 1,
        ExportDtype::Q8_0 => 7,
        ExportDtype::Q4K => 14,
        ExportDtype::Bf16 => 32,
    }
}

fn laid_out(values: &Tensor, layout: Layout) -> Result<Tensor> {
    match layout {
        Layout::Same => Ok(values.clone()),
        Layout::PlusOne => Ok((values + 1.0)?),
        Layout::Paired { heads } => {
            let rows: Vec<u32> = rows_to_gguf(values.dims()[0], heads)
                .into_iter()
                .map(|row| row as u32)
                .collect();
            let len = rows.len();
            Ok(values.index_select(&Tensor::from_vec(rows, len, &Device::Cpu)?, 0)?)
        }
    }
}
