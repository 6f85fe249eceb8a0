//! What an authority asks to see, while it asks: answers to its challenges, for those who serve.
//!
//! An answer is out for as long as its [`Offer`] lives, so that no order leaves one behind. Instances
//! that share a state directory may stand behind one address: then the authority comes to any of them,
//! so an answer also lies in a file, where the others look for what they do not know themselves. What
//! the end of a program left there is removed with the next one after an hour.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::Read as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::RwLock;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::storage;
use crate::tls::computed::is_plain_name;
use crate::tls::provider;

/// The protocol in which a proof is given (RFC 8737 section 6.2).
pub const PROTOCOL: &[u8] = b"acme-tls/1";

/// Where an authority looks for a token (RFC 8555 section 8.3).
pub const PATH: &[u8] = b"/.well-known/acme-challenge/";

/// Where answers lie for other instances, in the directory of an issuer.
pub const PROOFS: &str = "proofs";

/// The longest token that is looked for in a file; authorities make them of 43 letters.
const LONGEST_TOKEN: usize = 128;
/// The longest answer: a token, a point and the digest of a key.
const LONGEST_ANSWER: u64 = 512;
/// How long an answer lies there at most.
const LEFT: Duration = Duration::from_secs(3600);

/// The longest name of a host (RFC 1035 section 2.3.4), as text.
const LONGEST_NAME: usize = 253;

/// What is offered, with how many orders want it.
type Offered<T> = HashMap<Box<str>, (T, usize)>;

/// The answers that are out now.
#[derive(Debug, Default)]
pub struct Challenges {
    /// So many tokens are out: a request looks here first.
    count: AtomicUsize,
    /// By token (RFC 8555 section 8.3).
    tokens: RwLock<Offered<Arc<str>>>,
    /// By name (RFC 8737).
    handshakes: RwLock<Offered<Arc<ServerConfig>>>,
    /// Where other instances put theirs.
    places: RwLock<Vec<PathBuf>>,
}

impl Challenges {
    /// What stands at a path; `None` also if no authority asks for it now.
    pub fn at(&self, path: &[u8]) -> Option<Arc<str>> {
        let token = std::str::from_utf8(path.strip_prefix(PATH)?).ok()?;
        if self.count.load(Relaxed) > 0
            && let Some((answer, _)) = self.tokens.read().get(token)
        {
            return Some(Arc::clone(answer));
        }
        // No other letters (RFC 8555 section 8.3), so that no path leads anywhere else.
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.len() > LONGEST_TOKEN || token.is_empty() || !token.bytes().all(is_letter) {
            return None;
        }
        let answer = self.elsewhere(&token_file(token))?;
        // Nothing else is told, whatever lies there.
        let is_its_own = answer.strip_prefix(token)?.starts_with('.');
        is_its_own.then(|| answer.into())
    }

    /// Where other instances with the same state put their answers, from now on.
    pub fn look_into(&self, places: Vec<PathBuf>) {
        *self.places.write() = places;
    }

    /// What another instance put out under the name of a file.
    fn elsewhere(&self, file: &str) -> Option<String> {
        let places = self.places.read();
        places.iter().find_map(|place| {
            let mut text = String::new();
            let file = File::open(place.join(file)).ok()?;
            file.take(LONGEST_ANSWER).read_to_string(&mut text).ok()?;
            Some(text)
        })
    }

    /// How a handshake for `acme-tls/1` with this name is answered; the name is in lower case.
    pub fn handshake(&self, name: &str) -> Option<Arc<ServerConfig>> {
        if let Some((config, _)) = self.handshakes.read().get(name) {
            return Some(Arc::clone(config));
        }
        if name.is_empty() || name.len() > LONGEST_NAME || !is_plain_name(name) {
            return None;
        }
        let digest = self.elsewhere(&handshake_file(name))?;
        let digest = data_encoding::HEXLOWER.decode(digest.as_bytes()).ok()?;
        Some(Arc::new(proof(name, digest.as_slice().try_into().ok()?)?))
    }

    /// Puts out the answer for a token, for other instances in this directory.
    pub fn offer_token(self: &Arc<Self>, token: &str, answer: &str, place: &Path) -> Offer {
        let mut tokens = self.tokens.write();
        let entry = tokens
            .entry(token.into())
            .or_insert_with(|| (answer.into(), 0));
        entry.0 = answer.into();
        entry.1 += 1;
        self.count.store(tokens.len(), Relaxed);
        Offer {
            challenges: Arc::clone(self),
            what: What::Token(token.into()),
            file: put(place, &token_file(token), answer),
        }
    }

    /// Puts out the answer to a handshake for a name or an address: a certificate of its own that
    /// holds the digest; for other instances in this directory. `None` if the machine cannot make keys.
    pub fn offer_handshake(
        self: &Arc<Self>,
        name: &str,
        digest: &[u8; 32],
        place: &Path,
    ) -> Option<Offer> {
        let config = Arc::new(proof(name, digest)?);
        let name = server_name(name);
        let file = put(
            place,
            &handshake_file(&name),
            &data_encoding::HEXLOWER.encode(digest),
        );
        let mut handshakes = self.handshakes.write();
        let entry = handshakes
            .entry(name.clone())
            .or_insert_with(|| (Arc::clone(&config), 0));
        entry.0 = config;
        entry.1 += 1;
        Some(Offer {
            challenges: Arc::clone(self),
            what: What::Handshake(name),
            file,
        })
    }
}

fn token_file(token: &str) -> String {
    format!("http-{token}")
}

fn handshake_file(name: &str) -> String {
    format!("tls-{name}")
}

