use super::parse_size;
use serde_json::Value;

use super::{
    FIELDS, FieldKind, InitLoraWeights, Method, PluginStage, PluginUse, RunConfig, TargetModules,
    TokenIndices,
};
use crate::FieldErrors;

impl RunConfig {
    /// Checks every range and every rule between fields.
    ///
    /// # Errors
    /// All faults at once, each under its field.
    pub fn validate(&self) -> Result<(), FieldErrors> {
        let mut errors = FieldErrors::default();
        let root = serde_json::to_value(self).expect("a run config serializes");
        for field in FIELDS {
            let value = field
                .path
                .split('.')
                .try_fold(&root, |value, key| value.get(key));
            if let Some(message) = value.and_then(|value| out_of_range(value, field.kind)) {
                errors.push(field.path, message);
            }
        }
        self.check_sources(&mut errors);
        self.check_lora(&mut errors);
        self.train.check_schedule(&mut errors);
        self.train.check_pairs(&mut errors);
        self.train.check_intervals(&mut errors);
        if self.train.output.trim().is_empty() {
            errors.push(
                "train.output",
                "is required: the folder for adapter and checkpoints",
            );
        }
        if self.train.early_stopping_patience > 0 && !self.has_eval_data() {
            errors.push(
                "train.early_stopping_patience",
                "needs held-out data: set data.eval_path or data.eval_split",
            );
        }
        if self.train.load_best_model_at_end && !self.has_eval_data() {
            errors.push(
                "train.load_best_model_at_end",
                "needs held-out data: set data.eval_path or data.eval_split",
            );
        }
        self.check_plugins(&mut errors);
        errors.into_result()
    }

    /// Something is held out to evaluate on.
    pub fn has_eval_data(&self) -> bool {
        let data = &self.data;
        data.eval_path.is_some() || data.test_split.is_some() || data.eval_split > 0.0
    }

    fn check_sources(&self, errors: &mut FieldErrors) {
        let (model, data) = (&self.model, &self.data);
        for (section, path, repo) in [
            ("model", &model.path, &model.repo),
            ("data", &data.path, &data.repo),
        ] {
            match (path, repo) {
                (None, None) => errors.push(
                    format!("{section}.path"),
                    format!("is required (or {section}.repo)"),
                ),
                (Some(_), Some(_)) => errors.push(
                    format!("{section}.repo"),
                    format!("give {section}.path or {section}.repo, not both"),
                ),
                _ => {}
            }
        }
        if model.revision.is_some() && model.repo.is_none() {
            errors.push("model.revision", "is for model.repo only");
        }
        if data.revision.is_some() && data.repo.is_none() {
            errors.push("data.revision", "is for data.repo only");
        }
        self.check_mix(errors);
        self.check_splits(errors);
        if data.streaming && self.train.max_steps == 0 {
            errors.push(
                "data.streaming",
                "needs train.max_steps: how many steps an epoch has is not known before its end",
            );
        }
        if data.streaming && data.eval_split > 0.0 {
            errors.push(
                "data.eval_split",
                "must be 0 with data.streaming: give held-out data as data.eval_path",
            );
        }
        let device = model.device.as_str();
        let numbered = device
            .strip_prefix("cuda:")
            .is_some_and(|number| number.parse::<u32>().is_ok());
        if !matches!(device, "auto" | "cpu" | "cuda") && !numbered {
            errors.push(
                "model.device",
                format!("must be auto, cpu, cuda or cuda:N, not {device:?}"),
            );
        }
        if model.random_init && self.train.method != Method::Full {
            errors.push(
                "model.random_init",
                "needs train.method = \"full\": an adapter over random weights learns nothing of use",
            );
        }
        if let Some(Err(message)) = model.memory_limit.as_deref().map(parse_size) {
            errors.push("model.memory_limit", message);
        }
        if model.quantize.is_some() && self.train.method == Method::Full {
            errors.push(
                "model.quantize",
                "packs a frozen base; train.method = \"full\" has none",
            );
        }
    }

    fn check_plugins(&self, errors: &mut FieldErrors) {
        for (index, plugin) in self.plugins.iter().enumerate() {
            if plugin.stage == PluginStage::Score && plugin.only.is_some() {
                errors.push(
                    format!("plugins.{index}.only"),
                    "is for curators: what is scored is held out",
                );
            }
            let again =
                |other: &PluginUse| other.stage == plugin.stage && other.name == plugin.name;
            // Their scores bear their names: two of one name could not be told apart.
            if plugin.stage == PluginStage::Score && self.plugins[..index].iter().any(again) {
                errors.push(
                    format!("plugins.{index}.name"),
                    format!("{:?} scores already; name it once", plugin.name),
                );
            }
        }
        if self.is_scored() && !self.has_eval_data() {
            errors.push(
                "plugins",
                "of the stage score need held-out prompts: set data.eval_path or data.eval_split",
            );
        }
    }

