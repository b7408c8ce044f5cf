//! Memory and tables of one call, summed over everything that the component instantiates.

use domain::PluginLimits;
use wasmtime::ResourceLimiter;

/// Core instances, memories and tables of one component.
const MAX_INSTANCES: usize = 64;
const MAX_MEMORIES: usize = 16;
const MAX_TABLES: usize = 32;

/// Sums what wasmtime asks about memory by memory: its own `StoreLimits` bounds each one alone, so that three memories
/// of 40 MiB pass a limit of 64 MiB.
#[derive(Debug)]
pub(crate) struct Limiter {
    limits: PluginLimits,
    memory: u64,
    peak_memory: u64,
    table: u64,
    last_growth: u64,
    /// What was asked for when it was refused.
    pub(crate) refused: Option<Refused>,
}

/// A growth that the limits did not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Bytes of all memories together.
    Memory(u64),
    /// Elements of all tables together.
    Table(u64),
}

impl Limiter {
    pub(crate) fn new(limits: PluginLimits) -> Self {
        Self {
            limits,
            memory: 0,
            peak_memory: 0,
            table: 0,
            last_growth: 0,
            refused: None,
        }
    }

    /// Largest sum of the memories so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        self.peak_memory
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current) as u64;
        let wanted = self.memory.saturating_add(growth);
        if wanted > self.limits.memory_bytes {
            self.refused = Some(Refused::Memory(wanted));
            return Ok(false);
        }
        self.memory = wanted;
        self.peak_memory = self.peak_memory.max(wanted);
        self.last_growth = growth;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // Also called after a refusal, which added nothing.
        if self.refused.is_none() {
            self.memory = self.memory.saturating_sub(self.last_growth);
        }
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let wanted = self
            .table
            .saturating_add(desired.saturating_sub(current) as u64);
        if wanted > self.limits.table_elements {
            self.refused = Some(Refused::Table(wanted));
            return Ok(false);
        }
        self.table = wanted;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}

#[cfg(test)]
mod tests {
    use domain::PluginLimits;
    use wasmtime::ResourceLimiter;

    use super::{Limiter, Refused};

    #[test]
    fn memories_are_summed() {
        let limits = PluginLimits {
            memory_bytes: 64 << 20,
            ..PluginLimits::default()
        };
        let mut limiter = Limiter::new(limits);
        assert!(limiter.memory_growing(0, 40 << 20, None).unwrap());
        assert!(!limiter.memory_growing(0, 40 << 20, None).unwrap());
        assert_eq!(limiter.refused, Some(Refused::Memory(80 << 20)));
        assert_eq!(limiter.peak_memory(), 40 << 20);
    }
}
