use crate::Result;
use crate::model::Parameter;
use crate::ops;

/// Global L2 norm of all gradients.
pub(crate) fn gradient_norm(parameters: &[&Parameter]) -> Result<f64> {
    let mut sum = 0.0;
    for grad in parameters
        .iter()
        .filter_map(|parameter| parameter.grad.as_ref())
    {
        sum += ops::squared_norm(grad)?;
    }
    Ok(sum.sqrt())
}

/// Factor of all gradients, as in `torch.nn.utils.clip_grad_norm_`; a limit of 0 switches clipping off.
pub(crate) fn clip_factor(norm: f64, limit: f64) -> f32 {
    if limit > 0.0 {
        (limit / (norm + 1e-6)).min(1.0) as f32
    } else {
        1.0
    }
}
