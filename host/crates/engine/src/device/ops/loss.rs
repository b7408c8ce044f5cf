use super::super::machine::{Element, launch};
use super::super::rows::{Device, Rows};
use super::{BLOCK, blocks, fits, pieces};
use crate::Result;

impl Device {
    /// Puts `cap · tanh(x / cap)` in the place of each f32 logit.
    pub(crate) fn soft_cap(&self, logits: &Rows, cap: f32) -> Result<()> {
        fits(
            "soft cap",
            logits.is_whole() && logits.element == Element::F32,
        )?;
        launch!(
            self,
            "soft_cap",
            self.element,
            blocks(pieces(1, logits.len(), Element::F32)),
            BLOCK,
            0,
            [logits.address, logits.len() as i64, cap]
        )
    }

    /// Writes loss, logarithm of the sum, and whether the target is likeliest, of each row of f32 logits: [N, 3].
    pub(crate) fn cross_entropy(
        &self,
        statistics: &Rows,
        logits: &Rows,
        targets: u64,
        cap: f32,
    ) -> Result<()> {
        let fit = (statistics.rows, statistics.width) == (logits.rows, 3) && statistics.is_whole();
        let floats = [statistics.element, logits.element] == [Element::F32; 2];
        fits("cross-entropy", fit && floats)?;
        launch!(
            self,
            "cross_entropy",
            self.element,
            [logits.rows as u32, 1],
            BLOCK,
            0,
            [
                statistics.address,
                logits.address,
                logits.stride as i64,
                targets,
                logits.width as i32,
                cap,
            ]
        )
    }

    /// Gradient of the weighted losses by the logits before their cap, times `factor`.
    pub(crate) fn cross_entropy_gradient(
        &self,
        gradient: &Rows,
        (logits, statistics): (&Rows, &Rows),
        (targets, weights): (u64, u64),
        cap: f32,
        factor: f32,
    ) -> Result<()> {
        let fit = (gradient.rows, gradient.width) == (logits.rows, logits.width);
        fits(
            "cross-entropy gradient",
            fit && gradient.element == self.element,
        )?;
        launch!(
            self,
            "cross_entropy_gradient",
            self.element,
            [logits.rows as u32, 1],
            BLOCK,
            0,
            [
                gradient.address,
                gradient.stride as i64,
                logits.address,
                logits.stride as i64,
                statistics.address,
                targets,
                weights,
                logits.width as i32,
                cap,
                factor,
            ]
        )
    }
}
