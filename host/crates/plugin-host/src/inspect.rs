//! A look at a component before anything compiles it: is it one, what does it import and export, is it of a sane size.

use domain::{Capability, PluginKind, PluginManifest};
use wasmparser::{FunctionBody, Operator, Parser, Payload};
use wasmtime::Engine;

use crate::outcome::bytes;
use crate::wasi;

/// Largest component file. Python's interpreter takes 18 MB.
pub(crate) const MAX_COMPONENT: u64 = 64 << 20;
/// Functions of all modules together.
const MAX_FUNCTIONS: u32 = 200_000;
/// One function's code; compile time grows faster than it.
const MAX_FUNCTION: usize = 1 << 20;
/// Blocks in blocks; compile time grows with the square of it (100,000 take 20 s). A `switch` of n cases takes n.
const MAX_NESTING: u32 = 10_000;
/// The contract that this host knows.
pub(crate) const PACKAGE: &str = "codetune:plugin";
/// The newest version of it; every one before it of 0.1 loads too.
const VERSION: &str = "0.1.2";
/// Where a component may say which version it was built against.
pub(crate) const VERSION_SECTION: &str = "codetune:plugin-version";

/// What a component shows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Abilities that it exports.
    pub(crate) kinds: Vec<PluginKind>,
    /// Interfaces that it imports, by their full names, sorted.
    pub(crate) imports: Vec<String>,
}

/// Reads a component's outside.
///
/// # Errors
/// One sentence that says what is wrong and what to do.
pub(crate) fn inspect(component: &[u8]) -> Result<Shape, String> {
    if component.len() as u64 > MAX_COMPONENT {
        return Err(too_large(component.len() as u64));
    }
    if Engine::detect_precompiled(component).is_some() {
        return Err(
            "is compiled machine code, which the studio never takes from a file; \
                    give it the WebAssembly component"
                .to_owned(),
        );
    }
    if Parser::is_core_wasm(component) {
        return Err("is a core WebAssembly module, not a component; \
                    build it with `cargo component build` or for wasm32-wasip2"
            .to_owned());
    }
    if !Parser::is_component(component) {
        return Err("is no WebAssembly component: its first bytes are not those of one".to_owned());
    }
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0_u32;
    let mut functions = 0_u32;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|error| {
            format!(
                "is no whole WebAssembly component: {} at byte {}",
                error.message(),
                error.offset()
            )
        })?;
        let broken = |error: wasmparser::BinaryReaderError| {
            format!(
                "is no whole WebAssembly component: {} at byte {}",
                error.message(),
                error.offset()
            )
        };
        match payload {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    imports.push(import.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    exports.push(export.map_err(broken)?.name.name.to_owned());
                }
            }
            Payload::CodeSectionStart { count, .. } => {
                functions = functions.saturating_add(count);
                if functions > MAX_FUNCTIONS {
                    return Err(format!("has more than {MAX_FUNCTIONS} functions"));
                }
            }
            Payload::CodeSectionEntry(body) if body.range().len() > MAX_FUNCTION => {
                return Err(format!(
                    "has a function of {}; the largest may have {}",
                    bytes(body.range().len() as u64),
                    bytes(MAX_FUNCTION as u64)
                ));
            }
            Payload::CustomSection(section) if section.name() == VERSION_SECTION => {
                check_version(section.data())?;
            }
            Payload::CodeSectionEntry(body) => check_nesting(&body).map_err(broken)??,
            _ => {}
        }
    }
    imports.sort();
    imports.dedup();
    let kinds: Vec<PluginKind> = [
        (PluginKind::Tool, "tool"),
        (PluginKind::Analyzer, "analyzer"),
        (PluginKind::Curator, "curator"),
        (PluginKind::Scorer, "scorer"),
    ]
    .into_iter()
    .filter(|(_, interface)| exports.iter().any(|export| is(export, PACKAGE, interface)))
    .map(|(kind, _)| kind)
    .collect();
    if !kinds.contains(&PluginKind::Tool) {
        let prefix = format!("{PACKAGE}/tool@");
        if let Some(version) = exports.iter().find_map(|name| name.strip_prefix(&prefix)) {
            check_version(version.as_bytes())?;
        }
        return Err(format!(
            "does not export `{PACKAGE}/tool@{VERSION}`; build it against the studio's `wit` folder"
        ));
    }
    Ok(Shape { kinds, imports })
}

/// Whether this host knows the version of the contract that a component was built against.
///
/// # Errors
/// One sentence that names both.
fn check_version(version: &[u8]) -> Result<(), String> {
    let version: String = String::from_utf8_lossy(version).chars().take(40).collect();
    let number = |text: &str| text.strip_prefix("0.1.")?.parse::<u32>().ok();
    match number(&version) {
        Some(patch) if Some(patch) <= number(VERSION) => Ok(()),
        _ => Err(format!(
            "was built against {PACKAGE}@{}; this studio knows 0.1.0 to {VERSION}: \
             update the studio, or build the plugin against an older folder of `wit`",
            version.escape_default()
        )),
    }
}

