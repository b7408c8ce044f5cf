mod curations;
mod events;
mod exports;
mod health;
mod models;
mod plugin_consent;
mod plugins;
mod runs;
