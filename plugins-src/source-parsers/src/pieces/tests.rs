use super::PieceKind::{Arguments, Block, Body, Expression, Statement};
use super::{PieceKind, pieces};

fn found<'a>(language: &str, text: &'a str) -> Vec<(PieceKind, &'a str)> {
    let pieces = pieces(text, language, "").unwrap_or_else(|| panic!("{language}: {text}"));
    let pieces = pieces.iter();
    pieces
        .map(|piece| (piece.kind, &text[piece.start..piece.end]))
        .collect()
}

/// A text in each language, and pieces that it must have.
const TEXTS: [(&str, &str, &[(PieceKind, &str)]); 11] = [
    (
        "python",
        "class A:\n    def f(self, x):\n        \"\"\"Says é.\"\"\"\n        if x:\n            return g(x, 1)\n        return -x\n",
        &[
            (Body, "if x:\n            return g(x, 1)\n        return -x"),
            (Block, "return g(x, 1)"),
            (Statement, "return -x"),
            (Expression, "g(x, 1)"),
            (Arguments, "x, 1"),
        ],
    ),
    (
        "javascript",
        "class A { f(x) { if (x) { y(\"é\", 1); } return x + 1; } }\nconst h = (z) => z * 2;\n",
        &[
            (Body, "if (x) { y(\"é\", 1); } return x + 1;"),
            (Body, "z * 2"),
            (Block, "y(\"é\", 1);"),
            (Statement, "return x + 1;"),
            (Statement, "const h = (z) => z * 2;"),
            (Expression, "x + 1"),
            (Arguments, "\"é\", 1"),
        ],
    ),
    (
        "jsx",
        "const A = () => <b>{f(1, 2)}</b>;\n",
        &[(Expression, "<b>{f(1, 2)}</b>"), (Arguments, "1, 2")],
    ),
    (
        "typescript",
        "interface A { b: number }\nfunction f(x: A): number { return g(x as B); }\n",
        &[
            (Block, "b: number"),
            (Body, "return g(x as B);"),
            (Expression, "x as B"),
        ],
    ),
    (
        "tsx",
        "const f = (x: number) => { return <b/>; };\n",
        &[(Body, "return <b/>;")],
    ),
    (
        "rust",
        "#!/usr/bin/env é\nstruct A { b: u8 }\nimpl A {\n    fn f(&self) -> u8 {\n        if self.b > 1 { println!(\"é {}\", 1); }\n        g(self.b, 1)\n    }\n}\n",
        &[
            (Block, "b: u8"),
            (
                Body,
                "if self.b > 1 { println!(\"é {}\", 1); }\n        g(self.b, 1)",
            ),
            (Block, "println!(\"é {}\", 1);"),
            (Arguments, "\"é {}\", 1"),
            (Statement, "println!(\"é {}\", 1);"),
            (Expression, "self.b > 1"),
            (Arguments, "self.b, 1"),
        ],
    ),
    (
        "go",
        "package p\n\nfunc f(x int) int {\n\tif x > 1 {\n\t\ty := g(\"é\", x)\n\t\treturn y\n\t}\n\treturn x\n}\n",
        &[
            (
                Body,
                "if x > 1 {\n\t\ty := g(\"é\", x)\n\t\treturn y\n\t}\n\treturn x",
            ),
            (Block, "y := g(\"é\", x)\n\t\treturn y"),
            (Statement, "y := g(\"é\", x)"),
            (Expression, "x > 1"),
            (Arguments, "\"é\", x"),
        ],
    ),
    (
        "java",
        "class A {\n    A() { b = 1; }\n    int f(int x) { while (x > 1) { x = g(x, \"é\"); } return x; }\n}\n",
        &[
            (Body, "b = 1;"),
            (Body, "while (x > 1) { x = g(x, \"é\"); } return x;"),
            (Block, "x = g(x, \"é\");"),
            (Expression, "x > 1"),
            (Arguments, "x, \"é\""),
        ],
    ),
    (
        "c",
        "struct a { int é; };\nint f(int x) {\n    if (x) { g(x, 1); }\n    return x;\n}\n",
        &[
            (Body, "if (x) { g(x, 1); }\n    return x;"),
            (Block, "g(x, 1);"),
            (Statement, "return x;"),
            (Arguments, "x, 1"),
        ],
    ),
    (
        "c++",
        "class A { int f() { for (auto x : y) { g(x, 1); } return 1; } };\n",
        &[
            (Body, "for (auto x : y) { g(x, 1); } return 1;"),
            (Block, "g(x, 1);"),
            (Statement, "return 1;"),
        ],
    ),
    (
        "shell",
        "f() {\n  for x in a b; do\n    echo \"é $x\"\n  done\n}\n",
        &[
            (Body, "for x in a b; do\n    echo \"é $x\"\n  done"),
            (Block, "echo \"é $x\""),
            (Statement, "echo \"é $x\""),
        ],
    ),
];

#[test]
fn every_language_has_its_pieces() {
    for (language, text, expected) in TEXTS {
        let found = found(language, text);
        for piece in expected {
            assert!(found.contains(piece), "{language}: {piece:?} in {found:#?}");
        }
    }
}

#[test]
fn line_ends_of_two_characters_and_a_byte_order_mark_move_nothing() {
    for (language, text, expected) in TEXTS {
        // Only as the first characters of a file a line `#!` is one.
        let text = text.trim_start_matches("#!/usr/bin/env é\n");
        let text = format!("\u{feff}{}", text.replace('\n', "\r\n"));
        let found = found(language, &text);
        for (kind, piece) in expected {
            let piece = piece.replace('\n', "\r\n");
            assert!(
                found.contains(&(*kind, piece.as_str())),
                "{language}: {piece:?} in {found:#?}"
            );
        }
        for (_, piece) in found {
            assert_eq!((piece.trim(), piece.is_empty()), (piece, false));
        }
    }
}

#[test]
fn a_text_that_is_not_read_has_none_and_a_grammar_goes_on_behind_an_error() {
    assert_eq!(pieces("main = x\n", "haskell", ""), None);
    for (language, text) in [
        ("python", "def f(:\n    pass\n"),
        ("javascript", "let = = 1;\n"),
        ("rust", "fn f( {}\n"),
    ] {
        assert_eq!(pieces(text, language, ""), None, "{language}");
    }
    let text = "int f(int x) { return x + 1; }\nint @ @;\n";
    let found = found("c", text);
    assert!(found.contains(&(Body, "return x + 1;")), "{found:?}");
    assert!(found.iter().all(|(_, piece)| !piece.contains('@')));
}
