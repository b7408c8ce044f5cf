use candle_core::{Device, Tensor};

use super::Description;
use super::description::RopeScaling;
use crate::Result;
use crate::ops::RotaryTable;

/// Angles per position of every pair of a head's dimensions.
pub(crate) fn inverse_frequencies(description: &Description) -> Vec<f32> {
    let dim = description.head_dim;
    let plain =
        (0..dim / 2).map(|i| 1.0 / description.rope_theta.powf(2.0 * i as f64 / dim as f64));
    let scaling = match description.rope_scaling {
        RopeScaling::None => return plain.map(|x| x as f32).collect(),
        RopeScaling::Linear(factor) => return plain.map(|x| (x / factor) as f32).collect(),
        RopeScaling::Llama3(scaling) => scaling,
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn frequencies(scaling: serde_json::Value) -> Vec<f32> {
        let config = json!({
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 4, "vocab_size": 8, "rope_theta": 10_000.0, "rope_scaling": scaling,
        });
        inverse_frequencies(&Description::from_json(&config).unwrap())
    }

    #[test]
    fn linear_scaling_divides_every_frequency() {
        let plain = frequencies(json!(null));
        assert_eq!(plain[0], 1.0);
        let scaled = frequencies(json!({ "type": "linear", "factor": 4.0 }));
        for (plain, scaled) in plain.iter().zip(scaled) {
            assert!((plain / 4.0 - scaled).abs() < 1e-9);
        }
    }
}
