//! One decoder, described by data read from `config.json`, with a hand-written forward and backward.
//!
//! `description` says what a model is, `family` which kinds work, `weights` reads safetensors, `source` holds each
//! tensor as asked, `load` puts them together; `matrix`, `linear`, `block` and `decoder` compute. Everything is f32; frozen matrices may be held
//! otherwise and are widened a few rows at a time when they are used. No autograd graph is ever built: a backward pass calls the ops in reverse, never
//! computes the gradient of a frozen weight, and keeps only what it needs.

mod batch;
mod block;
mod decoder;
mod description;
mod family;
mod linear;
mod load;
mod matrix;
mod packed;
mod parameter;
mod rope;
mod source;
pub(crate) mod weights;

pub(crate) use batch::Batch;
pub(crate) use block::{Block, Setting, thirds};
pub(crate) use decoder::{Decoder, Stored};
pub(crate) use description::Description;
pub(crate) use linear::{Linear, Lora, Pass};
pub(crate) use load::{Loading, check_folder, named_generator, normal, uniform};
pub(crate) use matrix::Matrix;
pub(crate) use packed::{Kind, Packed};
pub(crate) use parameter::Parameter;
pub(crate) use rope::rotary_table;
pub(crate) use weights::Weights;
