use std::cell::RefCell;

use codetune_plugin::Part;
use codetune_plugin::serde_json::{Value, json};

use super::*;

/// A family's tokens as they stand in a text: prefix, suffix, middle, and what ends the middle.
const FAMILIES: [(&str, [&str; 4]); 7] = [
    (
        "qwen",
        ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", ""],
    ),
    (
        "starcoder",
        ["<fim_prefix>", "<fim_suffix>", "<fim_middle>", ""],
    ),
    ("codellama", ["▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"]),
    (
        "deepseek",
        ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>", ""],
    ),
    (
        "santacoder",
        ["<fim-prefix>", "<fim-suffix>", "<fim-middle>", ""],
    ),
    (
        "glm",
        ["<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", ""],
    ),
    ("codestral", ["[PREFIX]", "[SUFFIX]", "", ""]),
];

/// Some files: languages with a parser and without one, one that does not parse, and characters of many bytes.
const FILES: [(&str, &str); 12] = [
    ("a.py", PYTHON),
    (
        "b.py",
        "def broken(:\n    return 'é'\n\n\nprint(broken(1, 2))\n",
    ),
    (
        "a.js",
        "const ä = 1;\n\nfunction f(x) {\n  if (x > ä) {\n    return g(x, '漢字');\n  }\n  return x + ä;\n}\n",
    ),
    (
        "a.jsx",
        "function View() {\n  return <p>{f(1, 2)}</p>;\n}\n",
    ),
    (
        "a.ts",
        "export interface A { b: number }\nexport const a = (x: A): number => x.b * 2;\n",
    ),
    (
        "a.rs",
        "//! É.\nfn main() {\n    let ü = vec![1, 2];\n    for x in &ü {\n        println!(\"é {}\", x + 1);\n    }\n}\n",
    ),
    (
        "a.go",
        "package p\n\n// 漢字\nfunc f(x int) int {\n\tif x > 1 {\n\t\treturn g(x, \"é\")\n\t}\n\treturn x\n}\n",
    ),
    (
        "a.java",
        "public class A {\n    int b(int x) {\n        while (x > 1) { x = c(x, \"é\"); }\n        return x;\n    }\n}\n",
    ),
    (
        "a.c",
        "#include <stdio.h>\n\nint f(int x) {\n    printf(\"é %d\", x + 1);\n    return x;\n}\n",
    ),
    (
        "a.cpp",
        "#include <vector>\n\nint f(std::vector<int> x) {\n    for (auto y : x) { g(y, 1); }\n    return x[0];\n}\n",
    ),
    (
        "a.sh",
        "greet() {\n  for name in \"$@\"; do\n    echo \"é $name\"\n  done\n}\ngreet a b\n",
    ),
    (
        "a.hs",
        "module Main where\n\n-- 漢字\nmain :: IO ()\nmain = putStrLn \"é\"\n",
    ),
];

const PYTHON: &str = "import os\n\n\ndef größe(path, base=None):\n    \"\"\"Says how large a file is.\"\"\"\n    if base:\n        path = os.path.join(base, path)\n    return os.stat(path).st_size\n";

thread_local! {
    static SET: RefCell<Value> = const { RefCell::new(Value::Null) };
}

fn plugin(settings: Value) -> Result<FimSplits, String> {
    SET.set(settings);
    FimSplits::new(&Settings::new(|name| {
        SET.with_borrow(|set| set.get(name).map(Value::to_string))
    }))
}

fn sample(path: Option<&str>, name: &str, text: &str) -> Sample {
    Sample {
        parts: vec![Part {
            name: name.to_owned(),
            text: text.to_owned(),
            learned: true,
        }],
        path: path.map(str::to_owned),
        language: None,
    }
}

