//! PKCS#12: a certificate, its chain and its key in one file under a password, as `.pfx` or `.p12`.
//!
//! Owns taking such a file apart (RFC 7292). Reads the DER that OpenSSL, Windows and Java write;
//! containers whose lengths are indefinite and those locked with a public key are refused. Nothing is
//! written: what comes out is PEM, for [`super::material`] to judge.

use aws_lc_rs::{digest, hmac};
use zeroize::Zeroizing;

use super::der::{self, Reader};
use super::password::{self, Effort, Locked, Purpose, Scheme};
use super::pem;

/// What a container holds.
pub struct Contents {
    /// All its certificates, in its order, as PEM.
    pub certificates: String,
    /// Its first key, as PEM, not encrypted; empty if there is none.
    pub key: Zeroizing<String>,
}

/// Takes a container apart.
///
/// # Errors
///
/// If it is none, or the password does not open it.
pub fn read(bytes: &[u8], password: &str) -> Result<Contents, Locked> {
    let mut opener = Opener {
        password: password.as_bytes(),
        effort: Effort::default(),
        contents: Contents {
            certificates: String::new(),
            key: Zeroizing::default(),
        },
    };
    opener.container(bytes)?;
    Ok(opener.contents)
}

/// `1.2.840.113549.1.7`, before the number of a kind of content.
const CONTENTS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07];
/// `1.2.840.113549.1.12.10.1`, before the number of a kind of bag.
const BAGS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01];
/// `1.2.840.113549.1.9.22.1`.
const X509: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
/// `2.16.840.1.101.3.4.2`, before the number of a member of SHA-2.
const SHA2: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02];

struct Opener<'a> {
    password: &'a [u8],
    effort: Effort,
    contents: Contents,
}

