//! What every plugin that reads source needs: which language a text is in.
//!
//! No parsing; see `language` for the table and `detect` for the order in which evidence counts.

mod comments;
mod detect;
mod language;

pub use comments::comment_characters;
pub use detect::{detect, language_of};
pub use language::{Comments, LANGUAGES, Language, by_extension, by_name};
