//! One version of a plugin: a checked, compiled component with its limits, schemas and grants, ready for any number of
//! calls at once. A call holds its version, so a reload never touches it.

mod calls;
mod examine;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use domain::{Canary, Capability, ExecutionOutcome, PluginKind, PluginManifest, PluginMetadata};
use serde_json::Value;
use wasmtime::component::Component;

use crate::breaker::Breaker;
use crate::cache::{Answer, CompileCache, Record, Unkept};
use crate::call::Terms;
use crate::fixtures;
use crate::inspect::check_imports;
use crate::kind::analyzer::Analyzer;
use crate::kind::curator::Curator;
use crate::kind::scorer::Scorer;
use crate::kind::tool::Tool;
use crate::lent::rate::Rate;
use crate::machine::code_key;
use crate::recent::Recent;
use crate::runtime::Runtime;
use crate::schema::Schema;
use crate::source::Source;
use crate::turns::Turns;
pub(crate) use examine::{LOADING_MS, while_loading};
use examine::{ability, examine, tool};

/// See the module.
pub(crate) struct Version {
    pub(crate) manifest: PluginManifest,
    pub(crate) metadata: PluginMetadata,
    pub(crate) digest: String,
    pub(crate) size_bytes: u64,
    pub(crate) kinds: Vec<PluginKind>,
    pub(crate) imports: Vec<String>,
    pub(crate) breaker: Breaker,
    /// Shared by all versions of the plugin.
    pub(crate) recent: Arc<Recent>,
    pub(crate) rate: Arc<Rate>,
    pub(crate) turns: Arc<Turns>,
    /// How it did on the inputs of late, where there was a version before.
    pub(crate) canary: Option<Canary>,
    /// What the cache could not take: it answers all the same, and the next reload tries again.
    unkept: Mutex<Option<Box<Unkept>>>,
    /// The user's settings that were merged last, and what came of it.
    merged: Mutex<Option<Merged>>,
    terms: Terms,
    input: Schema,
    output: Schema,
    tool: Tool,
    analyzer: Option<Analyzer>,
    pub(crate) curator: Option<Curator>,
    pub(crate) scorer: Option<Scorer>,
}

/// The user's settings laid over the manifest's, or why they do not fit.
type Merged = (Config, Result<Config, String>);
type Config = Arc<BTreeMap<String, Value>>;

impl Version {
    /// Checks, compiles (or takes from the cache), and the first time asks for the metadata; holds it to its examples, the
    /// first time and after a change of them or of the manifest.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the component.
    pub(crate) fn load(
        runtime: &Runtime,
        cache: &CompileCache,
        source: &Source,
        recent: Arc<Recent>,
    ) -> Result<Self, String> {
        let mut manifest = source.manifest.clone();
        let machine = runtime.machine(&manifest.limits)?;
        let key = code_key(&source.component.digest, &manifest.limits);
        let cached = cache.load(&machine.engine, &key);
        let is_new = cached.is_none();
        let (component, mut record) = match cached {
            Some(cached) => cached,
            None => source
                .component
                .with_bytes(|bytes| examine(runtime, &manifest, bytes))?,
        };
        if source.is_bare {
            manifest.name.clone_from(&record.metadata.name);
        }
        let answer = Answer {
            digest: source.component.digest.clone(),
            size_bytes: source.component.size_bytes,
            manifest,
        };
        let version = Self::prepare(runtime, answer, &component, &record, recent)?;
        let is_untried = record.held_to.as_ref() != Some(&source.examples);
        if is_new || is_untried && !source.fixtures.is_empty() {
            let terms = version.terms.while_loading();
            fixtures::check(&source.fixtures, |input| {
                match version.execute(runtime, &terms, input).outcome {
                    ExecutionOutcome::Ok { output } => Ok(output),
                    ExecutionOutcome::Failed { code, message } => Err(format!("{code}: {message}")),
                }
            })?;
            record.held_to = Some(source.examples.clone());
            match is_new {
                true => {
                    let stored = cache.store(&key, &component, record);
                    *version.lock_unkept() = stored.err();
                }
                false => cache.note(&key, &record),
            }
        }
        Ok(version)
    }

    /// A version that answered before and whose file is gone, from the cache alone; none when it is not there whole.
    pub(crate) fn revive(
        runtime: &Runtime,
        cache: &CompileCache,
        answer: Answer,
        recent: Arc<Recent>,
    ) -> Option<Self> {
        let machine = runtime.machine(&answer.manifest.limits).ok()?;
        let key = code_key(&answer.digest, &answer.manifest.limits);
        let (component, record) = cache.load(&machine.engine, &key)?;
        Self::prepare(runtime, answer, &component, &record, recent).ok()
    }

