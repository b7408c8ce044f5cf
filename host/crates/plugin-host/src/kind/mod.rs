//! One file per ability of a plugin: its generated bindings stay in there, plain data comes out.

pub(crate) mod analyzer;
pub(crate) mod tool;
