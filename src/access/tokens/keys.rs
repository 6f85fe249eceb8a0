//! Keys that tokens are signed with, as a JSON Web Key Set (RFC 7517) has them.
//!
//! A key is for one family of algorithms, so a token cannot choose what it is verified as. Invariant:
//! the number of keys is bounded, weak ones are left out, and none is ever shown.

use std::fmt;

use aws_lc_rs::{hmac, signature};
use data_encoding::BASE64URL_NOPAD;
use serde::Deserialize;

/// A larger set is not read.
pub const LARGEST: u64 = 1 << 20;

/// More keys are not looked at.
const MOST_KEYS: usize = 100;

/// A shorter secret can be guessed from one token (RFC 7518 section 3.2 asks for as many bytes as the
/// digest has).
const LEAST_SECRET: usize = 16;

/// The keys of somebody who signs tokens.
#[derive(Debug, Default)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// One key.
pub struct Key {
    /// Its name in tokens.
    pub id: Option<String>,
    /// The one algorithm that it is for, if that is said.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    Secret(Box<[u8]>),
    Rsa { modulus: Vec<u8>, exponent: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
    Ed25519(Vec<u8>),
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({:?})", self.id)
    }
}

/// As written. What is not known to us is not looked at.
#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    k: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct WrittenSet {
    keys: Vec<serde_json::Value>,
}

impl KeySet {
    /// Reads a set. Keys of a kind that is not known are left out, as RFC 7517 section 5 wants it; `None`
    /// if it is no set.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let written: WrittenSet = serde_json::from_slice(text).ok()?;
        let keys = written.keys.into_iter().take(MOST_KEYS);
        let keys = keys.filter_map(|key| Key::of(serde_json::from_value(key).ok()?));
        Some(Self {
            keys: keys.collect(),
        })
    }

    /// Is there no key that could be used?
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The keys that a token with this name may be signed with.
    pub fn candidates<'a>(&'a self, id: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |key| match (id, &key.id) {
            (Some(id), Some(own)) => id == own,
            _ => true,
        })
    }
}

impl Key {
    fn of(written: Written) -> Option<Self> {
        if written
            .purpose
            .as_deref()
            .is_some_and(|purpose| purpose != "sig")
        {
            return None;
        }
        let bytes = |text: &Option<String>| {
            BASE64URL_NOPAD
                .decode(text.as_deref()?.trim_end_matches('=').as_bytes())
                .ok()
        };
        // Uncompressed, as SEC 1 has it.
        let point = |size: usize| {
            let (x, y) = (bytes(&written.x)?, bytes(&written.y)?);
            (x.len() == size && y.len() == size).then(|| [&[4][..], &x, &y].concat())
        };
        let material = match (&*written.kty, written.crv.as_deref()) {
            ("oct", _) => Material::Secret(
                bytes(&written.k)
                    .filter(|secret| secret.len() >= LEAST_SECRET)?
                    .into(),
            ),
            ("RSA", _) => Material::Rsa {
                modulus: bytes(&written.n)?,
                exponent: bytes(&written.e)?,
            },
            ("EC", Some("P-256")) => Material::P256(point(32)?),
            ("EC", Some("P-384")) => Material::P384(point(48)?),
            ("OKP", Some("Ed25519")) => {
                Material::Ed25519(bytes(&written.x).filter(|key| key.len() == 32)?)
            }
            _ => return None,
        };
        Some(Self {
            id: written.kid,
            algorithm: written.alg,
            material,
        })
    }

    /// Is it a secret that both sides know?
    pub fn is_secret(&self) -> bool {
        matches!(self.material, Material::Secret(_))
    }

    /// Is this the signature of the message by this algorithm (RFC 7518 section 3.1)?
    pub fn verify(&self, algorithm: &str, message: &[u8], signed: &[u8]) -> bool {
        if self
            .algorithm
            .as_deref()
            .is_some_and(|own| own != algorithm)
        {
            return false;
        }
        match (&self.material, algorithm) {
            (Material::Secret(secret), "HS256" | "HS384" | "HS512") => {
                let digest = match algorithm {
                    "HS256" => hmac::HMAC_SHA256,
                    "HS384" => hmac::HMAC_SHA384,
                    _ => hmac::HMAC_SHA512,
                };
                hmac::verify(&hmac::Key::new(digest, secret), message, signed).is_ok()
            }
            (Material::Rsa { modulus, exponent }, _) => {
                let parameters = match algorithm {
                    "RS256" => &signature::RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &signature::RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &signature::RSA_PKCS1_2048_8192_SHA512,
                    "PS256" => &signature::RSA_PSS_2048_8192_SHA256,
                    "PS384" => &signature::RSA_PSS_2048_8192_SHA384,
                    "PS512" => &signature::RSA_PSS_2048_8192_SHA512,
                    _ => return false,
                };
                let key = signature::RsaPublicKeyComponents {
                    n: modulus,
                    e: exponent,
                };
                key.verify(parameters, message, signed).is_ok()
            }
            (Material::P256(point), "ES256") => {
                let key =
                    signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point);
                key.verify(message, signed).is_ok()
            }
            (Material::P384(point), "ES384") => {
                let key =
                    signature::UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point);
                key.verify(message, signed).is_ok()
            }
            (Material::Ed25519(public), "EdDSA" | "Ed25519") => {
                let key = signature::UnparsedPublicKey::new(&signature::ED25519, public);
                key.verify(message, signed).is_ok()
            }
            _ => false,
        }
    }
}
