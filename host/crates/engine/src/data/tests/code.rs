//! Source trees and fill-in-the-middle.

use std::{
    fs,
    path::{Path, PathBuf},
};

use domain::{DataConfig, DataFormat, Documents, FimLoss, FimMode, FimSpan, Overflow};
use proptest::prelude::*;
use tempfile::TempDir;

use super::super::{Data, IGNORED, Sample, load, preview};
use crate::{
    Error,
    tokenizer::{BpeTraining, Tokenizer, train_bpe},
};

/// A model folder whose tokenizer has these tokens of its own.
fn model(special: &[&str]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = "def add(first, second):\n    return first + second\n\n".repeat(4);
    let training = BpeTraining {
        vocab_size: 320,
        special_tokens: ["<|endoftext|>"]
            .iter()
            .chain(special)
            .map(|name| (*name).to_owned())
            .collect(),
        ..BpeTraining::default()
    };
    train_bpe(&[text], &training, dir.path()).unwrap();
    dir
}

fn qwen() -> TempDir {
    model(&[
        "<|fim_prefix|>",
        "<|fim_middle|>",
        "<|fim_suffix|>",
        "<|repo_name|>",
        "<|file_sep|>",
    ])
}

/// A tree with these files.
fn tree(files: &[(&str, &str)]) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("project");
    for (name, text) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    (dir, root)
}

fn of_tree(root: &Path, model: &Path, change: impl FnOnce(&mut DataConfig)) -> Result<Data, Error> {
    let mut config = DataConfig {
        path: Some(root.display().to_string()),
        format: DataFormat::SourceTree,
        ..DataConfig::default()
    };
    change(&mut config);
    load(&config, model, 3)
}

fn text(model: &Path, sample: &Sample) -> String {
    Tokenizer::load(model)
        .unwrap()
        .decode(&sample.input_ids, false)
        .unwrap()
}

fn learned(model: &Path, sample: &Sample) -> String {
    let pairs = sample.input_ids.iter().zip(&sample.labels);
    let ids: Vec<u32> = pairs
        .filter(|(_, label)| **label != IGNORED)
        .map(|(id, _)| *id)
        .collect();
    Tokenizer::load(model).unwrap().decode(&ids, false).unwrap()
}

/// Prefix, suffix, middle of a sample; whether it is SPM.
fn parts(text: &str) -> (String, String, String, bool) {
    let text = text.strip_suffix("<|endoftext|>").expect("it ends");
    let (before, after) = text.split_once("<|fim_middle|>").unwrap();
    let (prefix, suffix) = before
        .strip_prefix("<|fim_prefix|>")
        .unwrap()
        .split_once("<|fim_suffix|>")
        .unwrap();
    (
        prefix.to_owned(),
        suffix.to_owned(),
        after.to_owned(),
        prefix.is_empty() && !after.is_empty(),
    )
}

const FILES: &[(&str, &str)] = &[
    (
        "src/a.py",
        "def add(first, second):\n    return first + second\n",
    ),
    ("src/b.rs", "fn main() {}\n"),
];

#[test]
fn a_file_stands_under_its_path_after_the_familys_separator_or_in_a_comment() {
    let (_dir, root) = tree(FILES);
    let model = qwen();
    let data = of_tree(&root, model.path(), |_| {}).unwrap();
    let texts: Vec<_> = data
        .train
        .iter()
        .map(|sample| text(model.path(), sample))
        .collect();
    assert_eq!(
        texts,
        [
            "<|file_sep|>src/a.py\ndef add(first, second):\n    return first + second\n<|endoftext|>",
            "<|file_sep|>src/b.rs\nfn main() {}\n<|endoftext|>",
        ]
    );
    assert_eq!(learned(model.path(), &data.train[0]), texts[0]);
    let plain = super::model();
    let data = of_tree(&root, plain, |_| {}).unwrap();
    assert_eq!(
        text(plain, &data.train[1]),
        "// src/b.rs\nfn main() {}\n<|endoftext|>"
    );
}

