//! `codetune:plugin/analyzer`: source files in, diagnostics and metrics out.

use domain::{Diagnostic, FileAnalysis, Metric, Severity, SourceFile, Span, SuggestedEdit};
use wasmtime::Store;
use wasmtime::component::InstancePre;

use super::clean;
use crate::call::CallState;
use crate::lent::secrets::Secrets;
use crate::outcome::Failure;
use crate::{sanitize, schema::Schema};

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
    // Borrowing: sources go into the guest from where they are.
    wasmtime::component::bindgen!({
        path: "../../../wit/0.1.2",
        world: "analyzer-ability",
        ownership: Borrowing { duplicate_if_necessary: true },
    });
}

use bindings::exports::codetune::plugin::analyzer as wit;

/// A component that exports the ability, ready to be instantiated.
pub(crate) struct Analyzer {
    pre: bindings::AnalyzerAbilityPre<CallState>,
}

impl Analyzer {
    /// # Errors
    /// When the export has another shape than the contract.
    pub(crate) fn new(pre: InstancePre<CallState>) -> wasmtime::Result<Self> {
        Ok(Self {
            pre: bindings::AnalyzerAbilityPre::new(pre)?,
        })
    }

    /// Analyses a batch; one unchecked answer a file.
    pub(crate) fn analyze(
        &self,
        store: &mut Store<CallState>,
        files: &[SourceFile],
    ) -> wasmtime::Result<Result<Vec<Answer>, Failure>> {
        let plugin = self.pre.instantiate(&mut *store)?;
        let batch: Vec<wit::SourceFile<'_>> = files
            .iter()
            .map(|file| wit::SourceFile {
                path: &file.path,
                code: &file.code,
                language: file.language.as_deref(),
            })
            .collect();
        let answers = plugin
            .codetune_plugin_analyzer()
            .call_analyze(store, &batch)?;
        if answers.len() != files.len() {
            let message = format!("answered {} files of {}", answers.len(), files.len());
            return Ok(Err(Failure::new("invalid_output", message)));
        }
        Ok(Ok(answers.into_iter().map(Answer).collect()))
    }
}

/// What the plugin said about one file.
#[derive(Debug)]
pub(crate) struct Answer(Result<wit::FileAnalysis, String>);

impl Answer {
    /// Checks every span, number and word; an answer that breaks the contract makes the file unanalyzable.
    pub(crate) fn check(
        self,
        file: &SourceFile,
        output: &Schema,
        secrets: &Secrets,
    ) -> FileAnalysis {
        let checked = self.0.and_then(|answer| {
            checked(answer, file, output, secrets)
                .map_err(|message| format!("invalid_output: {message}"))
        });
        checked.unwrap_or_else(|message| unanalyzable(file, &message))
    }
}

/// A file without an analysis.
pub(crate) fn unanalyzable(file: &SourceFile, why: &str) -> FileAnalysis {
    FileAnalysis {
        path: file.path.clone(),
        diagnostics: Vec::new(),
        metrics: Vec::new(),
        details: None,
        unanalyzable: Some(sanitize::text(why).into_owned()),
    }
}

fn checked(
    answer: wit::FileAnalysis,
    file: &SourceFile,
    output: &Schema,
    secrets: &Secrets,
) -> Result<FileAnalysis, String> {
    let diagnostics = answer
        .diagnostics
        .into_iter()
        .map(|found| diagnostic(found, &file.code))
        .collect::<Result<Vec<_>, _>>()?;
    let metrics = answer
        .metrics
        .into_iter()
        .map(|metric| match metric.value.is_finite() {
            true => Ok(Metric {
                name: clean(metric.name),
                value: metric.value,
            }),
            false => Err(format!("the metric {:?} is {}", metric.name, metric.value)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let details = answer
        .details
        .map(|details| output.details(&details, secrets))
        .transpose()?;
    Ok(FileAnalysis {
        path: file.path.clone(),
        diagnostics,
        metrics,
        details,
        unanalyzable: None,
    })
}

fn diagnostic(found: wit::Diagnostic, code: &str) -> Result<Diagnostic, String> {
    let suggestion = found.suggestion.map(|edit| {
        if !(0.0..=1.0).contains(&edit.confidence) {
            return Err(format!(
                "a confidence is {}, not in 0 to 1",
                edit.confidence
            ));
        }
        Ok(SuggestedEdit {
            span: span(edit.span, code)?,
            replacement: clean(edit.replacement),
            confidence: edit.confidence,
        })
    });
    Ok(Diagnostic {
        code: clean(found.code),
        severity: match found.severity {
            wit::Severity::Error => Severity::Error,
            wit::Severity::Warning => Severity::Warning,
            wit::Severity::Info => Severity::Info,
            wit::Severity::Hint => Severity::Hint,
        },
        span: span(found.span, code)?,
        message: clean(found.message),
        suggestion: suggestion.transpose()?,
    })
}

fn span(span: wit::Span, code: &str) -> Result<Span, String> {
    let (start, end) = (span.start as usize, span.end as usize);
    if start > end
        || end > code.len()
        || !code.is_char_boundary(start)
        || !code.is_char_boundary(end)
    {
        return Err(format!(
            "a span {start}..{end} does not lie in the file's {} bytes",
            code.len()
        ));
    }
    if span.line == 0 || span.column == 0 {
        return Err("a line or column is 0; both count from 1".to_owned());
    }
    Ok(Span {
        start: span.start,
        end: span.end,
        line: span.line,
        column: span.column,
    })
}
