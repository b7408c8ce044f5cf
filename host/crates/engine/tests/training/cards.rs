//! What a run leaves beside its weights about itself.

use engine::export::{self, Format, MAX_SHARD_SIZE, Request};
use serde_json::Value;

use crate::harness::{config, random_rows, train};

#[test]
fn an_adapter_carries_the_settings_and_figures_of_its_run_wherever_it_goes() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config("qwen2", folder.path(), &random_rows(6, 24, 3));
    config.train.batch_size = 2;
    config.train.learning_rate = 3e-4;
    config.lora.lora_alpha = 24.0;
    let run = train(&config);
    let adapter = run.result.as_ref().unwrap().adapter.clone().unwrap();
    let losses = run.losses();
    // Away from its run: nothing is left beside it to ask.
    let moved = folder.path().join("elsewhere/adapter");
    std::fs::create_dir_all(moved.parent().unwrap()).unwrap();
    std::fs::rename(&adapter, &moved).unwrap();
    let output = folder.path().join("exported");
    export::export(&Request {
        model: config.model.path.clone().unwrap().into(),
        adapter: Some(moved.clone()),
        format: Format::Peft,
        output: output.clone(),
        dtype: None,
        max_shard_size: MAX_SHARD_SIZE,
        force: false,
        verify: false,
    })
    .unwrap();
    for folder_of_card in [moved, output] {
        let card = std::fs::read_to_string(folder_of_card.join("README.md")).unwrap();
        for part in [
            "library_name: peft",
            "| optimizer steps | 9 |",
            &format!("| first loss | {:.4} |", losses[0]),
            &format!("| last loss | {:.4} |", losses[8]),
            "| samples | 6 |",
            "learning_rate = 0.0003",
            "lora_alpha = 24",
            "epochs = 3",
        ] {
            assert!(card.contains(part), "no {part:?} in\n{card}");
        }
        assert!(
            !card.contains(&folder.path().display().to_string()),
            "{card}"
        );
        let origin = std::fs::read_to_string(folder_of_card.join("codetune.json")).unwrap();
        let origin: Value = serde_json::from_str(&origin).unwrap();
        assert_eq!(origin["run"]["settings"]["train"]["learning_rate"], 3e-4);
        assert_eq!(origin["run"]["settings"]["data"].get("path"), None);
    }
}
