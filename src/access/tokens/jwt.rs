//! Is a JSON Web Token (RFC 7519) to be believed?
//!
//! The key decides what a token can be verified as (RFC 8725 section 3.1): `none` is nothing, and a
//! public key is no secret. Invariant: nothing of a token is read into claims before its signature is
//! known to be good.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Map, Value};

use super::keys::KeySet;
use crate::http::claims::Claims;

/// A longer token is not looked at.
pub const LONGEST: usize = 16 << 10;

/// Why a token is not believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disbelief {
    /// It is none.
    Malformed,
    /// It wants something to be understood that is not (`crit`).
    NotUnderstood,
    /// No key that is known signed it.
    NoKey,
    /// It has ended.
    Expired,
    /// It has not begun.
    TooEarly,
}

impl Disbelief {
    /// For the log.
    pub fn words(self) -> &'static str {
        match self {
            Self::Malformed => "it is no token",
            Self::NotUnderstood => "it asks for what is not understood",
            Self::NoKey => "it is not signed by a key that is known",
            Self::Expired => "it has expired",
            Self::TooEarly => "it is not valid yet",
        }
    }
}

/// What a token says if it is to be believed at a moment (since 1970).
pub fn verify(
    token: &[u8],
    keys: &KeySet,
    allows_secrets: bool,
    now: Duration,
    leeway: Duration,
) -> Result<Claims, Disbelief> {
    if token.len() > LONGEST {
        return Err(Disbelief::Malformed);
    }
    let mut parts = token.split(|&byte| byte == b'.');
    let (Some(header), Some(payload), Some(signed), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Disbelief::Malformed);
    };
    let decode = |text: &[u8]| {
        BASE64URL_NOPAD
            .decode(text)
            .map_err(|_| Disbelief::Malformed)
    };
    let object = |text: &[u8]| -> Result<Map<String, Value>, Disbelief> {
        serde_json::from_slice(&decode(text)?).map_err(|_| Disbelief::Malformed)
    };
    let message = &token[..header.len() + 1 + payload.len()];
    let (header, signed) = (object(header)?, decode(signed)?);
    // Extensions that must be understood; none is (RFC 7515 section 4.1.11).
    if header.contains_key("crit") {
        return Err(Disbelief::NotUnderstood);
    }
    let Some(Value::String(algorithm)) = header.get("alg") else {
        return Err(Disbelief::Malformed);
    };
    let id = match header.get("kid") {
        None => None,
        Some(Value::String(id)) => Some(&**id),
        Some(_) => return Err(Disbelief::Malformed),
    };
    let is_signed = keys
        .candidates(id)
        .filter(|key| allows_secrets || !key.is_secret())
        .any(|key| key.verify(algorithm, message, &signed));
    if !is_signed {
        return Err(Disbelief::NoKey);
    }
    let claims = object(payload)?;
    let time = |name: &str| match claims.get(name) {
        None => Ok(None),
        // With a fraction too (RFC 7519 section 2).
        Some(value) => value
            .as_f64()
            .filter(|time| time.is_finite())
            .map(Some)
            .ok_or(Disbelief::Malformed),
    };
    let (now, leeway) = (now.as_secs_f64(), leeway.as_secs_f64());
    if time("exp")?.is_some_and(|end| now >= end + leeway) {
        return Err(Disbelief::Expired);
    }
    if time("nbf")?.is_some_and(|start| now < start - leeway) {
        return Err(Disbelief::TooEarly);
    }
    Ok(Claims { header, claims })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::hmac;
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
    use serde_json::json;

    use super::*;

    const SECRET: &[u8] = b"a secret of thirty-two bytes ...";
    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn encode(bytes: &[u8]) -> String {
        BASE64URL_NOPAD.encode(bytes)
    }

    fn token(header: &Value, claims: &Value, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
        let head = encode(header.to_string().as_bytes());
        let message = format!("{head}.{}", encode(claims.to_string().as_bytes()));
        let signed = sign(message.as_bytes());
        format!("{message}.{}", encode(&signed))
    }

    fn by_secret(message: &[u8]) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
        hmac::sign(&key, message).as_ref().to_vec()
    }

    fn set(keys: Value) -> KeySet {
        KeySet::parse(json!({ "keys": keys }).to_string().as_bytes()).expect("a set")
    }

    fn secrets() -> KeySet {
        set(json!([{ "kty": "oct", "kid": "a", "k": encode(SECRET) }]))
    }

    fn judge(token: &str, keys: &KeySet) -> Result<String, Disbelief> {
        let leeway = Duration::from_secs(10);
        let claims = verify(token.as_bytes(), keys, true, NOW, leeway)?;
        Ok(claims
            .claims
            .get("sub")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned())
    }

    #[test]
    fn every_algorithm_is_verified_with_its_key_and_with_no_other() {
        let random = SystemRandom::new();
        let ed = Ed25519KeyPair::generate().expect("a key");
        let p256 =
            EcdsaKeyPair::generate(&signature::ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let p384 =
            EcdsaKeyPair::generate(&signature::ECDSA_P384_SHA384_FIXED_SIGNING).expect("a key");
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
        let components: signature::RsaPublicKeyComponents<Vec<u8>> = rsa.public_key().into();
        let (e, n) = (components.e, components.n);
        let point = |pair: &EcdsaKeyPair, size: usize| {
            let public = pair.public_key().as_ref();
            (encode(&public[1..=size]), encode(&public[1 + size..]))
        };
        let ((x256, y256), (x384, y384)) = (point(&p256, 32), point(&p384, 48));
        let keys = set(json!([
            { "kty": "oct", "kid": "secret", "k": encode(SECRET) },
            { "kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": encode(ed.public_key().as_ref()) },
            { "kty": "EC", "crv": "P-256", "kid": "p256", "x": x256, "y": y256, "alg": "ES256" },
            { "kty": "EC", "crv": "P-384", "kid": "p384", "x": x384, "y": y384 },
            { "kty": "RSA", "kid": "rsa", "n": encode(&n), "e": encode(&e), "use": "sig" },
            { "kty": "RSA", "kid": "other", "n": encode(&n), "e": encode(&e), "use": "enc" },
            { "kty": "unheard of" },
        ]));
        let sign = |algorithm: &str, message: &[u8]| -> Vec<u8> {
            let by_rsa = |padding: &'static dyn signature::RsaEncoding| {
                let mut signed = vec![0; rsa.public_modulus_len()];
                rsa.sign(padding, &random, message, &mut signed)
                    .expect("signed");
                signed
            };
            let by_hmac = |digest| {
                hmac::sign(&hmac::Key::new(digest, SECRET), message)
                    .as_ref()
                    .to_vec()
            };
            match algorithm {
                "HS256" => by_hmac(hmac::HMAC_SHA256),
                "HS384" => by_hmac(hmac::HMAC_SHA384),
                "HS512" => by_hmac(hmac::HMAC_SHA512),
                "RS256" => by_rsa(&signature::RSA_PKCS1_SHA256),
                "RS384" => by_rsa(&signature::RSA_PKCS1_SHA384),
                "RS512" => by_rsa(&signature::RSA_PKCS1_SHA512),
                "PS256" => by_rsa(&signature::RSA_PSS_SHA256),
                "PS384" => by_rsa(&signature::RSA_PSS_SHA384),
                "PS512" => by_rsa(&signature::RSA_PSS_SHA512),
                "ES256" => p256
                    .sign(&random, message)
                    .expect("signed")
                    .as_ref()
                    .to_vec(),
                "ES384" => p384
                    .sign(&random, message)
                    .expect("signed")
                    .as_ref()
                    .to_vec(),
                _ => ed.sign(message).as_ref().to_vec(),
            }
        };
        let own = |algorithm: &str| match &algorithm[..2] {
            "HS" => "secret",
            "RS" | "PS" => "rsa",
            "ES" if algorithm == "ES256" => "p256",
            "ES" => "p384",
            _ => "ed",
        };
        for algorithm in [
            "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
            "ES256", "ES384", "EdDSA",
        ] {
            for id in ["secret", "ed", "p256", "p384", "rsa", "other", "nobody"] {
                let header = json!({ "alg": algorithm, "kid": id });
                let token = token(&header, &json!({ "sub": "ann" }), |message| {
                    sign(algorithm, message)
                });
                let expected = match id == own(algorithm) {
                    true => Ok("ann".to_owned()),
                    false => Err(Disbelief::NoKey),
                };
                assert_eq!(judge(&token, &keys), expected, "{algorithm} {id}");
            }
        }
        // The public key as if it were a secret.
        let confused = token(
            &json!({ "alg": "HS256", "kid": "rsa" }),
            &json!({ "sub": "ann" }),
            |message| {
                hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &n), message)
                    .as_ref()
                    .to_vec()
            },
        );
        assert_eq!(judge(&confused, &keys), Err(Disbelief::NoKey));
    }

    #[test]
    fn what_is_not_signed_is_not_believed() {
        let claims = json!({ "sub": "ann" });
        let good = token(&json!({ "alg": "HS256" }), &claims, by_secret);
        assert_eq!(judge(&good, &secrets()), Ok("ann".to_owned()));
        for algorithm in ["none", "None", "", "HS512", "hs256"] {
            let header = json!({ "alg": algorithm });
            assert!(
                judge(&token(&header, &claims, by_secret), &secrets()).is_err(),
                "{algorithm}"
            );
            assert!(judge(&token(&header, &claims, |_| Vec::new()), &secrets()).is_err());
        }
        let (message, _) = good.rsplit_once('.').expect("three parts");
        let forged = format!(
            "{}.{}",
            encode(br#"{"alg":"HS256"}"#),
            encode(br#"{"sub":"root"}"#)
        );
        for token in [
            message.to_owned(),
            format!("{message}."),
            format!("{good}."),
            format!("{good}.x"),
            format!(".{good}"),
            format!("{good}x"),
            good.replace('.', ".."),
            forged + &good[message.len()..],
            String::new(),
            "a.b.c".to_owned(),
            format!("{good}{}", "A".repeat(LONGEST)),
        ] {
            assert!(judge(&token, &secrets()).is_err(), "{token}");
        }
        let critical = token(
            &json!({ "alg": "HS256", "crit": ["x"] }),
            &claims,
            by_secret,
        );
        assert_eq!(judge(&critical, &secrets()), Err(Disbelief::NotUnderstood));
        let no_secrets = verify(good.as_bytes(), &secrets(), false, NOW, Duration::ZERO);
        assert_eq!(no_secrets, Err(Disbelief::NoKey));
    }

    #[test]
    fn a_token_has_its_time() {
        let at = |claims: Value| {
            judge(
                &token(&json!({ "alg": "HS256" }), &claims, by_secret),
                &secrets(),
            )
        };
        let now = NOW.as_secs();
        assert_eq!(at(json!({ "exp": now + 1 })), Ok(String::new()));
        assert_eq!(at(json!({ "exp": now - 9 })), Ok(String::new()));
        assert_eq!(at(json!({ "exp": now - 10 })), Err(Disbelief::Expired));
        assert_eq!(at(json!({ "exp": 0.5 })), Err(Disbelief::Expired));
        assert_eq!(at(json!({ "nbf": now + 10 })), Ok(String::new()));
        assert_eq!(at(json!({ "nbf": now + 11 })), Err(Disbelief::TooEarly));
        assert_eq!(at(json!({ "exp": "never" })), Err(Disbelief::Malformed));
    }

    #[test]
    fn short_secrets_are_no_keys() {
        assert!(set(json!([{ "kty": "oct", "k": encode(b"short") }])).is_empty());
        assert!(KeySet::parse(b"[]").is_none() && KeySet::parse(b"{}").is_none());
    }
}
