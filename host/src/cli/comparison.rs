//! `codetune eval --scorers`: what plugins say of a model's answers, alone or against another's on the same prompts.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use domain::Completion;
use engine::data::Prompt;
use engine::generate::{GenerateRequest, Generator, Placement};
use serde::Serialize;
use serde_json::json;

use super::eval::{EvalArgs, bad_input};
use super::{scorers, usage_error};
use crate::bootstrap::{Bootstrap, Interval};
use crate::config::Config;
use crate::scoring::{Scored, Scorers, failures};

/// Answers that are written together.
const TOGETHER: usize = 16;
/// The model without any adapter, as `--against` names it.
const BASE: &str = "base";

/// One score of both.
#[derive(Debug, Serialize)]
struct Compared {
    /// Prompts for which both have the score.
    pairs: usize,
    mean: f64,
    against: f64,
    /// What the first has above the second, paired by prompt.
    difference: Interval,
    /// Prompts on which the first scores higher, the same, and lower.
    better: usize,
    equal: usize,
    worse: usize,
}

/// One score of one.
#[derive(Debug, Serialize)]
struct Alone {
    answers: usize,
    #[serde(flatten)]
    mean: Interval,
}

/// Has the prompts answered, scores the answers and prints what was found.
///
/// # Errors
/// A plugin, adapter or setting that cannot be used.
pub(super) fn run(
    args: &EvalArgs,
    config: &Config,
    model: (&Path, &Placement),
    prompts: &[Prompt],
) -> anyhow::Result<ExitCode> {
    let bootstrap = Bootstrap {
        resamples: args.resamples,
        confidence: args.confidence,
        seed: args.seed,
    };
    if !(args.confidence > 0.0 && args.confidence < 1.0) || args.resamples == 0 {
        return Err(usage_error(format!(
            "--confidence {} --resamples {}: between 0 and 1, and at least 1",
            args.confidence, args.resamples
        )));
    }
    if prompts.is_empty() {
        return Err(usage_error(format!(
            "--data {}: holds no prompts",
            args.data.display()
        )));
    }
    let host = super::plugin::open_named(config)?;
    let named = scorers::with_settings(&args.scorers, &args.scorer_config)?;
    let scorers = Scorers::open(&host, named).map_err(super::plugin::refused)?;
    let scored = |adapter: Option<&Path>| -> anyhow::Result<Vec<Scored>> {
        let answers = answer(args, model, adapter, prompts)?;
        let scored = scorers.score(&answers);
        for note in failures(&scored) {
            eprintln!("{note}");
        }
        Ok(scored)
    };
    let first = scored(args.adapter.as_deref())?;
    let Some(against) = &args.against else {
        return print_alone(args, &bootstrap, &first);
    };
    let other = (against.as_os_str() != BASE).then_some(against.as_path());
    let second = scored(other)?;
    print_compared(args, &bootstrap, &first, &second)
}

fn answer(
    args: &EvalArgs,
    (model, placement): (&Path, &Placement),
    adapter: Option<&Path>,
    prompts: &[Prompt],
) -> anyhow::Result<Vec<Completion>> {
    let generator = Generator::load_on(model, adapter, false, placement).map_err(bad_input)?;
    let requests: Vec<GenerateRequest> = prompts
        .iter()
        .enumerate()
        .map(|(index, prompt)| GenerateRequest {
            prompt: prompt.prompt.clone(),
            max_new_tokens: args.max_new_tokens,
            temperature: args.temperature,
            // Both draw the same numbers for a prompt.
            seed: args.seed.wrapping_add(index as u64),
            stop: args.stop.clone(),
            use_adapter: adapter.is_some(),
            ..GenerateRequest::default()
        })
        .collect();
    let count = prompts.len();
    let mut answers = Vec::with_capacity(count);
    for (requests, prompts) in requests.chunks(TOGETHER).zip(prompts.chunks(TOGETHER)) {
        let written = generator
            .generate_all(requests, &mut |_, _| ControlFlow::Continue(()))
            .map_err(bad_input)?;
        answers.extend(
            written
                .into_iter()
                .zip(prompts)
                .map(|(written, asked)| Completion {
                    prompt: asked.prompt.clone(),
                    text: written.text,
                    reference: (!asked.reference.is_empty()).then(|| asked.reference.clone()),
                    language: args.language.clone(),
                }),
        );
        if !args.json {
            eprintln!("{} of {count} prompts answered", answers.len());
        }
    }
    Ok(answers)
}

