//! The status of a certificate, as its authority tells it (OCSP, RFC 6960): the question and the check
//! of the answer.
//!
//! Owns the DER of both. An answer counts if it is about this certificate, its time has not passed, and
//! the issuer signed it, or somebody whom the issuer let sign answers.

use aws_lc_rs::digest;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use super::der::{self, Reader};
use super::signature::{Signed, key_bits, key_of};

/// What is wrong with a certificate that its authority revoked.
pub const REVOKED: &str = "the certificate is revoked";
const UNKNOWN: &str = "the responder does not know the certificate";

/// How far the clocks of two machines may be apart, in seconds (nginx has five minutes).
const SKEW: i64 = 300;

/// The inside of the `AlgorithmIdentifier` of SHA-1, which names issuers here and secures nothing.
const SHA1: [u8; 9] = [0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00];
/// id-pkix-ocsp-basic
const BASIC: [u8; 9] = [0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01, 0x01];
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const GENERALIZED_TIME: u8 = 0x18;
const CONTEXT_1: u8 = 0xa1;
const CONTEXT_2: u8 = 0xa2;

/// Which certificate a question is about.
#[derive(Clone, Debug)]
pub struct Question {
    /// `CertID`
    id: Vec<u8>,
    /// The issuer's `SubjectPublicKeyInfo`.
    key: Vec<u8>,
}

/// What an authority says of a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// It is as good as its signature.
    Good,
    /// It counts no more.
    Revoked,
    /// The responder never heard of it.
    Unknown,
}

/// What an answer says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// What is said.
    pub standing: Standing,
    /// From when it holds, in seconds since 1970.
    pub from: i64,
    /// When there will be a newer one; `None` where there always is.
    pub until: Option<i64>,
}

impl Question {
    /// The question about a certificate; both as DER. `None` if one of them is none.
    pub fn new(certificate: &[u8], issuer: &[u8]) -> Option<Self> {
        let (_, own) = X509Certificate::from_der(certificate).ok()?;
        let (_, above) = X509Certificate::from_der(issuer).ok()?;
        if own.issuer().as_raw() != above.subject().as_raw() {
            return None;
        }
        Self::of_parts(own.raw_serial(), above.subject().as_raw(), key_of(issuer)?)
    }

    /// The question about the certificate with this serial number (as in its DER), whose issuer has
    /// this name and key (a `SubjectPublicKeyInfo`), both as DER.
    pub fn of_parts(serial: &[u8], issuer: &[u8], key: &[u8]) -> Option<Self> {
        let hash = |bytes: &[u8]| {
            let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, bytes);
            write(OCTET_STRING, digest.as_ref())
        };
        let content = [
            write(der::SEQUENCE, &SHA1),
            hash(issuer),
            hash(key_bits(key)?),
            write(der::INTEGER, serial),
        ];
        Some(Self {
            id: write(der::SEQUENCE, &content.concat()),
            key: key.to_vec(),
        })
    }

    /// What tells the certificate from all others.
    pub fn id(&self) -> &[u8] {
        &self.id
    }

    /// The question as it is sent (`OCSPRequest`).
    pub fn request(&self) -> Vec<u8> {
        // request, list of requests, what is asked, all of it.
        let mut bytes = self.id.clone();
        for _ in ["Request", "requestList", "TBSRequest", "OCSPRequest"] {
            bytes = write(der::SEQUENCE, &bytes);
        }
        bytes
    }

    /// Checks an answer (`OCSPResponse`) at a time, in seconds since 1970. The error says what is wrong
    /// with it, or with the certificate.
    pub fn check(&self, response: &[u8], now: i64) -> Result<Answer, &'static str> {
        let answer = self.hear(response, now)?;
        match answer.standing {
            Standing::Good => Ok(answer),
            Standing::Revoked => Err(REVOKED),
            Standing::Unknown => Err(UNKNOWN),
        }
    }

    /// As [`Question::check`], where the error only says what is wrong with the answer.
    pub fn hear(&self, response: &[u8], now: i64) -> Result<Answer, &'static str> {
        const BROKEN: &str = "the answer cannot be read";
        let mut outer = Reader::new(response).enter(der::SEQUENCE).ok_or(BROKEN)?;
        match outer.take(ENUMERATED).ok_or(BROKEN)? {
            [0] => {}
            [1] => return Err("the responder calls the question malformed"),
            [2] => return Err("the responder has an internal error"),
            [3] => return Err("the responder says to try later"),
            [5 | 6] => return Err("the responder does not answer us"),
            _ => return Err("the responder does not answer"),
        }
        let mut bytes = outer
            .enter(der::CONTEXT_0)
            .and_then(|mut reader| reader.enter(der::SEQUENCE))
            .ok_or(BROKEN)?;
        if bytes.take(der::OBJECT_IDENTIFIER) != Some(&BASIC) {
            return Err("the answer is of an unknown kind");
        }
        let basic = bytes.take(OCTET_STRING).ok_or(BROKEN)?;
        let (signed, rest) = Signed::read(basic).ok_or(BROKEN)?;
        self.check_signature(&signed, rest, now)?;
        self.read(signed.content, now).ok_or(BROKEN)?
    }

    fn check_signature(
        &self,
        signed: &Signed<'_>,
        mut rest: Reader<'_>,
        now: i64,
    ) -> Result<(), &'static str> {
        /// id-kp-OCSPSigning
        const MAY_ANSWER: &str = "1.3.6.1.5.5.7.3.9";
        let issuer = &self.key;
        if signed.is_by(issuer) {
            return Ok(());
        }
        let certificates = rest
            .enter(der::CONTEXT_0)
            .and_then(|mut reader| reader.take(der::SEQUENCE));
        let mut certificates = certificates.unwrap_or_default();
        while let Ok((after, certificate)) = X509Certificate::from_der(certificates) {
            let der = &certificates[..certificates.len() - after.len()];
            certificates = after;
            let may_answer = certificate.extended_key_usage().ok().flatten();
            let may_answer = may_answer.is_some_and(|usage| {
                let other = &usage.value.other;
                usage.value.ocsp_signing || other.iter().any(|oid| oid.to_id_string() == MAY_ANSWER)
            });
            let validity = certificate.validity();
            let is_current = validity.not_before.timestamp() <= now + SKEW
                && now - SKEW <= validity.not_after.timestamp();
            let is_let = Signed::read(der).is_some_and(|(own, _)| own.is_by(issuer));
            if may_answer
                && is_current
                && is_let
                && key_of(der).is_some_and(|key| signed.is_by(key))
            {
                return Ok(());
            }
        }
        Err("the answer is not signed by the issuer, nor by whom it lets answer")
    }

    /// Reads what is signed (`ResponseData`).
    fn read(&self, content: &[u8], now: i64) -> Option<Result<Answer, &'static str>> {
        let mut data = Reader::new(content).enter(der::SEQUENCE)?;
        let _ = data.take(der::CONTEXT_0);
        if data.take(CONTEXT_1).is_none() {
            data.take(CONTEXT_2)?;
        }
        data.take(GENERALIZED_TIME)?;
        let mut answers = data.enter(der::SEQUENCE)?;
        let own = Reader::new(&self.id).take(der::SEQUENCE)?;
        while !answers.is_empty() {
            let mut answer = answers.enter(der::SEQUENCE)?;
            if answer.take(der::SEQUENCE)? != own {
                continue;
            }
            let (status, _) = answer.any()?;
            let from = seconds(answer.take(GENERALIZED_TIME)?)?;
            let until = match answer.enter(der::CONTEXT_0) {
                Some(mut until) => Some(seconds(until.take(GENERALIZED_TIME)?)?),
                None => None,
            };
            let standing = match status {
                0x80 => Standing::Good,
                0xa1 => Standing::Revoked,
                _ => Standing::Unknown,
            };
            let is_early = from > now.saturating_add(SKEW);
            let is_over = until.is_some_and(|until| until < now.saturating_sub(SKEW));
            // What was revoked once is never good again, whenever that was said.
            return Some(match (standing, is_early, is_over) {
                (Standing::Good | Standing::Unknown, true, _) => Err("the answer is not valid yet"),
                (Standing::Good | Standing::Unknown, _, true) => Err("the answer is too old"),
                _ => Ok(Answer {
                    standing,
                    from,
                    until,
                }),
            });
        }
        Some(Err("the answer is about another certificate"))
    }
}