impl Opener<'_> {
    fn container(&mut self, bytes: &[u8]) -> Result<(), Locked> {
        let mut outer = enter(&mut Reader::new(bytes))?;
        if outer.number() != Some(3) {
            return Err(Locked::Malformed);
        }
        let safe = data(&mut enter(&mut outer)?)?;
        if let Some(mac) = outer.enter(der::SEQUENCE) {
            self.verify(mac, safe)?;
        }
        let mut parts = enter(&mut Reader::new(safe))?;
        while !parts.is_empty() {
            let mut part = enter(&mut parts)?;
            match part
                .clone()
                .take(der::OBJECT_IDENTIFIER)
                .and_then(content_kind)
            {
                Some(1) => self.bags(data(&mut part)?)?,
                Some(6) => {
                    part.any();
                    let mut encrypted = part.enter(der::CONTEXT_0).ok_or(Locked::Malformed)?;
                    let mut encrypted = enter(&mut encrypted)?;
                    encrypted.number().ok_or(Locked::Malformed)?;
                    let mut encrypted = enter(&mut encrypted)?;
                    encrypted.any();
                    let algorithm = encrypted.take(der::SEQUENCE).ok_or(Locked::Malformed)?;
                    let bytes = encrypted
                        .take(der::CONTEXT_0_PRIMITIVE)
                        .ok_or(Locked::Malformed)?;
                    let bags = self.open(algorithm, bytes)?;
                    self.bags(&bags)?;
                }
                _ => {
                    return Err(Locked::Unsupported {
                        scheme: "a container locked with a public key".to_owned(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Compares the code that tells whether the password is right, if it is of a known kind; if not,
    /// what is decrypted will tell.
    fn verify(&mut self, mut mac: Reader<'_>, safe: &[u8]) -> Result<(), Locked> {
        let mut information = enter(&mut mac)?;
        let mut algorithm = enter(&mut information)?;
        let identifier = algorithm.take(der::OBJECT_IDENTIFIER);
        let expected = information
            .take(der::OCTET_STRING)
            .ok_or(Locked::Malformed)?;
        let salt = mac.take(der::OCTET_STRING).ok_or(Locked::Malformed)?;
        let (hash, code): (_, hmac::Algorithm) = match identifier {
            Some(SHA1) => (
                &digest::SHA1_FOR_LEGACY_USE_ONLY,
                hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            ),
            Some(identifier) => match identifier.strip_prefix(SHA2) {
                Some([1]) => (&digest::SHA256, hmac::HMAC_SHA256),
                Some([2]) => (&digest::SHA384, hmac::HMAC_SHA384),
                Some([3]) => (&digest::SHA512, hmac::HMAC_SHA512),
                _ => return Ok(()),
            },
            None => return Err(Locked::Malformed),
        };
        let rounds = if mac.is_empty() {
            std::num::NonZeroU32::MIN
        } else {
            password::rounds(&mut mac)?
        };
        self.effort.spend(rounds.get())?;
        let mut key = Zeroizing::new(vec![0; hash.output_len()]);
        let password = password::pkcs12_password(self.password);
        password::pkcs12_derive(hash, Purpose::Mac, &password, salt, rounds, &mut key);
        hmac::verify(&hmac::Key::new(code, &key), safe, expected)
            .map_err(|_| Locked::WrongPassword { tried: 1 })
    }

    fn bags(&mut self, bytes: &[u8]) -> Result<(), Locked> {
        let mut bags = enter(&mut Reader::new(bytes))?;
        while !bags.is_empty() {
            let mut bag = enter(&mut bags)?;
            let kind = bag.take(der::OBJECT_IDENTIFIER).ok_or(Locked::Malformed)?;
            let mut value = bag.enter(der::CONTEXT_0).ok_or(Locked::Malformed)?;
            match kind.strip_prefix(BAGS) {
                Some([1]) => self.key(value.rest()),
                Some([2]) => {
                    let mut encrypted = enter(&mut value)?;
                    let algorithm = encrypted.take(der::SEQUENCE).ok_or(Locked::Malformed)?;
                    let bytes = encrypted.take(der::OCTET_STRING).ok_or(Locked::Malformed)?;
                    let key = self.open(algorithm, bytes)?;
                    self.key(&key);
                }
                Some([3]) => {
                    let mut certificate = enter(&mut value)?;
                    if certificate.take(der::OBJECT_IDENTIFIER) != Some(X509) {
                        continue;
                    }
                    let der = certificate
                        .enter(der::CONTEXT_0)
                        .and_then(|mut inner| inner.take(der::OCTET_STRING))
                        .ok_or(Locked::Malformed)?;
                    self.contents
                        .certificates
                        .push_str(&pem::write("CERTIFICATE", der));
                }
                // Lists of revoked certificates, secrets of others, and bags in bags.
                _ => {}
            }
        }
        Ok(())
    }

    fn key(&mut self, der: &[u8]) {
        if self.contents.key.is_empty() {
            self.contents.key = Zeroizing::new(pem::write("PRIVATE KEY", der));
        }
    }

    fn open(&mut self, algorithm: &[u8], bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, Locked> {
        let scheme = Scheme::read(algorithm)?;
        self.effort.spend(scheme.rounds())?;
        scheme
            .open(self.password, bytes)
            .filter(|opened| der::is_one_sequence(opened))
            .ok_or(Locked::WrongPassword { tried: 1 })
    }
}

/// The content of the next sequence.
fn enter<'a>(reader: &mut Reader<'a>) -> Result<Reader<'a>, Locked> {
    reader.enter(der::SEQUENCE).ok_or(Locked::Malformed)
}

/// The number of a kind of content (RFC 5652 and its forebears).
fn content_kind(identifier: &[u8]) -> Option<u8> {
    match identifier.strip_prefix(CONTENTS)? {
        [kind] => Some(*kind),
        _ => None,
    }
}

/// The bytes of a content that is plain data.
fn data<'a>(content: &mut Reader<'a>) -> Result<&'a [u8], Locked> {
    match content.take(der::OBJECT_IDENTIFIER).and_then(content_kind) {
        Some(1) => content
            .enter(der::CONTEXT_0)
            .and_then(|mut inner| inner.take(der::OCTET_STRING))
            .ok_or(Locked::Malformed),
        Some(2) => Err(Locked::Unsupported {
            scheme: "a container signed with a public key".to_owned(),
        }),
        _ => Err(Locked::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::material::{self, Source};
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
        std::fs::read(path.join(name)).expect("a file")
    }

    #[test]
    fn containers_of_every_age_are_taken_apart() {
        for (name, password) in [
            ("leaf-modern.pfx", "first"),
            ("leaf-3des.pfx", "first"),
            ("leaf-rc2.pfx", "first"),
            ("leaf-no-password.pfx", ""),
            ("leaf-cyrillic.pfx", "пароль"),
        ] {
            let contents = match read(&fixture(name), password) {
                Ok(contents) => contents,
                Err(locked) => panic!("{name}: {locked:?}"),
            };
            let text = |bytes| Source::Text { name, bytes };
            let material = material::load_from(
                text(contents.certificates.as_bytes()),
                text(contents.key.as_bytes()),
                None,
            )
            .expect("a chain with its key");
            assert_eq!(material.chain.len(), 2, "{name}");
            assert_eq!(material.facts.subject, "CN=example.com");
        }
    }

    #[test]
    fn a_wrong_password_is_told_from_a_broken_container() {
        for name in ["leaf-modern.pfx", "leaf-3des.pfx", "leaf-rc2.pfx"] {
            let locked = read(&fixture(name), "second").err();
            assert_eq!(locked, Some(Locked::WrongPassword { tried: 1 }), "{name}");
        }
        let mut bytes = fixture("leaf-modern.pfx");
        bytes.truncate(500);
        assert_eq!(read(&bytes, "first").err(), Some(Locked::Malformed));
        assert_eq!(read(b"", "first").err(), Some(Locked::Malformed));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_changed_container_makes_it_panic(at in 0_usize..200, to: u8) {
            let mut bytes = fixture("leaf-rc2.pfx");
            bytes[at] = to;
            let _ = read(&bytes, "first");
        }
    }
}
