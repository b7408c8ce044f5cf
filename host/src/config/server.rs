use super::{ConfigError, Source, parsed};

/// Where the studio listens and who may enter.
#[derive(Clone)]
pub struct ServerConfig {
    /// `HOST`; 127.0.0.1, or 0.0.0.0 in a Hugging Face Space.
    pub host: String,
    /// `PORT`; 7860. 0 takes a free one.
    pub port: u16,
    /// `CODETUNE_PASSWORD`; required to listen on anything but loopback.
    pub password: Option<String>,
    /// `CODETUNE_ALLOWED_HOSTS`; names beside the bound address that may stand in a Host header, comma-separated.
    pub allowed_hosts: Vec<String>,
    /// `SPACE_ID`; set by Hugging Face in a Space.
    pub space_id: Option<String>,
}

impl ServerConfig {
    pub(super) fn read(source: Source<'_>) -> Result<Self, ConfigError> {
        let space_id = source("SPACE_ID");
        let default_host = if space_id.is_some() {
            "0.0.0.0"
        } else {
            "127.0.0.1"
        };
        Ok(Self {
            host: source("HOST").unwrap_or_else(|| default_host.to_owned()),
            port: parsed(
                source,
                "PORT",
                7860,
                "a port between 0 and 65535",
                |value| value.parse().ok(),
            )?,
            password: source("CODETUNE_PASSWORD"),
            allowed_hosts: source("CODETUNE_ALLOWED_HOSTS")
                .map(|list| list.split(',').map(|name| name.trim().to_owned()).collect())
                .unwrap_or_default(),
            space_id,
        })
    }
}

impl std::fmt::Debug for ServerConfig {
    /// Leaves the password out: settings are logged.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerConfig")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("has_password", &self.password.is_some())
            .field("allowed_hosts", &self.allowed_hosts)
            .field("space_id", &self.space_id)
            .finish()
    }
}
