//! What a certificate says, for people and for decisions.
//!
//! Owns reading it once into plain values, and the question whether it is for a name (RFC 9525). Does
//! not judge: whether a certificate is trusted, expired or right for its server is decided by who
//! asks.

use std::net::IpAddr;

use aws_lc_rs::digest;
use data_encoding::BASE64URL_NOPAD;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::oid_registry::Oid;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::der::{self, Reader};
use super::distinguished_name::{attribute, rfc2253};

/// How many names, and how many addresses of each kind, are kept of a certificate. Authorities allow
/// a hundred names or two; more than this are no certificate that a server has.
const MAX_NAMES: usize = 10_000;

/// One certificate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// The names it is for, in lower case, without a dot at their end, in its order; one may begin with
    /// `*.`.
    pub dns_names: Vec<String>,
    /// The addresses it is for.
    pub addresses: Vec<IpAddr>,
    /// The common name of its subject, which says nothing about what it is for.
    pub common_name: Option<String>,
    /// Whom it is for, in the form of RFC 2253.
    pub subject: String,
    /// Who signed it, in the form of RFC 2253.
    pub issuer: String,
    /// The common name of who signed it.
    pub issuer_common_name: Option<String>,
    /// The organization of who signed it.
    pub issuer_organization: Option<String>,
    /// Its serial number, as `03:a1:…`.
    pub serial: String,
    /// From when it is valid, in seconds since 1970.
    pub not_before: i64,
    /// The last second in which it is valid, in seconds since 1970.
    pub not_after: i64,
    /// What its key is, as `ECDSA P-256`, `RSA 2048` or `Ed25519`.
    pub key: String,
    /// How it was signed, as `ECDSA with SHA-256`.
    pub signature: String,
    /// Its version: 1, 2 or 3.
    pub version: u32,
    /// Is it for its own issuer, signed by its own key?
    pub is_self_signed: bool,
    /// May it sign others?
    pub is_authority: bool,
    /// Must its server staple its status (RFC 7633)?
    pub must_staple: bool,
    /// Where its status is told (OCSP).
    pub ocsp_responders: Vec<String>,
    /// Where the certificate of its issuer is found.
    pub issuer_certificates: Vec<String>,
    /// Where the list is that it would stand on if it were revoked.
    pub revocation_lists: Vec<String>,
    /// What the protocol for renewal information calls it (RFC 9773, section 4.1), unless it has no
    /// key identifier of its issuer.
    pub renewal_identifier: Option<String>,
    /// Of its DER, as `ab:cd:…`.
    pub sha1: String,
    /// Of its DER, as `ab:cd:…`.
    pub sha256: String,
}

