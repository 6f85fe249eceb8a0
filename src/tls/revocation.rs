//! Lists of certificates that their authorities revoked (`ssl_crl`).
//!
//! Owns reading the lists and the answer for one certificate. A list counts if its issuer signed it
//! and its time is not over; without one that counts, a certificate is not accepted, as nginx has it
//! (OpenSSL `X509_V_FLAG_CRL_CHECK_ALL`). Lists of the first version, which `openssl ca` makes by
//! itself, are lists too.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;

use parking_lot::Mutex;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;
use x509_parser::revocation_list::CertificateRevocationList;

use super::signature::{Signed, key_of};
use super::{file, pem};

/// The largest file of lists: those of large authorities have tens of megabytes.
const MOST_BYTES: u64 = 64 << 20;
/// How many keys a list is remembered to be signed by, or not.
const MOST_KEYS: usize = 16;

/// The lists of one file.
pub struct Revoked {
    /// By the issuer's name, as the inside of its DER.
    lists: HashMap<Box<[u8]>, Vec<List>>,
}

struct List {
    der: Box<[u8]>,
    serials: HashSet<Box<[u8]>>,
    /// In seconds since 1970.
    from: i64,
    until: Option<i64>,
    /// Says what this program does not understand about what the list covers.
    is_partial: bool,
    /// Which keys signed it, and which did not: a list of megabytes is not hashed for each client.
    signed_by: Mutex<Vec<(Box<[u8]>, bool)>>,
}

/// What the lists say of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// Its issuer's list does not have it.
    Good,
    /// Its issuer's list has it.
    Revoked,
    /// Its issuer has no list here.
    Unknown,
    /// The list of its issuer is too old, or too new.
    Stale,
}

impl fmt::Debug for Revoked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Revoked")
            .field("issuers", &self.lists.len())
            .finish()
    }
}

impl Revoked {
    /// Reads a file of lists as PEM. The error says what is wrong with it.
    pub fn load(path: &Path) -> Result<Self, String> {
        let (bytes, _) =
            file::read_at_most(path, MOST_BYTES).map_err(|problem| problem.to_string())?;
        let mut lists: HashMap<Box<[u8]>, Vec<List>> = HashMap::new();
        for section in pem::sections(&bytes) {
            let section = section.map_err(|fault| fault.to_string())?;
            if section.label != "X509 CRL" {
                continue;
            }
            let line = section.line;
            let (issuer, list) = List::read(&section.der)
                .ok_or_else(|| format!("the list of line {line} cannot be read"))?;
            lists.entry(issuer).or_default().push(list);
        }
        match lists.is_empty() {
            true => Err("there is no list in it".into()),
            false => Ok(Self { lists }),
        }
    }

    /// What the lists say of the certificate with this serial number (as in its DER), whose issuer has
    /// this name (the inside of its DER) and key (a `SubjectPublicKeyInfo`).
    pub fn status(&self, serial: &[u8], issuer: &[u8], key: &[u8], now: i64) -> Status {
        let lists = self.lists.get(issuer).map_or(&[][..], Vec::as_slice);
        let mut status = Status::Unknown;
        for list in lists {
            if list.is_partial || !list.is_signed_by(key) {
                continue;
            }
            if list.serials.contains(significant(serial)) {
                return Status::Revoked;
            }
            let is_current = list.from <= now && list.until.is_none_or(|until| now <= until);
            status = match (is_current, status) {
                (true, _) | (_, Status::Good) => Status::Good,
                _ => Status::Stale,
            };
        }
        status
    }
}

/// Does a list have this certificate? All three are DER. A list that is only a part of all is good
/// enough for that; one that the issuer did not sign says nothing (`None`).
pub fn is_listed(list: &[u8], certificate: &[u8], issuer: &[u8]) -> Option<bool> {
    let (_, list) = List::read(list)?;
    let (_, own) = X509Certificate::from_der(certificate).ok()?;
    let is_signed = list.is_signed_by(key_of(issuer)?);
    is_signed.then(|| list.serials.contains(significant(own.raw_serial())))
}

impl List {
    fn read(der: &[u8]) -> Option<(Box<[u8]>, Self)> {
        /// What narrows a list down: this program has no need of such lists (RFC 5280 section 5.2).
        const KNOWN: [&str; 2] = ["2.5.29.20", "2.5.29.35"];
        let ([], list) = CertificateRevocationList::from_der(der).ok()? else {
            return None;
        };
        let issuer = super::der::Reader::new(list.issuer().as_raw()).take(super::der::SEQUENCE)?;
        let is_partial = list.extensions().iter().any(|extension| {
            extension.critical && !KNOWN.contains(&&*extension.oid.to_id_string())
        });
        let serials = list
            .iter_revoked_certificates()
            .map(|entry| significant(entry.raw_serial()).into())
            .collect();
        let found = Self {
            serials,
            from: list.last_update().timestamp(),
            until: list.next_update().map(|time| time.timestamp()),
            is_partial,
            signed_by: Mutex::default(),
            der: der.into(),
        };
        Some((issuer.into(), found))
    }

    fn is_signed_by(&self, key: &[u8]) -> bool {
        let mut known = self.signed_by.lock();
        if let Some((_, is_signed)) = known.iter().find(|(known, _)| **known == *key) {
            return *is_signed;
        }
        let is_signed = Signed::read(&self.der).is_some_and(|(signed, _)| signed.is_by(key));
        if known.len() == MOST_KEYS {
            known.remove(0);
        }
        known.push((key.into(), is_signed));
        is_signed
    }
}

/// A number without the zeros before it.
fn significant(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|&&byte| byte == 0).count();
    &serial[zeros..]
}
