//! Requests by `wasi:http`, redirects followed by hand.

use serde_json::{Value, json};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme,
};

/// Asks, and goes where the answers point to, up to five times; each hop is its status and text, or its fault.
pub(crate) fn follow(url: &str, body: Option<&str>, secret: Option<&str>) -> Vec<Value> {
    let mut hops = Vec::new();
    let mut next = Some(url.to_owned());
    while let Some(url) = next.take().filter(|_| hops.len() < 5) {
        match ask(&url, body, secret) {
            Ok((status, location, bytes)) => {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned();
                hops.push(json!({ "status": status, "bytes": bytes.len(), "text": text }));
                next = location;
            }
            Err(fault) => hops.push(json!({ "fault": fault })),
        }
    }
    hops
}

type Answer = (u16, Option<String>, Vec<u8>);

fn ask(url: &str, body: Option<&str>, secret: Option<&str>) -> Result<Answer, String> {
    let request = request(url, body.is_some(), secret)?;
    if let Some(body) = body {
        let outgoing = request.body().map_err(|()| "no body")?;
        // The host takes it while it is written, before the request is sent.
        write(&outgoing, body.as_bytes())?;
        OutgoingBody::finish(outgoing, None).map_err(word)?;
    }
    let future = handle(request, None).map_err(word)?;
    let response = loop {
        match future.get() {
            Some(Ok(response)) => break response.map_err(word)?,
            Some(Err(())) => return Err("taken twice".to_owned()),
            None => future.subscribe().block(),
        }
    };
    read(response)
}

fn request(url: &str, posts: bool, secret: Option<&str>) -> Result<OutgoingRequest, String> {
    let (scheme, rest) = url.split_once("://").ok_or("no scheme")?;
    let (authority, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, "/"),
    };
    let headers = Fields::new();
    if let Some(secret) = secret {
        let value = format!("Bearer {secret}").into_bytes();
        headers
            .append("authorization", &value)
            .map_err(|error| format!("{error:?}"))?;
    }
    let request = OutgoingRequest::new(headers);
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    let failed = |()| format!("{url} was refused");
    request.set_scheme(Some(&scheme)).map_err(failed)?;
    request.set_authority(Some(authority)).map_err(failed)?;
    request.set_path_with_query(Some(path)).map_err(failed)?;
    if posts {
        request.set_method(&Method::Post).map_err(failed)?;
    }
    Ok(request)
}

fn write(body: &OutgoingBody, bytes: &[u8]) -> Result<(), String> {
    let stream = body.write().map_err(|()| "no stream")?;
    for chunk in bytes.chunks(4096) {
        stream
            .blocking_write_and_flush(chunk)
            .map_err(|error| format!("{error:?}"))?;
    }
    Ok(())
}

fn read(response: IncomingResponse) -> Result<Answer, String> {
    let location = response.headers().get("location").into_iter().next();
    let location = location.and_then(|value| String::from_utf8(value).ok());
    let status = response.status();
    let body = response.consume().map_err(|()| "no body")?;
    let stream = body.stream().map_err(|()| "no stream")?;
    let mut bytes = Vec::new();
    while let Ok(chunk) = stream.blocking_read(64 << 10) {
        bytes.extend_from_slice(&chunk);
    }
    Ok((status, location, bytes))
}

/// Writes a body for a request that is never sent, and says how many bytes were taken.
pub(crate) fn never_send(bytes: usize) -> Value {
    let request = OutgoingRequest::new(Fields::new());
    let body = request.body().expect("it has one");
    match write(&body, &vec![b'x'; bytes]) {
        Ok(()) => json!(bytes),
        Err(fault) => json!({ "fault": fault }),
    }
}

/// `HTTP-request-denied` and so on, short.
fn word(code: ErrorCode) -> String {
    format!("{code:?}")
}
