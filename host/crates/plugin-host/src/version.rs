//! One version of a plugin: a checked, compiled component with its limits, schemas and grants, ready for any number of
//! calls at once. A call holds its version, so a reload never touches it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use domain::{
    Capability, Execution, ExecutionOutcome, FileAnalysis, PluginKind, PluginManifest,
    PluginMetadata, SourceFile,
};
use serde_json::Value;
use wasmtime::component::{Component, InstancePre};

use crate::breaker::Breaker;
use crate::cache::{CompileCache, Record};
use crate::call::{CallState, Called, Terms, bounded, call, rearm};
use crate::fixtures;
use crate::inspect::{check_imports, inspect};
use crate::kind::analyzer::{Analyzer, unanalyzable};
use crate::kind::curator::Curator;
use crate::kind::scorer::Scorer;
use crate::kind::tool::Tool;
use crate::log::CallLog;
use crate::metadata;
use crate::outcome::Failure;
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
    /// Granted to the version before, which asked for the same.
    pub(crate) inherited: Vec<Capability>,
    pub(crate) breaker: Breaker,
    terms: Terms,
    input: Schema,
    output: Schema,
    tool: Tool,
    analyzer: Option<Analyzer>,
    pub(crate) curator: Option<Curator>,
    pub(crate) scorer: Option<Scorer>,
}

impl Version {
    /// Checks, compiles (or takes from the cache), and the first time asks for the metadata and runs the fixtures.
    ///
    /// # Errors
    /// One sentence that says what is wrong with the component.
    pub(crate) fn load(
        runtime: &Runtime,
        cache: &CompileCache,
        source: &Source,
        inherited: Vec<Capability>,
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
            inherited,
            breaker: Breaker::default(),
            manifest,
        };
        if is_new {
            fixtures::check(&source.fixtures, |input| {
                match version.execute(runtime, input).outcome {
                    ExecutionOutcome::Ok { output } => Ok(output),
                    ExecutionOutcome::Failed { code, message } => Err(format!("{code}: {message}")),
                }
            })?;
            version.breaker.succeeded();
            cache.store(&source.digest, &component, record);
        }
        Ok(version)
    }

    /// Runs the tool on `input` and checks both ends. It must be called on a guest thread.
    pub(crate) fn execute(&self, runtime: &Runtime, input: &Value) -> Execution {
        // Not through `Display`, which goes through a formatter piece by piece.
        let text = serde_json::to_string(input).expect("JSON values serialize");
        let called = match self.input.check(input) {
            Ok(()) => call(runtime, &self.terms, |store| {
                self.tool.execute(store, &text)
            }),
            Err(faults) => Called::refused(Failure::new("invalid_input", faults)),
        };
        let result = called.result.and_then(|text| {
            self.output
                .parse(&text)
                .map_err(|message| Failure::new("invalid_output", message))
        });
        let outcome = match result {
            Ok(output) => {
                self.breaker.succeeded();
                ExecutionOutcome::Ok { output }
            }
            Err(failure) => {
                self.note(Err(&failure));
                ExecutionOutcome::Failed {
                    code: failure.code.to_owned(),
                    message: failure.message,
                }
            }
        };
        Execution {
            plugin: self.manifest.name.clone(),
            digest: self.digest.clone(),
            input_digest: hex(text.as_bytes()),
            duration_us: u64::try_from(called.duration.as_micros()).unwrap_or(u64::MAX),
            fuel: called.fuel,
            peak_memory_bytes: called.peak_memory,
            log: called.log,
            outcome,
        }
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
        text: &str,
        calls: usize,
        mut each: impl FnMut(Duration, u64),
    ) -> Result<(), Failure> {
        let limits = &self.terms.limits;
        let called = call(runtime, &self.terms, |store| {
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
        files: &[SourceFile],
    ) -> Option<Vec<FileAnalysis>> {
        let analyzer = self.analyzer.as_ref()?;
        let called = call(runtime, &self.terms, |store| analyzer.analyze(store, files));
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
                .filter_map(|file| self.analyze(runtime, file))
                .flatten()
                .collect(),
        };
        Some(analyses)
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

    /// The manifest's limits, settings and grants.
    pub(crate) fn terms(&self) -> &Terms {
        &self.terms
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
