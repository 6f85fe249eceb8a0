//! A small HTTP client for what runs beside requests: certificate authorities, the APIs of DNS
//! providers, OCSP responders, webhooks. Never for the traffic of sites.
//!
//! Owns whom it trusts, and that every exchange is bounded: one deadline from the first question
//! to the last byte, a largest body, no redirects. HTTP/1.1 and HTTP/2, connections kept for a short
//! while. Invariant: what it says of itself (`Debug`, errors) names a host and never a path, a query,
//! a field or a body, because those carry tokens.

use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{fmt, io, vec};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::Name;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tower_service::Service;

use super::file;
use super::provider::provider;
use crate::net::resolver::Resolver;
use crate::unit::address::is_public;

/// One address of a host gets no more than this of the deadline.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection without a request is closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest head of an answer.
const HEAD_BYTES: usize = 64 * 1024;

/// Who sends, unless the request says it (RFC 8555 section 6.1 wants it said).
const USER_AGENT: &str = concat!("openclaw/", env!("CARGO_PKG_VERSION"));

/// Whose certificates are accepted.
#[derive(Clone)]
pub enum Trust {
    /// Those that the system trusts; if it has none, the roots of Mozilla that are built in.
    System,
    /// Those signed by one of these roots, and no others.
    Roots(Vec<CertificateDer<'static>>),
    /// All: `ssl_verify off`. Only for tests and for networks where nobody listens.
    Anything,
}

impl Trust {
    /// The roots in the file of an `ssl_trusted_certificate`, or of another word for that; the error
    /// says why they cannot be used.
    pub fn roots(word: &str, path: &Path) -> Result<Self, String> {
        let wrong = |reason: &dyn fmt::Display| {
            format!("cannot use `{word}` `{}`: {reason}", path.display())
        };
        let (text, _) = file::read(path).map_err(|problem| wrong(&problem))?;
        let roots = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
        let roots = roots.map_err(|error| wrong(&error))?;
        match roots.is_empty() {
            true => Err(wrong(&"there is no certificate in it")),
            false => Ok(Self::Roots(roots)),
        }
    }
}

/// How far one exchange may go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// From looking up the name to the last byte of the answer.
    pub timeout: Duration,
    /// The most bytes of the answer's body.
    pub body: usize,
}

impl Default for Limits {
    /// 30 seconds and 1 MiB: what an API needs at most.
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(30),
            body: 1024 * 1024,
        }
    }
}

/// Sends requests. Clones share their connections and what they know of the system's roots, so make
/// one and clone it. A fetcher must be used on one runtime only: its connections live there.
#[derive(Clone)]
pub struct Fetcher {
    inner: Arc<Inner>,
}

struct Inner {
    trust: Trust,
    names: Names,
    /// Made when first needed: to read the roots of the system takes milliseconds.
    client: OnceCell<Pooled>,
}

type Pooled = Client<HttpsConnector<HttpConnector<Names>>, Full<Bytes>>;

impl Fetcher {
    /// A fetcher that looks up names as the system does.
    pub fn new(trust: Trust) -> Result<Self, FetchError> {
        Self::build(trust, Names::default())
    }

    /// A fetcher that asks nobody in a private network: names that are there have no address for it.
    /// Addresses that stand in a URL themselves are the caller's to judge.
    pub fn public(trust: Trust) -> Result<Self, FetchError> {
        let names = Names {
            only_public: true,
            ..Names::default()
        };
        Self::build(trust, names)
    }

    /// A fetcher that asks at one place, whatever the name in the URL, which stays what is sent and
    /// what the certificate must say. A port in the URL comes before that of the place.
    pub fn at(trust: Trust, host: &str, port: u16) -> Result<Self, FetchError> {
        let names = Names {
            place: Some((host.into(), port)),
            ..Names::default()
        };
        Self::build(trust, names)
    }

    /// A fetcher that asks the name servers of `resolver`.
    pub fn with_resolver(trust: Trust, resolver: Resolver) -> Result<Self, FetchError> {
        let names = Names {
            resolver: Some(resolver),
            ..Names::default()
        };
        Self::build(trust, names)
    }

