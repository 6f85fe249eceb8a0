//! What an authority asks to see, while it asks: answers to its challenges, for those who serve.
//!
//! An answer is out for as long as its [`Offer`] lives, so that no order leaves one behind.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::RwLock;
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::tls::provider;

/// The protocol in which a proof is given (RFC 8737 section 6.2).
pub const PROTOCOL: &[u8] = b"acme-tls/1";

/// Where an authority looks for a token (RFC 8555 section 8.3).
pub const PATH: &[u8] = b"/.well-known/acme-challenge/";

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
}

impl Challenges {
    /// What stands at a path; `None` also if no authority asks for it now.
    pub fn at(&self, path: &[u8]) -> Option<Arc<str>> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        let token = std::str::from_utf8(path.strip_prefix(PATH)?).ok()?;
        let tokens = self.tokens.read();
        tokens.get(token).map(|(answer, _)| Arc::clone(answer))
    }

    /// How a handshake for `acme-tls/1` with this name is answered; the name is in lower case.
    pub fn handshake(&self, name: &str) -> Option<Arc<ServerConfig>> {
        let handshakes = self.handshakes.read();
        handshakes.get(name).map(|(config, _)| Arc::clone(config))
    }

    /// Puts out the answer for a token.
    pub fn offer_token(self: &Arc<Self>, token: &str, answer: &str) -> Offer {
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
        }
    }

    /// Puts out the answer to a handshake for a name or an address: a certificate of its own that
    /// holds the digest. `None` if the machine cannot make keys.
    pub fn offer_handshake(self: &Arc<Self>, name: &str, digest: &[u8; 32]) -> Option<Offer> {
        let config = Arc::new(proof(name, digest)?);
        let name = server_name(name);
        let mut handshakes = self.handshakes.write();
        let entry = handshakes
            .entry(name.clone())
            .or_insert_with(|| (Arc::clone(&config), 0));
        entry.0 = config;
        entry.1 += 1;
        Some(Offer {
            challenges: Arc::clone(self),
            what: What::Handshake(name),
        })
    }
}

/// An answer that is out until this is dropped.
pub struct Offer {
    challenges: Arc<Challenges>,
    what: What,
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
        let first = challenges.offer_token("abc", "abc.xyz");
        let second = challenges.offer_token("abc", "abc.xyz");
        assert_eq!(challenges.at(path).as_deref(), Some("abc.xyz"));
        assert!(challenges.at(b"/.well-known/acme-challenge/abd").is_none());
        assert!(challenges.at(b"/abc").is_none());
        drop(first);
        assert!(challenges.at(path).is_some());
        drop(second);
        assert!(challenges.at(path).is_none());
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
            let offer = challenges.offer_handshake(name, &[7; 32]);
            assert!(offer.is_some());
            assert!(challenges.handshake(expected).is_some());
            drop(offer);
            assert!(challenges.handshake(expected).is_none());
        }
    }
}
