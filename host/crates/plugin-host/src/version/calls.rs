use std::time::{Duration, Instant};

use domain::{Execution, ExecutionOutcome, FileAnalysis, SourceFile};
use serde_json::Value;

use super::Version;
use crate::call::{Called, Terms, bounded, call, rearm};
use crate::kind::analyzer::unanalyzable;
use crate::log::CallLog;
use crate::outcome::Failure;
use crate::recent::Input;
use crate::runtime::Runtime;
use crate::source::hex;

impl Version {
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
        let mut called = match self.input.check(input) {
            Ok(()) => call(runtime, terms, |store| self.tool.execute(store, &text)),
            Err(faults) => Called::refused(Failure::new("invalid_input", faults)),
        };
        let (duration, fuel, peak_memory_bytes) =
            (called.duration, called.fuel, called.peak_memory);
        let log = std::mem::take(&mut called.log);
        let result = called.finish(|text, secrets| {
            let parsed = self.output.parse(&text, secrets);
            parsed.map_err(|message| Failure::new("invalid_output", message))
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
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            fuel,
            peak_memory_bytes,
            log,
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
        called.unlent()
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
        let checked = called.finish(|answers, secrets| {
            let answers = answers.into_iter().zip(files);
            Ok(answers
                .map(|(answer, file)| answer.check(file, &self.output, secrets))
                .collect::<Vec<_>>())
        });
        let analyses = match (checked, files) {
            (Ok(analyses), _) => {
                self.breaker.succeeded();
                analyses
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
        Some(called.finish(|mut answers, secrets| {
            let answer = answers.pop();
            answer
                .map(|answer| answer.check(file, &self.output, secrets))
                .ok_or_else(|| Failure::new("invalid_output", "answered no file"))
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
}
