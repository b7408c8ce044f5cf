use std::ops::Range;

use serde_json::Value;

use super::{Columns, Content};
use crate::{
    Result,
    data::{IGNORED, Sample, read::kind},
};

/// `{"input_ids", "labels", "attention_mask"?}`: labels not shifted, -100 = not trained on. Padding, where the mask is 0,
/// is left out: nothing attends to it here, and nothing is learned from it.
pub(super) fn content(columns: &Columns<'_>, vocab_size: Option<usize>) -> Result<Content> {
    let limit = vocab_size.map_or(i64::from(u32::MAX), |size| size as i64);
    let input_ids = numbers(columns, "input_ids")?;
    let labels = numbers(columns, "labels")?;
    if labels.len() != input_ids.len() {
        return Err(columns.error(
            "labels",
            format!(
                "holds {} values and input_ids {}; there must be a label for each token, -100 where it is not trained on",
                labels.len(),
                input_ids.len()
            ),
        ));
    }
    let inside = attended(columns, input_ids.len())?;
    let beyond = |name: &str, at: usize, value: i64| {
        columns.error(
            name,
            format!(
                "value {} is {value}, beyond the model's vocabulary of {limit}",
                at + 1
            ),
        )
    };
    for at in inside.clone() {
        let (id, label) = (input_ids[at], labels[at]);
        if !(0..limit).contains(&id) {
            return Err(beyond("input_ids", at, id));
        }
        if label != IGNORED && !(0..limit).contains(&label) {
            return Err(beyond("labels", at, label));
        }
    }
    Ok(Content::Tokens(Sample {
        input_ids: input_ids[inside.clone()]
            .iter()
            .map(|id| *id as u32)
            .collect(),
        labels: labels[inside].to_vec(),
    }))
}

/// The tokens that are no padding, which may stand before or behind them.
fn attended(columns: &Columns<'_>, len: usize) -> Result<Range<usize>> {
    const MASK: &str = "attention_mask";
    if columns.optional(MASK).is_none() {
        return Ok(0..len);
    }
    let mask = numbers(columns, MASK)?;
    if mask.len() != len {
        return Err(columns.error(
            MASK,
            format!("holds {} values and input_ids {len}", mask.len()),
        ));
    }
    if let Some(at) = mask.iter().position(|on| !(0..=1).contains(on)) {
        return Err(columns.error(
            MASK,
            format!(
                "value {} is {}, and only 0 and 1 are supported; give packed documents as rows of their own",
                at + 1,
                mask[at]
            ),
        ));
    }
    let start = mask.iter().position(|on| *on == 1).unwrap_or(len);
    let count = mask[start..].iter().take_while(|on| **on == 1).count();
    match mask[start + count..].iter().position(|on| *on == 1) {
        None => Ok(start..start + count),
        Some(later) => Err(columns.error(
            MASK,
            format!(
                "value {} is 0 between tokens that are attended to; only padding before or behind them is supported",
                start + count + later
            ),
        )),
    }
}

fn numbers(columns: &Columns<'_>, name: &str) -> Result<Vec<i64>> {
    let value = columns.value(name)?;
    let list = value.as_array().ok_or_else(|| {
        columns.error(
            name,
            format!("must be a list of whole numbers, not {}", kind(value)),
        )
    })?;
    list.iter()
        .enumerate()
        .map(|(at, item): (usize, &Value)| {
            item.as_i64().ok_or_else(|| {
                columns.error(
                    name,
                    format!("value {} must be a whole number, not {item}", at + 1),
                )
            })
        })
        .collect()
}
