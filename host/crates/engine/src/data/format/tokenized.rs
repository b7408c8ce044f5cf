use serde_json::Value;

use super::{Columns, Content};
use crate::{
    Result,
    data::{IGNORED, Sample, read::kind},
};

/// `{"input_ids", "labels"}`: labels not shifted, -100 = not trained on.
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
    let beyond = |name: &str, at: usize, value: i64| {
        columns.error(
            name,
            format!(
                "value {} is {value}, beyond the model's vocabulary of {limit}",
                at + 1
            ),
        )
    };
    for (at, id) in input_ids.iter().enumerate() {
        if !(0..limit).contains(id) {
            return Err(beyond("input_ids", at, *id));
        }
    }
    for (at, label) in labels.iter().enumerate() {
        if *label != IGNORED && !(0..limit).contains(label) {
            return Err(beyond("labels", at, *label));
        }
    }
    Ok(Content::Tokens(Sample {
        input_ids: input_ids.into_iter().map(|id| id as u32).collect(),
        labels,
    }))
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
