//! The log of one call: what the plugin writes through `log`, standard output and standard error.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi_io::bytes::Bytes;

use crate::lent::secrets::Secrets;
use crate::sanitize;

/// A bounded text that several writers share. What goes over the bound is dropped and said once.
#[derive(Debug, Clone)]
pub(crate) struct CallLog {
    inner: Arc<Mutex<Inner>>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Inner {
    text: Vec<u8>,
    dropped: bool,
}

impl CallLog {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            inner: Arc::default(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends what fits.
    pub(crate) fn write(&self, bytes: &[u8]) {
        let mut inner = self.inner();
        let room = self.limit.saturating_sub(inner.text.len());
        inner.dropped |= bytes.len() > room;
        let fits = bytes.len().min(room);
        inner.text.extend_from_slice(&bytes[..fits]);
    }

    /// The text, without control characters and secrets.
    pub(crate) fn take(&self, secrets: &Secrets) -> String {
        let mut inner = self.inner();
        if inner.text.is_empty() && !inner.dropped {
            return String::new();
        }
        let mut text = String::from_utf8_lossy(&inner.text).into_owned();
        sanitize::string(&mut text);
        secrets.hide(&mut text);
        if inner.dropped {
            secrets.hide_to_the_end(&mut text);
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text.push_str(&format!("… the log is cut at {} bytes\n", self.limit));
        }
        *inner = Inner::default();
        text
    }
}

/// Standard output and error: always ready, never full, so that a flood costs the plugin its own fuel and nobody else
/// anything.
impl OutputStream for CallLog {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        CallLog::write(self, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(4096)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for CallLog {
    async fn ready(&mut self) {}
}

impl IsTerminal for CallLog {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for CallLog {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only WASI 0.3 asks for this, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::{CallLog, Secrets};

    #[test]
    fn a_flood_is_cut_and_says_so() {
        let log = CallLog::new(10);
        log.write(b"12345\n");
        log.write(b"67890\n");
        log.write(b"more\n");
        let log = log.take(&Secrets::default());
        assert_eq!(log, "12345\n6789\n… the log is cut at 10 bytes\n");
    }

    #[test]
    fn nothing_written_is_nothing() {
        assert_eq!(CallLog::new(10).take(&Secrets::default()), "");
    }
}
