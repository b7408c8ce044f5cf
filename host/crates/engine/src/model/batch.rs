use std::sync::Arc;

use candle_core::{Device, Tensor};

use crate::Result;
use crate::data::Sample;
use crate::ops::Span;

/// Sequences behind one another in one row of tokens, without padding.
pub(crate) struct Batch {
    /// [T].
    pub(crate) ids: Tensor,
    /// Place of each token in its own sequence: [T].
    pub(crate) positions: Tensor,
    pub(crate) spans: Arc<[Span]>,
    /// Rows whose next token is supervised: [N].
    pub(crate) rows: Tensor,
    /// Those tokens: [N].
    pub(crate) targets: Tensor,
    pub(crate) longest: usize,
    pub(crate) tokens: usize,
    pub(crate) supervised: usize,
}

impl Batch {
    /// Lays samples behind one another.
    pub(crate) fn new<'a>(samples: impl IntoIterator<Item = &'a Sample>) -> Result<Self> {
        let (mut ids, mut positions, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for sample in samples {
            let start = ids.len();
            let len = sample.input_ids.len();
            if len == 0 {
                continue;
            }
            spans.push(Span { start, len });
            ids.extend_from_slice(&sample.input_ids);
            positions.extend(0..len as u32);
            for (at, &label) in sample.labels.iter().enumerate().skip(1) {
                if label != -100 {
                    rows.push((start + at - 1) as u32);
                    targets.push(label as u32);
                }
            }
        }
        let (tokens, supervised) = (ids.len(), rows.len());
        let longest = spans.iter().map(|span| span.len).max().unwrap_or(0);
        let tensor = |data: Vec<u32>| {
            let len = data.len();
            Tensor::from_vec(data, len, &Device::Cpu)
        };
        Ok(Self {
            ids: tensor(ids)?,
            positions: tensor(positions)?,
            spans: spans.into(),
            rows: tensor(rows)?,
            targets: tensor(targets)?,
            longest,
            tokens,
            supervised,
        })
    }
}
