//! Model cards: the README of what a run or an export leaves behind, with the run's real settings and figures, in the form
//! that the hub reads.

mod facts;

use domain::CurationSummary;

use crate::export::Verification;
use crate::lora::Settings;

pub(crate) use facts::{Facts, without_paths};

/// What a folder holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    /// An adapter, as PEFT reads it.
    Adapter,
    /// A model, as Transformers reads it.
    Model,
    /// A model, as llama.cpp reads it.
    Gguf,
    /// An adapter, as llama.cpp reads it.
    GgufLora,
}

/// A README.
#[derive(Debug)]
pub(crate) struct Card<'a> {
    pub(crate) title: &'a str,
    pub(crate) holds: Holds,
    /// Hub id of the base, or its name.
    pub(crate) base: Option<&'a str>,
    /// An adapter is part of it.
    pub(crate) adapter: Option<&'a Settings>,
    /// Tensors that the adapter changes.
    pub(crate) adapted: Option<usize>,
    /// Tokens that the base of an adapter must be given before it fits.
    pub(crate) resized: Option<usize>,
    /// An adapter's folder has a tokenizer of its own.
    pub(crate) has_tokenizer: bool,
    pub(crate) facts: &'a Facts,
    pub(crate) checked: Option<&'a Verification>,
}

impl Card<'_> {
    /// The whole file.
    pub(crate) fn text(&self) -> String {
        let mut text = self.head();
        text += &format!("# {}\n\n", self.title);
        let base = self.base.unwrap_or("a model without a known name");
        text += &match self.holds {
            Holds::Adapter => format!("A LoRA adapter for {base}, as PEFT reads it.\n"),
            Holds::GgufLora => format!("A LoRA adapter for {base}, as llama.cpp reads it.\n"),
            _ if self.adapter.is_some() => format!("{base} with a LoRA adapter merged in.\n"),
            Holds::Model if self.facts.steps.is_some() => {
                format!("{base} with all its weights trained on.\n")
            }
            _ => format!("{base}, in another format.\n"),
        };
        text += "\nThe licence is for whoever publishes this to choose (`license:` in the head of this file): it follows from \
                 that of the base and of the data.\n";
        text += &self.training();
        text += &format!("\n## Use\n\n{}", self.usage(base));
        if let Some(checked) = self.checked {
            text += &format!(
                "\n## Checked\n\nRead again after writing: over {} tokens the logits differ from those of base and adapter by at most {:.2e} \
                 (relative error {:.2e}); {:.1} % of the likeliest tokens agree.\n",
                checked.prompt_tokens,
                checked.max_abs_difference,
                checked.relative_error,
                100.0 * checked.greedy_agreement,
            );
        }
        text
    }

    /// What the hub reads.
    fn head(&self) -> String {
        let mut text = String::from("---\n");
        if let Some(base) = self.base.filter(|base| base.contains('/')) {
            text += &format!("base_model: {base}\n");
            text += match self.holds {
                Holds::Adapter | Holds::GgufLora => "base_model_relation: adapter\n",
                Holds::Model => "base_model_relation: finetune\n",
                Holds::Gguf => "base_model_relation: quantized\n",
            };
        }
        text += match self.holds {
            Holds::Adapter => "library_name: peft\n",
            Holds::Model => "library_name: transformers\n",
            Holds::Gguf | Holds::GgufLora => "library_name: gguf\n",
        };
        text += "pipeline_tag: text-generation\ntags:\n- codetune\n";
        if self.adapter.is_some() {
            text += "- lora\n";
        }
        text + "---\n\n"
    }

    fn training(&self) -> String {
        let mut rows = self.facts.rows();
        if let Some(settings) = self.adapter {
            rows.push(("r", settings.r.to_string()));
            rows.push(("lora_alpha", settings.lora_alpha.to_string()));
            rows.push(("lora_dropout", settings.lora_dropout.to_string()));
            rows.push(("use_rslora", settings.use_rslora.to_string()));
            rows.push(("use_dora", settings.use_dora.to_string()));
        }
        if let Some(count) = self.adapted {
            rows.push(("adapted modules", count.to_string()));
        }
        if rows.is_empty() {
            return String::new();
        }
        let rows: String = rows
            .iter()
            .map(|(name, value)| format!("| {name} | {value} |\n"))
            .collect();
        let mut text = format!("\n## Training\n\n| | |\n|---|---|\n{rows}");
        text += &self
            .facts
            .curation
            .as_ref()
            .map_or_else(String::new, curation);
        if let Some(settings) = &self.facts.settings {
            text += &format!(
                "\nThe run's settings, without the paths of its machine (`RUN.toml` of CodeTune Studio {}):\n\n```toml\n{}\n```\n",
                env!("CARGO_PKG_VERSION"),
                settings.to_toml().trim_end()
            );
        }
        text
    }

    fn usage(&self, base: &str) -> String {
        match self.holds {
            Holds::Adapter => {
                let resize = self.resized.map(|tokens| {
                    format!("base.resize_token_embeddings({tokens})  # as the adapter was trained\n")
                });
                let tokenizer = if self.has_tokenizer { "path/to/this/folder" } else { base };
                format!(
                    "```python\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
                     base = AutoModelForCausalLM.from_pretrained(\"{base}\")\n{}\
                     model = PeftModel.from_pretrained(base, \"path/to/this/folder\")\n\
                     tokenizer = AutoTokenizer.from_pretrained(\"{tokenizer}\")\n```\n",
                    resize.unwrap_or_default()
                )
            }
            Holds::Model => "```python\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n\n\
                 model = AutoModelForCausalLM.from_pretrained(\"path/to/this/folder\")\n\
                 tokenizer = AutoTokenizer.from_pretrained(\"path/to/this/folder\")\n```\n"
                .to_owned(),
            Holds::Gguf => "```console\n$ llama-cli -m model.gguf -p \"def main():\"\n$ ollama create my-model -f Modelfile\n```\n".to_owned(),
            Holds::GgufLora => {
                "```console\n$ llama-cli -m base.gguf --lora adapter.gguf -p \"def main():\"\n```\n".to_owned()
            }
        }
    }
}

/// What was learned from, and what made it so.
fn curation(found: &CurationSummary) -> String {
    let mut text = format!(
        "\nThe data was curated: {} of {} rows kept, {} of them rewritten; {} dropped, of these {} as exact and {} as near \
         duplicates. Pipeline `{}`.\n\n| plugin | version | kept | dropped | rewritten | failed | SHA-256 |\n\
         |---|---|---|---|---|---|---|\n",
        found.kept,
        found.rows,
        found.rewritten,
        found.dropped,
        found.exact_duplicates,
        found.near_duplicates,
        found.pipeline,
    );
    if found.held_out > 0 {
        let held_out = format!(
            " {} rows were held out, past what is for training alone.",
            found.held_out
        );
        if let Some(end) = text.find("\n\n|") {
            text.insert_str(end, &held_out);
        }
    }
    for step in &found.steps {
        text += &format!(
            "| {} | {} | {} | {} | {} | {} | `{}` |\n",
            step.plugin,
            step.version,
            step.kept,
            step.dropped,
            step.rewritten,
            step.failed,
            step.digest,
        );
    }
    text
}