/// A value of DER.
fn write(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    let length = content.len();
    match length {
        0..=0x7f => bytes.push(length as u8),
        0x80..=0xff => bytes.extend([0x81, length as u8]),
        _ => bytes.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    bytes.extend_from_slice(content);
    bytes
}

/// A time as `20301231235959Z`, in seconds since 1970.
fn seconds(text: &[u8]) -> Option<i64> {
    let digits = text
        .strip_suffix(b"Z")
        .filter(|digits| digits.len() == 14)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = digits[from..to].iter();
        digits.fold(0i16, |number, digit| number * 10 + i16::from(digit - b'0'))
    };
    let two = |from: usize| number(from, from + 2) as i8;
    let date = jiff::civil::Date::new(number(0, 4), two(4), two(6)).ok()?;
    let time = jiff::civil::Time::new(two(8), two(10), two(12), 0).ok()?;
    let zoned = date
        .to_datetime(time)
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()?;
    Some(zoned.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_others_refused() {
        assert_eq!(seconds(b"19700101000000Z"), Some(0));
        assert_eq!(seconds(b"20261122091500Z"), Some(1_795_338_900));
        for wrong in [
            "20261322091500Z",
            "2026112209150Z",
            "20261122091500",
            "2026112209150aZ",
        ] {
            assert_eq!(seconds(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_that_is_no_answer_is_taken_for_one() {
        let key = rcgen::KeyPair::generate().expect("a key");
        let parameters = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        let certificate = parameters.self_signed(&key).expect("signed");
        let question = Question::new(certificate.der(), certificate.der()).expect("a question");
        assert!(der::is_one_sequence(&question.request()));
        let malformed = [0x30, 3, 0x0a, 1, 1];
        assert_eq!(
            question.check(&malformed, 0),
            Err("the responder calls the question malformed")
        );
        for bytes in [
            &b""[..],
            b"<html>",
            &[0x30, 0],
            &[0x30, 3, 0x0a, 1, 0],
            &question.request(),
        ] {
            assert!(question.check(bytes, 0).is_err());
        }
        let other = rcgen::CertificateParams::new(vec!["x.test".into()]).expect("a name");
        let mut other = other;
        other.distinguished_name = rcgen::DistinguishedName::new();
        let other = other.self_signed(&key).expect("signed");
        assert!(Question::new(certificate.der(), other.der()).is_none());
    }
}
