//! Everything that a plugin may do to the host, and what the host does then.

mod built;
mod canary;
mod capabilities;
mod compute;
mod connected;
mod consent;
mod curators;
mod endpoints;
mod folder;
mod hostile;
mod mutated;
mod packs;
mod python;
mod reload;
mod server;
mod shipped;
mod wat;
