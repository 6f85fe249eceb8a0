//! A certificate chain with its key, as it is loaded from files.
//!
//! Owns what such files may hold, what is wrong with them in words for people, and the order in which
//! a chain is sent. Takes what nginx takes: PEM with the certificate of the server first, keys as
//! PKCS#8, PKCS#1 or SEC1, encrypted or not, and files that hold both. Where nginx would refuse to
//! start for a chain in the wrong order, the order is corrected and a warning left.
//!
//! Invariants: the first certificate of a chain has the public key of the key; a certificate of any
//! version and any issuer is fine, as it is for nginx; no message holds a byte of a key or a password.

use std::fmt;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

use super::der::{self, Reader};
use super::facts::{self, Facts};
use super::file::{self, FileProblem};
use super::password::{self, Locked, Passwords};
use super::pem::{self, Section};
use crate::unit::clock;

/// How many certificates a chain may have. Real ones have four at most.
const MAX_CHAIN: usize = 64;

/// How people make a key that nothing is wrong with out of one that is not supported.
const CONVERT_KEY: &str =
    "write it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc -in KEY -out NEW`";

/// A chain with its key.
#[derive(Debug)]
pub struct Material {
    /// What is sent: the certificate of the server first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key of the first certificate, not encrypted.
    pub key: PrivateKeyDer<'static>,
    /// What is not as it should be, and harms nobody else.
    pub warnings: Vec<Warning>,
    /// What the first certificate says.
    pub facts: Facts,
    signing: Arc<dyn SigningKey>,
}

impl Material {
    /// The chain as PEM, for a file.
    pub fn chain_pem(&self) -> String {
        self.chain
            .iter()
            .map(|certificate| pem::write("CERTIFICATE", certificate))
            .collect()
    }

    /// The key as PEM, not encrypted, for a file of its owner.
    pub fn key_pem(&self) -> Zeroizing<String> {
        let label = match &self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        Zeroizing::new(pem::write(label, self.key.secret_der()))
    }

    /// What handshakes are made with.
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        // Not `CertifiedKey::from_der`: it refuses certificates of version 1, and what it compares has
        // been compared.
        Arc::new(CertifiedKey::new(
            self.chain.clone(),
            Arc::clone(&self.signing),
        ))
    }
}

/// Where a certificate or a key is.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// In a file.
    File(&'a Path),
    /// At hand: the value of `data:`, or what was kept elsewhere.
    Text {
        /// What messages call it.
        name: &'a str,
        /// PEM.
        bytes: &'a [u8],
    },
}

impl Source<'_> {
    fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Text { name, .. } => (*name).to_owned(),
        }
    }
}

/// Loads a certificate with its chain and its key from files.
///
/// # Errors
///
/// If nothing can be served with them.
pub fn load(
    certificate: &Path,
    key: &Path,
    passwords: Option<&Path>,
) -> Result<Material, MaterialError> {
    load_from(Source::File(certificate), Source::File(key), passwords)
}

/// As [`load`], from wherever they are. The file of passwords is read only if the key is encrypted.
///
/// # Errors
///
/// If nothing can be served with them.
pub fn load_from(
    certificate: Source<'_>,
    key: Source<'_>,
    passwords: Option<&Path>,
) -> Result<Material, MaterialError> {
    let now = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    read(certificate, key, passwords, now).map_err(|problem| MaterialError {
        certificate: certificate.name(),
        key: key.name(),
        passwords: passwords.map(|path| path.display().to_string()),
        problem: Box::new(problem),
    })
}

fn read(
    certificate: Source<'_>,
    key: Source<'_>,
    passwords: Option<&Path>,
    now: i64,
) -> Result<Material, Problem> {
    let mut warnings = Vec::new();
    let (text, _) = bytes(certificate, Part::Certificate)?;
    let chain = certificates(&text)?;
    let parsed: Vec<X509Certificate<'_>> = chain
        .iter()
        .map(|(line, der)| match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(certificate),
            _ => Err(Problem::CertificateMalformed { line: *line }),
        })
        .collect::<Result<_, _>>()?;

    let (text, mode) = bytes(key, Part::Key)?;
    let key = private_key(&text, passwords)?;
    let first = facts::key_kind(parsed[0].public_key());
    let signing = any_supported_type(&key).map_err(|_| {
        if is_supported(&first) {
            Problem::KeyMalformed
        } else {
            Problem::KeyUnsupported {
                kind: first.clone(),
            }
        }
    })?;
    let public = signing.public_key().ok_or(Problem::KeyMalformed)?;
    let (_, public) = SubjectPublicKeyInfo::from_der(&public).map_err(|_| Problem::KeyMalformed)?;
    let leaf = parsed
        .iter()
        .position(|certificate| {
            let own = certificate.public_key();
            // Not the algorithm as well: its parameters may be left out.
            own.subject_public_key.data == public.subject_public_key.data
        })
        .ok_or_else(|| Problem::Mismatch {
            certificate: first,
            key: facts::key_kind(&public),
        })?;

    if let Some(mode) = mode.filter(|mode| mode & 0o077 != 0) {
        warnings.push(Warning::KeyPermissions { mode });
    }
    let facts = Facts::of(&parsed[leaf], &chain[leaf].1);
    if now > facts.not_after {
        warnings.push(Warning::Expired {
            not_after: facts.not_after,
        });
    } else if now < facts.not_before {
        warnings.push(Warning::NotYetValid {
            not_before: facts.not_before,
        });
    }
    let order = arrange(&parsed, leaf, &mut warnings);
    if order.len() == 1 && !facts.is_self_signed && !facts.issuer_certificates.is_empty() {
        warnings.push(Warning::ChainIncomplete {
            issuer: facts.issuer.clone(),
        });
    }
    let chain = order
        .into_iter()
        .map(|position| CertificateDer::from(chain[position].1.to_vec()))
        .collect();
    Ok(Material {
        chain,
        key,
        warnings,
        facts,
        signing,
    })
}

