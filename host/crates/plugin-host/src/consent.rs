//! What a manifest may ask for, what a user may grant of it, and whether a later component goes on with that.

use std::collections::BTreeMap;
use std::path::Path;

use domain::{Asks, Capability, Grants, PluginManifest};
use serde_json::Value;
use ureq::http::Uri;

use crate::inspect::guarded;
use crate::lent::origin::{ANY, Origin};
use crate::metadata;

/// Hosts, folders or secrets of one plugin.
const MOST: usize = 50;

/// Whether a manifest asks in a way that can be granted.
///
/// # Errors
/// One sentence that names the key.
pub(crate) fn check_asks(manifest: &PluginManifest) -> Result<(), String> {
    let Asks {
        hosts,
        folders,
        secrets,
        tokens,
    } = &manifest.asks;
    for (capability, key, is_set) in [
        (Capability::Http, "hosts", !hosts.is_empty()),
        (Capability::Folders, "folders", !folders.is_empty()),
        (Capability::Secrets, "secrets", !secrets.is_empty()),
        (Capability::Generate, "tokens", *tokens > 0),
    ] {
        let word = capability.word();
        match (manifest.capabilities.contains(&capability), is_set) {
            (true, false) => {
                return Err(format!(
                    "capabilities holds `{word}`, so asks.{key} must say which or how many"
                ));
            }
            (false, true) => {
                return Err(format!(
                    "asks.{key} is set, but capabilities does not hold `{word}`"
                ));
            }
            _ => {}
        }
    }
    for (key, count) in [
        ("hosts", hosts.len()),
        ("folders", folders.len()),
        ("secrets", secrets.len()),
    ] {
        if count > MOST {
            return Err(format!(
                "asks.{key} has {count} entries; {MOST} is the most"
            ));
        }
    }
    for host in hosts.iter().filter(|host| *host != ANY) {
        Origin::parse(host).map_err(|why| format!("asks.hosts: {why}"))?;
    }
    for folder in folders {
        metadata::check_name(folder).map_err(|why| format!("asks.folders: {folder:?} {why}"))?;
    }
    for secret in secrets {
        check_secret_name(secret).map_err(|why| format!("asks.secrets: {why}"))?;
    }
    Ok(())
}

/// A name that can be a file's and an environment variable's.
///
/// # Errors
/// One sentence.
pub fn check_secret_name(name: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    match fits {
        true => Ok(()),
        false => Err(format!(
            "{name:?} is no name of a secret; it has 1 to 64 letters, digits, `_` and `-`"
        )),
    }
}

/// Whether grants are within what the manifest asks for, and make sense on this machine.
///
/// # Errors
/// The key and one sentence.
pub(crate) fn check(
    manifest: &PluginManifest,
    grants: &Grants,
) -> Result<(), (&'static str, String)> {
    let asks = &manifest.asks;
    if let Some(more) = grants
        .capabilities
        .iter()
        .find(|wanted| !manifest.capabilities.contains(wanted))
    {
        return Err((
            "capabilities",
            format!("must be what the plugin asks for, not {}", more.word()),
        ));
    }
    let asked = origins(&asks.hosts);
    for host in &grants.hosts {
        let origin = Origin::parse(host).map_err(|why| ("hosts", why))?;
        if !asks.hosts.iter().any(|host| host == ANY) && !asked.contains(&origin) {
            return Err((
                "hosts",
                format!(
                    "must be hosts that the plugin asks for ({}), not {host}",
                    asks.hosts.join(", ")
                ),
            ));
        }
    }
    for (name, path) in &grants.folders {
        if !asks.folders.contains(name) {
            return Err((
                "folders",
                format!("has {name:?}, which the plugin does not ask for"),
            ));
        }
        if !path.is_absolute() || !path.is_dir() {
            return Err((
                "folders",
                format!(
                    "has {name} = {}, which is no folder here; give its whole path",
                    path.display()
                ),
            ));
        }
    }
    if let Some(more) = grants
        .secrets
        .iter()
        .find(|secret| !asks.secrets.contains(secret))
    {
        return Err((
            "secrets",
            format!("has {more:?}, which the plugin does not ask for"),
        ));
    }
    if grants.tokens > asks.tokens {
        return Err((
            "tokens",
            format!(
                "must be at most the {} that the plugin asks for",
                asks.tokens
            ),
        ));
    }
    if grants.adapter.is_some() && grants.model.is_none() {
        return Err(("adapter", "needs a model beside it".to_owned()));
    }
    for (key, folder) in [("model", &grants.model), ("adapter", &grants.adapter)] {
        if let Some(folder) = folder.as_deref().filter(|folder| !is_there(folder)) {
            return Err((
                key,
                format!("{} is not there; give its whole path", folder.display()),
            ));
        }
    }
    Ok(())
}

