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

            $crate::export_tool!($plugin, $crate::SAMPLE_INPUT, $crate::SAMPLE_OUTPUT);

            fn check(inputs: &str) -> Result<(), String> {
                $crate::sample_of(inputs).map(drop)
            }

            fn execute(plugin: &$plugin, inputs: &str) -> Result<String, String> {
                let sample = $crate::sample_of(inputs)?;
                Ok($crate::verdict_json(&sample, &plugin.curate(&sample)?))
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