/// Values of each score, by name; `None` where a completion has it not.
fn columns(scored: &[Scored]) -> BTreeMap<&str, Vec<Option<f64>>> {
    let names = scored.iter().flat_map(|scored| scored.scores.keys());
    let mut columns: BTreeMap<&str, Vec<Option<f64>>> =
        names.map(|name| (name.as_str(), Vec::new())).collect();
    for (name, values) in &mut columns {
        values.extend(
            scored
                .iter()
                .map(|scored| scored.scores.get(*name).copied()),
        );
    }
    columns
}

fn print_alone(
    args: &EvalArgs,
    bootstrap: &Bootstrap,
    scored: &[Scored],
) -> anyhow::Result<ExitCode> {
    let found: BTreeMap<&str, Alone> = columns(scored)
        .into_iter()
        .filter_map(|(name, values)| {
            let values: Vec<f64> = values.into_iter().flatten().collect();
            let mean = bootstrap.interval(&values)?;
            let answers = values.len();
            Some((name, Alone { answers, mean }))
        })
        .collect();
    if found.is_empty() {
        return Ok(nothing_scored());
    }
    if args.json {
        println!("{}", report(args, scored.len(), json!(found)));
        return Ok(ExitCode::SUCCESS);
    }
    for (name, Alone { answers, mean }) in found {
        let Interval { mean, low, high } = mean;
        println!("{name:<32} {mean:.4}  [{low:.4}, {high:.4}]  over {answers} answers");
    }
    Ok(ExitCode::SUCCESS)
}

fn print_compared(
    args: &EvalArgs,
    bootstrap: &Bootstrap,
    first: &[Scored],
    second: &[Scored],
) -> anyhow::Result<ExitCode> {
    let others = columns(second);
    let found: BTreeMap<&str, Compared> = columns(first)
        .into_iter()
        .filter_map(|(name, values)| {
            let other = others.get(name)?;
            let pairs = values.iter().zip(other);
            let pairs: Vec<(f64, f64)> = pairs.filter_map(|(a, b)| Some(((*a)?, (*b)?))).collect();
            Some((name, compare(&pairs, bootstrap)?))
        })
        .collect();
    if found.is_empty() {
        return Ok(nothing_scored());
    }
    if args.json {
        println!("{}", report(args, first.len(), json!(found)));
        return Ok(ExitCode::SUCCESS);
    }
    for (name, found) in found {
        let Interval { mean, low, high } = found.difference;
        println!(
            "{name:<32} {:.4} against {:.4}: {mean:+.4}  [{low:+.4}, {high:+.4}]  {} better, {} equal, {} worse{}",
            found.mean,
            found.against,
            found.better,
            found.equal,
            found.worse,
            match low > 0.0 || high < 0.0 {
                true => "",
                false => "; may be chance",
            }
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// `None` where there are no pairs.
fn compare(pairs: &[(f64, f64)], bootstrap: &Bootstrap) -> Option<Compared> {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
    let count = |wanted: fn(&f64) -> bool| differences.iter().filter(|d| wanted(d)).count();
    let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / pairs.len() as f64;
    Some(Compared {
        difference: bootstrap.interval(&differences)?,
        pairs: pairs.len(),
        mean: mean(|(a, _)| *a),
        against: mean(|(_, b)| *b),
        better: count(|d| *d > 0.0),
        equal: count(|d| *d == 0.0),
        worse: count(|d| *d < 0.0),
    })
}

fn report(args: &EvalArgs, prompts: usize, scores: serde_json::Value) -> serde_json::Value {
    json!({
        "prompts": prompts,
        "resamples": args.resamples,
        "confidence": args.confidence,
        "seed": args.seed,
        "scores": scores,
    })
}

fn nothing_scored() -> ExitCode {
    eprintln!("error: no answer could be scored");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comparison_is_paired_by_prompt() {
        let bootstrap = Bootstrap {
            resamples: 1000,
            confidence: 0.95,
            seed: 0,
        };
        // Each prompt scores otherwise, but the first is always ahead by a tenth or level.
        let pairs: Vec<(f64, f64)> = (0..40)
            .map(|n| f64::from(n) / 50.0)
            .enumerate()
            .map(|(n, base)| (if n % 4 == 0 { base } else { base + 0.125 }, base))
            .collect();
        let found = compare(&pairs, &bootstrap).unwrap();
        assert_eq!((found.better, found.equal, found.worse), (30, 10, 0));
        // Unpaired, the spread over the prompts would hide it.
        assert!(found.difference.low > 0.05, "{:?}", found.difference);
        assert!((found.difference.mean - (found.mean - found.against)).abs() < 1e-12);
        assert!(compare(&[], &bootstrap).is_none());
    }
}
