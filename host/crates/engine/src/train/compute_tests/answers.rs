//! What a run's scorers are shown.

use std::sync::Mutex;

use domain::{Completion, PluginStage, PluginUse};

use super::*;
use crate::train::{MeanScores, ScoreTexts};

/// Keeps what it was shown.
#[derive(Debug, Default)]
struct Keeper(Mutex<Vec<Vec<String>>>);

impl ScoreTexts for Keeper {
    fn score(&self, completions: &[Completion]) -> MeanScores {
        let texts = completions.iter().map(|one| one.text.clone());
        self.0.lock().unwrap().push(texts.collect());
        MeanScores::default()
    }
}

/// The answers that a scorer is shown at each evaluation of a run that saves nothing before its end, and the run's events.
fn answers(
    folder: &Path,
    machine: Option<Arc<Emulated>>,
    (prompt, completion): (&str, &str),
    max_new_tokens: u32,
) -> (Vec<Vec<String>>, Vec<RunEvent>) {
    let device = if machine.is_some() { "cuda" } else { "cpu" };
    let mut config = config("qwen2", folder, device);
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../sample/model");
    config.model.path = Some(model.display().to_string());
    config.data.format = domain::DataFormat::Auto;
    let rows = (0..2).map(|n| {
        let prompt = prompt.replace('N', &format!("{n}"));
        let row = serde_json::json!({ "prompt": prompt, "completion": completion });
        format!("{row}\n")
    });
    std::fs::write(folder.join("data.jsonl"), rows.collect::<String>()).unwrap();
    config.train.learning_rate = 2e-2;
    config.train.max_steps = 3;
    config.train.eval_steps = 1;
    config.train.save_steps = 0;
    config.train.score_prompts = 2;
    config.train.score_max_new_tokens = max_new_tokens;
    config.plugins = vec![PluginUse {
        name: "keeper".into(),
        stage: PluginStage::Score,
        only: None,
        config: serde_json::Map::new(),
    }];
    let keeper = Arc::new(Keeper::default());
    let options = TrainOptions {
        scorer: Some(keeper.clone()),
        ..TrainOptions::default()
    };
    plug(machine);
    let mut events = Vec::new();
    let result = trainer::run(&config, &options, &StopFlag::new(), &mut |event| {
        events.push(event)
    });
    plug(None);
    result.unwrap();
    let shown = keeper.0.lock().unwrap();
    (shown.clone(), events)
}

#[test]
fn scorers_are_shown_what_the_newest_adapter_on_a_device_writes() {
    let folder = tempfile::tempdir().unwrap();
    let row = ("def fN(x):\n", "    pass\n");
    let (expected, _) = answers(folder.path(), None, row, 4);
    assert_eq!(expected.len(), 4);
    assert_ne!(expected[0], expected[3]);
    let (got, events) = answers(folder.path(), Some(Arc::default()), row, 4);
    assert_eq!(got, expected);
    assert!(!logged(&events, "the CPU writes"), "{events:?}");
}

#[test]
fn where_keys_and_values_do_not_fit_into_a_device_the_processor_writes_by_the_newest_adapter() {
    let folder = tempfile::tempdir().unwrap();
    let row = ("N", "b");
    let (expected, _) = answers(folder.path(), None, row, 400);
    let roomy: Arc<Emulated> = Arc::default();
    answers(folder.path(), Some(roomy.clone()), row, 1);
    // Enough for the model and its steps on a few tokens, but not for a text of 400.
    let tight = Arc::new(Emulated::limited(roomy.most()));
    let (got, events) = answers(folder.path(), Some(tight), row, 400);
    assert_eq!(got, expected);
    assert!(logged(&events, "the CPU writes the answers"), "{events:?}");
}
