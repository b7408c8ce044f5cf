//! What the fuzz targets call: each reads one kind of file that a user hands over, from any bytes.
//!
//! They go through files, as users do. An error is an answer; a panic, a hang or memory without bound is a fault.

use std::cell::OnceCell;
use std::path::Path;

use candle_core::DType;
use domain::DataConfig;
use serde_json::json;

use crate::chat::{ChatTemplate, Conversation};
use crate::data;
use crate::lora::Settings;
use crate::model::{Decoder, Description, Loading, Weights};
use crate::tokenizer::{SpecialTokens, Tokenizer};

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

/// Reads rows of a JSONL dataset.
pub fn jsonl(bytes: &[u8]) {
    in_folder("rows.jsonl", bytes, |folder| {
        let _ = data::inspect(&folder.join("rows.jsonl"), &DataConfig::default(), None, 0);
    });
}

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
    });
}
