use domain::TargetModules;
use fancy_regex::Regex;

use super::{Settings, saves};

/// Which of a model's linear layers get an adapter, by PEFT's rules: `all-linear` means every one but the head, a
/// single word is a regex that must match a whole module path, and a list holds names or path endings. What
/// `exclude_modules` names in the same way is left out again, and so is what `modules_to_save` names by whole words.
///
/// # Errors
/// A sentence when a pattern is no regex, a name matches nothing, or nothing is left.
///
/// `linears` are the linear layers but the head; `ends` embedding and head, which must be chosen by name.
pub(crate) fn targets(
    settings: &Settings,
    linears: &[&str],
    ends: &[&str],
) -> Result<Vec<String>, String> {
    let modules = &[linears, ends].concat()[..];
    let mut chosen: Vec<&str> = match &settings.target_modules {
        TargetModules::One(word) if word == "all-linear" => linears.to_vec(),
        named => matching("target_modules", named, modules)?,
    };
    if let Some(excluded) = &settings.exclude_modules {
        let excluded = matching("exclude_modules", excluded, modules)?;
        chosen.retain(|module| !excluded.contains(module));
    }
    for name in &settings.modules_to_save {
        let wrong = |error| format!("modules_to_save: {name:?} is no valid regex: {error}");
        let regex = Regex::new(&format!(r"^(?:.*\.)?{name}(?:$|\.)")).map_err(wrong)?;
        chosen.retain(|module| !regex.is_match(module).unwrap_or(true));
    }
    if let Some(module) = chosen
        .iter()
        .find(|module| saves(&settings.modules_to_save, module))
    {
        return Err(format!(
            "modules_to_save names {module} by a part of a word, and target_modules names it too; choose one of both"
        ));
    }
    if !settings.layers_to_transform.is_empty() {
        // Whoever names a whole path, such as lm_head, means that module, in whatever layer.
        let by_path = |module: &str| match &settings.target_modules {
            TargetModules::One(_) => false,
            TargetModules::List(names) => names.iter().any(|name| name == module),
        };
        let layers = &settings.layers_to_transform;
        let within = |module: &str| layer_of(module).is_some_and(|layer| layers.contains(&layer));
        chosen.retain(|module| by_path(module) || within(module));
    }
    if chosen.is_empty() {
        // A regex is for whole paths, as in PEFT, and a name alone looks like a name.
        let name = match &settings.target_modules {
            TargetModules::One(word) if modules.iter().any(|module| ends_in(module, word)) => {
                format!("; {word:?} alone is a regex for whole paths: [{word:?}] names the modules")
            }
            _ => String::new(),
        };
        return Err(format!(
            "target_modules, exclude_modules, modules_to_save and layers_to_transform choose no linear layer; {}{name}",
            hint(modules)
        ));
    }
    Ok(chosen.into_iter().map(str::to_owned).collect())
}

/// The modules that a regex or a list of names means; `key` is whose they are.
fn matching<'a>(
    key: &str,
    named: &TargetModules,
    modules: &[&'a str],
) -> Result<Vec<&'a str>, String> {
    match named {
        TargetModules::One(pattern) => {
            let wrong = |error| format!("{key}: {pattern:?} is no valid regex: {error}");
            let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(wrong)?;
            let mut found = Vec::new();
            for module in modules {
                if regex.is_match(module).map_err(wrong)? {
                    found.push(*module);
                }
            }
            Ok(found)
        }
        TargetModules::List(names) => {
            if let Some(name) = names
                .iter()
                .find(|name| !modules.iter().any(|module| ends_in(module, name)))
            {
                return Err(format!(
                    "{key}: {name:?} names no linear layer, embedding or head; {}",
                    hint(modules)
                ));
            }
            let chosen = |module: &&str| names.iter().any(|name| ends_in(module, name));
            Ok(modules.iter().copied().filter(chosen).collect())
        }
    }
}

fn ends_in(module: &str, name: &str) -> bool {
    module == name
        || module
            .strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'))
}

fn hint(modules: &[&str]) -> String {
    format!(
        "this model has {}",
        last_words(modules.iter().copied()).join(", ")
    )
}

/// The last words of module paths, each once.
pub(super) fn last_words<'a>(modules: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for module in modules {
        let word = module.rsplit('.').next().unwrap_or(module);
        if !words.iter().any(|known| known == word) {
            words.push(word.to_owned());
        }
    }
    words
}

fn layer_of(module: &str) -> Option<u32> {
    module.split('.').find_map(|word| word.parse().ok())
}