fn is_there(path: &Path) -> bool {
    path.is_absolute() && path.exists()
}

/// The hosts that can be read; a manifest's and a user's were checked when they came in.
pub(crate) fn origins(hosts: &[String]) -> Vec<Origin> {
    hosts
        .iter()
        .filter_map(|host| Origin::parse(host).ok())
        .collect()
}

/// Hosts that a plugin's settings name: of each setting with an address its title and the host. A setting is what `values`
/// say, else what its schema does.
pub(crate) fn hosts_in_settings(
    schema: &Value,
    values: &BTreeMap<String, Value>,
) -> Vec<(String, String)> {
    let properties = schema["properties"].as_object().into_iter().flatten();
    let named = properties.filter_map(|(key, property)| {
        let value = values.get(key).unwrap_or(&property["default"]);
        let uri: Uri = value.as_str()?.parse().ok()?;
        let title = property["title"].as_str().unwrap_or(key).to_owned();
        Some((title, Origin::of(&uri)?.to_string()))
    });
    let mut found: Vec<(String, String)> = Vec::new();
    for (title, host) in named {
        if found.iter().all(|(_, known)| *known != host) {
            found.push((title, host));
        }
    }
    found
}

/// What a component imports of the host, without versions.
pub(crate) fn host_imports(imports: &[String]) -> Vec<String> {
    let mut paths: Vec<String> = imports
        .iter()
        .filter(|import| guarded(import).is_some())
        .map(|import| import.split('@').next().unwrap_or(import).to_owned())
        .collect();
    paths.dedup();
    paths
}

/// What a component asks for and imports beyond the grants of another one, in words.
pub(crate) fn more(manifest: &PluginManifest, imports: &[String], grants: &Grants) -> Vec<String> {
    let asks = &manifest.asks;
    let mut more: Vec<String> = manifest
        .capabilities
        .iter()
        .filter(|capability| !grants.capabilities.contains(capability))
        .map(|capability| capability.word().to_owned())
        .collect();
    let granted = origins(&grants.hosts);
    more.extend(
        asks.hosts
            .iter()
            .filter(|host| match host.as_str() {
                ANY => granted.is_empty(),
                host => !Origin::parse(host).is_ok_and(|origin| granted.contains(&origin)),
            })
            .map(|host| match host.as_str() {
                ANY => "any host that you name".to_owned(),
                host => format!("host {host}"),
            }),
    );
    more.extend(
        asks.folders
            .iter()
            .filter(|folder| !grants.folders.contains_key(*folder))
            .map(|folder| format!("folder {folder}")),
    );
    more.extend(
        asks.secrets
            .iter()
            .filter(|secret| !grants.secrets.contains(secret))
            .map(|secret| format!("secret {secret}")),
    );
    if asks.tokens > grants.tokens {
        more.push(format!(
            "{} tokens instead of {}",
            asks.tokens, grants.tokens
        ));
    }
    more.extend(
        host_imports(imports)
            .into_iter()
            .filter(|import| !grants.imports.contains(import))
            .map(|import| format!("import {import}")),
    );
    more
}

