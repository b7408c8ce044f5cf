mod curations;
mod events;
mod exports;
mod health;
mod models;
mod plugins;
mod runs;
