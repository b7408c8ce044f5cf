//! Everything that a plugin may do to the host, and what the host does then.

mod built;
mod capabilities;
mod curators;
mod folder;
mod hostile;
mod packs;
mod reload;
mod shipped;
mod wat;
