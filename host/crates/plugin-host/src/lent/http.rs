//! `wasi:http/outgoing-handler` to granted hosts.
//!
//! The types are wasmtime-wasi-http's, the requests ureq's: the names are looked up first, the addresses are looked at,
//! and the connection is made to those and no others, so that a name that changes its mind between the look and the
//! connection gains nothing. Nothing is followed: an answer that points elsewhere is the plugin's to follow, and then a
//! request like any other.

use std::net::{SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use domain::Capability;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full, Limited};
use ureq::http::{Method, Request, Response, Uri, header, request};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn, spawn_blocking};
use wasmtime_wasi_http::p2::bindings::http::types::HostOutgoingRequest as _;
use wasmtime_wasi_http::p2::body::HostOutgoingBody;
use wasmtime_wasi_http::p2::types::HostOutgoingRequest;
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};
use wasmtime_wasi_io::bytes::Bytes;

use super::address::is_public;
use super::origin::Origin;
use super::{Ledger, Lending, Lent};
use crate::call::CallState;

/// Bytes of all headers of a request or an answer.
const MOST_HEADER_BYTES: usize = 64 << 10;

/// The HTTP side of one call; made when the plugin first asks for it.
pub(crate) struct Http {
    ctx: WasiHttpCtx,
    hooks: Hooks,
}

struct Hooks {
    lent: Option<(Arc<Lending>, Arc<Ledger>)>,
    until: Instant,
}

impl Http {
    fn new() -> Box<Self> {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(MOST_HEADER_BYTES);
        Box::new(Self {
            ctx,
            hooks: Hooks {
                lent: None,
                until: Instant::now(),
            },
        })
    }
}

impl WasiHttpView for CallState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        // Makes the table.
        let _ = self.ctx();
        let http = self.http.get_or_insert_with(Http::new);
        if let Some(lent) = &self.lent {
            http.hooks.until = lent.until;
            if http.hooks.lent.is_none() {
                http.hooks.lent = Some((Arc::clone(&lent.lending), Arc::clone(&lent.ledger)));
            }
        }
        WasiHttpCtxView {
            hooks: &mut http.hooks,
            table: &mut self.wasi.as_mut().expect("made above").table,
            ctx: &mut http.ctx,
        }
    }
}

type Sent = (
    Response<WasiBody>,
    Box<dyn Future<Output = Result<(), Error>> + Send>,
);

impl WasiHttpHooks for Hooks {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _body: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let admitted = self.admit(request.uri());
        let until = self.until;
        Box::new(async move {
            let exchange = admitted?;
            let (parts, body) = request.into_parts();
            let until = options
                .and_then(|options| options.first_byte_timeout)
                .map_or(until, |patience| until.min(Instant::now() + patience));
            let deadline = tokio::time::Instant::from_std(until);
            let answered = tokio::time::timeout_at(deadline, async {
                let body = body.collect().await?.to_bytes();
                if !exchange.ledger.take_http(body.len() as u64) {
                    return Err(Error::HttpRequestBodySize(Some(body.len() as u64)));
                }
                spawn_blocking(move || exchange.send(parts, body, until)).await
            });
            let response = answered.await.unwrap_or(Err(Error::HttpResponseTimeout))?;
            let response = response.map(|bytes| {
                Full::new(Bytes::from(bytes))
                    .map_err(Into::into)
                    .boxed_unsync()
            });
            let nothing_left: Box<dyn Future<Output = _> + Send> = Box::new(async { Ok(()) });
            Ok((response, nothing_left))
        })
    }
}

