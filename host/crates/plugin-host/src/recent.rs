//! The inputs of late, which a new version of the plugin is tried on. In memory alone: they are users' code.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use domain::{Completion, Sample, SourceFile};

/// Inputs that are kept.
const MOST: usize = 50;
/// Largest one.
const MOST_BYTES: usize = 64 << 10;

/// What a plugin was given.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    /// JSON for the tool.
    Tool(String),
    /// A file for the analyzer.
    File(SourceFile),
    /// A sample for the curator.
    Sample(Sample),
    /// A completion for the scorer.
    Completion(Completion),
}

/// The newest inputs; all versions of a plugin share them.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    inputs: Mutex<VecDeque<Arc<Input>>>,
}

impl Recent {
    /// Keeps the tool's input, which is there already and would be thrown away.
    pub(crate) fn push_tool(&self, text: String) {
        if text.len() <= MOST_BYTES {
            self.push(Input::Tool(text));
        }
    }

    /// Keeps the first item of a batch; copying all of them would cost every call.
    pub(crate) fn push_first<T: Clone>(
        &self,
        items: &[T],
        bytes: impl Fn(&T) -> usize,
        input: impl Fn(T) -> Input,
    ) {
        if let Some(first) = items.first().filter(|first| bytes(first) <= MOST_BYTES) {
            self.push(input(first.clone()));
        }
    }

    fn push(&self, input: Input) {
        let mut inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        if inputs.len() >= MOST {
            inputs.pop_front();
        }
        inputs.push_back(Arc::new(input));
    }

    /// All of them, the oldest first.
    pub(crate) fn all(&self) -> Vec<Arc<Input>> {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.iter().cloned().collect()
    }
}
