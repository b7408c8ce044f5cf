//! Words of C and C++, and where they stand.

use super::tokens::{Kind, Token};

/// Behind these stands a name, or an expression.
#[rustfmt::skip]
pub const BEFORE_NAMES: [&[u8]; 18] = [
    b"struct", b"union", b"enum", b"class", b"typename", b"namespace", b"goto", b"return", b"case", b"sizeof",
    b"new", b"delete", b"throw", b"using", b"else", b"do", b"operator", b"in",
];
/// Before a declaration.
#[rustfmt::skip]
const STORAGE: [&[u8]; 5] = [b"static", b"extern", b"typedef", b"inline", b"register"];
/// What is no name either.
#[rustfmt::skip]
const OTHERS: [&[u8]; 36] = [
    b"static", b"extern", b"typedef", b"inline", b"register", b"volatile", b"auto", b"if", b"while", b"for",
    b"switch", b"default", b"break", b"continue", b"virtual", b"explicit", b"friend", b"constexpr",
    b"mutable", b"noexcept", b"override", b"final", b"template", b"public", b"private", b"protected", b"and",
    b"or", b"not", b"co_return", b"co_await", b"co_yield", b"asm", b"requires", b"concept", b"decltype",
];
#[rustfmt::skip]
pub const TYPES: [&[u8]; 14] = [
    b"struct", b"union", b"enum", b"const", b"unsigned", b"signed", b"long", b"short", b"int", b"char",
    b"void", b"float", b"double", b"bool",
];

/// The token that ends a macro: its parenthesis, or the word itself.
pub fn macro_end(tokens: &[Token], at: usize) -> usize {
    let next = tokens.get(at + 1);
    let arguments = next.filter(|next| next.kind == Kind::Sign(b'('));
    arguments.and_then(|next| next.other).unwrap_or(at)
}

/// Capitals, or two underscores before them all.
pub fn is_loud(word: &[u8]) -> bool {
    let is_capital =
        |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_';
    let letters = word.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    letters > 1 && word.iter().all(is_capital) || word.starts_with(b"__") && word.len() > 4
}

fn is_keyword(word: &[u8]) -> bool {
    TYPES.contains(&word) || BEFORE_NAMES.contains(&word) || OTHERS.contains(&word)
}

/// The tokens of a text.
pub struct Words<'a> {
    pub code: &'a [u8],
    pub tokens: &'a [Token],
}

impl Words<'_> {
    pub fn text(&self, at: usize) -> &[u8] {
        let token = self.tokens[at];
        &self.code[token.start..token.end]
    }

    pub fn kind(&self, at: usize) -> Option<Kind> {
        self.tokens.get(at).map(|token| token.kind)
    }

    pub fn is_word(&self, at: usize) -> bool {
        self.kind(at) == Some(Kind::Word)
    }

    pub fn is_name(&self, at: usize) -> bool {
        self.is_word(at) && !is_keyword(self.text(at))
    }

    /// A type of the language, or what stands before one.
    pub fn is_type(&self, at: usize) -> bool {
        let qualifiers: [&[u8]; 2] = [b"const", b"volatile"];
        self.is_word(at)
            && (TYPES.contains(&self.text(at)) || STORAGE.contains(&self.text(at)))
            && !qualifiers.contains(&self.text(at))
    }

    /// Whether a statement or declaration begins behind a token.
    pub fn begins(&self, before: Option<usize>) -> bool {
        before.is_none_or(|before| {
            let signs = [b';', b'{', b'}'];
            match self.tokens[before].kind {
                // Of a label, not of a path.
                Kind::Sign(b':') => !self.is_path(before),
                Kind::Sign(sign) => signs.contains(&sign),
                _ => false,
            }
        })
    }

    /// Whether a colon is the second of two.
    pub fn is_path(&self, at: usize) -> bool {
        at > 0 && self.kind(at - 1) == Some(Kind::Sign(b':'))
    }

    /// Whether a token stands in the braces of a struct or class.
    pub fn is_in_record(&self, at: usize) -> bool {
        let Some(brace) = self.tokens[at].brace else {
            return false;
        };
        let before = &self.tokens[brace.saturating_sub(2)..brace];
        let mut words = before
            .iter()
            .map(|token| &self.code[token.start..token.end]);
        words.any(|word| is_tag(word) || word == b"class")
    }

    pub fn is_behind_parameters(&self, at: usize) -> bool {
        at > 0 && self.kind(at - 1) == Some(Kind::Sign(b')'))
    }

    /// Whether a token stands behind what is declared.
    pub fn ends_declarator(&self, at: usize) -> bool {
        let signs = [b';', b'=', b',', b'[', b'(', b':', b')'];
        matches!(self.kind(at), Some(Kind::Sign(sign)) if signs.contains(&sign))
    }
}

/// Whether a word begins a type with a name of its own.
pub fn is_tag(word: &[u8]) -> bool {
    matches!(word, b"struct" | b"union" | b"enum")
}
