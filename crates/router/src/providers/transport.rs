//! One HTTP request over one connection: no redirect, no proxy, no retry, and a bound on everything.
//!
//! A call of a model takes seconds, so a connection of its own costs nothing that counts, and it cannot be one
//! that the other side has just closed: a request is sent once or not at all.

use std::error::Error;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};

use crate::provider::{ErrorClass, ModelError};

/// The most bytes of an answer. The longest answers of models are below 1 MiB.
const LARGEST_ANSWER: usize = 16 * 1024 * 1024;

/// What is sent.
pub(super) struct Call {
    pub(super) url: String,
    /// Name and value; the values are marked as sensitive.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Whether an address can be called.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(url: &str) -> Result<Uri, String> {
    let url = url.parse::<Uri>().map_err(|error| format!("not an address: {error}"))?;
    let authority = url.authority().ok_or("the address has no host")?;
    if authority.as_str().contains('@') {
        return Err("the address must not hold a user or a password".to_owned());
    }
    Ok(url)
}

/// The way out.
#[derive(Default)]
pub(super) struct Transport {
    tls: OnceLock<Arc<ClientConfig>>,
}

impl Transport {
    /// Sends one POST and reads the whole answer, whatever its status. `connect`: how long it may take to be
    /// connected, TLS included.
    ///
    /// # Errors
    /// There is no whole answer: not reachable, broken off, too late, too long.
    pub(super) async fn post(
        &self,
        call: Call,
        connect: Duration,
        deadline: Instant,
    ) -> Result<Reply, ModelError> {
        match timeout_at(deadline, self.send(call, connect)).await {
            Ok(reply) => reply,
            Err(_) => Err(ModelError::new(ErrorClass::Timeout, "no answer by the deadline of the call")),
        }
    }

    async fn send(&self, call: Call, connect: Duration) -> Result<Reply, ModelError> {
        let url = check(&call.url).map_err(invalid)?;
        let host = url.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_tls = url.scheme_str() == Some("https");
        let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let request = request(&url, call)?;
        let connected = async {
            let stream = TcpStream::connect((host.as_str(), port)).await?;
            stream.set_nodelay(true)?;
            if !is_tls {
                return Ok(Stream::Plain(stream));
            }
            let name = ServerName::try_from(host.clone()).map_err(std::io::Error::other)?;
            let tls = TlsConnector::from(self.tls()?);
            Ok::<_, std::io::Error>(Stream::Tls(Box::new(tls.connect(name, stream).await?)))
        };
        let broken = |what: &str| {
            ModelError::new(ErrorClass::Connection, format!("{host}:{port} is not reachable: {what}"))
        };
        let stream = match timeout(connect, connected).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(broken(&error.to_string())),
            Err(_) => return Err(broken(&format!("not connected within {} ms", connect.as_millis()))),
        };
        match stream {
            Stream::Plain(stream) => exchange(stream, request).await,
            Stream::Tls(stream) => exchange(*stream, request).await,
        }
    }

    /// Trusts what the machine trusts, and Mozilla's list where the machine has none (an image without
    /// certificates).
    fn tls(&self) -> std::io::Result<Arc<ClientConfig>> {
        if let Some(config) = self.tls.get() {
            return Ok(Arc::clone(config));
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if roots.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Arc::clone(self.tls.get_or_init(|| Arc::new(config))))
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

fn request(url: &Uri, call: Call) -> Result<Request<Full<Bytes>>, ModelError> {
    let path = url.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let authority = url.authority().map(hyper::http::uri::Authority::as_str).unwrap_or_default();
    let mut request = Request::new(Full::new(Bytes::from(call.body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path.parse::<Uri>().map_err(|error| invalid(format!("the path: {error}")))?;
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("millrace/", env!("CARGO_PKG_VERSION"))));
    let host = HeaderValue::from_str(authority).map_err(|error| invalid(format!("the host: {error}")))?;
    headers.insert(HOST, host);
    for (name, value) in call.headers {
        // The error would not quote the value; its text is left out all the same.
        let mut value = HeaderValue::from_str(&value).map_err(|_| invalid(format!("the header {name}")))?;
        value.set_sensitive(true);
        headers.insert(HeaderName::from_static(name), value);
    }
    Ok(request)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply, ModelError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken_off(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken_off(&error))?;
        read(response).await
    };
    tokio::pin!(answer);
    tokio::select! {
        reply = &mut answer => reply,
        // The connection has ended; what it had brought is still to be read.
        _ = connection => answer.await,
    }
}

async fn read(response: Response<Incoming>) -> Result<Reply, ModelError> {
    let (head, body) = response.into_parts();
    match Limited::new(body, LARGEST_ANSWER).collect().await {
        Ok(body) => Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: body.to_bytes() }),
        Err(error) if error.is::<LengthLimitError>() => Err(ModelError::new(
            ErrorClass::Garbled,
            format!("the answer is longer than {LARGEST_ANSWER} bytes"),
        )),
        Err(error) => Err(broken_off(error.as_ref())),
    }
}

fn broken_off(error: &dyn Error) -> ModelError {
    let mut text = format!("the connection broke: {error}");
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    ModelError::new(ErrorClass::Connection, text)
}

fn invalid(what: String) -> ModelError {
    ModelError::new(ErrorClass::InvalidRequest, format!("the request cannot be sent: {what}"))
}
