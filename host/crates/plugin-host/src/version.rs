//! One version of a plugin: a checked, compiled component with its limits, schemas and grants, ready for any number of
//! calls at once. A call holds its version, so a reload never touches it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use domain::{
    Canary, Capability, Execution, ExecutionOutcome, FileAnalysis, PluginKind, PluginManifest,
    PluginMetadata, SourceFile,
};
use serde_json::Value;
use wasmtime::component::{Component, InstancePre};

use crate::breaker::Breaker;
use crate::cache::{CompileCache, Record, Unkept};
use crate::call::{CallState, Called, Terms, bounded, call, rearm};
use crate::fixtures;
use crate::inspect::{check_imports, inspect};
use crate::kind::analyzer::{Analyzer, unanalyzable};
use crate::kind::curator::Curator;
use crate::kind::scorer::Scorer;
use crate::kind::tool::Tool;
use crate::lent::rate::Rate;
use crate::log::CallLog;
use crate::metadata;
use crate::outcome::Failure;
use crate::recent::{Input, Recent};
use crate::runtime::Runtime;
use crate::schema::Schema;
use crate::source::{Source, hex};

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
    /// Checks, compiles (or takes from the cache), and the first time asks for the metadata and runs the fixtures.
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
        let cached = cache.load(&runtime.engine, &source.digest);
        let is_new = cached.is_none();
        let (component, record) = match cached {
            Some(cached) => cached,
            None => examine(runtime, &manifest, &source.component)?,
        };
        check_imports(&record.imports, &manifest)?;
        if source.is_bare {
            manifest.name.clone_from(&record.metadata.name);
        }
        if record.metadata.name != manifest.name {
            return Err(format!(
                "calls itself {:?} in its metadata and {:?} in plugin.toml; make them the same",
                record.metadata.name, manifest.name
            ));
        }
        check_config(&record.metadata, &manifest.config)
            .map_err(|faults| format!("plugin.toml: config: {faults}"))?;
        let asks = |capability| manifest.capabilities.contains(&capability);
        let version = Self {
            terms: Terms {
                limits: manifest.limits,
                config: asks(Capability::Config).then(|| Arc::new(manifest.config.clone())),
                may_log: asks(Capability::Log),
                lending: None,
            },
            input: Schema::trusted(record.metadata.input_schema.clone()),
            output: Schema::trusted(record.metadata.output_schema.clone()),
            tool: tool(runtime, &component)?,
            analyzer: ability(
                runtime,
                &component,
                &record.kinds,
                PluginKind::Analyzer,
                Analyzer::new,
            )?,
            curator: ability(
                runtime,
                &component,
                &record.kinds,
                PluginKind::Curator,
                Curator::new,
            )?,
            scorer: ability(
                runtime,
                &component,
                &record.kinds,
                PluginKind::Scorer,
                Scorer::new,
            )?,
            metadata: record.metadata.clone(),
            digest: source.digest.clone(),
            size_bytes: source.component.len() as u64,
            kinds: record.kinds.clone(),
            imports: record.imports.clone(),
            breaker: Breaker::default(),
            recent,
            rate: Arc::default(),
            canary: None,
            unkept: Mutex::default(),
            merged: Mutex::default(),
            manifest,
        };
        if is_new {
            fixtures::check(&source.fixtures, |input| {
                match version.execute(runtime, &version.terms, input).outcome {
                    ExecutionOutcome::Ok { output } => Ok(output),
                    ExecutionOutcome::Failed { code, message } => Err(format!("{code}: {message}")),
                }
            })?;
            let stored = cache.store(&source.digest, &component, record);
            *version.lock_unkept() = stored.err();
        }
        Ok(version)
    }

    /// Keeps the compiled code where that has failed before.
    pub(crate) fn keep(&self, cache: &CompileCache) {
        let mut unkept = self.lock_unkept();
        if let Some(again) = unkept.take() {
            *unkept = again.store(cache, &self.digest).err();
        }
    }

    /// Why the compiled code is not kept for the next start; none when it is.
    pub(crate) fn unkept(&self) -> Option<String> {
        self.lock_unkept().as_ref().map(|unkept| unkept.why.clone())
    }

    fn lock_unkept(&self) -> MutexGuard<'_, Option<Box<Unkept>>> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls the tool for somebody: the breaker hears of it, and the input is kept to try the next version on. It must
    /// be called on a guest thread.
    pub(crate) fn run(&self, runtime: &Runtime, terms: &Terms, input: &Value) -> Execution {
        let (execution, text, is_trap) = self.call_tool(runtime, terms, input);
        match (&execution.outcome, is_trap) {
            (ExecutionOutcome::Failed { message, .. }, true) => {
                self.breaker.trapped(Instant::now(), message);
            }
            _ => self.breaker.succeeded(),
        }
        self.recent.push_tool(text);
        execution
    }

    /// Calls the tool to see what it does.
    pub(crate) fn execute(&self, runtime: &Runtime, terms: &Terms, input: &Value) -> Execution {
        self.call_tool(runtime, terms, input).0
    }

    /// Runs the tool on `input` and checks both ends; gives the input's text back, and whether the plugin fell over.
    fn call_tool(
        &self,
        runtime: &Runtime,
        terms: &Terms,
        input: &Value,
    ) -> (Execution, String, bool) {
        // Not through `Display`, which goes through a formatter piece by piece.
        let text = serde_json::to_string(input).expect("JSON values serialize");
        let called = match self.input.check(input) {
            Ok(()) => call(runtime, terms, |store| self.tool.execute(store, &text)),
            Err(faults) => Called::refused(Failure::new("invalid_input", faults)),
        };
        let result = called.result.and_then(|mut text| {
            if let Some(lent) = &called.lent {
                lent.hide(&mut text);
            }
            self.output
                .parse(&text)
                .map_err(|message| Failure::new("invalid_output", message))
        });
        let is_trap = result.as_ref().is_err_and(Failure::is_trap);
        let outcome = match result {
            Ok(output) => ExecutionOutcome::Ok { output },
            Err(failure) => ExecutionOutcome::Failed {
                code: failure.code.to_owned(),
                message: failure.message,
            },
        };
        let execution = Execution {
            plugin: self.manifest.name.clone(),
            digest: self.digest.clone(),
            input_digest: hex(text.as_bytes()),
            duration_us: u64::try_from(called.duration.as_micros()).unwrap_or(u64::MAX),
            fuel: called.fuel,
            peak_memory_bytes: called.peak_memory,
            log: called.log,
            outcome,
        };
        (execution, text, is_trap)
    }

    /// The guest's part of a call alone, within the same limits: what `bench` holds the rest of a call against.
    pub(crate) fn guest_alone(
        &self,
        runtime: &Runtime,
        text: &str,
    ) -> wasmtime::Result<Result<String, Failure>> {
        let log = CallLog::new(self.terms.limits.log_bytes);
        let mut store = bounded(runtime, &self.terms, &log);
        self.tool.execute(&mut store, text)
    }

    /// Calls of one instance, one after the other, each with full fuel and a deadline of its own; `each` gets how long one
    /// took and the fuel that it used. What `bench` holds fresh instances against.
    pub(crate) fn guest_again(
        &self,
        runtime: &Runtime,
        terms: &Terms,
        text: &str,
        calls: usize,
        mut each: impl FnMut(Duration, u64),
    ) -> Result<(), Failure> {
        let limits = &terms.limits;
        let called = call(runtime, terms, |store| {
            let instance = self.tool.start(store)?;
            for _ in 0..calls {
                rearm(store, limits);
                let started = Instant::now();
                if let Err(failure) = instance.execute(store, text)? {
                    return Ok(Err(failure));
                }
                let fuel = limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0));
                each(started.elapsed(), fuel);
            }
            Ok(Ok(()))
        });
        called.result
    }

    /// Analyses a batch in one call; none when the plugin is no analyzer. It must be called on a guest thread.
    ///
    /// When the batch ends early, each of its files gets a call of its own: what one file does to the plugin is that
    /// file's verdict alone.
    pub(crate) fn analyze(
        &self,
        runtime: &Runtime,
        terms: &Terms,
        files: &[SourceFile],
    ) -> Option<Vec<FileAnalysis>> {
        let analyzer = self.analyzer.as_ref()?;
        self.recent
            .push_first(files, |file| file.code.len(), Input::File);
        let called = call(runtime, terms, |store| analyzer.analyze(store, files));
        let analyses = match (called.result, files) {
            (Ok(answers), _) => {
                self.breaker.succeeded();
                let answers = answers.into_iter().zip(files);
                answers
                    .map(|(answer, file)| answer.check(file, &self.output))
                    .collect()
            }
            (Err(failure), [file]) => {
                self.note(Err(&failure));
                vec![unanalyzable(
                    file,
                    &format!("{}: {}", failure.code, failure.message),
                )]
            }
            (Err(_), files) => files
                .chunks(1)
                .filter_map(|file| self.analyze(runtime, terms, file))
                .flatten()
                .collect(),
        };
        Some(analyses)
    }

    /// Analyses one file to see what it does; none when the plugin is no analyzer.
    pub(crate) fn try_analysis(
        &self,
        runtime: &Runtime,
        terms: &Terms,
        file: &SourceFile,
    ) -> Option<Result<FileAnalysis, Failure>> {
        let analyzer = self.analyzer.as_ref()?;
        let files = std::slice::from_ref(file);
        let called = call(runtime, terms, |store| analyzer.analyze(store, files));
        Some(called.result.and_then(|mut answers| {
            let answer = answers.pop().map(|answer| answer.check(file, &self.output));
            answer.ok_or_else(|| Failure::new("invalid_output", "answered no file"))
        }))
    }

    /// Tells the breaker how a call ended.
    pub(crate) fn note(&self, result: Result<(), &Failure>) {
        match result {
            Err(failure) if failure.is_trap() => {
                self.breaker.trapped(Instant::now(), &failure.message);
            }
            _ => self.breaker.succeeded(),
        }
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

impl<R> Called<R> {
    fn refused(failure: Failure) -> Self {
        Self {
            result: Err(failure),
            duration: Duration::ZERO,
            fuel: 0,
            peak_memory: 0,
            log: String::new(),
            lent: None,
        }
    }
}

/// Everything that is learned of a component once.
fn examine(
    runtime: &Runtime,
    manifest: &PluginManifest,
    bytes: &[u8],
) -> Result<(Component, Record), String> {
    let shape = inspect(bytes)?;
    // Before compiling: a component that may not be used shall not cost anything either.
    check_imports(&shape.imports, manifest)?;
    let component = Component::from_binary(&runtime.engine, bytes)
        .map_err(|error| format!("cannot be compiled: {}", first_lines(&error)))?;
    let tool = tool(runtime, &component)?;
    let kinds = &shape.kinds;
    ability(
        runtime,
        &component,
        kinds,
        PluginKind::Analyzer,
        Analyzer::new,
    )?;
    ability(
        runtime,
        &component,
        kinds,
        PluginKind::Curator,
        Curator::new,
    )?;
    ability(runtime, &component, kinds, PluginKind::Scorer, Scorer::new)?;
    // Metadata is the same for everyone: it sees neither settings nor log.
    let terms = Terms {
        limits: manifest.limits,
        config: None,
        may_log: false,
        lending: None,
    };
    let called = call(runtime, &terms, |store| tool.metadata(store).map(Ok));
    let (found, schemas) = called.result.map_err(|failure| {
        format!(
            "cannot say its metadata: {}: {}",
            failure.code, failure.message
        )
    })?;
    let metadata = metadata::check(found, schemas)?;
    Ok((component, Record::new(shape.kinds, shape.imports, metadata)))
}

fn tool(runtime: &Runtime, component: &Component) -> Result<Tool, String> {
    runtime
        .linker
        .instantiate_pre(component)
        .and_then(Tool::new)
        .map_err(|error| {
            format!(
                "does not fit the contract in `wit`: {}",
                first_lines(&error)
            )
        })
}

/// What a component can do beyond the tool; none when it does not export the interface.
fn ability<A>(
    runtime: &Runtime,
    component: &Component,
    kinds: &[PluginKind],
    kind: PluginKind,
    new: impl Fn(InstancePre<CallState>) -> wasmtime::Result<A>,
) -> Result<Option<A>, String> {
    if !kinds.contains(&kind) {
        return Ok(None);
    }
    let ability = runtime.linker.instantiate_pre(component).and_then(new);
    ability.map(Some).map_err(|error| {
        format!(
            "does not fit the contract in `wit`: {}",
            first_lines(&error)
        )
    })
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

/// The error with its causes, short enough for a page.
fn first_lines(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}").replace('\n', " ");
    crate::sanitize::text(&text).chars().take(500).collect()
}