    fn check_lora(&self, errors: &mut FieldErrors) {
        let lora = &self.lora;
        check_modules(errors, "lora.target_modules", &lora.target_modules);
        match &lora.exclude_modules {
            Some(TargetModules::One(word)) if word == "all-linear" => {
                errors.push("lora.exclude_modules", "would leave nothing to adapt");
            }
            Some(modules) => check_modules(errors, "lora.exclude_modules", modules),
            None => {}
        }
        if matches!(&lora.target_modules, TargetModules::One(word) if word != "all-linear")
            && !lora.layers_to_transform.is_empty()
        {
            // PEFT refuses to load such an adapter.
            errors.push(
                "lora.layers_to_transform",
                "cannot be used with a regex in lora.target_modules, which can choose layers itself: .*layers\\.[01]\\..*q_proj",
            );
        }
        if let InitLoraWeights::Named(name) = &lora.init_lora_weights {
            let rounds = name.strip_prefix("pissa_niter_");
            let rounds = rounds.is_some_and(|number| number.parse::<u8>().is_ok());
            let known = ["gaussian", "orthogonal", "olora", "pissa"];
            if !rounds && !known.contains(&name.as_str()) {
                errors.push(
                    "lora.init_lora_weights",
                    format!(
                        "must be true, false, \"gaussian\", \"orthogonal\", \"olora\", \"pissa\" or \"pissa_niter_N\" with N up to 255, not {name:?}"
                    ),
                );
            }
        }
        let no_tokens = match &lora.trainable_token_indices {
            None => false,
            Some(TokenIndices::List(tokens)) => tokens.is_empty(),
            Some(TokenIndices::ByModule(table)) => {
                table.is_empty() || table.values().any(Vec::is_empty)
            }
        };
        if no_tokens {
            errors.push(
                "lora.trainable_token_indices",
                "must name at least one token; leave it out to train none by itself",
            );
        }
        // As PEFT has it: neither is known of a bias beside them.
        let plain = matches!(lora.init_lora_weights, InitLoraWeights::Flag(_));
        if lora.lora_bias && (lora.use_dora || !plain) {
            errors.push(
                "lora.lora_bias",
                "needs lora.init_lora_weights to be true or false, and no lora.use_dora",
            );
        }
        let patterns = [
            ("rank_pattern", lora.rank_pattern.keys().collect::<Vec<_>>()),
            ("alpha_pattern", lora.alpha_pattern.keys().collect()),
        ];
        for (table, names) in patterns {
            for name in names {
                check_regex(errors, &format!("lora.{table}.{name}"), name);
            }
        }
        for (name, rank) in &lora.rank_pattern {
            if !(1..=1024).contains(rank) {
                errors.push(
                    format!("lora.rank_pattern.{name}"),
                    format!("must be between 1 and 1024, not {rank}"),
                );
            }
        }
        for (name, alpha) in &lora.alpha_pattern {
            if !(alpha.is_finite() && *alpha > 0.0) {
                errors.push(
                    format!("lora.alpha_pattern.{name}"),
                    format!("must be a finite number above 0, not {alpha}"),
                );
            }
        }
    }
}

fn check_modules(errors: &mut FieldErrors, field: &str, modules: &TargetModules) {
    match modules {
        TargetModules::One(pattern) if pattern.trim().is_empty() => {
            errors.push(field, "must name at least one module");
        }
        TargetModules::One(pattern) if pattern != "all-linear" => {
            check_regex(errors, field, pattern);
        }
        TargetModules::List(names) if names.is_empty() => {
            errors.push(field, "must name at least one module");
        }
        _ => {}
    }
}

/// Python's expressions look around and refer back, which the crate regex cannot.
fn check_regex(errors: &mut FieldErrors, field: &str, pattern: &str) {
    if let Err(error) = fancy_regex::Regex::new(pattern) {
        errors.push(field, format!("is no valid regex: {}", last_line(&error)));
    }
}

fn last_line(error: &fancy_regex::Error) -> String {
    error
        .to_string()
        .lines()
        .last()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}

fn out_of_range(value: &Value, kind: FieldKind) -> Option<String> {
    match kind {
        FieldKind::Integer { min, max } => {
            let number = value.as_u64()?;
            (!(min..=max).contains(&number))
                .then(|| format!("must be between {min} and {max}, not {number}"))
        }
        FieldKind::Number { min, max } => match value.as_f64() {
            Some(number) if (min..=max).contains(&number) => None,
            Some(number) => Some(format!("must be between {min} and {max}, not {number}")),
            // A float that JSON cannot write was not finite.
            None => Some("must be a finite number".to_owned()),
        },
        FieldKind::Text | FieldKind::Lines => value
            .as_str()
            .filter(|text| text.contains('\0'))
            .map(|_| "must not hold a NUL character".to_owned()),
        // Their types and words are checked in reading, their values by the rules below.
        FieldKind::Choice(_)
        | FieldKind::Flag
        | FieldKind::FlagOrWord
        | FieldKind::Words
        | FieldKind::Integers
        | FieldKind::IntegersByName
        | FieldKind::Table => None,
    }
}
