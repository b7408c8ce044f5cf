//! Safetensors files, one or sharded, read through a memory map.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use half::{bf16, f16};
use memmap2::{Mmap, UncheckedAdvice};
use rayon::prelude::*;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde_json::{Map, Value, json};

use crate::{Error, Result};

/// Endings of files that hold Python pickles.
const PICKLES: [&str; 5] = ["bin", "pt", "pth", "pkl", "ckpt"];

/// The tensors of a folder or file, by name; none is read before it is asked for.
pub(crate) struct Weights {
    files: Vec<File>,
    names: BTreeMap<String, usize>,
    unread: BTreeSet<String>,
}

struct File {
    path: PathBuf,
    map: Mmap,
    header: usize,
    metadata: Metadata,
}

impl File {
    /// Lets go of mapped pages that were copied. Best effort: it only saves memory.
    fn forget(&self, start: usize, len: usize) {
        // SAFETY: a private map of a file that nobody writes to through it reads the same pages again.
        let _ = unsafe {
            self.map
                .unchecked_advise_range(UncheckedAdvice::DontNeed, start, len)
        };
    }
}

impl Weights {
    /// Opens the model of a Hugging Face folder: `model.safetensors`, or the shards that
    /// `model.safetensors.index.json` lists.
    ///
    /// # Errors
    /// There is none, it is a pickle, a shard is missing, or a file is cut off or damaged.
    pub(crate) fn open_folder(folder: &Path) -> Result<Self> {
        let index = folder.join("model.safetensors.index.json");
        if index.is_file() {
            return Self::open_shards(folder, &index);
        }
        let single = folder.join("model.safetensors");
        if single.is_file() {
            return Self::open(&[single]);
        }
        let pickle = std::fs::read_dir(folder)
            .map_err(Error::io("read", folder))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .find(|path| is_pickle(path));
        match pickle {
            Some(path) => Err(refuse_pickle(&path)),
            None => Err(Error::file(
                folder,
                "holds no model.safetensors (nor model.safetensors.index.json); to start from random weights set model.random_init = true",
            )),
        }
    }

