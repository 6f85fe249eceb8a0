//! The certificate that a name is served with, replaceable while it is in use.
//!
//! A slot outlives the configuration that asked for it: a renewed file or order is put into the slot
//! and the next handshake has it. A slot is never empty; what has no certificate yet serves a
//! placeholder, which no client trusts and which says why in the log.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::provider;
use crate::conf::typed::tls::CertificateFiles;

/// Holds one certificate.
#[derive(Debug)]
pub struct Slot {
    held: RwLock<Arc<Held>>,
}

/// What a slot holds.
#[derive(Clone, Debug)]
pub struct Held {
    /// The certificate with its key.
    pub certified: Arc<CertifiedKey>,
    /// `Some` for a placeholder: why there is nothing better.
    pub lacking: Option<String>,
}

impl Slot {
    /// A slot that holds this.
    pub fn new(held: Held) -> Arc<Self> {
        Arc::new(Self {
            held: RwLock::new(Arc::new(held)),
        })
    }

    /// What it holds now.
    pub fn held(&self) -> Arc<Held> {
        Arc::clone(&self.held.read())
    }

    /// Puts another certificate in its place.
    pub fn put(&self, held: Held) {
        *self.held.write() = Arc::new(held);
    }
}

/// The certificate in two files.
pub fn load(files: &CertificateFiles) -> Result<Held, String> {
    let failed = |path: &std::path::Path, error: &dyn std::fmt::Display| {
        format!("cannot load certificate \"{}\": {error}", path.display())
    };
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(&files.certificate, &error))?;
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(&files.key, &error))?;
    let key = provider::provider()
        .key_provider
        .load_private_key(key)
        .map_err(|error| failed(&files.key, &error))?;
    Ok(Held {
        certified: Arc::new(CertifiedKey::new(chain, key)),
        lacking: None,
    })
}
