//! Reading a GGUF LoRA again, value by value, as an adapter that the decoder takes.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;
use serde_json::json;

use super::merge::{Entry, Merged};
use super::safetensors::write_file;
use crate::gguf::names::{Architecture, Layout, key, rows_from_gguf};
use crate::lora::write_json;
use crate::model::weights::to_bytes;
use crate::{Error, Result};

/// An open GGUF whose tensors go back into Hugging Face's names and layout.
struct Gguf {
    file: BufReader<std::fs::File>,
    content: Content,
    architecture: &'static Architecture,
}

impl Gguf {
    fn open(path: &Path) -> Result<Self> {
        let broken = |message: String| Error::file(path, message);
        let file = std::fs::File::open(path).map_err(Error::io("read", path))?;
        let mut file = BufReader::new(file);
        let content = Content::read(&mut file)
            .map_err(|error| broken(format!("is no whole GGUF: {error}")))?;
        let name = content.metadata.get(key::ARCHITECTURE);
        let architecture = name
            .and_then(|name| Architecture::of_name(name.to_string().ok()?))
            .ok_or_else(|| broken("names no known architecture".into()))?;
        Ok(Self {
            file,
            content,
            architecture,
        })
    }

    fn tensor(&mut self, name: &str, layout: Layout) -> Result<Tensor> {
        let values = self
            .content
            .tensor(&mut self.file, name, &Device::Cpu)?
            .dequantize(&Device::Cpu)?
            .to_dtype(DType::F32)?;
        match layout {
            Layout::Same => Ok(values),
            Layout::PlusOne => Ok((values - 1.0)?),
            Layout::Paired { heads } => {
                let rows: Vec<u32> = rows_from_gguf(values.dims()[0], heads)
                    .into_iter()
                    .map(|row| row as u32)
                    .collect();
                let len = rows.len();
                Ok(values.index_select(&Tensor::from_vec(rows, len, &Device::Cpu)?, 0)?)
            }
        }
    }

    fn shape(&self, name: &str) -> Vec<usize> {
        let info = self.content.tensor_infos.get(name);
        info.map(|info| info.shape.dims().to_vec())
            .unwrap_or_default()
    }
}

/// Unpacks a GGUF LoRA into a PEFT folder whose scales are those that llama.cpp computes: alpha over the rank.
///
/// # Errors
/// The file is damaged, or no adapter's.
pub(super) fn unpack_lora(path: &Path, folder: &Path, merged: &Merged) -> Result<()> {
    let mut gguf = Gguf::open(path)?;
    let d = &merged.description;
    let (heads, kv_heads) = (d.heads, d.kv_heads);
    let alpha = gguf.content.metadata.get(key::LORA_ALPHA);
    let alpha = alpha
        .and_then(|alpha| alpha.to_f32().ok())
        .ok_or_else(|| Error::file(path, "has no adapter.lora.alpha"))?;
    let mut entries = Vec::new();
    let (mut origin, mut ranks) = (BTreeMap::new(), serde_json::Map::new());
    let mut in_file: Vec<&String> = gguf.content.tensor_infos.keys().collect();
    in_file.sort();
    for own in in_file {
        let (Some(base), letter) = (match own.rsplit_once(".lora_") {
            Some((base, letter)) => (gguf.architecture.hugging_face_name(base), letter),
            None => (None, ""),
        }) else {
            return Err(Error::file(
                path,
                format!("holds {own}, which is no adapter's"),
            ));
        };
        let module = base.trim_end_matches(".weight").to_owned();
        let shape = gguf.shape(own);
        if letter == "a" {
            ranks.insert(module.replace('.', "\\."), json!(shape[0]));
        }
        let layout = match letter {
            "b" => gguf.architecture.layout(&base, heads, kv_heads),
            _ => Layout::Same,
        };
        let name = format!(
            "base_model.model.{module}.lora_{}.weight",
            letter.to_uppercase()
        );
        origin.insert(name.clone(), (own.clone(), layout));
        let entry = Entry {
            name,
            shape,
            stored: Dtype::F32,
        };
        entries.push((entry, Dtype::F32));
    }
    write_json(
        &folder.join("adapter_config.json"),
        &json!({
            "peft_type": "LORA",
            "target_modules": "all-linear",
            "lora_alpha": alpha,
            "r": 1,
            "rank_pattern": ranks,
        }),
    )?;
    write_file(
        &folder.join("adapter_model.safetensors"),
        &entries,
        &mut |entry, _, put| {
            let (own, layout) = &origin[&entry.name];
            put(&to_bytes(&gguf.tensor(own, *layout)?, DType::F32)?)
        },
    )
}
