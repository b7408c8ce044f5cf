use codetune_plugin::Part;
use source_parsers::syntax_errors;

use super::*;

/// The start of a file in each language that it writes.
const STARTS: [(&str, &str); 9] = [
    ("a.py", "import os\n\n\ndef f(x):\n    return os.sep * x\n"),
    (
        "a.js",
        "const a = 1;\n\nfunction f(x) {\n  return x + a;\n}\n",
    ),
    ("a.jsx", "function View() {\n  return <p>a</p>;\n}\n"),
    ("a.ts", "export const a: number = 1;\n"),
    ("a.rs", "fn main() {\n    println!(\"a\");\n}\n"),
    ("a.go", "package p\n\nfunc f(x int) int {\n\treturn x\n}\n"),
    (
        "a.java",
        "public class A {\n    int b() {\n        return 1;\n    }\n}\n",
    ),
    (
        "a.c",
        "#include <stdio.h>\n\nint f(int x) {\n    return x;\n}\n",
    ),
    (
        "a.cpp",
        "#include <vector>\n\nint f(std::vector<int> x) {\n    return x[0];\n}\n",
    ),
];

fn nonsense(seed: u64, rate: f64) -> Nonsense {
    Nonsense {
        seed,
        rate,
        most: 2,
    }
}

fn sample(path: Option<&str>, texts: &[&str]) -> Sample {
    let parts = texts.iter().map(|text| Part {
        name: "text".to_owned(),
        text: (*text).to_owned(),
        learned: true,
    });
    Sample {
        parts: parts.collect(),
        path: path.map(str::to_owned),
        language: None,
    }
}

/// What is written behind a text; none where it is kept.
fn written(plugin: &Nonsense, path: Option<&str>, text: &str) -> Option<String> {
    match plugin.curate(&sample(path, &[text])).unwrap().decision {
        Decision::Rewrite(edits, _) => {
            let [edit] = edits.as_slice() else {
                panic!("{edits:?}")
            };
            assert_eq!(
                (edit.part, edit.start, edit.end),
                (0, text.len(), text.len())
            );
            Some(edit.replacement.clone())
        }
        Decision::Keep => None,
        Decision::Drop(reason) => panic!("{reason:?}"),
    }
}

#[test]
fn what_is_written_parses_in_every_language() {
    for (path, start) in STARTS {
        let language = source_text::by_extension(path).unwrap().name;
        for seed in 0..50 {
            let added = written(&nonsense(seed, 1.0), Some(path), start).unwrap();
            let text = format!("{start}{added}");
            let errors = syntax_errors(&text, Some(language)).unwrap();
            assert_eq!(errors, (0, None), "{path}:\n{text}");
        }
    }
}

#[test]
fn one_seed_writes_the_same_and_another_writes_another() {
    for (path, start) in STARTS {
        let first = written(&nonsense(1, 1.0), Some(path), start);
        assert_eq!(first, written(&nonsense(1, 1.0), Some(path), start));
        assert_ne!(first, written(&nonsense(2, 1.0), Some(path), start));
    }
    let (path, start) = STARTS[0];
    // Written down, since a machine or a compiler must not change it either.
    assert_eq!(
        written(&nonsense(1, 1.0), Some(path), start).unwrap(),
        EXPECTED
    );
}

const EXPECTED: &str = "

def quonk_mimsy(plumbus):
    fimble = plumbus + plumbus
    fimble = (fimble + plumbus - 52) % 97
    if fimble > plumbus:
        fimble = fimble - 50
    else:
        fimble = fimble + plumbus + plumbus
    for rath in range(4):
        fimble = (fimble + rath * plumbus) % 509
    fimble = (fimble + plumbus + fimble) % 509
    return fimble + plumbus * 93
";

#[test]
fn the_rate_is_kept_and_the_seed_draws_which() {
    let drawn = |seed, rate| -> Vec<bool> {
        (0..1000)
            .map(|number| format!("def f_{number}():\n    return {number}\n"))
            .map(|text| written(&nonsense(seed, rate), Some("a.py"), &text).is_some())
            .collect()
    };
    let count = |drawn: &[bool]| drawn.iter().filter(|drawn| **drawn).count();
    assert_eq!((count(&drawn(0, 0.0)), count(&drawn(0, 1.0))), (0, 1000));
    let (first, second) = (drawn(0, 0.1), drawn(1, 0.1));
    assert!((70..130).contains(&count(&first)), "{}", count(&first));
    assert!((70..130).contains(&count(&second)), "{}", count(&second));
    assert_ne!(first, second);
}

#[test]
fn what_is_no_single_text_of_code_stays_as_it_is() {
    let all = nonsense(0, 1.0);
    for (path, text) in [
        (None, "The sum of two numbers is a number."),
        (Some("a.md"), "# A\n\nText.\n"),
        (Some("a.json"), "{}\n"),
        (Some("a.hs"), "main = x\n"),
        (Some("a.py"), ""),
        (Some("a.py"), " \n\n"),
    ] {
        assert_eq!(written(&all, path, text), None, "{text:?}");
    }
    let pair = sample(Some("a.py"), &["def f():\n", "    return 1\n"]);
    assert_eq!(all.curate(&pair).unwrap().decision, Decision::Keep);
    let mut given = sample(Some("a.py"), &["def f():\n    return 1\n"]);
    given.parts[0].learned = false;
    assert_eq!(all.curate(&given).unwrap().decision, Decision::Keep);
}

#[test]
fn no_name_is_given_twice_and_lines_end_as_the_text_does() {
    let mut text = "x = 1\r\n".to_owned();
    for _ in 0..40 {
        text += &written(&nonsense(3, 1.0), Some("a.py"), &text).unwrap();
    }
    let mut names: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("def "))
        .collect();
    let names = {
        names
            .iter_mut()
            .for_each(|line| *line = line.split_once('(').unwrap().0);
        names
    };
    let mut distinct = names.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert!(names.len() >= 40);
    assert_eq!(distinct.len(), names.len());
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    // A last line without an end gets one.
    let added = written(&nonsense(3, 1.0), Some("a.py"), "x = 1").unwrap();
    assert!(added.starts_with("\n\n\ndef "), "{added:?}");
}
