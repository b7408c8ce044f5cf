//! The other abilities: each gets the secret `KEY` and says it where the first word of its text tells it to.

use crate::Connected;
use crate::bindings::codetune::plugin::secrets;
use crate::bindings::exports::codetune::plugin::analyzer::{
    self, Diagnostic, FileAnalysis, Metric, Severity, SourceFile, Span,
};
use crate::bindings::exports::codetune::plugin::curator::{
    self, Decision, Edit, Reason, Rewriting, Sample, Signature, Verdict,
};
use crate::bindings::exports::codetune::plugin::scorer::{self, Completion, Score};

/// The secret and where to say it; what ends the call is done here.
fn told(text: &str) -> Result<(String, &str), String> {
    let key = secrets::get("KEY").unwrap_or_default();
    match text.split(' ').next().unwrap_or_default() {
        "error" => Err(format!("it is {key}")),
        "panic" => panic!("it is {key}"),
        place => Ok((key, place)),
    }
}

impl analyzer::Guest for Connected {
    fn analyze(files: Vec<SourceFile>) -> Vec<Result<FileAnalysis, String>> {
        files.iter().map(analysis).collect()
    }
}

fn analysis(file: &SourceFile) -> Result<FileAnalysis, String> {
    let (key, place) = told(&file.code)?;
    let at = |asked| match place == asked {
        true => key.clone(),
        false => String::new(),
    };
    let span = Span {
        start: 0,
        end: 1,
        line: 1,
        column: 1,
    };
    // Escaped, so that the answer's text does not hold it as it is.
    let escaped: String = at("details")
        .chars()
        .map(|c| format!("\\u{:04x}", u32::from(c)))
        .collect();
    Ok(FileAnalysis {
        diagnostics: vec![Diagnostic {
            code: at("code"),
            severity: Severity::Info,
            span,
            message: at("message"),
            suggestion: Some(analyzer::Edit {
                span,
                replacement: at("replacement"),
                confidence: 0.5,
            }),
        }],
        metrics: vec![Metric {
            name: at("metric"),
            value: 1.0,
        }],
        details: Some(format!("{{\"says\":\"{escaped}\"}}")),
    })
}

impl curator::Guest for Connected {
    fn curate(samples: Vec<Sample>) -> Vec<Result<Verdict, String>> {
        samples.iter().map(verdict).collect()
    }
}

fn verdict(sample: &Sample) -> Result<Verdict, String> {
    let (key, place) = told(&sample.parts[0].text)?;
    let reason = |code: &str, message: &str| Reason {
        code: code.to_owned(),
        message: message.to_owned(),
    };
    let rewrite = |replacement: &str, message: &str| {
        Decision::Rewrite(Rewriting {
            edits: vec![Edit {
                part: 0,
                start: 0,
                end: 1,
                replacement: replacement.to_owned(),
            }],
            reasons: vec![reason("told-to", message)],
        })
    };
    let score = |name: String, value| vec![curator::Score { name, value }];
    let (mut scores, mut signature) = (Vec::new(), None);
    let decision = match place {
        "drop" => Decision::Drop(reason("told-to", &format!("it is {key}"))),
        // Cut off within the secret.
        "long" => Decision::Drop(reason("told-to", &format!("{}{key}", "x".repeat(490)))),
        "rewrite" => rewrite(&key, "for no reason"),
        "why" => rewrite("for no reason", &key),
        "code" => Decision::Drop(reason(&key, "it is the code")),
        _ => Decision::Keep,
    };
    match place {
        "score" => scores = score(key, 1.0),
        "not-finite" => scores = score(key, f64::NAN),
        "bad-name" => scores = score(format!("A name that will not do, {key}"), 1.0),
        "signature" => {
            signature = Some(Signature {
                name: key,
                values: vec![1],
            });
        }
        _ => {}
    }
    Ok(Verdict {
        decision,
        scores,
        signature,
    })
}

impl scorer::Guest for Connected {
    fn score_completions(completions: Vec<Completion>) -> Vec<Result<Vec<Score>, String>> {
        completions.iter().map(scores).collect()
    }
}

fn scores(completion: &Completion) -> Result<Vec<Score>, String> {
    let (key, place) = told(&completion.text)?;
    let (name, reason) = match place {
        "name" => (key, String::new()),
        "reason" => ("told-to".to_owned(), format!("it is {key}")),
        // Put together by whoever takes control characters out.
        "control" => (
            "told-to".to_owned(),
            key.split_at(4).0.to_owned() + "\u{7}" + key.split_at(4).1,
        ),
        _ => ("told-to".to_owned(), String::new()),
    };
    Ok(vec![Score {
        name,
        value: 0.5,
        reason,
    }])
}
