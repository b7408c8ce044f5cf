//! Which licence a file says it is under: an SPDX line, else what licences ask to have written at the head of files.

use source_text::Language;

use crate::phrases::{CHOICES, PHRASES};

/// How much of a file is its head, in bytes: licences stand at the beginning, and notices of other files further down.
const HEAD: usize = 8 << 10;

/// What the head of a file says.
#[derive(Debug, Default, PartialEq)]
pub struct Header {
    /// An SPDX expression, or an identifier found by its text; none when nothing says one.
    pub licence: Option<String>,
    /// `spdx`, `text` or nothing.
    pub found_by: Option<&'static str>,
    /// Its bytes; where a licence was found by its text, those of the line where it begins.
    pub span: (usize, usize),
    /// Lines that name whose copyright it is, comment marks taken off.
    pub copyright: Vec<String>,
}

/// Looks at the head of a file.
pub fn header(code: &str) -> Header {
    let mut end = code.len().min(HEAD);
    while !code.is_char_boundary(end) {
        end -= 1;
    }
    let head = &code[..end];
    let mut found = Header {
        copyright: copyright(head),
        ..Header::default()
    };
    if let Some((start, expression)) = spdx(head) {
        found.span = (start, start + expression.len());
        // As people wrote it before there was `OR`.
        found.licence = Some(expression.replace('/', " OR "));
        found.found_by = Some("spdx");
        return found;
    }
    let (words, places) = words(head);
    let chosen = choice(&words);
    let by_phrase = PHRASES
        .iter()
        .find_map(|(phrase, licence)| Some((words.find(phrase)?, *licence)));
    let either = match chosen {
        Some((at, licences)) => Some((at, licences)),
        None => by_phrase.map(|(at, licence)| (at, versioned(licence, &words))),
    };
    if let Some((at, licence)) = either {
        found.licence = Some(licence);
        found.found_by = Some("text");
        let start = places[at];
        let line = head[start..].lines().next().unwrap_or_default();
        found.span = (start, start + line.trim_end().len());
    }
    found
}

/// The first SPDX line with an expression, and where that begins; what only talks about such lines has none.
fn spdx(head: &str) -> Option<(usize, &str)> {
    const MARK: &str = "SPDX-License-Identifier:";
    head.match_indices(MARK).find_map(|(at, _)| {
        let from = at + MARK.len();
        let line = head[from..].lines().next().unwrap_or_default();
        let expression = line
            .trim()
            .trim_end_matches("*/")
            .trim_end_matches("-->")
            .trim();
        let is_one = expression.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '(')
            && expression
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || " .+-()/:".contains(c));
        is_one.then(|| (from + (line.len() - line.trim_start().len()), expression))
    })
}

/// Two licences or more of which a header leaves the choice, in its order, and where it begins to.
fn choice(words: &str) -> Option<(usize, String)> {
    let is_left = [
        "at your option",
        "at your choice",
        "dual licensed",
        "dual-licensed",
    ]
    .iter()
    .any(|mark| words.contains(mark));
    // GNU's later versions are at one's option too.
    if !is_left || words.contains("any later version") {
        return None;
    }
    let start = [
        "licensed under",
        "licensed as",
        "available under",
        "under the terms of",
    ]
    .iter()
    .filter_map(|mark| words.find(mark))
    .min()?;
    let mut named: Vec<(usize, &str)> = Vec::new();
    for (name, licence) in CHOICES {
        let Some(at) = words[start..].find(name) else {
            continue;
        };
        match named.iter_mut().find(|(_, known)| *known == licence) {
            Some((before, _)) => *before = at.min(*before),
            None => named.push((at, licence)),
        }
    }
    named.sort_unstable();
    let licences: Vec<&str> = named.iter().map(|(_, licence)| *licence).collect();
    (licences.len() > 1).then(|| (start, licences.join(" OR ")))
}

/// GPL and LGPL with the version that the text names, and whether later ones will do; and those that share a phrase with another.
fn versioned(licence: &str, words: &str) -> String {
    let family = match licence {
        // The same permission, but for the condition.
        "ISC" if !words.contains("above copyright notice") => return "0BSD".to_owned(),
        "BSD-3-Clause" if words.contains("all advertising materials mentioning") => {
            return "BSD-4-Clause".to_owned();
        }
        "GPL" | "LGPL" => licence,
        "AGPL-3.0" => "AGPL",
        other => return other.to_owned(),
    };
    let versions = [("3", "3.0"), ("2.1", "2.1"), ("2", "2.0"), ("1", "1.0")];
    let named = versions.into_iter().find(|(word, _)| {
        words.contains(&format!("version {word}")) || words.contains(&format!("license v{word}"))
    });
    let version = match (named, family) {
        (Some((_, version)), _) => version,
        (None, "AGPL") => "3.0",
        (None, _) => return format!("{family}-?"),
    };
    let later = if words.contains("any later version") {
        "or-later"
    } else {
        "only"
    };
    format!("{family}-{version}-{later}")
}