    fn build(trust: Trust, names: Names) -> Result<Self, FetchError> {
        let client = match &trust {
            // The only one that reads files.
            Trust::System => OnceCell::new(),
            Trust::Roots(roots) => {
                OnceCell::new_with(Some(client(trusting(roots)?, names.clone())))
            }
            Trust::Anything => OnceCell::new_with(Some(client(trusting_anything(), names.clone()))),
        };
        let inner = Inner {
            trust,
            names,
            client,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Sends a request to where its URI points and reads the whole answer, whatever its status. The
    /// URI is absolute, `http` or `https`; redirects are answers as others.
    pub async fn send(
        &self,
        mut request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, FetchError> {
        let host = host(request.uri())?;
        request
            .headers_mut()
            .entry(header::USER_AGENT)
            .or_insert(HeaderValue::from_static(USER_AGENT));
        let exchange = self.exchange(request, &host, limits.body);
        match tokio::time::timeout(limits.timeout, exchange).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchError::Timeout {
                host,
                after: limits.timeout,
            }),
        }
    }

    /// Connects to a host for another protocol than HTTP, by the same rules: addresses that stand for
    /// the host themselves are the caller's to judge.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, FetchError> {
        let name = |reason: &dyn fmt::Display| FetchError::Name {
            host: host.into(),
            source: io::Error::other(reason.to_string()),
        };
        let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
            Ok(address) => vec![(address, port).into()],
            Err(_) => {
                let wanted = host.parse::<Name>().map_err(|error| name(&error))?;
                let found = self.inner.names.clone().call(wanted).await;
                let found = found.map_err(|error| name(&error))?;
                found.map(|address| (address.ip(), port).into()).collect()
            }
        };
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(FetchError::Connect {
            host: host.into(),
            source: last,
        })
    }

    /// What a client of TLS trusts that is connected by [`Fetcher::connect`].
    pub async fn tls(&self) -> Result<Arc<ClientConfig>, FetchError> {
        let config = match &self.inner.trust {
            Trust::System => {
                let roots = tokio::task::spawn_blocking(system_roots).await;
                with_roots(roots.unwrap_or_else(|_| built_in_roots()))
            }
            Trust::Roots(roots) => trusting(roots)?,
            Trust::Anything => trusting_anything(),
        };
        Ok(Arc::new(config))
    }

    async fn exchange(
        &self,
        request: Request<Bytes>,
        host: &str,
        most: usize,
    ) -> Result<Response<Bytes>, FetchError> {
        let client = self.inner.client().await;
        let answer = client.request(request.map(Full::new)).await;
        let (parts, body) = answer.map_err(|error| of_client(host, error))?.into_parts();
        match Limited::new(body, most).collect().await {
            Ok(body) => Ok(Response::from_parts(parts, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLarge {
                host: host.into(),
                most,
            }),
            Err(error) => Err(FetchError::Protocol {
                host: host.into(),
                source: error,
            }),
        }
    }
}

impl fmt::Debug for Fetcher {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let trust = match &self.inner.trust {
            Trust::System => "system".to_owned(),
            Trust::Roots(roots) => format!("{} roots", roots.len()),
            Trust::Anything => "anything".to_owned(),
        };
        formatter
            .debug_struct("Fetcher")
            .field("trust", &trust)
            .finish_non_exhaustive()
    }
}

impl Inner {
    async fn client(&self) -> &Pooled {
        let make = async || {
            // Files are read where blocking harms nobody.
            let roots = tokio::task::spawn_blocking(system_roots).await;
            let roots = roots.unwrap_or_else(|_| built_in_roots());
            client(with_roots(roots), self.names.clone())
        };
        self.client.get_or_init(make).await
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub enum FetchError {
    /// A root that was to be trusted is no certificate.
    Root {
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The URI is not one that can be asked.
    Address,
    /// The host's addresses could not be found.
    Name {
        /// The host.
        host: Box<str>,
        /// What the resolver said.
        source: io::Error,
    },
    /// No connection to any of its addresses.
    Connect {
        /// The host.
        host: Box<str>,
        /// What the last one said.
        source: io::Error,
    },
    /// The handshake failed, most often because its certificate is not trusted.
    Tls {
        /// The host.
        host: Box<str>,
        /// Why.
        source: rustls::Error,
    },
    /// The deadline passed.
    Timeout {
        /// The host.
        host: Box<str>,
        /// The whole time given.
        after: Duration,
    },
    /// The answer is larger than allowed.
    TooLarge {
        /// The host.
        host: Box<str>,
        /// The most bytes allowed.
        most: usize,
    },
    /// The connection broke, or what came was no HTTP.
    Protocol {
        /// The host.
        host: Box<str>,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl fmt::Display for FetchError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root { .. } => write!(formatter, "a root to be trusted is no certificate"),
            Self::Address => write!(formatter, "not an address of HTTP: no scheme or no host"),
            Self::Name { host, .. } => write!(formatter, "cannot find the addresses of `{host}`"),
            Self::Connect { host, .. } => write!(formatter, "cannot connect to `{host}`"),
            Self::Tls { host, .. } => write!(formatter, "no TLS with `{host}`"),
            Self::Timeout { host, after } => {
                write!(formatter, "no whole answer of `{host}` within {after:?}")
            }
            Self::TooLarge { host, most } => {
                write!(formatter, "the answer of `{host}` exceeds {most} bytes")
            }
            Self::Protocol { host, .. } => {
                write!(formatter, "the exchange with `{host}` broke off")
            }
        }
    }
}

impl Error for FetchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Root { source } | Self::Tls { source, .. } => Some(source),
            Self::Name { source, .. } | Self::Connect { source, .. } => Some(source),
            Self::Protocol { source, .. } => Some(&**source),
            Self::Address | Self::Timeout { .. } | Self::TooLarge { .. } => None,
        }
    }
}

