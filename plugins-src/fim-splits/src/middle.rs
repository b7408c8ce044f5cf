//! Which stretch of a text becomes the middle.

use draws::Random;
use serde::Deserialize;
use source_parsers::{Piece, PieceKind, pieces};

/// A middle has so many characters that are no white space; less is not worth a question.
const SHORTEST: usize = 3;
/// Lines that are drawn together.
const MOST_LINES: u64 = 8;

/// What may become a middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Span {
    Body,
    Block,
    Statement,
    Expression,
    Arguments,
    Line,
}

impl Span {
    /// All of them, in the order in which they are drawn from.
    pub(crate) const ALL: [Self; 6] = [
        Self::Body,
        Self::Block,
        Self::Statement,
        Self::Expression,
        Self::Arguments,
        Self::Line,
    ];

    /// What rewritten samples are counted by, and how the middle is called.
    pub(crate) fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Body => ("fim-body", "a function's body"),
            Self::Block => ("fim-block", "a block"),
            Self::Statement => ("fim-statement", "a statement"),
            Self::Expression => ("fim-expression", "an expression"),
            Self::Arguments => ("fim-arguments", "a call's arguments"),
            Self::Line => ("fim-line", "whole lines"),
        }
    }

    fn is_of(self, kind: PieceKind) -> bool {
        let of_kind = match kind {
            PieceKind::Body => Self::Body,
            PieceKind::Block => Self::Block,
            PieceKind::Statement => Self::Statement,
            PieceKind::Expression => Self::Expression,
            PieceKind::Arguments => Self::Arguments,
        };
        self == of_kind
    }
}

/// A stretch of a text, in bytes.
pub(crate) struct Middle {
    pub(crate) span: Span,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A text and the bound that its middle keeps.
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    pub(crate) language: &'static str,
    pub(crate) path: &'a str,
    /// In characters.
    pub(crate) longest: usize,
}

impl Source<'_> {
    /// First a kind is drawn of those that the text has, then one of that kind: expressions are many, bodies are few. Where
    /// nothing reads the text it is lines, whatever was asked for. None where nothing fits.
    pub(crate) fn draw(&self, random: &mut Random, spans: &[Span]) -> Option<Middle> {
        let (pieces, spans) = match pieces(self.text, self.language, self.path) {
            Some(pieces) => (pieces, spans),
            None => (Vec::new(), &[Span::Line] as &[Span]),
        };
        let found = spans.iter().map(|span| (*span, self.of(*span, &pieces)));
        let found: Vec<(Span, Vec<(usize, usize)>)> =
            found.filter(|(_, places)| !places.is_empty()).collect();
        if found.is_empty() {
            return None;
        }
        let (span, places) = &found[random.below(found.len() as u64) as usize];
        let (start, mut end) = random.pick(places);
        if *span == Span::Line {
            let more = random.below(MOST_LINES) as usize;
            let behind = lines(&self.text[end..]).take(more);
            let ends = behind.map(|(_, length)| end + length);
            let fitting = ends.take_while(|end| self.fits(start, *end));
            end = fitting.last().unwrap_or(end);
        }
        Some(Middle {
            span: *span,
            start,
            end,
        })
    }

    /// Places of a kind that can be a middle.
    fn of(&self, span: Span, pieces: &[Piece]) -> Vec<(usize, usize)> {
        let fits = |(start, end): &(usize, usize)| self.fits(*start, *end);
        if span == Span::Line {
            return lines(self.text).filter(fits).collect();
        }
        let of_kind = pieces.iter().filter(|piece| span.is_of(piece.kind));
        let places = of_kind.map(|piece| (piece.start, piece.end));
        places.filter(fits).collect()
    }

    /// It is neither too short nor too long, and not all that there is.
    fn fits(&self, start: usize, end: usize) -> bool {
        let Some(middle) = self.text.get(start..end) else {
            return false;
        };
        // A character has at most four bytes: what is far too long is not counted.
        let is_short = middle.len() <= self.longest
            || middle.len() / 4 <= self.longest && middle.chars().count() <= self.longest;
        let solid = middle.chars().filter(|c| !c.is_whitespace());
        let has_around =
            !self.text[..start].trim().is_empty() || !self.text[end..].trim().is_empty();
        is_short && has_around && solid.take(SHORTEST).count() == SHORTEST
    }
}

/// Where lines stand, each with its end.
fn lines(text: &str) -> impl Iterator<Item = (usize, usize)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, *at))
    })
}
