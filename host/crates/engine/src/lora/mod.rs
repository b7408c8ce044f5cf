//! LoRA adapters (arXiv 2106.09685), held to PEFT: which layers get one, how it begins, and its folder on the disk.

mod attach;
mod biases;
mod ends;
mod folder;
mod fresh;
mod keys;
mod names;
mod settings;
mod split;
mod target;
mod tokens;
mod vocabulary;
mod whole;

#[cfg(test)]
mod goldens;

pub(crate) use attach::{attach, differing, read_adapter};
pub(crate) use biases::bias_name;
pub(crate) use folder::{Base, write_adapter, write_json, write_origin};
pub(crate) use keys::peft_defaults;
pub(crate) use names::{HEAD, PREFIX, lora_bias_name};
pub(crate) use settings::Settings;
pub(crate) use split::{Split, principal};
pub(crate) use target::targets;
pub(crate) use tokens::{delta_name, token_ids};
pub(crate) use vocabulary::{BaseEnds, base_ends, repeats, vocabulary_of};
pub(crate) use whole::{saved_ends, saves};