/// The bytes of a source, and the permissions of its file.
fn bytes(source: Source<'_>, part: Part) -> Result<(Zeroizing<Vec<u8>>, Option<u32>), Problem> {
    match source {
        Source::File(path) => {
            let (bytes, metadata) =
                file::read(path).map_err(|problem| Problem::File { part, problem })?;
            Ok((bytes, Some(metadata.permissions().mode() & 0o7777)))
        }
        Source::Text { bytes, .. } => {
            let problem = match bytes.len() as u64 {
                0 => FileProblem::Empty,
                1..=file::MAX_BYTES => return Ok((Zeroizing::new(bytes.to_vec()), None)),
                _ => FileProblem::TooLarge,
            };
            Err(Problem::File { part, problem })
        }
    }
}

/// The certificates of a text with the lines where they begin; at least one.
fn certificates(text: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, Problem> {
    let part = Part::Certificate;
    let mut found: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut labels = Vec::new();
    for section in pem::sections(text) {
        let section = section.map_err(|fault| Problem::Pem { part, fault })?;
        let der = match section.label {
            "CERTIFICATE" | "X509 CERTIFICATE" => section.der.to_vec(),
            // What OpenSSL thinks of it follows the certificate.
            "TRUSTED CERTIFICATE" => {
                let mut reader = Reader::new(&section.der);
                match reader.take(der::SEQUENCE) {
                    Some(_) => section.der[..section.der.len() - reader.rest().len()].to_vec(),
                    None => section.der.to_vec(),
                }
            }
            label => {
                note(&mut labels, label);
                continue;
            }
        };
        if found.len() == MAX_CHAIN {
            return Err(Problem::TooManyCertificates);
        }
        found.push((section.line, der));
    }
    if !found.is_empty() {
        return Ok(found);
    }
    Err(if labels.is_empty() {
        Problem::NotPem {
            part,
            form: Form::of(text),
        }
    } else {
        Problem::NoCertificate { labels }
    })
}

/// The first key of a text, opened.
fn private_key(text: &[u8], passwords: Option<&Path>) -> Result<PrivateKeyDer<'static>, Problem> {
    let part = Part::Key;
    let mut labels = Vec::new();
    let mut key = None;
    for section in pem::sections(text) {
        let section = section.map_err(|fault| Problem::Pem { part, fault })?;
        if section.label == "PRIVATE KEY" || section.label.ends_with(" PRIVATE KEY") {
            key = Some(section);
            break;
        }
        note(&mut labels, section.label);
    }
    let Some(section) = key else {
        return Err(if labels.is_empty() {
            Problem::NotPem {
                part,
                form: Form::of(text),
            }
        } else {
            Problem::NoKey { labels }
        });
    };
    let is_encrypted_text = section
        .header("Proc-Type")
        .is_some_and(|kind| kind.ends_with("ENCRYPTED"));
    if section.label == "ENCRYPTED PRIVATE KEY" {
        let key = open(passwords, |passwords| {
            password::open_pkcs8(&section.der, passwords)
        })?;
        return Ok(PrivatePkcs8KeyDer::from(key.to_vec()).into());
    }
    let der = if is_encrypted_text {
        open(passwords, |passwords| {
            password::open_section(&section, passwords)
        })?
    } else {
        section.der.clone()
    };
    key_of(&section, der.to_vec())
}

