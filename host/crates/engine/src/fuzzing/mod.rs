//! What the fuzz targets call: each reads one kind of file that a user hands over, from any bytes.
//!
//! They go through files, as users do. An error is an answer; a panic, a hang or memory without bound is a fault.

#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Once;

use candle_core::DType;
use domain::{DataConfig, RunConfig};
use serde_json::json;

use crate::chat::{ChatTemplate, Conversation};
use crate::data;
use crate::generate::GenerateRequest;
use crate::lora::Settings;
use crate::model::{Decoder, Description, Loading, Weights};
use crate::tokenizer::{SpecialTokens, Tokenizer};

/// A target of the folder `fuzz`: its name there, and what it calls.
pub type Target = (&'static str, fn(&[u8]));

/// Every target; each has its seeds in `fuzz/seeds/<name>` and a few lines in `fuzz/targets/<name>.rs`.
pub const TARGETS: &[Target] = &[
    ("adapter", adapter),
    ("arrow", arrow),
    ("config", config),
    ("csv", csv),
    ("dataset_card", dataset_card),
    ("dataset_info", dataset_info),
    ("generation_config", generation_config),
    ("gguf", gguf),
    ("index", index),
    ("jsonl", jsonl),
    ("parquet", parquet),
    ("run", run),
    ("safetensors", safetensors),
    ("template", template),
    ("tokenizer", tokenizer),
    ("tokenizer_config", tokenizer_config),
];

/// Values of a file that are read: more would only take time.
const VALUES: usize = 1 << 16;

/// Reads `config.json`.
pub fn config(bytes: &[u8]) {
    in_folder("config.json", bytes, |folder| {
        let _ = Description::read(folder);
    });
}

/// Reads a safetensors file and every tensor in it.
pub fn safetensors(bytes: &[u8]) {
    in_folder("model.safetensors", bytes, |folder| {
        let Ok(mut weights) = Weights::open_folder(folder) else {
            return;
        };
        for name in weights.names_in_order() {
            let shape = weights.shape(&name).unwrap_or_default().to_vec();
            if shape
                .iter()
                .try_fold(1, |all: usize, n| all.checked_mul(*n))
                .is_some_and(|all| all < VALUES)
            {
                let _ = weights.take(&name, &shape, DType::F32);
            }
        }
    });
}

/// Reads `model.safetensors.index.json`, with a shard beside it.
pub fn index(bytes: &[u8]) {
    in_folder("model.safetensors.index.json", bytes, |folder| {
        let head = br#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let shard = [&(head.len() as u64).to_le_bytes(), &head[..], &[0; 4]].concat();
        std::fs::write(folder.join("one.safetensors"), shard).expect("a temporary file");
        if let Ok(mut weights) = Weights::open_folder(folder) {
            let _ = weights.take("a", &[1], DType::F32);
        }
    });
}

/// Reads `generation_config.json`.
pub fn generation_config(bytes: &[u8]) {
    in_folder("generation_config.json", bytes, |folder| {
        let _ = GenerateRequest::of_folder(folder);
    });
}

/// Reads a model from a GGUF.
pub fn gguf(bytes: &[u8]) {
    in_folder("model.gguf", bytes, |folder| {
        let path = folder.join("model.gguf");
        let _ = Decoder::load(&path, Loading::frozen(DType::F32));
        let _ = Tokenizer::load(&path);
    });
}

/// Reads `adapter_config.json`.
pub fn adapter(bytes: &[u8]) {
    in_folder("adapter_config.json", bytes, |folder| {
        if let Ok(settings) = Settings::read(folder) {
            let _ = settings.rank("model.layers.0.self_attn.q_proj");
            let _ = settings.scale("model.layers.0.self_attn.q_proj");
        }
    });
}

/// Reads `tokenizer.json`, and cuts a text with it.
pub fn tokenizer(bytes: &[u8]) {
    in_folder("tokenizer.json", bytes, |folder| {
        let Ok(tokenizer) = Tokenizer::load(folder) else {
            return;
        };
        if let Ok(ids) = tokenizer.encode("def add(a, b):\n    return a + b  # é ∑ 🦀", true) {
            let _ = tokenizer.decode(&ids, false);
        }
        let _ = crate::gguf::vocabulary::vocabulary(folder, &tokenizer, 1 << 12, None);
    });
}

/// Reads `tokenizer_config.json`, with the chat template in it.
pub fn tokenizer_config(bytes: &[u8]) {
    in_folder("tokenizer_config.json", bytes, |folder| {
        let path = folder.join("tokenizer.json");
        std::fs::write(&path, WORDS).expect("a temporary file");
        if let Ok(tokenizer) = Tokenizer::load(folder) {
            let _ = tokenizer.eos_ids();
            let _ = tokenizer.prefix();
            let _ = ChatTemplate::of(&tokenizer);
        }
    });
}

/// Reads rows of a JSONL dataset.
pub fn jsonl(bytes: &[u8]) {
    rows("rows.jsonl", bytes);
}

/// Reads rows of a CSV dataset.
pub fn csv(bytes: &[u8]) {
    rows("rows.csv", bytes);
}

/// Reads rows of a Parquet dataset.
pub fn parquet(bytes: &[u8]) {
    rows("rows.parquet", bytes);
}

/// Reads rows of an Arrow dataset.
pub fn arrow(bytes: &[u8]) {
    rows("rows.arrow", bytes);
}

/// Reads LLaMA-Factory's `dataset_info.json`, and the dataset beside it.
pub fn dataset_info(bytes: &[u8]) {
    in_folder("dataset_info.json", bytes, |folder| {
        std::fs::write(folder.join("rows.json"), ROWS).expect("a temporary file");
        let _ = data::inspect(folder, &DataConfig::default(), None, 0);
        let named = DataConfig {
            dataset: Some("code".into()),
            ..DataConfig::default()
        };
        let _ = data::inspect(folder, &named, None, 0);
    });
}

/// Reads the `README.md` of a dataset, and the dataset beside it.
pub fn dataset_card(bytes: &[u8]) {
    in_folder("README.md", bytes, |folder| {
        std::fs::write(folder.join("rows.json"), ROWS).expect("a temporary file");
        for (subset, split) in [(None, None), (Some("more"), Some("train"))] {
            let named = DataConfig {
                subset: subset.map(str::to_owned),
                split: split.map(str::to_owned),
                ..DataConfig::default()
            };
            let _ = data::inspect(folder, &named, None, 0);
        }
    });
}

/// Reads a `RUN.toml`; one that is taken is written and read again.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(config) = RunConfig::from_toml(text, &[]) {
        let again = RunConfig::from_toml(&config.to_toml(), &[]);
        assert_eq!(
            again.ok(),
            Some(config),
            "what was read reads otherwise when written"
        );
    }
}

