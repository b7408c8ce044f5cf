//! The forms of a plugin's page: what it may use, its settings, what the user says of its suggestions.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use actix_web::HttpResponse;
use actix_web::web::Path;
use domain::{Capability, FieldError, FieldErrors, PluginInfo};
use serde::Serialize;
use store::SuggestionVerdict;

use super::{plugin, schema_form};
use crate::api::models::{self, Models};
use crate::api::plugin_consent::{self, SetGrants};
use crate::api::suggestions::{self, JudgeSuggestion};
use crate::api::{plugins, secrets};
use crate::error::{AppError, HtmlResult, see_other};
use crate::safety::csrf::CheckedForm;
use crate::state::AppState;
use crate::templates::{Page, View};

/// What is asked for, what of it is granted, and the fields to say so.
#[derive(Debug, Serialize)]
pub struct Consent {
    digest: String,
    capabilities: Vec<Choice>,
    /// Those that it asks for, and where any may be granted those that its settings name.
    hosts: Vec<Choice>,
    takes_any_host: bool,
    /// Hosts that the user named, a line each.
    other_hosts: String,
    addresses: String,
    folders: Vec<(String, String)>,
    secrets: Vec<Secret>,
    asked_tokens: u32,
    tokens: String,
    models: Vec<Choice>,
    adapters: Vec<Choice>,
    updates: bool,
    reaches_out: bool,
    /// Why the last answer cannot be taken.
    errors: Vec<FieldError>,
}

/// One box or option.
#[derive(Debug, Serialize)]
struct Choice {
    value: String,
    label: String,
    /// The setting that names it, where one does.
    setting: Option<String>,
    is_chosen: bool,
}

#[derive(Debug, Serialize)]
struct Secret {
    name: String,
    is_granted: bool,
    is_set: bool,
}

impl Consent {
    /// For the version that waits, else the one that answers; none when it asks for nothing. What nobody said anything of is
    /// ticked where it needs nothing more; what the user refused the version before stays refused.
    ///
    /// # Errors
    /// When the database or the folder of secrets fails.
    pub async fn of(state: &AppState, plugin: &PluginInfo) -> Result<Option<Self>, AppError> {
        let (digest, asked, asks) = match &plugin.pending {
            Some(pending) => (&pending.digest, &pending.capabilities, &pending.asks),
            None => (&plugin.digest, &plugin.capabilities, &plugin.asks),
        };
        if asked.is_empty() {
            return Ok(None);
        }
        let grants = &plugin.grants;
        // What the user said of the version that answers holds for what that one asked for already; what the other asks for
        // beside it is new.
        let is_new = grants.capabilities.is_empty();
        let before = &plugin.asks;
        let reaches_out = asked.iter().any(|capability| capability.is_lent());
        let known = match asked.contains(&Capability::Generate) {
            true => models::known(state).await?,
            false => Models::default(),
        };
        let set = secrets::names(state).await?;
        let box_of = |text: &str, was_asked: bool, is_granted: bool| Choice {
            value: text.to_owned(),
            label: text.to_owned(),
            setting: None,
            is_chosen: is_new || is_granted || !was_asked,
        };
        let took_any_host = before.hosts.iter().any(|host| host == "*");
        let takes_any_host = asks.hosts.iter().any(|host| host == "*");
        let listed = asks.hosts.iter().filter(|host| *host != "*");
        let mut hosts: Vec<Choice> = listed
            .map(|host| {
                box_of(
                    host,
                    before.hosts.contains(host),
                    grants.hosts.contains(host),
                )
            })
            .collect();
        if takes_any_host {
            let (name, digest) = (plugin.name.clone(), digest.clone());
            let named = state
                .plugins(move |host| host.hosts_in_settings(&name, &digest))
                .await?;
            for (setting, host) in named {
                if hosts.iter().all(|other| other.value != host) {
                    hosts.push(Choice {
                        setting: Some(setting),
                        ..box_of(&host, took_any_host, grants.hosts.contains(&host))
                    });
                }
            }
        }
        let is_listed = |host: &&String| hosts.iter().any(|choice| choice.value == **host);
        let others = grants.hosts.iter().filter(|host| !is_listed(host));
        let other_hosts = others.cloned().collect::<Vec<_>>().join("\n");
        Ok(Some(Self {
            digest: digest.clone(),
            capabilities: asked
                .iter()
                .map(|capability| Choice {
                    label: meaning(*capability).to_owned(),
                    ..box_of(
                        capability.word(),
                        plugin.capabilities.contains(capability),
                        grants.capabilities.contains(capability),
                    )
                })
                .collect(),
            hosts,
            takes_any_host,
            other_hosts,
            addresses: grants
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            folders: asks
                .folders
                .iter()
                .map(|name| {
                    let path = grants.folders.get(name);
                    let path = path.map(|path| path.display().to_string());
                    (name.clone(), path.unwrap_or_default())
                })
                .collect(),
            secrets: asks
                .secrets
                .iter()
                .map(|name| Secret {
                    is_granted: is_new
                        || grants.secrets.contains(name)
                        || !before.secrets.contains(name),
                    is_set: set.contains(name),
                    name: name.clone(),
                })
                .collect(),
            asked_tokens: asks.tokens,
            tokens: match is_new || before.tokens == 0 {
                true => asks.tokens,
                false => grants.tokens.min(asks.tokens),
            }
            .to_string(),
            models: known
                .models
                .iter()
                .map(|model| Choice {
                    value: model.id.clone(),
                    label: model.name.clone(),
                    setting: None,
                    is_chosen: is_same(&grants.model, &model.path),
                })
                .collect(),
            adapters: known
                .adapters
                .iter()
                .map(|adapter| Choice {
                    value: adapter.id.clone(),
                    label: adapter.name.clone(),
                    setting: None,
                    is_chosen: is_same(&grants.adapter, &adapter.path),
                })
                .collect(),
            updates: grants.updates,
            reaches_out,
            errors: Vec::new(),
        }))
    }

