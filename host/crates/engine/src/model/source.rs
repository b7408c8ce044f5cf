use candle_core::{DType, Device, Tensor};

use super::{Loading, Matrix, Packed, Parameter, Weights, named_generator, normal};
use crate::gguf::GgufWeights;
use crate::{Error, Result};

/// Where the values of a model come from: each tensor is asked for by its name, once, and held as the loading says.
pub(crate) struct Source {
    pub(crate) values: Values,
    pub(crate) loading: Loading,
}

/// The values themselves.
pub(crate) enum Values {
    /// Read from safetensors.
    Files(Weights),
    /// Read from a GGUF file.
    Gguf(GgufWeights),
    /// Drawn from a seed, each tensor by its name.
    Random {
        /// The seed.
        seed: u64,
        /// Standard deviation.
        deviation: f64,
    },
}

impl Source {
    /// A matrix [out, in], held as asked: with a gradient, packed, or in the loading's type.
    ///
    /// # Errors
    /// It is missing, of another shape, or of a type that is not supported.
    pub(crate) fn matrix(&mut self, name: &str, shape: &[usize; 2]) -> Result<Matrix> {
        let Loading {
            trainable,
            quantize,
            ..
        } = self.loading;
        if let Values::Gguf(weights) = &mut self.values {
            return weights.matrix(name, shape, self.loading.dtype, quantize);
        }
        match quantize.filter(|_| !trainable) {
            Some(quantize) => {
                let shape = (shape[0], shape[1]);
                let packed = match &mut self.values {
                    Values::Files(weights) => {
                        let mut read = |from, len| weights.take_part(name, shape, from, len);
                        Packed::pack(name.to_owned(), shape, quantize, &mut read)?
                    }
                    Values::Gguf(_) => unreachable!("read above"),
                    Values::Random { seed, deviation } => {
                        let count = shape.0 * shape.1;
                        let drawn = normal(&mut named_generator(*seed, name), count, *deviation);
                        let mut read =
                            |from: usize, len: usize| Ok(drawn[from..from + len].to_vec());
                        Packed::pack(name.to_owned(), shape, quantize, &mut read)?
                    }
                };
                Ok(Matrix::Packed(packed))
            }
            None => {
                let dtype = if trainable {
                    DType::F32
                } else {
                    self.loading.dtype
                };
                let value = match &mut self.values {
                    Values::Files(weights) => weights.take(name, shape, dtype)?,
                    Values::Gguf(_) => unreachable!("read above"),
                    Values::Random { seed, deviation } => {
                        let count = shape[0] * shape[1];
                        let drawn = normal(&mut named_generator(*seed, name), count, *deviation);
                        Tensor::from_vec(drawn, shape, &Device::Cpu)?.to_dtype(dtype)?
                    }
                };
                Matrix::new(name.to_owned(), value, trainable)
            }
        }
    }

    /// A norm's weight or a bias: small, and always held in f32. Drawn anew, it is `neutral`.
    ///
    /// # Errors
    /// As [`Self::matrix`].
    pub(crate) fn vector(&mut self, name: &str, len: usize, neutral: f32) -> Result<Parameter> {
        let value = match &mut self.values {
            Values::Files(weights) => weights.take(name, &[len], DType::F32)?,
            Values::Gguf(weights) => weights.vector(name, len)?,
            Values::Random { .. } => Tensor::from_vec(vec![neutral; len], len, &Device::Cpu)?,
        };
        match self.loading.trainable {
            true => Parameter::trainable(name.to_owned(), &value),
            false => Ok(Parameter::frozen(name.to_owned(), value)),
        }
    }

    /// Fails where the files hold a head of its own though it is to be the embedding: Transformers computes with both.
    ///
    /// # Errors
    /// The two differ.
    pub(crate) fn check_tied(&self, embedding: &str, head: &str) -> Result<()> {
        match &self.values {
            Values::Files(weights)
                if weights.contains(head) && !weights.are_same(embedding, head) =>
            {
                Err(Error::Input(format!(
                    "{head} is another tensor than {embedding}, but tie_word_embeddings says that they are one; set tie_word_embeddings to false in config.json, or remove {head}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// Fails where a tensor was never asked for: what the model does not know of, it would compute without.
    ///
    /// # Errors
    /// Names the first of them, and its file.
    pub(crate) fn finish(self, ignored: impl Fn(&str) -> bool) -> Result<()> {
        match self.values {
            Values::Files(weights) => weights.finish(ignored),
            Values::Gguf(weights) => weights.finish(),
            Values::Random { .. } => Ok(()),
        }
    }
}
