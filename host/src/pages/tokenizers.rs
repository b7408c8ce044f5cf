use actix_web::web::Query;
use serde::{Deserialize, Serialize};

use crate::api::models::{self, Models};
use crate::api::tokenize::{self, TokenizeBody, TokensBody};
use crate::error::HtmlResult;
use crate::safety::csrf::CheckedForm;
use crate::templates::{Page, View};

#[derive(Serialize)]
struct TokenizersPage {
    known: Models,
    /// What is chosen: a model, or `model/adapter`.
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
    view.page(&TokenizersPage {
        model: whose.into_inner().model,
        known: models::known(&view.state).await?,
    })
}

/// `POST /tokenizers`: the tokens as a fragment.
pub async fn split(view: View, form: CheckedForm) -> HtmlResult {
    let text = form.get("text").unwrap_or_default().replace("\r\n", "\n");
    let characters = text.chars().count();
    let chosen = form.get("model").unwrap_or_default();
    let (model, adapter) = chosen.split_once('/').unwrap_or((chosen, ""));
    let body = TokenizeBody {
        model: model.to_owned(),
        adapter: (!adapter.is_empty()).then(|| adapter.to_owned()),
        text,
    };
    let tokens = tokenize::tokenize(&view.state, body).await?;
    view.page(&TokensFragment { tokens, characters })
}
