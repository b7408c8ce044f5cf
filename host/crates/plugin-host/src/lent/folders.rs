//! Granted folders, as preopened directories that can only be read: `corpus` is `/corpus`. What is read is counted.

use domain::Capability;
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::filesystem::{Descriptor, WasiFilesystemView};
use wasmtime_wasi::p2::bindings::filesystem::preopens::Host as _;
use wasmtime_wasi::p2::bindings::sync::filesystem::types::{
    DescriptorFlags, DescriptorType, ErrorCode, HostDescriptor, OpenFlags, PathFlags,
};
use wasmtime_wasi::p2::{
    DynInputStream, FsError, InputStream, Pollable, StreamError, StreamResult,
};
use wasmtime_wasi::{FsPerms, WasiCtxBuilder, WasiView};
use wasmtime_wasi_io::bytes::Bytes;

use std::sync::Arc;

use super::{Ledger, Lent};
use crate::call::CallState;

/// Opens the granted folders.
///
/// A folder that is gone is left out: the plugin sees that it is not there, and the log says why.
pub(crate) fn preopen(builder: &mut WasiCtxBuilder, lent: &Lent, log: &crate::log::CallLog) {
    let lending = &lent.lending;
    if !lending.allows(Capability::Folders) {
        return;
    }
    for (name, path) in &lending.grants.folders {
        if let Err(error) = builder.preopened_dir(path, format!("/{name}"), FsPerms::ReadOnly) {
            log.write(
                format!("warn: the granted folder {name} cannot be opened: {error}\n").as_bytes(),
            );
        }
    }
}

/// An input stream whose bytes are counted and bounded.
struct Counted {
    inner: DynInputStream,
    ledger: Arc<Ledger>,
    folder: String,
}

impl Counted {
    fn count(&self, bytes: Bytes) -> StreamResult<Bytes> {
        count(&self.ledger, &self.folder, bytes.len())
            .map(|()| bytes)
            .map_err(|message| StreamError::LastOperationFailed(wasmtime::Error::msg(message)))
    }
}

fn count(ledger: &Ledger, folder: &str, bytes: usize) -> Result<(), &'static str> {
    if !ledger.take_read(bytes as u64) {
        ledger.refuse(Capability::Folders, folder);
        return Err("more was read from folders than limits.lent_bytes allows");
    }
    ledger.note_bytes(Capability::Folders, folder, bytes as u64);
    Ok(())
}

#[wasmtime_wasi::async_trait]
impl InputStream for Counted {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.read(size)?;
        self.count(bytes)
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        let bytes = self.inner.blocking_read(size).await?;
        self.count(bytes)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Counted {
    async fn ready(&mut self) {
        self.inner.ready().await;
    }
}

type State<'a> = StoreContextMut<'a, CallState>;

/// Puts the counting between; `wasi:filesystem` must be linked before.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    linker
        .instance("wasi:filesystem/preopens@0.2.12")?
        .func_wrap("get-directories", |mut store: State<'_>, (): ()| {
            let state = store.data_mut();
            let found = state.filesystem().get_directories()?;
            if let Some(lent) = &mut state.lent {
                for (descriptor, path) in &found {
                    let name = path.trim_start_matches('/').to_owned();
                    lent.folders.insert(descriptor.rep(), name);
                }
            }
            Ok((found,))
        })?;
    let mut types = linker.instance("wasi:filesystem/types@0.2.12")?;
    types.func_wrap(
        "[method]descriptor.open-at",
        |mut store: State<'_>,
         (folder, path_flags, path, open_flags, flags): (
            Resource<Descriptor>,
            PathFlags,
            String,
            OpenFlags,
            DescriptorFlags,
        )| {
            let opened = store
                .data_mut()
                .open(folder, path_flags, path, open_flags, flags);
            Ok((code(opened)?,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read-via-stream",
        |mut store: State<'_>, (file, offset): (Resource<Descriptor>, u64)| {
            let state = store.data_mut();
            let rep = file.rep();
            let stream = code(state.filesystem().read_via_stream(file, offset))?;
            if let (Ok(stream), Some(lent)) = (&stream, &state.lent) {
                let counted = (Arc::clone(&lent.ledger), lent.folder(rep));
                let table = state.ctx().table;
                let inner = table.get_mut(stream)?;
                let closed: DynInputStream = Box::new(wasmtime_wasi::p2::pipe::ClosedInputStream);
                let (ledger, folder) = counted;
                let inner = std::mem::replace(inner, closed);
                *table.get_mut(stream)? = Box::new(Counted {
                    inner,
                    ledger,
                    folder,
                });
            }
            Ok((stream,))
        },
    )?;
    types.func_wrap(
        "[method]descriptor.read",
        |mut store: State<'_>, (file, length, offset): (Resource<Descriptor>, u64, u64)| {
            let state = store.data_mut();
            let rep = file.rep();
            let mut read = code(state.filesystem().read(file, length, offset))?;
            if let (Ok((bytes, _)), Some(lent)) = (&read, &state.lent)
                && count(&lent.ledger, &lent.folder(rep), bytes.len()).is_err()
            {
                read = Err(ErrorCode::Quota);
            }
            Ok((read,))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl Lent {
    fn folder(&self, rep: u32) -> String {
        self.folders.get(&rep).cloned().unwrap_or_default()
    }
}

impl CallState {
    /// Opens files and folders, and nothing else: a pipe or a device would hold the thread until somebody writes to it.
    fn open(
        &mut self,
        folder: Resource<Descriptor>,
        path_flags: PathFlags,
        path: String,
        open_flags: OpenFlags,
        flags: DescriptorFlags,
    ) -> Result<Resource<Descriptor>, FsError> {
        let parent = folder.rep();
        let mut files = self.filesystem();
        let borrowed = Resource::new_borrow(parent);
        let found = files.stat_at(borrowed, path_flags, path.clone())?;
        if !matches!(
            found.type_,
            DescriptorType::RegularFile | DescriptorType::Directory
        ) {
            return Err(
                wasmtime_wasi::p2::bindings::filesystem::types::ErrorCode::NotPermitted.into(),
            );
        }
        let opened = files.open_at(folder, path_flags, path, open_flags, flags)?;
        if let Some(lent) = &mut self.lent {
            let name = lent.folder(parent);
            if found.type_ == DescriptorType::RegularFile {
                lent.ledger.note(Capability::Folders, &name, 0, 0);
            }
            lent.folders.insert(opened.rep(), name);
        }
        Ok(opened)
    }
}

/// The contract's word for a fault; a fault of the host itself ends the call.
fn code<T>(result: Result<T, FsError>) -> wasmtime::Result<Result<T, ErrorCode>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error) => Ok(Err(error.downcast()?.into())),
    }
}
