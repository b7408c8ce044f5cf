//! What every plugin that reads source needs: which language a text is in, and where in it a byte stands.
//!
//! No parsing; see `language` for the table and `detect` for the order in which evidence counts.

mod comments;
mod detect;
mod language;
mod position;

pub use comments::comment_characters;
pub use detect::detect;
pub use language::{Comments, LANGUAGES, Language, by_extension, by_name};
pub use position::{LineIndex, Position};
