use std::net::{IpAddr, ToSocketAddrs};

use crate::config::ServerConfig;

/// The addresses to listen on, or why the studio refuses to.
///
/// # Errors
/// One sentence: the name does not resolve, or it is reachable from other machines and no password is set.
pub fn address(config: &ServerConfig) -> Result<std::net::SocketAddr, String> {
    let ServerConfig { host, port, .. } = config;
    // Brackets are how people write an IPv6 address in a URL.
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let mut found = (name, *port)
        .to_socket_addrs()
        .map_err(|error| format!("HOST={host:?} is no address of this machine: {error}"))?
        .collect::<Vec<_>>();
    // `localhost` may mean ::1 first; people type 127.0.0.1.
    found.sort_by_key(|address| !address.is_ipv4());
    let address = *found
        .first()
        .ok_or_else(|| format!("HOST={host:?} is no address of this machine"))?;
    if is_loopback(address.ip()) || config.password.as_deref().is_some_and(long_enough) {
        return Ok(address);
    }
    Err(match &config.password {
        None => format!(
            "HOST={host} can be reached from other machines: set CODETUNE_PASSWORD to a password of at \
             least {MIN_PASSWORD} characters, or use HOST=127.0.0.1"
        ),
        Some(_) => format!(
            "CODETUNE_PASSWORD is too short to protect HOST={host}: it needs at least {MIN_PASSWORD} characters"
        ),
    })
}

const MIN_PASSWORD: usize = 8;

fn long_enough(password: &str) -> bool {
    password.chars().count() >= MIN_PASSWORD
}

/// Only processes of this machine can reach the address.
pub fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => {
            ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(host: &str, password: Option<&str>) -> ServerConfig {
        ServerConfig {
            host: host.to_owned(),
            port: 7860,
            password: password.map(str::to_owned),
            allowed_hosts: Vec::new(),
            space_id: None,
        }
    }

    #[test]
    fn loopback_needs_no_password() {
        for host in ["127.0.0.1", "::1", "[::1]", "127.3.2.1"] {
            assert!(address(&server(host, None)).is_ok(), "{host}");
        }
    }

    #[test]
    fn another_address_is_refused_without_a_good_password() {
        for host in ["0.0.0.0", "::", "192.0.2.7"] {
            let message = address(&server(host, None)).unwrap_err();
            assert!(message.contains("CODETUNE_PASSWORD"), "{message}");
            assert!(address(&server(host, Some("short"))).is_err());
            assert!(address(&server(host, Some("long enough"))).is_ok());
        }
    }
}
