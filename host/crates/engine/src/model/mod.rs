//! One decoder, described by data read from `config.json`, with a hand-written forward and backward.
//!
//! `description` says what a model is, `family` which kinds work, `weights` reads safetensors, `source` holds each
//! tensor as asked, `load` puts them together; `matrix`, `linear`, `block` and `decoder` compute. Everything is f32; frozen matrices may be held
//! otherwise and are widened a few rows at a time when they are used. No autograd graph is ever built: a backward pass calls the ops in reverse, never
//! computes the gradient of a frozen weight, and keeps only what it needs.

mod attention;
mod batch;
mod block;
mod decoder;
mod description;
mod ends;
mod family;
mod feed_forward;
mod keys;
mod linear;
mod load;
mod lora;
mod matrix;
mod merge;
mod norm;
mod operations;
mod packed;
mod parameter;
mod rope;
mod section;
mod setting;
mod source;
mod tokens;
pub(crate) mod weights;

pub(crate) use attention::{Attention, thirds};
pub(crate) use batch::Batch;
pub(crate) use block::Block;
pub(crate) use decoder::{Decoder, LOGITS, Stored, TokenLoss, Weigh};
pub(crate) use description::Description;
pub(crate) use feed_forward::FeedForward;
pub(crate) use linear::{Kept, Layer, Linear, Pass, Principal, SavedLinear};
pub(crate) use load::{Loading, check_folder, named_generator, normal, uniform};
pub(crate) use lora::{Dora, Lora};
pub(crate) use matrix::{Matrix, PANEL};
pub(crate) use norm::Norm;
pub(crate) use operations::Work;
pub(crate) use packed::{Kind, Packed};
pub(crate) use parameter::Parameter;
pub(crate) use setting::Setting;
pub(crate) use tokens::TokenRows;
pub(crate) use weights::Weights;
#[cfg(any(test, feature = "cuda"))]
pub(crate) use {lora::mask_seed, norm::NormKind, packed::Parts};
