use actix_web::http::Method;
use actix_web::http::header::{self, HeaderMap};

/// Whether a request that may change something comes from our own pages or from no page at all.
///
/// Browsers say where a request comes from and pages cannot forge it. A request without either header comes
/// from a program (curl, the command line), which no web page can steer.
pub fn is_own(method: &Method, headers: &HeaderMap, host: &str) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return true;
    }
    if let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
    {
        return false;
    }
    match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => origin.to_str().is_ok_and(|origin| {
            // Exact: a prefix or a suffix would let `http://localhost:7860.evil.example` in.
            ["http://", "https://"].iter().any(|scheme| {
                origin
                    .strip_prefix(scheme)
                    .is_some_and(|rest| rest.eq_ignore_ascii_case(host))
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    header::HeaderName::from_static(name),
                    header::HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn a_foreign_page_may_read_nothing_new_but_change_nothing() {
        for (pairs, own) in [
            (&[][..], true),
            (&[("origin", "http://localhost:7860")], true),
            (
                &[
                    ("origin", "http://localhost:7860"),
                    ("sec-fetch-site", "same-origin"),
                ],
                true,
            ),
            (&[("origin", "http://localhost:7861")], false),
            (&[("origin", "http://evil.example")], false),
            (&[("origin", "http://localhost:7860.evil.example")], false),
            (&[("origin", "null")], false),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (
                &[
                    ("origin", "http://localhost:7860"),
                    ("sec-fetch-site", "cross-site"),
                ],
                false,
            ),
        ] {
            for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
                assert_eq!(
                    is_own(&method, &headers(pairs), "localhost:7860"),
                    own,
                    "{method} {pairs:?}"
                );
            }
            assert!(is_own(&Method::GET, &headers(pairs), "localhost:7860"));
        }
    }
}
