//! What the host lends a plugin beyond its sandbox: its model, hosts, folders, secrets. Each only when the manifest asks
//! and the user grants; each use is counted, and what was used is told to the studio after the call.

mod address;
pub(crate) mod folders;
pub(crate) mod generate;
pub(crate) mod http;
pub(crate) mod origin;
pub(crate) mod rate;
pub(crate) mod secrets;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::{Capability, CapabilityUse, Grants, PluginLimits};

use self::origin::Origin;
use self::rate::Rate;
use self::secrets::Secrets;

/// What the studio has that plugins may be lent. It is called on the plugins' threads and may take its time, up to the
/// deadline that it is given.
pub trait Services: Send + Sync {
    /// Has the model write that the grants name, or the one that is loaded.
    ///
    /// # Errors
    /// One sentence for the plugin's user.
    fn generate(
        &self,
        grants: &Grants,
        request: &GenerateRequest,
        until: Instant,
    ) -> Result<Generated, String>;

    /// The value of a secret; none when the user has set none.
    fn secret(&self, name: &str) -> Option<String>;

    /// Hears what a call used, also when it failed.
    fn used(&self, plugin: &str, digest: &str, uses: &[CapabilityUse]);
}

/// What a model is to go on from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// This text.
    Text(String),
    /// A conversation for the model's chat template: role and content.
    Chat(Vec<(String, String)>),
}

/// A plugin's request, within its budget.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// What to go on from.
    pub prompt: Prompt,
    /// At most so many tokens.
    pub max_new_tokens: u32,
    /// 0 always takes the likeliest; finite, 0 to 10.
    pub temperature: f64,
    /// Of the choice.
    pub seed: u64,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// Whether the granted adapter takes part.
    pub use_adapter: bool,
}

/// What a model wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The text.
    pub text: String,
    /// Which model, for the audit.
    pub model: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens written.
    pub new_tokens: u32,
    /// Why it ended.
    pub finish_reason: String,
}

/// The grants of one version as calls use them.
pub(crate) struct Lending {
    pub(crate) plugin: String,
    pub(crate) digest: String,
    pub(crate) grants: Grants,
    /// The granted hosts.
    pub(crate) origins: Vec<Origin>,
    pub(crate) rate: Arc<Rate>,
    pub(crate) requests_per_minute: u32,
    pub(crate) services: Option<Arc<dyn Services>>,
}

impl std::fmt::Debug for Lending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lending")
            .field("plugin", &self.plugin)
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

impl Lending {
    pub(crate) fn allows(&self, capability: Capability) -> bool {
        self.grants.capabilities.contains(&capability)
    }
}

/// What one call has used and may still use.
pub(crate) struct Lent {
    pub(crate) lending: Arc<Lending>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) tokens_left: u32,
    /// Secrets that the plugin was given, to be taken out of what it says.
    pub(crate) secrets: Secrets,
    /// When the call's time is over.
    pub(crate) until: Instant,
    /// Granted folders by the handles of what was opened in them.
    folders: HashMap<u32, String>,
}

/// Counts, shared with what goes on in the background.
#[derive(Default)]
pub(crate) struct Ledger {
    uses: Mutex<BTreeMap<(Capability, String), CapabilityUse>>,
    /// Bytes that may still go over HTTP, and be read from folders.
    http_left: AtomicU64,
    read_left: AtomicU64,
    requests_left: AtomicU64,
}

/// Requests by HTTP of one call.
const MOST_REQUESTS: u64 = 100;
/// Characters of what something is counted under.
const LONGEST_TARGET: usize = 200;
/// Different things that are counted for one call; what comes after goes under one name.
const MOST_TARGETS: usize = 100;

impl Ledger {
    /// Counts one use.
    pub(crate) fn note(&self, capability: Capability, target: &str, bytes: u64, tokens: u64) {
        self.entry(capability, target, |used| {
            used.times += 1;
            used.bytes += bytes;
            used.tokens += tokens;
        });
    }