/// What became of a text and how many characters its middle has; none where it is kept.
fn split(plugin: &FimSplits, path: Option<&str>, text: &str) -> Option<(String, usize)> {
    let verdict = plugin.curate(&sample(path, "text", text)).unwrap();
    match verdict.decision {
        Decision::Rewrite(edits, _) => {
            let mut written = text.to_owned();
            let mut last = text.len();
            for edit in edits.iter().rev() {
                assert!(edit.end <= last, "{edits:?}");
                last = edit.start;
                written.replace_range(edit.start..edit.end, &edit.replacement);
            }
            let (name, characters) = verdict.scores[0];
            assert_eq!(name, "middle_characters");
            Some((written, characters as usize))
        }
        Decision::Keep => None,
        Decision::Drop(reason) => panic!("{reason:?}"),
    }
}

/// Prefix, middle and suffix in their places again; in SPM prefix and middle come as one.
fn joined(family: &str, tokens: [&str; 4], written: &str) -> (String, String) {
    let [prefix, suffix, middle, end] = tokens;
    if family == "codestral" {
        let rest = written.strip_prefix(suffix).unwrap();
        let (after, inner) = rest.split_once(prefix).unwrap();
        return (format!("{inner}{after}"), inner.to_owned());
    }
    let rest = written.strip_prefix(prefix).unwrap();
    let (around, inner) = rest.split_once(middle).unwrap();
    let (before, after) = around.split_once(suffix).unwrap();
    let inner = inner.strip_suffix(end).unwrap();
    (format!("{before}{inner}{after}"), inner.to_owned())
}

/// The files, with both line ends, and some of them one behind another.
fn texts() -> Vec<(&'static str, String)> {
    let mut texts = Vec::new();
    for (path, text) in FILES {
        for text in [
            text.to_owned(),
            text.trim_end().to_owned(),
            text.repeat(3),
            format!("\u{feff}\n\n{text}\n\n"),
        ] {
            texts.push((path, text.replace('\n', "\r\n")));
            texts.push((path, text));
        }
    }
    texts
}

#[test]
fn prefix_middle_and_suffix_give_the_text_back_and_no_middle_is_empty() {
    let mut splits = 0;
    for (family, tokens) in FAMILIES {
        for mode in ["psm", "spm", "both"] {
            for seed in 0..6 {
                let settings = json!({"rate": 1.0, "seed": seed, "tokens": family, "mode": mode});
                let plugin = plugin(settings).unwrap();
                for (path, text) in texts() {
                    let (written, characters) = split(&plugin, Some(path), &text)
                        .unwrap_or_else(|| panic!("{path}: {text}"));
                    let (whole, inner) = joined(family, tokens, &written);
                    assert_eq!(whole, text, "{family} {mode}: {written}");
                    let begins = inner.chars().rev().nth(characters - 1);
                    assert!(begins.is_some() && (3..=1000).contains(&characters));
                    let middle = inner.chars().rev().take(characters);
                    assert!(middle.filter(|c| !c.is_whitespace()).count() >= 3);
                    splits += 1;
                }
            }
        }
    }
    assert!(splits > 10_000, "{splits}");
}

#[test]
fn a_middle_is_what_a_person_would_ask_for() {
    let body =
        "if base:\n        path = os.path.join(base, path)\n    return os.stat(path).st_size";
    for (span, middles) in [
        ("body", vec![body]),
        ("block", vec!["path = os.path.join(base, path)"]),
        (
            "statement",
            vec![
                "import os",
                &PYTHON[12..PYTHON.len() - 1],
                "\"\"\"Says how large a file is.\"\"\"",
                "if base:\n        path = os.path.join(base, path)",
                "path = os.path.join(base, path)",
                "return os.stat(path).st_size",
            ],
        ),
        (
            "expression",
            vec!["os.path.join(base, path)", "os.stat(path)"],
        ),
        ("arguments", vec!["base, path", "path"]),
    ] {
        let mut seen: Vec<String> = Vec::new();
        for seed in 0..200 {
            let settings = json!({"rate": 1.0, "seed": seed, "mode": "psm", "spans": [span]});
            let (written, _) = split(&plugin(settings).unwrap(), Some("a.py"), PYTHON).unwrap();
            let (_, middle) = written.split_once("<|fim_middle|>").unwrap();
            seen.push(middle.to_owned());
        }
        seen.sort();
        seen.dedup();
        let mut middles = middles;
        middles.sort_unstable();
        assert_eq!(seen, middles, "{span}");
    }
}

