//! What a component is made of, for who writes it; nothing is compiled.

use serde::Serialize;
use wasmparser::{Parser, Payload};

/// What stands in a component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Anatomy {
    /// Of the whole file.
    pub size_bytes: u64,
    /// Bodies of all functions.
    pub code_bytes: u64,
    /// Data segments: a language's runtime, tables, texts.
    pub data_bytes: u64,
    /// Custom sections: names and debug information, which no call needs.
    pub custom_bytes: u64,
    /// Core modules, also those inside of other components.
    pub modules: u32,
    /// Functions of all modules.
    pub functions: u32,
    /// What the memories have at the start, in bytes.
    pub memory_bytes: u64,
    /// Interfaces that it imports, by their full names, in their order.
    pub imports: Vec<String>,
    /// Interfaces and functions that it exports.
    pub exports: Vec<String>,
    /// The version of the contract that it was built against, as its exports or its custom section say.
    pub contract: Option<String>,
}

/// Reads a component's parts.
///
/// # Errors
/// One sentence when it is no whole component.
pub fn anatomy(component: &[u8]) -> Result<Anatomy, String> {
    let mut anatomy = Anatomy {
        size_bytes: component.len() as u64,
        code_bytes: 0,
        data_bytes: 0,
        custom_bytes: 0,
        modules: 0,
        functions: 0,
        memory_bytes: 0,
        imports: Vec::new(),
        exports: Vec::new(),
        contract: None,
    };
    if !Parser::is_component(component) {
        return Err("is no WebAssembly component: its first bytes are not those of one".to_owned());
    }
    anatomy.read(component).map_err(|error| {
        format!(
            "is no whole WebAssembly component: {} at byte {}",
            error.message(),
            error.offset()
        )
    })?;
    Ok(anatomy)
}

impl Anatomy {
    fn read(&mut self, component: &[u8]) -> Result<(), wasmparser::BinaryReaderError> {
        let mut depth = 0_u32;
        for payload in Parser::new(0).parse_all(component) {
            match payload? {
                Payload::ModuleSection { .. } => {
                    depth += 1;
                    self.modules += 1;
                }
                Payload::ComponentSection { .. } => depth += 1,
                Payload::End(_) => depth = depth.saturating_sub(1),
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section {
                        self.imports.push(import?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section {
                        self.exports.push(export?.name.name.to_owned());
                    }
                }
                Payload::CodeSectionStart { count, range, .. } => {
                    self.functions = self.functions.saturating_add(count);
                    self.code_bytes += range.len() as u64;
                }
                Payload::DataSection(section) => self.data_bytes += section.range().len() as u64,
                Payload::MemorySection(section) => {
                    for memory in section {
                        let memory = memory?;
                        let page = 1_u64 << memory.page_size_log2.unwrap_or(16);
                        self.memory_bytes = self
                            .memory_bytes
                            .saturating_add(memory.initial.saturating_mul(page));
                    }
                }
                Payload::CustomSection(section) => {
                    self.custom_bytes += section.data().len() as u64;
                    if section.name() == crate::inspect::VERSION_SECTION {
                        let text = String::from_utf8_lossy(section.data());
                        let text: String = text.chars().take(40).collect();
                        self.contract = Some(crate::sanitize::text(&text).into_owned());
                    }
                }
                _ => {}
            }
        }
        if self.contract.is_none() {
            let prefix = format!("{}/tool@", crate::inspect::PACKAGE);
            let mut names = self.exports.iter();
            self.contract = names.find_map(|name| name.strip_prefix(&prefix).map(str::to_owned));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::anatomy;

    #[test]
    fn a_shipped_plugin_is_taken_apart() {
        let component = include_bytes!("../../../../plugins/source-stats/source-stats.wasm");
        let found = anatomy(component).unwrap();
        assert_eq!(found.size_bytes, component.len() as u64);
        let contract = found.contract.unwrap();
        assert!(contract.starts_with("0.1."), "{contract}");
        assert!(found.modules >= 1 && found.functions > 10 && found.memory_bytes >= 1 << 16);
        assert!(found.code_bytes > 0 && found.code_bytes + found.data_bytes < found.size_bytes);
        let has_analyzer = |name: &String| name.starts_with("codetune:plugin/analyzer@0.1.");
        assert!(
            found.exports.iter().any(has_analyzer),
            "{:?}",
            found.exports
        );
    }

    #[test]
    fn what_is_no_component_is_refused() {
        assert!(
            anatomy(b"\0asm\x01\0\0\0")
                .unwrap_err()
                .contains("no WebAssembly component")
        );
        let half = &include_bytes!("../../../../plugins/source-stats/source-stats.wasm")[..5000];
        assert!(anatomy(half).unwrap_err().contains("at byte"));
    }
}