/// The text in lower case with comment marks and white space as single spaces, and where each byte of it came from.
fn words(head: &str) -> (String, Vec<usize>) {
    let (mut words, mut places) = (String::with_capacity(head.len()), Vec::new());
    for (at, character) in head.char_indices() {
        let is_between = character.is_whitespace() || matches!(character, '*' | '#' | ';' | '%');
        let character = match character {
            _ if is_between && words.ends_with(' ') => continue,
            _ if is_between => ' ',
            // `//` and `--` are marks; a single one may stand in a word such as `and/or`.
            '/' | '-' if head[at + 1..].starts_with(character) || words.ends_with(' ') => continue,
            _ => character.to_ascii_lowercase(),
        };
        words.push(character);
        places.resize(words.len(), at);
    }
    (words, places)
}

fn copyright(head: &str) -> Vec<String> {
    let marks = |c: char| !c.is_alphanumeric() && !matches!(c, '(' | '©');
    head.lines()
        .map(|line| line.trim_matches(|c| marks(c) && c != '>' && c != ')'))
        .filter(|line| {
            let lower = line.to_ascii_lowercase();
            let is_said = lower.starts_with("copyright")
                || lower.starts_with("spdx-filecopyrighttext:")
                || lower.starts_with("(c) ")
                || line.starts_with('©');
            // `copyright notice` and the like are talk about it.
            is_said && lower.bytes().any(|byte| byte.is_ascii_digit())
        })
        .take(20)
        .map(str::to_owned)
        .collect()
}

/// A line that says the licence, and where it belongs: behind `#!` and a line that names the encoding.
pub fn line(code: &str, licence: &str, language: &Language) -> Option<(usize, String)> {
    let rules = &language.comments;
    let text = format!("SPDX-License-Identifier: {licence}");
    let line = match (rules.line.first(), rules.block.first()) {
        (Some(mark), _) => format!("{mark} {text}\n"),
        (None, Some((open, close))) => format!("{open} {text} {close}\n"),
        (None, None) => return None,
    };
    let mut at = 0;
    for (index, first) in code.split_inclusive('\n').take(2).enumerate() {
        let is_head = index == 0
            && (first.starts_with("#!") && !first.starts_with("#![")
                || first.starts_with("<?xml")
                || first.starts_with("<?php"))
            || first.starts_with('#') && first.contains("coding");
        if !is_head || !first.ends_with('\n') {
            break;
        }
        at += first.len();
    }
    Some((at, line))
}

