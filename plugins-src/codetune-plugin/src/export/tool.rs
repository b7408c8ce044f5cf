/// Exports a type that implements [`Tool`](crate::Tool) as a plugin; arguments as for [`curator!`].
#[macro_export]
macro_rules! tool {
    ($plugin:ident) => {
        $crate::tool!($plugin, "../../wit/0.1.1");
    };
    ($plugin:ident, $wit:tt) => {
        #[cfg(target_family = "wasm")]
        #[doc(hidden)]
        mod codetune_export {
            #![allow(missing_docs, unreachable_pub)]
            $crate::wit_bindgen::generate!({
                path: $wit, world: "tool-plugin",
                runtime_path: "codetune_plugin::wit_bindgen::rt",
            });
            use super::$plugin;
            use $crate::Tool as _;

            $crate::export_tool!($plugin, $plugin::INPUT_SCHEMA, $plugin::OUTPUT_SCHEMA);

            fn check(inputs: &str) -> Result<(), String> {
                $plugin::check(&$crate::input_of(inputs)?)
            }

            fn execute(plugin: &$plugin, inputs: &str) -> Result<String, String> {
                let answer = plugin.execute($crate::input_of(inputs)?)?;
                $crate::serde_json::to_string(&answer).map_err(|error| format!("output: {error}"))
            }
        }
    };
}
