use std::collections::BTreeMap;
use std::path::Path;

use domain::{InitLoraWeights, LoraBias, LoraConfig, TargetModules, TokenIndices};
use serde_json::{Map, Value, json};

use super::Split;
use super::keys::{IDLE, READ, UNSUPPORTED};
use super::target::pattern_matches;
use crate::{Error, Result};

/// What a PEFT `adapter_config.json` decides of the computation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(crate) r: u32,
    pub(crate) lora_alpha: f64,
    pub(crate) lora_dropout: f64,
    pub(crate) target_modules: TargetModules,
    pub(crate) exclude_modules: Option<TargetModules>,
    pub(crate) use_rslora: bool,
    pub(crate) use_dora: bool,
    /// Modules that are trained and saved whole.
    pub(crate) modules_to_save: Vec<String>,
    /// Tokens whose rows of embedding or head are trained and saved.
    pub(crate) trainable_token_indices: Option<TokenIndices>,
    /// Biases that train with the adapter.
    pub(crate) bias: LoraBias,
    /// Whether B has a bias.
    pub(crate) lora_bias: bool,
    /// Whether a head that is the embedding stays it where the adapter has a copy of either.
    pub(crate) ensure_weight_tying: bool,
    pub(crate) rank_pattern: BTreeMap<String, u32>,
    pub(crate) alpha_pattern: BTreeMap<String, f64>,
    pub(crate) layers_to_transform: Vec<u32>,
    pub(crate) init: InitLoraWeights,
}

impl Settings {
    /// The settings of a run.
    pub(crate) fn of_run(lora: &LoraConfig) -> Self {
        Self {
            r: lora.r,
            lora_alpha: lora.lora_alpha,
            lora_dropout: lora.lora_dropout,
            target_modules: lora.target_modules.clone(),
            exclude_modules: lora.exclude_modules.clone(),
            use_rslora: lora.use_rslora,
            use_dora: lora.use_dora,
            modules_to_save: lora.modules_to_save.clone(),
            trainable_token_indices: lora.trainable_token_indices.clone(),
            bias: lora.bias,
            lora_bias: lora.lora_bias,
            ensure_weight_tying: lora.ensure_weight_tying,
            rank_pattern: lora.rank_pattern.clone(),
            alpha_pattern: lora.alpha_pattern.clone(),
            layers_to_transform: lora.layers_to_transform.clone(),
            init: lora.init_lora_weights.clone(),
        }
    }

    /// These as settings of a run; the rest is the run's own.
    pub(crate) fn to_run(&self, run: &LoraConfig) -> LoraConfig {
        LoraConfig {
            r: self.r,
            lora_alpha: self.lora_alpha,
            lora_dropout: self.lora_dropout,
            target_modules: self.target_modules.clone(),
            exclude_modules: self.exclude_modules.clone(),
            use_rslora: self.use_rslora,
            use_dora: self.use_dora,
            modules_to_save: self.modules_to_save.clone(),
            trainable_token_indices: self.trainable_token_indices.clone(),
            bias: self.bias,
            lora_bias: self.lora_bias,
            ensure_weight_tying: self.ensure_weight_tying,
            rank_pattern: self.rank_pattern.clone(),
            alpha_pattern: self.alpha_pattern.clone(),
            layers_to_transform: self.layers_to_transform.clone(),
            init_lora_weights: self.init.clone(),
            loraplus_lr_ratio: run.loraplus_lr_ratio,
            init_adapter: None,
        }
    }

    /// Reads `adapter_config.json` of a PEFT folder.
    ///
    /// # Errors
    /// It is missing or damaged, or asks for what is not supported.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("adapter_config.json");
        if !path.is_file() {
            let message = match named_adapter(folder) {
                // PEFT's own name for the first is default, which lies in the folder itself.
                Some(name) => format!("is missing; the adapter {name:?} lies in the folder of that name: give that"),
                None => "is missing; an adapter is a PEFT folder with adapter_config.json and adapter_model.safetensors".into(),
            };
            return Err(Error::file(&path, message));
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        let value: Value = serde_json::from_str(&text)
            .map_err(|error| Error::file(&path, format!("is no valid JSON: {error}")))?;
        let table = value
            .as_object()
            .ok_or_else(|| Error::file(&path, "must hold a JSON object"))?;
        Self::from_json(table).map_err(|message| Error::file(&path, message))
    }

