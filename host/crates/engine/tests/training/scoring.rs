//! A run whose answers are scored, by a scorer that keeps what it was shown.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use domain::{Completion, PluginStage, PluginUse, RunConfig, RunEvent};
use engine::{MeanScores, ScoreTexts, StopFlag, TrainOptions};
use serde_json::json;

use crate::harness::{config, random_rows, train, write_rows};

#[derive(Debug, Default)]
struct Keeper(Mutex<Vec<Vec<Completion>>>);

impl ScoreTexts for Keeper {
    fn score(&self, completions: &[Completion]) -> MeanScores {
        let mut shown = self.0.lock().unwrap();
        shown.push(completions.to_vec());
        MeanScores {
            means: BTreeMap::from([("keeper/times".to_owned(), shown.len() as f64)]),
            notes: vec!["kept".to_owned()],
        }
    }
}

fn plugin(stage: PluginStage) -> PluginUse {
    PluginUse {
        name: "keeper".into(),
        stage,
        only: None,
        config: serde_json::Map::new(),
    }
}

/// Six rows with a prompt, of which two are held out.
fn scored(folder: &Path) -> RunConfig {
    let rows: Vec<_> = (0..6)
        .map(|n| json!({ "prompt": format!("def f{n}(x):\n"), "completion": format!("    return x + {n}\n") }))
        .collect();
    let mut config = config("qwen2", folder, &rows);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/model");
    config.model.path = Some(model.display().to_string());
    config.data.format = domain::DataFormat::Auto;
    let held_out = folder.join("held-out.jsonl");
    write_rows(&held_out, &rows[..3]);
    config.data.eval_path = Some(held_out.display().to_string());
    config.train.max_steps = 2;
    config.train.eval_steps = 1;
    config.train.score_prompts = 2;
    config.train.score_max_new_tokens = 4;
    config.plugins = vec![plugin(PluginStage::Score)];
    config
}

#[test]
fn the_same_prompts_are_answered_at_each_evaluation_and_their_scores_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = Arc::new(Keeper::default());
    let options = TrainOptions {
        scorer: Some(keeper.clone()),
        ..TrainOptions::default()
    };
    let (mut scores, mut notes) = (Vec::new(), 0);
    let mut hear = |event| match event {
        RunEvent::Eval { scores: found, .. } => scores.push(found["keeper/times"].as_f64()),
        RunEvent::Log { message } if message == "kept" => notes += 1,
        _ => {}
    };
    engine::train(
        &scored(folder.path()),
        &options,
        &StopFlag::new(),
        &mut hear,
    )
    .unwrap();
    assert_eq!(scores, [Some(1.0), Some(2.0), Some(3.0)]);
    assert_eq!(notes, 3);
    let shown = keeper.0.lock().unwrap();
    for completions in shown.iter() {
        assert_eq!(completions.len(), 2);
        for (n, completion) in completions.iter().enumerate() {
            assert_eq!(completion.prompt, format!("def f{n}(x):\n"));
            let reference = format!("    return x + {n}\n");
            assert_eq!(completion.reference, Some(reference));
        }
    }
}

#[test]
fn what_nobody_brought_a_plugin_for_is_refused_and_not_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let message = train(&scored(folder.path())).error();
    assert!(message.contains("scorers"), "{message}");
    let mut config = config("qwen2", folder.path(), &random_rows(2, 20, 1));
    config.plugins = vec![plugin(PluginStage::Curate)];
    let message = train(&config).error();
    assert!(message.contains("curators"), "{message}");
}
