//! GGUF, the file format of llama.cpp: one file with a model's tensors, its sizes and its tokenizer.
//!
//! `names` says what llama.cpp calls things and how it lays them out; writer and reader both follow it. `sizes` and
//! `vocabulary` turn `config.json` and `tokenizer.json` into metadata, `write` puts the file together.

#[allow(dead_code, reason = "the reader takes the other half")]
pub(crate) mod names;
mod pre_tokenizer;
pub(crate) mod sizes;
pub(crate) mod vocabulary;
pub(crate) mod write;
