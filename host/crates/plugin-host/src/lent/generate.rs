//! `codetune:plugin/generate` and `codetune:plugin/secrets`, the host's side.

use domain::Capability;
use wasmtime::component::{HasSelf, Linker};

use super::{GenerateRequest, Prompt};
use crate::call::CallState;

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::undocumented_unsafe_blocks)]
    wasmtime::component::bindgen!({
        path: "../../../wit/0.1.2",
        world: "lent",
        imports: { default: trappable },
    });
}

use bindings::codetune::plugin::{generate, secrets};

/// Longest prompt, all messages together.
const MOST_PROMPT_BYTES: usize = 32 << 10;
/// Texts that end an answer.
const MOST_STOPS: usize = 16;

/// Links both.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    generate::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    secrets::add_to_linker::<_, HasSelf<_>>(linker, |state| state)
}

impl generate::Host for CallState {
    fn complete(
        &mut self,
        request: generate::Request,
    ) -> wasmtime::Result<Result<generate::Generation, generate::Failure>> {
        let Some(lent) = &mut self.lent else {
            return Ok(Err(generate::Failure::Denied));
        };
        let lending = &lent.lending;
        if !lending.allows(Capability::Generate) {
            lent.ledger.refuse(Capability::Generate, "model");
            return Ok(Err(generate::Failure::Denied));
        }
        let failed = |message: &str| Ok(Err(generate::Failure::Failed(message.to_owned())));
        if lent.tokens_left == 0 {
            lent.ledger.refuse(Capability::Generate, "model");
            return Ok(Err(generate::Failure::Budget));
        }
        let request = match admit(request, lent.tokens_left) {
            Ok(request) => request,
            Err(message) => return failed(&message),
        };
        let Some(services) = &lending.services else {
            return failed("no model is lent here");
        };
        let generated = match services.generate(&lending.grants, &request, lent.until) {
            Ok(generated) => generated,
            Err(message) => return failed(&message),
        };
        lent.tokens_left = lent.tokens_left.saturating_sub(generated.new_tokens);
        let prompt_bytes = match &request.prompt {
            Prompt::Text(text) => text.len(),
            Prompt::Chat(messages) => messages.iter().map(|(_, content)| content.len()).sum(),
        };
        lent.ledger.note(
            Capability::Generate,
            &generated.model,
            (prompt_bytes + generated.text.len()) as u64,
            u64::from(generated.prompt_tokens) + u64::from(generated.new_tokens),
        );
        Ok(Ok(generate::Generation {
            text: generated.text,
            prompt_tokens: generated.prompt_tokens,
            new_tokens: generated.new_tokens,
            finish_reason: generated.finish_reason,
        }))
    }

    fn tokens_left(&mut self) -> wasmtime::Result<u32> {
        Ok(match &self.lent {
            Some(lent) if lent.lending.allows(Capability::Generate) => lent.tokens_left,
            _ => 0,
        })
    }
}

/// The request within bounds.
///
/// # Errors
/// One sentence that names the field.
fn admit(request: generate::Request, tokens_left: u32) -> Result<GenerateRequest, String> {
    let prompt = match request.prompt {
        generate::Prompt::Text(text) => Prompt::Text(text),
        generate::Prompt::Chat(messages) => Prompt::Chat(
            messages
                .into_iter()
                .map(|message| (message.role, message.content))
                .collect(),
        ),
    };
    let size = match &prompt {
        Prompt::Text(text) => text.len(),
        Prompt::Chat(messages) => messages
            .iter()
            .map(|(role, content)| role.len() + content.len())
            .sum(),
    };
    if size == 0 || size > MOST_PROMPT_BYTES {
        return Err(format!(
            "the prompt has {size} bytes; it may have 1 to {MOST_PROMPT_BYTES}"
        ));
    }
    if request.max_new_tokens == 0 {
        return Err("max-new-tokens must be at least 1".to_owned());
    }
    if !(0.0..=10.0).contains(&request.temperature) {
        return Err(format!(
            "temperature is {}; it must be between 0 and 10",
            request.temperature
        ));
    }
    if request.stop.len() > MOST_STOPS
        || request
            .stop
            .iter()
            .any(|text| text.is_empty() || text.len() > 200)
    {
        return Err(format!(
            "stop must be at most {MOST_STOPS} texts of 1 to 200 bytes"
        ));
    }
    Ok(GenerateRequest {
        prompt,
        max_new_tokens: request.max_new_tokens.min(tokens_left),
        temperature: request.temperature,
        seed: request.seed,
        stop: request.stop,
        use_adapter: request.use_adapter,
    })
}

impl secrets::Host for CallState {
    fn get(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.lent.as_mut().and_then(|lent| lent.secret(&name)))
    }
}