/// The host of an address that can be asked.
fn host(uri: &Uri) -> Result<Box<str>, FetchError> {
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(FetchError::Address);
    }
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(host.into()),
        _ => Err(FetchError::Address),
    }
}

/// What the client says, told by the stage at which it failed.
fn of_client(host: &str, error: hyper_util::client::legacy::Error) -> FetchError {
    let host: Box<str> = host.into();
    if !error.is_connect() {
        return FetchError::Protocol {
            host,
            source: error.into(),
        };
    }
    let mut system = None;
    let mut next: Option<&(dyn Error + 'static)> = Some(&error);
    while let Some(error) = next {
        if let Some(unknown) = error.downcast_ref::<UnknownName>() {
            let source = io::Error::other(unknown.0.clone());
            return FetchError::Name { host, source };
        }
        if let Some(source) = error.downcast_ref::<rustls::Error>() {
            let source = source.clone();
            return FetchError::Tls { host, source };
        }
        next = match error.downcast_ref::<io::Error>() {
            Some(error) => {
                system = Some(match error.raw_os_error() {
                    Some(code) => io::Error::from_raw_os_error(code),
                    None => io::Error::from(error.kind()),
                });
                // Its `source` skips the error that it wraps.
                error.get_ref().map(|inner| inner as _)
            }
            None => error.source(),
        };
    }
    let source = system.unwrap_or_else(|| io::Error::other(error.to_string()));
    FetchError::Connect { host, source }
}

fn client(tls: ClientConfig, names: Names) -> Pooled {
    let mut tcp = HttpConnector::new_with_resolver(names);
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(2)
        .http1_max_buf_size(HEAD_BYTES)
        .http2_max_header_list_size(HEAD_BYTES as u32)
        .build(connector)
}

fn trusting(roots: &[CertificateDer<'static>]) -> Result<ClientConfig, FetchError> {
    let mut store = RootCertStore::empty();
    for root in roots {
        store
            .add(root.clone())
            .map_err(|source| FetchError::Root { source })?;
    }
    Ok(with_roots(store))
}

fn with_roots(roots: RootCertStore) -> ClientConfig {
    configuration()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn trusting_anything() -> ClientConfig {
    configuration()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Unverified))
        .with_no_client_auth()
}

fn configuration() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has suites of TLS 1.2 and 1.3")
}

/// What the system trusts; if that is nothing, the roots of Mozilla that are built in.
pub(super) fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    // A damaged file among them does not make the others worthless.
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    match store.is_empty() {
        true => built_in_roots(),
        false => store,
    }
}

fn built_in_roots() -> RootCertStore {
    RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    }
}

/// Accepts every certificate; the handshake's own signature is still checked.
#[derive(Debug)]
struct Unverified;

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &provider().signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Looks up names: by a resolver of its own, or as the system does.
#[derive(Clone, Default)]
struct Names {
    resolver: Option<Resolver>,
    /// Are addresses in private networks left out?
    only_public: bool,
    /// Where every name is, if it is said.
    place: Option<(Box<str>, u16)>,
}

/// A name without addresses; a type of its own, so that it can be told from other failures.
#[derive(Debug)]
struct UnknownName(String);

impl fmt::Display for UnknownName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Error for UnknownName {}