fn key_of(section: &Section<'_>, der: Vec<u8>) -> Result<PrivateKeyDer<'static>, Problem> {
    match section.label {
        "PRIVATE KEY" => Ok(PrivatePkcs8KeyDer::from(der).into()),
        "RSA PRIVATE KEY" => Ok(PrivatePkcs1KeyDer::from(der).into()),
        "EC PRIVATE KEY" => Ok(PrivateSec1KeyDer::from(der).into()),
        label => Err(Problem::KeyUnsupported {
            kind: label.chars().take(40).collect(),
        }),
    }
}

/// Opens something with the passwords of a file.
fn open<T>(
    path: Option<&Path>,
    open: impl FnOnce(&Passwords) -> Result<T, Locked>,
) -> Result<T, Problem> {
    let passwords = match path {
        Some(path) => Passwords::read(path).map_err(|problem| Problem::File {
            part: Part::Passwords,
            problem,
        })?,
        None => Passwords::default(),
    };
    open(&passwords).map_err(Problem::Locked)
}

/// The order in which certificates are sent: from the one of the server to who signed it and so on,
/// then what else may lead to a trusted one, then what has nothing to do with it.
fn arrange(
    certificates: &[X509Certificate<'_>],
    leaf: usize,
    warnings: &mut Vec<Warning>,
) -> Vec<usize> {
    let name =
        |position: usize| super::distinguished_name::rfc2253(certificates[position].subject());
    let mut left: Vec<usize> = Vec::new();
    for (position, certificate) in certificates.iter().enumerate() {
        let is_same = |earlier: &usize| certificates[*earlier].as_raw() == certificate.as_raw();
        if position != leaf && (is_same(&leaf) || left.iter().any(is_same)) {
            warnings.push(Warning::Repeated {
                subject: name(position),
            });
        } else if position != leaf {
            left.push(position);
        }
    }
    let has_signed = |issuer: usize, subject: usize| {
        let (issuer, subject) = (&certificates[issuer], &certificates[subject]);
        issuer.subject().as_raw() == subject.issuer().as_raw() && facts::signs(issuer, subject)
    };

    let mut order = vec![leaf];
    let mut last = leaf;
    while !has_signed(last, last) {
        let next = left
            .iter()
            .position(|other| *other > last && has_signed(*other, last))
            .or_else(|| left.iter().position(|other| has_signed(*other, last)));
        let Some(next) = next else { break };
        last = left.remove(next);
        order.push(last);
    }
    if !order.is_sorted() || leaf != 0 {
        warnings.push(Warning::Reordered);
    }
    // Other ways to a trusted one, as with authorities that others have signed as well.
    while let Some(next) = left
        .iter()
        .position(|other| order.iter().any(|subject| has_signed(*other, *subject)))
    {
        order.push(left.remove(next));
    }
    for position in &left {
        warnings.push(Warning::Unrelated {
            subject: name(*position),
        });
    }
    order.append(&mut left);
    order
}

fn is_supported(kind: &str) -> bool {
    match kind.strip_prefix("RSA ") {
        Some(bits) => bits
            .parse()
            .is_ok_and(|bits: u32| (2048..=8192).contains(&bits)),
        None => {
            matches!(
                kind,
                "ECDSA P-256" | "ECDSA P-384" | "ECDSA P-521" | "Ed25519"
            ) || kind.starts_with("ML-DSA")
        }
    }
}

/// Remembers what a file holds instead of what it should.
fn note(labels: &mut Vec<String>, label: &str) {
    let label: String = label.chars().take(40).collect();
    if labels.len() < 5 && !labels.contains(&label) {
        labels.push(label);
    }
}

/// One of the files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// The one with the certificates.
    Certificate,
    /// The one with the key.
    Key,
    /// The one with passwords for the key.
    Passwords,
}

/// What a text without PEM looks like.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A certificate or a key without the text around it.
    Der,
    /// A container with a certificate and its key, `.pfx` or `.p12`.
    Pkcs12,
    /// A container with certificates only, `.p7b`.
    Pkcs7,
    /// Text with two bytes for each character.
    Utf16,
    /// PEM whose ends of lines are written as `\n`.
    Escaped,
    /// Anything else.
    Other,
}

impl Form {
    fn of(text: &[u8]) -> Self {
        if text.starts_with(b"\xff\xfe") || text.starts_with(b"\xfe\xff") {
            return Self::Utf16;
        }
        if memchr::memmem::find(text, b"-----\\n").is_some() {
            return Self::Escaped;
        }
        let mut reader = Reader::new(text);
        match reader.enter(der::SEQUENCE) {
            Some(mut inner) if reader.is_empty() => match inner.any() {
                Some((der::INTEGER, [3])) => Self::Pkcs12,
                Some((der::OBJECT_IDENTIFIER, _)) => Self::Pkcs7,
                Some(_) => Self::Der,
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }
}

/// Why nothing can be served with some files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MaterialError {
    /// What the certificate is called: its path, or where else it comes from.
    pub certificate: String,
    /// What the key is called.
    pub key: String,
    /// The file of passwords.
    pub passwords: Option<String>,
    /// What is wrong.
    pub problem: Box<Problem>,
}

/// See [`MaterialError`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// A file cannot be read.
    File {
        /// Which.
        part: Part,
        /// Why.
        problem: FileProblem,
    },
    /// A file has no PEM.
    NotPem {
        /// Which.
        part: Part,
        /// What it looks like.
        form: Form,
    },
    /// A file has PEM that is broken.
    Pem {
        /// Which.
        part: Part,
        /// What is broken.
        fault: pem::Fault,
    },
    /// The file of the certificate has none.
    NoCertificate {
        /// What it has instead.
        labels: Vec<String>,
    },
    /// Something that says it is a certificate is none.
    CertificateMalformed {
        /// The line where it begins, from 1.
        line: usize,
    },
    /// There are more certificates than any chain has.
    TooManyCertificates,
    /// The file of the key has none.
    NoKey {
        /// What it has instead.
        labels: Vec<String>,
    },
    /// The key cannot be decrypted.
    Locked(Locked),
    /// The key is of a kind that is not supported.
    KeyUnsupported {
        /// Which.
        kind: String,
    },
    /// What says it is a key is none.
    KeyMalformed,
    /// The key is not that of any of the certificates.
    Mismatch {
        /// The kind of key of the first certificate.
        certificate: String,
        /// The kind of the key.
        key: String,
    },
}

