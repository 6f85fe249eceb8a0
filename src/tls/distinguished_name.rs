//! Distinguished names as text.
//!
//! Owns the two forms that nginx's variables have: that of RFC 2253, last part first
//! (`X509_NAME_print_ex` with `XN_FLAG_RFC2253`), and the older one with slashes
//! (`X509_NAME_oneline`). Both are what OpenSSL makes, byte for byte, since configurations compare
//! them with text. Both are ASCII without control characters, whatever the certificate says.

use std::fmt::Write as _;

use x509_parser::asn1_rs::{Any, Tag};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// As `CN=example.com,O=Example GmbH,C=DE`.
pub fn rfc2253(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    let sets: Vec<_> = name.iter_rdn().collect();
    for set in sets.iter().rev() {
        let parts: Vec<_> = set.iter().collect();
        for (position, part) in parts.iter().rev().enumerate() {
            if !text.is_empty() {
                text.push(if position == 0 { ',' } else { '+' });
            }
            let identifier = part.attr_type().to_id_string();
            match short_name(&identifier) {
                Some(short) => {
                    text.push_str(short);
                    text.push('=');
                    value(part.attr_value(), &mut text);
                }
                None => {
                    text.push_str(&identifier);
                    text.push('=');
                    dump(part.attr_value(), &mut text);
                }
            }
        }
    }
    text
}

/// As `/C=DE/O=Example GmbH/CN=example.com`. Slashes and plus signs in values are escaped, as OpenSSL
/// does since 3.0.12: otherwise a name could pretend to have parts that it does not have.
pub fn legacy(name: &X509Name<'_>) -> String {
    let mut text = String::new();
    for set in name.iter_rdn() {
        for (position, part) in set.iter().enumerate() {
            text.push(if position == 0 { '/' } else { '+' });
            let identifier = part.attr_type().to_id_string();
            text.push_str(short_name(&identifier).unwrap_or(&identifier));
            text.push('=');
            for &byte in part.as_slice() {
                match byte {
                    b'/' | b'+' => {
                        text.push('\\');
                        text.push(char::from(byte));
                    }
                    b' '..=b'~' => text.push(char::from(byte)),
                    // Writing to a string cannot fail, here and below.
                    _ => {
                        let _ = write!(text, "\\x{byte:02X}");
                    }
                }
            }
        }
    }
    text
}

/// The value of the last attribute of this kind, as people read it: `2.5.4.3` is the common name.
pub fn attribute(name: &X509Name<'_>, identifier: &str) -> Option<String> {
    name.iter_attributes()
        .filter(|part| part.attr_type().to_id_string() == identifier)
        .filter_map(text_of)
        .last()
}

fn text_of(part: &AttributeTypeAndValue<'_>) -> Option<String> {
    characters(part.attr_value())?.collect()
}

/// The characters of a string, by its type; `None` instead of one that is none.
fn characters<'a>(value: &'a Any<'_>) -> Option<Box<dyn Iterator<Item = Option<char>> + 'a>> {
    let bytes = value.data;
    let wide = |bytes: &[u8]| {
        let number = bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u32::from(*byte));
        char::from_u32(number)
    };
    Some(match value.tag() {
        Tag::Utf8String => match str::from_utf8(bytes) {
            Ok(text) => Box::new(text.chars().map(Some)),
            Err(_) => return None,
        },
        Tag::NumericString
        | Tag::PrintableString
        | Tag::T61String
        | Tag::Ia5String
        | Tag::UtcTime
        | Tag::GeneralizedTime
        | Tag::VisibleString => Box::new(bytes.iter().map(|byte| Some(char::from(*byte)))),
        Tag::BmpString => Box::new(bytes.chunks(2).map(wide)),
        Tag::UniversalString => Box::new(bytes.chunks(4).map(wide)),
        _ => return None,
    })
}