impl Service<Name> for Names {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = UnknownName;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, UnknownName>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UnknownName>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let Self {
            resolver,
            only_public,
            place,
        } = self.clone();
        Box::pin(async move {
            let (name, port) = match &place {
                Some((host, port)) => (&**host, *port),
                None => (name.as_str(), 0),
            };
            let mut addresses: Vec<SocketAddr> = match resolver {
                Some(resolver) => match resolver.addresses(name).await {
                    Ok(answer) => answer.addresses.iter().map(|it| it.address).collect(),
                    Err(error) => return Err(UnknownName(error.to_string())),
                },
                None => match tokio::net::lookup_host((name, port)).await {
                    Ok(addresses) => addresses.collect(),
                    Err(error) => return Err(UnknownName(error.to_string())),
                },
            };
            // What is connected to is what was judged: no name can change its mind between.
            if only_public {
                addresses.retain(|address| is_public(address.ip()));
            }
            match addresses.is_empty() {
                true if only_public => {
                    Err(UnknownName("it has none in the open internet".to_owned()))
                }
                true => Err(UnknownName("it has none".to_owned())),
                false => Ok(addresses.into_iter()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// Answers the first request of every connection with these bytes and, if told, stays silent.
    async fn plain(answer: &'static [u8], then_close: bool) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    let _ = stream.read(&mut head).await;
                    let _ = stream.write_all(answer).await;
                    if !then_close {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        address
    }

    /// An echo of method and version behind TLS that speaks these protocols, and its root.
    async fn secure(protocols: &[&[u8]]) -> (SocketAddr, CertificateDer<'static>) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = CertifiedIssuer::self_signed(params, key).expect("a root");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|params| params.signed_by(&key, &root))
            .expect("a leaf");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("they fit");
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let is_second = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let service = hyper::service::service_fn(
                        async |request: Request<hyper::body::Incoming>| {
                            let told = format!("{} {:?}", request.method(), request.version());
                            Ok::<_, std::convert::Infallible>(Response::new(Full::new(
                                Bytes::from(told),
                            )))
                        },
                    );
                    let _ = match is_second {
                        true => {
                            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                                .serve_connection(io, service)
                                .await
                        }
                        false => {
                            hyper::server::conn::http1::Builder::new()
                                .serve_connection(io, service)
                                .await
                        }
                    };
                });
            }
        });
        (address, root.der().clone())
    }

    fn get(uri: String) -> Request<Bytes> {
        Request::get(uri).body(Bytes::new()).expect("a request")
    }

    async fn fails(trust: Trust, uri: String, limits: Limits) -> FetchError {
        let fetcher = Fetcher::new(trust).expect("a fetcher");
        let outcome = fetcher.send(get(uri), limits).await;
        outcome.expect_err("it must not succeed")
    }

    #[tokio::test]
    async fn a_trusted_root_gives_an_answer_by_the_best_protocol_both_speak() {
        for (protocols, expected) in [
            (&[b"h2".as_slice(), b"http/1.1"] as &[&[u8]], "GET HTTP/2.0"),
            (&[b"http/1.1"], "GET HTTP/1.1"),
            (&[], "GET HTTP/1.1"),
        ] {
            let (address, root) = secure(protocols).await;
            for trust in [Trust::Roots(vec![root]), Trust::Anything] {
                let fetcher = Fetcher::new(trust).expect("a fetcher");
                let request = get(format!("https://localhost:{}/", address.port()));
                let answer = fetcher.send(request, Limits::default()).await;
                assert_eq!(answer.expect("an answer").body(), expected);
            }
        }
    }

    #[tokio::test]
    async fn an_unknown_root_and_a_wrong_name_are_failures_of_tls() {
        let (address, root) = secure(&[]).await;
        let (_, other) = secure(&[]).await;
        for (trust, host) in [
            (Trust::Roots(vec![other]), "localhost"),
            (Trust::Roots(vec![root]), "127.0.0.1"),
            (Trust::System, "localhost"),
        ] {
            let uri = format!("https://{host}:{}/?token=hidden", address.port());
            let error = fails(trust, uri, Limits::default()).await;
            assert!(matches!(error, FetchError::Tls { .. }), "{error:?}");
            assert_eq!(error.to_string(), format!("no TLS with `{host}`"));
            assert!(error.source().is_some());
            assert!(!format!("{error:?}").contains("hidden"));
        }
    }