impl fmt::Display for MaterialError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let certificate = format!("certificate `{}`", self.certificate);
        let key = format!("key `{}` of certificate `{}`", self.key, self.certificate);
        let part_name = |part: &Part| match part {
            Part::Certificate => certificate.clone(),
            Part::Key => key.clone(),
            Part::Passwords => format!(
                "passwords `{}` for {key}",
                self.passwords.as_deref().unwrap_or_default()
            ),
        };
        match &*self.problem {
            Problem::File { part, problem } => match problem {
                FileProblem::Empty => write!(formatter, "{} is empty", part_name(part)),
                FileProblem::TooLarge => write!(formatter, "{} is too large", part_name(part)),
                _ => write!(formatter, "cannot read {}: {problem}", part_name(part)),
            },
            Problem::NotPem { part, form } => write!(
                formatter,
                "{} is {}",
                part_name(part),
                match form {
                    Form::Der => "in DER form, not PEM",
                    Form::Pkcs12 => "a PKCS#12 container, not PEM",
                    Form::Pkcs7 => "a PKCS#7 container, not PEM",
                    Form::Utf16 => "UTF-16 text",
                    Form::Escaped => "PEM in which ends of lines are written as `\\n`",
                    Form::Other => "not PEM",
                }
            ),
            Problem::Pem { part, fault } => {
                write!(formatter, "{} is broken: {fault}", part_name(part))
            }
            Problem::NoCertificate { labels } => {
                write!(
                    formatter,
                    "{certificate} has no certificate, but {}",
                    list(labels)
                )
            }
            Problem::CertificateMalformed { line } => write!(
                formatter,
                "{certificate} is broken: what begins in line {line} is no certificate"
            ),
            Problem::TooManyCertificates => {
                write!(
                    formatter,
                    "{certificate} has more than {MAX_CHAIN} certificates"
                )
            }
            Problem::NoKey { labels } => {
                write!(formatter, "{key} has no private key, but {}", list(labels))
            }
            Problem::Locked(locked) => match locked {
                Locked::NoPassword => write!(formatter, "{key} is encrypted"),
                Locked::WrongPassword { tried: 1 } => {
                    write!(formatter, "the password does not open {key}")
                }
                Locked::WrongPassword { tried } => {
                    write!(formatter, "none of {tried} passwords opens {key}")
                }
                Locked::Unsupported { scheme } => write!(
                    formatter,
                    "{key} is encrypted in a way that is not supported: {scheme}"
                ),
                Locked::TooCostly => {
                    write!(formatter, "{key} asks for too many rounds to be decrypted")
                }
                Locked::Malformed => write!(formatter, "{key} is broken"),
            },
            Problem::KeyUnsupported { kind } => {
                write!(
                    formatter,
                    "{key} is of a kind that is not supported: {kind}"
                )
            }
            Problem::KeyMalformed => write!(formatter, "{key} is broken"),
            Problem::Mismatch {
                certificate: other,
                key,
            } if other == key => write!(
                formatter,
                "key `{}` does not belong to {certificate}",
                self.key
            ),
            Problem::Mismatch {
                certificate: other,
                key,
            } => write!(
                formatter,
                "key `{}` does not belong to {certificate}: it is {key}, the certificate is for \
                 {other}",
                self.key
            ),
        }
    }
}

impl std::error::Error for MaterialError {}

