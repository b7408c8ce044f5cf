//! The model card: a README with the run's real figures, in the form that the hub reads.

use std::path::Path;

use serde_json::Value;

use super::merge::Merged;
use super::verify::Verification;
use super::{Format, Request};

/// What stands beside an adapter about the run that made it. Nothing is written that no file says.
#[derive(Debug, Default)]
struct Run {
    /// `trainer_state.json` of its last checkpoint.
    state: Value,
    /// `codetune.json` of the adapter.
    origin: Value,
    /// First and last loss, and the highest learning rate, of `events.jsonl`.
    first_loss: Option<f64>,
    last_loss: Option<f64>,
    learning_rate: Option<f64>,
    eval_loss: Option<f64>,
    trainable: Option<u64>,
}

/// The README of an export.
pub(super) fn card(request: &Request, merged: &Merged, verified: Option<&Verification>) -> String {
    let made = request.adapter.as_deref().unwrap_or(&request.model);
    let run = Run::beside(made);
    let base = super::base_name(merged);
    let mut text = String::from("---\n");
    if let Some(base) = base.as_deref().filter(|base| base.contains('/')) {
        text += &format!("base_model: {base}\n");
        text += match request.format {
            Format::Peft | Format::GgufLora => "base_model_relation: adapter\n",
            Format::Safetensors => "base_model_relation: finetune\n",
            Format::Gguf => "base_model_relation: quantized\n",
        };
    }
    text += match request.format {
        Format::Peft => "library_name: peft\n",
        Format::Safetensors => "library_name: transformers\n",
        Format::Gguf | Format::GgufLora => "library_name: gguf\n",
    };
    text += "pipeline_tag: text-generation\ntags:\n- codetune\n";
    if request.adapter.is_some() {
        text += "- lora\n";
    }
    text += "---\n\n";
    let title = made_of(request);
    text += &format!("# {title}\n\n");
    let base = base.as_deref().unwrap_or("a model without a known name");
    text += &match request.format {
        Format::Peft => format!("A LoRA adapter for {base}, as PEFT reads it.\n"),
        Format::GgufLora => format!("A LoRA adapter for {base}, as llama.cpp reads it.\n"),
        _ if request.adapter.is_some() => format!("{base} with a LoRA adapter merged in.\n"),
        _ => format!("{base}, in another format.\n"),
    };
    text += "\nThe licence is for whoever publishes this to choose (`license:` in the head of this file): it follows from \
             that of the base and of the data.\n";
    text += &run.section(merged);
    text += &usage(request, base);
    if let Some(verified) = verified {
        text += &format!(
            "\n## Checked\n\nRead again after writing: over {} tokens the logits differ from those of base and adapter by at most {:.2e} \
             (relative error {:.2e}); {:.1} % of the likeliest tokens agree.\n",
            verified.prompt_tokens,
            verified.max_abs_difference,
            verified.relative_error,
            100.0 * verified.greedy_agreement,
        );
    }
    text
}

/// The last word of the output's path.
pub(super) fn made_of(request: &Request) -> String {
    let name = request.output.file_stem();
    name.map_or("model".into(), |name| name.to_string_lossy().into_owned())
}

impl Run {
    fn beside(made: &Path) -> Self {
        let read = |path: &Path| -> Value {
            std::fs::read_to_string(path)
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default()
        };
        let mut run = Self {
            origin: read(&made.join("codetune.json")),
            state: read(&made.join("trainer_state.json")),
            ..Self::default()
        };
        let Some(output) = made.parent() else {
            return run;
        };
        if run.state.is_null() {
            let newest = std::fs::read_dir(output)
                .into_iter()
                .flatten()
                .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
                .filter_map(|name| name.strip_prefix("checkpoint-")?.parse::<u64>().ok())
                .max();
            if let Some(step) = newest {
                let file = output.join(format!("checkpoint-{step}/trainer_state.json"));
                run.state = read(&file);
            }
        }
        for folder in [Some(output), output.parent()].into_iter().flatten() {
            if let Ok(text) = std::fs::read_to_string(folder.join("events.jsonl")) {
                run.hear(&text);
                break;
            }
        }
        run
    }

