//! AdamW on a device: what its kernel is told, and its moments on their way there and back.

use candle_core::Tensor;

use super::Optimizer;
use crate::Result;
use crate::device::AdamWStep;
use crate::model::Parameter;

impl Optimizer {
    /// Whether a device's kernel can take this optimizer's place.
    pub(crate) fn is_adamw(&self) -> bool {
        self.rule.adamw().is_some()
    }

    /// Counts one update, which is made elsewhere as this says; `None` where the optimizer is another.
    pub(crate) fn adamw_step(
        &mut self,
        parameters: &[&Parameter],
        rate: f64,
        clip: f32,
    ) -> Option<AdamWStep> {
        let [beta1, beta2, epsilon] = self.rule.adamw()?;
        self.step += 1;
        let count = self.step as f64;
        let (first, second) = (1.0 - beta1.powf(count), 1.0 - beta2.powf(count));
        let rates = parameters.iter().map(|parameter| {
            let now = self.now(parameter, rate, clip);
            let keep = 1.0 - now.rate * now.decay;
            ((now.rate / first) as f32, keep as f32)
        });
        Some(AdamWStep {
            clip,
            betas: [beta1 as f32, beta2 as f32],
            inverse_root: (1.0 / second.sqrt()) as f32,
            epsilon: epsilon as f32,
            rates: rates.collect(),
        })
    }

    /// What is remembered of each parameter.
    pub(crate) fn states(&self) -> Result<Vec<Vec<f32>>> {
        let states = self.states.iter();
        states
            .map(|state| Ok(state.flatten_all()?.to_vec1()?))
            .collect()
    }

    /// Takes over what [`Self::states`] gave and others changed.
    pub(crate) fn set_states(&mut self, states: &[Vec<f32>]) -> Result<()> {
        for (state, values) in self.states.iter_mut().zip(states) {
            *state = Tensor::from_slice(values, state.shape(), state.device())?;
        }
        Ok(())
    }
}