/// Identifiers of an SPDX expression, without operators and exceptions.
pub fn identifiers(expression: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut is_exception = false;
    for word in expression.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')')) {
        match word {
            "" | "AND" | "OR" => {}
            "WITH" => is_exception = true,
            _ if is_exception => is_exception = false,
            word => found.push(word),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use source_text::by_name;

    use super::*;

    fn licence(code: &str) -> Option<String> {
        header(code).licence
    }

    #[test]
    fn an_spdx_line_counts_before_any_text() {
        let code =
            "/* SPDX-License-Identifier: (MIT OR Apache-2.0) */\n// GNU General Public License\n";
        let found = header(code);
        assert_eq!(found.licence.as_deref(), Some("(MIT OR Apache-2.0)"));
        assert_eq!(&code[found.span.0..found.span.1], "(MIT OR Apache-2.0)");
        assert_eq!(found.found_by, Some("spdx"));
        assert_eq!(
            identifiers("(MIT OR GPL-2.0-only WITH Classpath-exception-2.0)"),
            ["MIT", "GPL-2.0-only"]
        );
    }

    #[test]
    fn headers_are_known_by_their_words_whatever_comments_they_stand_in() {
        for (code, expected) in [
            (
                "// Licensed under the Apache License,\n// Version 2.0 (the \"License\");\n",
                "Apache-2.0",
            ),
            (
                " * Permission is hereby granted, free\n * of charge, to any person obtaining a copy\n",
                "MIT",
            ),
            (
                "# under the terms of the GNU General Public License as published\n# version 2 of the License, or any later version.\n",
                "GPL-2.0-or-later",
            ),
            (
                "-- GNU Lesser General Public License version 2.1\n",
                "LGPL-2.1-only",
            ),
            (
                "// Redistribution and use in source and binary forms, with or without\n",
                "BSD-2-Clause",
            ),
            (
                "// Redistribution and use in source and binary forms\n// Neither the name of the holder\n",
                "BSD-3-Clause",
            ),
            (
                "; terms of the Mozilla Public License, v. 2.0.\n",
                "MPL-2.0",
            ),
            (
                "/* Permission to use, copy, modify, and/or distribute this software for any purpose, provided that the above\n * copyright notice stays",
                "ISC",
            ),
            (
                "// Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is\n// hereby granted.\n",
                "0BSD",
            ),
            (
                "# Licensed to the Apache Software Foundation (ASF) under one\n# or more contributor license agreements. The ASF licenses this file\n# to you under the Apache License, Version 2.0 (the\n# \"License\")\n",
                "Apache-2.0",
            ),
            (
                " * Licensed under the Apache License 2.0 (the \"License\").  You may not use\n",
                "Apache-2.0",
            ),
            (
                "// Part of the LLVM Project, under the Apache License v2.0 with LLVM Exceptions.\n",
                "Apache-2.0 WITH LLVM-exception",
            ),
            (
                "#  Licensed to PSF under a Contributor Agreement.\n",
                "PSF-2.0",
            ),
            ("/*!\n * @license MIT\n */\n", "MIT"),
            (
                "/*!\n * express\n * Copyright(c) 2009-2013 A. Author\n * MIT Licensed\n */\n",
                "MIT",
            ),
            (
                "// Use of this source code is governed by a MIT style\n// license that can be found in the LICENSE file.\n",
                "MIT",
            ),
            (
                "// Distributed under the MIT software license, see the file COPYING.\n",
                "MIT",
            ),
            (
                "// This software is provided 'as-is', without any express or implied\n// warranty.\n",
                "Zlib",
            ),
        ] {
            assert_eq!(licence(code).as_deref(), Some(expected), "{code}");
        }
        assert_eq!(licence("fn license() {}\n"), None);
        assert_eq!(licence(""), None);
    }

    #[test]
    fn a_choice_of_licences_is_one() {
        for (code, expected) in [
            (
                "// Licensed under the Apache License, Version 2.0 <LICENSE-APACHE or\n// https://www.apache.org/licenses/LICENSE-2.0> or the MIT license\n// <LICENSE-MIT or https://opensource.org/licenses/MIT>, at your\n// option.\n",
                "Apache-2.0 OR MIT",
            ),
            (
                "// Licensed under the 2-Clause BSD license <LICENSE-BSD>, Apache License, Version 2.0\n// <LICENSE-APACHE>, or the MIT license <LICENSE-MIT>, at your option.\n",
                "BSD-2-Clause OR Apache-2.0 OR MIT",
            ),
            (
                "// SPDX-License-Identifier: MIT/Apache-2.0\n",
                "MIT OR Apache-2.0",
            ),
        ] {
            assert_eq!(licence(code).as_deref(), Some(expected), "{code}");
        }
        let later =
            "# the GNU General Public License, version 2 or (at your option) any later version\n";
        assert_eq!(licence(later).as_deref(), Some("GPL-2.0-or-later"));
    }

    #[test]
    fn talk_about_spdx_lines_names_no_licence() {
        let code = "const MARK: &str = \"SPDX-License-Identifier:\";\nlet line = format!(\"{MARK} {id}\");\n";
        assert_eq!(licence(code), None);
        assert_eq!(
            licence(&format!("// SPDX-License-Identifier: ISC\n{code}")).as_deref(),
            Some("ISC")
        );
    }

    #[test]
    fn copyright_lines_are_told_from_talk_about_copyright() {
        let code = "# Copyright (c) 2020 Jo Doe\n# SPDX-FileCopyrightText: 2021 Firm\n# Copyright notice of the file\n";
        assert_eq!(
            header(code).copyright,
            [
                "Copyright (c) 2020 Jo Doe",
                "SPDX-FileCopyrightText: 2021 Firm"
            ]
        );
    }

    #[test]
    fn a_line_goes_behind_what_has_to_stand_first() {
        let python = by_name("python").unwrap();
        let code = "#!/usr/bin/python\n# -*- coding: utf-8 -*-\nx = 1\n";
        let (at, text) = line(code, "MIT", python).unwrap();
        assert_eq!(
            (&code[at..], text.as_str()),
            ("x = 1\n", "# SPDX-License-Identifier: MIT\n")
        );
        assert_eq!(line("x = 1\n", "MIT", python).unwrap().0, 0);
        let css = line("", "MIT", by_name("css").unwrap()).unwrap().1;
        assert_eq!(css, "/* SPDX-License-Identifier: MIT */\n");
        assert_eq!(line("", "MIT", by_name("json").unwrap()), None);
    }

    #[test]
    fn no_text_trips_it() {
        for code in [
            "é",
            "SPDX-License-Identifier:",
            "SPDX-License-Identifier: é",
            "/",
            "--",
            "#!",
        ] {
            header(code);
        }
        header(&"é".repeat(HEAD));
    }
}
