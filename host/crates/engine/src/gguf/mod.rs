//! GGUF, the file format of llama.cpp: one file with a model's tensors, its sizes and its tokenizer.
//!
//! `names` says what llama.cpp calls things and how it lays them out; writer and reader both follow it.

#[allow(dead_code, reason = "reader and writer come next")]
pub(crate) mod names;
