use candle_core::{Device, Tensor};

use super::Description;
use crate::Result;
use crate::ops::RotaryTable;

/// Angles per position of every pair of a head's dimensions.
pub(crate) fn inverse_frequencies(description: &Description) -> Vec<f32> {
    let dim = description.head_dim;
    let plain =
        (0..dim / 2).map(|i| 1.0 / description.rope_theta.powf(2.0 * i as f64 / dim as f64));
    let Some(scaling) = description.rope_scaling else {
        return plain.map(|x| x as f32).collect();
    };
    // As `_compute_llama3_parameters` of Transformers: long waves are stretched, short ones kept, those between
    // blended.
    let low_wavelength = scaling.original_max_positions / scaling.low_freq_factor;
    let high_wavelength = scaling.original_max_positions / scaling.high_freq_factor;
    plain
        .map(|frequency| {
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            let scaled = if wavelength > low_wavelength {
                frequency / scaling.factor
            } else if wavelength < high_wavelength {
                frequency
            } else {
                let smooth = (scaling.original_max_positions / wavelength
                    - scaling.low_freq_factor)
                    / (scaling.high_freq_factor - scaling.low_freq_factor);
                (1.0 - smooth) * frequency / scaling.factor + smooth * frequency
            };
            scaled as f32
        })
        .collect()
}

/// Cosines and sines for positions `from .. from + len`.
pub(crate) fn rotary_table(frequencies: &[f32], from: usize, len: usize) -> Result<RotaryTable> {
    let half = frequencies.len();
    let (mut cos, mut sin) = (
        Vec::with_capacity(len * half),
        Vec::with_capacity(len * half),
    );
    for position in from..from + len {
        for frequency in frequencies {
            let (s, c) = (position as f32 * frequency).sin_cos();
            cos.push(c);
            sin.push(s);
        }
    }
    Ok(RotaryTable {
        cos: Tensor::from_vec(cos, (len, half), &Device::Cpu)?,
        sin: Tensor::from_vec(sin, (len, half), &Device::Cpu)?,
    })
}
