//! Pages: a struct, a template of the same name, and what every page shares.

mod filters;

use actix_web::http::header::ContentType;
use actix_web::web::{Data, Html};
use actix_web::{FromRequest, HttpMessage, HttpRequest, HttpResponse, dev::Payload};
use anyhow::Context as _;
use rust_embed::RustEmbed;
use serde::Serialize;
use tera::{Context, Tera};

use crate::error::{AppError, HtmlResult};
use crate::safety::csrf::Token;
use crate::state::AppState;

#[derive(RustEmbed)]
#[folder = "../web/templates"]
struct Files;

/// A page or a fragment: what it shows is the struct, how it looks is the template.
pub trait Page: Serialize {
    /// Name of the template below `web/templates`.
    const TEMPLATE: &'static str;
}

/// The parsed templates.
#[derive(Clone)]
pub struct Templates(std::sync::Arc<Tera>);

impl Templates {
    /// Parses every template that is built into the program.
    ///
    /// # Errors
    /// Names the template and the line of a fault.
    pub fn load() -> anyhow::Result<Self> {
        let mut tera = Tera::new();
        filters::register(&mut tera);
        let files = Files::iter()
            .map(|name| {
                let file = Files::get(&name).context("an embedded file exists")?;
                let text = String::from_utf8(file.data.into_owned())
                    .with_context(|| format!("web/templates/{name} is not UTF-8"))?;
                Ok((name.into_owned(), text))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        tera.add_raw_templates(files)
            .map_err(|error| anyhow::anyhow!("web/templates: {error}"))?;
        Ok(Self(tera.into()))
    }

    /// Fills in a page.
    ///
    /// # Errors
    /// When template and struct do not fit; a fault of ours.
    pub fn render<P: Page>(&self, layout: &Layout, page: &P) -> Result<String, AppError> {
        let fill = || {
            let mut context = Context::from_serialize(page)?;
            context.insert("layout", layout);
            self.0.render(P::TEMPLATE, &context)
        };
        fill().map_err(|error| {
            AppError::Internal(anyhow::anyhow!("web/templates/{}: {error}", P::TEMPLATE))
        })
    }

    /// The names of all templates.
    pub fn names(&self) -> Vec<&str> {
        self.0.get_template_names().collect()
    }
}

/// What every page shows around its own content.
#[derive(Debug, Clone, Serialize)]
pub struct Layout {
    /// The entry of the navigation that the page belongs to: `runs`.
    pub section: String,
    /// The value of every form's hidden field `csrf`.
    pub csrf: String,
    /// Why the studio works on its fallback database, when it does.
    pub fallback: Option<String>,
    /// A password is set, so there is something to sign out of.
    pub can_sign_out: bool,
    /// The program's version.
    pub version: &'static str,
}

impl Layout {
    /// For one request.
    pub fn of(request: &HttpRequest, state: &AppState) -> Self {
        let first = request.path().split('/').nth(1).unwrap_or_default();
        Self {
            section: match first {
                "compare" => "runs",
                "exports" => "adapters",
                other => other,
            }
            .to_owned(),
            csrf: request
                .extensions()
                .get::<Token>()
                .map(|token| token.value.clone())
                .unwrap_or_default(),
            fallback: state
                .store
                .fallback()
                .map(|fallback| fallback.reason.clone()),
            can_sign_out: state.config.server.password.is_some(),
            version: env!("CARGO_PKG_VERSION"),
        }
    }
}

/// What a page's handler needs: the state, and the way to a page.
pub struct View {
    /// The application.
    pub state: Data<AppState>,
    layout: Layout,
}

impl View {
    /// Renders a page or a fragment.
    ///
    /// # Errors
    /// When template and struct do not fit.
    pub fn page<P: Page>(&self, page: &P) -> HtmlResult {
        self.state
            .templates
            .render(&self.layout, page)
            .map(Html::new)
    }

    /// A page whose form cannot be taken as it is: it says why, and keeps what was filled in.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub fn refused<P: Page>(&self, page: &P) -> Result<HttpResponse, AppError> {
        let text = self.state.templates.render(&self.layout, page)?;
        Ok(HttpResponse::UnprocessableEntity()
            .content_type(ContentType::html())
            .body(text))
    }
}

impl FromRequest for View {
    type Error = AppError;
    type Future = std::future::Ready<Result<Self, AppError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let state = request
            .app_data::<Data<AppState>>()
            .expect("the state is part of every app")
            .clone();
        std::future::ready(Ok(Self {
            layout: Layout::of(request, &state),
            state,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::Templates;

    #[test]
    fn every_template_parses() {
        let templates = Templates::load().unwrap();
        assert!(templates.names().contains(&"base.html"));
    }
}
