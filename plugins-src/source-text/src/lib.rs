//! What every plugin that reads source needs: which language a text is in, the code in an answer, runs of bytes of a kind.
//!
//! No parsing; see `language` for the table and `detect` for the order in which evidence counts.

mod comments;
mod detect;
mod fences;
mod language;
mod runs;

pub use comments::comment_characters;
pub use detect::{by_content, detect, interpreter, language_of};
pub use fences::fences;
pub use language::{Comments, LANGUAGES, Language, by_extension, by_name};
pub use runs::{Kind, long_runs, run_around};
