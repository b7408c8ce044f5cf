use std::io::Write;
use std::path::Path;

use candle_core::{DType, Tensor};
use serde_json::{Map, Value, json};

use super::to_bytes;
use crate::{Error, Result};

/// Writes tensors to a safetensors file, one after the other so that a model is not held twice, and waits until it is
/// on the disk.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write(path: &Path, tensors: Vec<(String, Tensor)>, dtype: DType) -> Result<()> {
    let word = match dtype {
        DType::BF16 => "BF16",
        DType::F16 => "F16",
        _ => "F32",
    };
    let mut header = Map::new();
    header.insert("__metadata__".into(), json!({ "format": "pt" }));
    let mut end = 0;
    for (name, tensor) in &tensors {
        let start = end;
        end += tensor.elem_count() * dtype.size_in_bytes();
        let entry = json!({ "dtype": word, "shape": tensor.dims(), "data_offsets": [start, end] });
        header.insert(name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string();
    // The data begin at a multiple of 8 bytes, so that a reader may map them.
    header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let file = std::fs::File::create(path).map_err(Error::io("write", path))?;
    let mut file = std::io::BufWriter::with_capacity(1 << 20, file);
    let mut put = |bytes: &[u8]| file.write_all(bytes).map_err(Error::io("write", path));
    put(&(header.len() as u64).to_le_bytes())?;
    put(header.as_bytes())?;
    for (_, tensor) in &tensors {
        put(&to_bytes(tensor, dtype)?)?;
    }
    let written = file
        .into_inner()
        .map_err(|error| Error::io("write", path)(error.into_error()))?;
    written.sync_all().map_err(Error::io("write", path))
}
