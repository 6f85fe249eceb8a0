//! The certificate that a name is served with, replaceable while it is in use.
//!
//! A slot outlives the configuration that asked for it: a renewed file or order is put into the slot
//! and the next handshake has it. A slot is never empty; what has no certificate yet serves a
//! placeholder, which no client trusts and which says why in the log.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::sign::CertifiedKey;

use super::material;
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

    /// Sends this status along with the certificate, or none, if it is still this one.
    pub fn staple(&self, certificate: &[u8], status: Option<&[u8]>) {
        let mut held = self.held.write();
        let certified = &held.certified;
        if held.lacking.is_some()
            || certified
                .cert
                .first()
                .is_none_or(|own| **own != *certificate)
        {
            return;
        }
        let mut certified = CertifiedKey::clone(certified);
        certified.ocsp = status.map(<[u8]>::to_vec);
        *held = Arc::new(Held {
            certified: Arc::new(certified),
            lacking: None,
        });
    }
}

/// The certificate in two files, for those who do not wait for them to change.
pub fn load(files: &CertificateFiles) -> Result<Held, String> {
    let passwords = files.passwords.as_deref();
    match material::load(&files.certificate, &files.key, passwords) {
        Ok(material) => Ok(Held {
            certified: material.certified_key(),
            lacking: None,
        }),
        Err(error) => Err(error.to_string()),
    }
}
