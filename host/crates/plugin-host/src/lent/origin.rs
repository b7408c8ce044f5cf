//! Hosts as manifests ask for them and users grant them: a scheme, a host, a port.

use std::fmt;
use std::net::IpAddr;

use ureq::http::Uri;

/// `*` of a manifest: the hosts that the user names.
pub(crate) const ANY: &str = "*";

/// Where requests may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    is_secure: bool,
    /// In lower case; an IPv6 address without brackets.
    host: String,
    port: u16,
}

impl Origin {
    /// Reads `https://host`, `http://host:port`, or a host alone, which means `https`.
    ///
    /// # Errors
    /// One sentence.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let fault = || {
            format!(
                "{text:?} is no host; write it as `https://api.example.com` or `http://127.0.0.1:8080`"
            )
        };
        let whole = match text.contains("://") {
            true => text.to_owned(),
            false => format!("https://{text}"),
        };
        let uri: Uri = whole.parse().map_err(|_| fault())?;
        let is_bare = matches!(uri.path(), "" | "/") && uri.query().is_none();
        let has_user = uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'));
        Self::of(&uri)
            .filter(|origin| is_bare && !has_user && !origin.host.contains('*'))
            .ok_or_else(fault)
    }

    /// Where a request goes; none when it is no `http` or `https` to a host.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let is_secure = match uri.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let host = uri.host()?;
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        if host.is_empty() {
            return None;
        }
        Some(Self {
            is_secure,
            host: host.trim_end_matches('.').to_ascii_lowercase(),
            port: uri.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The address, where the host is written as one: granting it is granting that address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = match self.is_secure {
            true => ("https", 443),
            false => ("http", 80),
        };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]", self.host)?,
            false => write!(f, "{scheme}://{}", self.host)?,
        }
        match self.port == usual {
            true => Ok(()),
            false => write!(f, ":{}", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Origin;

    #[test]
    fn hosts_are_told_apart_by_scheme_name_and_port() {
        let shown = |text: &str| Origin::parse(text).unwrap().to_string();
        assert_eq!(shown("API.example.com"), "https://api.example.com");
        assert_eq!(
            shown("https://api.example.com:443/"),
            "https://api.example.com"
        );
        assert_eq!(shown("http://127.0.0.1:8080"), "http://127.0.0.1:8080");
        assert_eq!(shown("http://[::1]:8080"), "http://[::1]:8080");
        assert_eq!(
            Origin::parse("https://example.com."),
            Origin::parse("example.com")
        );
        assert_ne!(
            Origin::parse("http://example.com"),
            Origin::parse("example.com")
        );
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "*",
            "*.example.com",
            "ftp://example.com",
            "https://example.com/v1",
            "https://example.com?x",
            "https://user@example.com",
            "two words",
        ] {
            let message = Origin::parse(text).unwrap_err();
            assert!(message.contains("is no host"), "{text}: {message}");
        }
    }
}
