use actix_web::web::Query;
use serde::{Deserialize, Serialize};

use crate::api::models::{self, Model};
use crate::api::tokenize::{self, TokenizeBody, TokensBody};
use crate::error::HtmlResult;
use crate::safety::csrf::CheckedForm;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct TokenizersPage {
    models: Vec<Model>,
    model: String,
}

impl Page for TokenizersPage {
    const TEMPLATE: &'static str = "tokenizers.html";
}

#[derive(Serialize)]
struct TokensFragment {
    #[serde(flatten)]
    tokens: TokensBody,
    characters: usize,
}

impl Page for TokensFragment {
    const TEMPLATE: &'static str = "fragments/tokens.html";
}

/// Whose tokenizer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Whose {
    model: String,
}

/// `GET /tokenizers`.
pub async fn show(view: View, whose: Query<Whose>) -> HtmlResult {
    let models = models::known(&view.state).await?.models;
    view.page(&TokenizersPage {
        model: whose.into_inner().model,
        models,
    })
}

/// `POST /tokenizers`: the tokens as a fragment.
pub async fn split(view: View, form: CheckedForm) -> HtmlResult {
    let text = form.get("text").unwrap_or_default().replace("\r\n", "\n");
    let characters = text.chars().count();
    let body = TokenizeBody {
        model: form.get("model").unwrap_or_default().to_owned(),
        text,
    };
    let tokens = tokenize::tokenize(&view.state, body).await?;
    view.page(&TokensFragment { tokens, characters })
}
