//! What a RUN.toml accepts, refuses and keeps.

use domain::{FIELDS, FieldKind, IntervalStrategy, RunConfig};
use proptest::prelude::*;

const MINIMAL: &str = r#"
[model]
path = "model"
[data]
path = "data.jsonl"
[train]
output = "out"
"#;

fn refusal(text: &str, overrides: &[&str]) -> String {
    let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
    RunConfig::from_toml(text, &overrides)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn a_minimal_file_gets_the_documented_defaults() {
    let config = RunConfig::from_toml(MINIMAL, &[]).unwrap();
    assert_eq!(config.train.batch_size, 4);
    assert_eq!(config.train.learning_rate, 2e-4);
    assert_eq!(config.data.max_seq_length, 1024);
    assert_eq!(config.lora.r, 16);
}

#[test]
fn an_unknown_key_is_refused_by_name() {
    let message = refusal(&format!("{MINIMAL}\nlearing_rate = 1.0"), &[]);
    assert!(
        message.contains("train.learing_rate") || message.contains("`learing_rate`"),
        "{message}"
    );
}

#[test]
fn a_wrong_type_names_the_field() {
    let message = refusal(MINIMAL, &["train.batch_size=\"many\""]);
    assert!(
        message.starts_with("train.batch_size: invalid type"),
        "{message}"
    );
}

#[test]
fn a_syntax_error_names_the_line() {
    assert!(refusal("[model]\npath = ", &[]).contains("line 2"));
}

#[test]
fn nan_and_infinity_are_refused_by_field() {
    for value in ["nan", "inf", "-inf"] {
        let message = refusal(MINIMAL, &[&format!("train.learning_rate={value}")]);
        assert!(
            message.starts_with("train.learning_rate: must be a finite number"),
            "{message}"
        );
    }
}

#[test]
fn an_override_wins_over_the_file() {
    let config = RunConfig::from_toml(
        MINIMAL,
        &["train.learning_rate=1e-4".into(), "data.path=2024".into()],
    )
    .unwrap();
    assert_eq!(config.train.learning_rate, 1e-4);
    assert_eq!(config.data.path.as_deref(), Some("2024"));
}

#[test]
fn further_datasets_are_read_by_their_names_and_wrong_ones_refused_under_them() {
    let config = RunConfig::from_toml(
        MINIMAL,
        &[
            "data.eval_split=0.1".into(),
            "data.max_seq_length=64".into(),
            "data.columns={text = \"code\"}".into(),
            "data.mix.docs={path = \"docs\", format = \"text\", num_samples = 20}".into(),
            "data.mix.chats={repo = \"org/chats\", subset = \"main\", split = \"test\"}".into(),
            "data.subset=en".into(),
        ],
    )
    .unwrap();
    let each = config.data.each();
    let names: Vec<_> = each.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [None, Some("chats"), Some("docs")]);
    let docs = &each[2].1;
    assert_eq!(docs.path.as_deref(), Some("docs"));
    assert_eq!(
        (docs.num_samples, docs.max_seq_length, docs.eval_split),
        (Some(20), 64, 0.1)
    );
    assert!(docs.columns.is_empty() && docs.mix.is_empty());
    let meant = |at: usize| (each[at].1.subset.as_deref(), each[at].1.split.as_deref());
    assert_eq!(
        [meant(0), meant(1), meant(2)],
        [
            (Some("en"), None),
            (Some("main"), Some("test")),
            (None, None)
        ]
    );
    assert_eq!(
        RunConfig::from_toml(&config.to_toml(), &[]).unwrap(),
        config
    );
    for (set, told) in [
        ("data.mix.a={}", "data.mix.a.path: is required"),
        (
            "data.mix.a={path = \"a\", repo = \"a\"}",
            "data.mix.a.repo: give path or repo",
        ),
        (
            "data.mix.a={path = \"a\", revision = \"main\"}",
            "data.mix.a.revision: is for repo only",
        ),
        (
            "data.mix.a={path = \"a\", num_samples = 0}",
            "data.mix.a.num_samples: must be 1 at least",
        ),
        (
            "data.mix.a={path = \"a\", split = \"train[:10\"}",
            "data.mix.a.split: \"train[:10\" is no split",
        ),
        ("data.mix.a={paths = \"a\"}", "unknown field `paths`"),
        ("data.num_samples=0", "data.num_samples: must be between 1"),
    ] {
        let message = refusal(MINIMAL, &[set]);
        assert!(message.contains(told), "{message}");
    }
    let message = refusal(
        MINIMAL,
        &["data.mix.a/b={path = \"a\"}", "data.curate=curate.toml"],
    );
    assert!(
        message.contains("data.mix.a/b: is the name of a folder"),
        "{message}"
    );
    let streaming = ["data.streaming=true", "train.max_steps=1"];
    let mixed = |more: &str| format!("data.mix.a={{path = \"a\"{more}}}");
    let allowed = [mixed(""), "data.curate=curate.toml".into()];
    let allowed = [&allowed[..], &streaming.map(str::to_owned)].concat();
    RunConfig::from_toml(MINIMAL, &allowed).unwrap();
    let numbered = mixed(", num_samples = 3");
    let message = refusal(MINIMAL, &[&numbered, streaming[0], streaming[1]]);
    assert!(
        message.contains("data.mix.a.num_samples: needs all data before"),
        "{message}"
    );
}

