//! Macros by where they stand: as a mark before or behind a declaration, or as a call that no semicolon ends.

use super::tokens::Kind;
use super::words::{BEFORE_NAMES, TYPES, Words, is_loud, is_tag, macro_end};

impl Words<'_> {
    /// Whether a loud word (up to `last`, with what it has in parentheses) stands where a declaration or statement has none.
    pub fn is_mark(&self, before: Option<usize>, at: usize, last: usize) -> bool {
        let has_arguments = last > at;
        let next = last + 1;
        let Some(before) = before.filter(|_| !self.begins(before)) else {
            return match self.kind(next) {
                None | Some(Kind::Sign(b'}')) => true,
                // A loop in a function; outside it is a test's head.
                Some(Kind::Sign(b'{')) => self.tokens[at].depth > 0,
                // `DWORD x;` has a type, `API int f();` a mark.
                Some(Kind::Word) => has_arguments || !self.ends_declarator(next + 1),
                Some(Kind::Sign(b';')) => has_arguments && self.is_in_record(at),
                _ => false,
            };
        };
        match self.tokens[before].kind {
            Kind::Word => self.is_mark_behind_word(before, at, last),
            // `64 KB`.
            Kind::Number => !has_arguments,
            Kind::Sign(b'*' | b'&' | b'>') => self.is_word(next),
            Kind::Sign(b'(' | b',') => {
                // `IN DWORD x`, `(APIENTRY *f)(`, `(APIENTRYP f)(`.
                let stars = (next..).take_while(|star| self.kind(*star) == Some(Kind::Sign(b'*')));
                let name = next + stars.count();
                let is_pointer = self.is_word(name)
                    && self.kind(name + 1) == Some(Kind::Sign(b')'))
                    && self.kind(name + 2) == Some(Kind::Sign(b'('));
                let ends_list = self.kind(next) == Some(Kind::Sign(b'}'));
                match has_arguments {
                    true => ends_list,
                    false => self.is_word(next) && self.is_word(next + 1) || is_pointer,
                }
            }
            // Behind the parameters of a function, not behind a cast.
            Kind::Sign(b')') => {
                let open = self.tokens[before].other;
                let called = open.and_then(|open| open.checked_sub(1));
                let signs = [b';', b'{', b',', b'=', b')'];
                called.is_some_and(|called| self.is_name(called))
                    && match self.kind(next) {
                        Some(Kind::Word) => true,
                        Some(Kind::Sign(sign)) => signs.contains(&sign),
                        _ => false,
                    }
            }
            Kind::Sign(b']') => matches!(self.kind(next), Some(Kind::Sign(b';' | b'='))),
            _ => false,
        }
    }

    pub fn is_mark_behind_word(&self, before: usize, at: usize, last: usize) -> bool {
        let next = last + 1;
        let has_arguments = last > at;
        let earlier = before.checked_sub(1).filter(|at| self.is_word(*at));
        let earlier = earlier.map_or(&b""[..], |earlier| self.text(earlier));
        let opens = matches!(self.kind(next), Some(Kind::Sign(b'{' | b':')));
        match self.text(before) {
            b"class" | b"struct" | b"union" | b"enum" => {
                let is_head = matches!(self.kind(next + 1), Some(Kind::Sign(b'{' | b':')));
                self.is_word(next) && (is_head || self.is_word(next + 1))
            }
            word if BEFORE_NAMES.contains(&word) => false,
            // `int f() const NOEXCEPT {`.
            b"const" | b"noexcept" | b"override" | b"final"
                if self.is_behind_parameters(before) =>
            {
                opens
                    || matches!(
                        self.kind(next),
                        Some(Kind::Sign(b';' | b'=')) | Some(Kind::Word)
                    )
            }
            // `namespace std VISIBILITY(default) {`, `class A FINAL : B`.
            _ if opens => matches!(earlier, b"namespace" | b"class" | b"struct"),
            // `static INLINE int f()`, `void API f()`; `typedef LIST(x) y` has a type.
            word if self.is_word(next) => {
                let is_typed = self.is_name(before) || TYPES.contains(&word) && word != b"const";
                let is_template = self.kind(next + 1) == Some(Kind::Sign(b'<'));
                !has_arguments && (self.is_word(next + 1) || is_typed || is_template)
                    || self.is_type(next)
            }
            // `char *end UNUSED,`: a name may be missing there, but not a type.
            _ => match self.kind(next) {
                Some(Kind::Sign(b',' | b')' | b'=')) => self.is_name(before),
                Some(Kind::Sign(b';')) => {
                    let behind_type = TYPES.contains(&earlier) && !is_tag(earlier);
                    self.is_name(before) && behind_type
                }
                _ => false,
            },
        }
    }

    /// `DEFINE_TABLE(x)` or `make_table(x)`, and no semicolon before what follows.
    pub fn is_line(&self, before: Option<usize>, at: usize, last: usize) -> bool {
        let qualifiers: [&[u8]; 4] = [b"const", b"noexcept", b"override", b"final"];
        let next = last + 1;
        last > at
            && self.begins(before)
            && self.is_name(at)
            && match self.kind(next) {
                None => true,
                Some(Kind::Word) => !qualifiers.contains(&self.text(next)),
                _ => false,
            }
    }

    /// A name before a type or before two names: `static my_inline int f()`, `externalref Widget x;`.
    pub fn is_one_too_many(&self, before: Option<usize>, at: usize) -> bool {
        let is_led = before.is_some_and(|before| {
            self.is_word(before) && BEFORE_NAMES.contains(&self.text(before))
        });
        let is_two = self.is_name(at + 1)
            && !is_loud(self.text(at + 1))
            && self.is_name(at + 2)
            && self.ends_declarator(at + 3);
        let is_star = matches!(self.kind(at + 3), Some(Kind::Sign(b'*' | b'&')));
        let is_const = self.is_word(at + 1)
            && self.text(at + 1) == b"const"
            && self.is_word(at + 2)
            && (is_star || self.is_word(at + 3));
        self.is_name(at) && !is_led && (self.is_type(at + 1) || is_two || is_const)
    }

    /// `SEQUENCE(x) = { … }` outside of functions declares something.
    pub fn is_declaration(&self, before: Option<usize>, last: usize) -> bool {
        self.begins(before)
            && self.tokens[last].depth == 0
            && self.kind(last) == Some(Kind::Sign(b')'))
            && self.kind(last + 1) == Some(Kind::Sign(b'='))
    }

    /// Whether a name stands here that is declared, rather than another macro.
    pub fn is_declared(&self, at: usize) -> bool {
        let behind = self.kind(macro_end(self.tokens, at) + 1);
        self.is_name(at)
            && !is_loud(self.text(at))
            && self.ends_declarator(at + 1)
            && matches!(behind, Some(Kind::Sign(b';' | b'{' | b'=' | b'[')))
    }

    /// What takes the place of a mark, so that what stands around it stays what it is.
    pub fn instead(&self, before: Option<usize>, at: usize, end: usize) -> &'static str {
        if end == at || self.tokens[at].depth > 0 && before.is_some() && !self.is_word(end + 1) {
            return "";
        }
        match before.map(|before| self.tokens[before].kind) {
            // Behind the value of a declaration it is what ends it.
            Some(Kind::Sign(b'}'))
                if self.tokens[at].depth == 0 && !self.ends_declarator(end + 2) =>
            {
                ";"
            }
            Some(Kind::Sign(b')')) if self.is_word(end + 1) && self.tokens[at].depth == 0 => ";",
            // `API(char *) name(int x);` is of a type.
            _ if self.begins(before) && self.is_declared(end + 1) => "int",
            _ => "",
        }
    }
}
