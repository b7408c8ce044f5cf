//! What tells the layers of one model apart: windows and rotary embeddings.

use serde_json::{Map, Value};

use super::Layer;
use crate::model::family::{Family, Positions, Windows};
use crate::model::keys::Keys;
use crate::model::rope::{Rotary, RotaryContext};

/// The rotary embeddings of a model: none, one, or Gemma 3's two (of layers that see everything, of those that do not).
pub(super) fn rotaries(
    config: &Keys<'_>,
    family: &Family,
    context: RotaryContext,
) -> Result<Vec<Rotary>, String> {
    if family.positions == Positions::Learned {
        return Ok(Vec::new());
    }
    let empty = Map::new();
    // Transformers lets the older key win.
    let older = config
        .table("rope_scaling")?
        .filter(|table| !table.0.is_empty());
    let newer = config.table("rope_parameters")?;
    let theta = |key: &str, default: f64| Ok::<_, String>(config.positive(key)?.unwrap_or(default));
    if family.positions == Positions::RotaryByWindow {
        let of = |kind: &str| match newer {
            Some(tables) => tables.table(kind),
            None => Ok(None),
        };
        if let Some(key) = newer.and_then(|tables| {
            let known = ["full_attention", "sliding_attention"];
            tables
                .0
                .keys()
                .find(|key| !known.contains(&key.as_str()))
                .cloned()
        }) {
            return Err(format!(
                "rope_parameters holds {key:?}; this model_type needs a table for full_attention and one for sliding_attention"
            ));
        }
        let context = |theta: f64| RotaryContext { theta, ..context };
        let full = of("full_attention")?.or(older).unwrap_or(Keys(&empty));
        let local = of("sliding_attention")?.unwrap_or(Keys(&empty));
        return Ok(vec![
            Rotary::read(
                config,
                &full,
                "rope_parameters.full_attention",
                context(theta("rope_theta", 1_000_000.0)?),
            )?,
            Rotary::read(
                config,
                &local,
                "rope_parameters.sliding_attention",
                context(theta("rope_local_base_freq", 10_000.0)?),
            )?,
        ]);
    }
    let (table, name) = match (older, newer) {
        (Some(table), _) => (table, "rope_scaling"),
        (None, Some(table)) => (table, "rope_parameters"),
        (None, None) => (Keys(&empty), "rope_parameters"),
    };
    if let Some(nested) = table.0.values().find(|value| value.is_object()) {
        return Err(format!(
            "{name} holds {nested}, and one rotary embedding for each kind of layer is not supported for model_type {:?}",
            family.model_type
        ));
    }
    let context = RotaryContext {
        theta: theta("rope_theta", context.theta)?,
        ..context
    };
    Ok(vec![Rotary::read(config, &table, name, context)?])
}

/// Window and rotary embedding of each layer.
pub(super) fn layers(
    config: &Keys<'_>,
    family: &Family,
    count: usize,
) -> Result<Vec<Layer>, String> {
    let turned = turned(config, family, count)?;
    let types = layer_types(config, count)?;
    let used = config.flag("use_sliding_window", false)?;
    let width = match family.windows {
        Windows::Never => None,
        // A window that is null is switched off.
        Windows::All(_) if config.has("sliding_window") => {
            config.optional_size("sliding_window")?
        }
        Windows::All(default) => default,
        Windows::Switched if !used => None,
        Windows::WithoutRotary if !used => None,
        Windows::WithoutRotary => config.optional_size("sliding_window")?,
        Windows::Switched | Windows::Pattern(_) => match config.has("sliding_window") {
            true => config.optional_size("sliding_window")?,
            false => Some(4096),
        },
    };
    let default = |layer: usize| -> Result<bool, String> {
        Ok(match family.windows {
            Windows::Never => false,
            Windows::All(_) => true,
            Windows::Switched => {
                let first = match config.get("max_window_layers") {
                    Some(value) => value
                        .as_u64()
                        .ok_or(format!("max_window_layers must be a number, not {value}"))?
                        as usize,
                    None => 28,
                };
                width.is_some() && layer >= first
            }
            Windows::Pattern(every) => {
                let every = config
                    .optional_size("sliding_window_pattern")?
                    .filter(|_| family.positions == Positions::RotaryByWindow)
                    .unwrap_or(every);
                !(layer + 1).is_multiple_of(every)
            }
            Windows::WithoutRotary => width.is_some() && !turned[layer],
        })
    };
    (0..count)
        .map(|layer| {
            let windowed = match (&types, family.windows) {
                (Some(types), Windows::All(_)) if width.is_some() && !types[layer] => {
                    return Err(format!(
                        "layer_types calls layer {layer} full_attention, but a sliding_window of model_type {:?} is that of every layer",
                        family.model_type
                    ));
                }
                (Some(types), _) => types[layer],
                (None, _) => default(layer)?,
            };
            if windowed && width.is_none() && !matches!(family.windows, Windows::All(_)) {
                return Err(format!(
                    "layer_types calls layer {layer} sliding_attention, but no sliding_window is in use"
                ));
            }
            let rotary = match family.positions {
                Positions::Learned => None,
                Positions::RotaryByWindow => Some(usize::from(windowed)),
                Positions::Rotary | Positions::RotaryInSome => turned[layer].then_some(0),
            };
            let window = width.filter(|_| windowed);
            Ok(Layer { window, rotary })
        })
        .collect()
}

/// Whether each layer has a window, where the config lists it.
fn layer_types(config: &Keys<'_>, count: usize) -> Result<Option<Vec<bool>>, String> {
    let Some(value) = config.get("layer_types") else {
        return Ok(None);
    };
    let types = value
        .as_array()
        .ok_or(format!("layer_types must be a list, not {value}"))?;
    if types.len() != count {
        return Err(format!(
            "layer_types holds {} layers of {count}",
            types.len()
        ));
    }
    let one = |kind: &Value| match kind.as_str() {
        Some("full_attention") => Ok(false),
        Some("sliding_attention") => Ok(true),
        _ => Err(format!(
            "layer_types holds {kind}, which is not supported; full_attention and sliding_attention are"
        )),
    };
    types.iter().map(one).collect::<Result<_, _>>().map(Some)
}

/// Whether each layer turns queries and keys.
fn turned(config: &Keys<'_>, family: &Family, count: usize) -> Result<Vec<bool>, String> {
    if family.positions != Positions::RotaryInSome {
        return Ok(vec![true; count]);
    }
    match config.numbers("no_rope_layers")? {
        // 1 is a layer with a rotary embedding, whatever the key's name says.
        Some(list) if list.len() >= count => Ok(list[..count].iter().map(|x| *x != 0.0).collect()),
        Some(list) => Err(format!(
            "no_rope_layers holds {} layers of {count}",
            list.len()
        )),
        None => {
            let every = config.optional_size("no_rope_layer_interval")?.unwrap_or(4);
            Ok((1..=count).map(|layer| layer % every != 0).collect())
        }
    }
}
