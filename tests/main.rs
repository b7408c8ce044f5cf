//! Tests of the whole program: pages and API in process, and (ignored) in a browser.

mod api;
mod architecture;
#[cfg(unix)]
mod commands;
mod harness;
mod pages;
mod plugins;
mod training;