impl Hooks {
    /// Whether a request may go out at all.
    fn admit(&self, uri: &Uri) -> Result<Exchange, Error> {
        let (lending, ledger) = self.lent.as_ref().ok_or(Error::HttpRequestDenied)?;
        let origin = Origin::of(uri).ok_or(Error::HttpRequestUriInvalid)?;
        let is_granted = lending.allows(Capability::Http) && lending.origins.contains(&origin);
        if !is_granted {
            ledger.refuse(Capability::Http, &origin.to_string());
            return Err(Error::HttpRequestDenied);
        }
        let may_ask = ledger.take_request()
            && lending
                .rate
                .take(lending.requests_per_minute, Instant::now());
        if !may_ask {
            ledger.refuse(Capability::Http, &origin.to_string());
            return Err(Error::ConnectionLimitReached);
        }
        Ok(Exchange {
            origin,
            lending: Arc::clone(lending),
            ledger: Arc::clone(ledger),
        })
    }
}

/// One admitted request.
struct Exchange {
    origin: Origin,
    lending: Arc<Lending>,
    ledger: Arc<Ledger>,
}

impl Exchange {
    /// Sends it and reads the whole answer. It blocks, up to the deadline.
    fn send(
        &self,
        mut parts: request::Parts,
        body: Bytes,
        until: Instant,
    ) -> Result<Response<Vec<u8>>, Error> {
        let addresses = self.addresses()?;
        // ureq writes it from the address of the request, which is what was granted.
        parts.headers.remove(header::HOST);
        let left = until.saturating_duration_since(Instant::now());
        let config = ureq::config::Config::builder()
            .proxy(None)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_response_header_size(MOST_HEADER_BYTES)
            .accept_encoding("identity")
            .timeout_global(Some(left))
            .user_agent(concat!("codetune-plugin/", env!("CARGO_PKG_VERSION")))
            .build();
        let agent =
            ureq::Agent::with_parts(config, DefaultConnector::default(), Checked(addresses));
        let takes_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
        let sent_bytes = body.len() as u64;
        let answered = match (takes_body, body.is_empty()) {
            (false, true) => agent.run(Request::from_parts(parts, ())),
            (false, false) => return Err(Error::HttpRequestBodySize(Some(sent_bytes))),
            (true, _) => agent.run(Request::from_parts(parts, body.to_vec())),
        };
        let target = self.origin.to_string();
        let response = answered.map_err(|error| {
            self.ledger.note(Capability::Http, &target, sent_bytes, 0);
            failure(&error)
        })?;
        let (parts, body) = response.into_parts();
        let limit = self.ledger.http_left();
        let bytes = body.into_with_config().limit(limit).read_to_vec();
        let received = bytes.as_ref().map_or(0, Vec::len) as u64;
        self.ledger
            .note(Capability::Http, &target, sent_bytes + received, 0);
        let bytes = bytes.map_err(|error| failure(&error))?;
        if !self.ledger.take_http(received) {
            return Err(Error::HttpResponseBodySize(Some(limit)));
        }
        Ok(Response::from_parts(parts, bytes))
    }

    /// The host's addresses that the plugin may reach.
    fn addresses(&self) -> Result<Vec<SocketAddr>, Error> {
        let found: Vec<SocketAddr> = (self.origin.host(), self.origin.port())
            .to_socket_addrs()
            .map_err(|_| Error::DnsError {
                rcode: None,
                info_code: None,
            })?
            .collect();
        let granted = &self.lending.grants.addresses;
        let may_reach = |address: &SocketAddr| {
            let address = address.ip().to_canonical();
            is_public(address)
                || granted.contains(&address)
                || self.origin.address().map(|own| own.to_canonical()) == Some(address)
        };
        let allowed: Vec<SocketAddr> = found.iter().copied().filter(may_reach).collect();
        match (allowed.is_empty(), found.is_empty()) {
            (false, _) => Ok(allowed),
            (true, true) => Err(Error::DestinationNotFound),
            (true, false) => {
                self.ledger
                    .refuse(Capability::Http, &self.origin.to_string());
                Err(Error::DestinationIpProhibited)
            }
        }
    }
}

/// The addresses that were looked at, for whatever ureq asks.
#[derive(Debug)]
struct Checked(Vec<SocketAddr>);

