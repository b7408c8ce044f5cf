mod events;
mod health;
mod models;
mod plugins;
mod runs;