    fn open_shards(folder: &Path, index: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(index).map_err(Error::io("read", index))?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(index, format!("is no valid JSON: {error}")))?;
        let map = value
            .get("weight_map")
            .and_then(Value::as_object)
            .ok_or_else(|| Error::file(index, "has no weight_map"))?;
        let mut shards = BTreeSet::new();
        for (tensor, shard) in map {
            match shard.as_str() {
                Some(name) if Path::new(name).file_name().is_some_and(|file| file == name) => {
                    shards.insert(folder.join(name));
                }
                _ => {
                    return Err(Error::file(
                        index,
                        format!("{tensor} must name a file beside it, not {shard}"),
                    ));
                }
            }
        }
        if let Some(missing) = shards.iter().find(|path| !path.is_file()) {
            return Err(Error::file(
                missing,
                "is missing, but model.safetensors.index.json lists it",
            ));
        }
        let weights = Self::open(&shards.into_iter().collect::<Vec<_>>())?;
        match map.keys().find(|name| !weights.names.contains_key(*name)) {
            Some(name) => Err(Error::file(
                index,
                format!("lists {name}, which no shard holds"),
            )),
            None => Ok(weights),
        }
    }

    /// Opens safetensors files as one set of tensors.
    ///
    /// # Errors
    /// A file is a pickle, cannot be read, or is cut off or damaged.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self> {
        let mut weights = Self {
            files: Vec::new(),
            names: BTreeMap::new(),
            unread: BTreeSet::new(),
        };
        for path in paths {
            if is_pickle(path) {
                return Err(refuse_pickle(path));
            }
            let file = std::fs::File::open(path).map_err(Error::io("open", path))?;
            // SAFETY: a file that another process cuts short while it is mapped can end this one; nothing else can
            // go wrong, as every bit pattern is a valid number.
            let map = unsafe { Mmap::map(&file) }.map_err(Error::io("map", path))?;
            let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|error| {
                let message = format!("is no whole safetensors file ({error}); it may be cut off: download or copy it again");
                Error::file(path, message)
            })?;
            let index = weights.files.len();
            for name in metadata.offset_keys() {
                weights.unread.insert(name.clone());
                if weights.names.insert(name.clone(), index).is_some() {
                    return Err(Error::file(
                        path,
                        format!("holds {name}, which another shard holds too"),
                    ));
                }
            }
            weights.files.push(File {
                path: path.clone(),
                map,
                header,
                metadata,
            });
        }
        Ok(weights)
    }

    /// Whether there is a tensor of that name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.names.contains_key(name)
    }

    /// Reads a tensor of a shape that must be `shape`, as `dtype`.
    ///
    /// # Errors
    /// It is missing, of another shape, or of a type that is no float.
    pub(crate) fn take(&mut self, name: &str, shape: &[usize], dtype: DType) -> Result<Tensor> {
        let (file, info) = self.find(name, shape)?;
        let (start, end) = (
            8 + file.header + info.data_offsets.0,
            8 + file.header + info.data_offsets.1,
        );
        let tensor = read(&file.map[start..end], info.dtype, shape, dtype)
            .map_err(|message| Error::file(&file.path, format!("{name} {message}")))?;
        file.forget(start, end - start);
        self.unread.remove(name);
        Ok(tensor)
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&File, &TensorInfo)> {
        let Some(&index) = self.names.get(name) else {
            let path = self.files.first().map_or(Path::new(""), |file| &file.path);
            return Err(Error::file(
                path,
                format!("holds no tensor {name}, which config.json calls for"),
            ));
        };
        let file = &self.files[index];
        let info = file
            .metadata
            .info(name)
            .expect("names come from the metadata");
        if info.shape != shape {
            let message = format!(
                "{name} has shape {:?}, but config.json calls for {shape:?}",
                info.shape
            );
            return Err(Error::file(&file.path, message));
        }
        Ok((file, info))
    }

    /// Reads the elements `from .. from + len` of a matrix of a shape that must be `shape`, in f32.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(crate) fn take_part(
        &mut self,
        name: &str,
        shape: (usize, usize),
        from: usize,
        len: usize,
    ) -> Result<Vec<f32>> {
        let (file, info) = self.find(name, &[shape.0, shape.1])?;
        let width = (info.data_offsets.1 - info.data_offsets.0) / (shape.0 * shape.1).max(1);
        let start = 8 + file.header + info.data_offsets.0 + from * width;
        let bytes = &file.map[start..start + len * width];
        let part = read(bytes, info.dtype, &[len], DType::F32)
            .map_err(|message| Error::file(&file.path, format!("{name} {message}")))?;
        file.forget(start, len * width);
        self.unread.remove(name);
        Ok(part.to_vec1()?)
    }

    /// Shape of a tensor.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        let file = &self.files[*self.names.get(name)?];
        file.metadata.info(name).map(|info| info.shape.as_slice())
    }

    /// Type in which a tensor is stored.
    pub(crate) fn stored(&self, name: &str) -> Option<Dtype> {
        let file = &self.files[*self.names.get(name)?];
        file.metadata.info(name).map(|info| info.dtype)
    }

    /// A tensor's bytes as they stand in the file.
    pub(crate) fn bytes(&self, name: &str) -> Option<&[u8]> {
        let file = &self.files[*self.names.get(name)?];
        let (start, end) = file.metadata.info(name)?.data_offsets;
        file.map.get(8 + file.header + start..8 + file.header + end)
    }

    /// Whether two tensors are there and hold the same bytes.
    pub(crate) fn are_same(&self, one: &str, other: &str) -> bool {
        let same = self.stored(one) == self.stored(other)
            && self
                .bytes(one)
                .is_some_and(|bytes| self.bytes(other) == Some(bytes));
        for name in [one, other] {
            if let Some(&index) = self.names.get(name) {
                let file = &self.files[index];
                if let Some(info) = file.metadata.info(name) {
                    let (start, end) = info.data_offsets;
                    file.forget(8 + file.header + start, end - start);
                }
            }
        }
        same
    }

    /// Names of all tensors in the order of the files and of the data in them.
    pub(crate) fn names_in_order(&self) -> Vec<String> {
        let mut all = Vec::with_capacity(self.names.len());
        for file in &self.files {
            let mut names = file.metadata.offset_keys();
            names.sort_by_key(|name| file.metadata.info(name).map(|info| info.data_offsets));
            all.extend(names);
        }
        all
    }

    /// Names of all tensors.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.keys().map(String::as_str)
    }

    /// Fails where a tensor was never taken: what the model does not know of, it would compute without.
    ///
    /// # Errors
    /// Names the first of them, and its file.
    pub(crate) fn finish(self, ignored: impl Fn(&str) -> bool) -> Result<()> {
        match self.unread.iter().find(|name| !ignored(name)) {
            Some(name) => {
                let path = &self.files[self.names[name]].path;
                Err(Error::file(
                    path,
                    format!("holds {name}, which its config.json has no place for"),
                ))
            }
            None => Ok(()),
        }
    }
}