/// Walks a function's blocks; the outer error is a broken file, the inner one too deep a nesting.
fn check_nesting(
    body: &FunctionBody<'_>,
) -> Result<Result<(), String>, wasmparser::BinaryReaderError> {
    let mut depth = 0_u32;
    let mut operators = body.get_operators_reader()?;
    while !operators.eof() {
        match operators.read()? {
            Operator::Block { .. }
            | Operator::Loop { .. }
            | Operator::If { .. }
            | Operator::TryTable { .. } => {
                depth += 1;
                if depth > MAX_NESTING {
                    let fault = format!("nests more than {MAX_NESTING} blocks in one function");
                    return Ok(Err(fault));
                }
            }
            Operator::End => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(Ok(()))
}

/// Whether everything that is imported exists here and was asked for.
///
/// # Errors
/// Names every import that is refused.
pub(crate) fn check_imports(imports: &[String], manifest: &PluginManifest) -> Result<(), String> {
    let mut unknown = Vec::new();
    let mut unasked = Vec::new();
    for import in imports {
        match guarded(import) {
            Some(capability) if manifest.capabilities.contains(&capability) => {}
            Some(capability) => unasked.push((import, capability)),
            None if is_wasi(import) => {}
            None => unknown.push(format!("`{import}`")),
        }
    }
    if !unknown.is_empty() {
        return Err(format!(
            "imports {}, which no plugin gets here",
            unknown.join(", ")
        ));
    }
    match unasked.first() {
        Some((import, capability)) => Err(format!(
            "imports `{import}` without asking; add `{}` to `capabilities` in its plugin.toml",
            capability.word()
        )),
        None => Ok(()),
    }
}

pub(crate) fn too_large(size: u64) -> String {
    format!(
        "has {}; a component may have {}",
        bytes(size),
        bytes(MAX_COMPONENT)
    )
}

/// What an import needs, if the user has a word in it.
pub(crate) fn guarded(import: &str) -> Option<Capability> {
    if import.starts_with("wasi:http/") && is_wasi(import) {
        return Some(Capability::Http);
    }
    [
        (Capability::Log, "log"),
        (Capability::Config, "config"),
        (Capability::Generate, "generate"),
        (Capability::Secrets, "secrets"),
    ]
    .into_iter()
    .find(|(_, interface)| is(import, PACKAGE, interface))
    .map(|(capability, _)| capability)
}

/// `codetune:plugin/tool@0.1.3` is `codetune:plugin/tool` of version 0.1.
fn is(name: &str, package: &str, interface: &str) -> bool {
    let Some((path, version)) = name.split_once('@') else {
        return false;
    };
    path.strip_prefix(package)
        .and_then(|rest| rest.strip_prefix('/'))
        == Some(interface)
        && version.starts_with("0.1.")
}

fn is_wasi(import: &str) -> bool {
    import
        .split_once('@')
        .is_some_and(|(path, version)| wasi::ALLOWED.contains(&path) && version.starts_with("0.2."))
}

#[cfg(test)]
mod tests {
    use domain::{Capability, PluginLimits, PluginManifest};

    use super::{check_imports, check_version, inspect};

    fn manifest(capabilities: &[Capability]) -> PluginManifest {
        PluginManifest {
            name: "a".to_owned(),
            component: "a.wasm".to_owned(),
            capabilities: capabilities.to_vec(),
            limits: PluginLimits::default(),
            config: Default::default(),
            asks: Default::default(),
        }
    }

    fn refusal(import: &str, capabilities: &[Capability]) -> Option<String> {
        check_imports(&[import.to_owned()], &manifest(capabilities)).err()
    }

    #[test]
    fn what_is_no_component_is_told_apart() {
        assert!(
            inspect(b"hello")
                .unwrap_err()
                .contains("is no WebAssembly component")
        );
        assert!(
            inspect(b"")
                .unwrap_err()
                .contains("is no WebAssembly component")
        );
        assert!(
            inspect(b"\0asm\x01\0\0\0")
                .unwrap_err()
                .contains("core WebAssembly module")
        );
        assert!(
            inspect(b"\0asm\x0d\0\x01\0")
                .unwrap_err()
                .contains("does not export")
        );
        assert!(
            inspect(b"\0asm\x0d\0\x01\0\x07\xff\xff")
                .unwrap_err()
                .contains("no whole")
        );
    }

    #[test]
    fn a_newer_contract_is_told_apart_before_anything_is_compiled() {
        for version in ["0.1.0", "0.1.1", "0.1.2"] {
            assert_eq!(check_version(version.as_bytes()), Ok(()));
        }
        for version in ["0.1.3", "0.2.0", "1.0.0", "", "0.1.x", "\u{1b}[31m"] {
            let message = check_version(version.as_bytes()).unwrap_err();
            assert!(message.contains("0.1.0 to 0.1.2"), "{message}");
            assert!(!message.contains('\u{1b}'));
        }
    }

    #[test]
    fn imports_are_refused_by_name() {
        assert_eq!(refusal("wasi:io/streams@0.2.3", &[]), None);
        assert_eq!(
            refusal("codetune:plugin/log@0.1.0", &[Capability::Log]),
            None
        );
        for import in [
            "wasi:sockets/tcp@0.2.3",
            "wasi:http/incoming-handler@0.2.0",
            "wasi:http/outgoing-handler@0.3.0",
            "env",
            "codetune:plugin/network@0.1.0",
        ] {
            assert!(refusal(import, &[]).unwrap().contains(import));
        }
        for (import, word) in [
            ("codetune:plugin/config@0.1.0", "config"),
            ("codetune:plugin/generate@0.1.2", "generate"),
            ("codetune:plugin/secrets@0.1.2", "secrets"),
            ("wasi:http/outgoing-handler@0.2.0", "http"),
            ("wasi:http/types@0.2.12", "http"),
        ] {
            let message = refusal(import, &[Capability::Log]).unwrap();
            assert!(message.contains(&format!("add `{word}`")), "{message}");
        }
    }
}
