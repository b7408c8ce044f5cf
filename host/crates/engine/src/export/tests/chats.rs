//! Chat templates and what ends a turn.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::*;

/// A copy of the sample model with another chat template and ids that end a text.
fn with_template(folder: &Path, template: &str, eos: Value) -> PathBuf {
    let model = folder.join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(sample_model()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    std::fs::write(model.join("chat_template.jinja"), template).unwrap();
    std::fs::write(
        model.join("generation_config.json"),
        json!({ "eos_token_id": eos }).to_string(),
    )
    .unwrap();
    model
}

const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

#[test]
fn an_end_of_turn_that_ends_no_text_is_told() {
    for (eos, warned) in [(json!([0]), true), (json!([0, 6]), false)] {
        let folder = tempfile::tempdir().unwrap();
        let request = Request {
            model: with_template(folder.path(), CHATML, eos),
            adapter: None,
            ..request("qwen2", Format::Gguf, folder.path().join("out"))
        };
        let report = export(&request).unwrap();
        let told = report.warnings.iter().any(|text| {
            text.contains("<|im_end|> (id 6)") && text.contains("generation_config.json")
        });
        assert_eq!(told, warned, "{:?}", report.warnings);
        let content = metadata(&request.output.join("model.gguf"));
        assert_eq!(
            content.metadata["tokenizer.ggml.eot_token_id"]
                .to_u32()
                .unwrap(),
            6
        );
        assert_eq!(
            content.metadata["tokenizer.chat_template"]
                .to_string()
                .unwrap(),
            CHATML
        );
        let modelfile = std::fs::read_to_string(request.output.join("Modelfile")).unwrap();
        assert!(
            modelfile.contains("{{ range .Messages }}")
                || modelfile.contains("{{- range .Messages }}")
        );
        assert!(
            modelfile.contains("PARAMETER stop \"<|im_end|>\""),
            "{modelfile}"
        );
    }
}

#[test]
fn a_template_that_fails_or_has_no_known_shape_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let failing = Request {
        model: with_template(folder.path(), "{{ messages[0].nothing.there }}", json!(0)),
        adapter: None,
        ..request("qwen2", Format::Safetensors, folder.path().join("out"))
    };
    let report = export(&failing).unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|text| text.contains("chat template")),
        "{:?}",
        report.warnings
    );
    let folder = tempfile::tempdir().unwrap();
    let odd = "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|im_end|>{% endfor %}";
    let unknown = Request {
        model: with_template(folder.path(), odd, json!([0, 6])),
        format: Format::Gguf,
        output: folder.path().join("out"),
        ..failing
    };
    let report = export(&unknown).unwrap();
    assert!(
        report
            .warnings
            .iter()
            .any(|text| text.contains("TEMPLATE is left out")),
        "{:?}",
        report.warnings
    );
}