/// Whether a component goes on with the grants of the one before it: it asks for no more, imports no more, and uses
/// nothing beyond the sandbox, unless the user said that updates may.
pub(crate) fn carries(manifest: &PluginManifest, imports: &[String], grants: &Grants) -> bool {
    let is_lent = manifest
        .capabilities
        .iter()
        .any(|capability| capability.is_lent());
    (!is_lent || grants.updates) && more(manifest, imports, grants).is_empty()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use domain::{Grants, PluginManifest};
    use serde_json::json;

    use super::{carries, check, check_asks, hosts_in_settings, more};

    fn manifest(rest: &str) -> PluginManifest {
        toml::from_str(&format!("name = \"a\"\ncomponent = \"a.wasm\"\n{rest}")).unwrap()
    }

    #[test]
    fn a_manifest_says_how_much_of_what_it_asks_for() {
        for (rest, key) in [
            ("capabilities = [\"http\"]", "asks.hosts"),
            ("capabilities = [\"generate\"]", "asks.tokens"),
            ("[asks]\nsecrets = [\"KEY\"]", "`secrets`"),
            (
                "capabilities = [\"http\"]\n[asks]\nhosts = [\"a/b\"]",
                "is no host",
            ),
            (
                "capabilities = [\"folders\"]\n[asks]\nfolders = [\"../up\"]",
                "asks.folders",
            ),
            (
                "capabilities = [\"secrets\"]\n[asks]\nsecrets = [\"a b\"]",
                "asks.secrets",
            ),
        ] {
            let message = check_asks(&manifest(rest)).unwrap_err();
            assert!(message.contains(key), "{rest}: {message}");
        }
        let good = "capabilities = [\"http\"]\n[asks]\nhosts = [\"*\", \"https://example.com\"]";
        assert_eq!(check_asks(&manifest(good)), Ok(()));
    }

    #[test]
    fn settings_name_hosts_by_what_they_are_set_to_or_by_default() {
        let schema = json!({ "properties": {
            "url": { "type": "string", "default": "http://127.0.0.1:8080/v1", "title": "Address" },
            "mirror": { "type": "string", "default": "https://example.com/a?b" },
            "same": { "type": "string", "default": "https://example.com" },
            "model": { "type": "string", "default": "default" },
            "path": { "type": "string", "default": "/v1" },
            "retries": { "type": "integer", "default": 3 },
        } });
        let pairs = |list: &[(&str, &str)]| -> Vec<(String, String)> {
            let list = list.iter();
            list.map(|(title, host)| ((*title).to_owned(), (*host).to_owned()))
                .collect()
        };
        let mut found = hosts_in_settings(&schema, &BTreeMap::new());
        found.sort();
        assert_eq!(
            found,
            pairs(&[
                ("Address", "http://127.0.0.1:8080"),
                ("mirror", "https://example.com")
            ])
        );
        let set = BTreeMap::from([("url".to_owned(), json!("https://api.example.org/v1"))]);
        let found = hosts_in_settings(&schema, &set);
        assert!(found.contains(&pairs(&[("Address", "https://api.example.org")])[0]));
    }

    #[test]
    fn a_grant_beyond_what_is_asked_for_is_refused_by_its_key() {
        let manifest = manifest(
            "capabilities = [\"http\", \"generate\"]\n[asks]\nhosts = [\"https://example.com\"]\ntokens = 10",
        );
        let of = |change: fn(&mut Grants)| {
            let mut grants = Grants::of(&manifest.capabilities, &manifest.asks);
            change(&mut grants);
            check(&manifest, &grants).err().map(|(key, _)| key)
        };
        assert_eq!(of(|_| {}), None);
        assert_eq!(
            of(|grants| grants.hosts = vec!["example.com".to_owned()]),
            None
        );
        assert_eq!(
            of(|grants| grants.hosts = vec!["http://example.com".to_owned()]),
            Some("hosts")
        );
        assert_eq!(of(|grants| grants.tokens = 11), Some("tokens"));
        assert_eq!(
            of(|grants| grants.secrets = vec!["KEY".to_owned()]),
            Some("secrets")
        );
        assert_eq!(
            of(|grants| grants.adapter = Some("/".into())),
            Some("adapter")
        );
        assert_eq!(
            of(|grants| grants.capabilities.push(domain::Capability::Folders)),
            Some("capabilities")
        );
    }

    #[test]
    fn grants_go_on_only_where_no_more_is_asked_and_the_user_said_so() {
        let asks = |hosts: &str| {
            manifest(&format!(
                "capabilities = [\"http\"]\n[asks]\nhosts = [{hosts}]"
            ))
        };
        let (one, two) = (
            asks("\"https://a.com\""),
            asks("\"https://a.com\", \"https://b.com\""),
        );
        let imports = ["wasi:http/types@0.2.3".to_owned()];
        let mut grants = Grants::of(&one.capabilities, &one.asks);
        grants.imports = vec!["wasi:http/types".to_owned()];
        assert!(!carries(&one, &imports, &grants));
        grants.updates = true;
        assert!(carries(&one, &imports, &grants));
        assert_eq!(more(&two, &imports, &grants), ["host https://b.com"]);
        let imports = ["wasi:http/types@0.2.3", "codetune:plugin/log@0.1.0"].map(str::to_owned);
        assert_eq!(
            more(&one, &imports, &grants),
            ["import codetune:plugin/log"]
        );
        assert!(!carries(&one, &imports, &grants));
    }
}
