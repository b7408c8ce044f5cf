//! Words and signs of a text whose comments and strings are spaces.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Word,
    Number,
    /// Its one byte; quotes are signs too.
    Sign(u8),
}

/// A token and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
    /// Of a parenthesis or brace: the other one's place among the tokens.
    pub other: Option<usize>,
    /// Braces open around it.
    pub depth: usize,
    /// The innermost of these.
    pub brace: Option<usize>,
}

/// The tokens in order.
pub fn tokens(code: &[u8]) -> Vec<Token> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    let (mut at, mut depth) = (0, 0_usize);
    while at < code.len() {
        let start = at;
        let byte = code[at];
        at += 1;
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
        if byte.is_ascii_whitespace() {
            continue;
        }
        let kind = if is_word(&byte) {
            at += code[at..].iter().take_while(|byte| is_word(byte)).count();
            match byte.is_ascii_digit() {
                true => Kind::Number,
                false => Kind::Word,
            }
        } else {
            Kind::Sign(byte)
        };
        let here = tokens.len();
        let mut other = None;
        let is_open = matches!(byte, b'(' | b'{');
        match byte {
            b')' | b'}' => {
                let fits = if byte == b')' { b'(' } else { b'{' };
                let last = open.last().copied();
                if let Some(last) = last.filter(|last| tokens[*last].kind == Kind::Sign(fits)) {
                    open.pop();
                    tokens[last].other = Some(here);
                    other = Some(last);
                }
            }
            _ => {}
        }
        if byte == b'}' {
            depth = depth.saturating_sub(1);
        }
        tokens.push(Token {
            kind,
            start,
            end: at,
            other,
            depth,
            brace: open
                .iter()
                .rev()
                .find(|open| tokens[**open].kind == Kind::Sign(b'{'))
                .copied(),
        });
        if byte == b'{' {
            depth += 1;
        }
        if is_open {
            open.push(here);
        }
    }
    tokens
}