    /// As the form says, which was refused; the value of a secret is never shown again.
    pub(super) fn refuse(&mut self, form: &CheckedForm, errors: FieldErrors) {
        let has = |field: &str, value: &str| {
            let pair = |(name, text): &(String, String)| name == field && text == value;
            form.0.iter().any(pair)
        };
        let text = |name: &str| form.get(name).unwrap_or_default().to_owned();
        for (field, choices) in [
            ("capability", &mut self.capabilities),
            ("host", &mut self.hosts),
            ("model", &mut self.models),
            ("adapter", &mut self.adapters),
        ] {
            for choice in choices {
                choice.is_chosen = has(field, &choice.value);
            }
        }
        for secret in &mut self.secrets {
            secret.is_granted = has("secret", &secret.name);
        }
        for (name, path) in &mut self.folders {
            *path = text(&format!("folder.{name}"));
        }
        self.other_hosts = text("hosts");
        self.addresses = text("addresses");
        self.tokens = text("tokens");
        self.updates = form.get("updates").is_some();
        self.errors = errors.0;
    }
}

/// What a capability lets a plugin do.
fn meaning(capability: Capability) -> &'static str {
    match capability {
        Capability::Log => "Write lines that are shown with a result",
        Capability::Config => "Read its settings",
        Capability::Generate => "Have a model of this studio write text",
        Capability::Http => "Send requests to other machines",
        Capability::Folders => "Read folders that you name",
        Capability::Secrets => "Use secrets such as keys",
    }
}

fn is_same(granted: &Option<PathBuf>, path: &std::path::Path) -> bool {
    let path = std::path::absolute(path).ok();
    granted.is_some() && *granted == path
}

/// `POST /plugins/{name}/grant`: what was ticked, for the version that was shown; what cannot be is said on the form.
pub async fn grant(
    view: View,
    name: Path<String>,
    form: CheckedForm,
) -> Result<HttpResponse, AppError> {
    match consent(&view, &name, &form).await {
        Ok(()) => Ok(see_other(format!("/plugins/{name}"))),
        Err(AppError::Invalid(errors)) => plugin::show_refused(&view, &name, &form, errors).await,
        Err(other) => Err(other),
    }
}

async fn consent(view: &View, name: &str, form: &CheckedForm) -> Result<(), AppError> {
    let grants = read(form)?;
    for (field, value) in &form.0 {
        if let Some(secret) = field.strip_prefix("value.")
            && !value.is_empty()
        {
            secrets::keep(&view.state, secret, value.clone()).await?;
        }
    }
    plugin_consent::consent(&view.state, name, grants).await?;
    Ok(())
}

