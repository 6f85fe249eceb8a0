//! A backend that speaks TLS, and does with each connection what a test says.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::certificate::Pair;
use super::ports::{Port, reserve};

/// A connection whose handshake is over or still to come.
pub type SecureStream = StreamOwned<ServerConnection, TcpStream>;

/// A listening backend. It listens until the tests end.
pub struct SecureBackend {
    port: Port,
    connections: Arc<AtomicUsize>,
}

impl SecureBackend {
    /// Starts a backend with this certificate that agrees to one of these protocols.
    pub fn start(
        pair: &Pair,
        protocols: &[&[u8]],
        script: impl Fn(&mut SecureStream) + Send + Sync + 'static,
    ) -> Self {
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .map(|certificate| certificate.expect("PEM"))
            .collect();
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).expect("PEM");
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let config = Arc::new(config);
        let script = Arc::new(script);
        let port = reserve();
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.number)).expect("a reserved port is free");
        let connections: Arc<AtomicUsize> = Arc::default();
        let counted = Arc::clone(&connections);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counted.fetch_add(1, Ordering::SeqCst);
                let (config, script) = (Arc::clone(&config), Arc::clone(&script));
                thread::spawn(move || {
                    let session = ServerConnection::new(config).expect("a session");
                    script(&mut StreamOwned::new(session, stream));
                });
            }
        });
        Self { port, connections }
    }

    /// Its address as configurations write it.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number)
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}
