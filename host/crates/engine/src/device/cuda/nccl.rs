//! NCCL, which adds up the gradients of several GPUs: six functions of it, looked up when they are needed.
//!
//! Its calls wait for all processes, for ever where one is gone. So they are made without blocking (NCCL 2.14 and newer), and
//! what they came to is asked for, between looks at the connections to the other processes and within a time.
//!
//! cudarc binds NCCL too, but looks for libnccl.so alone, and what pip and the distributions install is libnccl.so.2.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use cudarc::driver::sys;
use libloading::Library;

use super::super::patience::wait;
use super::{Cuda, Peers, broken};
use crate::distributed::SILENCE;
use crate::{Error, Result};

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; ID]);
const ID: usize = 128;

type Comm = *mut c_void;
/// `ncclFloat32` and `ncclSum`.
const FLOAT32: c_int = 7;
const SUM: c_int = 0;
/// `ncclSuccess` and `ncclInProgress`.
const SUCCESS: c_int = 0;
const IN_PROGRESS: c_int = 7;

/// How long the GPUs of all processes may take to meet, once all processes are there. It takes seconds; many machines more.
const MEETING: Duration = Duration::from_secs(300);

/// `ncclConfig_t` of NCCL 2.14, which later ones take by its version, with what they added as they have it by default.
#[repr(C)]
struct Config {
    size: usize,
    magic: u32,
    version: u32,
    blocking: c_int,
    /// Later ones have a field here: not set.
    undefined: c_int,
}

impl Config {
    /// Of a group whose calls do not wait.
    fn without_blocking() -> Self {
        Self {
            size: size_of::<Self>(),
            magic: 0xcafe_beef,
            version: 21_400,
            blocking: 0,
            undefined: c_int::MIN,
        }
    }
}

/// The functions, as nccl.h declares them.
pub(super) struct Nccl {
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> c_int,
    comm_init_rank_config:
        unsafe extern "C" fn(*mut Comm, c_int, UniqueId, c_int, *mut Config) -> c_int,
    comm_get_async_error: unsafe extern "C" fn(Comm, *mut c_int) -> c_int,
    comm_abort: unsafe extern "C" fn(Comm) -> c_int,
    get_error_string: unsafe extern "C" fn(c_int) -> *const c_char,
    all_reduce: unsafe extern "C" fn(
        *const c_void,
        *mut c_void,
        usize,
        c_int,
        c_int,
        Comm,
        *mut c_void,
    ) -> c_int,
    /// The functions are its own.
    _library: Library,
}

/// The library, loaded once, or what is missing.
pub(super) fn library() -> &'static std::result::Result<Nccl, String> {
    static LIBRARY: OnceLock<std::result::Result<Nccl, String>> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        load("libnccl.so.2").or_else(|error| {
            load("libnccl.so").map_err(|_| {
                format!(
                    "NCCL cannot be loaded ({error}). Install libnccl2, or `pip install nvidia-nccl-cu13` and name the folder of \
                     libnccl.so.2 in LD_LIBRARY_PATH"
                )
            })
        })
    })
}

fn load(name: &str) -> std::result::Result<Nccl, String> {
    // SAFETY: NVIDIA's library; its initializers do no more than set it up. The types are nccl.h's.
    unsafe {
        let library = Library::new(name).map_err(|error| error.to_string())?;
        let missing = |error: libloading::Error| format!("{name}: {error}");
        Ok(Nccl {
            get_unique_id: *library.get(b"ncclGetUniqueId\0").map_err(missing)?,
            comm_init_rank_config: *library.get(b"ncclCommInitRankConfig\0").map_err(missing)?,
            comm_get_async_error: *library.get(b"ncclCommGetAsyncError\0").map_err(missing)?,
            comm_abort: *library.get(b"ncclCommAbort\0").map_err(missing)?,
            get_error_string: *library.get(b"ncclGetErrorString\0").map_err(missing)?,
            all_reduce: *library.get(b"ncclAllReduce\0").map_err(missing)?,
            _library: library,
        })
    }
}

fn loaded() -> Result<&'static Nccl> {
    library()
        .as_ref()
        .map_err(|missing| Error::Compute(missing.clone()))
}

impl Nccl {
    /// Whether what a group was last asked for is done.
    fn is_done(&self, comm: Comm, what: &str) -> Result<bool> {
        let mut state = SUCCESS;
        // SAFETY: the handle is live, and the pointer is to a live number.
        let code = unsafe { (self.comm_get_async_error)(comm, &raw mut state) };
        self.begun(code, what)?;
        self.begun(state, what)?;
        Ok(state == SUCCESS)
    }

    /// Fails where a call did; one that goes on has not.
    fn begun(&self, code: c_int, what: &str) -> Result<()> {
        if code == SUCCESS || code == IN_PROGRESS {
            return Ok(());
        }
        // SAFETY: NCCL has a text that lives for ever for each of its codes.
        let words = unsafe {
            let text = (self.get_error_string)(code);
            match text.is_null() {
                true => "unknown fault".into(),
                false => CStr::from_ptr(text).to_string_lossy(),
            }
        };
        Err(Error::Compute(format!(
            "NCCL cannot {what}: {words}. NCCL_DEBUG=INFO in the environment makes it say more"
        )))
    }
}

