use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{About, Settings};

/// A plugin that turns JSON into JSON and is nothing else.
pub trait Tool: Sized {
    /// What it says of itself.
    const ABOUT: About;
    /// JSON Schema (draft 2020-12) of the input, an object; the web page makes its form from it.
    const INPUT_SCHEMA: &'static str;
    /// JSON Schema of the answer; the host refuses what does not fit.
    const OUTPUT_SCHEMA: &'static str;
    /// The input; `serde_json::Value` takes any.
    type Input: DeserializeOwned;
    /// The answer.
    type Output: Serialize;

    /// Made once for each instance.
    ///
    /// # Errors
    /// One sentence that names the setting.
    fn new(settings: &Settings) -> Result<Self, String>;

    /// Looks at an input beyond what a schema can say.
    ///
    /// # Errors
    /// One sentence that names the field.
    fn check(_input: &Self::Input) -> Result<(), String> {
        Ok(())
    }

    /// Does the work.
    ///
    /// # Errors
    /// One sentence for the user.
    fn execute(&self, input: Self::Input) -> Result<Self::Output, String>;
}