#[test]
fn evaluations_and_checkpoints_are_counted_in_steps_or_in_epochs_but_not_in_both() {
    let usual = RunConfig::from_toml(MINIMAL, &[]).unwrap().train;
    assert_eq!(usual.eval_strategy, IntervalStrategy::Steps);
    assert!(!usual.evaluates_on_the_way() && !usual.counts_epochs());
    for key in ["eval", "save"] {
        let epoch = format!("train.{key}_strategy=epoch");
        let config = RunConfig::from_toml(MINIMAL, std::slice::from_ref(&epoch)).unwrap();
        assert!(config.train.counts_epochs());
        assert_eq!(config.train.evaluates_on_the_way(), key == "eval");
        let message = refusal(MINIMAL, &[&epoch, &format!("train.{key}_steps=5")]);
        assert!(
            message.contains(&format!("train.{key}_steps: has no meaning")),
            "{message}"
        );
        let message = refusal(MINIMAL, &[&format!("train.{key}_strategy=no")]);
        assert!(message.contains("expected `steps` or `epoch`"), "{message}");
    }
}

#[test]
fn a_split_that_is_held_out_is_not_trained_on_and_is_the_only_held_out_data() {
    let held_out = "data.test_split=test";
    let config = RunConfig::from_toml(MINIMAL, &[held_out.into()]).unwrap();
    assert!(config.has_eval_data());
    let mixed = ["data.mix.a={path = \"a\"}", held_out].map(str::to_owned);
    let each = RunConfig::from_toml(MINIMAL, &mixed).unwrap().data;
    let each = each.each();
    assert_eq!((&each[1].1.test_split, each[1].1.eval_split), (&None, 0.0));
    for (set, told) in [
        (
            "data.split=train+test",
            "data.test_split: = test would be trained on",
        ),
        ("data.eval_path=a", "data.eval_path: must be left out"),
        ("data.eval_split=0.1", "data.eval_split: must be left out"),
        (
            "data.split=train+test[:50%]",
            "data.test_split: = test would be trained on",
        ),
        (
            "data.split=train[:10",
            "data.split: \"train[:10\" is no split",
        ),
    ] {
        let message = refusal(MINIMAL, &[held_out, set]);
        assert!(message.contains(told), "{message}");
    }
    for (held_out, told) in [
        ("train", "= train would be trained on"),
        (
            "train[90%:]",
            "= train[90%:] would be trained on (data.split = train)",
        ),
        ("train[:5](closest)", "only percentages are rounded"),
    ] {
        let message = refusal(MINIMAL, &[&format!("data.test_split={held_out}")]);
        assert!(message.contains(told), "{message}");
    }
    let halves = |held_out: &str| {
        [
            "data.split=train[:100]".to_owned(),
            format!("data.test_split={held_out}"),
        ]
    };
    RunConfig::from_toml(MINIMAL, &halves("train[100:120]")).unwrap();
    // How many rows a percentage is, is known when they are read.
    RunConfig::from_toml(MINIMAL, &halves("train[-10%:]")).unwrap();
    let [trained, held_out] = halves("train[99:]");
    let message = refusal(MINIMAL, &[&trained, &held_out]);
    assert!(
        message.contains("= train[99:] would be trained on"),
        "{message}"
    );
    let curated = ["data.curate=curate.toml", "data.test_split=test"].map(str::to_owned);
    RunConfig::from_toml(MINIMAL, &curated).unwrap();
}

