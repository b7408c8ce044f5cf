//! What a model wrote through plugins that score: at a run's evaluations, in comparisons, and to rank answers.

use std::collections::BTreeMap;
use std::fmt;

use domain::{Completion, Judged, PluginKind, PluginStage, RunConfig, Score};
use engine::{MeanScores, ScoreTexts};
use plugin_host::{PluginHost, PluginJob};
use serde_json::Value;

/// Some scorers, each held at the version that it began with.
pub struct Scorers(Vec<PluginJob>);

/// What one completion got: `plugin/score` to a value from 0 to 1, and why what is missing is missing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scored {
    /// By name; a plugin that failed on the completion has none.
    pub scores: BTreeMap<String, f64>,
    /// Plugins that failed, each with its sentence.
    pub failures: BTreeMap<String, String>,
}

impl Scored {
    /// The mean over its scores, by which answers are ranked; `None` where nobody could score it.
    pub fn mean(&self) -> Option<f64> {
        let count = self.scores.len();
        (count > 0).then(|| self.scores.values().sum::<f64>() / count as f64)
    }
}

impl Scorers {
    /// Holds plugins by name, each with its settings.
    ///
    /// # Errors
    /// One that may not be called, is no scorer, or whose settings do not fit its schema.
    pub fn open<'a>(
        host: &PluginHost,
        plugins: impl IntoIterator<Item = (&'a str, BTreeMap<String, Value>)>,
    ) -> Result<Self, plugin_host::Error> {
        let jobs = plugins
            .into_iter()
            .map(|(name, config)| host.job(name, PluginKind::Scorer, &config));
        jobs.collect::<Result<_, _>>().map(Self)
    }

    /// The scorers that a run names.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_run(host: &PluginHost, run: &RunConfig) -> Result<Self, plugin_host::Error> {
        let uses = run.plugins_of(PluginStage::Score);
        let uses = uses.map(|plugin| {
            let config = plugin.config.clone().into_iter().collect();
            (plugin.name.as_str(), config)
        });
        Self::open(host, uses)
    }

    /// What they are, for a record: name, version, digest, settings.
    pub fn about(&self) -> Value {
        let jobs = self.0.iter().map(|job| {
            serde_json::json!({
                "plugin": job.name(),
                "version": job.version(),
                "digest": job.digest(),
                "config": job.config(),
            })
        });
        jobs.collect()
    }

    /// Scores each completion by every plugin.
    pub fn score(&self, completions: &[Completion]) -> Vec<Scored> {
        let mut scored = vec![Scored::default(); completions.len()];
        for job in &self.0 {
            let answers: Vec<Judged<Vec<Score>>> = job.score(completions);
            for (scored, answer) in scored.iter_mut().zip(answers) {
                match answer.result {
                    Ok(scores) => scored.scores.extend(
                        scores
                            .into_iter()
                            .map(|score| (format!("{}/{}", job.name(), score.name), score.value)),
                    ),
                    Err(message) => drop(scored.failures.insert(job.name().to_owned(), message)),
                }
            }
        }
        scored
    }
}

impl fmt::Debug for Scorers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_list()
            .entries(self.0.iter().map(PluginJob::name))
            .finish()
    }
}

/// Means over the completions that got a score, by its name.
pub fn means(scored: &[Scored]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for (name, value) in scored.iter().flat_map(|scored| &scored.scores) {
        let (sum, count) = sums.entry(name.clone()).or_default();
        *sum += value;
        *count += 1;
    }
    let sums = sums.into_iter();
    sums.map(|(name, (sum, count))| (name, sum / count as f64))
        .collect()
}

/// One sentence for each plugin that failed: on how many completions, and why on the first.
pub fn failures(scored: &[Scored]) -> Vec<String> {
    let mut found: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
    for (plugin, message) in scored.iter().flat_map(|scored| &scored.failures) {
        found.entry(plugin).or_insert((0, message)).0 += 1;
    }
    let all = scored.len();
    let found = found.into_iter();
    found
        .map(|(plugin, (count, message))| {
            format!(
                "{plugin} could not score {count} of {all} answers, the first because: {message}"
            )
        })
        .collect()
}

impl ScoreTexts for Scorers {
    fn score(&self, completions: &[Completion]) -> MeanScores {
        let scored = Self::score(self, completions);
        MeanScores {
            means: means(&scored),
            notes: failures(&scored),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completion_that_could_not_be_scored_is_left_out_of_the_mean_and_told() {
        let with = |scores: &[(&str, f64)], failed: &[&str]| Scored {
            scores: scores
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect(),
            failures: failed
                .iter()
                .map(|name| ((*name).to_owned(), "no language".to_owned()))
                .collect(),
        };
        let scored = [
            with(&[("a/x", 1.0), ("b/y", 0.25)], &[]),
            with(&[("b/y", 0.75)], &["a"]),
            with(&[], &["a", "b"]),
        ];
        let expected = [("a/x".to_owned(), 1.0), ("b/y".to_owned(), 0.5)];
        assert!(means(&scored).into_iter().eq(expected));
        let told = failures(&scored);
        assert_eq!(told.len(), 2);
        assert!(told[0].contains("a could not score 2 of 3"), "{}", told[0]);
        assert_eq!(scored[0].mean(), Some(0.625));
        assert_eq!(scored[2].mean(), None);
    }
}
