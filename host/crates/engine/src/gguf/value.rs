//! What a GGUF file holds: values of its metadata, and types of its tensors.

use crate::model::Kind;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Whole(i128),
    Number(f64),
    Flag(bool),
    Text(String),
    Numbers(Vec<f64>),
    Texts(Vec<String>),
}

/// How a tensor's values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    F16,
    Bf16,
    Packed(Kind),
}

impl Stored {
    /// The type of ggml's number for it.
    pub(super) fn of_code(code: u32) -> Result<Self, String> {
        Ok(match code {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Packed(Kind::Q4_0),
            3 => Self::Packed(Kind::Q4_1),
            6 => Self::Packed(Kind::Q5_0),
            7 => Self::Packed(Kind::Q5_1),
            8 => Self::Packed(Kind::Q8_0),
            12 => Self::Packed(Kind::Q4K),
            13 => Self::Packed(Kind::Q5K),
            14 => Self::Packed(Kind::Q6K),
            30 => Self::Bf16,
            other => {
                return Err(format!(
                    "is of ggml type {other}, which is not supported; F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K and Q6_K are"
                ));
            }
        })
    }

    /// Elements and bytes of a block.
    pub(crate) fn block(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Packed(kind) => (kind.block(), kind.bytes()),
        }
    }
}
