use actix_web::web::{Data, Json};
use domain::FieldErrors;
use engine::tokenizer::{Tokenizer, tokenizer_folder};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::models;
use crate::error::AppError;
use crate::state::{AppState, blocking};

const MAX_TEXT_BYTES: usize = 64 << 10;

/// A text to split.
#[derive(Debug, Clone, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenizeBody {
    /// Id of a model, from `/api/v1/models`.
    pub model: String,
    /// Id of an adapter on that model, whose tokenizer counts where it brought one.
    #[serde(default)]
    pub adapter: Option<String>,
    /// At most 64 KiB.
    pub text: String,
}

/// How a model sees a text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TokensBody {
    /// In order, without the tokens that go around every text.
    pub tokens: Vec<Token>,
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Bytes of the text for each token.
    pub bytes_per_token: f64,
    /// Every text can be split without an unknown token.
    pub is_byte_level: bool,
    /// Special tokens with their ids.
    pub special: Vec<Token>,
}

/// One token.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Token {
    /// Its number.
    pub id: u32,
    /// Its text; a part of a character shows U+FFFD.
    pub text: String,
}

/// Splits a text as the chosen model, with the adapter on it, does.
///
/// # Errors
/// A text that is too long, an unknown model or adapter, a tokenizer that cannot be read.
pub async fn tokenize(state: &AppState, body: TokenizeBody) -> Result<TokensBody, AppError> {
    if body.text.len() > MAX_TEXT_BYTES {
        return Err(FieldErrors::one(
            "text",
            format!("must not be longer than {} KiB", MAX_TEXT_BYTES >> 10),
        )
        .into());
    }
    let known = models::known(state).await?;
    let folders = known.folders(&body.model, body.adapter.as_deref())?;
    blocking(move || {
        let folder = tokenizer_folder(&folders.model, folders.adapter.as_deref());
        let tokenizer = Tokenizer::load(folder)?;
        let tokens = tokenizer
            .encode(&body.text, false)?
            .into_iter()
            .map(|id| {
                Ok(Token {
                    id,
                    text: tokenizer.decode(&[id], false)?,
                })
            })
            .collect::<engine::Result<Vec<_>>>()?;
        Ok(TokensBody {
            vocab_size: tokenizer.vocab_size(),
            bytes_per_token: body.text.len() as f64 / tokens.len().max(1) as f64,
            is_byte_level: tokenizer.is_byte_level(),
            special: tokenizer
                .added_tokens()
                .into_iter()
                .filter(|(id, _)| tokenizer.is_special(*id))
                .map(|(id, text)| Token { id, text })
                .collect(),
            tokens,
        })
    })
    .await?
}

/// Splits a text into tokens.
#[utoipa::path(post, path = "/api/v1/tokenize", tag = "models", request_body = TokenizeBody,
    responses((status = 200, body = TokensBody), (status = 422, body = super::openapi::ErrorBody)))]
pub async fn create(
    state: Data<AppState>,
    body: Json<TokenizeBody>,
) -> Result<Json<TokensBody>, AppError> {
    Ok(Json(tokenize(&state, body.into_inner()).await?))
}
