use std::collections::BTreeMap;
use std::sync::Arc;

use domain::{Capability, Completion, Judged, PluginKind, Sample, Score, Verdict};
use serde_json::Value;

use crate::batch::each;
use crate::call::Terms;
use crate::host::Admitted;
use crate::recent::Input;
use crate::version::Version;
use crate::{Error, PluginHost};

/// A dataset job's hold on one version of a curator or scorer, with settings of the job's own.
///
/// It ends on the version that it began with, whatever is reloaded meanwhile. Its calls may come from any number of
/// threads at once.
pub struct PluginJob {
    host: PluginHost,
    version: Arc<Version>,
    terms: Terms,
    config: BTreeMap<String, Value>,
}

impl PluginJob {
    pub(crate) fn new(
        host: PluginHost,
        admitted: Admitted,
        kind: PluginKind,
        own: &BTreeMap<String, Value>,
    ) -> Result<Self, Error> {
        let Admitted { version, mut terms } = admitted;
        let name = || version.manifest.name.clone();
        if !version.kinds.contains(&kind) {
            return Err(Error::NoAbility { name: name(), kind });
        }
        let refused = |message: String| Error::Config {
            name: name(),
            message,
        };
        let mut config = match &terms.config {
            Some(config) => BTreeMap::clone(config),
            None => version.manifest.config.clone(),
        };
        config.extend(own.iter().map(|(key, value)| (key.clone(), value.clone())));
        let takes_config = version.manifest.capabilities.contains(&Capability::Config);
        if !own.is_empty() && !takes_config {
            return Err(refused(
                "it takes no settings: its plugin.toml does not ask for `config`".to_owned(),
            ));
        }
        version.check_config(&config).map_err(refused)?;
        if takes_config {
            terms.config = Some(Arc::new(config.clone()));
        }
        Ok(Self {
            host,
            version,
            terms,
            config,
        })
    }

    /// The plugin's name.
    pub fn name(&self) -> &str {
        &self.version.manifest.name
    }

    /// Lower-case hex SHA-256 of the component.
    pub fn digest(&self) -> &str {
        &self.version.digest
    }

    /// What the plugin calls its version.
    pub fn version(&self) -> &str {
        &self.version.metadata.version
    }

    /// The settings that it runs with: the manifest's, then the job's; what neither sets has the plugin's default.
    pub fn config(&self) -> &BTreeMap<String, Value> {
        &self.config
    }

    /// Whether its calls may ask a model or a host, or read folders.
    pub fn is_lent(&self) -> bool {
        self.terms.lending.is_some()
    }

    /// Judges samples one by one on one instance; the answers are in the order of `samples`, each checked against the
    /// contract. One that traps, answers nonsense or uses up its limits has an error for an answer and touches no other.
    /// No answers when the job was made for another kind.
    pub fn curate(&self, samples: &[Sample]) -> Vec<Judged<Verdict>> {
        let Some(curator) = &self.version.curator else {
            return Vec::new();
        };
        let size = |sample: &Sample| sample.parts.iter().map(|part| part.text.len()).sum();
        self.version.recent.push_first(samples, size, Input::Sample);
        let runtime = self.host.runtime();
        runtime.on_guest_thread_for(&self.terms, || {
            each(
                runtime,
                &self.terms,
                samples,
                |store| curator.start(store),
                |running, store, sample| running.curate(store, sample),
                |result| self.version.note(result),
            )
        })
    }

    /// Scores completions, as [`Self::curate`] judges samples.
    pub fn score(&self, completions: &[Completion]) -> Vec<Judged<Vec<Score>>> {
        let Some(scorer) = &self.version.scorer else {
            return Vec::new();
        };
        let size = |completion: &Completion| completion.prompt.len() + completion.text.len();
        self.version
            .recent
            .push_first(completions, size, Input::Completion);
        let runtime = self.host.runtime();
        runtime.on_guest_thread_for(&self.terms, || {
            each(
                runtime,
                &self.terms,
                completions,
                |store| scorer.start(store),
                |running, store, completion| running.score(store, completion),
                |result| self.version.note(result),
            )
        })
    }
}
