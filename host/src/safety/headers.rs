use actix_web::Error;
use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::middleware::Next;
use actix_web::web::Data;

use crate::state::AppState;

/// Nothing inline, nothing from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
    connect-src 'self'; font-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors ";

/// Puts the safety headers on every answer, also on refusals.
pub async fn add(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    // A Space shows the studio inside its own page.
    let in_space = request
        .app_data::<Data<AppState>>()
        .is_some_and(|state| state.config.server.space_id.is_some());
    let is_static = request.path().starts_with("/static/");
    let mut response = next.call(request).await?;
    let headers = response.headers_mut();
    let mut set = |name: HeaderName, value: &str| {
        headers.insert(
            name,
            HeaderValue::from_str(value).expect("our own headers are plain text"),
        );
    };
    let parents = if in_space {
        "https://huggingface.co"
    } else {
        "'none'"
    };
    set(
        header::CONTENT_SECURITY_POLICY,
        &format!("{POLICY}{parents}"),
    );
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "same-origin");
    set(header::CROSS_ORIGIN_OPENER_POLICY, "same-origin");
    set(header::CROSS_ORIGIN_RESOURCE_POLICY, "same-origin");
    set(
        header::PERMISSIONS_POLICY,
        "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    );
    if !in_space {
        set(header::X_FRAME_OPTIONS, "DENY");
    }
    if !is_static {
        set(header::CACHE_CONTROL, "no-store");
    }
    Ok(response)
}
