//! `codetune plugin test`: a project's own examples, with what each costs.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use domain::{Execution, ExecutionOutcome, PluginKind, SourceFile};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::trial::Trial;
use super::{build, told_fuel, usage_error};
use crate::config::Config;

/// Arguments of `codetune plugin test`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  codetune plugin test my-plugin\n  codetune plugin test my-plugin --bless\n\n\
    fixtures.json is a list of {\"input\": …, \"output\": …}; --bless writes what the plugin answers now."
)]
pub(crate) struct TestArgs {
    /// The project; a folder with plugin.toml, component and fixtures.json will do
    folder: PathBuf,
    /// Write the answers into fixtures.json instead of comparing
    #[arg(long)]
    bless: bool,
    /// Take the component that is there
    #[arg(long)]
    no_build: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

/// One example.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fixture {
    /// What the tool gets.
    pub(super) input: Value,
    /// What it must answer; anything that fits its schema when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Value>,
}

/// How one example went.
#[derive(Debug, Serialize)]
struct Case {
    /// Its place in the file, from 0.
    index: usize,
    passed: bool,
    /// Where answer and expectation differ, or why there is no answer.
    differences: Vec<String>,
    duration_us: u64,
    fuel: u64,
    peak_memory_bytes: u64,
    /// Of the answer as JSON.
    output_bytes: usize,
    #[serde(skip_serializing_if = "String::is_empty")]
    log: String,
    #[serde(skip)]
    output: Option<Value>,
}

#[derive(Debug, Serialize)]
struct Report {
    plugin: String,
    digest: String,
    passed: usize,
    failed: usize,
    cases: Vec<Case>,
}

/// Builds, runs the examples, compares and prints; exit code 1 when one differs.
///
/// # Errors
/// No project, no examples, a build that fails, a plugin that does not load.
pub(crate) fn run(args: &TestArgs, config: &Config) -> anyhow::Result<ExitCode> {
    if !args.no_build && build::is_project(&args.folder) {
        build::build(&args.folder)?;
    }
    let report = test(&args.folder, config)?;
    if args.bless {
        return bless(&args.folder, &report);
    }
    if args.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    Ok(ExitCode::from(u8::from(report.failed > 0)))
}

/// The same for `watch`: whether all passed.
pub(super) fn test_and_print(folder: &Path, config: &Config) -> anyhow::Result<bool> {
    let report = test(folder, config)?;
    print(&report);
    Ok(report.failed == 0)
}

/// Holds a plugin to its examples, where it has any.
///
/// # Errors
/// How many it fails.
pub(super) fn hold(folder: &Path, config: &Config) -> anyhow::Result<()> {
    if !folder.join("fixtures.json").exists() {
        return Ok(());
    }
    let report = test(folder, config)?;
    let shown = folder.display();
    anyhow::ensure!(
        report.failed == 0,
        "{} fails {} of its own examples; `codetune plugin test {shown}` shows them",
        report.plugin,
        report.failed
    );
    Ok(())
}

/// Reads `fixtures.json`.
///
/// # Errors
/// Names the file, and what is wrong in it.
pub(super) fn fixtures(folder: &Path) -> anyhow::Result<Vec<Fixture>> {
    let path = folder.join("fixtures.json");
    let text = std::fs::read(&path).map_err(|error| {
        usage_error(format!(
            "{}: {error}; it is a list of {{\"input\": …, \"output\": …}}",
            path.display()
        ))
    })?;
    serde_json::from_slice(&text).map_err(|error| {
        usage_error(format!(
            "{} is no list of {{input, output}}: {error}",
            path.display()
        ))
    })
}

fn test(folder: &Path, config: &Config) -> anyhow::Result<Report> {
    let fixtures = fixtures(folder)?;
    let trial = Trial::open(folder, config)?.loaded(folder)?;
    let cases = fixtures
        .iter()
        .enumerate()
        .map(|(index, fixture)| case(&trial, index, fixture))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let failed = cases.iter().filter(|case| !case.passed).count();
    Ok(Report {
        plugin: trial.plugin.name.clone(),
        digest: trial.plugin.digest.clone(),
        passed: cases.len() - failed,
        failed,
        cases,
    })
}

fn case(trial: &Trial, index: usize, fixture: &Fixture) -> anyhow::Result<Case> {
    let execution = trial.host.run(&trial.plugin.name, &fixture.input)?;
    let Execution {
        duration_us,
        fuel,
        peak_memory_bytes,
        log,
        outcome,
        ..
    } = execution;
    let mut differences = Vec::new();
    let output = match outcome {
        ExecutionOutcome::Ok { output } => {
            if let Some(expected) = &fixture.output {
                compare("", expected, &output, &mut differences);
            }
            differences.extend(alone(trial, &fixture.input, &output)?);
            Some(output)
        }
        ExecutionOutcome::Failed { code, message } => {
            differences.push(format!("no answer: {code}: {message}"));
            None
        }
    };
    Ok(Case {
        index,
        passed: differences.is_empty(),
        differences,
        duration_us,
        fuel,
        peak_memory_bytes,
        output_bytes: output.as_ref().map_or(0, |output| output.to_string().len()),
        log,
        output,
    })
}

