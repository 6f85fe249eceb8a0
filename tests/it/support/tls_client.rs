//! A client that shakes hands and looks at the certificate, whoever signed it.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme, StreamOwned,
};

/// Shakes hands, each time anew.
pub struct Handshaker {
    config: Arc<ClientConfig>,
}

impl Handshaker {
    pub fn new() -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the versions are there")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody { provider }))
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Self {
            config: Arc::new(config),
        }
    }

    /// The certificate that a server on this machine shows for a name, once it has proven to have its
    /// key.
    pub fn certificate(&self, port: u16, name: &str) -> io::Result<Vec<u8>> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut session =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        let chain = session.peer_certificates().unwrap_or_default();
        let first = chain.first().expect("a server has a certificate");
        Ok(first.to_vec())
    }
}

impl Handshaker {
    /// A stream over a socket, on which HTTP/2 was agreed upon.
    pub fn http2(
        &self,
        mut socket: TcpStream,
        name: &str,
    ) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut session =
            ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        match session.alpn_protocol() {
            Some(b"h2") => Ok(StreamOwned::new(session, socket)),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Sends a request and reads to the end: the answer, and how long each record was in which
    /// something came.
    pub fn records(
        &self,
        port: u16,
        name: &str,
        request: &[u8],
    ) -> io::Result<(Vec<u8>, Vec<usize>)> {
        let mut socket = TcpStream::connect(("127.0.0.1", port))?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let mut session =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        session.writer().write_all(request)?;
        let mut received = Vec::new();
        let mut answer = Vec::new();
        loop {
            while session.wants_write() {
                session.write_tls(&mut socket)?;
            }
            let mut bytes = [0; 4096];
            let count = socket.read(&mut bytes)?;
            received.extend_from_slice(&bytes[..count]);
            let mut rest = &bytes[..count];
            while session.read_tls(&mut rest)? > 0 {
                session.process_new_packets().map_err(io::Error::other)?;
            }
            let mut piece = [0; 16 << 10];
            while let Ok(count @ 1..) = session.reader().read(&mut piece) {
                answer.extend_from_slice(&piece[..count]);
            }
            if count == 0 {
                break;
            }
        }
        let mut lengths = Vec::new();
        let mut rest = &received[..];
        while let [_, _, _, high, low, behind @ ..] = rest {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            lengths.push(length);
            rest = behind.get(length..).unwrap_or_default();
        }
        Ok((answer, lengths))
    }
}

/// Trusts every certificate, but wants its key to be used.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
