/// Exports a type that implements [`Curator`](crate::Curator) as a plugin.
///
/// The contract is read from `../../wit/0.1.1`, as seen from the crate's folder; a second argument names another place.
#[macro_export]
macro_rules! curator {
    ($plugin:ident) => {
        $crate::curator!($plugin, "../../wit/0.1.1");
    };
    ($plugin:ident, $wit:tt) => {
        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod codetune_export {
            #![allow(missing_docs, unreachable_pub)]
            $crate::wit_bindgen::generate!({
                path: $wit, world: "curator-plugin",
                runtime_path: "codetune_plugin::wit_bindgen::rt",
            });
            use self::exports::codetune::plugin::curator as wit;
            use super::$plugin;
            use $crate::{Curator as _, Decision, Sample, Verdict};

            $crate::export_tool!(
                $plugin, curate, $crate::SAMPLE_INPUT, $crate::SAMPLE_OUTPUT, $crate::sample_of,
                $crate::verdict_json
            );

            fn curate(plugin: &$plugin, sample: &Sample) -> Result<Verdict, String> {
                plugin.curate(sample)
            }

            impl wit::Guest for Export {
                fn curate(samples: Vec<wit::Sample>) -> Vec<Result<wit::Verdict, String>> {
                    with_plugin(|plugin| {
                        samples.into_iter().map(|sample| {
                            let sample = Sample {
                                parts: sample.parts.into_iter().map(|part| $crate::Part {
                                    name: part.name,
                                    text: part.text,
                                    learned: part.learned,
                                }).collect(),
                                path: sample.path,
                                language: sample.language,
                            };
                            plugin.as_ref().map_err(Clone::clone)?.curate(&sample).map(verdict)
                        }).collect()
                    })
                }
            }

            fn verdict(verdict: Verdict) -> wit::Verdict {
                let reason = |reason: $crate::Reason| wit::Reason {
                    code: reason.code.to_owned(),
                    message: reason.message,
                };
                wit::Verdict {
                    decision: match verdict.decision {
                        Decision::Keep => wit::Decision::Keep,
                        Decision::Drop(why) => wit::Decision::Drop(reason(why)),
                        Decision::Rewrite(edits, reasons) => wit::Decision::Rewrite(wit::Rewriting {
                            edits: edits.into_iter().map(|edit| wit::Edit {
                                part: edit.part as u32,
                                start: edit.start as u32,
                                end: edit.end as u32,
                                replacement: edit.replacement,
                            }).collect(),
                            reasons: reasons.into_iter().map(reason).collect(),
                        }),
                    },
                    scores: verdict.scores.into_iter().map(|(name, value)| wit::Score {
                        name: name.to_owned(),
                        value,
                    }).collect(),
                    signature: verdict.signature.map(|(name, values)| wit::Signature { name, values }),
                }
            }
        }
    };
}

/// Exports a type that implements [`Scorer`](crate::Scorer) as a plugin; arguments as for [`curator!`].
#[macro_export]
macro_rules! scorer {
    ($plugin:ident) => {
        $crate::scorer!($plugin, "../../wit/0.1.1");
    };
    ($plugin:ident, $wit:tt) => {
        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod codetune_export {
            #![allow(missing_docs, unreachable_pub)]
            $crate::wit_bindgen::generate!({
                path: $wit, world: "scorer-plugin",
                runtime_path: "codetune_plugin::wit_bindgen::rt",
            });
            use self::exports::codetune::plugin::scorer as wit;
            use super::$plugin;
            use $crate::{Completion, Score, Scorer as _};

            $crate::export_tool!(
                $plugin, score, $crate::COMPLETION_INPUT, $crate::COMPLETION_OUTPUT, $crate::completion_of,
                $crate::scores_json
            );

            fn score(plugin: &$plugin, completion: &Completion) -> Result<Vec<Score>, String> {
                plugin.score(completion)
            }

            impl wit::Guest for Export {
                fn score_completions(
                    completions: Vec<wit::Completion>,
                ) -> Vec<Result<Vec<wit::Score>, String>> {
                    with_plugin(|plugin| {
                        completions.into_iter().map(|completion| {
                            let completion = Completion {
                                prompt: completion.prompt,
                                text: completion.text,
                                reference: completion.reference,
                                language: completion.language,
                            };
                            let scores = plugin.as_ref().map_err(Clone::clone)?.score(&completion)?;
                            Ok(scores.into_iter().map(|score| wit::Score {
                                name: score.name.to_owned(),
                                value: score.value,
                                reason: score.reason,
                            }).collect())
                        }).collect()
                    })
                }
            }
        }
    };
}

/// What both have: the type `Export`, the plugin made once for each instance, and the tool.
#[doc(hidden)]
#[macro_export]
macro_rules! export_tool {
    ($plugin:ident, $judge:ident, $input:expr, $output:expr, $parse:path, $json:path) => {
        struct Export;
        export!(Export);

        /// The version of the contract, for the host to read before it compiles anything.
        #[unsafe(link_section = "codetune:plugin-version")]
        #[used]
        static CONTRACT: [u8; 5] = *b"0.1.1";

        fn with_plugin<R>(work: impl FnOnce(&Result<$plugin, String>) -> R) -> R {
            use std::cell::OnceCell;
            std::thread_local! {
                static PLUGIN: OnceCell<Result<$plugin, String>> = const { OnceCell::new() };
            }
            PLUGIN.with(|plugin| {
                work(plugin.get_or_init(|| {
                    $plugin::new(&$crate::Settings::new(codetune::plugin::config::get))
                }))
            })
        }

        impl exports::codetune::plugin::tool::Guest for Export {
            fn metadata() -> exports::codetune::plugin::tool::PluginMetadata {
                let about = $plugin::ABOUT;
                exports::codetune::plugin::tool::PluginMetadata {
                    name: about.name.to_owned(),
                    version: about.version.to_owned(),
                    description: about.description.to_owned(),
                    author: about.author.to_owned(),
                    tags: about.tags.iter().map(|tag| (*tag).to_owned()).collect(),
                    input_schema: $input.to_owned(),
                    output_schema: $output.to_owned(),
                    config_schema: about.config_schema.to_owned(),
                }
            }

            fn validate_inputs(inputs: String) -> Result<(), String> {
                $parse(&inputs).map(drop)
            }

            fn execute(inputs: String) -> Result<String, String> {
                let input = $parse(&inputs)?;
                let answer =
                    with_plugin(|plugin| $judge(plugin.as_ref().map_err(Clone::clone)?, &input))?;
                Ok($json(&input, &answer))
            }
        }
    };
}
