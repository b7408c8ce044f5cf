use serde::de::DeserializeOwned;

/// What the user set for the plugin; the host has checked it against the config schema.
pub struct Settings {
    read: fn(&str) -> Option<String>,
}

impl Settings {
    /// Settings that `read` gives as JSON, by their names.
    pub fn new(read: fn(&str) -> Option<String>) -> Self {
        Self { read }
    }

    /// No settings.
    pub fn none() -> Self {
        Self::new(|_| None)
    }

    /// One setting, or `default` where the user set none.
    ///
    /// # Errors
    /// One sentence that names the setting.
    pub fn get<T: DeserializeOwned>(&self, name: &str, default: T) -> Result<T, String> {
        match (self.read)(name) {
            Some(value) => {
                serde_json::from_str(&value).map_err(|error| format!("config.{name}: {error}"))
            }
            None => Ok(default),
        }
    }
}
