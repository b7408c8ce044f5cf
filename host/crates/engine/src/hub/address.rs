//! Addresses: whose they are, where an answer sends on to, and how a path is written.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use super::failure::Failure;

/// What a path may hold as it is.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Scheme, host and port; `None` for what is no address.
pub(super) fn origin(url: &str) -> Option<String> {
    let url = Url::parse(url).ok().filter(Url::has_host)?;
    Some(url.origin().ascii_serialization())
}

/// The address that a `Location` names. From https it never leads to http.
pub(super) fn joined(from: &str, location: &str) -> Result<String, Failure> {
    let no = || {
        Failure::Answer(format!(
            "{from} sends on to {location:?}, which is no address"
        ))
    };
    let base = Url::parse(from).map_err(|_| no())?;
    let next = base.join(location).map_err(|_| no())?;
    match (next.scheme(), base.scheme()) {
        ("https", _) | ("http", "http") => Ok(next.into()),
        ("http", _) => Err(Failure::Answer(format!(
            "{from} sends on to {location}, which is not encrypted"
        ))),
        _ => Err(no()),
    }
}

/// A path with what an address cannot hold written as `%20`.
pub(super) fn escaped(path: &str) -> String {
    utf8_percent_encode(path, PATH).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_the_hubs_by_scheme_host_and_port() {
        let hub = origin("https://Hub.example");
        assert_eq!(origin("https://hub.example:443/a/b?c"), hub);
        for other in [
            "http://hub.example/a",
            "https://hub.example:8443/a",
            "https://hub.example.evil.example/a",
            "https://hub.example@evil.example/a",
            "https://evil.example/hub.example",
        ] {
            assert_ne!(origin(other), hub, "{other}");
        }
    }

    #[test]
    fn an_answer_sends_on_to_addresses_only_and_never_out_of_encryption() {
        let from = "https://hub.example/a/b";
        assert_eq!(joined(from, "/c?d").unwrap(), "https://hub.example/c?d");
        assert_eq!(
            joined(from, "//store.example/c").unwrap(),
            "https://store.example/c"
        );
        assert_eq!(
            joined(from, "https://store.example/c").unwrap(),
            "https://store.example/c"
        );
        assert_eq!(joined(from, "c/d").unwrap(), "https://hub.example/a/c/d");
        for bad in [
            "http://store.example/c",
            "file:///etc/passwd",
            "//",
            "ftp://x.example/",
        ] {
            assert!(joined(from, bad).is_err(), "{bad}");
        }
        assert_eq!(
            escaped("org/name/resolve/main/a b#c.json"),
            "org/name/resolve/main/a%20b%23c.json"
        );
    }
}
