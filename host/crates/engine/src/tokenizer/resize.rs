//! Rows for new tokens in the embedding and the head of a model's safetensors; every other byte stays as it is.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::{BufWriter, Write},
    path::Path,
};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::model::{named_generator, normal};
use crate::{Error, Result};

/// What the rows of new tokens hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewRows {
    /// The mean of the old rows: Transformers' `mean_resizing`, without its noise of a billionth of the covariance. New
    /// tokens then start as likely as an average one.
    #[default]
    Mean,
    /// Normal values with the model's `initializer_range`, drawn from this seed.
    Normal(u64),
}

/// A change of the number of rows.
pub(super) struct Resize {
    pub(super) old: usize,
    pub(super) new: usize,
    /// Rows below `old` that belong to new tokens too.
    pub(super) fresh: Vec<usize>,
    pub(super) rows: NewRows,
    pub(super) deviation: f64,
}

/// Tensors with a row for each token.
const BY_TOKEN: [&str; 5] = [
    "model.embed_tokens.weight",
    "lm_head.weight",
    "lm_head.bias",
    "transformer.wte.weight",
    "embed_tokens.weight",
];

impl Resize {
    /// Writes the safetensors of `model` into `fresh`, in the same shards; returns the names of the files.
    pub(super) fn folder(&self, model: &Path, fresh: &Path) -> Result<BTreeSet<String>> {
        let index_path = model.join("model.safetensors.index.json");
        let mut written = BTreeSet::new();
        if !index_path.is_file() {
            let name = "model.safetensors";
            let path = model.join(name);
            if !path.is_file() {
                return Err(Error::file(
                    model,
                    "holds no model.safetensors (nor model.safetensors.index.json)",
                ));
            }
            let (_, found) = self.file(&path, &fresh.join(name))?;
            require_embedding(&path, found)?;
            written.insert(name.to_owned());
            return Ok(written);
        }
        let text = fs::read_to_string(&index_path).map_err(Error::io("read", &index_path))?;
        let mut index: Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(&index_path, format!("is no valid JSON: {error}")))?;
        let shards: BTreeSet<String> = index["weight_map"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(_, shard)| shard.as_str())
            .filter(|name| {
                Path::new(name)
                    .file_name()
                    .is_some_and(|file| file == *name)
            })
            .map(str::to_owned)
            .collect();
        let (mut total, mut found) = (0, false);
        for shard in &shards {
            let (bytes, held) = self.file(&model.join(shard), &fresh.join(shard))?;
            total += bytes;
            found |= held;
        }
        require_embedding(&index_path, found)?;
        if index["metadata"].is_object() {
            index["metadata"]["total_size"] = json!(total);
        }
        crate::files::write_synced(
            &fresh.join("model.safetensors.index.json"),
            format!("{index:#}\n").as_bytes(),
        )?;
        written.extend(shards);
        written.insert("model.safetensors.index.json".to_owned());
        Ok(written)
    }

    /// Bytes of all tensors, and whether one of them has rows by token.
    fn file(&self, from: &Path, to: &Path) -> Result<(usize, bool)> {
        let file = fs::File::open(from).map_err(Error::io("open", from))?;
        // SAFETY: a file that another process cuts short while it is mapped can end this one; nothing else can go
        // wrong, as every bit pattern is a valid number.
        let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", from))?;
        let damaged = |error| {
            Error::file(
                from,
                format!("is no whole safetensors file ({error}); it may be cut off"),
            )
        };
        let tensors = SafeTensors::deserialize(&map).map_err(damaged)?;
        let (_, metadata) = SafeTensors::read_metadata(&map).map_err(damaged)?;
        let mut header = Map::new();
        if let Some(about) = metadata.metadata() {
            let about: BTreeMap<_, _> = about.iter().collect();
            header.insert("__metadata__".to_owned(), json!(about));
        }
        let (mut end, mut found) = (0, false);
        let mut parts = Vec::new();
        for name in metadata.offset_keys() {
            let view = tensors.tensor(&name).map_err(damaged)?;
            let mut shape = view.shape().to_vec();
            let resized = BY_TOKEN.contains(&name.as_str());
            if resized {
                if shape.first() != Some(&self.old) {
                    let message = format!(
                        "{name} has {shape:?} where config.json has {} tokens",
                        self.old
                    );
                    return Err(Error::file(from, message));
                }
                shape[0] = self.new;
                found = true;
            }
            let width = view.data().len() / view.shape().first().copied().unwrap_or(1).max(1);
            let start = end;
            end += if resized {
                self.new * width
            } else {
                view.data().len()
            };
            let stored = serde_json::to_value(view.dtype())
                .map_err(|error| Error::Compute(error.to_string()))?;
            header.insert(
                name.clone(),
                json!({ "dtype": stored, "shape": shape, "data_offsets": [start, end] }),
            );
            parts.push((name, view, resized));
        }
        let mut header = Value::Object(header).to_string();
        // The data begin at a multiple of 8 bytes, so that a reader may map them.
        header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
        let out = fs::File::create(to).map_err(Error::io("write", to))?;
        let mut out = BufWriter::with_capacity(1 << 20, out);
        let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(Error::io("write", to));
        put(&(header.len() as u64).to_le_bytes())?;
        put(header.as_bytes())?;
        for (name, view, resized) in parts {
            if !resized {
                put(view.data())?;
                continue;
            }
            let width = view.data().len() / self.old.max(1);
            let columns = view.shape().iter().skip(1).product();
            let mut rows = self
                .new_rows(&name, view.data(), view.dtype(), columns)
                .map_err(|message| Error::file(from, format!("{name} {message}")))?;
            for (row, old) in view.data().chunks_exact(width.max(1)).enumerate() {
                match self.fresh.contains(&row) {
                    true => put(&rows())?,
                    false => put(old)?,
                }
            }
            for _ in self.old..self.new {
                put(&rows())?;
            }
        }
        let out = out
            .into_inner()
            .map_err(|error| Error::io("write", to)(error.into_error()))?;
        out.sync_all().map_err(Error::io("write", to))?;
        Ok((end, found))
    }

    /// Gives the bytes of one new row after the other.
    fn new_rows(
        &self,
        name: &str,
        data: &[u8],
        dtype: Dtype,
        columns: usize,
    ) -> Result<Box<dyn FnMut() -> Vec<u8>>, String> {
        let pack = move |values: &[f64]| -> Vec<u8> {
            let bytes = |value: &f64| match dtype {
                Dtype::F32 => (*value as f32).to_le_bytes().to_vec(),
                Dtype::F16 => f16::from_f64(*value).to_le_bytes().to_vec(),
                _ => bf16::from_f64(*value).to_le_bytes().to_vec(),
            };
            values.iter().flat_map(bytes).collect()
        };
        let size = match dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => {
                return Err(format!(
                    "is of type {other:?}; f32, f16 and bf16 are supported"
                ));
            }
        };
        if let NewRows::Normal(seed) = self.rows {
            let mut generator = named_generator(seed, name);
            let deviation = self.deviation;
            return Ok(Box::new(move || {
                let row = normal(&mut generator, columns, deviation);
                pack(&row.into_iter().map(f64::from).collect::<Vec<_>>())
            }));
        }
        let mut sums = vec![0.0; columns];
        let mut count = 0;
        for (row, bytes) in data.chunks_exact((columns * size).max(1)).enumerate() {
            if self.fresh.contains(&row) {
                continue;
            }
            count += 1;
            for (sum, value) in sums.iter_mut().zip(bytes.chunks_exact(size)) {
                *sum += match (dtype, value) {
                    (Dtype::F32, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
                    (Dtype::F16, &[a, b]) => f16::from_le_bytes([a, b]).to_f64(),
                    (_, &[a, b]) => bf16::from_le_bytes([a, b]).to_f64(),
                    _ => 0.0,
                };
            }
        }
        let mean: Vec<f64> = sums
            .iter()
            .map(|sum| sum / f64::from(count.max(1)))
            .collect();
        let row = pack(&mean);
        Ok(Box::new(move || row.clone()))
    }
}

fn require_embedding(path: &Path, found: bool) -> Result<()> {
    match found {
        true => Ok(()),
        false => Err(Error::file(
            path,
            format!(
                "holds no tensor with a row for each token; these are known: {}",
                BY_TOKEN.join(", ")
            ),
        )),
    }
}