    #[tokio::test]
    async fn a_body_beyond_its_bound_is_refused_announced_or_not() {
        let announced = plain(
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n123456789",
            true,
        )
        .await;
        let counted = plain(b"HTTP/1.1 200 OK\r\n\r\n123456789", true).await;
        for (address, body, fits) in [
            (announced, 8, false),
            (announced, 9, true),
            (counted, 8, false),
            (counted, 9, true),
        ] {
            let limits = Limits {
                body,
                ..Limits::default()
            };
            let fetcher = Fetcher::new(Trust::Anything).expect("a fetcher");
            let outcome = fetcher
                .send(get(format!("http://{address}/")), limits)
                .await;
            match outcome {
                Ok(answer) => assert!(fits && answer.body().len() == 9),
                Err(FetchError::TooLarge { most, .. }) => assert!(!fits && most == 8),
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    #[tokio::test]
    async fn the_deadline_holds_for_the_head_and_for_the_body() {
        for answer in [
            b"".as_slice(),
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1234",
        ] {
            let address = plain(answer, false).await;
            let uri = format!("http://{address}/");
            let limits = Limits {
                timeout: Duration::from_millis(50),
                ..Limits::default()
            };
            let error = fails(Trust::Anything, uri, limits).await;
            assert_eq!(
                error.to_string(),
                "no whole answer of `127.0.0.1` within 50ms"
            );
        }
    }

    #[tokio::test]
    async fn each_stage_that_fails_has_its_own_error() {
        let closed = {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            listener.local_addr().expect("an address")
        };
        let garbage = plain(b"SSH-2.0-nothing\r\n\r\n", true).await;
        let cut = plain(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n1", true).await;
        // No label has 64 letters, so nobody on a network is asked for it.
        let impossible = format!("{}.invalid", "a".repeat(64));
        for (uri, expected) in [
            (
                "/path".to_owned(),
                "not an address of HTTP: no scheme or no host",
            ),
            (
                "ftp://host/".to_owned(),
                "not an address of HTTP: no scheme or no host",
            ),
            (
                format!("http://{impossible}/"),
                &*format!("cannot find the addresses of `{impossible}`"),
            ),
            (format!("http://{closed}/"), "cannot connect to `127.0.0.1`"),
            (
                format!("https://{closed}/"),
                "cannot connect to `127.0.0.1`",
            ),
            (format!("https://{garbage}/"), "no TLS with `127.0.0.1`"),
            (
                format!("http://{garbage}/"),
                "the exchange with `127.0.0.1` broke off",
            ),
            (
                format!("http://{cut}/"),
                "the exchange with `127.0.0.1` broke off",
            ),
        ] {
            let error = fails(Trust::Anything, uri.clone(), Limits::default()).await;
            assert_eq!(error.to_string(), expected, "{uri}: {error:?}");
            let is_address = matches!(error, FetchError::Address);
            assert_eq!(error.source().is_none(), is_address, "{uri}");
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let address = plain(
            b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            true,
        )
        .await;
        let fetcher = Fetcher::new(Trust::Anything).expect("a fetcher");
        let answer = fetcher
            .send(get(format!("http://{address}/")), Limits::default())
            .await
            .expect("an answer");
        assert_eq!(answer.status(), 302);
    }

    #[tokio::test]
    async fn names_are_asked_of_the_resolver_that_is_given() {
        use crate::conf::typed::upstream as conf;
        // Nobody answers there: a name that the system knows is not found.
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bound");
        let conf = conf::Resolver {
            servers: vec![socket.local_addr().expect("an address")],
            valid: None,
            ipv4: true,
            ipv6: false,
            timeout: Duration::from_millis(50),
        };
        let resolver = Resolver::new(Some(&conf), tokio::runtime::Handle::current());
        let fetcher = Fetcher::with_resolver(Trust::Anything, resolver).expect("a fetcher");
        let outcome = fetcher
            .send(get("http://host.test/".to_owned()), Limits::default())
            .await;
        let error = outcome.expect_err("nobody knows it");
        assert!(matches!(error, FetchError::Name { .. }), "{error:?}");
    }

    #[test]
    fn what_is_no_certificate_is_no_root() {
        let garbage = CertificateDer::from(vec![1, 2, 3]);
        let error = Fetcher::new(Trust::Roots(vec![garbage])).expect_err("it is garbage");
        assert_eq!(error.to_string(), "a root to be trusted is no certificate");
    }

    #[test]
    fn a_fetcher_shows_whom_it_trusts_and_nothing_else() {
        let fetcher = Fetcher::new(Trust::Anything).expect("a fetcher");
        assert_eq!(
            format!("{fetcher:?}"),
            "Fetcher { trust: \"anything\", .. }"
        );
    }
}
