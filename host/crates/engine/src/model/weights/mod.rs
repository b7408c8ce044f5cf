//! Safetensors files, one or sharded, read through a memory map; `write` makes them.

mod values;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use memmap2::{Mmap, UncheckedAdvice};
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use self::values::read;
pub(crate) use self::values::to_bytes;
pub(crate) use self::write::write;
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
