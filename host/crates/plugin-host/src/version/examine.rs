use domain::{PluginKind, PluginLimits, PluginManifest};
use wasmtime::component::{Component, InstancePre};

use crate::cache::Record;
use crate::call::{CallState, Terms, call};
use crate::inspect::{check_imports, inspect};
use crate::kind::analyzer::Analyzer;
use crate::kind::curator::Curator;
use crate::kind::scorer::Scorer;
use crate::kind::tool::Tool;
use crate::machine::Machine;
use crate::metadata;
use crate::runtime::Runtime;

/// Milliseconds that a call may take while a version is loaded: others wait to be loaded behind it.
pub(crate) const LOADING_MS: u64 = 10_000;

/// What a version's calls may take before it answers anybody.
pub(crate) fn while_loading(limits: PluginLimits) -> PluginLimits {
    PluginLimits {
        time_ms: limits.time_ms.min(LOADING_MS),
        ..limits
    }
}

/// Everything that is learned of a component once.
pub(super) fn examine(
    runtime: &Runtime,
    manifest: &PluginManifest,
    bytes: &[u8],
) -> Result<(Component, Record), String> {
    let shape = inspect(bytes)?;
    // Before compiling: a component that may not be used shall not cost anything either.
    check_imports(&shape.imports, manifest)?;
    let machine = runtime.machine(&manifest.limits)?;
    let component = Component::from_binary(&machine.engine, bytes)
        .map_err(|error| format!("cannot be compiled: {}", first_lines(&error)))?;
    let tool = tool(machine, &component)?;
    let kinds = &shape.kinds;
    ability(
        machine,
        &component,
        kinds,
        PluginKind::Analyzer,
        Analyzer::new,
    )?;
    ability(
        machine,
        &component,
        kinds,
        PluginKind::Curator,
        Curator::new,
    )?;
    ability(machine, &component, kinds, PluginKind::Scorer, Scorer::new)?;
    // Metadata is the same for everyone: it sees neither settings nor log.
    let terms = Terms {
        limits: while_loading(manifest.limits),
        config: None,
        may_log: false,
        lending: None,
    };
    let called = call(runtime, &terms, |store| tool.metadata(store).map(Ok));
    let (found, schemas) = called.unlent().map_err(|failure| {
        format!(
            "cannot say its metadata: {}: {}",
            failure.code, failure.message
        )
    })?;
    let metadata = metadata::check(found, schemas)?;
    Ok((component, Record::new(shape.kinds, shape.imports, metadata)))
}

pub(super) fn tool(machine: &Machine, component: &Component) -> Result<Tool, String> {
    machine
        .linker
        .instantiate_pre(component)
        .and_then(Tool::new)
        .map_err(|error| {
            format!(
                "does not fit the contract in `wit`: {}",
                first_lines(&error)
            )
        })
}

/// What a component can do beyond the tool; none when it does not export the interface.
pub(super) fn ability<A>(
    machine: &Machine,
    component: &Component,
    kinds: &[PluginKind],
    kind: PluginKind,
    new: impl Fn(InstancePre<CallState>) -> wasmtime::Result<A>,
) -> Result<Option<A>, String> {
    if !kinds.contains(&kind) {
        return Ok(None);
    }
    let ability = machine.linker.instantiate_pre(component).and_then(new);
    ability.map(Some).map_err(|error| {
        format!(
            "does not fit the contract in `wit`: {}",
            first_lines(&error)
        )
    })
}

/// The error with its causes, short enough for a page.
fn first_lines(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}").replace('\n', " ");
    crate::sanitize::text(&text).chars().take(500).collect()
}

#[cfg(test)]
mod tests {
    use domain::PluginLimits;

    use super::while_loading;

    #[test]
    fn who_is_loaded_holds_up_the_others_for_seconds_whatever_its_own_limit() {
        let of = |time_ms| {
            while_loading(PluginLimits {
                time_ms,
                ..PluginLimits::default()
            })
        };
        assert_eq!(of(600_000).time_ms, 10_000);
        assert_eq!(of(50).time_ms, 50);
        assert_eq!(of(50).fuel, PluginLimits::default().fuel);
    }
}
