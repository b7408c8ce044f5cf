//! A Hugging Face folder: weights in shards, written tensor by tensor, with config and tokenizer beside them.

use std::io::Write;
use std::path::Path;

use candle_core::DType;
use safetensors::Dtype;
use serde_json::{Map, Value, json};

use super::ExportDtype;
use super::merge::{Entry, Merged};
use super::request::{Progress, Stage, Tell};
use crate::lora::write_json;
use crate::model::weights::to_bytes;
use crate::train::copy_companions;
use crate::{Error, Result};

/// Bytes of a tensor that are copied at a time.
const PIECE: usize = 8 << 20;

/// Writes weights, config, tokenizer and generation settings into a folder that is there.
///
/// # Errors
/// A tensor cannot be read, or a file not be written.
pub(super) fn write(
    folder: &Path,
    merged: &mut Merged,
    dtype: Option<ExportDtype>,
    max_shard_size: u64,
    tell: Tell<'_>,
) -> Result<()> {
    copy_companions(&merged.tokenizer_folder, &merged.folder, folder)?;
    write_json(&folder.join("config.json"), &config(merged, dtype))?;
    let entries: Vec<(Entry, Dtype)> = merged
        .entries()
        .into_iter()
        .map(|entry| {
            let stored = written(entry.stored, dtype);
            (entry, stored)
        })
        .collect();
    let shards = shards(&entries, max_shard_size);
    let count = shards.len();
    let (mut map, mut total, mut done) = (Map::new(), 0u64, 0);
    for (at, shard) in shards.iter().enumerate() {
        let name = match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", at + 1),
        };
        write_file(&folder.join(&name), shard, &mut |entry, dtype, put| {
            tell(Progress {
                stage: Stage::Write,
                done,
                total: entries.len(),
            });
            done += 1;
            merged_tensor(merged, entry, dtype, put)
        })?;
        for (entry, dtype) in *shard {
            total += bytes(entry, *dtype);
            map.insert(entry.name.clone(), json!(name));
        }
    }
    if count > 1 {
        let index = json!({ "metadata": { "total_size": total }, "weight_map": map });
        write_json(&folder.join("model.safetensors.index.json"), &index)?;
    }
    Ok(())
}

/// The base's config with the type of the weights; what a file of Transformers remembers of its own path is left out.
fn config(merged: &Merged, dtype: Option<ExportDtype>) -> Value {
    let mut config = merged.config.clone();
    if let Some(table) = config.as_object_mut() {
        table.remove("_name_or_path");
        if let Some(dtype) = dtype {
            let key = match table.contains_key("torch_dtype") {
                true => "torch_dtype",
                false => "dtype",
            };
            table.insert(key.to_owned(), json!(dtype.transformers()));
        }
        if merged.unties() {
            table.insert("tie_word_embeddings".to_owned(), json!(false));
        }
    }
    config
}

/// What a tensor is stored as: floats as asked, all else as it is.
fn written(stored: Dtype, asked: Option<ExportDtype>) -> Dtype {
    match (stored, asked) {
        (Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64, Some(ExportDtype::F32)) => Dtype::F32,
        (Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64, Some(ExportDtype::F16)) => Dtype::F16,
        (Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64, Some(ExportDtype::Bf16)) => {
            Dtype::BF16
        }
        (Dtype::F64, _) => Dtype::F32,
        (stored, _) => stored,
    }
}

fn bytes(entry: &Entry, dtype: Dtype) -> u64 {
    (entry.shape.iter().product::<usize>() * dtype.bitsize() / 8) as u64
}

/// Tensors in the order of the base, a new shard whenever the next one would not fit, as huggingface_hub does it.
fn shards(entries: &[(Entry, Dtype)], most: u64) -> Vec<&[(Entry, Dtype)]> {
    let (mut shards, mut from, mut size) = (Vec::new(), 0, 0);
    for (at, (entry, dtype)) in entries.iter().enumerate() {
        let own = bytes(entry, *dtype);
        if at > from && size + own > most {
            shards.push(&entries[from..at]);
            (from, size) = (at, 0);
        }
        size += own;
    }
    shards.push(&entries[from..]);
    shards
}

/// Takes the bytes of a tensor, in as many pieces as they come in.
pub(super) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// Writes one file; `tensor` hands over each tensor's bytes when its turn comes.
///
/// # Errors
/// The file cannot be written, or `tensor` fails.
pub(super) fn write_file(
    path: &Path,
    tensors: &[(Entry, Dtype)],
    tensor: &mut dyn FnMut(&Entry, Dtype, Sink<'_>) -> Result<()>,
) -> Result<()> {
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut end = 0;
    for (entry, dtype) in tensors {
        let start = end;
        end += bytes(entry, *dtype);
        let described =
            json!({ "dtype": dtype, "shape": entry.shape, "data_offsets": [start, end] });
        header.insert(entry.name.clone(), described);
    }
    let mut header = Value::Object(header).to_string();
    // The data begin at a multiple of 8 bytes, so that a reader may map them.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let mut file = std::fs::File::create(path).map_err(Error::io("write", path))?;
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io("write", path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())?;
    for (entry, dtype) in tensors {
        tensor(entry, *dtype, &mut put)?;
    }
    file.sync_all().map_err(Error::io("write", path))
}

/// One tensor of a merged model: the base's own bytes where nothing changes.
fn merged_tensor(merged: &mut Merged, entry: &Entry, dtype: Dtype, put: Sink<'_>) -> Result<()> {
    if dtype == entry.stored
        && let Some(bytes) = merged.unchanged(&entry.name)
    {
        return bytes.chunks(PIECE).try_for_each(put);
    }
    put(&to_bytes(
        &merged.values(&entry.name)?,
        candle_dtype(dtype),
    )?)
}

/// The tensor library's word for a float type of a file.
pub(super) fn candle_dtype(dtype: Dtype) -> DType {
    match dtype {
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        _ => DType::F32,
    }
}