#[test]
fn a_repository_is_one_document_with_its_name_and_paths() {
    let (_dir, root) = tree(FILES);
    let model = qwen();
    let data = of_tree(&root, model.path(), |config| {
        config.documents = Documents::Repository
    });
    let data = data.unwrap();
    assert_eq!(data.train.len(), 1);
    assert_eq!(
        text(model.path(), &data.train[0]),
        "<|repo_name|>project\n<|file_sep|>src/a.py\ndef add(first, second):\n    return first + second\n\
         <|file_sep|>src/b.rs\nfn main() {}\n<|endoftext|>"
    );
}

#[test]
fn a_repository_that_is_too_long_is_parted_between_files_and_every_part_says_whose_it_is() {
    let files: Vec<(String, String)> = (0..12)
        .map(|n| {
            (
                format!("f{n:02}.py"),
                format!("x{n} = add(first, second)\n").repeat(3),
            )
        })
        .collect();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(a, b)| (a.as_str(), b.as_str()))
        .collect();
    let (_dir, root) = tree(&files);
    let model = qwen();
    let data = of_tree(&root, model.path(), |config| {
        config.documents = Documents::Repository;
        config.max_seq_length = 128;
    })
    .unwrap();
    assert!(data.train.len() > 2);
    let texts: Vec<_> = data
        .train
        .iter()
        .map(|sample| text(model.path(), sample))
        .collect();
    for part in &texts {
        assert!(
            part.starts_with("<|repo_name|>project\n<|file_sep|>f"),
            "{part}"
        );
        assert!(part.ends_with("\n<|endoftext|>"), "{part}");
    }
    for (name, body) in &files {
        let stands = |part: &&String| part.contains(&format!("<|file_sep|>{name}\n{body}"));
        assert_eq!(texts.iter().filter(stands).count(), 1, "{name}");
    }
    assert_eq!(data.report.truncated, 0);
}

#[test]
fn a_longer_file_is_cut_or_split_without_loss() {
    let body = "value = first + second\n".repeat(60);
    let (_dir, root) = tree(&[("a.py", &body)]);
    let model = qwen();
    let with = |overflow| {
        of_tree(&root, model.path(), |config| {
            config.overflow = overflow;
            config.max_seq_length = 64;
        })
        .unwrap()
    };
    let cut = with(Overflow::Cut);
    assert_eq!(
        (cut.train.len(), cut.report.truncated, cut.report.split),
        (1, 1, 0)
    );
    assert!(cut.report.truncated_tokens > 100);
    let split = with(Overflow::Split);
    assert_eq!((split.report.truncated, split.report.split), (0, 1));
    let joined: String = split
        .train
        .iter()
        .map(|sample| {
            assert!(sample.input_ids.len() <= 64);
            let text = text(model.path(), sample);
            let text = text.strip_prefix("<|file_sep|>a.py\n").unwrap();
            text.trim_end_matches("<|endoftext|>").to_owned()
        })
        .collect();
    assert_eq!(joined, body);
}

#[test]
fn psm_and_spm_are_laid_out_as_bigcode_does_and_hold_the_document() {
    let (_dir, root) = tree(FILES);
    let model = qwen();
    let with = |mode| {
        of_tree(&root, model.path(), |config| {
            config.format = DataFormat::Fim;
            config.fim_rate = 1.0;
            config.fim_mode = mode;
        })
        .unwrap()
    };
    let psm = with(FimMode::Psm);
    let (prefix, suffix, middle, _) = parts(&text(model.path(), &psm.train[0]));
    assert_eq!(format!("{prefix}{middle}{suffix}"), FILES[0].1);
    let spm = with(FimMode::Spm);
    let (first, suffix, prefix_and_middle, _) = parts(&text(model.path(), &spm.train[0]));
    assert_eq!(first, "");
    assert_eq!(format!("{prefix_and_middle}{suffix}"), FILES[0].1);
    assert_eq!(
        psm.train,
        with(FimMode::Psm).train,
        "a seed draws the same cuts again"
    );
    for sample in &psm.train {
        assert!(sample.labels.iter().all(|label| *label != IGNORED));
    }
}

