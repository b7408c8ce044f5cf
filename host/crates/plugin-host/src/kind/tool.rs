//! `codetune:plugin/tool`: metadata, validate-inputs, execute; and the host's side of `log` and `config`.

use domain::PluginMetadata;
use wasmtime::Store;
use wasmtime::component::{HasSelf, InstancePre, Linker};

use crate::call::CallState;
use crate::outcome::Failure;
use crate::sanitize;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
    wasmtime::component::bindgen!({
        path: "../../../wit/0.1.1",
        world: "tool-plugin",
        imports: { default: trappable },
    });
}

use bindings::codetune::plugin::{config, log};

/// A component that exports the ability, ready to be instantiated.
pub(crate) struct Tool {
    pre: bindings::ToolPluginPre<CallState>,
}

impl Tool {
    /// # Errors
    /// When the export has another shape than the contract.
    pub(crate) fn new(pre: InstancePre<CallState>) -> wasmtime::Result<Self> {
        Ok(Self {
            pre: bindings::ToolPluginPre::new(pre)?,
        })
    }

    /// What the plugin says of itself, unchecked; schemas as their text.
    pub(crate) fn metadata(
        &self,
        store: &mut Store<CallState>,
    ) -> wasmtime::Result<(PluginMetadata, [String; 3])> {
        let plugin = self.pre.instantiate(&mut *store)?;
        let found = plugin.codetune_plugin_tool().call_metadata(store)?;
        let metadata = PluginMetadata {
            name: found.name,
            version: found.version,
            description: found.description,
            author: found.author,
            tags: found.tags,
            input_schema: serde_json::Value::Null,
            output_schema: serde_json::Value::Null,
            config_schema: serde_json::Value::Null,
        };
        Ok((
            metadata,
            [found.input_schema, found.output_schema, found.config_schema],
        ))
    }

    /// Validates and executes; the answer is the plugin's text, unchecked.
    pub(crate) fn execute(
        &self,
        store: &mut Store<CallState>,
        inputs: &str,
    ) -> wasmtime::Result<Result<String, Failure>> {
        let plugin = self.pre.instantiate(&mut *store)?;
        let tool = plugin.codetune_plugin_tool();
        if let Err(message) = tool.call_validate_inputs(&mut *store, inputs)? {
            return Ok(Err(Failure::new("invalid_input", sanitize::text(&message))));
        }
        Ok(tool
            .call_execute(store, inputs)?
            .map_err(|message| Failure::new("plugin_error", sanitize::text(&message))))
    }
}

/// Links what a plugin may import of the host.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    log::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    config::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

impl log::Host for CallState {
    fn write(&mut self, level: log::Level, message: String) -> wasmtime::Result<()> {
        // Loading refuses a component that imports this without asking, and a call needs the grant: a second look.
        if !self.may_log {
            return Err(wasmtime::Error::msg("the capability `log` is not granted"));
        }
        let level = match level {
            log::Level::Debug => "debug",
            log::Level::Info => "info",
            log::Level::Warn => "warn",
            log::Level::Error => "error",
        };
        self.log.write(format!("{level}: {message}\n").as_bytes());
        Ok(())
    }
}

impl config::Host for CallState {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<String>> {
        match &self.config {
            Some(config) => Ok(config.get(&key).map(ToString::to_string)),
            None => Err(wasmtime::Error::msg(
                "the capability `config` is not granted",
            )),
        }
    }
}
