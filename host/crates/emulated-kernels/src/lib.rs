//! The engine's CUDA kernels, compiled for the processor: the same source, with fibers for a block's threads.
//!
//! For tests alone: what a kernel computes and how its threads work together is held to the CPU's ops where there is no
//! GPU. Nothing is seen here of speed, of what two warps do to the same memory at once, or of NVIDIA's compiler.
//! Start reading at `emulated.h`.

use std::ffi::{CStr, c_char, c_int, c_void};

/// What the elements of activations and weights are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element {
    /// 32 bits.
    F32,
    /// 16 bits.
    Bf16,
}

/// A launch as the C++ side takes it.
#[repr(C)]
struct Launch {
    grid: *const u32,
    block: u32,
    shared: u64,
    arguments: *const *mut c_void,
    sizes: *const u64,
    count: c_int,
}

unsafe extern "C" {
    fn emulated_launch_f32(name: *const c_char, launch: *const Launch) -> c_int;
    fn emulated_launch_bf16(name: *const c_char, launch: *const Launch) -> c_int;
}

/// Runs a kernel to its end; false where there is none of that name, the grid cannot be one, or the arguments are not as
/// many and as large as its parameters. `sizes` has the bytes of each.
///
/// # Safety
/// `arguments` point to values of the kernel's parameters, in order, and what these point to is as large as it needs.
pub unsafe fn launch(
    name: &CStr,
    element: Element,
    grid: [u32; 2],
    block: u32,
    shared: usize,
    arguments: &[*mut c_void],
    sizes: &[u64],
) -> bool {
    let run = match element {
        Element::F32 => emulated_launch_f32,
        Element::Bf16 => emulated_launch_bf16,
    };
    let launch = Launch {
        grid: grid.as_ptr(),
        block,
        shared: shared as u64,
        arguments: arguments.as_ptr(),
        sizes: sizes.as_ptr(),
        count: arguments.len().min(sizes.len()) as c_int,
    };
    // SAFETY: promised by the caller.
    unsafe { run(name.as_ptr(), &launch) != 0 }
}
