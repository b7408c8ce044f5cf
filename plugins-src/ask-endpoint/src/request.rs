//! One request by `wasi:http`.

use std::time::Duration;

use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, RequestOptions,
    Scheme,
};

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// `retry-after`, where it is a number of seconds.
    pub(crate) retry_after: Option<Duration>,
    pub(crate) body: Vec<u8>,
}

/// Why nothing came back.
pub(crate) enum Fault {
    /// The user has not granted this host, or not its address: trying again is no use.
    Denied(String),
    /// The network, or the endpoint's silence.
    Network(String),
}

/// Posts a body and reads the answer.
pub(crate) fn post(
    url: &str,
    headers: &[(&'static str, String)],
    body: &[u8],
    patience: Duration,
) -> Result<Answer, Fault> {
    let request = request(url, headers).map_err(Fault::Denied)?;
    let outgoing = request.body().map_err(|()| broken("no body"))?;
    let stream = outgoing.write().map_err(|()| broken("no stream"))?;
    for chunk in body.chunks(4096) {
        stream
            .blocking_write_and_flush(chunk)
            .map_err(|_| broken("the request is too long (limits.lent_bytes)"))?;
    }
    drop(stream);
    OutgoingBody::finish(outgoing, None).map_err(|code| fault(url, &code))?;
    let options = RequestOptions::new();
    let nanoseconds = u64::try_from(patience.as_nanos()).unwrap_or(u64::MAX);
    options
        .set_first_byte_timeout(Some(nanoseconds))
        .map_err(|()| broken("no time limit can be set"))?;
    let future = handle(request, Some(options)).map_err(|code| fault(url, &code))?;
    loop {
        match future.get() {
            Some(Ok(response)) => return read(response.map_err(|code| fault(url, &code))?),
            Some(Err(())) => return Err(broken("the answer was taken before")),
            None => future.subscribe().block(),
        }
    }
}

fn broken(why: &str) -> Fault {
    Fault::Denied(why.to_owned())
}

fn fault(url: &str, code: &ErrorCode) -> Fault {
    match code {
        ErrorCode::HttpRequestDenied => Fault::Denied(format!(
            "{url} is not granted; grant its host: codetune plugin grant ask-endpoint --host …"
        )),
        ErrorCode::DestinationIpProhibited => Fault::Denied(format!(
            "{url} leads into a private network; grant its address: --address …"
        )),
        other => Fault::Network(format!("{url} does not answer: {other:?}")),
    }
}

fn request(url: &str, headers: &[(&'static str, String)]) -> Result<OutgoingRequest, String> {
    let wrong = || format!("url is {url:?}; write it as https://api.example.com/v1");
    let (scheme, rest) = url.split_once("://").ok_or_else(wrong)?;
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        _ => return Err(wrong()),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let fields = Fields::new();
    for (name, value) in headers {
        fields
            .append(name, value.as_bytes())
            .map_err(|_| format!("the header {name} cannot be sent; is the secret one line?"))?;
    }
    let request = OutgoingRequest::new(fields);
    let set = request
        .set_method(&Method::Post)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(authority)))
        .and_then(|()| request.set_path_with_query(Some(path)));
    set.map(|()| request).map_err(|()| wrong())
}

fn read(response: IncomingResponse) -> Result<Answer, Fault> {
    let status = response.status();
    let retry_after = response.headers().get("retry-after").into_iter().next();
    let retry_after = retry_after
        .and_then(|value| String::from_utf8(value).ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body = response.consume().map_err(|()| broken("no body"))?;
    let stream = body.stream().map_err(|()| broken("no stream"))?;
    let mut bytes = Vec::new();
    while let Ok(chunk) = stream.blocking_read(64 << 10) {
        bytes.extend_from_slice(&chunk);
    }
    Ok(Answer {
        status,
        retry_after,
        body: bytes,
    })
}
