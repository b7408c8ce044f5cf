//! Python, JavaScript, TypeScript and Rust by parsers of their own, Go, Java, C, C++ and shell by tree-sitter: functions, classes, imports, cyclomatic complexity and syntax errors.
//! What counts as what stands at the head of each language's file; plugins that need a parser share this.

mod analysis;
mod grammar;
mod javascript;
#[cfg(feature = "pieces")]
mod pieces;
mod python;
mod report;
mod rust;
mod snippet;

pub use analysis::{LANGUAGES, analyze, language_of};
#[cfg(feature = "pieces")]
pub use pieces::{Piece, PieceKind, pieces};
pub use report::{DEFAULT_MAX_COMPLEXITY, Finding, Function, Report, Severity};
pub use snippet::syntax_errors;