    fn from_json(table: &Map<String, Value>) -> Result<Self, String> {
        match table.get("peft_type").and_then(Value::as_str) {
            Some("LORA") => {}
            other => return Err(format!("peft_type {other:?} is not supported; LORA is")),
        }
        for (key, _) in table.iter().filter(|(_, value)| truthy(value)) {
            if UNSUPPORTED.contains(&key.as_str()) {
                return Err(format!("{key} is not supported"));
            }
            // Other programs leave notes of their own, which PEFT passes over too; a later PEFT may mean something by them.
            let known = READ.contains(&key.as_str()) || IDLE.contains(&key.as_str());
            if !known && is_of_later_peft(table) {
                return Err(format!(
                    "{key} is of a later PEFT than 0.21 and may change the computation; remove it if it does not"
                ));
            }
        }
        let bias = match table.get("bias") {
            None | Some(Value::Null) => LoraBias::None,
            Some(bias) => serde_json::from_value(bias.clone())
                .map_err(|_| format!("bias must be none, all or lora_only, not {bias}"))?,
        };
        let lora_bias = table.get("lora_bias").is_some_and(truthy);
        if lora_bias && table.get("use_dora").is_some_and(truthy) {
            return Err("lora_bias is not known beside use_dora, in PEFT either".into());
        }
        let tokens = table.get("trainable_token_indices");
        let trainable_token_indices = match tokens.filter(|value| truthy(value)) {
            None => None,
            Some(value) => Some(serde_json::from_value(value.clone()).map_err(|_| {
                format!("trainable_token_indices must be a list of token ids, or a table of such lists, not {value}")
            })?),
        };
        let init = match table.get("init_lora_weights") {
            None | Some(Value::Null) => InitLoraWeights::Flag(true),
            Some(Value::Bool(flag)) => InitLoraWeights::Flag(*flag),
            Some(Value::String(name))
                if matches!(name.as_str(), "gaussian" | "eva" | "orthogonal") =>
            {
                InitLoraWeights::Named(name.clone())
            }
            Some(Value::String(name))
                if Split::of(&InitLoraWeights::Named(name.clone())).is_some() =>
            {
                InitLoraWeights::Named(name.clone())
            }
            Some(other) => {
                return Err(format!(
                    "init_lora_weights {other} is not supported: such an adapter belongs to a base that was changed, or trains only a part of itself"
                ));
            }
        };
        let modules = |key: &str| match table.get(key).filter(|value| truthy(value)) {
            None => Ok(None),
            Some(value) => serde_json::from_value(value.clone())
                .map(Some)
                .map_err(|_| format!("{key} must be a word or a list of words, not {value}")),
        };
        let target_modules = modules("target_modules")?
            .ok_or("target_modules is missing: a word or a list of words")?;
        let number = |key: &str, default: f64| match table.get(key) {
            None | Some(Value::Null) => Ok(default),
            Some(value) => value
                .as_f64()
                .filter(|x| x.is_finite() && *x >= 0.0)
                .ok_or(format!("{key} must be a number, not {value}")),
        };
        let rank =
            |key: &str, rank: f64| match rank.fract() == 0.0 && (1.0..=MOST_RANK).contains(&rank) {
                true => Ok(rank as u32),
                false => Err(format!(
                    "{key} must be a whole number from 1 on, not {rank}"
                )),
            };
        let pattern = |key: &str| -> Result<BTreeMap<String, f64>, String> {
            let table: BTreeMap<String, f64> = match table.get(key) {
                None | Some(Value::Null) => BTreeMap::new(),
                Some(value) => serde_json::from_value(value.clone())
                    .map_err(|_| format!("{key} must be a table of numbers, not {value}"))?,
            };
            for name in table.keys() {
                fancy_regex::Regex::new(name)
                    .map_err(|error| format!("{key}: {name:?} is no valid regex: {error}"))?;
            }
            Ok(table)
        };
        let layers = match table.get("layers_to_transform") {
            None | Some(Value::Null) => Vec::new(),
            Some(one @ Value::Number(_)) => vec![one.clone()],
            Some(Value::Array(list)) => list.clone(),
            Some(other) => return Err(not_layers(other)),
        };
        let layers = layers
            .into_iter()
            .map(|layer| serde_json::from_value(layer.clone()).map_err(|_| not_layers(&layer)))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            r: rank("r", number("r", 8.0)?)?,
            lora_alpha: number("lora_alpha", 8.0)?,
            lora_dropout: number("lora_dropout", 0.0)?,
            target_modules,
            exclude_modules: modules("exclude_modules")?,
            use_rslora: table.get("use_rslora").is_some_and(truthy),
            use_dora: table.get("use_dora").is_some_and(truthy),
            modules_to_save: match table.get("modules_to_save") {
                None | Some(Value::Null) => Vec::new(),
                Some(list) => serde_json::from_value(list.clone())
                    .map_err(|_| format!("modules_to_save must be a list of words, not {list}"))?,
            },
            rank_pattern: pattern("rank_pattern")?
                .into_iter()
                .map(|(key, own)| Ok((key, rank("rank_pattern", own)?)))
                .collect::<Result<_, String>>()?,
            alpha_pattern: pattern("alpha_pattern")?,
            trainable_token_indices,
            bias,
            lora_bias,
            ensure_weight_tying: table.get("ensure_weight_tying").is_some_and(truthy),
            layers_to_transform: layers,
            init,
        })
    }

    /// Rank of a module.
    pub(crate) fn rank(&self, module: &str) -> usize {
        let own = self
            .rank_pattern
            .iter()
            .find(|(pattern, _)| pattern_matches(pattern, module));
        own.map_or(self.r, |(_, rank)| *rank) as usize
    }

    /// Factor of a module's update: alpha / r, or alpha / sqrt(r).
    pub(crate) fn scale(&self, module: &str) -> f32 {
        let own = self
            .alpha_pattern
            .iter()
            .find(|(pattern, _)| pattern_matches(pattern, module));
        let alpha = own.map_or(self.lora_alpha, |(_, alpha)| *alpha);
        let rank = self.rank(module) as f64;
        (if self.use_rslora {
            alpha / rank.sqrt()
        } else {
            alpha / rank
        }) as f32
    }

    /// `adapter_config.json`, in PEFT's keys. `modules` are the last words of the adapted modules, for `all-linear`.
    pub(crate) fn to_json(
        &self,
        modules: &[String],
        base: Option<&str>,
        revision: Option<&str>,
    ) -> Value {
        let targets = match &self.target_modules {
            TargetModules::One(word) if word == "all-linear" => json!(modules),
            other => json!(other),
        };
        let mut table = super::peft_defaults();
        let layers = (!self.layers_to_transform.is_empty()).then_some(&self.layers_to_transform);
        let saved = (!self.modules_to_save.is_empty()).then_some(&self.modules_to_save);
        for (key, value) in [
            ("alpha_pattern", json!(self.alpha_pattern)),
            ("base_model_name_or_path", json!(base)),
            ("bias", json!(self.bias)),
            ("ensure_weight_tying", json!(self.ensure_weight_tying)),
            ("exclude_modules", json!(self.exclude_modules)),
            ("init_lora_weights", json!(self.init)),
            ("layers_to_transform", json!(layers)),
            ("lora_alpha", whole(self.lora_alpha)),
            ("lora_bias", json!(self.lora_bias)),
            ("lora_dropout", json!(self.lora_dropout)),
            ("modules_to_save", json!(saved)),
            ("r", json!(self.r)),
            ("rank_pattern", json!(self.rank_pattern)),
            ("revision", json!(revision)),
            ("target_modules", targets),
            (
                "trainable_token_indices",
                json!(self.trainable_token_indices),
            ),
            ("use_dora", json!(self.use_dora)),
            ("use_rslora", json!(self.use_rslora)),
        ] {
            table.insert(key.to_owned(), value);
        }
        Value::Object(table)
    }
}

