//! What the studio lends to plugins (`plugin_host::Services`): its model, the user's secrets; and the audit of that.

use std::time::Instant;

use domain::{CapabilityUse, Grants};
use plugin_host::{GenerateRequest, Generated, Prompt, Services};
use serde_json::json;
use store::Store;

use crate::api::generate::{GenerateBody, Playground};
use crate::secrets::Secrets;

/// See the module.
pub struct Lending {
    playground: Playground,
    secrets: Secrets,
    store: Store,
}

impl Lending {
    /// The model is the one of `playground`, whose turns plugins take like everyone else.
    pub fn new(playground: Playground, secrets: Secrets, store: Store) -> Self {
        Self {
            playground,
            secrets,
            store,
        }
    }
}

impl Services for Lending {
    fn generate(
        &self,
        grants: &Grants,
        request: &GenerateRequest,
        until: Instant,
    ) -> Result<Generated, String> {
        let mut body = GenerateBody {
            max_new_tokens: Some(request.max_new_tokens as usize),
            temperature: Some(request.temperature),
            seed: request.seed,
            stop: request.stop.clone(),
            ..GenerateBody::default()
        };
        match &request.prompt {
            Prompt::Text(text) => body.prompt.clone_from(text),
            Prompt::Chat(messages) => {
                body.messages = messages
                    .iter()
                    .map(|(role, content)| json!({ "role": role, "content": content }))
                    .collect();
            }
        }
        // On a thread that is no plugin's: the engine's parallel loops belong to its own threads, and a plugin's would
        // take up other plugins' calls while it waits for them.
        let written = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                self.playground.lend(
                    grants.model.as_deref(),
                    grants.adapter.as_deref(),
                    &body,
                    request.use_adapter,
                    until,
                )
            });
            writer.join()
        });
        let (model, generation) =
            written.unwrap_or_else(|_| Err("the model fell over; the log says why".to_owned()))?;
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        Ok(Generated {
            text: generation.text,
            model,
            prompt_tokens: count(generation.prompt_tokens),
            new_tokens: count(generation.new_tokens),
            finish_reason: generation.finish_reason,
        })
    }

    fn secret(&self, name: &str) -> Option<String> {
        self.secrets.value(name)
    }

    fn used(&self, plugin: &str, digest: &str, uses: &[CapabilityUse]) {
        if let Err(error) = self.store.record_uses(plugin, digest, uses) {
            tracing::error!("what plugin {plugin} used is missing in the audit: {error}");
        }
    }
}