#[test]
fn a_cosine_with_a_lowest_rate_is_told_it_in_one_way() {
    let kind = "train.lr_scheduler_type=cosine_with_min_lr";
    let (rate, share) = (
        "train.lr_scheduler_kwargs.min_lr=1e-5",
        "train.lr_scheduler_kwargs.min_lr_rate=0.1",
    );
    for both_or_none in [&[kind][..], &[kind, rate, share]] {
        let message = refusal(MINIMAL, both_or_none);
        assert!(
            message.contains("min_lr: or min_lr_rate is needed"),
            "{message}"
        );
    }
    let high = refusal(MINIMAL, &[kind, "train.lr_scheduler_kwargs.min_lr=1.0"]);
    assert!(
        high.contains("must be from 0 to train.learning_rate"),
        "{high}"
    );
    let other = refusal(MINIMAL, &["train.lr_scheduler_type=cosine", share]);
    assert!(other.contains("has no meaning"), "{other}");
    for way in [rate, share] {
        let overrides = [kind, way].map(str::to_owned);
        assert!(RunConfig::from_toml(MINIMAL, &overrides).is_ok(), "{way}");
    }
}

#[test]
fn an_init_adapter_refuses_settings_beside_it() {
    let message = refusal(MINIMAL, &["lora.init_adapter=a", "lora.r=8"]);
    assert!(
        message.starts_with("lora.r: is brought by lora.init_adapter"),
        "{message}"
    );
}

#[test]
fn modules_are_chosen_and_left_out_by_names_or_by_an_expression_of_python() {
    let config = RunConfig::from_toml(
        MINIMAL,
        &[
            r#"lora.target_modules="^(?!.*lm_head).*_proj""#.to_owned(),
            r#"lora.exclude_modules=["up_proj"]"#.to_owned(),
        ],
    );
    assert!(config.is_ok(), "{config:?}");
    for (set, told) in [
        (
            "target_modules=\"(\"",
            "lora.target_modules: is no valid regex",
        ),
        (
            "exclude_modules=\"(\"",
            "lora.exclude_modules: is no valid regex",
        ),
        (
            "rank_pattern={\"(\" = 4}",
            "lora.rank_pattern.(: is no valid regex",
        ),
        (
            "alpha_pattern={\"[\" = 4.0}",
            "lora.alpha_pattern.[: is no valid regex",
        ),
        ("exclude_modules=[]", "lora.exclude_modules: must name"),
        ("exclude_modules=\"all-linear\"", "would leave nothing"),
    ] {
        let message = refusal(MINIMAL, &[&format!("lora.{set}")]);
        assert!(message.contains(told), "{message}");
    }
    let both = [
        "lora.target_modules=\".*q_proj\"",
        "lora.layers_to_transform=[1]",
    ];
    let message = refusal(MINIMAL, &both);
    assert!(
        message.contains("lora.layers_to_transform: cannot be used"),
        "{message}"
    );
}

#[test]
fn biases_of_b_and_tokens_are_held_to_what_peft_knows() {
    for (set, told) in [
        (
            &["lora.lora_bias=true", "lora.use_dora=true"][..],
            "lora.lora_bias: needs",
        ),
        (
            &["lora.lora_bias=true", "lora.init_lora_weights=olora"],
            "lora.lora_bias: needs",
        ),
        (&["lora.bias=some"], "lora.bias"),
        (
            &["lora.trainable_token_indices=[]"],
            "lora.trainable_token_indices: must name",
        ),
        (
            &["lora.trainable_token_indices={ lm_head = [] }"],
            "lora.trainable_token_indices: must name",
        ),
        (
            &["lora.trainable_token_indices=[-1]"],
            "must be a list of token ids",
        ),
    ] {
        let message = refusal(MINIMAL, set);
        assert!(message.contains(told), "{message}");
    }
    let both = "lora.trainable_token_indices={ embed_tokens = [3, 4], lm_head = [5] }".to_owned();
    let config = RunConfig::from_toml(MINIMAL, &[both, "lora.bias=all".into()]).unwrap();
    let read = RunConfig::from_toml(&config.to_toml(), &[]).unwrap();
    assert_eq!(read, config);
}

#[test]
fn scorers_need_held_out_prompts_and_a_name_of_their_own() {
    let scorer = "[[plugins]]\nname = \"parses\"\nstage = \"score\"\n";
    let once = format!("{MINIMAL}\n{scorer}");
    assert!(refusal(&once, &[]).contains("data.eval_split"));
    let held_out = ["data.eval_split=0.1"];
    let config = RunConfig::from_toml(&once, &held_out.map(str::to_owned)).unwrap();
    assert!(config.is_scored() && !config.is_curated());
    assert_eq!(
        (
            config.train.score_prompts,
            config.train.score_max_new_tokens
        ),
        (16, 128)
    );
    let message = refusal(&format!("{once}\n{scorer}"), &held_out);
    assert!(message.contains("plugins.1.name"), "{message}");
}

