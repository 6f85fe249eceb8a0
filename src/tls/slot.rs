//! The certificate that a name is served with, replaceable while it is in use.
//!
//! A slot outlives the configuration that asked for it: a renewed file or order is put into the slot
//! and the next handshake has it. A slot is never empty; what has no certificate yet serves a
//! placeholder, which no client trusts and which says why in the log.

use std::sync::Arc;

use parking_lot::RwLock;
use rustls::sign::CertifiedKey;

use super::facts::Facts;
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
    /// The names of hosts that it is for, some with `*.` before them.
    names: Arc<[String]>,
}

impl Held {
    /// A certificate that clients may trust.
    pub fn new(certified: Arc<CertifiedKey>) -> Self {
        let facts = certified.cert.first().and_then(|der| Facts::read(der));
        Self {
            names: facts.map_or_else(Arc::default, |facts| facts.dns_names.into()),
            certified,
            lacking: None,
        }
    }

    /// One that stands in for it.
    pub fn placeholder(certified: Arc<CertifiedKey>, why: String) -> Self {
        Self {
            certified,
            lacking: Some(why),
            names: Arc::default(),
        }
    }

    /// Is it for the host of this name? A placeholder is for none.
    pub fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_prefix('*') {
            // A wildcard stands for one label (RFC 9525 section 6.3).
            Some(suffix) => (name.split_once('.'))
                .is_some_and(|(_, rest)| suffix[1..].eq_ignore_ascii_case(rest)),
            None => own.eq_ignore_ascii_case(name),
        })
    }
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

    /// Puts a certificate in its place that was read again. The status of one that is the same holds on:
    /// who asks for it need not be waited for.
    pub fn put_again(&self, certified: Arc<CertifiedKey>) {
        let before = Arc::clone(&self.held().certified);
        let is_same = before.cert.first() == certified.cert.first();
        self.put(Held::new(match &before.ocsp {
            Some(status) if is_same => Arc::new(CertifiedKey {
                ocsp: Some(status.clone()),
                ..CertifiedKey::clone(&certified)
            }),
            _ => certified,
        }));
    }

    /// Sends no status along any more.
    pub fn forget_status(&self) {
        let held = self.held();
        if held.certified.ocsp.is_some()
            && let Some(certificate) = held.certified.cert.first()
        {
            self.staple(certificate, None);
        }
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
            names: Arc::clone(&held.names),
        });
    }
}

/// The certificate in two files, for those who do not wait for them to change.
pub fn load(files: &CertificateFiles) -> Result<Held, String> {
    let passwords = files.passwords.as_deref();
    match material::load(&files.certificate, &files.key, passwords) {
        Ok(material) => Ok(Held::new(material.certified_key())),
        Err(error) => Err(error.to_string()),
    }
}
