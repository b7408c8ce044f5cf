//! The pages: one file per page, one struct and one template each.

pub mod adapters;
pub mod assets;
pub mod compare;
pub mod dashboard;
pub mod datasets;
pub mod docs;
pub mod login;
pub mod playground;
pub mod plugin;
pub mod plugins;
pub mod run;
pub mod run_form;
pub mod run_view;
pub mod runs;
pub mod schema_form;
pub mod settings;
pub mod tokenizers;
