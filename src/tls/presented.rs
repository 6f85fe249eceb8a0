//! A certificate as nginx's `$ssl_client_…` variables show it.
//!
//! Owns the forms, each a pure function of the certificate's DER and, where needed, of the time.
//! Knows neither connections nor how a certificate was verified.

use std::fmt::Write as _;

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use super::{distinguished_name, pem};

/// A certificate that was presented.
pub struct Presented<'a>(X509Certificate<'a>);

impl<'a> Presented<'a> {
    /// Reads a certificate; nothing may follow it.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Some(Self(certificate)),
            _ => None,
        }
    }

    /// `$ssl_client_s_dn`.
    pub fn subject(&self) -> String {
        distinguished_name::rfc2253(self.0.subject())
    }

    /// `$ssl_client_i_dn`.
    pub fn issuer(&self) -> String {
        distinguished_name::rfc2253(self.0.issuer())
    }

    /// `$ssl_client_s_dn_legacy`.
    pub fn subject_legacy(&self) -> String {
        distinguished_name::legacy(self.0.subject())
    }

    /// `$ssl_client_i_dn_legacy`.
    pub fn issuer_legacy(&self) -> String {
        distinguished_name::legacy(self.0.issuer())
    }

    /// `$ssl_client_serial`: hexadecimal in capitals, whole bytes.
    pub fn serial(&self) -> String {
        serial(self.0.raw_serial())
    }

    /// `$ssl_client_v_start`.
    pub fn not_before(&self) -> String {
        time(self.0.validity().not_before)
    }

    /// `$ssl_client_v_end`.
    pub fn not_after(&self) -> String {
        time(self.0.validity().not_after)
    }

    /// `$ssl_client_v_remain`: whole days from `now`, in seconds since 1970, to the end; none are
    /// left of what has ended.
    pub fn days_left(&self, now: i64) -> i64 {
        let left = self.0.validity().not_after.timestamp().saturating_sub(now);
        left.max(0) / 86400
    }
}

/// `$ssl_client_fingerprint`: the SHA-1 of the certificate.
pub fn fingerprint(der: &[u8]) -> String {
    let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, der);
    HEXLOWER.encode(digest.as_ref())
}

/// `$ssl_client_raw_cert`: PEM.
pub fn raw(der: &[u8]) -> String {
    pem::write("CERTIFICATE", der)
}

/// `$ssl_client_cert`: PEM for a header field of old, a tab before each line but the first.
pub fn folded(der: &[u8]) -> String {
    raw(der).trim_end().replace('\n', "\n\t")
}

/// `$ssl_client_escaped_cert`: PEM, percent-encoded.
pub fn escaped(der: &[u8]) -> String {
    let raw = raw(der);
    let mut text = String::with_capacity(raw.len() + raw.len() / 8);
    for byte in raw.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            // Writing to a string cannot fail, here and below.
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// An INTEGER as `i2a_ASN1_INTEGER` writes it.
fn serial(content: &[u8]) -> String {
    let is_negative = content.first().is_some_and(|first| *first >= 0x80);
    let mut magnitude = content.to_vec();
    if is_negative {
        let mut carry = true;
        for byte in magnitude.iter_mut().rev() {
            (*byte, carry) = (!*byte).overflowing_add(u8::from(carry));
        }
    }
    let start = magnitude
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(magnitude.len().saturating_sub(1));
    let mut text = String::new();
    if is_negative {
        text.push('-');
    }
    for byte in &magnitude[start..] {
        let _ = write!(text, "{byte:02X}");
    }
    text
}

/// A time as `ASN1_TIME_print` writes it: `Jan  2 03:04:05 2026 GMT`.
fn time(time: ASN1Time) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let time = time.to_datetime();
    let month = MONTHS[usize::from(u8::from(time.month())) - 1];
    format!(
        "{month} {:2} {:02}:{:02}:{:02} {} GMT",
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.year()
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fixture(name: &str) -> (String, Vec<u8>) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/certificates");
        let text = std::fs::read_to_string(path.join(name)).expect("a file");
        let section = pem::sections(text.as_bytes())
            .next()
            .expect("a section")
            .expect("is well");
        let der = section.der.to_vec();
        (text, der)
    }

    #[test]
    fn the_forms_are_those_of_nginx() {
        let (text, der) = fixture("name-plain.pem");
        let presented = Presented::read(&der).expect("a certificate");
        assert_eq!(
            presented.subject(),
            "emailAddress=a@example.com,CN=example.com,OU=Web,O=Example GmbH,L=Berlin,ST=Berlin,C=DE"
        );
        assert_eq!(presented.issuer(), presented.subject());
        assert_eq!(presented.issuer_legacy(), presented.subject_legacy());
        assert!(presented.subject_legacy().starts_with("/C=DE/ST=Berlin/"));
        assert_eq!(presented.serial(), "0A1B2C3D");
        assert_eq!(raw(&der), text);
        assert_eq!(folded(&der), text.trim_end().replace('\n', "\n\t"));
        let escaped = escaped(&der);
        assert!(escaped.starts_with("-----BEGIN%20CERTIFICATE-----%0AMII"));
        assert!(escaped.ends_with("%0A-----END%20CERTIFICATE-----%0A"));
        assert!(!escaped.contains(['+', '/', '=', '\n']));
        let fingerprint = fingerprint(&der);
        assert_eq!(fingerprint.len(), 40);
        assert_eq!(fingerprint, fingerprint.to_lowercase());
    }

    #[test]
    fn serial_numbers_are_written_as_openssl_writes_them() {
        for (content, text) in [
            (&[0][..], "00"),
            (&[0x12], "12"),
            (&[0, 0x80], "80"),
            (&[0, 0xff, 0x01], "FF01"),
            (&[0xff], "-01"),
            (&[0x80, 0x00], "-8000"),
            (&[], ""),
        ] {
            assert_eq!(serial(content), text);
        }
    }

    #[test]
    fn times_are_written_as_openssl_writes_them() {
        let at = |seconds| time(ASN1Time::from_timestamp(seconds).expect("a time"));
        assert_eq!(at(0), "Jan  1 00:00:00 1970 GMT");
        assert_eq!(at(1_797_465_599), "Dec 16 23:59:59 2026 GMT");
    }

    #[test]
    fn whole_days_are_left_and_none_after_the_end() {
        let (_, der) = fixture("name-plain.pem");
        let presented = Presented::read(&der).expect("a certificate");
        let end = presented.0.validity().not_after.timestamp();
        assert_eq!(presented.days_left(end - 2 * 86400), 2);
        assert_eq!(presented.days_left(end - 2 * 86400 + 1), 1);
        assert_eq!(presented.days_left(end + 86400 * 9), 0);
        assert_eq!(presented.days_left(i64::MIN), i64::MAX / 86400);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(at in any::<prop::sample::Index>(), to: u8) {
            let (_, mut der) = fixture("name-several.pem");
            let at = at.index(der.len());
            der[at] = to;
            if let Some(presented) = Presented::read(&der) {
                let _ = (presented.subject(), presented.issuer_legacy(), presented.serial());
                let _ = (presented.not_before(), presented.not_after(), presented.days_left(0));
            }
        }
    }
}