impl Resolver for Checked {
    fn resolve(
        &self,
        _uri: &Uri,
        _config: &ureq::config::Config,
        _timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let mut addresses = self.empty();
        for address in self.0.iter().take(16) {
            addresses.push(*address);
        }
        Ok(addresses)
    }
}

/// The contract's word for what went wrong.
fn failure(error: &ureq::Error) -> Error {
    match error {
        ureq::Error::Timeout(_) => Error::HttpResponseTimeout,
        ureq::Error::BodyExceedsLimit(limit) => Error::HttpResponseBodySize(Some(*limit)),
        ureq::Error::HostNotFound => Error::DestinationNotFound,
        ureq::Error::ConnectionFailed => Error::ConnectionRefused,
        ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            Error::ConnectionRefused
        }
        ureq::Error::Io(_) => Error::ConnectionTerminated,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Error::TlsProtocolError,
        ureq::Error::Protocol(_) | ureq::Error::Http(_) => Error::HttpProtocolError,
        other => Error::InternalError(Some(other.to_string())),
    }
}

/// A body that is taken from the plugin while it writes, whatever becomes of the request: a plugin that writes and never
/// sends would else wait for ever on a full buffer, and hold a thread.
struct Drained(Option<AbortOnDropJoinHandle<Result<Bytes, Error>>>);

impl Body for Drained {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(task) = &mut self.0 else {
            return Poll::Ready(None);
        };
        let Poll::Ready(result) = Pin::new(task).poll(context) else {
            return Poll::Pending;
        };
        self.0 = None;
        Poll::Ready(Some(result.map(Frame::data)))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// Links `wasi:http` and puts [`Drained`] between.
pub(crate) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    wasmtime_wasi_http::p2::add_only_http_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    let mut types = linker.instance("wasi:http/types@0.2.12")?;
    types.func_wrap(
        "[method]outgoing-request.body",
        |mut store: wasmtime::StoreContextMut<'_, CallState>,
         (request,): (Resource<HostOutgoingRequest>,)|
         -> wasmtime::Result<(Result<Resource<HostOutgoingBody>, ()>,)> {
            let state = store.data_mut();
            let mut http = state.http();
            let body = http.body(Resource::new_borrow(request.rep()))?;
            if body.is_ok() {
                let written = http.table.get_mut(&request)?.body.take();
                let (limit, until) = state.body_bounds();
                let task = written.map(|written| {
                    spawn(async move {
                        let collected = tokio::time::timeout_at(
                            tokio::time::Instant::from_std(until),
                            Limited::new(written, limit).collect(),
                        );
                        match collected.await {
                            Ok(Ok(body)) => Ok(body.to_bytes()),
                            Ok(Err(_)) => Err(Error::HttpRequestBodySize(Some(limit as u64))),
                            Err(_) => Err(Error::ConnectionWriteTimeout),
                        }
                    })
                });
                let drained = Drained(task).boxed_unsync();
                state.http().table.get_mut(&request)?.body = Some(drained);
            }
            Ok((body,))
        },
    )?;
    types.func_wrap(
        "[constructor]outgoing-response",
        |_: wasmtime::StoreContextMut<'_, CallState>,
         (_,): (Resource<wasmtime_wasi_http::FieldMap>,)|
         -> wasmtime::Result<(
            Resource<wasmtime_wasi_http::p2::types::HostOutgoingResponse>,
        )> { Err(wasmtime::Error::msg("plugins answer no requests")) },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

impl CallState {
    /// Bytes of one request, and when it must be written.
    fn body_bounds(&self) -> (usize, Instant) {
        let bounds = |lent: &Lent| {
            let left = usize::try_from(lent.ledger.http_left()).unwrap_or(usize::MAX);
            (left, lent.until)
        };
        self.lent.as_deref().map_or((0, Instant::now()), bounds)
    }
}
