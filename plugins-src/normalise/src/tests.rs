use codetune_plugin::serde_json::Value;
use codetune_plugin::verdict_json;

use super::*;

fn all() -> Normalise {
    Normalise::new(&Settings::none()).unwrap()
}

fn sample(path: Option<&str>, text: &str) -> Sample {
    Sample {
        parts: vec![Part {
            name: "text".to_owned(),
            text: text.to_owned(),
            learned: true,
        }],
        path: path.map(str::to_owned),
        language: None,
    }
}

/// The text after the edits, and the reasons.
fn made(plugin: &Normalise, path: Option<&str>, text: &str) -> (String, Vec<String>) {
    let sample = sample(path, text);
    let verdict = plugin.curate(&sample).unwrap();
    let shown: Value =
        codetune_plugin::serde_json::from_str(&verdict_json(&sample, &verdict)).unwrap();
    let reasons = shown["reasons"].as_array().unwrap().iter();
    let codes = reasons.map(|reason| reason["code"].as_str().unwrap().to_owned());
    (shown["text"].as_str().unwrap().to_owned(), codes.collect())
}

#[test]
fn each_change_is_made_and_told_once_and_a_second_pass_keeps() {
    for (path, text, expected, reason) in [
        (
            "a.py",
            "# Copyright 2020 Somebody\n# All rights reserved.\n\nx = 1\n",
            "x = 1\n",
            "licence-header",
        ),
        (
            "a.py",
            "#!/usr/bin/env python\n# SPDX-License-Identifier: MIT\nx = 1\n",
            "#!/usr/bin/env python\nx = 1\n",
            "licence-header",
        ),
        (
            "a.c",
            "/*\n * Licensed under the MIT license.\n */\n\n#include <a.h>\n",
            "#include <a.h>\n",
            "licence-header",
        ),
        (
            "a.go",
            "// Copyright 2020 X\n// license that can be found\n\n//go:build linux\n\npackage p\n",
            "//go:build linux\n\npackage p\n",
            "licence-header",
        ),
        ("a.py", "x = 1\r\ny = 2\r\n", "x = 1\ny = 2\n", "line-ends"),
        (
            "a.py",
            "x = 1  \n\t\ny = 2\t\n",
            "x = 1\n\ny = 2\n",
            "trailing-space",
        ),
        ("a.py", "x = 1\n\n\n", "x = 1\n", "last-line-break"),
        ("a.py", "x = 1", "x = 1\n", "last-line-break"),
    ] {
        let (found, reasons) = made(&all(), Some(path), text);
        assert_eq!(found, expected, "{text:?}");
        assert_eq!(reasons, [reason], "{text:?}");
        assert_eq!(
            all().curate(&sample(Some(path), &found)).unwrap().decision,
            Decision::Keep
        );
    }
}

#[test]
fn what_is_no_licence_stays() {
    for (path, text) in [
        ("a.py", "# Sizes of files.\n\nx = 1\n"),
        ("a.rs", "//! Reads licences.\n\nfn f() {}\n"),
        ("a.py", "x = 1\n# Copyright is read here.\n"),
        ("a.c", "int x; /* Copyright */\n"),
        ("a.c", "/* Copyright */ int x;\n"),
        ("a.py", "\"\"\"Licence of a file.\"\"\"\nx = 1\n"),
        ("a.md", "# Licence  \n\nMIT  \n"),
        (
            "a.py",
            "# Finds the license of a package; f(c) is asked first.\n\nx = 1\n",
        ),
        (
            "a.js",
            "// Which licences and copyrights a file names.\nlet a = 1;\n",
        ),
    ] {
        let verdict = all().curate(&sample(Some(path), text)).unwrap();
        assert_eq!(verdict.decision, Decision::Keep, "{text:?}");
    }
}

#[test]
fn what_a_licence_comment_says_to_others_and_documentation_below_it_stay() {
    for (path, text, expected) in [
        (
            "a.py",
            "# -*- coding: latin-1 -*-\n# Copyright 2020 X\n# Licensed under Y.\nx = 1\n",
            "# -*- coding: latin-1 -*-\nx = 1\n",
        ),
        (
            "a.rb",
            "# frozen_string_literal: true\n# Copyright 2020 X\nx = 1\n",
            "# frozen_string_literal: true\nx = 1\n",
        ),
        (
            "a.ts",
            "// Copyright 2020 X\n// @ts-nocheck\nlet a = 1;\n",
            "// @ts-nocheck\nlet a = 1;\n",
        ),
        (
            "a.rs",
            "// Copyright 2020 X\n// License Y\n//! What it does.\n\nfn f() {}\n",
            "//! What it does.\n\nfn f() {}\n",
        ),
    ] {
        assert_eq!(made(&all(), Some(path), text).0, expected);
    }
}

#[test]
fn white_space_that_is_a_value_stays() {
    let text = "x = '''a  \nb'''\n";
    assert_eq!(made(&all(), Some("a.py"), text).0, text);
}

#[test]
fn all_changes_at_once_do_not_get_in_each_others_way() {
    let text = "// Copyright X \r\n// License Y\t\r\n\r\nlet a = 1; \r\nlet b = 2;\r\n\r\n";
    let (found, reasons) = made(&all(), Some("a.js"), text);
    assert_eq!(found, "let a = 1;\nlet b = 2;\n");
    assert_eq!(
        reasons,
        [
            "licence-header",
            "line-ends",
            "trailing-space",
            "last-line-break"
        ]
    );
}

#[test]
fn a_change_that_is_switched_off_is_not_made() {
    let none = Normalise {
        licence_header: false,
        line_ends: false,
        trailing_space: false,
        last_line_break: false,
    };
    let text = "# Copyright X\r\n\r\nx = 1 \r\n\r\n";
    assert_eq!(
        none.curate(&sample(Some("a.py"), text)).unwrap().decision,
        Decision::Keep
    );
}

#[test]
fn a_text_that_is_no_file_keeps_its_end_and_one_that_is_no_code_its_spaces() {
    assert_eq!(
        made(&all(), None, "def f(x):\n    return x").0,
        "def f(x):\n    return x"
    );
    assert_eq!(made(&all(), None, "12 34  \r\n5").0, "12 34  \n5");
}

#[test]
fn no_text_trips_it() {
    for text in [
        "",
        "\r",
        "\r\r\n",
        "é \r",
        "#",
        "#!",
        "/* copyright",
        "// (c) é",
        " \n \n",
        "'é \n",
        "# copyright\r",
    ] {
        for path in ["a.py", "a.c", "a.rs", "a.html", "a.sh"] {
            made(&all(), Some(path), text);
        }
    }
}