    fn prepare(
        runtime: &Runtime,
        answer: Answer,
        component: &Component,
        record: &Record,
        recent: Arc<Recent>,
    ) -> Result<Self, String> {
        let Answer {
            digest,
            size_bytes,
            manifest,
        } = answer;
        check_imports(&record.imports, &manifest)?;
        if record.metadata.name != manifest.name {
            return Err(format!(
                "calls itself {:?} in its metadata and {:?} in plugin.toml; make them the same",
                record.metadata.name, manifest.name
            ));
        }
        check_config(&record.metadata, &manifest.config)
            .map_err(|faults| format!("plugin.toml: config: {faults}"))?;
        let machine = runtime.machine(&manifest.limits)?;
        let asks = |capability| manifest.capabilities.contains(&capability);
        Ok(Self {
            terms: Terms {
                limits: manifest.limits,
                config: asks(Capability::Config).then(|| Arc::new(manifest.config.clone())),
                may_log: asks(Capability::Log),
                lending: None,
            },
            input: Schema::trusted(record.metadata.input_schema.clone()),
            output: Schema::trusted(record.metadata.output_schema.clone()),
            tool: tool(machine, component)?,
            analyzer: ability(
                machine,
                component,
                &record.kinds,
                PluginKind::Analyzer,
                Analyzer::new,
            )?,
            curator: ability(
                machine,
                component,
                &record.kinds,
                PluginKind::Curator,
                Curator::new,
            )?,
            scorer: ability(
                machine,
                component,
                &record.kinds,
                PluginKind::Scorer,
                Scorer::new,
            )?,
            metadata: record.metadata.clone(),
            digest,
            size_bytes,
            kinds: record.kinds.clone(),
            imports: record.imports.clone(),
            breaker: Breaker::default(),
            recent,
            rate: Arc::default(),
            turns: Arc::default(),
            canary: None,
            unkept: Mutex::default(),
            merged: Mutex::default(),
            manifest,
        })
    }

    /// How many of its calls may run at once here.
    pub(crate) fn most_calls(&self, runtime: &Runtime) -> usize {
        let asked = self.manifest.limits.concurrent_calls;
        usize::try_from(asked)
            .unwrap_or(usize::MAX)
            .min(runtime.half)
    }

    /// What is needed beside the cache to have this version again.
    pub(crate) fn answer(&self) -> Answer {
        Answer {
            digest: self.digest.clone(),
            size_bytes: self.size_bytes,
            manifest: self.manifest.clone(),
        }
    }

    /// Keeps the compiled code where that has failed before.
    pub(crate) fn keep(&self, cache: &CompileCache) {
        let mut unkept = self.lock_unkept();
        if let Some(again) = unkept.take() {
            *unkept = again
                .store(cache, &code_key(&self.digest, &self.manifest.limits))
                .err();
        }
    }

    /// Why the compiled code is not kept for the next start; none when it is.
    pub(crate) fn unkept(&self) -> Option<String> {
        self.lock_unkept().as_ref().map(|unkept| unkept.why.clone())
    }

    fn lock_unkept(&self) -> MutexGuard<'_, Option<Box<Unkept>>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a call may do and use: the manifest's limits, its settings with the user's laid over them, nothing lent.
    ///
    /// # Errors
    /// Names the user's settings that do not fit this version's schema.
    pub(crate) fn terms(&self, user: Option<&Config>) -> Result<Terms, String> {
        let mut terms = self.terms.clone();
        if let (Some(user), Some(own)) = (user, &self.terms.config) {
            terms.config = Some(self.merge(user, own)?);
        }
        Ok(terms)
    }

    fn merge(&self, user: &Config, own: &Config) -> Result<Config, String> {
        let mut merged = self.merged.lock().unwrap_or_else(PoisonError::into_inner);
        match &*merged {
            Some((of, result)) if Arc::ptr_eq(of, user) => result.clone(),
            _ => {
                let mut both = BTreeMap::clone(own);
                both.extend(user.iter().map(|(key, value)| (key.clone(), value.clone())));
                let result = self.check_config(&both).map(|()| Arc::new(both));
                *merged = Some((Arc::clone(user), result.clone()));
                result
            }
        }
    }

    /// # Errors
    /// Names the settings that do not fit the plugin's schema.
    pub(crate) fn check_config(&self, config: &BTreeMap<String, Value>) -> Result<(), String> {
        check_config(&self.metadata, config)
    }
}

/// Whether settings fit the plugin's schema; no settings always do.
fn check_config(metadata: &PluginMetadata, config: &BTreeMap<String, Value>) -> Result<(), String> {
    if config.is_empty() {
        return Ok(());
    }
    let values = config
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    Schema::trusted(metadata.config_schema.clone()).check(&Value::Object(values.collect()))
}
