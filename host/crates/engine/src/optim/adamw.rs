use std::path::Path;

use candle_core::{CpuStorage, DType, InplaceOp2, Layout, Result as CandleResult, Tensor, bail};
use domain::TrainConfig;
use rayon::prelude::*;

use crate::model::{Parameter, Weights, weights};
use crate::ops::simd::vectorized;
use crate::ops::storage::{floats, floats_mut};
use crate::{Error, Result};

/// AdamW with decoupled decay (arXiv 1711.05101), as `torch.optim.AdamW` computes it; moments in f32.
pub(crate) struct AdamW {
    settings: AdamWSettings,
    /// Updates done.
    step: u64,
    /// First and second moment of each parameter behind one another, in the parameters' order: [2, ...].
    moments: Vec<Tensor>,
}

/// What stays the same over a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamWSettings {
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
}

impl AdamWSettings {
    pub(crate) fn of_run(train: &TrainConfig) -> Self {
        Self {
            beta1: train.adam_beta1,
            beta2: train.adam_beta2,
            epsilon: train.adam_epsilon,
            weight_decay: train.weight_decay,
        }
    }
}

/// Moves the moments towards a gradient.
struct Moments {
    clip: f32,
    beta1: f32,
    beta2: f32,
}

/// Moves a parameter against its moments.
struct Move {
    /// Rate over the first moment's bias correction.
    rate: f32,
    /// 1 over the root of the second moment's bias correction.
    inverse_root: f32,
    epsilon: f32,
    /// What decay leaves of the weight.
    keep: f32,
}

vectorized! {
    fn update_moments(m: &mut [f32], v: &mut [f32], g: &[f32], clip: f32, beta1: f32, beta2: f32) {
        let n = g.len();
        let (m, v) = (&mut m[..n], &mut v[..n]);
        for i in 0..n {
            let g = g[i] * clip;
            m[i] += (g - m[i]) * (1.0 - beta1);
            v[i] = v[i] * beta2 + g * g * (1.0 - beta2);
        }
    }
}

vectorized! {
    fn update_weights(p: &mut [f32], m: &[f32], v: &[f32], u: &Move) {
        let n = p.len();
        let (m, v) = (&m[..n], &v[..n]);
        for i in 0..n {
            let denominator = v[i].sqrt() * u.inverse_root + u.epsilon;
            p[i] = p[i] * u.keep - u.rate * (m[i] / denominator);
        }
    }
}

const TASK: usize = 1 << 14;

impl InplaceOp2 for Moments {
    fn name(&self) -> &'static str {
        "adamw-moments"
    }

    fn cpu_fwd(
        &self,
        moments: &mut CpuStorage,
        moments_layout: &Layout,
        g: &CpuStorage,
        g_layout: &Layout,
    ) -> CandleResult<()> {
        let moments = floats_mut("adamw", moments, moments_layout)?;
        let g = floats("adamw", g, g_layout)?;
        if moments.len() != 2 * g.len() {
            bail!("adamw: {} moments and {} gradients", moments.len(), g.len());
        }
        let (m, v) = moments.split_at_mut(g.len());
        m.par_chunks_mut(TASK)
            .zip(v.par_chunks_mut(TASK))
            .zip(g.par_chunks(TASK))
            .for_each(|((m, v), g)| update_moments(m, v, g, self.clip, self.beta1, self.beta2));
        Ok(())
    }
}

impl InplaceOp2 for Move {
    fn name(&self) -> &'static str {
        "adamw-move"
    }

    fn cpu_fwd(
        &self,
        p: &mut CpuStorage,
        p_layout: &Layout,
        moments: &CpuStorage,
        moments_layout: &Layout,
    ) -> CandleResult<()> {
        let p = floats_mut("adamw", p, p_layout)?;
        let moments = floats("adamw", moments, moments_layout)?;
        if moments.len() != 2 * p.len() {
            bail!("adamw: {} moments and {} values", moments.len(), p.len());
        }
        let (m, v) = moments.split_at(p.len());
        p.par_chunks_mut(TASK)
            .zip(m.par_chunks(TASK))
            .zip(v.par_chunks(TASK))
            .for_each(|((p, m), v)| update_weights(p, m, v, self));
        Ok(())
    }
}

impl AdamW {
    /// An optimizer that has seen nothing yet.
    pub(crate) fn new(settings: AdamWSettings, parameters: &[&Parameter]) -> Result<Self> {
        let moments = parameters.iter().map(|parameter| {
            let mut shape = vec![2];
            shape.extend_from_slice(parameter.value.dims());
            Tensor::zeros(shape, DType::F32, parameter.value.device())
        });
        Ok(Self {
            settings,
            step: 0,
            moments: moments.collect::<CandleResult<_>>()?,
        })
    }

