use std::path::Path;

use domain::{Method, RunConfig, RunEvent};
use serde_json::{Value, json};

use crate::harness::{config, goldens, random_rows, tensors, train, write_rows};

/// The golden model with a tokenizer of one token a word, and pairs of such words.
fn preference(method: Method, folder: &Path) -> RunConfig {
    let model = folder.join("model");
    std::fs::create_dir_all(&model).unwrap();
    for from in ["qwen2/model", "preference/tokenizer"] {
        for entry in std::fs::read_dir(goldens().join(from)).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
        }
    }
    let mut config = config("qwen2", folder, &[]);
    config.model.path = Some(model.display().to_string());
    let rows = goldens().join("preference/rows.jsonl");
    config.data.path = Some(rows.display().to_string());
    config.data.format = domain::DataFormat::Preference;
    config.lora.init_adapter = Some(
        goldens()
            .join("preference/adapter_init")
            .display()
            .to_string(),
    );
    config.train.method = method;
    config.train.batch_size = 4;
    config.train.max_steps = 6;
    config.train.learning_rate = 2e-3;
    config.train.weight_decay = 0.01;
    config.train.beta = 0.3;
    config
}

#[test]
fn every_loss_and_the_tuned_adapter_are_those_of_trl() {
    let text = std::fs::read_to_string(goldens().join("preference/golden.json")).unwrap();
    let golden: Value = serde_json::from_str(&text).unwrap();
    for (method, name) in [(Method::Dpo, "dpo"), (Method::Orpo, "orpo")] {
        let folder = tempfile::tempdir().unwrap();
        let mut config = preference(method, folder.path());
        let whole = train(&config);
        let report = whole.result.as_ref().unwrap();
        let steps: Vec<_> = whole
            .events
            .iter()
            .filter_map(|event| match event {
                RunEvent::Step {
                    loss,
                    grad_norm,
                    metrics,
                    ..
                } => Some((*loss, *grad_norm, metrics.clone())),
                _ => None,
            })
            .collect();
        assert_eq!(steps.len(), 6);
        for (at, (loss, norm, metrics)) in steps.iter().enumerate() {
            let expected = golden[name]["losses"][at].as_f64().unwrap();
            assert!(
                (loss - expected).abs() < 2e-5 * expected.max(1.0),
                "{name} step {}: {loss}, expected {expected}",
                at + 1
            );
            let logged = golden[name]["steps"][at].as_object().unwrap();
            let mut own = metrics.clone();
            own.insert("grad_norm".into(), *norm);
            for (key, expected) in logged {
                let expected = expected.as_f64().unwrap();
                let got = own[key];
                assert!(
                    (got - expected).abs() < 1e-3 * expected.abs().max(0.1),
                    "{name} step {} {key}: {got}, expected {expected}",
                    at + 1
                );
            }
        }
        let file = "adapter_model.safetensors";
        let trained = tensors(&report.adapter.as_ref().unwrap().join(file));
        let reference = tensors(
            &goldens()
                .join(format!("preference/adapter_{name}"))
                .join(file),
        );
        assert_eq!(trained.len(), reference.len());
        for ((own, got), (theirs, expected)) in trained.iter().zip(&reference) {
            assert_eq!(own, theirs);
            let size = expected.iter().fold(0f32, |size, x| size.max(x.abs()));
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 2e-3 * size, "{name} {own}");
            }
        }
        config.train.batch_size = 1;
        config.train.gradient_accumulation_steps = 4;
        config.train.output = folder.path().join("accumulated").display().to_string();
        for (a, b) in whole.losses().iter().zip(train(&config).losses()) {
            assert!((a - b).abs() < 2e-6 * a.abs().max(1.0), "{name}: {a} {b}");
        }
    }
}

#[test]
fn dpo_begins_at_log_two_and_tells_how_the_held_out_pairs_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = preference(Method::Dpo, folder.path());
    config.lora.init_adapter = None;
    config.lora.r = 4;
    config.data.eval_path = config.data.path.clone();
    config.train.eval_steps = 6;
    let run = train(&config);
    run.result.as_ref().unwrap();
    assert!((run.losses()[0] - 2f64.ln()).abs() < 1e-6, "B begins at 0");
    let last = run.events.iter().rev().find_map(|event| match event {
        RunEvent::Eval {
            eval_loss, scores, ..
        } => Some((*eval_loss, scores.clone())),
        _ => None,
    });
    let (loss, scores) = last.unwrap();
    assert!(loss < 0.65, "{loss}");
    assert_eq!(scores["eval_rewards/accuracies"], json!(1.0));
}

#[test]
fn methods_and_data_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = preference(Method::Lora, folder.path());
    let message = train(&config).error();
    assert!(
        message.contains("data.format") && message.contains("dpo"),
        "{message}"
    );
    let rows = folder.path().join("tokens.jsonl");
    write_rows(&rows, &random_rows(2, 20, 1));
    config.data.path = Some(rows.display().to_string());
    config.data.format = domain::DataFormat::Tokenized;
    config.train.method = Method::Dpo;
    let message = train(&config).error();
    assert!(message.contains("preference"), "{message}");
    write_rows(&rows, &[json!({ "prompt": "t3", "chosen": "t4" })]);
    config.data.format = domain::DataFormat::Preference;
    let message = train(&config).error();
    assert!(
        message.contains("rejected") && message.contains("missing"),
        "{message}"
    );
}

#[test]
fn lists_of_messages_are_written_by_the_chat_template_and_part_where_the_answers_do() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = preference(Method::Dpo, folder.path());
    config.data.chat_template = Some(
        "{% for m in messages %}{{ m.role[0] }}{{ ' ' }}{{ m.content }}{{ ' </s> ' }}{% endfor %}{% if add_generation_prompt %}{{ 'a ' }}{% endif %}"
            .into(),
    );
    let ask = json!({ "role": "user", "content": "t5 t6" });
    let answer = |text: &str| json!({ "role": "assistant", "content": text });
    let explicit =
        json!({ "prompt": [ask], "chosen": [answer("t7 t8")], "rejected": [answer("t9")] });
    let implicit = json!({ "chosen": [ask, answer("t7 t8")], "rejected": [ask, answer("t9")] });
    let mut losses = Vec::new();
    for (name, row) in [("explicit", explicit), ("implicit", implicit)] {
        let rows = folder.path().join(format!("{name}.jsonl"));
        write_rows(&rows, &[row]);
        config.data.path = Some(rows.display().to_string());
        config.train.output = folder.path().join(name).display().to_string();
        config.train.max_steps = 3;
        let run = train(&config);
        let supervised = run.events.iter().find_map(|event| match event {
            RunEvent::Started {
                supervised_tokens_per_epoch,
                ..
            } => Some(*supervised_tokens_per_epoch),
            _ => None,
        });
        // t7 t8 </s> and t9 </s>.
        assert_eq!(supervised, Some(5), "{:?}", run.result);
        losses.push(run.losses());
    }
    assert_eq!(losses[0], losses[1]);
}
