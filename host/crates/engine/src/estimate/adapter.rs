//! What an adapter has, counted by the names and shapes of its base's tensors.

use domain::{FieldErrors, LoraBias};

use super::inventory::{Inventory, Shaped};
use crate::Result;
use crate::lora::{HEAD, Settings, Split, saved_ends, saves, targets, token_ids};
use crate::model::Description;

impl Inventory {
    /// Adds an adapter of these settings to a base of these tensors, whose vocabulary is `self.tokens`.
    ///
    /// # Errors
    /// The settings choose no layer, or tokens that are not there.
    pub(super) fn count_adapter(
        &mut self,
        settings: &Settings,
        description: &Description,
        mut tensors: Vec<Shaped>,
    ) -> Result<()> {
        let embedding = description.names.embedding;
        let (tokens, hidden) = (self.tokens, description.hidden);
        let tied = description.tied_head;
        let linears: Vec<(&str, u64, u64)> = tensors
            .iter()
            .filter_map(|(name, shape)| match shape[..] {
                [out, input] => {
                    let module = name
                        .strip_suffix(".weight")
                        .filter(|name| is_of_layer(name))?;
                    Some((module, out as u64, input as u64))
                }
                _ => None,
            })
            .collect();
        let names: Vec<&str> = linears.iter().map(|(name, ..)| *name).collect();
        let chosen = targets(settings, &names, &[embedding, HEAD])
            .map_err(|message| FieldErrors::one("lora", message))?;
        let is_chosen = |module: &str| chosen.iter().any(|name| name == module);
        let is_split = Split::of(&settings.init).is_some();
        for (name, out, input) in linears.iter().filter(|(name, ..)| is_chosen(name)) {
            let rank = settings.rank(name) as u64;
            self.adapter_parameters += rank * (out + input) + u64::from(settings.lora_bias) * out;
            self.split_parameters += u64::from(is_split) * rank * (out + input);
            self.ranks += rank;
            if settings.use_dora {
                self.adapter_parameters += out;
                self.decomposed += out;
            }
        }
        for (end, out) in [(embedding, hidden), (HEAD, tokens)] {
            if is_chosen(end) {
                let magnitudes = u64::from(settings.use_dora) + u64::from(settings.lora_bias);
                self.adapter_parameters +=
                    settings.rank(end) as u64 * (tokens + hidden) as u64 + magnitudes * out as u64;
            }
        }
        let saved = saved_ends(settings, embedding, tied);
        let one = settings.ensure_weight_tying && tied && saved[0];
        let is_saved = |module: &str| match module {
            HEAD => saved[1] && !one,
            _ if module == embedding => saved[0],
            _ => saves(&settings.modules_to_save, module),
        };
        let trains = |module: &str| match settings.bias {
            LoraBias::None => false,
            LoraBias::LoraOnly => is_chosen(module),
            LoraBias::All => true,
        };
        let own = |name: &str| match name.rsplit_once('.') {
            Some((module, "bias")) => is_saved(module) || trains(module),
            Some((module, _)) => is_saved(module),
            None => is_saved(name),
        };
        let head = format!("{HEAD}.weight");
        if tied {
            tensors.push((head, vec![tokens, hidden]));
        }
        let own = tensors.iter().filter(|(name, _)| own(name));
        let counts = own.map(|(_, shape)| shape.iter().map(|size| *size as u64).product::<u64>());
        self.adapter_parameters += counts.sum::<u64>();
        let rows = token_ids(settings, embedding, tokens, tied)
            .map_err(|message| FieldErrors::one("lora.trainable_token_indices", message))?;
        let [of_embedding, of_head] = rows.map(|tokens| tokens.len());
        self.adapter_parameters += ((of_embedding + of_head) * hidden) as u64;
        self.head_tokens = match (of_head, tied) {
            (0, true) => of_embedding as u64,
            (own, _) => own as u64,
        };
        let layers = self.layers.max(1) as u64;
        self.ranks /= layers;
        self.decomposed /= layers;
        self.dropout = settings.lora_dropout > 0.0;
        Ok(())
    }
}

/// A module of a layer has its number in its path.
fn is_of_layer(name: &str) -> bool {
    name.split('.').any(|word| word.parse::<u32>().is_ok())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::DType;
    use domain::RunConfig;

    use super::Inventory;
    use crate::lora::read_adapter;
    use crate::model::{Decoder, Description, Loading, Stored};

    /// Every adapter of the goldens: biases, rows of tokens, modules saved whole, DoRA, bases with more tokens.
    #[test]
    fn what_is_counted_by_names_is_what_a_run_has() {
        let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../tests/fixtures/goldens");
        let mut cases = Vec::new();
        for entry in std::fs::read_dir(&goldens).unwrap() {
            let folder = entry.unwrap().path();
            let (model, adapter) = (folder.join("model"), folder.join("adapter_init"));
            if !model.is_dir() || !adapter.is_dir() {
                continue;
            }
            let mut config = RunConfig::default();
            config.model.path = Some(model.display().to_string());
            config.lora.init_adapter = Some(adapter.display().to_string());
            let description = Description::of_model(&model).unwrap();
            let counted = Inventory::of(&config, &model, &description).unwrap();
            let mut decoder = Decoder::load(&model, Loading::frozen(DType::F32)).unwrap();
            read_adapter(&mut decoder, &adapter, true).unwrap();
            let own = decoder.adapter_parameters();
            let own: u64 = own.iter().map(|parameter| parameter.len()).sum();
            let base: u64 = decoder.base().iter().map(Stored::len).sum();
            let found = (
                counted.adapter_parameters,
                counted.parameters,
                counted.bytes,
            );
            let tokens = (counted.tokens, decoder.description.vocab);
            assert_eq!(found, (own, base, 4 * base), "{}", folder.display());
            assert_eq!(tokens.0, tokens.1, "{}", folder.display());
            cases.push(folder.file_name().unwrap().to_string_lossy().into_owned());
        }
        for case in [
            "bias-all",
            "lora-bias",
            "tokens-apart",
            "resized-ends",
            "ends-dora",
        ] {
            assert!(cases.iter().any(|name| name == case), "{case}: {cases:?}");
        }
    }
}