#[test]
fn lines_are_whole_and_the_only_middles_where_nothing_reads_the_text() {
    for (path, text) in [
        ("a.hs", FILES[11].1),
        ("b.py", FILES[1].1),
        ("a.py", PYTHON),
    ] {
        for seed in 0..100 {
            let spans = match path {
                "a.py" => json!(["line"]),
                _ => json!(["body"]),
            };
            let settings = json!({"rate": 1.0, "seed": seed, "mode": "psm", "spans": spans});
            let (written, _) = split(&plugin(settings).unwrap(), Some(path), text).unwrap();
            let (around, middle) = written.split_once("<|fim_middle|>").unwrap();
            let (before, _) = around.split_once("<|fim_suffix|>").unwrap();
            let before = before.strip_prefix("<|fim_prefix|>").unwrap();
            assert!(before.is_empty() || before.ends_with('\n'), "{written}");
            assert!(middle.ends_with('\n'), "{written}");
        }
    }
}

#[test]
fn one_seed_splits_the_same_and_another_splits_another() {
    let run = |seed: u64, spans: &[&str]| -> Vec<Option<(String, usize)>> {
        let plugin = plugin(json!({"rate": 1.0, "seed": seed, "spans": spans})).unwrap();
        let texts = FILES.iter();
        texts
            .map(|(path, text)| split(&plugin, Some(path), text))
            .collect()
    };
    let first = run(1, &["body", "statement", "line"]);
    assert_eq!(first, run(1, &["line", "body", "statement"]));
    assert_ne!(first, run(2, &["body", "statement", "line"]));
}

#[test]
fn the_rate_is_kept_and_the_seed_draws_which() {
    let drawn = |seed: u64, rate: f64| -> Vec<bool> {
        let plugin = plugin(json!({"rate": rate, "seed": seed})).unwrap();
        let texts =
            (0..1000).map(|number| format!("def f_{number}(x):\n    return x + {number}\n"));
        texts
            .map(|text| split(&plugin, Some("a.py"), &text).is_some())
            .collect()
    };
    let count = |drawn: &[bool]| drawn.iter().filter(|drawn| **drawn).count();
    assert_eq!((count(&drawn(0, 0.0)), count(&drawn(0, 1.0))), (0, 1000));
    let (first, second) = (drawn(0, 0.3), drawn(1, 0.3));
    assert!((255..345).contains(&count(&first)), "{}", count(&first));
    assert!((255..345).contains(&count(&second)), "{}", count(&second));
    assert_ne!(first, second);
}

#[test]
fn both_orders_are_drawn_and_codestral_knows_one() {
    let written = |settings: Value| {
        let (written, _) = split(&plugin(settings).unwrap(), Some("a.py"), PYTHON).unwrap();
        written
    };
    let is_spm = |seed: u64| {
        let settings = json!({"rate": 1.0, "seed": seed, "spans": ["body"]});
        written(settings).starts_with("<|fim_prefix|><|fim_suffix|>")
    };
    let spm = (0..400).filter(|seed| is_spm(*seed)).count();
    assert!((150..250).contains(&spm), "{spm}");
    let (head, body) = PYTHON.split_at(PYTHON.find("if base").unwrap());
    let body = body.trim_end();
    let all = json!({"rate": 1.0, "mode": "spm", "spans": ["body"]});
    assert_eq!(
        written(all),
        format!("<|fim_prefix|><|fim_suffix|>\n<|fim_middle|>{head}{body}")
    );
    for mode in ["psm", "spm", "both"] {
        let settings = json!({"rate": 1.0, "mode": mode, "tokens": "codestral", "spans": ["body"]});
        assert_eq!(written(settings), format!("[SUFFIX]\n[PREFIX]{head}{body}"));
    }
}