#[test]
fn of_a_fim_sample_the_middle_alone_can_be_learned() {
    let (_dir, root) = tree(FILES);
    let model = qwen();
    let data = of_tree(&root, model.path(), |config| {
        config.format = DataFormat::Fim;
        config.fim_rate = 1.0;
        config.fim_mode = FimMode::Psm;
        config.fim_span = FimSpan::Line;
        config.fim_loss = FimLoss::Middle;
    })
    .unwrap();
    for sample in &data.train {
        let (prefix, suffix, middle, _) = parts(&text(model.path(), sample));
        assert_eq!(
            learned(model.path(), sample),
            format!("{middle}<|endoftext|>")
        );
        for cut in [&prefix, &middle] {
            assert!(
                cut.is_empty() || cut.ends_with('\n') || suffix.is_empty(),
                "{cut:?}"
            );
        }
    }
}

#[test]
fn prompts_of_code_end_where_the_middle_begins_and_lead_back_to_the_document() {
    let (_dir, root) = tree(FILES);
    let model = qwen();
    let config = DataConfig {
        path: Some(root.display().to_string()),
        format: DataFormat::Fim,
        fim_rate: 0.0,
        fim_mode: FimMode::Psm,
        ..DataConfig::default()
    };
    let found = crate::data::prompts(&config, model.path(), 2).unwrap();
    assert_eq!(found.len(), 2);
    for (prompt, (_, whole)) in found.iter().zip(FILES) {
        let (prefix, suffix, nothing, _) = parts(&format!("{}<|endoftext|>", prompt.prompt));
        assert_eq!(nothing, "");
        assert_eq!(&format!("{prefix}{}{suffix}", prompt.reference), whole);
    }
}

#[test]
fn fim_within_a_repository_leaves_names_and_separators_where_they_are() {
    let (_dir, root) = tree(FILES);
    let model = qwen();
    let data = of_tree(&root, model.path(), |config| {
        config.format = DataFormat::Fim;
        config.fim_rate = 1.0;
        config.documents = Documents::Repository;
    })
    .unwrap();
    let text = text(model.path(), &data.train[0]);
    assert!(
        text.starts_with("<|repo_name|>project\n<|file_sep|>src/a.py\n<|fim_prefix|>"),
        "{text}"
    );
    assert!(
        text.contains("<|file_sep|>src/b.rs\n<|fim_prefix|>"),
        "{text}"
    );
}

#[test]
fn the_rate_is_the_share_of_documents_and_zero_leaves_them_as_they_are() {
    let model = qwen();
    let rows: String = (0..400)
        .map(|n| format!("{{\"text\": \"row {n} return first\"}}\n"))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(&path, rows).unwrap();
    let share = |rate: f64, mode| {
        let data = of_tree(&path, model.path(), |config| {
            config.format = DataFormat::Fim;
            config.fim_rate = rate;
            config.fim_mode = mode;
        })
        .unwrap();
        let texts = data.train.iter().map(|sample| text(model.path(), sample));
        texts.filter(|text| text.contains("<|fim_prefix|>")).count()
    };
    assert_eq!(share(0.0, FimMode::Both), 0);
    assert_eq!(share(1.0, FimMode::Both), 400);
    assert!((240..=320).contains(&share(0.7, FimMode::Both)));
}

#[test]
fn sentinels_are_those_of_the_family_and_a_tokenizer_without_is_refused_by_name() {
    let (_dir, root) = tree(FILES);
    for names in [
        ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
        ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
        ["<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"],
        ["▁<PRE>", "▁<SUF>", "▁<MID>"],
    ] {
        let model = model(&names);
        let data = of_tree(&root, model.path(), |config| {
            config.format = DataFormat::Fim;
            config.fim_rate = 1.0;
            config.fim_mode = FimMode::Psm;
        })
        .unwrap();
        let text = text(model.path(), &data.train[0]);
        let at = names.map(|name| text.find(name).expect(name));
        assert!(at[0] == 0 && at[0] < at[1] && at[1] < at[2], "{text}");
    }
    let error = of_tree(&root, super::model(), |config| {
        config.format = DataFormat::Fim
    })
    .unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("data.format") && message.contains("<|fim_prefix|>"),
        "{message}"
    );
}

