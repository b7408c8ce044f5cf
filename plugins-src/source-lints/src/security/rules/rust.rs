//! Rust's.

use super::*;

#[rustfmt::skip]
pub static CALLS: &[Call] = &[
    warning(".danger_accept_invalid_certs", "no-verification", |call| call.code().trim() == "true", CERTIFICATE),
    warning(".danger_accept_invalid_hostnames", "no-verification", |call| call.code().trim() == "true", CERTIFICATE),
];