/// An analyzer answers twice: to its tool, and to `analyze`, whose `details` must be the tool's answer.
fn alone(trial: &Trial, input: &Value, output: &Value) -> anyhow::Result<Vec<String>> {
    let text = |key: &str| input.get(key).and_then(Value::as_str).map(str::to_owned);
    let Some(code) = text("code").filter(|_| trial.plugin.kinds.contains(&PluginKind::Analyzer))
    else {
        return Ok(Vec::new());
    };
    let file = SourceFile {
        path: text("path").unwrap_or_default(),
        code,
        language: text("language"),
    };
    let mut analyses = trial.host.analyze(&trial.plugin.name, &[file])?;
    let analysis = analyses.pop().context("one file has one analysis")?;
    let mut differences = Vec::new();
    if let Some(why) = analysis.unanalyzable {
        differences.push(format!("`execute` answers, but `analyze` does not: {why}"));
    }
    if let Some(details) = analysis.details {
        compare(
            "analyze's details: ",
            output,
            &details.value(),
            &mut differences,
        );
    }
    Ok(differences)
}

/// Differences that one example shows.
const SHOWN: usize = 20;

/// Adds one line for each place where `found` is not what is expected; places as JSON pointers.
fn compare(at: &str, expected: &Value, found: &Value, differences: &mut Vec<String>) {
    if differences.len() >= SHOWN || plugin_host::is_same_json(expected, found) {
        return;
    }
    match (expected, found) {
        (Value::Object(expected), Value::Object(found)) => {
            for (key, value) in expected {
                let at = format!("{at}/{key}");
                match found.get(key) {
                    Some(found) => compare(&at, value, found, differences),
                    None => differences.push(format!("{at}: expected {value}, there is none")),
                }
            }
            for (key, value) in found.iter().filter(|(key, _)| !expected.contains_key(*key)) {
                differences.push(format!("{at}/{key}: expected none, found {value}"));
            }
        }
        (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
            for (index, (expected, found)) in expected.iter().zip(found).enumerate() {
                compare(&format!("{at}/{index}"), expected, found, differences);
            }
        }
        _ => differences.push(format!("{at}: expected {expected}, found {found}")),
    }
}

fn print(report: &Report) {
    for case in &report.cases {
        let word = if case.passed { "ok    " } else { "FAILED" };
        println!(
            "{word} example {}  {} us, {}, {} bytes of memory, {} bytes of answer",
            case.index,
            case.duration_us,
            told_fuel(case.fuel),
            case.peak_memory_bytes,
            case.output_bytes
        );
        for difference in &case.differences {
            println!("       {difference}");
        }
        for line in case.log.lines() {
            println!("       log: {line}");
        }
    }
    println!(
        "{}: {} passed, {} failed",
        report.plugin, report.passed, report.failed
    );
}

/// Writes what the plugin answers now; an example without an answer stays as it is, and is told.
fn bless(folder: &Path, report: &Report) -> anyhow::Result<ExitCode> {
    let mut fixtures = fixtures(folder)?;
    let mut left = 0;
    for (fixture, case) in fixtures.iter_mut().zip(&report.cases) {
        match &case.output {
            Some(output) => fixture.output = Some(output.clone()),
            None => {
                left += 1;
                eprintln!("example {}: {}", case.index, case.differences.join("; "));
            }
        }
    }
    let mut text = serde_json::to_string_pretty(&fixtures)?;
    text.push('\n');
    super::write(&folder.join("fixtures.json"), text.as_bytes())?;
    println!(
        "{}: {} answers written, {left} left",
        folder.join("fixtures.json").display(),
        fixtures.len() - left
    );
    Ok(ExitCode::from(u8::from(left > 0)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::compare;

    #[test]
    fn differences_are_told_by_their_places() {
        let expected = json!({ "a": [1, { "b": 2 }], "c": "x", "d": 1 });
        let found = json!({ "a": [1.0, { "b": 3 }], "d": 1, "e": null });
        let mut differences = Vec::new();
        compare("", &expected, &found, &mut differences);
        assert_eq!(
            differences,
            [
                "/a/1/b: expected 2, found 3",
                "/c: expected \"x\", there is none",
                "/e: expected none, found null",
            ]
        );
        differences.clear();
        compare("", &json!([1]), &json!([1, 2]), &mut differences);
        assert_eq!(differences, [": expected [1], found [1,2]"]);
    }
}