/// Whether a path ends as a Python pickle does.
pub(crate) fn is_pickle(path: &Path) -> bool {
    path.extension()
        .and_then(|ending| ending.to_str())
        .is_some_and(|ending| PICKLES.contains(&ending.to_ascii_lowercase().as_str()))
}

/// The refusal of a pickle.
pub(crate) fn refuse_pickle(path: &Path) -> Error {
    Error::file(
        path,
        "is a Python pickle, which can run code when it is opened; convert it to safetensors first (save_pretrained(..., safe_serialization=True))",
    )
}

fn read(bytes: &[u8], stored: Dtype, shape: &[usize], wanted: DType) -> Result<Tensor, String> {
    fn tensor<T: candle_core::WithDType>(data: Vec<T>, shape: &[usize]) -> Result<Tensor, String> {
        Tensor::from_vec(data, shape, &Device::Cpu).map_err(|error| error.to_string())
    }
    match (stored, wanted) {
        (Dtype::F32, DType::F32) => tensor(convert(bytes, f32::from_le_bytes), shape),
        (Dtype::F32, DType::BF16) => tensor(
            convert(bytes, |x| bf16::from_f32(f32::from_le_bytes(x))),
            shape,
        ),
        (Dtype::F32, DType::F16) => tensor(
            convert(bytes, |x| f16::from_f32(f32::from_le_bytes(x))),
            shape,
        ),
        (Dtype::BF16, DType::F32) => {
            tensor(convert(bytes, |x| bf16::from_le_bytes(x).to_f32()), shape)
        }
        (Dtype::BF16, DType::BF16) => tensor(convert(bytes, bf16::from_le_bytes), shape),
        (Dtype::BF16, DType::F16) => tensor(
            convert(bytes, |x| f16::from_f32(bf16::from_le_bytes(x).to_f32())),
            shape,
        ),
        (Dtype::F16, DType::F32) => {
            tensor(convert(bytes, |x| f16::from_le_bytes(x).to_f32()), shape)
        }
        (Dtype::F16, DType::BF16) => tensor(
            convert(bytes, |x| bf16::from_f32(f16::from_le_bytes(x).to_f32())),
            shape,
        ),
        (Dtype::F16, DType::F16) => tensor(convert(bytes, f16::from_le_bytes), shape),
        (Dtype::F64, DType::F32) => tensor(convert(bytes, |x| f64::from_le_bytes(x) as f32), shape),
        (stored, _) => Err(format!(
            "is of type {stored:?}; f32, f16 and bf16 are supported"
        )),
    }
}

fn convert<const N: usize, T: Send + Copy + Default>(
    bytes: &[u8],
    one: impl Fn([u8; N]) -> T + Sync,
) -> Vec<T> {
    let mut out = vec![T::default(); bytes.len() / N];
    const TASK: usize = 1 << 16;
    out.par_chunks_mut(TASK)
        .zip(bytes.par_chunks(TASK * N))
        .for_each(|(out, bytes)| {
            for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
                *out = one(*bytes);
            }
        });
    out
}

/// Little-endian bytes of a contiguous tensor as `dtype`.
pub(crate) fn to_bytes(tensor: &Tensor, dtype: DType) -> Result<Vec<u8>> {
    let values = crate::ops::widen(tensor)?;
    let (storage, layout) = values.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        return Err(Error::Compute("a tensor to save is not on the CPU".into()));
    };
    let values = crate::ops::storage::floats("save", storage, layout)?;
    Ok(match dtype {
        DType::BF16 => pack(values, |x| bf16::from_f32(x).to_le_bytes()),
        DType::F16 => pack(values, |x| f16::from_f32(x).to_le_bytes()),
        _ => pack(values, f32::to_le_bytes),
    })
}

fn pack<const N: usize>(values: &[f32], one: impl Fn(f32) -> [u8; N] + Sync) -> Vec<u8> {
    let mut out = vec![0u8; values.len() * N];
    const TASK: usize = 1 << 16;
    out.par_chunks_mut(TASK * N)
        .zip(values.par_chunks(TASK))
        .for_each(|(out, values)| {
            for (out, value) in out.as_chunks_mut::<N>().0.iter_mut().zip(values) {
                *out = one(*value);
            }
        });
    out
}

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