/// Puts an answer where other instances look for it; `None` if that is not to be had, which costs
/// nothing where there is one instance only.
fn put(place: &Path, file: &str, answer: &str) -> Option<PathBuf> {
    let path = place.join(file);
    storage::make_directory(place).ok()?;
    for entry in fs::read_dir(place).ok()?.flatten() {
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|since| since > LEFT)) {
            let _ = fs::remove_file(entry.path());
        }
    }
    storage::write(&path, answer.as_bytes()).ok()?;
    Some(path)
}

/// An answer that is out until this is dropped.
pub struct Offer {
    challenges: Arc<Challenges>,
    what: What,
    /// Where it lies for other instances.
    file: Option<PathBuf>,
}

enum What {
    Token(Box<str>),
    Handshake(Box<str>),
}

impl fmt::Debug for Offer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Offer")
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            // One that stays is of no use to anybody, and removed later.
            let _ = fs::remove_file(file);
        }
        match &self.what {
            What::Token(token) => {
                let mut tokens = self.challenges.tokens.write();
                withdraw(&mut tokens, token);
                self.challenges.count.store(tokens.len(), Relaxed);
            }
            What::Handshake(name) => withdraw(&mut self.challenges.handshakes.write(), name),
        }
    }
}

fn withdraw<T>(offers: &mut Offered<T>, key: &str) {
    if let Some((_, count)) = offers.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            offers.remove(key);
        }
    }
}

/// What a client that asks for a name sends as its name; for an address, the name under which DNS
/// has it (RFC 8738 section 6).
fn server_name(name: &str) -> Box<str> {
    match name.parse() {
        Ok(IpAddr::V4(address)) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa").into()
        }
        Ok(IpAddr::V6(address)) => {
            let mut text = String::with_capacity(72);
            for octet in address.octets().iter().rev() {
                text.push_str(&format!("{:x}.{:x}.", octet & 15, octet >> 4));
            }
            text.push_str("ip6.arpa");
            text.into()
        }
        Err(_) => name.into(),
    }
}

fn proof(name: &str, digest: &[u8; 32]) -> Option<ServerConfig> {
    let key = KeyPair::generate().ok()?;
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).ok()?;
    parameters
        .custom_extensions
        .push(CustomExtension::new_acme_identifier(digest));
    let certificate = parameters.self_signed(&key).ok()?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = provider::provider()
        .key_provider
        .load_private_key(key)
        .ok()?;
    // Not from DER: what is read of it then must know every critical extension, and the proof is one.
    let certified = CertifiedKey::new(vec![certificate.der().clone()], key);
    let mut config = ServerConfig::builder_with_provider(provider::provider())
        .with_safe_default_protocol_versions()
        .ok()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols.push(PROTOCOL.to_vec());
    Some(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_out_as_long_as_somebody_wants_it() {
        let challenges = Arc::new(Challenges::default());
        let path = b"/.well-known/acme-challenge/abc";
        assert!(challenges.at(path).is_none());
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join(PROOFS);
        let first = challenges.offer_token("abc", "abc.xyz", &place);
        let second = challenges.offer_token("abc", "abc.xyz", &place);
        assert_eq!(challenges.at(path).as_deref(), Some("abc.xyz"));
        assert!(challenges.at(b"/.well-known/acme-challenge/abd").is_none());
        assert!(challenges.at(b"/abc").is_none());
        drop(first);
        assert!(challenges.at(path).is_some());
        drop(second);
        assert!(challenges.at(path).is_none());
    }

    #[test]
    fn another_instance_gives_the_answers_as_long_as_they_are_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join(PROOFS);
        let [ours, theirs] = [(); 2].map(|()| Arc::new(Challenges::default()));
        theirs.look_into(vec![directory.path().join("none"), place.clone()]);
        let path = b"/.well-known/acme-challenge/abc_D-1";
        assert!(theirs.at(path).is_none() && theirs.handshake("a.example.com").is_none());
        let token = ours.offer_token("abc_D-1", "abc_D-1.xyz", &place);
        let handshake = ours.offer_handshake("a.example.com", &[7; 32], &place);
        assert!(handshake.is_some());
        assert_eq!(theirs.at(path).as_deref(), Some("abc_D-1.xyz"));
        assert!(theirs.handshake("a.example.com").is_some());
        // What is no answer to the token is not told, and no path leads out of the directory.
        fs::write(place.join("http-key"), "-----BEGIN").expect("written");
        fs::write(directory.path().join("secret"), "secret.x").expect("written");
        for token in ["key", "../secret", "", "/etc/passwd", "a/../../secret"] {
            let path = [PATH, token.as_bytes()].concat();
            assert!(theirs.at(&path).is_none(), "{token}");
        }
        assert!(theirs.handshake("../x").is_none());
        drop((token, handshake));
        assert!(theirs.at(path).is_none() && theirs.handshake("a.example.com").is_none());
    }

    #[test]
    fn an_address_is_asked_for_by_its_name_in_dns() {
        let cases = [
            ("192.0.2.1", "1.2.0.192.in-addr.arpa"),
            (
                "2001:db8::1",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
            ("a.example.com", "a.example.com"),
        ];
        for (name, expected) in cases {
            assert_eq!(&*server_name(name), expected);
            let challenges = Arc::new(Challenges::default());
            let directory = tempfile::tempdir().expect("a directory");
            let offer = challenges.offer_handshake(name, &[7; 32], directory.path());
            assert!(offer.is_some());
            assert!(challenges.handshake(expected).is_some());
            drop(offer);
            assert!(challenges.handshake(expected).is_none());
        }
    }
}
