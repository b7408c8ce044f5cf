//! GGUF, the file format of llama.cpp: one file with a model's tensors, its sizes and its tokenizer.
//!
//! `names` says what llama.cpp calls things and how it lays them out; writer and reader both follow it. `sizes` and
//! `vocabulary` turn `config.json` and `tokenizer.json` into metadata, `write` puts the file together. `read` opens a
//! file (`cursor` goes through its head), `config` and `tokenizer` turn its metadata back, `weights` gives its tensors by Hugging Face's names.

mod config;
mod cursor;
pub(crate) mod names;
mod pre_tokenizer;
mod read;
pub(crate) mod sizes;
mod tokenizer;
mod value;
pub(crate) mod vocabulary;
mod weights;
pub(crate) mod write;

#[cfg(test)]
mod tests;

pub(crate) use config::config;
pub(crate) use read::Gguf;
pub(crate) use tokenizer::tokenizer;
pub(crate) use weights::{GgufWeights, is_gguf};
