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

/// A copy of the sample model with a template for tools beside its own.
fn with_tool_use(folder: &Path) -> PathBuf {
    let model = with_template(folder, CHATML, json!([6]));
    let further = model.join("additional_chat_templates");
    std::fs::create_dir(&further).unwrap();
    std::fs::write(further.join("tool_use.jinja"), TOOL_USE).unwrap();
    std::fs::write(further.join("notes.txt"), "no template").unwrap();
    model
}

const TOOL_USE: &str = "{{ tools | length }} tools";

#[test]
fn further_templates_go_with_a_merged_folder_and_into_a_gguf() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_tool_use(folder.path());
    let of = |format, name: &str| Request {
        model: model.clone(),
        adapter: None,
        ..request("qwen2", format, folder.path().join(name))
    };
    let merged = of(Format::Safetensors, "merged");
    export(&merged).unwrap();
    let further = merged.output.join("additional_chat_templates");
    let names: Vec<_> = std::fs::read_dir(&further)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["tool_use.jinja"]);
    let packed = of(Format::Gguf, "packed");
    export(&packed).unwrap();
    let file = packed.output.join("model.gguf");
    let content = metadata(&file);
    let text = |key: &str| content.metadata[key].to_string().unwrap().clone();
    assert_eq!(text("tokenizer.chat_template"), CHATML);
    assert_eq!(text("tokenizer.chat_template.tool_use"), TOOL_USE);
    let names = content.metadata["tokenizer.chat_templates"]
        .to_vec()
        .unwrap();
    assert_eq!(names.len(), 1);
    assert_eq!(names[0].to_string().unwrap(), "tool_use");
    for place in [&merged.output, &file] {
        let tokenizer = crate::tokenizer::Tokenizer::load(place).unwrap();
        let all: Vec<_> = tokenizer.chat_templates().collect();
        assert_eq!(
            all,
            [("default", CHATML), ("tool_use", TOOL_USE)],
            "{place:?}"
        );
    }
}

#[test]
fn a_further_template_that_does_not_compile_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let model = with_tool_use(folder.path());
    std::fs::write(
        model.join("additional_chat_templates/rag.jinja"),
        "{% if %}",
    )
    .unwrap();
    let request = Request {
        model,
        adapter: None,
        ..request("qwen2", Format::Safetensors, folder.path().join("out"))
    };
    let warnings = export(&request).unwrap().warnings;
    assert!(
        warnings
            .iter()
            .any(|warning| warning.starts_with("the template rag: ")),
        "{warnings:?}"
    );
}
