use std::collections::HashMap;
use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::web::{Bytes, Path};
use actix_web::{HttpRequest, HttpResponse};
use rust_embed::RustEmbed;

use crate::error::AppError;
use crate::safety::keys::hex;

#[derive(RustEmbed)]
#[folder = "../web/static"]
struct Files;

struct Asset {
    bytes: Bytes,
    tag: String,
    content_type: &'static str,
}

/// Only what is in this map can be asked for: there is no path to walk out of.
static ASSETS: LazyLock<HashMap<String, Asset>> = LazyLock::new(|| {
    Files::iter()
        .filter_map(|name| {
            let file = Files::get(&name)?;
            let asset = Asset {
                tag: hex(&file.metadata.sha256_hash())[..16].to_owned(),
                content_type: content_type(&name),
                bytes: Bytes::from(file.data.into_owned()),
            };
            Some((name.into_owned(), asset))
        })
        .collect()
});

/// The address of a file with its digest, so that browsers may keep it for good.
pub fn url(path: &str) -> String {
    match ASSETS.get(path) {
        Some(asset) => format!("/static/{path}?v={}", asset.tag),
        None => format!("/static/{path}"),
    }
}

/// `GET /static/{path}`.
pub async fn file(request: HttpRequest, path: Path<String>) -> Result<HttpResponse, AppError> {
    let asset = ASSETS
        .get(path.as_str())
        .ok_or_else(|| AppError::not_found(format!("There is no file {path}.")))?;
    let tag = format!("\"{}\"", asset.tag);
    let known = request.headers().get(header::IF_NONE_MATCH);
    if known.is_some_and(|value| value.as_bytes() == tag.as_bytes()) {
        return Ok(HttpResponse::NotModified().finish());
    }
    let keep = if request.query_string().contains(&asset.tag) {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    Ok(HttpResponse::Ok()
        .insert_header((header::ETAG, tag))
        .insert_header((header::CACHE_CONTROL, keep))
        .content_type(asset.content_type)
        .body(asset.bytes.clone()))
}

/// `GET /favicon.ico`, which browsers ask for unasked.
pub async fn favicon(request: HttpRequest) -> Result<HttpResponse, AppError> {
    file(request, Path::from("icon.svg".to_owned())).await
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        _ => "text/plain; charset=utf-8",
    }
}