impl Facts {
    /// Reads a certificate; `None` if it is none or something follows it.
    pub fn read(der: &[u8]) -> Option<Self> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Some(Self::of(&certificate, der)),
            _ => None,
        }
    }

    pub(super) fn of(certificate: &X509Certificate<'_>, der: &[u8]) -> Self {
        let subject = certificate.subject();
        let issuer = certificate.issuer();
        let mut facts = Self {
            dns_names: Vec::new(),
            addresses: Vec::new(),
            common_name: attribute(subject, COMMON_NAME),
            subject: rfc2253(subject),
            issuer: rfc2253(issuer),
            issuer_common_name: attribute(issuer, COMMON_NAME),
            issuer_organization: attribute(issuer, ORGANIZATION),
            serial: colons(certificate.raw_serial()),
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            key: key_kind(certificate.public_key()),
            signature: signature_name(&certificate.signature_algorithm.algorithm),
            version: certificate.version().0.saturating_add(1),
            is_self_signed: is_self_issued(certificate),
            is_authority: certificate.is_ca(),
            must_staple: false,
            ocsp_responders: Vec::new(),
            issuer_certificates: Vec::new(),
            revocation_lists: Vec::new(),
            renewal_identifier: None,
            sha1: colons(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der).as_ref()),
            sha256: colons(digest::digest(&digest::SHA256, der).as_ref()),
        };
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    for name in names.general_names.iter().take(MAX_NAMES) {
                        match name {
                            GeneralName::DNSName(name) => facts.dns_names.push(plain(name)),
                            GeneralName::IPAddress(octets) => {
                                facts.addresses.extend(address(octets));
                            }
                            _ => {}
                        }
                    }
                }
                ParsedExtension::AuthorityInfoAccess(access) => {
                    for description in access.iter().take(MAX_NAMES) {
                        let GeneralName::URI(address) = &description.access_location else {
                            continue;
                        };
                        match description.access_method.to_id_string().as_str() {
                            OCSP => facts.ocsp_responders.push((*address).to_owned()),
                            CA_ISSUERS => facts.issuer_certificates.push((*address).to_owned()),
                            _ => {}
                        }
                    }
                }
                ParsedExtension::CRLDistributionPoints(points) => {
                    for point in points.iter().take(MAX_NAMES) {
                        let Some(DistributionPointName::FullName(names)) =
                            &point.distribution_point
                        else {
                            continue;
                        };
                        for name in names.iter().take(MAX_NAMES) {
                            if let GeneralName::URI(address) = name {
                                facts.revocation_lists.push((*address).to_owned());
                            }
                        }
                    }
                }
                ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                    facts.renewal_identifier = identifier
                        .key_identifier
                        .as_ref()
                        .map(|key| renewal_identifier(key.0, certificate.raw_serial()));
                }
                _ if extension.oid.to_id_string() == TLS_FEATURE => {
                    // RFC 7633: a sequence of numbers of TLS extensions; 5 is `status_request`.
                    if let Some(mut features) = Reader::new(extension.value).enter(der::SEQUENCE) {
                        while let Some(feature) = features.number() {
                            facts.must_staple |= feature == 5;
                        }
                    }
                }
                _ => {}
            }
        }
        facts
    }

    /// Is the certificate for this name or address? Only alternative names count (RFC 9525,
    /// section 6.3); a `*` stands for exactly one label, the first.
    pub fn covers(&self, name: &str) -> bool {
        let name = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        if let Ok(address) = name.parse::<IpAddr>() {
            return self.addresses.contains(&address);
        }
        let name = plain(name);
        self.dns_names.iter().any(|own| {
            if *own == name {
                return true;
            }
            let (Some(parent), Some((label, rest))) =
                (own.strip_prefix("*."), name.split_once('.'))
            else {
                return false;
            };
            !label.is_empty() && label != "*" && !parent.is_empty() && parent == rest
        })
    }

    /// Is it valid at this time, in seconds since 1970?
    pub fn is_valid_at(&self, now: i64) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }
}

/// RFC 9773, section 4.1: the identifier of the issuer's key and the serial number.
fn renewal_identifier(key: &[u8], serial: &[u8]) -> String {
    BASE64URL_NOPAD.encode(key) + "." + &BASE64URL_NOPAD.encode(serial)
}

/// What kind of key this is.
pub(super) fn key_kind(key: &SubjectPublicKeyInfo<'_>) -> String {
    let identifier = key.algorithm.algorithm.to_id_string();
    match identifier.as_str() {
        "1.2.840.113549.1.1.1" => match key.parsed() {
            Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
            _ => "RSA".to_owned(),
        },
        "1.2.840.10045.2.1" => {
            let parameters = key.algorithm.parameters.as_ref();
            let curve = parameters
                .and_then(|parameters| parameters.as_oid().ok())
                .map(|curve| curve.to_id_string());
            match curve.as_deref() {
                Some("1.2.840.10045.3.1.7") => "ECDSA P-256".to_owned(),
                Some("1.3.132.0.34") => "ECDSA P-384".to_owned(),
                Some("1.3.132.0.35") => "ECDSA P-521".to_owned(),
                Some("1.3.132.0.10") => "ECDSA secp256k1".to_owned(),
                Some(curve) => format!("ECDSA {curve}"),
                None => "ECDSA with a curve of its own".to_owned(),
            }
        }
        _ => KEYS
            .iter()
            .find(|(known, _)| *known == identifier)
            .map_or(identifier, |(_, name)| (*name).to_owned()),
    }
}

