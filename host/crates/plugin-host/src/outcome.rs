//! From what the engine says to a word and a sentence.

use domain::PluginLimits;
use wasmtime::Trap;
use wasmtime_wasi::I32Exit;

use crate::limiter::Refused;

/// How a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// A word to branch on.
    pub(crate) code: &'static str,
    /// A sentence.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Whether the plugin fell over, rather than said no: such faults count towards its rest.
    pub(crate) fn is_trap(&self) -> bool {
        is_trap(self.code)
    }
}

/// The same of a failure's word.
pub(crate) fn is_trap(code: &str) -> bool {
    !matches!(code, "invalid_input" | "plugin_error")
}

/// What ended a call early.
pub(crate) fn failure(
    error: &wasmtime::Error,
    refused: Option<Refused>,
    limits: &PluginLimits,
    log: &str,
) -> Failure {
    let trap = error.downcast_ref::<Trap>();
    match trap {
        Some(Trap::OutOfFuel) => {
            return Failure::new(
                "fuel",
                format!("used up its fuel of {} (limits.fuel)", limits.fuel),
            );
        }
        Some(Trap::Interrupt) => {
            return Failure::new(
                "deadline",
                format!("took longer than {} ms (limits.time_ms)", limits.time_ms),
            );
        }
        Some(Trap::StackOverflow) => {
            return Failure::new(
                "stack",
                "ran out of stack; the input is nested too deeply for it",
            );
        }
        _ => {}
    }
    // A refused growth is an answer that most guests turn into a trap.
    match refused {
        Some(Refused::Memory(wanted)) => {
            return Failure::new(
                "memory",
                format!(
                    "asked for {} of memory in all; it may have {} (limits.memory_bytes)",
                    bytes(wanted),
                    bytes(limits.memory_bytes)
                ),
            );
        }
        Some(Refused::Table(wanted)) => {
            return Failure::new(
                "table",
                format!(
                    "asked for {wanted} table elements in all; it may have {} (limits.table_elements)",
                    limits.table_elements
                ),
            );
        }
        None => {}
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return Failure::new("exit", format!("ended itself with exit code {}", exit.0));
    }
    let text = format!("{error:#}");
    if text.contains("fuel allocated for hostcalls has been exhausted") {
        return Failure::new(
            "output",
            format!(
                "returned more than {} (limits.output_bytes)",
                bytes(limits.output_bytes)
            ),
        );
    }
    // Rust says on standard error why it panicked, then executes `unreachable`.
    if let Some(panic) = panic_message(log) {
        return Failure::new("panic", format!("panicked: {panic}"));
    }
    match trap {
        Some(trap) => Failure::new("trap", format!("trapped: {trap}")),
        None => Failure::new(
            "trap",
            format!("trapped: {}", text.lines().next().unwrap_or(&text)),
        ),
    }
}

/// The line after Rust's `thread '…' panicked at …:`.
fn panic_message(log: &str) -> Option<&str> {
    let mut lines = log.lines().skip_while(|line| !line.contains("panicked at"));
    let head = lines.next()?;
    Some(
        lines
            .next()
            .filter(|line| !line.trim().is_empty())
            .unwrap_or(head),
    )
}

/// `256 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match UNITS.iter().find(|(_, size)| count >= *size) {
        Some((unit, size)) if count.is_multiple_of(*size) => format!("{} {unit}", count / size),
        Some((unit, size)) => format!("{:.1} {unit}", count as f64 / *size as f64),
        None => format!("{count} bytes"),
    }
}
