//! C and C++ as a grammar can read them that expands no macro: of conditional parts one, and without words that stand where no
//! language has one. What is taken out becomes spaces, so that errors stay on their lines.

mod changes;
mod directives;
mod marks;
mod tokens;
mod words;

use source_text::by_name;
use source_words::bare;

use tokens::{Kind, Token, tokens};

/// A text that a grammar can read.
pub struct Plain {
    /// As long as the text that it was.
    pub text: String,
    /// Whether each parenthesis and each brace has its other one.
    pub is_balanced: bool,
}

/// The text without directives and without macros that are no expression, statement or type.
pub fn without_macros(text: &str, language: &str) -> Option<Plain> {
    let language = by_name(language)?;
    // Comments and strings are spaces in it, and places are the same.
    let mut code = bare(text, language).code.into_bytes();
    let mut kept = text.as_bytes().to_vec();
    for (start, end) in directives::left_out(&code, language.name == "c++") {
        blank(&mut code[start..end]);
        blank(&mut kept[start..end]);
    }
    let tokens = tokens(&code);
    for change in changes::changes(&code, &tokens) {
        let stretch = &mut kept[change.start..change.end];
        blank(stretch);
        let length = change.text.len().min(stretch.len());
        stretch[..length].copy_from_slice(&change.text.as_bytes()[..length]);
    }
    let signs = [b'(', b')', b'{', b'}'];
    let is_bracket =
        |token: &Token| matches!(token.kind, Kind::Sign(sign) if signs.contains(&sign));
    Some(Plain {
        // Stretches begin and end at ASCII, so that what is left is text.
        text: String::from_utf8_lossy(&kept).into_owned(),
        is_balanced: tokens
            .iter()
            .all(|token| !is_bracket(token) || token.other.is_some()),
    })
}

fn blank(bytes: &mut [u8]) {
    for byte in bytes {
        if *byte != b'\n' && *byte != b'\r' {
            *byte = b' ';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(text: &str) -> String {
        let found = without_macros(text, "c").unwrap().text;
        assert_eq!(found.len(), text.len());
        found.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn of_conditional_parts_one_is_kept() {
        for (text, expected) in [
            (
                "#ifdef A\nif (a) {\n#else\nif (b) {\n#endif\n}\n",
                "if (a) { }",
            ),
            ("#if 0\na;\n#else\nb;\n#endif\nc;\n", "b; c;"),
            (
                "#if A\na;\n# if B\nb;\n# elif C\nc;\n# endif\n#elif D\nd;\n#endif\n",
                "a; b;",
            ),
            ("#ifdef __cplusplus\nextern \"C\" {\n#endif\na;\n", "a;"),
            ("#define A(x) \\\n  {\na;\n", "a;"),
            ("/*\n#if A\n*/\na;\n#endif\n", "/* #if A */ a;"),
        ] {
            assert_eq!(squeezed(text), expected, "{text}");
        }
    }

    #[test]
    fn words_that_no_language_has_there_go() {
        for (text, expected) in [
            ("SQLITE_API int f(void);", "int f(void);"),
            ("static ZSTD_INLINE int f(void) {}", "static int f(void) {}"),
            ("int f(void) NOEXCEPT;", "int f(void) ;"),
            ("int f(void) __THROW __nonnull ((1));", "int f(void) ;"),
            ("void * WINAPI f(IN DWORD x);", "void * f( DWORD x);"),
            ("class EXPORT A { };", "class A { };"),
            ("class A FINAL : public B { };", "class A : public B { };"),
            ("namespace std VISIBLE(default)\n{ }", "namespace std { }"),
            (
                "static my_inline int f(my_unused void *x);",
                "static int f( void *x);",
            ),
            ("extern_ref Widget x;", "Widget x;"),
            (
                "int f(char *end UNUSED, int b);",
                "int f(char *end , int b);",
            ),
            ("typedef void (API *f)(int);", "typedef void ( *f)(int);"),
            (
                "SEQUENCE(A) = {\n  B(c)\n} SEQUENCE_END(A)\nint x;",
                "int x = { B(c) } ; int x;",
            ),
            ("make_table(x)\nmake_table(y)\nint z;", "int z;"),
            ("API(char *) f(int x);", "int f(int x);"),
            (
                "TEMPLATE(A) = B(c)\nEND(A)\nint x;",
                "int x = B(c) ; int x;",
            ),
            ("struct a { STATE(1); int b; };", "struct a { ; int b; };"),
            ("void API f(unused const T *x);", "void f( const T *x);"),
            ("x = 64 KB;", "x = 64 ;"),
            ("int f(my_const char *, int);", "int f(x , x );"),
            ("enum : unsigned { A, MARK(A) };", "enum { A, };"),
            (
                "struct a { int f() const NOEXCEPT { } };",
                "struct a { int f() const { } };",
            ),
            ("__BEGIN_DECLS\nint f(void);\n__END_DECLS", "int f(void);"),
            ("DEFINE_THING(a, b)\nint x;", "int x;"),
            ("void f() { FOR_EACH(x) { g(); } }", "void f() { { g(); } }"),
            (
                "void f() { x = va_arg(ap, char *); }",
                "void f() { x = va_arg(ap, x ); }",
            ),
        ] {
            assert_eq!(squeezed(text), expected, "{text}");
        }
    }

    #[test]
    fn expressions_statements_and_types_stay() {
        for text in [
            "int x = FOO + BAR(y);",
            "FILE *f = OPEN(x);",
            "void f() { CHECK(x); return FOO; x = (int) FOO; }",
            "struct FOO bar; DWORD x;",
            "TEST(a, b) { c(); }",
            "enum { A, B = C };",
            "int a[SIZE]; f(A, B);",
            "switch (x) { case FOO: break; }",
            "typedef LIST(x) y; static LIST(x) *z;",
            "char_type const *x; goto END; else FOO;",
            "int f(void) const override final;",
            "typedef int INT; typedef foo BAR;",
            "U32 const bits = 1; std::__false_type x;",
            "struct a { a(int x) : b(x) {} int c() const { return b; } };",
            "if (a) b(c); else d(e); for (;;) f(g);",
        ] {
            assert_eq!(squeezed(text), text);
        }
    }

    #[test]
    fn brackets_are_counted_in_what_is_kept() {
        let is_balanced = |text: &str| without_macros(text, "c").unwrap().is_balanced;
        assert!(is_balanced(
            "#if A\nvoid f() {\n#else\nvoid g() {\n#endif\n}\nchar c = '(';\n"
        ));
        for text in ["f(", "f)", "{ ( }", "{ } }"] {
            assert!(!is_balanced(text), "{text}");
        }
    }

    #[test]
    fn nothing_unclosed_trips_it() {
        for text in [
            "#if",
            "#",
            "A(",
            "A B(",
            ")",
            "#else\né",
            "é A é",
            "#define A \\",
            "__x",
            "f(int",
        ] {
            without_macros(text, "c++").unwrap();
        }
    }
}