    /// One update of all parameters at learning rate `rate`, with their gradients times `clip`.
    ///
    /// Decay spares vectors (norms and biases), as Transformers' Trainer does; every LoRA tensor is a matrix.
    pub(crate) fn step(&mut self, parameters: &[&Parameter], rate: f64, clip: f32) -> Result<()> {
        let AdamWSettings {
            beta1,
            beta2,
            epsilon,
            weight_decay,
        } = self.settings;
        self.step += 1;
        let count = self.step as f64;
        let (first, second) = (1.0 - beta1.powf(count), 1.0 - beta2.powf(count));
        for (parameter, moments) in parameters.iter().zip(&self.moments) {
            let Some(grad) = &parameter.grad else {
                continue;
            };
            let decay = if parameter.value.rank() >= 2 {
                weight_decay
            } else {
                0.0
            };
            moments.inplace_op2(
                grad,
                &Moments {
                    clip,
                    beta1: beta1 as f32,
                    beta2: beta2 as f32,
                },
            )?;
            let weights = Move {
                rate: (rate / first) as f32,
                inverse_root: (1.0 / second.sqrt()) as f32,
                epsilon: epsilon as f32,
                keep: (1.0 - rate * decay) as f32,
            };
            parameter.value.inplace_op2(moments, &weights)?;
        }
        Ok(())
    }

    /// Writes the moments by their parameters' names.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, path: &Path, parameters: &[&Parameter]) -> Result<()> {
        let tensors = parameters.iter().zip(&self.moments);
        let tensors = tensors
            .map(|(parameter, moments)| (parameter.name.clone(), moments.clone()))
            .collect();
        weights::write(path, tensors, DType::F32)
    }

    /// An optimizer that goes on after `step` updates from what [`Self::save`] wrote.
    ///
    /// # Errors
    /// The file is damaged or belongs to other parameters.
    pub(crate) fn load(
        settings: AdamWSettings,
        parameters: &[&Parameter],
        path: &Path,
        step: u64,
    ) -> Result<Self> {
        let mut file = Weights::open(&[path.to_owned()])?;
        let mut moments = Vec::with_capacity(parameters.len());
        for parameter in parameters {
            let mut shape = vec![2];
            shape.extend_from_slice(parameter.value.dims());
            let wrong = |error: Error| Error::Checkpoint {
                path: path.to_owned(),
                message: format!(
                    "does not belong to this run ({error}); start anew without --resume"
                ),
            };
            moments.push(
                file.take(&parameter.name, &shape, DType::F32)
                    .map_err(wrong)?,
            );
        }
        file.finish(|_| false)?;
        Ok(Self {
            settings,
            step,
            moments,
        })
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// torch: p = tensor([[1., -2.]]); g = [[0.5, -1.5]] at step 1 and [[1.0, 0.25]] at step 2;
    /// AdamW([p], lr=0.1, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1). By the formulas of its documentation, in
    /// f64: step 1 moves by lr against the sign; step 2 as below.
    #[test]
    fn two_steps_follow_the_formulas_of_torch() {
        let value = Tensor::new(&[[1f32, -2.0]], &Device::Cpu).unwrap();
        let parameter = Parameter::trainable("p".into(), &value).unwrap();
        let settings = AdamWSettings {
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.1,
        };
        let mut optimizer = AdamW::new(settings, &[&parameter]).unwrap();
        let (mut expected, mut m, mut v) = ([1f64, -2.0], [0f64; 2], [0f64; 2]);
        for (step, gradient) in [[0.5f64, -1.5], [1.0, 0.25]].into_iter().enumerate() {
            let t = step as i32 + 1;
            for i in 0..2 {
                expected[i] *= 1.0 - 0.1 * 0.1;
                m[i] = 0.9 * m[i] + 0.1 * gradient[i];
                v[i] = 0.99 * v[i] + 0.01 * gradient[i] * gradient[i];
                let denominator = v[i].sqrt() / (1.0 - 0.99f64.powi(t)).sqrt() + 1e-8;
                expected[i] -= 0.1 / (1.0 - 0.9f64.powi(t)) * m[i] / denominator;
            }
            let grad =
                Tensor::new(&[[gradient[0] as f32, gradient[1] as f32]], &Device::Cpu).unwrap();
            let held = Parameter {
                grad: Some(grad),
                ..parameter.clone()
            };
            optimizer.step(&[&held], 0.1, 1.0).unwrap();
        }
        let got = parameter.value.to_vec2::<f32>().unwrap();
        for i in 0..2 {
            assert!(
                (f64::from(got[0][i]) - expected[i]).abs() < 1e-6,
                "{got:?} {expected:?}"
            );
        }
    }
}