/// The GPUs of all processes, as this one sees them; null once given up.
pub(super) struct Communicator(AtomicPtr<c_void>);

impl Communicator {
    /// Ends sums that are under way, too. An orderly end would wait for processes that may be gone.
    fn give_up(&self) {
        let comm = self.0.swap(std::ptr::null_mut(), Ordering::AcqRel);
        if let (false, Ok(nccl)) = (comm.is_null(), library()) {
            // SAFETY: whoever took the handle is the only one that has it.
            let _ = unsafe { (nccl.comm_abort)(comm) };
        }
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        self.give_up();
    }
}

impl Cuda {
    /// Whether all that was started on the stream is done.
    fn is_idle(&self) -> Result<bool> {
        // SAFETY: the stream is live.
        match unsafe { sys::cuStreamQuery(self.stream) } {
            sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
            status => match status.result() {
                Ok(()) => Ok(true),
                Err(error) => Err(broken("compute", error)),
            },
        }
    }
}

impl Peers for Cuda {
    fn invite(&self) -> Result<Vec<u8>> {
        let nccl = loaded()?;
        let mut id = UniqueId([0; ID]);
        // SAFETY: the pointer is to a live id.
        let code = unsafe { (nccl.get_unique_id)(&raw mut id) };
        nccl.begun(code, "make an id")?;
        Ok(id.0.to_vec())
    }

    fn join(
        &self,
        invitation: &[u8],
        rank: usize,
        size: usize,
        look: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        const WHAT: &str = "bring the GPUs of all processes together";
        let nccl = loaded()?;
        self.current()?;
        let id: [u8; ID] = invitation
            .try_into()
            .map_err(|_| Error::Peer("process rank 0 sent no id of NCCL".into()))?;
        let mut comm: Comm = std::ptr::null_mut();
        let mut config = Config::without_blocking();
        let (ranks, rank) = (size as c_int, rank as c_int);
        // SAFETY: the context is current, and the pointers are to a live handle and a live config.
        let code = unsafe {
            (nccl.comm_init_rank_config)(&raw mut comm, ranks, UniqueId(id), rank, &raw mut config)
        };
        // Given up when it is dropped, whatever it was about to do.
        let group = Communicator(AtomicPtr::new(comm));
        nccl.begun(code, WHAT)?;
        wait(
            || nccl.is_done(comm, WHAT),
            look,
            MEETING,
            || {
                Error::Peer(format!(
                    "NCCL did not {WHAT} within {} s, though all {size} processes are there: let their machines reach each other \
                 on every port, and name the network in NCCL_SOCKET_IFNAME where they have several; NCCL_DEBUG=INFO in the \
                 environment makes NCCL say more",
                    MEETING.as_secs()
                ))
            },
        )?;
        // A second group would be another run's, which has a machine of its own.
        let _ = self.group.set(group);
        Ok(())
    }

    fn joined(&self) -> bool {
        self.group.get().is_some()
    }

    unsafe fn sum(&self, at: u64, len: usize, look: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        const WHAT: &str = "add up the gradients";
        let nccl = loaded()?;
        self.current()?;
        let Some(group) = self.group.get() else {
            return Err(Error::Compute("this GPU has met no others".into()));
        };
        let comm = group.0.load(Ordering::Acquire);
        if comm.is_null() {
            return Err(Error::Compute("this GPU has left the others".into()));
        }
        // SAFETY: promised by the caller; the stream orders this behind what fills the memory.
        let code = unsafe {
            (nccl.all_reduce)(
                at as *const c_void,
                at as *mut c_void,
                len,
                FLOAT32,
                SUM,
                comm,
                self.stream.cast(),
            )
        };
        // First it is started, then it runs.
        let done = || Ok(nccl.is_done(comm, WHAT)? && self.is_idle()?);
        let late = || {
            Error::Peer(format!(
                "NCCL did not {WHAT} within {} s: look whether the machines of all processes are up, and start all processes \
                 again with --resume",
                SILENCE.as_secs()
            ))
        };
        let summed = nccl
            .begun(code, WHAT)
            .and_then(|()| wait(done, look, SILENCE, late));
        if summed.is_err() {
            group.give_up();
        }
        summed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nccl.h of NCCL 2.14 lays it out; later ones read as many bytes as it says that it has.
    #[test]
    fn a_group_is_asked_for_by_the_first_layout_that_does_not_block() {
        let config = Config::without_blocking();
        assert_eq!(std::mem::offset_of!(Config, blocking), 16);
        assert_eq!((config.size, config.blocking), (24, 0));
    }

    #[test]
    fn without_nccl_the_sentence_says_what_to_install() {
        if let Err(missing) = library() {
            assert!(
                missing.contains("pip install nvidia-nccl-cu13"),
                "{missing}"
            );
        }
    }
}