/// A string with what RFC 2253 wants escaped; everything else as its DER in hexadecimal.
fn value(value: &Any<'_>, text: &mut String) {
    // OpenSSL takes the bytes of a UTF-8 string as they are, whether or not they are UTF-8.
    let bytes: Vec<u8> = if value.tag() == Tag::Utf8String {
        value.data.to_vec()
    } else {
        match characters(value).map(Iterator::collect::<Option<String>>) {
            Some(Some(text)) => text.into_bytes(),
            // Where OpenSSL gives up, and nginx has no variable.
            Some(None) | None => return dump(value, text),
        }
    };
    let last = bytes.len().saturating_sub(1);
    for (position, &byte) in bytes.iter().enumerate() {
        let escaped = match byte {
            b',' | b'+' | b'"' | b'\\' | b'<' | b'>' | b';' => true,
            b' ' => position == 0 || position == last,
            // A sharp that is all of the value counts as the last character, not as the first.
            b'#' => position == 0 && last != 0,
            _ => false,
        };
        match byte {
            _ if escaped => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
}

/// RFC 2253, section 2.4: a sharp and the DER in hexadecimal.
fn dump(value: &Any<'_>, text: &mut String) {
    let constructed = if value.header.is_constructed() {
        0x20
    } else {
        0
    };
    let class = (value.class() as u8) << 6;
    let _ = write!(text, "#{:02X}", class | constructed | value.tag().0 as u8);
    let length = value.data.len();
    if length < 0x80 {
        let _ = write!(text, "{length:02X}");
    } else {
        let octets = length.to_be_bytes();
        let octets = octets.iter().skip_while(|octet| **octet == 0);
        let _ = write!(text, "{:02X}", 0x80 | octets.clone().count());
        for octet in octets {
            let _ = write!(text, "{octet:02X}");
        }
    }
    for byte in value.data {
        let _ = write!(text, "{byte:02X}");
    }
}

/// What OpenSSL calls an attribute.
fn short_name(identifier: &str) -> Option<&'static str> {
    SHORT_NAMES
        .iter()
        .find(|(known, _)| *known == identifier)
        .map(|(_, name)| *name)
}

/// The attributes of X.520, RFC 4519, RFC 4524, PKCS #9 and the guidelines for extended validation.
const SHORT_NAMES: &[(&str, &str)] = &[
    // The usual ones first.
    ("2.5.4.3", "CN"),
    ("2.5.4.10", "O"),
    ("2.5.4.6", "C"),
    ("2.5.4.11", "OU"),
    ("2.5.4.8", "ST"),
    ("2.5.4.7", "L"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.2", "textEncodedORAddress"),
    ("0.9.2342.19200300.100.1.3", "mail"),
    ("0.9.2342.19200300.100.1.4", "info"),
    ("0.9.2342.19200300.100.1.5", "favouriteDrink"),
    ("0.9.2342.19200300.100.1.6", "roomNumber"),
    ("0.9.2342.19200300.100.1.7", "photo"),
    ("0.9.2342.19200300.100.1.8", "userClass"),
    ("0.9.2342.19200300.100.1.9", "host"),
    ("0.9.2342.19200300.100.1.10", "manager"),
    ("0.9.2342.19200300.100.1.11", "documentIdentifier"),
    ("0.9.2342.19200300.100.1.12", "documentTitle"),
    ("0.9.2342.19200300.100.1.13", "documentVersion"),
    ("0.9.2342.19200300.100.1.14", "documentAuthor"),
    ("0.9.2342.19200300.100.1.15", "documentLocation"),
    ("0.9.2342.19200300.100.1.20", "homeTelephoneNumber"),
    ("0.9.2342.19200300.100.1.21", "secretary"),
    ("0.9.2342.19200300.100.1.22", "otherMailbox"),
    ("0.9.2342.19200300.100.1.23", "lastModifiedTime"),
    ("0.9.2342.19200300.100.1.24", "lastModifiedBy"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.26", "aRecord"),
    ("0.9.2342.19200300.100.1.27", "pilotAttributeType27"),
    ("0.9.2342.19200300.100.1.28", "mXRecord"),
    ("0.9.2342.19200300.100.1.29", "nSRecord"),
    ("0.9.2342.19200300.100.1.30", "sOARecord"),
    ("0.9.2342.19200300.100.1.31", "cNAMERecord"),
    ("0.9.2342.19200300.100.1.37", "associatedDomain"),
    ("0.9.2342.19200300.100.1.38", "associatedName"),
    ("0.9.2342.19200300.100.1.39", "homePostalAddress"),
    ("0.9.2342.19200300.100.1.40", "personalTitle"),
    ("0.9.2342.19200300.100.1.41", "mobileTelephoneNumber"),
    ("0.9.2342.19200300.100.1.42", "pagerTelephoneNumber"),
    ("0.9.2342.19200300.100.1.43", "friendlyCountryName"),
    ("0.9.2342.19200300.100.1.44", "uid"),
    ("0.9.2342.19200300.100.1.45", "organizationalStatus"),
    ("0.9.2342.19200300.100.1.46", "janetMailbox"),
    ("0.9.2342.19200300.100.1.47", "mailPreferenceOption"),
    ("0.9.2342.19200300.100.1.48", "buildingName"),
    ("0.9.2342.19200300.100.1.49", "dSAQuality"),
    ("0.9.2342.19200300.100.1.50", "singleLevelQuality"),
    ("0.9.2342.19200300.100.1.51", "subtreeMinimumQuality"),
    ("0.9.2342.19200300.100.1.52", "subtreeMaximumQuality"),
    ("0.9.2342.19200300.100.1.53", "personalSignature"),
    ("0.9.2342.19200300.100.1.54", "dITRedirect"),
    ("0.9.2342.19200300.100.1.55", "audio"),
    ("0.9.2342.19200300.100.1.56", "documentPublisher"),
    ("1.2.643.3.131.1.1", "INN"),
    ("1.2.643.100.1", "OGRN"),
    ("1.2.643.100.3", "SNILS"),
    ("1.2.643.100.5", "OGRNIP"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.2", "unstructuredName"),
    ("1.2.840.113549.1.9.3", "contentType"),
    ("1.2.840.113549.1.9.4", "messageDigest"),
    ("1.2.840.113549.1.9.5", "signingTime"),
    ("1.2.840.113549.1.9.6", "countersignature"),
    ("1.2.840.113549.1.9.7", "challengePassword"),
    ("1.2.840.113549.1.9.8", "unstructuredAddress"),
    ("1.2.840.113549.1.9.9", "extendedCertificateAttributes"),
    ("1.2.840.113549.1.9.20", "friendlyName"),
    ("1.2.840.113549.1.9.21", "localKeyID"),
    ("1.3.6.1.4.1.311.60.2.1.1", "jurisdictionL"),
    ("1.3.6.1.4.1.311.60.2.1.2", "jurisdictionST"),
    ("1.3.6.1.4.1.311.60.2.1.3", "jurisdictionC"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.9", "street"),
    ("2.5.4.12", "title"),
    ("2.5.4.13", "description"),
    ("2.5.4.14", "searchGuide"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.16", "postalAddress"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.18", "postOfficeBox"),
    ("2.5.4.19", "physicalDeliveryOfficeName"),
    ("2.5.4.20", "telephoneNumber"),
    ("2.5.4.21", "telexNumber"),
    ("2.5.4.22", "teletexTerminalIdentifier"),
    ("2.5.4.23", "facsimileTelephoneNumber"),
    ("2.5.4.24", "x121Address"),
    ("2.5.4.25", "internationaliSDNNumber"),
    ("2.5.4.26", "registeredAddress"),
    ("2.5.4.27", "destinationIndicator"),
    ("2.5.4.28", "preferredDeliveryMethod"),
    ("2.5.4.29", "presentationAddress"),
    ("2.5.4.30", "supportedApplicationContext"),
    ("2.5.4.31", "member"),
    ("2.5.4.32", "owner"),
    ("2.5.4.33", "roleOccupant"),
    ("2.5.4.34", "seeAlso"),
    ("2.5.4.35", "userPassword"),
    ("2.5.4.36", "userCertificate"),
    ("2.5.4.37", "cACertificate"),
    ("2.5.4.38", "authorityRevocationList"),
    ("2.5.4.39", "certificateRevocationList"),
    ("2.5.4.40", "crossCertificatePair"),
    ("2.5.4.41", "name"),
    ("2.5.4.42", "GN"),
    ("2.5.4.43", "initials"),
    ("2.5.4.44", "generationQualifier"),
    ("2.5.4.45", "x500UniqueIdentifier"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.47", "enhancedSearchGuide"),
    ("2.5.4.48", "protocolInformation"),
    ("2.5.4.49", "distinguishedName"),
    ("2.5.4.50", "uniqueMember"),
    ("2.5.4.51", "houseIdentifier"),
    ("2.5.4.52", "supportedAlgorithms"),
    ("2.5.4.53", "deltaRevocationList"),
    ("2.5.4.54", "dmdName"),
    ("2.5.4.65", "pseudonym"),
    ("2.5.4.72", "role"),
    ("2.5.4.97", "organizationIdentifier"),
    ("2.5.4.98", "c3"),
    ("2.5.4.99", "n3"),
    ("2.5.4.100", "dnsName"),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use x509_parser::prelude::FromDer;

    use super::super::pem;
    use super::*;

    fn fixture(name: &str) -> Vec<u8> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
        std::fs::read(path.join(name)).expect("a file")
    }

    fn forms(der: &[u8]) -> (String, String) {
        let (_, certificate) =
            x509_parser::certificate::X509Certificate::from_der(der).expect("a certificate");
        (
            rfc2253(certificate.subject()),
            legacy(certificate.subject()),
        )
    }

    #[test]
    fn names_are_written_as_openssl_writes_them() {
        for name in [
            "plain", "escaped", "sharp", "unicode", "several", "unknown", "control",
        ] {
            let text = fixture(&format!("name-{name}.pem"));
            let section = pem::sections(&text)
                .next()
                .expect("a section")
                .expect("is well");
            let expected = |form: &str| {
                let text = fixture(&format!("name-{name}.{form}"));
                String::from_utf8(text)
                    .expect("UTF-8")
                    .trim_end_matches('\n')
                    .to_owned()
            };
            let found = forms(&section.der);
            assert_eq!(found, (expected("rfc2253"), expected("legacy")), "{name}");
        }
    }

    /// A name with one attribute, the common name, of this type.
    fn single(tag: u8, content: &[u8]) -> Vec<u8> {
        let wrap = |tag: u8, content: &[u8]| {
            let length = u8::try_from(content.len()).expect("a short one");
            assert!(length < 0x80);
            [&[tag, length], content].concat()
        };
        let pair = [&[6, 3, 0x55, 4, 3][..], &wrap(tag, content)].concat();
        wrap(0x30, &wrap(0x31, &wrap(0x30, &pair)))
    }

    #[test]
    fn every_type_of_string_is_read_and_others_are_dumped() {
        for (tag, content, form, read) in [
            (0x0c, &b"a#"[..], "CN=a#", Some("a#")),
            (0x0c, b"#", "CN=#", Some("#")),
            (0x0c, b" ", "CN=\\ ", Some(" ")),
            (0x0c, b"\xff", "CN=\\FF", None),
            (0x14, b"\xe4", "CN=\\C3\\A4", Some("ä")),
            (0x1e, b"\x00a\x4e\x16", "CN=a\\E4\\B8\\96", Some("a世")),
            (0x1e, b"\xd8\x00", "CN=#1E02D800", None),
            (0x1c, b"\x00\x01\xf6\x00", "CN=\\F0\\9F\\98\\80", Some("😀")),
            (0x04, b"\x01\x02", "CN=#04020102", None),
            (0x0c, b"", "CN=", Some("")),
        ] {
            let der = single(tag, content);
            let (_, name) = X509Name::from_der(&der).expect("a name");
            assert_eq!(rfc2253(&name), form);
            assert_eq!(attribute(&name, "2.5.4.3").as_deref(), read, "{form}");
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_it_panic_or_leaves_ascii(tag in 0_u8..0x1f, content in prop::collection::vec(any::<u8>(), 0..100)) {
            let der = single(tag, &content);
            if let Ok((_, name)) = X509Name::from_der(&der) {
                for text in [rfc2253(&name), legacy(&name)] {
                    prop_assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
                }
                let _ = attribute(&name, "2.5.4.3");
            }
        }
    }
}
