//! A curator and scorer that does what the first word of a sample or completion tells it to, harm above all.

#![cfg(target_family = "wasm")]

/// The contract, as Rust.
mod bindings {
    #![allow(missing_docs, unreachable_pub)]
    wit_bindgen::generate!({
        inline: "
            package tests:hostile;
            world both {
                export codetune:plugin/tool@0.1.1;
                export codetune:plugin/curator@0.1.1;
                export codetune:plugin/scorer@0.1.1;
            }
        ",
        path: "../../../../wit/0.1.1",
    });
}

use bindings::exports::codetune::plugin::curator::{
    self, Decision, Edit, Reason, Rewriting, Sample, Signature, Verdict,
};
use bindings::exports::codetune::plugin::scorer::{self, Completion};
use bindings::exports::codetune::plugin::tool::{self, PluginMetadata};

struct Hostile;

const ANSI: &str = "\u{1b}[31mred\u{1b}[0m\u{7}<script>alert(1)</script>";

impl tool::Guest for Hostile {
    fn metadata() -> PluginMetadata {
        PluginMetadata {
            name: "hostile-curators".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: format!("Does harm. {ANSI}"),
            author: ANSI.to_owned(),
            tags: vec![ANSI.to_owned()],
            input_schema: r#"{"type":"object"}"#.to_owned(),
            output_schema: r#"{"type":"object","required":["ok"]}"#.to_owned(),
            config_schema: "{}".to_owned(),
        }
    }

    fn validate_inputs(_inputs: String) -> Result<(), String> {
        Ok(())
    }

    fn execute(_inputs: String) -> Result<String, String> {
        Ok(r#"{"no":NaN}"#.to_owned())
    }
}

fn keep() -> Verdict {
    Verdict {
        decision: Decision::Keep,
        scores: Vec::new(),
        signature: None,
    }
}

fn reason(code: &str) -> Reason {
    Reason {
        code: code.to_owned(),
        message: ANSI.to_owned(),
    }
}

fn rewrite(edits: &[(u32, u32, u32)], codes: &[&str]) -> Verdict {
    let edits = edits.iter().map(|(part, start, end)| Edit {
        part: *part,
        start: *start,
        end: *end,
        replacement: format!("-{ANSI}-"),
    });
    Verdict {
        decision: Decision::Rewrite(Rewriting {
            edits: edits.collect(),
            reasons: codes.iter().map(|code| reason(code)).collect(),
        }),
        ..keep()
    }
}

fn scored(name: &str, value: f64) -> Verdict {
    Verdict {
        scores: vec![curator::Score {
            name: name.to_owned(),
            value,
        }],
        ..keep()
    }
}

fn signed(name: &str, values: usize) -> Verdict {
    Verdict {
        signature: Some(Signature {
            name: name.to_owned(),
            values: vec![7; values],
        }),
        ..keep()
    }
}

/// Frames so small that the machine's stack ends before the guest's own.
fn recurse(depth: u64) -> u64 {
    match std::hint::black_box(depth) {
        u64::MAX => 0,
        depth => recurse(depth + 1) + 1,
    }
}

/// Harm that ends a call.
fn harm(word: &str) {
    match word {
        "trap" => std::process::abort(),
        "panic" => panic!("told to"),
        "loop" => loop {
            std::hint::black_box(0);
        },
        "recursion" => {
            std::hint::black_box(recurse(0));
        }
        "memory" => {
            let mut all = Vec::new();
            loop {
                all.push(std::hint::black_box(vec![1_u8; 1 << 20]));
            }
        }
        "log-flood" => {
            for _ in 0..100_000 {
                eprintln!("{}", "x".repeat(100));
            }
        }
        _ => {}
    }
}

fn judge(sample: &Sample, seen: usize) -> Result<Verdict, String> {
    let text = &sample.parts[0].text;
    let word = text.split(' ').next().unwrap_or_default();
    harm(word);
    Ok(match word {
        "nan-score" => scored("score", f64::NAN),
        "infinite-score" => scored("score", f64::INFINITY),
        "ansi-score" => scored(ANSI, 1.0),
        "long-name" => scored(&"x".repeat(65), 1.0),
        "many-scores" => Verdict {
            scores: (0..65)
                .map(|index| curator::Score {
                    name: format!("s{index}"),
                    value: 0.0,
                })
                .collect(),
            ..keep()
        },
        "flood" => signed("s", 5 << 20),
        "long-signature" => signed("s", 5000),
        "empty-signature" => signed("s", 0),
        "ansi-signature" => signed(ANSI, 1),
        "drop" => Verdict {
            decision: Decision::Drop(reason("told-to")),
            ..keep()
        },
        "ansi-code" => Verdict {
            decision: Decision::Drop(reason(ANSI)),
            ..keep()
        },
        "long-message" => Verdict {
            decision: Decision::Drop(Reason {
                code: "long".to_owned(),
                message: "é".repeat(10_000),
            }),
            ..keep()
        },
        "rewrite" => rewrite(&[(0, 0, 7)], &["told-to"]),
        "outside" => rewrite(&[(0, 0, 1_000_000)], &["a"]),
        "backwards" => rewrite(&[(0, 5, 2)], &["a"]),
        "huge" => rewrite(&[(0, u32::MAX, u32::MAX)], &["a"]),
        "within-é" => rewrite(&[(0, 8, 9)], &["a"]),
        "no-part" => rewrite(&[(9, 0, 0)], &["a"]),
        "overlap" => rewrite(&[(0, 0, 4), (0, 3, 5)], &["a"]),
        "disorder" => rewrite(&[(0, 4, 5), (0, 0, 1)], &["a"]),
        "no-edit" => rewrite(&[], &["a"]),
        "no-reason" => rewrite(&[(0, 0, 1)], &[]),
        "twice" => rewrite(&[(0, 0, 1)], &["a", "a"]),
        "error" => return Err(ANSI.to_owned()),
        // How many samples this instance has seen: what comes after a trap comes to a fresh one.
        "count" => scored("seen", seen as f64),
        _ => keep(),
    })
}

impl curator::Guest for Hostile {
    fn curate(samples: Vec<Sample>) -> Vec<Result<Verdict, String>> {
        static SEEN: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let first = samples.first().map(|sample| sample.parts[0].text.clone());
        match first.as_deref() {
            Some("no-answer") => return Vec::new(),
            Some("two-answers") => return vec![Ok(keep()), Ok(keep())],
            _ => {}
        }
        let judged = samples.iter().map(|sample| {
            let seen = SEEN.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            judge(sample, seen)
        });
        judged.collect()
    }
}

impl scorer::Guest for Hostile {
    fn score_completions(completions: Vec<Completion>) -> Vec<Result<Vec<scorer::Score>, String>> {
        let score = |name: &str, value| scorer::Score {
            name: name.to_owned(),
            value,
            reason: ANSI.to_owned(),
        };
        let scored = completions.iter().map(|completion| {
            let word = completion.text.split(' ').next().unwrap_or_default();
            harm(word);
            match word {
                "nan" => Ok(vec![score("s", f64::NAN)]),
                "above" => Ok(vec![score("s", 1.000_001)]),
                "below" => Ok(vec![score("s", -0.1)]),
                "none" => Ok(Vec::new()),
                "twice" => Ok(vec![score("s", 0.0), score("s", 1.0)]),
                "ansi" => Ok(vec![score(ANSI, 0.0)]),
                "error" => Err(ANSI.to_owned()),
                _ => Ok(vec![score("s", 0.5)]),
            }
        });
        scored.collect()
    }
}

bindings::export!(Hostile with_types_in bindings);
