//! `codetune:plugin/tool`: metadata, validate-inputs, execute; and the host's side of `log` and `config`.

use domain::PluginMetadata;
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, HasSelf, InstancePre, Linker, TypedFunc};

use crate::call::CallState;
use crate::outcome::Failure;
use crate::sanitize;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
    wasmtime::component::bindgen!({
        path: "../../../wit/0.1.2",
        world: "tool-plugin",
        imports: { default: trappable },
    });
}

use bindings::codetune::plugin::{config, log};

/// A component that exports the ability, ready to be instantiated.
pub(crate) struct Tool {
    pre: bindings::ToolPluginPre<CallState>,
    /// The two functions of a call: the generated bindings would check the types of all of them at each.
    validate_inputs: ComponentExportIndex,
    execute: ComponentExportIndex,
}

/// One instance, for inputs that live as long.
pub(crate) struct Running<'a> {
    validate_inputs: TypedFunc<(&'a str,), (Result<(), String>,)>,
    execute: TypedFunc<(&'a str,), (Result<String, String>,)>,
}

/// The export's name in the contract.
const EXPORT: &str = "codetune:plugin/tool@0.1.0";

impl Tool {
    /// # Errors
    /// When the export has another shape than the contract.
    pub(crate) fn new(pre: InstancePre<CallState>) -> wasmtime::Result<Self> {
        let component = pre.component();
        let index = |name: &str| {
            component
                .get_export_index(None, EXPORT)
                .and_then(|tool| component.get_export_index(Some(&tool), name))
                .ok_or_else(|| wasmtime::Error::msg(format!("{EXPORT} has no function {name}")))
        };
        let (validate_inputs, execute) = (index("validate-inputs")?, index("execute")?);
        Ok(Self {
            pre: bindings::ToolPluginPre::new(pre)?,
            validate_inputs,
            execute,
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

    /// Validates and executes on a fresh instance; the answer is the plugin's text, unchecked.
    pub(crate) fn execute(
        &self,
        store: &mut Store<CallState>,
        inputs: &str,
    ) -> wasmtime::Result<Result<String, Failure>> {
        self.start(store)?.execute(store, inputs)
    }

    /// Makes an instance that may be called again and again.
    pub(crate) fn start<'a>(&self, store: &mut Store<CallState>) -> wasmtime::Result<Running<'a>> {
        let instance = self.pre.instance_pre().instantiate(&mut *store)?;
        Ok(Running {
            validate_inputs: instance.get_typed_func(&mut *store, self.validate_inputs)?,
            execute: instance.get_typed_func(store, self.execute)?,
        })
    }
}

impl<'a> Running<'a> {
    /// Validates and executes; the answer is the plugin's text, unchecked.
    pub(crate) fn execute(
        &self,
        store: &mut Store<CallState>,
        inputs: &'a str,
    ) -> wasmtime::Result<Result<String, Failure>> {
        if let (Err(message),) = self.validate_inputs.call(&mut *store, (inputs,))? {
            return Ok(Err(Failure::new("invalid_input", sanitize::text(&message))));
        }
        let (answer,) = self.execute.call(store, (inputs,))?;
        Ok(answer.map_err(|message| Failure::new("plugin_error", sanitize::text(&message))))
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