    /// Counts bytes of a use that was counted before.
    pub(crate) fn note_bytes(&self, capability: Capability, target: &str, bytes: u64) {
        self.entry(capability, target, |used| used.bytes += bytes);
    }

    /// Counts a refusal.
    pub(crate) fn refuse(&self, capability: Capability, target: &str) {
        self.entry(capability, target, |used| used.refused += 1);
    }

    fn entry(&self, capability: Capability, target: &str, change: impl FnOnce(&mut CapabilityUse)) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        let mut target: String = crate::sanitize::text(target)
            .chars()
            .take(LONGEST_TARGET)
            .collect();
        if uses.len() >= MOST_TARGETS && !uses.contains_key(&(capability, target.clone())) {
            target = "…".to_owned();
        }
        let entry = uses.entry((capability, target.clone()));
        change(entry.or_insert(CapabilityUse {
            capability,
            target,
            times: 0,
            refused: 0,
            bytes: 0,
            tokens: 0,
        }));
    }

    /// Takes `bytes` from what may still be read from folders; false when there is not so much.
    pub(crate) fn take_read(&self, bytes: u64) -> bool {
        take(&self.read_left, bytes)
    }

    /// The same of what may still go over HTTP.
    pub(crate) fn take_http(&self, bytes: u64) -> bool {
        take(&self.http_left, bytes)
    }

    pub(crate) fn http_left(&self) -> u64 {
        self.http_left.load(Ordering::Relaxed)
    }

    pub(crate) fn take_request(&self) -> bool {
        take(&self.requests_left, 1)
    }
}

fn take(left: &AtomicU64, count: u64) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
        left.checked_sub(count)
    })
    .is_ok()
}

impl Lent {
    pub(crate) fn new(lending: &Arc<Lending>, limits: &PluginLimits) -> Box<Self> {
        let mut lent = Box::new(Self {
            lending: Arc::clone(lending),
            ledger: Arc::default(),
            tokens_left: 0,
            secrets: Secrets::default(),
            until: Instant::now(),
            folders: HashMap::new(),
        });
        lent.rearm(limits);
        lent
    }

    /// Full budgets from now on.
    pub(crate) fn rearm(&mut self, limits: &PluginLimits) {
        self.tokens_left = self.lending.grants.tokens;
        self.until = Instant::now() + Duration::from_millis(limits.time_ms);
        let ledger = &self.ledger;
        ledger.http_left.store(limits.lent_bytes, Ordering::Relaxed);
        ledger.read_left.store(limits.lent_bytes, Ordering::Relaxed);
        ledger.requests_left.store(MOST_REQUESTS, Ordering::Relaxed);
    }

    /// A secret's value when it is granted and set.
    pub(crate) fn secret(&mut self, name: &str) -> Option<String> {
        let lending = &self.lending;
        let is_granted = lending.allows(Capability::Secrets)
            && lending.grants.secrets.iter().any(|granted| granted == name);
        if !is_granted {
            self.ledger.refuse(Capability::Secrets, name);
            return None;
        }
        let value = lending.services.as_ref()?.secret(name)?;
        self.ledger
            .note(Capability::Secrets, name, value.len() as u64, 0);
        self.secrets.add(name, &value);
        Some(value)
    }

    /// Tells the studio what was used, if anything was. The names of hosts and secrets come from the plugin, which may put
    /// a value there.
    pub(crate) fn settle(&self) {
        let uses = std::mem::take(
            &mut *self
                .ledger
                .uses
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        if uses.is_empty() {
            return;
        }
        if let Some(services) = &self.lending.services {
            let mut uses: Vec<CapabilityUse> = uses.into_values().collect();
            for used in &mut uses {
                match used.target.chars().count() < LONGEST_TARGET {
                    true => self.secrets.hide(&mut used.target),
                    false => self.secrets.hide_to_the_end(&mut used.target),
                }
            }
            services.used(&self.lending.plugin, &self.lending.digest, &uses);
        }
    }
}