#[test]
fn no_middle_is_longer_than_is_set() {
    for longest in [3, 10, 40, 200] {
        let text = format!("{PYTHON}\n\nx = \"{}\"\n", "漢".repeat(60)).repeat(4);
        for seed in 0..100 {
            let settings = json!({"rate": 1.0, "seed": seed, "longest_middle": longest});
            if let Some((_, characters)) = split(&plugin(settings).unwrap(), Some("a.py"), &text) {
                assert!((3..=longest).contains(&characters));
            }
        }
    }
}

#[test]
fn what_is_no_whole_text_of_code_stays_as_it_is() {
    let all = plugin(json!({"rate": 1.0})).unwrap();
    for (path, text) in [
        (None, "The sum of two numbers is a number."),
        (Some("a.md"), "# A\n\nText.\n\n```python\nx = f(1)\n```\n"),
        (Some("a.txt"), "def f():\n    return 1\n"),
    ] {
        let verdict = all.curate(&sample(path, "text", text)).unwrap();
        assert_eq!(verdict.decision, Decision::Keep, "{text:?}");
        assert!(verdict.scores.is_empty());
    }
    // An answer, a turn of a conversation and a file of a repository are parts of something else.
    for name in [
        "completion",
        "output",
        "messages.0.content",
        "conversations.1.value",
        "files.0.text",
    ] {
        let verdict = all.curate(&sample(Some("a.py"), name, PYTHON)).unwrap();
        assert_eq!(verdict.decision, Decision::Keep, "{name}");
    }
    let mut pair = sample(Some("a.py"), "text", PYTHON);
    let second = pair.parts[0].clone();
    pair.parts.push(second);
    assert_eq!(all.curate(&pair).unwrap().decision, Decision::Keep);
    let mut given = sample(Some("a.py"), "text", PYTHON);
    given.parts[0].learned = false;
    assert_eq!(all.curate(&given).unwrap().decision, Decision::Keep);
}

#[test]
fn what_holds_a_token_or_is_too_small_is_left_alone_and_says_so() {
    for (family, tokens) in FAMILIES {
        let all = plugin(json!({"rate": 1.0, "tokens": family})).unwrap();
        for token in tokens.into_iter().filter(|token| !token.is_empty()) {
            let text = format!("{PYTHON}TOKEN = \"{token}\"\n");
            let verdict = all.curate(&sample(Some("a.py"), "text", &text)).unwrap();
            assert_eq!(verdict.decision, Decision::Keep, "{token}");
            assert_eq!(verdict.scores, [("left_for_its_tokens", 1.0)]);
        }
        let (once, _) = split(&all, Some("a.py"), PYTHON).unwrap();
        assert_eq!(split(&all, Some("a.py"), &once), None);
    }
    let all = plugin(json!({"rate": 1.0})).unwrap();
    for text in ["", " \n\n", "x\n", "pass\n", "\r\n\r\n"] {
        let verdict = all.curate(&sample(Some("a.py"), "text", text)).unwrap();
        assert_eq!(verdict.decision, Decision::Keep, "{text:?}");
        assert_eq!(verdict.scores, [("left_without_a_middle", 1.0)]);
    }
}

#[test]
fn tokens_of_ones_own_go_together_and_are_told_apart() {
    let own = json!({
        "rate": 1.0, "mode": "psm", "spans": ["block"],
        "prefix_token": "<P>", "suffix_token": "<S>", "middle_token": "<M>",
    });
    let (written, _) = split(&plugin(own).unwrap(), Some("a.py"), PYTHON).unwrap();
    let (head, tail) = PYTHON
        .split_once("path = os.path.join(base, path)")
        .unwrap();
    assert_eq!(
        written,
        format!("<P>{head}<S>{tail}<M>path = os.path.join(base, path)")
    );
    for (settings, part) in [
        (
            json!({"prefix_token": "<P>", "suffix_token": "<S>"}),
            "config.middle_token: is missing",
        ),
        (
            json!({"prefix_token": "<P>", "suffix_token": "<S>", "middle_token": "<S>"}),
            "told apart",
        ),
        (json!({"tokens": "nobody"}), "config.tokens"),
        (json!({"mode": "mps"}), "config.mode"),
        (json!({"spans": ["word"]}), "config.spans"),
    ] {
        let message = plugin(settings).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
}