impl MaterialError {
    /// The way out, where one is known.
    pub fn hint(&self) -> Option<String> {
        let path = |part: Part| match part {
            Part::Certificate => self.certificate.as_str(),
            Part::Key => self.key.as_str(),
            Part::Passwords => self.passwords.as_deref().unwrap_or_default(),
        };
        Some(match &*self.problem {
            Problem::File { part, problem } => match problem {
                FileProblem::Missing => {
                    "is the path right? relative ones start at the directory of the configuration"
                        .to_owned()
                }
                FileProblem::Denied => {
                    let user = reader();
                    let path = path(*part);
                    format!(
                        "it is read as `{user}`: `setfacl -m u:{user}:r {path}` lets it, and every \
                         directory before it must let `{user}` pass (`x`)"
                    )
                }
                FileProblem::Directory => match part {
                    Part::Certificate => "name the file in it, as `fullchain.pem`".to_owned(),
                    Part::Key => "name the file in it, as `privkey.pem`".to_owned(),
                    Part::Passwords => return None,
                },
                FileProblem::Empty if *part == Part::Passwords => {
                    "write a password on each line".to_owned()
                }
                _ => return None,
            },
            Problem::NotPem { part, form } => {
                let file = path(*part);
                match form {
                    Form::Der if *part == Part::Certificate => {
                        format!("`openssl x509 -inform DER -in {file} -out NEW` makes PEM of it")
                    }
                    Form::Der => {
                        format!("`openssl pkey -inform DER -in {file} -out NEW` makes PEM of it")
                    }
                    Form::Pkcs12 => format!("`openclaw cert import {file}` takes it"),
                    Form::Pkcs7 => {
                        format!("`openssl pkcs7 -inform DER -print_certs -in {file} -out NEW` makes PEM of it")
                    }
                    Form::Utf16 => "save it as UTF-8".to_owned(),
                    Form::Escaped => "write ends of lines as such".to_owned(),
                    Form::Other => "PEM begins with a line like `-----BEGIN CERTIFICATE-----`".to_owned(),
                }
            }
            Problem::Pem { .. } | Problem::CertificateMalformed { .. } => {
                "was it copied whole? fetch it again from where it came from".to_owned()
            }
            Problem::NoCertificate { labels } => {
                if labels.iter().any(|label| label.ends_with("PRIVATE KEY")) {
                    "the key belongs into `ssl_certificate_key`: are the two swapped?".to_owned()
                } else if labels.iter().any(|label| label.ends_with("CERTIFICATE REQUEST")) {
                    "that is what is sent to an authority; name the file that came back".to_owned()
                } else if labels.iter().any(|label| label == "PKCS7") {
                    format!(
                        "`openssl pkcs7 -print_certs -in {} -out NEW` takes the certificates out",
                        self.certificate
                    )
                } else {
                    return None;
                }
            }
            Problem::NoKey { labels } => {
                if labels.iter().any(|label| label.ends_with("CERTIFICATE")) {
                    "the certificate belongs into `ssl_certificate`: are the two swapped?".to_owned()
                } else if labels.iter().any(|label| label == "PUBLIC KEY") {
                    "a public key proves nothing; name the private one it was made of".to_owned()
                } else {
                    return None;
                }
            }
            Problem::Locked(Locked::NoPassword) => format!(
                "name a file with its password in `ssl_password_file`, or take the password off: \
                 `openssl pkey -in {} -out NEW`",
                self.key
            ),
            Problem::Locked(Locked::WrongPassword { .. }) => {
                format!("`openssl pkey -in {} -noout` tells whether a password is right", self.key)
            }
            Problem::Locked(Locked::Unsupported { .. } | Locked::TooCostly) => CONVERT_KEY.to_owned(),
            Problem::Locked(Locked::Malformed) | Problem::KeyMalformed => {
                format!("`openssl pkey -in {} -noout -check` tells more", self.key)
            }
            Problem::KeyUnsupported { .. } => {
                "supported are RSA from 2048 to 8192 bits, ECDSA P-256, P-384 and P-521, and Ed25519"
                    .to_owned()
            }
            Problem::Mismatch { .. } => format!(
                "`openssl x509 -noout -pubkey -in {}` and `openssl pkey -pubout -in {}` must print the \
                 same",
                self.certificate, self.key
            ),
            Problem::TooManyCertificates => {
                "is it a list of trusted authorities? only the chain of the certificate belongs there"
                    .to_owned()
            }
        })
    }
}

/// Whom files are read as: a name where there is one.
fn reader() -> String {
    let user = nix::unistd::geteuid();
    let known = nix::unistd::User::from_uid(user).ok().flatten();
    known.map_or_else(|| user.to_string(), |known| known.name)
}

fn list(labels: &[String]) -> String {
    let quoted: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
    quoted.join(", ")
}

/// What is not as it should be with material that is served all the same.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Warning {
    /// It is valid no more.
    Expired {
        /// Its last second, since 1970.
        not_after: i64,
    },
    /// It is not valid yet.
    NotYetValid {
        /// Its first second, since 1970.
        not_before: i64,
    },
    /// The certificates stood in another order than they are sent in.
    Reordered,
    /// A certificate has nothing to do with the others; it is sent last.
    Unrelated {
        /// Its subject.
        subject: String,
    },
    /// A certificate stood there twice; it is sent once.
    Repeated {
        /// Its subject.
        subject: String,
    },
    /// The certificate of who signed is missing.
    ChainIncomplete {
        /// Who signed.
        issuer: String,
    },
    /// Others than its owner can read the key.
    KeyPermissions {
        /// The permissions of its file.
        mode: u32,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { not_after } => {
                write!(formatter, "the certificate expired on {}", day(*not_after))
            }
            Self::NotYetValid { not_before } => write!(
                formatter,
                "the certificate is not valid before {}",
                day(*not_before)
            ),
            Self::Reordered => {
                formatter.write_str("the certificates are not in order; they are sent in order")
            }
            Self::Unrelated { subject } => write!(
                formatter,
                "the certificate of `{subject}` has nothing to do with the others"
            ),
            Self::Repeated { subject } => {
                write!(
                    formatter,
                    "the certificate of `{subject}` stands there twice"
                )
            }
            Self::ChainIncomplete { issuer } => write!(
                formatter,
                "the certificate of `{issuer}`, who signed, is missing"
            ),
            Self::KeyPermissions { mode } => {
                write!(formatter, "others can read the key: its mode is {mode:04o}")
            }
        }
    }
}

impl Warning {
    /// The way out.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "renew it, or let `acme_issuer` renew it by itself",
            Self::NotYetValid { .. } => "is the clock of this machine right?",
            Self::Reordered => "put the certificate of the server first, then who signed it",
            Self::Unrelated { .. } => "remove it",
            Self::Repeated { .. } => "remove one of them",
            Self::ChainIncomplete { .. } => {
                "many programs refuse such a certificate, though browsers may not: name the file with \
                 the whole chain, as `fullchain.pem`"
            }
            Self::KeyPermissions { .. } => "`chmod 600` it",
        }
    }
}

