use candle_core::{CpuStorage, CustomOp1, Layout, Result as CandleResult, Shape};
use rayon::prelude::*;

use crate::Result;
use crate::model::Parameter;
use crate::ops::storage::floats;

struct AllFinite;

impl CustomOp1 for AllFinite {
    fn name(&self) -> &'static str {
        "all-finite"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> CandleResult<(CpuStorage, Shape)> {
        let x = floats("all-finite", x, layout)?;
        let finite = x
            .par_chunks(1 << 16)
            .all(|x| x.iter().all(|x| x.is_finite()));
        Ok((CpuStorage::U8(vec![u8::from(finite)]), Shape::from(())))
    }
}

/// Whether every value of all parameters is a number.
pub(crate) fn all_finite(parameters: &[&Parameter]) -> Result<bool> {
    for parameter in parameters {
        let finite = parameter.value.apply_op1_no_bwd(&AllFinite)?;
        if finite.to_scalar::<u8>()? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}
