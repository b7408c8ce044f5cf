//! Where pieces of syntax stand that a person would ask for as a whole: what an editor's completion writes into a gap.

mod grammar;
mod javascript;
mod python;
mod rust;

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PieceKind {
    /// What a function does: all between its braces, in Python all behind a docstring.
    Body,
    /// What stands between the braces of anything else, or under a line that ends with a colon.
    Block,
    /// A statement or a declaration, with its semicolon.
    Statement,
    /// More than a name or one value.
    Expression,
    /// What a call is given, without the parentheses.
    Arguments,
}

/// A stretch of a text, in bytes; no white space stands at its ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// See there.
    pub kind: PieceKind,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Every piece of a text, in no order that means anything; none where there is no parser for the language, or its parser
/// cannot read the text. Grammars of tree-sitter go on behind an error: what holds one is no piece.
///
/// `language` is one of [`LANGUAGES`](crate::LANGUAGES), `path` is empty where it is not known.
pub fn pieces(text: &str, language: &str, path: &str) -> Option<Vec<Piece>> {
    // The parsers count in 32 bits.
    u32::try_from(text.len()).ok()?;
    // Not every parser counts a byte order mark.
    let code = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut found = Found {
        code,
        before: text.len() - code.len(),
        pieces: Vec::new(),
    };
    match language {
        "python" => python::find(&mut found)?,
        "rust" => rust::find(&mut found)?,
        "javascript" | "jsx" | "typescript" | "tsx" => {
            javascript::find(&mut found, language, path)?;
        }
        language => grammar::find(&mut found, language)?,
    }
    Some(found.pieces)
}

struct Found<'a> {
    code: &'a str,
    /// Bytes of the text before the code.
    before: usize,
    pieces: Vec<Piece>,
}

impl Found<'_> {
    fn add(&mut self, kind: PieceKind, start: usize, end: usize) {
        let Some(piece) = self.code.get(start..end) else {
            return;
        };
        let start = self.before + start + (piece.len() - piece.trim_start().len());
        let end = start + piece.trim().len();
        if start < end {
            self.pieces.push(Piece { kind, start, end });
        }
    }

    /// Without the marks of one byte at both ends.
    fn add_inner(&mut self, kind: PieceKind, start: usize, end: usize) {
        self.add(kind, start + 1, end.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests;