fn day(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(
        |_| "a day that no calendar has".to_owned(),
        |time| time.strftime("%Y-%m-%d").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::*;

    fn path(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/data/certificates")
            .join(name)
    }

    fn text(name: &str) -> String {
        std::fs::read_to_string(path(name)).expect("a file")
    }

    fn source<'a>(name: &'a str, text: &'a str) -> Source<'a> {
        let bytes = text.as_bytes();
        Source::Text { name, bytes }
    }

    /// Loads texts at a moment when all certificates are valid.
    fn load_texts(certificate: &str, key: &str) -> Result<Material, MaterialError> {
        let (certificate, key) = (source("c", certificate), source("k", key));
        read(certificate, key, None, valid()).map_err(|problem| MaterialError {
            certificate: "c".to_owned(),
            key: "k".to_owned(),
            passwords: None,
            problem: Box::new(problem),
        })
    }

    /// A moment when all certificates are valid.
    fn valid() -> i64 {
        let text = text("leaf.pem");
        let section = pem::sections(text.as_bytes())
            .next()
            .expect("one")
            .expect("well");
        Facts::read(&section.der).expect("a certificate").not_before + 86400
    }

    fn problem(certificate: &str, key: &str) -> (Problem, String, String) {
        let error = load_texts(certificate, key).expect_err("it is refused");
        let hint = error.hint().unwrap_or_default();
        ((*error.problem).clone(), error.to_string(), hint)
    }

    #[test]
    fn a_chain_and_its_key_make_a_certified_key() {
        let chain = text("leaf.pem") + &text("intermediate.pem");
        for key in ["leaf.key", "leaf-sec1.key"] {
            let material = load_texts(&chain, &text(key)).expect("it loads");
            assert_eq!(material.warnings, []);
            assert_eq!(material.facts.key, "ECDSA P-256");
            let certified = material.certified_key();
            assert_eq!(certified.cert.len(), 2);
            assert!(certified.keys_match().is_ok());
            let again = load_texts(&material.chain_pem(), &material.key_pem()).expect("it loads");
            assert_eq!(again.chain, material.chain);
        }
        for (certificate, key) in [
            ("rsa.pem", "rsa.key"),
            ("rsa.pem", "rsa-pkcs1.key"),
            ("ed25519.pem", "ed25519.key"),
            ("other.pem", "other.key"),
        ] {
            let material = load_texts(&text(certificate), &text(key)).expect(certificate);
            assert_eq!(material.warnings, [], "{certificate}");
        }
    }

    #[test]
    fn a_certificate_of_version_1_is_served_as_any_other() {
        let material = load_texts(&text("v1.pem"), &text("leaf.key")).expect("it loads");
        assert_eq!(material.facts.version, 1);
        assert_eq!(material.warnings, []);
        let certified = material.certified_key();
        assert_eq!(certified.cert.len(), 1);
        // What the library itself would make of it.
        assert!(certified.keys_match().is_err());
    }

    #[test]
    fn one_file_may_hold_all_of_it() {
        let all = text("leaf.key") + &text("leaf.pem") + &text("intermediate.pem");
        assert_eq!(load_texts(&all, &all).expect("it loads").chain.len(), 2);
        let trusted = all.replace(" CERTIFICATE-", " TRUSTED CERTIFICATE-");
        assert_eq!(load_texts(&trusted, &all).expect("it loads").chain.len(), 2);
    }

    #[test]
    fn a_chain_is_put_in_order_and_what_is_odd_is_told() {
        let (leaf, intermediate, root) =
            (text("leaf.pem"), text("intermediate.pem"), text("root.pem"));
        let other = text("other.pem");
        let unrelated = || Warning::Unrelated {
            subject: "CN=other.example".to_owned(),
        };
        let repeated = |subject: &str| Warning::Repeated {
            subject: subject.to_owned(),
        };
        let subjects = |certificate: &str| -> (Vec<String>, Vec<Warning>) {
            let material = load_texts(certificate, &text("leaf.key")).expect("it loads");
            let names = material.chain.iter().map(|der| {
                let facts = Facts::read(der).expect("a certificate");
                facts.common_name.expect("it has one")
            });
            (names.collect(), material.warnings)
        };
        let in_order = ["example.com", "Workshop E1", "Workshop Root"];
        for (certificate, names, warnings) in [
            (leaf.clone() + &intermediate + &root, &in_order[..], vec![]),
            (leaf.clone() + &intermediate, &in_order[..2], vec![]),
            (
                root.clone() + &intermediate + &leaf,
                &in_order,
                vec![Warning::Reordered],
            ),
            (
                leaf.clone() + &root + &intermediate,
                &in_order,
                vec![Warning::Reordered],
            ),
            (
                leaf.clone() + &other + &intermediate,
                &["example.com", "Workshop E1", "other.example"],
                vec![unrelated()],
            ),
            (
                leaf.clone() + &leaf + &intermediate + &intermediate,
                &in_order[..2],
                vec![
                    repeated("CN=example.com"),
                    repeated("CN=Workshop E1,O=Workshop"),
                ],
            ),
            (
                leaf.clone(),
                &in_order[..1],
                vec![Warning::ChainIncomplete {
                    issuer: "CN=Workshop E1,O=Workshop".to_owned(),
                }],
            ),
        ] {
            assert_eq!(
                subjects(&certificate),
                (names.iter().map(ToString::to_string).collect(), warnings)
            );
        }
        for warning in [Warning::Reordered, unrelated(), repeated("x")] {
            assert!(!warning.to_string().is_empty() && !warning.hint().is_empty());
        }
    }

    #[test]
    fn a_certificate_out_of_its_time_is_served_with_a_warning() {
        let certificate = text("rsa.pem");
        let key = text("rsa.key");
        let warnings = |now| {
            let (certificate, key) = (source("c", &certificate), source("k", &key));
            let material = read(certificate, key, None, now).expect("it loads");
            (material.warnings, material.facts)
        };
        let (none, facts) = warnings(valid());
        assert_eq!(none, []);
        let (warning, _) = warnings(facts.not_after + 1);
        assert_eq!(
            warning,
            [Warning::Expired {
                not_after: facts.not_after
            }]
        );
        assert!(
            warning[0]
                .to_string()
                .starts_with("the certificate expired on 20")
        );
        let (warning, _) = warnings(facts.not_before - 1);
        assert_eq!(
            warning,
            [Warning::NotYetValid {
                not_before: facts.not_before
            }]
        );
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(i64::MAX), "a day that no calendar has");
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_with_both_names() {
        let (found, message, hint) = problem(&text("leaf.pem"), &text("other.key"));
        assert!(matches!(found, Problem::Mismatch { .. }));
        assert_eq!(message, "key `k` does not belong to certificate `c`");
        assert!(hint.contains("openssl x509 -noout -pubkey -in c"), "{hint}");
        let (_, message, _) = problem(&text("leaf.pem"), &text("rsa.key"));
        assert_eq!(
            message,
            "key `k` does not belong to certificate `c`: it is RSA 2048, the certificate is for \
             ECDSA P-256"
        );
    }

    #[test]
    fn what_is_no_certificate_or_no_key_is_told_apart() {
        let (certificate, key) = (text("rsa.pem"), text("rsa.key"));
        let request =
            "-----BEGIN CERTIFICATE REQUEST-----\nAQID\n-----END CERTIFICATE REQUEST-----\n";
        let public = "-----BEGIN PUBLIC KEY-----\nAQID\n-----END PUBLIC KEY-----\n";
        let broken = certificate.replacen("MII", "M!!", 1);
        let cut = &certificate[..certificate.len() / 2];
        let garbage = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let escaped = certificate.replace('\n', "\\n");
        for (certificate, key, message, hint) in [
            ("", &*key, "certificate `c` is empty", ""),
            (
                "garbage",
                &key,
                "certificate `c` is not PEM",
                "PEM begins with a line like",
            ),
            (
                &escaped,
                &key,
                "certificate `c` is PEM in which ends of lines are written as `\\n`",
                "write ends",
            ),
            (
                &key,
                &certificate,
                "certificate `c` has no certificate, but `PRIVATE KEY`",
                "swapped",
            ),
            (
                request,
                &key,
                "certificate `c` has no certificate, but `CERTIFICATE REQUEST`",
                "came back",
            ),
            (
                &broken,
                &key,
                "certificate `c` is broken: line 2 is not base64",
                "copied whole",
            ),
            (
                cut,
                &key,
                "certificate `c` is broken: the `CERTIFICATE` of line 1 has no end",
                "copied whole",
            ),
            (
                garbage,
                &key,
                "certificate `c` is broken: what begins in line 1 is no certificate",
                "copied",
            ),
            (
                &certificate,
                &certificate,
                "key `k` of certificate `c` has no private key, but `CERTIFICATE`",
                "swapped",
            ),
            (
                &certificate,
                public,
                "key `k` of certificate `c` has no private key, but `PUBLIC KEY`",
                "private one",
            ),
            (&certificate, "", "key `k` of certificate `c` is empty", ""),
            (
                &certificate,
                "-----BEGIN PRIVATE KEY-----\nAQID\n-----END PRIVATE KEY-----\n",
                "key `k` of certificate `c` is broken",
                "-check",
            ),
            (
                &certificate,
                "-----BEGIN DSA PRIVATE KEY-----\nAQID\n-----END DSA PRIVATE KEY-----\n",
                "key `k` of certificate `c` is of a kind that is not supported: DSA PRIVATE KEY",
                "supported are",
            ),
        ] {
            let (_, found, way) = problem(certificate, key);
            assert_eq!(found, message);
            assert!(way.contains(hint), "{message}: {way}");
        }
        let many = text("other.pem").repeat(MAX_CHAIN + 1);
        assert_eq!(problem(&many, &key).0, Problem::TooManyCertificates);
    }

    #[test]
    fn kinds_of_keys_that_are_not_supported_are_named() {
        for (name, kind) in [("weak", "RSA 1024"), ("koblitz", "ECDSA secp256k1")] {
            let (found, message, _) =
                problem(&text(&format!("{name}.pem")), &text(&format!("{name}.key")));
            let kind = kind.to_owned();
            assert!(message.ends_with(&kind), "{message}");
            assert_eq!(found, Problem::KeyUnsupported { kind });
        }
    }

    #[test]
    fn containers_and_other_forms_are_recognised() {
        let directory = tempfile::tempdir().expect("a directory");
        let der = directory.path().join("leaf.der");
        let text = text("leaf.pem");
        let section = pem::sections(text.as_bytes())
            .next()
            .expect("one")
            .expect("well");
        std::fs::write(&der, &*section.der).expect("written");
        let wide = directory.path().join("wide.pem");
        let units = text.encode_utf16().flat_map(u16::to_le_bytes);
        std::fs::write(
            &wide,
            [0xff, 0xfe].into_iter().chain(units).collect::<Vec<u8>>(),
        )
        .expect("written");
        for (file, form) in [
            (der, Form::Der),
            (wide, Form::Utf16),
            (path("leaf-modern.pfx"), Form::Pkcs12),
        ] {
            let error = load(&file, &path("leaf.key"), None).expect_err("it is refused");
            let part = Part::Certificate;
            assert_eq!(*error.problem, Problem::NotPem { part, form });
            assert!(error.hint().is_some());
        }
        let error = load(&path("leaf.p7b"), &path("leaf.key"), None).expect_err("it is refused");
        assert!(
            error
                .to_string()
                .ends_with("has no certificate, but `PKCS7`")
        );
        assert!(error.hint().expect("a hint").contains("-print_certs"));
    }

    fn files(directory: &TempDir) -> (PathBuf, PathBuf) {
        let (certificate, key) = (
            directory.path().join("c.pem"),
            directory.path().join("k.pem"),
        );
        std::fs::copy(path("rsa.pem"), &certificate).expect("copied");
        std::fs::copy(path("rsa.key"), &key).expect("copied");
        (certificate, key)
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = files(&directory);
        let none = directory.path().join("none");
        let error = load(&none, &key, None).expect_err("it is refused");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot read certificate `{}`: there is no such file",
                none.display()
            )
        );
        let error = load(&certificate, directory.path(), None).expect_err("it is refused");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot read key `{}` of certificate `{}`: it is a directory",
                directory.path().display(),
                certificate.display()
            )
        );
        assert!(error.hint().expect("a hint").contains("privkey.pem"));
        std::fs::write(&key, vec![b'a'; file::MAX_BYTES as usize + 1]).expect("written");
        let error = load(&certificate, &key, None).expect_err("it is refused");
        assert!(error.to_string().ends_with("is too large"));
    }

    #[test]
    fn a_key_that_others_can_read_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let (certificate, key) = files(&directory);
        for (mode, expected) in [(0o600, vec![]), (0o400, vec![]), (0o640, vec![0o640])] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).expect("set");
            let warnings = load(&certificate, &key, None).expect("it loads").warnings;
            let found: Vec<u32> = warnings
                .iter()
                .filter_map(|warning| match warning {
                    Warning::KeyPermissions { mode } => Some(*mode),
                    _ => None,
                })
                .collect();
            assert_eq!(found, expected);
        }
        let warning = Warning::KeyPermissions { mode: 0o640 };
        assert_eq!(
            warning.to_string(),
            "others can read the key: its mode is 0640"
        );
    }

    #[test]
    fn encrypted_keys_are_opened_with_the_passwords_of_a_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let passwords = directory.path().join("passwords");
        std::fs::write(&passwords, "zeroth\nfirst\n").expect("written");
        for key in [
            "leaf-pbes2-aes-256-cbc.key",
            "leaf-traditional-des-ede3-cbc.key",
        ] {
            let loaded = load(&path("leaf.pem"), &path(key), Some(&passwords));
            assert!(loaded.is_ok(), "{key}");
            let error = load(&path("leaf.pem"), &path(key), None).expect_err("it is refused");
            assert!(error.to_string().ends_with("is encrypted"), "{error}");
            assert!(error.hint().expect("a hint").contains("ssl_password_file"));
        }
        let key = path("leaf-pbes2-aes-256-cbc.key");
        std::fs::write(&passwords, "wrong\n").expect("written");
        let error = load(&path("leaf.pem"), &key, Some(&passwords)).expect_err("it is refused");
        assert!(
            error
                .to_string()
                .starts_with("the password does not open key"),
            "{error}"
        );
        assert!(!format!("{error:?}{error}").contains("wrong"));
        std::fs::remove_file(&passwords).expect("removed");
        let error = load(&path("leaf.pem"), &key, Some(&passwords)).expect_err("it is refused");
        assert!(
            error.to_string().starts_with("cannot read passwords"),
            "{error}"
        );
        // A key that is not encrypted needs none of them.
        assert!(load(&path("leaf.pem"), &path("leaf.key"), Some(&passwords)).is_ok());
        let error = load(&path("leaf.pem"), &path("leaf-scrypt.key"), None).expect_err("refused");
        assert!(
            error.to_string().ends_with("not supported: scrypt"),
            "{error}"
        );
    }

    #[test]
    fn nothing_that_is_shown_holds_the_key() {
        let material = load(&path("rsa.pem"), &path("rsa.key"), None).expect("it loads");
        let shown = format!("{material:?}");
        // The last bytes are of a coefficient that nobody else knows.
        let der = material.key.secret_der();
        let secret = &der[der.len() - 10..];
        let key = data_encoding::HEXLOWER.encode(secret);
        assert!(!shown.contains(&key));
        let numbers = format!("{secret:?}");
        assert!(!shown.contains(numbers.trim_matches(['[', ']'])));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_changed_file_makes_it_panic(at in any::<prop::sample::Index>(), to: u8) {
            let mut bytes = (text("leaf.pem") + &text("intermediate.pem") + &text("leaf.key")).into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = to;
            let source = Source::Text { name: "x", bytes: &bytes };
            if let Err(error) = load_from(source, source, None) {
                let _ = (error.to_string(), error.hint());
            }
        }
    }
}