fn signature_name(identifier: &Oid<'_>) -> String {
    let identifier = identifier.to_id_string();
    SIGNATURES
        .iter()
        .chain(KEYS)
        .find(|(known, _)| *known == identifier)
        .map_or(identifier, |(_, name)| (*name).to_owned())
}

/// Does it name itself as its issuer, with no other key?
fn is_self_issued(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
        && signs(certificate, certificate)
}

/// Do the identifiers of keys, where there are any, allow that one signed the other?
pub(super) fn signs(issuer: &X509Certificate<'_>, subject: &X509Certificate<'_>) -> bool {
    let wanted =
        subject
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(identifier) => {
                    identifier.key_identifier.as_ref().map(|key| key.0)
                }
                _ => None,
            });
    let own = issuer
        .extensions()
        .iter()
        .find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(key) => Some(key.0),
            _ => None,
        });
    match (wanted, own) {
        (Some(wanted), Some(own)) => wanted == own,
        _ => true,
    }
}

/// A name as names are compared.
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(octets) {
        return Some(octets.into());
    }
    <[u8; 16]>::try_from(octets).ok().map(IpAddr::from)
}

fn colons(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

const COMMON_NAME: &str = "2.5.4.3";
const ORGANIZATION: &str = "2.5.4.10";
const OCSP: &str = "1.3.6.1.5.5.7.48.1";
const CA_ISSUERS: &str = "1.3.6.1.5.5.7.48.2";
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

/// Keys without parameters, which also name their signatures.
const KEYS: &[(&str, &str)] = &[
    ("1.3.101.112", "Ed25519"),
    ("1.3.101.113", "Ed448"),
    ("1.2.840.10040.4.1", "DSA"),
    ("1.2.840.113549.1.1.10", "RSA-PSS"),
    ("2.16.840.1.101.3.4.3.17", "ML-DSA-44"),
    ("2.16.840.1.101.3.4.3.18", "ML-DSA-65"),
    ("2.16.840.1.101.3.4.3.19", "ML-DSA-87"),
];

const SIGNATURES: &[(&str, &str)] = &[
    ("1.2.840.113549.1.1.4", "RSA with MD5"),
    ("1.2.840.113549.1.1.5", "RSA with SHA-1"),
    ("1.2.840.113549.1.1.11", "RSA with SHA-256"),
    ("1.2.840.113549.1.1.12", "RSA with SHA-384"),
    ("1.2.840.113549.1.1.13", "RSA with SHA-512"),
    ("1.2.840.10045.4.1", "ECDSA with SHA-1"),
    ("1.2.840.10045.4.3.2", "ECDSA with SHA-256"),
    ("1.2.840.10045.4.3.3", "ECDSA with SHA-384"),
    ("1.2.840.10045.4.3.4", "ECDSA with SHA-512"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::pem;
    use super::*;

    fn der(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
        let text = std::fs::read(path.join(name)).expect("a file");
        let section = pem::sections(&text)
            .next()
            .expect("a section")
            .expect("is well");
        section.der.to_vec()
    }

    #[test]
    fn a_certificate_is_read_into_plain_values() {
        let facts = Facts::read(&der("leaf.pem")).expect("a certificate");
        assert_eq!(facts.dns_names, ["example.com", "*.example.com"]);
        let addresses: Vec<String> = facts.addresses.iter().map(IpAddr::to_string).collect();
        assert_eq!(addresses, ["192.0.2.7", "2001:db8::7"]);
        assert_eq!(facts.common_name.as_deref(), Some("example.com"));
        assert_eq!(facts.subject, "CN=example.com");
        assert_eq!(facts.issuer, "CN=Workshop E1,O=Workshop");
        assert_eq!(facts.issuer_common_name.as_deref(), Some("Workshop E1"));
        assert_eq!(facts.issuer_organization.as_deref(), Some("Workshop"));
        assert_eq!(facts.not_after - facts.not_before, 90 * 86400);
        assert!(facts.is_valid_at(facts.not_after) && facts.is_valid_at(facts.not_before));
        assert!(!facts.is_valid_at(facts.not_after + 1) && !facts.is_valid_at(0));
        assert_eq!(facts.key, "ECDSA P-256");
        assert_eq!(facts.signature, "ECDSA with SHA-256");
        assert_eq!(facts.version, 3);
        assert!(facts.must_staple && !facts.is_self_signed && !facts.is_authority);
        assert_eq!(facts.ocsp_responders, ["http://ocsp.example.net/"]);
        assert_eq!(facts.issuer_certificates, ["http://ca.example.net/e1.der"]);
        let identifier = facts.renewal_identifier.expect("there is one");
        let (key, serial) = identifier.split_once('.').expect("two parts");
        let decode = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).expect("base64url");
        assert_eq!(decode(key).len(), 20);
        assert_eq!(colons(&decode(serial)), facts.serial);
        assert_eq!((facts.sha1.len(), facts.sha256.len()), (59, 95));
    }

    #[test]
    fn the_identifier_for_renewal_is_that_of_the_standard() {
        // The example of RFC 9773, section 4.1: a serial number with its leading zero.
        let key = [
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0,
            0xae, 0x2c, 0xde, 0x01, 0xc8, 0xd4,
        ];
        assert_eq!(
            renewal_identifier(&key, &[0x00, 0x87, 0x65, 0x43, 0x21]),
            "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"
        );
    }

    #[test]
    fn kinds_of_keys_are_named() {
        for (name, key, version, is_self_signed) in [
            ("rsa.pem", "RSA 2048", 3, true),
            ("weak.pem", "RSA 1024", 3, true),
            ("ed25519.pem", "Ed25519", 3, true),
            ("koblitz.pem", "ECDSA secp256k1", 3, true),
            ("v1.pem", "ECDSA P-256", 1, true),
            ("intermediate.pem", "ECDSA P-256", 3, false),
        ] {
            let facts = Facts::read(&der(name)).expect("a certificate");
            assert_eq!(
                (facts.key.as_str(), facts.version, facts.is_self_signed),
                (key, version, is_self_signed),
                "{name}"
            );
        }
        let intermediate = Facts::read(&der("intermediate.pem")).expect("a certificate");
        assert!(intermediate.is_authority && !intermediate.must_staple);
        let ed25519 = Facts::read(&der("ed25519.pem")).expect("a certificate");
        assert_eq!(ed25519.signature, "Ed25519");
    }

    #[test]
    fn a_certificate_covers_what_its_alternative_names_say() {
        let facts = Facts::read(&der("leaf.pem")).expect("a certificate");
        for name in [
            "example.com",
            "EXAMPLE.com.",
            "a.example.com",
            "_x.example.com",
            "*.example.com",
            "192.0.2.7",
            "2001:DB8::7",
            "[2001:db8::7]",
        ] {
            assert!(facts.covers(name), "{name}");
        }
        for name in [
            "",
            ".",
            ".example.com",
            "a.b.example.com",
            "example.org",
            "com",
            "xexample.com",
            "192.0.2.8",
            "2001:db8::8",
            "*.a.example.com",
        ] {
            assert!(!facts.covers(name), "{name}");
        }
        // The common name alone says nothing.
        let old = Facts::read(&der("v1.pem")).expect("a certificate");
        assert_eq!(old.common_name.as_deref(), Some("old.example"));
        assert!(!old.covers("old.example"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in any::<prop::sample::Index>(), to: u8, name: String) {
            let mut der = der("leaf.pem");
            let at = at.index(der.len());
            der[at] = to;
            if let Some(facts) = Facts::read(&der) {
                facts.covers(&name);
            }
        }
    }
}