/// Whether a key of `rank_pattern` or `alpha_pattern` is meant for a module: as a regex, it matches the whole path
/// or what follows one of its dots.
pub(super) fn pattern_matches(pattern: &str, module: &str) -> bool {
    Regex::new(&format!(r"^(?:.*\.)?(?:{pattern})$"))
        .is_ok_and(|regex| regex.is_match(module).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODULES: [&str; 4] = [
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.up_proj",
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.mlp.up_proj",
    ];

    fn settings(targets: TargetModules, layers: Vec<u32>) -> Settings {
        Settings {
            r: 8,
            lora_alpha: 16.0,
            lora_dropout: 0.0,
            target_modules: targets,
            exclude_modules: None,
            use_rslora: false,
            use_dora: false,
            modules_to_save: Vec::new(),
            trainable_token_indices: None,
            bias: domain::LoraBias::None,
            lora_bias: false,
            ensure_weight_tying: false,
            rank_pattern: [("1.self_attn.q_proj".to_owned(), 4)].into(),
            alpha_pattern: [("up_.*".to_owned(), 2.0)].into(),
            layers_to_transform: layers,
            init: domain::InitLoraWeights::Flag(true),
        }
    }

    fn count(targets_: TargetModules, layers: Vec<u32>) -> Result<usize, String> {
        targets(
            &settings(targets_, layers),
            &MODULES,
            &["model.embed_tokens", "lm_head"],
        )
        .map(|chosen| chosen.len())
    }

    #[test]
    fn targets_follow_the_rules_of_peft() {
        assert_eq!(
            count(TargetModules::One("all-linear".into()), vec![]),
            Ok(4)
        );
        assert_eq!(count(TargetModules::One(".*q_proj".into()), vec![]), Ok(2));
        assert_eq!(
            count(TargetModules::One(".*layers.1.*".into()), vec![]),
            Ok(2)
        );
        assert_eq!(
            count(TargetModules::List(vec!["q_proj".into()]), vec![]),
            Ok(2)
        );
        assert_eq!(
            count(TargetModules::List(vec!["mlp.up_proj".into()]), vec![1]),
            Ok(1)
        );
        let whole = ["lm_head", MODULES[0], "up_proj"].map(str::to_owned);
        assert_eq!(count(TargetModules::List(whole.into()), vec![1]), Ok(3));
        let missing = count(TargetModules::List(vec!["proj".into()]), vec![]).unwrap_err();
        assert!(
            missing.contains("\"proj\"")
                && missing.contains("q_proj, up_proj, embed_tokens, lm_head"),
            "{missing}"
        );
        let alone = count(TargetModules::One("q_proj".into()), vec![]).unwrap_err();
        assert!(alone.contains("[\"q_proj\"] names the modules"), "{alone}");
        let ends = ["lm_head", "embed_tokens", "up_proj"].map(str::to_owned);
        assert_eq!(count(TargetModules::List(ends.into()), vec![]), Ok(4));
        assert_eq!(count(TargetModules::One("lm_.*".into()), vec![]), Ok(1));
        let around = r"^(?!.*\.1\.).*(?<!up)_proj";
        assert_eq!(count(TargetModules::One(around.into()), vec![]), Ok(1));
    }

    #[test]
    fn excluded_modules_are_left_out_by_the_same_rules() {
        let left = |excluded: TargetModules| {
            let mut settings = settings(TargetModules::One("all-linear".into()), vec![]);
            settings.exclude_modules = Some(excluded);
            targets(&settings, &MODULES, &["model.embed_tokens", "lm_head"])
        };
        let named = left(TargetModules::List(vec!["mlp.up_proj".into()])).unwrap();
        assert_eq!(named, [MODULES[0], MODULES[2]]);
        let pattern = left(TargetModules::One(r".*\.1\..*".into())).unwrap();
        assert_eq!(pattern, [MODULES[0], MODULES[1]]);
        let none = left(TargetModules::One(".*proj".into())).unwrap_err();
        assert!(none.contains("choose no linear layer"), "{none}");
        let missing = left(TargetModules::List(vec!["down_proj".into()])).unwrap_err();
        assert!(
            missing.contains("exclude_modules: \"down_proj\""),
            "{missing}"
        );
    }

    #[test]
    fn a_module_to_save_gets_no_adapter() {
        let left = |names: &[&str]| {
            let mut settings = settings(TargetModules::One("all-linear".into()), vec![]);
            settings.modules_to_save = names.iter().map(|name| name.to_string()).collect();
            targets(&settings, &MODULES, &["model.embed_tokens", "lm_head"])
        };
        assert_eq!(left(&["0.mlp"]).unwrap().len(), 3);
        assert_eq!(
            left(&["up_proj", "lm_head"]).unwrap(),
            [MODULES[0], MODULES[2]]
        );
        let both = left(&["proj"]).unwrap_err();
        assert!(
            both.contains("modules_to_save names") && both.contains(MODULES[0]),
            "{both}"
        );
    }

    #[test]
    fn patterns_change_rank_and_alpha_of_the_modules_they_match() {
        let settings = settings(TargetModules::One("all-linear".into()), vec![]);
        assert_eq!(settings.rank(MODULES[0]), 8);
        assert_eq!(settings.rank(MODULES[2]), 4);
        assert_eq!(settings.scale(MODULES[1]), 0.25);
        assert_eq!(settings.scale(MODULES[2]), 4.0);
    }
}
