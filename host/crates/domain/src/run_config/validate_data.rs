//! Rules between the settings that say which data is meant.

use super::{RunConfig, SplitPart};
use crate::FieldErrors;

impl RunConfig {
    pub(super) fn check_splits(&self, errors: &mut FieldErrors) {
        let data = &self.data;
        let trained = parts(
            errors,
            "data.split",
            data.split.as_deref().unwrap_or("train"),
        );
        let Some(held_out) = &data.test_split else {
            return;
        };
        let apart = parts(errors, "data.test_split", held_out);
        if let Some(part) = apart
            .iter()
            .find(|part| trained.iter().any(|other| share_rows(part, other)))
        {
            errors.push(
                "data.test_split",
                format!(
                    "= {} would be trained on (data.split = {})",
                    part.text,
                    data.split.as_deref().unwrap_or("train")
                ),
            );
        }
        for (key, is_set) in [
            ("data.eval_path", data.eval_path.is_some()),
            ("data.eval_split", data.eval_split > 0.0),
        ] {
            if is_set {
                errors.push(
                    key,
                    "must be left out with data.test_split: held-out data comes from one place",
                );
            }
        }
    }

    pub(super) fn check_mix(&self, errors: &mut FieldErrors) {
        let data = &self.data;
        for (name, mixed) in &data.mix {
            let at = |key: &str| format!("data.mix.{name}.{key}");
            match (&mixed.path, &mixed.repo) {
                (None, None) => errors.push(at("path"), "is required (or repo)"),
                (Some(_), Some(_)) => errors.push(at("repo"), "give path or repo, not both"),
                _ => {}
            }
            if mixed.revision.is_some() && mixed.repo.is_none() {
                errors.push(at("revision"), "is for repo only");
            }
            if let Some(split) = &mixed.split {
                parts(errors, &at("split"), split);
            }
            if mixed.num_samples == Some(0) {
                errors.push(
                    at("num_samples"),
                    "must be 1 at least; leave the dataset out",
                );
            }
            if mixed.num_samples.is_some() && data.streaming {
                errors.push(at("num_samples"), NEEDS_ALL);
            }
            for (key, text) in [("path", &mixed.path), ("repo", &mixed.repo)] {
                if text.as_ref().is_some_and(|text| text.contains('\0')) {
                    errors.push(at(key), "must not hold a NUL character");
                }
            }
            let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if self.is_curated() && (name.is_empty() || !name.chars().all(is_plain)) {
                errors.push(
                    format!("data.mix.{name}"),
                    "is the name of a folder where the run is curated: letters, digits, - and _ alone",
                );
            }
        }
        if data.num_samples.is_some() && data.streaming {
            errors.push("data.num_samples", NEEDS_ALL);
        }
    }
}

const NEEDS_ALL: &str = "needs all data before the run: leave data.streaming out";

/// The parts of a split that a setting names; none where they cannot be read, which is told.
fn parts(errors: &mut FieldErrors, field: &str, text: &str) -> Vec<SplitPart> {
    SplitPart::read_all(text).unwrap_or_else(|message| {
        errors.push(field, message);
        Vec::new()
    })
}

/// Rows are surely in both. Percentages hang on how many rows there are: what reads the data compares those.
fn share_rows(one: &SplitPart, other: &SplitPart) -> bool {
    let rows = || Some((one.rows_of_any()?, other.rows_of_any()?));
    one.name == other.name
        && (one.is_whole()
            || other.is_whole()
            || rows().is_some_and(|(a, b)| a.start.max(b.start) < a.end.min(b.end)))
}