    fn hear(&mut self, events: &str) {
        for event in events
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        {
            match event["event"].as_str() {
                Some("started") => self.trainable = event["trainable_parameters"].as_u64(),
                Some("step") => {
                    let loss = event["loss"].as_f64();
                    self.first_loss = self.first_loss.or(loss);
                    self.last_loss = loss.or(self.last_loss);
                    if let Some(rate) = event["learning_rate"].as_f64() {
                        self.learning_rate =
                            Some(self.learning_rate.map_or(rate, |high| high.max(rate)));
                    }
                }
                Some("eval") => self.eval_loss = event["eval_loss"].as_f64().or(self.eval_loss),
                _ => {}
            }
        }
    }

    fn section(&self, merged: &Merged) -> String {
        let mut rows: Vec<(&str, String)> = Vec::new();
        let mut put = |name: &'static str, value: Option<String>| {
            rows.extend(value.map(|value| (name, value)));
        };
        let word = |value: &Value| match value {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let number = |value: Option<f64>| value.map(|value| format!("{value:.4}"));
        let cursor = &self.state["cursor"];
        put(
            "base, SHA-256 of its weights",
            word(&self.origin["base_model_sha256"]),
        );
        put(
            "data, SHA-256 of what was trained on",
            word(&cursor["data_sha256"]),
        );
        put("samples", word(&cursor["samples"]));
        put("optimizer steps", word(&self.state["step"]));
        put("epochs", number(self.state["epoch"].as_f64()));
        put("first loss", number(self.first_loss));
        put(
            "last loss",
            number(self.last_loss.or(self.state["loss"].as_f64())),
        );
        put("loss on held-out data", number(self.eval_loss));
        put(
            "best loss on held-out data",
            number(self.state["best_eval_loss"].as_f64()),
        );
        put("method", word(&cursor["method"]));
        put(
            "highest learning rate",
            self.learning_rate.map(|rate| rate.to_string()),
        );
        put("batch size", word(&cursor["batch_size"]));
        put(
            "gradient accumulation steps",
            word(&cursor["gradient_accumulation_steps"]),
        );
        put("seed", word(&cursor["seed"]));
        put(
            "trained parameters",
            self.trainable.map(|count| count.to_string()),
        );
        if let Some(adapter) = merged.adapter() {
            let settings = &adapter.settings;
            put("r", Some(settings.r.to_string()));
            put("lora_alpha", Some(settings.lora_alpha.to_string()));
            put("lora_dropout", Some(settings.lora_dropout.to_string()));
            put("use_rslora", Some(settings.use_rslora.to_string()));
            put("adapted modules", Some(merged.adapted().to_string()));
        }
        if rows.is_empty() {
            return String::new();
        }
        let rows: String = rows
            .iter()
            .map(|(name, value)| format!("| {name} | {value} |\n"))
            .collect();
        format!("\n## Training\n\n| | |\n|---|---|\n{rows}")
    }
}

fn usage(request: &Request, base: &str) -> String {
    let code = match request.format {
        Format::Peft => format!(
            "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
             base = AutoModelForCausalLM.from_pretrained(\"{base}\")\n\
             model = PeftModel.from_pretrained(base, \"path/to/this/folder\")\n\
             tokenizer = AutoTokenizer.from_pretrained(\"{base}\")\n```\n"
        ),
        Format::Safetensors => "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
             model = AutoModelForCausalLM.from_pretrained(\"path/to/this/folder\")\n\
             tokenizer = AutoTokenizer.from_pretrained(\"path/to/this/folder\")\n```\n"
            .to_owned(),
        Format::Gguf => "```console\n$ llama-cli -m model.gguf -p \"def main():\"\n$ ollama create my-model -f Modelfile\n```\n".to_owned(),
        Format::GgufLora => {
            "```console\n$ llama-cli -m base.gguf --lora adapter.gguf -p \"def main():\"\n```\n".to_owned()
        }
    };
    format!("\n## Use\n\n{code}")
}
