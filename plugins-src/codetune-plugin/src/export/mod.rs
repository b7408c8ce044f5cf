//! The macros that make a component out of a type, one for each kind of plugin.

mod analyzer;
mod curator;
mod scorer;
mod tool;

/// What all have: the type `Export`, the plugin made once for each instance, and the tool, for which the macros around it
/// have `check` and `execute` beside it.
#[doc(hidden)]
#[macro_export]
macro_rules! export_tool {
    ($plugin:ident, $input:expr, $output:expr) => {
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
                check(&inputs)
            }

            fn execute(inputs: String) -> Result<String, String> {
                with_plugin(|plugin| execute(plugin.as_ref().map_err(Clone::clone)?, &inputs))
            }
        }
    };
}