/// An adapter that PEFT saved by a name of its own: a folder in the folder.
fn named_adapter(folder: &Path) -> Option<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.join("adapter_config.json").is_file())
        .filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
        .collect();
    names.sort();
    names.into_iter().next()
}

/// A number without `.0` where it is whole, as people write it.
fn whole(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

/// Largest rank: beyond it f64 no longer holds every whole number, and no matrix has so many rows.
const MOST_RANK: f64 = u32::MAX as f64;

fn not_layers(value: &Value) -> String {
    format!("layers_to_transform must be a list of whole numbers, not {value}")
}

fn truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Array(items) => !items.is_empty(),
        Value::Object(table) => !table.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Number(number) => number.as_f64() != Some(0.0),
    }
}

/// Whether a PEFT wrote it whose keys are not known here; those before 0.17 did not say which they are.
fn is_of_later_peft(table: &Map<String, Value>) -> bool {
    let version = table.get("peft_version").and_then(Value::as_str);
    let mut numbers = version.unwrap_or_default().split('.');
    let mut next = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    let (major, minor) = (next().unwrap_or(0), next().unwrap_or(0));
    (major, minor) > (0, 21)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: Value) -> Result<Settings, String> {
        let mut table = super::super::peft_defaults();
        table.insert("target_modules".into(), json!(["q_proj", "v_proj"]));
        table.extend(more.as_object().unwrap().clone());
        Settings::from_json(&table)
    }

    #[test]
    fn excluded_modules_are_kept_for_who_reads_the_adapter_next() {
        for excluded in [json!(["v_proj"]), json!(".*\\.0\\..*")] {
            let settings = read(json!({ "exclude_modules": excluded })).unwrap();
            let written = settings.to_json(&[], None, None);
            assert_eq!(written["exclude_modules"], excluded);
            let run = settings.to_run(&LoraConfig::default());
            assert_eq!(Settings::of_run(&run), settings);
        }
        assert_eq!(
            read(json!({ "exclude_modules": [] }))
                .unwrap()
                .exclude_modules,
            None
        );
    }

    #[test]
    fn options_of_peft_that_are_not_done_are_refused_by_name() {
        for (key, value) in [
            ("bias", json!("some")),
            ("init_lora_weights", json!("corda")),
            ("layer_replication", json!([[0, 2]])),
            ("trainable_token_indices", json!(["a"])),
            ("target_parameters", json!(["x"])),
            ("use_qalora", json!(true)),
            ("exclude_modules", json!(3)),
            ("rank_pattern", json!({ "(": 4 })),
            ("alpha_pattern", json!({ "q_proj": "many" })),
            ("peft_type", json!("LOHA")),
            ("r", json!(0)),
            ("r", json!(2.5)),
            ("rank_pattern", json!({ "q_proj": 0 })),
            ("layers_to_transform", json!(1.5)),
            ("layers_to_transform", json!([0, -1])),
        ] {
            let message = read(json!({ key: value })).unwrap_err();
            assert!(message.contains(key), "{key}: {message}");
        }
        assert_eq!(
            read(json!({ "layers_to_transform": 1 }))
                .unwrap()
                .layers_to_transform,
            [1]
        );
    }

    #[test]
    fn what_only_a_later_peft_knows_is_refused_and_notes_of_other_programs_are_not() {
        let with = |on: bool, version: &str| {
            read(json!({ "use_something_new": on, "peft_version": version })).map(|read| read.r)
        };
        for later in ["0.22.0", "0.100.1.dev0", "1.0.0"] {
            let message = with(true, later).unwrap_err();
            assert!(message.contains("use_something_new"), "{message}");
            assert_eq!(with(false, later), Ok(8));
        }
        for known in ["0.21.2", "0.18.0", "0.9", ""] {
            assert_eq!(with(true, known), Ok(8), "{known}");
        }
    }
}
