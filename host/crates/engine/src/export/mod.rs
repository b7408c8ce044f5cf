//! What leaves the studio: an adapter as a PEFT folder, or merged into its model as a Hugging Face folder.

use std::path::Path;

use candle_core::DType;
use domain::ModelDtype;
use serde_json::Value;

use crate::lora::{Base, read_adapter, write_adapter};
use crate::model::{Decoder, Loading};
use crate::{Error, Result, files, ops, train};

/// Writes `model` with `adapter` merged into its weights: `W + scale · B A`, computed in f32.
///
/// The weights are stored as `dtype`, or as the model's config says. The merged model writes what base and adapter
/// write together, up to the rounding of `dtype`.
///
/// # Errors
/// Model or adapter cannot be read or do not fit, or the output exists already or cannot be written.
pub fn merge(model: &Path, adapter: &Path, output: &Path, dtype: Option<ModelDtype>) -> Result<()> {
    refuse_existing(output)?;
    let loading = Loading::frozen(DType::F32);
    let mut decoder = Decoder::load(model, loading)?;
    read_adapter(&mut decoder, adapter, false)?;
    for linear in decoder.linears() {
        if let Some(lora) = &linear.lora {
            // Loaded in f32, so that this is the weight itself and no copy.
            ops::matmul_into(
                &linear.weight.dense()?,
                &lora.b.value,
                &lora.a.value,
                lora.scale,
                1.0,
            )?;
        }
    }
    let dtype = match dtype {
        Some(ModelDtype::F32) => DType::F32,
        Some(ModelDtype::F16) => DType::F16,
        Some(ModelDtype::Bf16) => DType::BF16,
        None => stored_dtype(model)?,
    };
    train::write_model(output, model, &decoder, dtype)
}

/// Writes `adapter`, checked against `model`, as a PEFT folder of its own.
///
/// # Errors
/// As [`merge`].
pub fn copy_adapter(model: &Path, adapter: &Path, output: &Path) -> Result<()> {
    refuse_existing(output)?;
    let loading = Loading::frozen(DType::F32);
    let mut decoder = Decoder::load(model, loading)?;
    let settings = read_adapter(&mut decoder, adapter, false)?;
    let base = Base::of_folder(model)?;
    files::replace_folder(output, |fresh| {
        write_adapter(fresh, &decoder, &settings, &base)
    })
}

fn refuse_existing(output: &Path) -> Result<()> {
    if output.exists() {
        return Err(Error::file(output, "exists already; choose another folder"));
    }
    Ok(())
}

fn stored_dtype(model: &Path) -> Result<DType> {
    let path = model.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    let config: Value = serde_json::from_str(&text)
        .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
    let word = config
        .get("dtype")
        .or_else(|| config.get("torch_dtype"))
        .and_then(Value::as_str);
    Ok(match word {
        Some("bfloat16") => DType::BF16,
        Some("float16") => DType::F16,
        _ => DType::F32,
    })
}