#[test]
fn a_missing_model_and_output_are_both_named() {
    let message = refusal("[data]\npath = \"d\"", &[]);
    assert!(message.contains("model.path: is required"), "{message}");
    assert!(message.contains("train.output: is required"), "{message}");
}

#[test]
fn every_field_of_the_table_exists_in_the_config_or_is_optional() {
    let config = RunConfig::from_toml(MINIMAL, &[]).unwrap();
    let text = config.to_toml();
    for field in FIELDS {
        let probe = match field.kind {
            FieldKind::Integer { min, .. } => min.max(1).to_string(),
            FieldKind::Number { min, max } => format!("{:?}", min.max(max.min(1.0))),
            FieldKind::Choice(words) => format!("\"{}\"", words[0]),
            FieldKind::Flag => "false".to_owned(),
            FieldKind::Text | FieldKind::Lines | FieldKind::Words | FieldKind::FlagOrWord => {
                "\"cpu\"".to_owned()
            }
            FieldKind::Integers | FieldKind::IntegersByName => "[1]".to_owned(),
            FieldKind::Table => "{}".to_owned(),
        };
        let set = RunConfig::from_toml(&text, &[format!("{}={probe}", field.path)]);
        if let Err(errors) = set {
            assert!(
                !errors.to_string().contains("unknown field"),
                "{}: {errors}",
                field.path
            );
        }
    }
}

proptest! {
    #[test]
    fn a_config_survives_being_written_and_read(lr in 1e-9f64..1.0, batch in 1u32..512, seed in 0u64..1 << 50, split in 0.0f64..0.5) {
        let config = RunConfig::from_toml(MINIMAL, &[
            format!("train.learning_rate={lr:?}"),
            format!("train.batch_size={batch}"),
            format!("train.seed={seed}"),
            format!("data.eval_split={split:?}"),
        ]).unwrap();
        prop_assert_eq!(RunConfig::from_toml(&config.to_toml(), &[]).unwrap(), config);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,200}") {
        let _ = RunConfig::from_toml(&text, &[]);
    }
}

#[test]
fn a_loss_over_pairs_is_one_that_its_method_knows() {
    for (sets, told) in [
        (
            &["train.loss_type=ipo"][..],
            "train.loss_type: needs train.method",
        ),
        (
            &["train.method=orpo", "train.loss_type=hinge"],
            "train.loss_type: needs train.method",
        ),
        (
            &["train.method=dpo", "train.loss_type=simpo"],
            "simpo needs train.method = \"cpo\"",
        ),
        (
            &["train.method=cpo", "train.loss_type=robust"],
            "must be sigmoid, hinge, ipo or simpo",
        ),
        (
            &[
                "train.method=dpo",
                "train.loss_type=hinge",
                "train.label_smoothing=0.1",
            ],
            "train.label_smoothing: has no",
        ),
        (
            &["train.method=dpo", "train.loss_type=exo_pair"],
            "train.label_smoothing: must be above 0",
        ),
        (
            &["train.method=dpo", "train.label_smoothing=0.5"],
            "train.label_smoothing: must be between",
        ),
        (
            &["train.method=dpo", "train.cpo_alpha=0.0"],
            "train.cpo_alpha: needs train.method",
        ),
        (
            &["train.method=cpo", "train.simpo_gamma=1.0"],
            "train.simpo_gamma: needs train.loss_type",
        ),
        (
            &["train.method=dpo", "train.loss_type=kto"],
            "train.loss_type",
        ),
    ] {
        let message = refusal(MINIMAL, sets);
        assert!(message.contains(told), "{sets:?}: {message}");
    }
    for sets in [
        &[
            "train.method=dpo",
            "train.loss_type=robust",
            "train.label_smoothing=0.1",
        ][..],
        &[
            "train.method=cpo",
            "train.loss_type=simpo",
            "train.cpo_alpha=0.0",
            "train.simpo_gamma=1.0",
        ],
    ] {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        let config = RunConfig::from_toml(MINIMAL, &sets).unwrap();
        assert_eq!(
            RunConfig::from_toml(&config.to_toml(), &[]).unwrap(),
            config
        );
    }
}
