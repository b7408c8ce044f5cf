use std::net::{IpAddr, SocketAddr};

use actix_web::http::header::{self, HeaderMap};
use actix_web::http::uri::{Authority, Uri};

use super::bind::is_loopback;
use crate::config::ServerConfig;

/// The names under which the studio answers, each with its port.
///
/// A web page that points its own name at 127.0.0.1 (DNS rebinding) sends that name in the Host header; it is
/// not in this list, so the page cannot talk to the studio.
#[derive(Debug, Clone)]
pub struct AllowedHosts {
    names: Vec<String>,
    /// When other machines may connect, any address with this port is ours: an attacker's page has a name.
    any_address_with_port: Option<u16>,
}

impl AllowedHosts {
    /// The names for a server that listens on `bound`.
    pub fn new(config: &ServerConfig, bound: SocketAddr) -> Self {
        let port = bound.port();
        let mut names = vec![
            format!("localhost:{port}"),
            format!("127.0.0.1:{port}"),
            format!("[::1]:{port}"),
            bound.to_string(),
            format!("{}:{port}", config.host).to_ascii_lowercase(),
        ];
        for name in &config.allowed_hosts {
            let name = name.to_ascii_lowercase();
            if name.parse::<Authority>().is_ok_and(|a| a.port().is_none()) {
                names.push(format!("{name}:{port}"));
            }
            names.push(name);
        }
        if let Some(space) = &config.space_id {
            let slug = space.to_ascii_lowercase().replace(['/', '_', '.'], "-");
            names.push(format!("{slug}.hf.space"));
        }
        // Browsers leave the port out when it is the scheme's own.
        let short = names
            .iter()
            .filter_map(|name| {
                name.strip_suffix(":80")
                    .or_else(|| name.strip_suffix(":443"))
            })
            .map(str::to_owned)
            .collect::<Vec<_>>();
        names.extend(short);
        Self {
            names,
            any_address_with_port: (!is_loopback(bound.ip())).then_some(port),
        }
    }

    /// The one host that the request names, when it is ours.
    pub fn of_request<'a>(&self, headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
        let mut named = headers
            .get_all(header::HOST)
            .map(|value| value.to_str().unwrap_or_default())
            .chain(uri.authority().map(Authority::as_str));
        let first = named.next()?;
        // Two names that differ mean that somebody between us reads another one than we do.
        (named.all(|other| other.eq_ignore_ascii_case(first)) && self.allows(first))
            .then_some(first)
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        if self.names.contains(&host) {
            return true;
        }
        let Some(port) = self.any_address_with_port else {
            return false;
        };
        host.parse::<SocketAddr>()
            .is_ok_and(|address| address.port() == port)
            || (port == 80 && host.parse::<IpAddr>().is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(bound: &str, allowed: &[&str], space_id: Option<&str>) -> AllowedHosts {
        let bound: SocketAddr = bound.parse().unwrap();
        AllowedHosts::new(
            &ServerConfig {
                host: bound.ip().to_string(),
                port: bound.port(),
                password: None,
                allowed_hosts: allowed.iter().map(|name| (*name).to_owned()).collect(),
                space_id: space_id.map(str::to_owned),
            },
            bound,
        )
    }

    #[test]
    fn loopback_answers_to_its_own_names_with_the_port_only() {
        let hosts = hosts("127.0.0.1:7860", &[], None);
        for good in [
            "127.0.0.1:7860",
            "localhost:7860",
            "LOCALHOST:7860",
            "[::1]:7860",
        ] {
            assert!(hosts.allows(good), "{good}");
        }
        for bad in [
            "localhost",
            "localhost:80",
            "127.0.0.1:7861",
            "evil.example:7860",
            "localhost.evil.example:7860",
            "127.0.0.1.evil.example:7860",
            "192.0.2.1:7860",
            "",
        ] {
            assert!(!hosts.allows(bad), "{bad}");
        }
    }

    #[test]
    fn an_open_address_answers_to_addresses_but_not_to_unknown_names() {
        let hosts = hosts("0.0.0.0:7860", &["studio.lan"], Some("Me/My_Studio"));
        for good in [
            "192.0.2.1:7860",
            "studio.lan",
            "studio.lan:7860",
            "me-my-studio.hf.space",
        ] {
            assert!(hosts.allows(good), "{good}");
        }
        for bad in [
            "192.0.2.1:80",
            "evil.example:7860",
            "studio.lan.evil.example",
        ] {
            assert!(!hosts.allows(bad), "{bad}");
        }
    }

    #[test]
    fn two_different_names_in_one_request_are_refused() {
        let hosts = hosts("127.0.0.1:7860", &[], None);
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost:7860".parse().unwrap());
        let plain: Uri = "/".parse().unwrap();
        assert!(hosts.of_request(&headers, &plain).is_some());
        let absolute: Uri = "http://evil.example/".parse().unwrap();
        assert!(hosts.of_request(&headers, &absolute).is_none());
        headers.append(header::HOST, "evil.example".parse().unwrap());
        assert!(hosts.of_request(&headers, &plain).is_none());
        assert!(hosts.of_request(&HeaderMap::new(), &plain).is_none());
    }
}
