//! The C library's allocator, told to keep what a step frees for the next step.

use std::sync::Once;

/// Keeps freed memory in the process instead of giving every tensor back to the system, page by page.
///
/// A step allocates and frees the same few hundred tensors again and again; by default each above 128 KiB is mapped
/// anew, and its pages are faulted in and zeroed one by one. Once a process.
pub(crate) fn keep_freed_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        #[cfg(all(target_os = "linux", target_env = "gnu"))]
        {
            const LARGEST: libc::c_int = 32 << 20;
            // SAFETY: mallopt only sets numbers of the allocator; it may be called at any time.
            unsafe {
                libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
                libc::mallopt(libc::M_TRIM_THRESHOLD, 1 << 30);
                libc::mallopt(libc::M_TOP_PAD, 64 << 20);
                libc::mallopt(libc::M_ARENA_MAX, 1);
            }
        }
    });
}

/// Most memory that this process has held, in bytes; 0 where the system does not say.
pub(crate) fn peak_rss_bytes() -> u64 {
    #[cfg(unix)]
    {
        // SAFETY: `rusage` is plain numbers, for which zeros are valid.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a live `rusage`.
        if unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } == 0 {
            let unit = if cfg!(target_os = "linux") { 1024 } else { 1 };
            return usage.ru_maxrss.unsigned_abs() * unit;
        }
    }
    0
}
