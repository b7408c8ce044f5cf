use crate::{About, Settings};

/// One text that a model wrote, and what it was asked.
#[derive(Debug, Clone, Default)]
pub struct Completion {
    /// What the model was given.
    pub prompt: String,
    /// What it wrote after it.
    pub text: String,
    /// What it should have written, where somebody knows.
    pub reference: Option<String>,
    /// The language by name, where it is known.
    pub language: Option<String>,
}

/// One score.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// A word.
    pub name: &'static str,
    /// From 0, the worst, to 1, the best.
    pub value: f64,
    /// One sentence that says why; may be empty.
    pub reason: String,
}

/// A plugin that scores what a model wrote.
pub trait Scorer: Sized {
    /// What it says of itself.
    const ABOUT: About;

    /// Made once for each instance.
    ///
    /// # Errors
    /// One sentence that names the setting.
    fn new(settings: &Settings) -> Result<Self, String>;

    /// Scores one completion, always with the same names in the same order.
    ///
    /// # Errors
    /// One sentence why this completion cannot be scored.
    fn score(&self, completion: &Completion) -> Result<Vec<Score>, String>;
}
