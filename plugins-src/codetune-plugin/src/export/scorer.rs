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
            use $crate::{Completion, Scorer as _};

            $crate::export_tool!($plugin, $crate::COMPLETION_INPUT, $crate::COMPLETION_OUTPUT);

            fn check(inputs: &str) -> Result<(), String> {
                $crate::completion_of(inputs).map(drop)
            }

            fn execute(plugin: &$plugin, inputs: &str) -> Result<String, String> {
                let completion = $crate::completion_of(inputs)?;
                Ok($crate::scores_json(&plugin.score(&completion)?))
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
