/// Exports a type that implements [`Analyzer`](crate::Analyzer) as a plugin; arguments as for [`curator!`].
#[macro_export]
macro_rules! analyzer {
    ($plugin:ident) => {
        $crate::analyzer!($plugin, "../../wit/0.1.1");
    };
    ($plugin:ident, $wit:tt) => {
        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod codetune_export {
            #![allow(missing_docs, unreachable_pub)]
            $crate::wit_bindgen::generate!({
                path: $wit, world: "analyzer-plugin",
                runtime_path: "codetune_plugin::wit_bindgen::rt",
            });
            use self::exports::codetune::plugin::analyzer as wit;
            use super::$plugin;
            use $crate::{Analysis, Analyzer as _, Severity, SourceFile};

            $crate::export_tool!($plugin, $plugin::INPUT_SCHEMA, $plugin::OUTPUT_SCHEMA);

            fn check(inputs: &str) -> Result<(), String> {
                $plugin::check(&$crate::file_of(inputs)?)
            }

            fn execute(plugin: &$plugin, inputs: &str) -> Result<String, String> {
                let file = $crate::file_of(inputs)?;
                let analysis = plugin.analyze(&file)?;
                Ok($crate::analysis_json(&file, analysis))
            }

            impl wit::Guest for Export {
                fn analyze(files: Vec<wit::SourceFile>) -> Vec<Result<wit::FileAnalysis, String>> {
                    with_plugin(|plugin| {
                        files.into_iter().map(|file| {
                            let file = SourceFile {
                                path: Some(file.path),
                                code: file.code,
                                language: file.language,
                            };
                            let analysis = plugin.as_ref().map_err(Clone::clone)?.analyze(&file)?;
                            Ok(file_analysis(&file, analysis))
                        }).collect()
                    })
                }
            }

            fn file_analysis(file: &SourceFile, analysis: Analysis) -> wit::FileAnalysis {
                let lines = $crate::LineIndex::new(match analysis.diagnostics.is_empty() {
                    true => "",
                    false => &file.code,
                });
                let span = |(start, end): (usize, usize)| {
                    let place = lines.position(start as u32);
                    wit::Span {
                        start: start as u32,
                        end: end as u32,
                        line: place.line,
                        column: place.column,
                    }
                };
                wit::FileAnalysis {
                    diagnostics: analysis.diagnostics.into_iter().map(|found| wit::Diagnostic {
                        code: found.code.to_owned(),
                        severity: match found.severity {
                            Severity::Error => wit::Severity::Error,
                            Severity::Warning => wit::Severity::Warning,
                            Severity::Info => wit::Severity::Info,
                            Severity::Hint => wit::Severity::Hint,
                        },
                        span: span(found.span),
                        message: found.message,
                        suggestion: found.suggestion.map(|suggestion| wit::Edit {
                            span: span(suggestion.span),
                            replacement: suggestion.replacement,
                            confidence: suggestion.confidence,
                        }),
                    }).collect(),
                    metrics: analysis.metrics.into_iter().map(|(name, value)| wit::Metric {
                        name: name.to_owned(),
                        value,
                    }).collect(),
                    details: analysis.details,
                }
            }
        }
    };
}