/// The form's fields.
fn read(form: &CheckedForm) -> Result<SetGrants, AppError> {
    let all = |name: &'static str| {
        form.0
            .iter()
            .filter(move |(field, _)| field == name)
            .map(|(_, value)| value.clone())
    };
    let words = |name: &str| -> Vec<String> {
        let text = form.get(name).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    };
    let capabilities = all("capability")
        .map(|word| {
            Capability::ALL
                .into_iter()
                .find(|capability| capability.word() == word)
                .ok_or_else(|| FieldErrors::one("capability", format!("cannot be {word:?}")).into())
        })
        .collect::<Result<Vec<_>, AppError>>()?;
    let addresses = words("addresses")
        .iter()
        .map(|text| {
            text.parse::<IpAddr>().map_err(|_| {
                FieldErrors::one("addresses", format!("must be IP addresses, not {text:?}")).into()
            })
        })
        .collect::<Result<Vec<_>, AppError>>()?;
    let tokens = match form.get("tokens").unwrap_or_default().trim() {
        "" => 0,
        text => text.parse().map_err(|_| {
            AppError::from(FieldErrors::one(
                "tokens",
                format!("must be a whole number, not {text:?}"),
            ))
        })?,
    };
    let folders: BTreeMap<String, PathBuf> = form
        .0
        .iter()
        .filter(|(_, value)| !value.trim().is_empty())
        .filter_map(|(field, value)| {
            let name = field.strip_prefix("folder.")?;
            Some((name.to_owned(), PathBuf::from(value.trim())))
        })
        .collect();
    Ok(SetGrants {
        digest: form.get("digest").unwrap_or_default().to_owned(),
        capabilities,
        hosts: all("host").chain(words("hosts")).collect(),
        addresses,
        folders,
        secrets: all("secret").collect(),
        tokens,
        model: form.get("model").map(str::to_owned),
        adapter: form.get("adapter").map(str::to_owned),
        updates: form.get("updates").is_some(),
    })
}

/// `POST /plugins/{name}/config`: the settings, or none of the user's any more; what cannot be is said on the form.
pub async fn configure(
    view: View,
    name: Path<String>,
    form: CheckedForm,
) -> Result<HttpResponse, AppError> {
    match settings(&view, &name, &form).await {
        Ok(()) => Ok(see_other(format!("/plugins/{name}"))),
        Err(AppError::Invalid(errors)) => {
            plugin::show_settings_refused(&view, &name, &form, errors).await
        }
        Err(other) => Err(other),
    }
}

async fn settings(view: &View, name: &str, form: &CheckedForm) -> Result<(), AppError> {
    let plugin = plugins::find(&view.state, name).await?;
    let schema = plugin
        .metadata
        .map(|metadata| metadata.config_schema)
        .unwrap_or_default();
    let config = match form.get("reset") {
        Some(_) => BTreeMap::new(),
        None => match schema_form::read(&schema, form)? {
            serde_json::Value::Object(values) => values.into_iter().collect(),
            _ => {
                let message = "must be a JSON object".to_owned();
                return Err(FieldErrors::one("config", message).into());
            }
        },
    };
    plugin_consent::configure(&view.state, name, config).await?;
    Ok(())
}

#[derive(Serialize)]
struct Judged {
    verdict: SuggestionVerdict,
}

impl Page for Judged {
    const TEMPLATE: &'static str = "fragments/judged.html";
}

/// `POST /plugins/{name}/suggestions`: a word in place of the buttons.
pub async fn judge(view: View, name: Path<String>, form: CheckedForm) -> HtmlResult {
    let field = |name: &'static str| form.get(name).unwrap_or_default();
    let wrong =
        |name: &str| AppError::from(FieldErrors::one(name, "is missing or wrong".to_owned()));
    let execution = field("execution").parse().map_err(|_| wrong("execution"))?;
    let verdict = match field("verdict") {
        "accepted" => SuggestionVerdict::Accepted,
        "rejected" => SuggestionVerdict::Rejected,
        _ => return Err(wrong("verdict")),
    };
    let judged = JudgeSuggestion {
        pointer: field("pointer").to_owned(),
        verdict,
    };
    let kept = suggestions::judge(&view.state, &name, execution, judged).await?;
    view.page(&Judged {
        verdict: kept.verdict,
    })
}
