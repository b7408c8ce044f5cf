//! What stands between the network and the handlers. [`gate`] asks the questions in order: is this our own
//! name (Host), is this our own page (Origin), is this our user (password). Forms carry a token on top, every
//! answer carries the [`headers`], and a process that would listen to strangers without a password does not
//! start ([`bind`]).

/// Where the studio may listen.
pub mod bind;
/// Tokens in forms.
pub mod csrf;
/// The questions that every request is asked.
pub mod gate;
/// Safety headers of every answer.
pub mod headers;
/// Names under which the studio answers.
pub mod hosts;
/// The secret that signs tokens and sessions.
pub mod keys;
/// Which page a request comes from.
pub mod origin;
/// Signing in.
pub mod session;
