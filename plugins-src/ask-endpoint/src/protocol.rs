//! What goes over the wire: OpenAI's chat completions and Anthropic's messages.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// `POST …/chat/completions`; many servers speak it.
    #[default]
    OpenAi,
    /// `POST …/messages`.
    Anthropic,
}

/// What is asked.
#[derive(Debug, Clone, Deserialize)]
pub struct Question {
    /// The user's message.
    pub prompt: String,
    /// What the model is told before it.
    #[serde(default)]
    pub system: Option<String>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reply {
    /// The text.
    pub text: String,
    /// The model, as the endpoint names it.
    pub model: String,
    /// Why it ended, in the endpoint's word.
    pub finish_reason: String,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
}

impl Protocol {
    /// From its word in the settings.
    ///
    /// # Errors
    /// One sentence.
    pub fn named(word: &str) -> Result<Self, String> {
        match word {
            "openai" => Ok(Self::OpenAi),
            "anthropic" => Ok(Self::Anthropic),
            other => Err(format!("protocol is {other:?}; it is openai or anthropic")),
        }
    }

    /// The address below the endpoint's own, which ends in a version: `https://api.openai.com/v1`.
    pub fn address(self, base: &str) -> String {
        let base = base.trim_end_matches('/');
        match self {
            Self::OpenAi => format!("{base}/chat/completions"),
            Self::Anthropic => format!("{base}/messages"),
        }
    }

    /// Headers beside the body's; the key goes where the protocol has it.
    pub fn headers(self, key: Option<&str>) -> Vec<(&'static str, String)> {
        let mut headers = vec![("content-type", "application/json".to_owned())];
        match self {
            Self::OpenAi => {
                headers.extend(key.map(|key| ("authorization", format!("Bearer {key}"))));
            }
            Self::Anthropic => {
                headers.push(("anthropic-version", "2023-06-01".to_owned()));
                headers.extend(key.map(|key| ("x-api-key", key.to_owned())));
            }
        }
        headers
    }

    /// The body of a request.
    pub fn body(self, question: &Question, model: &str, max_tokens: u64) -> Value {
        let user = json!({ "role": "user", "content": question.prompt });
        match self {
            Self::OpenAi => {
                let system = question.system.iter();
                let mut messages: Vec<Value> = system
                    .map(|text| json!({ "role": "system", "content": text }))
                    .collect();
                messages.push(user);
                json!({ "model": model, "max_tokens": max_tokens, "messages": messages })
            }
            Self::Anthropic => {
                let mut body =
                    json!({ "model": model, "max_tokens": max_tokens, "messages": [user] });
                if let Some(system) = &question.system {
                    body["system"] = json!(system);
                }
                body
            }
        }
    }

    /// Reads an answer of status 200.
    ///
    /// # Errors
    /// One sentence when it is no answer of this protocol.
    pub fn reply(self, body: &[u8]) -> Result<Reply, String> {
        let value: Value = serde_json::from_slice(body)
            .map_err(|error| format!("the endpoint answered no JSON: {error}"))?;
        let (text, finish_reason, input, output) = match self {
            Self::OpenAi => {
                let choice = &value["choices"][0];
                (
                    choice["message"]["content"].as_str().map(str::to_owned),
                    &choice["finish_reason"],
                    &value["usage"]["prompt_tokens"],
                    &value["usage"]["completion_tokens"],
                )
            }
            Self::Anthropic => {
                let blocks = value["content"].as_array();
                let text = blocks.map(|blocks| {
                    let texts = blocks.iter().filter_map(|block| block["text"].as_str());
                    texts.collect::<String>()
                });
                (
                    text,
                    &value["stop_reason"],
                    &value["usage"]["input_tokens"],
                    &value["usage"]["output_tokens"],
                )
            }
        };
        Ok(Reply {
            text: text.ok_or("the endpoint answered without a text; is `protocol` right?")?,
            model: value["model"].as_str().unwrap_or_default().to_owned(),
            finish_reason: finish_reason.as_str().unwrap_or_default().to_owned(),
            input_tokens: input.as_u64().unwrap_or_default(),
            output_tokens: output.as_u64().unwrap_or_default(),
        })
    }
}

/// What an endpoint says of a fault; both protocols have it at the same place.
pub fn fault(status: u16, body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = value["error"]["message"].as_str().map(str::to_owned);
    let message = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let message: String = message.chars().take(300).collect();
    format!("the endpoint answered with status {status}: {message}")
}

/// Whether the same request may do better a moment later.
pub fn passes(status: u16) -> bool {
    matches!(status, 408 | 409 | 425 | 429 | 500..=599)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_protocols_put_the_same_question_their_way() {
        let question = Question {
            prompt: "hi".to_owned(),
            system: Some("be short".to_owned()),
        };
        let openai = Protocol::OpenAi.body(&question, "m", 5);
        assert_eq!(
            openai["messages"][0],
            json!({ "role": "system", "content": "be short" })
        );
        assert_eq!(openai["messages"][1]["content"], "hi");
        let anthropic = Protocol::Anthropic.body(&question, "m", 5);
        assert_eq!(
            (&anthropic["system"], &anthropic["max_tokens"]),
            (&json!("be short"), &json!(5))
        );
        assert_eq!(anthropic["messages"].as_array().unwrap().len(), 1);
        assert_eq!(
            Protocol::OpenAi.address("http://127.0.0.1:8080/v1/"),
            "http://127.0.0.1:8080/v1/chat/completions"
        );
        let header = |protocol: Protocol| protocol.headers(Some("key")).pop().unwrap();
        assert_eq!(
            header(Protocol::OpenAi),
            ("authorization", "Bearer key".to_owned())
        );
        assert_eq!(header(Protocol::Anthropic), ("x-api-key", "key".to_owned()));
    }

    #[test]
    fn an_answer_of_the_other_protocol_is_told_apart() {
        let anthropic = json!({ "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] });
        let bytes = serde_json::to_vec(&anthropic).unwrap();
        assert_eq!(Protocol::Anthropic.reply(&bytes).unwrap().text, "ab");
        assert!(
            Protocol::OpenAi
                .reply(&bytes)
                .unwrap_err()
                .contains("protocol")
        );
        assert!(
            Protocol::OpenAi
                .reply(b"<html>")
                .unwrap_err()
                .contains("no JSON")
        );
    }

    #[test]
    fn what_passes_is_tried_again_and_what_does_not_is_said() {
        assert!(passes(429) && passes(503) && !passes(401) && !passes(404));
        let body = br#"{"error":{"message":"no such model"}}"#;
        assert!(fault(404, body).ends_with("status 404: no such model"));
        assert!(fault(502, b"bad gateway").ends_with("bad gateway"));
    }
}