#[test]
fn codestral_has_the_suffix_first_and_no_other_layout() {
    let (_dir, root) = tree(FILES);
    let model = model(&["[PREFIX]", "[MIDDLE]", "[SUFFIX]"]);
    let with = |mode| {
        of_tree(&root, model.path(), |config| {
            config.format = DataFormat::Fim;
            config.fim_rate = 1.0;
            config.fim_mode = mode;
            config.fim_loss = FimLoss::Middle;
        })
    };
    let data = with(FimMode::Both).unwrap();
    for (sample, (_, code)) in data.train.iter().zip(FILES) {
        let text = text(model.path(), sample);
        let (suffix, rest) = text
            .strip_prefix("[SUFFIX]")
            .and_then(|text| text.split_once("[PREFIX]"))
            .expect(&text);
        let middle = learned(model.path(), sample);
        assert!(rest.ends_with(&middle), "{text}");
        let code_again = format!("{}{suffix}", rest.strip_suffix("<|endoftext|>").unwrap());
        assert!(code_again.ends_with(code), "{code_again}");
    }
    let message = with(FimMode::Psm).unwrap_err().to_string();
    assert!(
        message.contains("data.fim_mode") && message.contains("suffix first"),
        "{message}"
    );
}

#[test]
fn a_document_that_holds_a_sentinel_of_its_own_is_left_as_it_is() {
    let (_dir, root) = tree(&[("a.py", "token = '<|fim_middle|>'\n")]);
    let model = qwen();
    let data = of_tree(&root, model.path(), |config| {
        config.format = DataFormat::Fim;
        config.fim_rate = 1.0;
    })
    .unwrap();
    assert_eq!(
        text(model.path(), &data.train[0]),
        "token = '<|fim_middle|>'\n<|endoftext|>"
    );
}

#[test]
fn a_preview_shows_the_fim_sample_that_is_trained_on_and_the_row_it_is_packed_into() {
    let (_dir, root) = tree(FILES);
    let model = qwen();
    let config = DataConfig {
        path: Some(root.display().to_string()),
        format: DataFormat::Fim,
        packing: true,
        ..DataConfig::default()
    };
    let data = load(&config, model.path(), 9).unwrap();
    let shown = preview(&config, model.path(), 5, 9).unwrap();
    let ids: Vec<Vec<u32>> = shown
        .iter()
        .map(|row| row.tokens.iter().map(|token| token.id).collect())
        .collect();
    let trained: Vec<_> = data
        .train
        .into_iter()
        .map(|sample| sample.input_ids)
        .collect();
    assert_eq!(ids, trained);
    assert!(shown.iter().all(|row| row.packed_row == Some(1)));
    assert_eq!(data.report.packed_rows, Some(1));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_part_of_a_document_is_lost_whatever_its_text(
        body in "[a-z(){}\n é→😀]{1,200}",
        seed in any::<u64>(),
        line in any::<bool>(),
    ) {
        let model = qwen();
        let (_dir, root) = tree(&[("a.py", &format!("x{body}"))]);
        let config = DataConfig {
            path: Some(root.display().to_string()),
            format: DataFormat::Fim,
            fim_rate: 1.0,
            fim_mode: FimMode::Psm,
            fim_span: if line { FimSpan::Line } else { FimSpan::Character },
            ..DataConfig::default()
        };
        let data = load(&config, model.path(), seed).unwrap();
        let (prefix, suffix, middle, _) = parts(&text(model.path(), &data.train[0]));
        prop_assert_eq!(format!("{prefix}{middle}{suffix}"), format!("x{body}"));
    }

    #[test]
    fn no_sequence_is_longer_than_allowed(
        length in 24u32..80,
        repeats in 1usize..40,
        split in any::<bool>(),
        repository in any::<bool>(),
    ) {
        let model = qwen();
        let body = "def add(é, second):\n    return 😀\n".repeat(repeats);
        let (_dir, root) = tree(&[("a.py", &body), ("b.py", "x = 1\n"), ("c.py", &body)]);
        let data = of_tree(&root, model.path(), |config| {
            config.format = DataFormat::Fim;
            config.max_seq_length = length;
            config.overflow = if split { Overflow::Split } else { Overflow::Cut };
            config.documents = if repository { Documents::Repository } else { Documents::File };
        })
        .unwrap();
        for sample in &data.train {
            prop_assert!(sample.input_ids.len() <= length as usize);
            prop_assert_eq!(sample.input_ids.len(), sample.labels.len());
        }
    }
}
