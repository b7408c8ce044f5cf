mod events;
mod health;
mod plugins;
mod runs;
