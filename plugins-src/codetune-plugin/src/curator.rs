use crate::{About, Settings};

/// One text of a sample.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which field of the row it is.
    pub name: String,
    /// Its whole text.
    pub text: String,
    /// Whether the model learns to write it.
    pub learned: bool,
}

/// One row of a dataset.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Its texts, in the order in which the model reads them.
    pub parts: Vec<Part>,
    /// The file that it came from, where it is known.
    pub path: Option<String>,
    /// The language by name, where it is known.
    pub language: Option<String>,
}

/// Why a sample is dropped or rewritten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// A word to count by.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

/// A stretch of one part, in bytes, and what takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Which part, from 0.
    pub part: usize,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// What to put there.
    pub replacement: String,
}

/// What is to become of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It stays as it is.
    Keep,
    /// It goes.
    Drop(Reason),
    /// It stays with these edits, in order and not overlapping.
    Rewrite(Vec<Edit>, Vec<Reason>),
}

/// What a plugin says of one sample.
#[derive(Debug, Clone)]
pub struct Verdict {
    /// What is to become of it.
    pub decision: Decision,
    /// Names and finite numbers.
    pub scores: Vec<(&'static str, f64)>,
    /// What was hashed and how, and the minima.
    pub signature: Option<(String, Vec<u32>)>,
}

impl Verdict {
    /// The sample stays.
    pub fn keep() -> Self {
        Self {
            decision: Decision::Keep,
            scores: Vec::new(),
            signature: None,
        }
    }

    /// The sample goes.
    pub fn drop(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            decision: Decision::Drop(Reason {
                code,
                message: message.into(),
            }),
            ..Self::keep()
        }
    }
}

/// A plugin that decides what goes into a dataset.
pub trait Curator: Sized {
    /// What it says of itself.
    const ABOUT: About;

    /// Made once for each instance.
    ///
    /// # Errors
    /// One sentence that names the setting.
    fn new(settings: &Settings) -> Result<Self, String>;

    /// Judges one sample; the same sample always gets the same verdict.
    ///
    /// # Errors
    /// One sentence why this sample cannot be judged.
    fn curate(&self, sample: &Sample) -> Result<Verdict, String>;
}