fn rows(name: &str, bytes: &[u8]) {
    static HOOK: Once = Once::new();
    // The fuzzer's own hook ends the process, also where a panic of a library is caught.
    HOOK.call_once(|| {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !data::is_guarded() {
                hook(info);
            }
        }));
    });
    in_folder(name, bytes, |folder| {
        let _ = data::inspect(&folder.join(name), &DataConfig::default(), None, 0);
    });
}

/// A tokenizer of two words.
const WORDS: &str = r#"{"version":"1.0","added_tokens":[{"id":2,"content":"</s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],"normalizer":null,"pre_tokenizer":{"type":"Whitespace"},"post_processor":null,"decoder":null,"model":{"type":"WordLevel","vocab":{"a":0,"b":1},"unk_token":"a"}}"#;
/// A dataset in the forms that a `dataset_info.json` can describe.
const ROWS: &str = r#"[{"instruction":"a","input":"b","output":"c","conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}],"chosen":"c","rejected":"d"}]"#;

/// Compiles a chat template and renders a conversation.
pub fn template(bytes: &[u8]) {
    let Ok(source) = std::str::from_utf8(bytes) else {
        return;
    };
    let special = SpecialTokens {
        bos: Some("<s>".into()),
        eos: Some("</s>".into()),
        ..SpecialTokens::default()
    };
    if let Ok(template) = ChatTemplate::new(source, &special) {
        let messages = [
            json!({ "role": "system", "content": "Be brief." }),
            json!({ "role": "user", "content": "Hello?" }),
            json!({ "role": "assistant", "content": "Hello." }),
        ];
        let conversation = Conversation {
            messages: &messages,
            ..Conversation::default()
        };
        let _ = template.render(conversation, true);
        let _ = template.turns(conversation);
    }
}

/// A file of that name in a folder of its own; the folder is used again, as making one takes longer than reading it.
fn in_folder(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    thread_local! {
        static FOLDER: OnceCell<tempfile::TempDir> = const { OnceCell::new() };
    }
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| tempfile::tempdir().expect("a temporary folder"));
        std::fs::write(folder.path().join(name), bytes).expect("a temporary file");
        read(folder.path());
        // The next target on this thread must not find it.
        for entry in std::fs::read_dir(folder.path())
            .into_iter()
            .flatten()
            .flatten()
        {
            let _ = std::fs::remove_file(entry.path());
        }
    });
}
