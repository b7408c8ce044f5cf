//! What stands between the network and the handlers. [`gate`] asks the questions in order: is this our own
//! name (Host), is this our own page (Origin), is this our user (password). Forms carry a token on top, every
//! answer carries the [`headers`], and a process that would listen to strangers without a password does not
//! start ([`bind`]).

pub mod bind;
pub mod csrf;
pub mod gate;
pub mod headers;
pub mod hosts;
pub mod keys;
pub mod origin;
pub mod session;
