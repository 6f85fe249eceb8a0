//! Messages of DNS, as far as putting a record takes: questions, updates (RFC 2136), signatures
//! (RFC 8945), and answers read without trust.
//!
//! Pure: bytes in, bytes out. Invariant: no answer, whatever its bytes, makes it panic or loop.

use aws_lc_rs::hmac;

use crate::conf::typed::acme_dns::TsigAlgorithm;

/// Types of records.
pub(super) const SOA: u16 = 6;
pub(super) const TXT: u16 = 16;
const TSIG: u16 = 250;

const CLASS_IN: u16 = 1;
const CLASS_NONE: u16 = 254;
const CLASS_ANY: u16 = 255;

const HEADER: usize = 12;

/// How far the clocks of both ends may be apart, in seconds (RFC 8945 section 10 recommends it).
const FUDGE: u16 = 300;

/// How long a record of a challenge may be remembered, in seconds.
const TTL: u32 = 60;

/// A key that signs.
pub(super) struct Key {
    pub(super) name: Box<str>,
    pub(super) algorithm: TsigAlgorithm,
    pub(super) secret: Vec<u8>,
}

/// A question for all records of a type.
pub(super) fn question(identifier: u16, name: &str, kind: u16) -> Vec<u8> {
    let mut out = head(identifier, 0, [1, 0, 0]);
    put_name(&mut out, name);
    put(&mut out, &[kind, CLASS_IN]);
    out
}

/// What an update does with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Update {
    /// Adds it to whatever is there.
    Add,
    /// Removes it and leaves the others.
    Remove,
}

/// An update of one TXT value.
pub(super) fn update(
    identifier: u16,
    zone: &str,
    change: Update,
    name: &str,
    value: &str,
) -> Vec<u8> {
    const OPCODE: u16 = 5 << 11;
    let mut out = head(identifier, OPCODE, [1, 0, 1]);
    put_name(&mut out, zone);
    put(&mut out, &[SOA, CLASS_IN]);
    put_name(&mut out, name);
    // RFC 2136 sections 2.5.1 and 2.5.4.
    let (class, ttl) = match change {
        Update::Add => (CLASS_IN, TTL),
        Update::Remove => (CLASS_NONE, 0),
    };
    put(&mut out, &[TXT, class]);
    out.extend(ttl.to_be_bytes());
    let mut data = Vec::new();
    for part in value.as_bytes().chunks(255) {
        data.push(part.len() as u8);
        data.extend(part);
    }
    put(&mut out, &[data.len() as u16]);
    out.extend(data);
    out
}

/// Appends a signature; what it returns is needed to verify the answer.
pub(super) fn sign(message: &mut Vec<u8>, key: &Key, time: u64) -> Vec<u8> {
    let mut signed = message.clone();
    put_variables(&mut signed, key, time, FUDGE, 0, &[]);
    let mac = key.mac(&signed);
    let identifier = [message[0], message[1]];
    put_name(message, &key.name);
    put(message, &[TSIG, CLASS_ANY]);
    message.extend(0_u32.to_be_bytes());
    let mut data = Vec::new();
    put_name(&mut data, key.algorithm_name());
    data.extend(&time.to_be_bytes()[2..]);
    put(&mut data, &[FUDGE, mac.len() as u16]);
    data.extend(&mac);
    data.extend(identifier);
    put(&mut data, &[0, 0]);
    put(message, &[data.len() as u16]);
    message.extend(data);
    let additional = u16::from_be_bytes([message[10], message[11]]) + 1;
    message[10..HEADER].copy_from_slice(&additional.to_be_bytes());
    mac
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    bytes: &'a [u8],
    pub(super) code: u8,
    pub(super) is_authoritative: bool,
    pub(super) is_truncated: bool,
    /// Of the answer section.
    pub(super) records: Vec<Found<'a>>,
    signature: Option<Signature<'a>>,
}

/// A record of an answer.
#[derive(Debug)]
pub(super) struct Found<'a> {
    /// In lower case, without a dot at the end.
    pub(super) name: String,
    pub(super) kind: u16,
    data: &'a [u8],
}

#[derive(Debug)]
struct Signature<'a> {
    /// Where its record starts.
    start: usize,
    time: u64,
    fudge: u16,
    mac: &'a [u8],
    error: u16,
    other: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads an answer; `None` if it is none.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let number = |at: usize| Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]));
        let flags = number(2)?;
        let is_answer = flags & 0x8000 != 0;
        if !is_answer {
            return None;
        }
        let counts = [number(4)?, number(6)?, number(8)?, number(10)?];
        let mut at = HEADER;
        for _ in 0..counts[0] {
            at = name_at(bytes, at)?.1.checked_add(4)?;
        }
        let mut answer = Self {
            bytes,
            code: (flags & 0xf) as u8,
            is_authoritative: flags & 0x0400 != 0,
            is_truncated: flags & 0x0200 != 0,
            records: Vec::new(),
            signature: None,
        };
        for (section, count) in counts.into_iter().enumerate().skip(1) {
            for index in 0..count {
                let start = at;
                let (name, after) = name_at(bytes, at)?;
                let kind = number(after)?;
                let length = usize::from(number(after + 8)?);
                let data = bytes.get(after + 10..after + 10 + length)?;
                at = after + 10 + length;
                if section == 1 {
                    answer.records.push(Found { name, kind, data });
                } else if section == 3 && kind == TSIG && index + 1 == count {
                    answer.signature = Some(Signature::parse(bytes, start, at - length, data)?);
                }
            }
        }
        Some(answer)
    }

    /// Does it have the signature that belongs to a request with this one? The number of an error
    /// of signatures (RFC 8945 section 3) otherwise, 0 if there is none.
    pub(super) fn verify(&self, key: &Key, request: &[u8], now: u64) -> Result<(), u16> {
        let Some(signature) = &self.signature else {
            return Err(0);
        };
        if signature.error != 0 {
            return Err(signature.error);
        }
        let mut signed = (request.len() as u16).to_be_bytes().to_vec();
        signed.extend(request);
        let start = signed.len();
        signed.extend(&self.bytes[..signature.start]);
        let additional = u16::from_be_bytes([self.bytes[10], self.bytes[11]]).saturating_sub(1);
        signed[start + 10..start + HEADER].copy_from_slice(&additional.to_be_bytes());
        put_variables(
            &mut signed,
            key,
            signature.time,
            signature.fudge,
            signature.error,
            signature.other,
        );
        const BAD_SIGNATURE: u16 = 16;
        const BAD_TIME: u16 = 18;
        if hmac::verify(&key.hmac(), &signed, signature.mac).is_err() {
            return Err(BAD_SIGNATURE);
        }
        match signature.time.abs_diff(now) <= u64::from(signature.fudge) {
            true => Ok(()),
            false => Err(BAD_TIME),
        }
    }
}

impl Found<'_> {
    /// The text of a TXT record, its parts joined.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let mut rest = self.data;
        while let [length, after @ ..] = rest {
            let length = usize::from(*length).min(after.len());
            text.extend(&after[..length]);
            rest = &after[length..];
        }
        text
    }
}

impl<'a> Signature<'a> {
    fn parse(bytes: &[u8], start: usize, data_start: usize, data: &'a [u8]) -> Option<Self> {
        let skipped = name_at(bytes, data_start)?.1.checked_sub(data_start)?;
        let rest = data.get(skipped..)?;
        let number = |at: usize| Some(u16::from_be_bytes([*rest.get(at)?, *rest.get(at + 1)?]));
        let mut time = [0; 8];
        time[2..].copy_from_slice(rest.get(..6)?);
        let length = usize::from(number(8)?);
        let mac = rest.get(10..10 + length)?;
        // Behind it the identifier, which is that of the message.
        let error = number(12 + length)?;
        let other = usize::from(number(14 + length)?);
        Some(Self {
            start,
            time: u64::from_be_bytes(time),
            fudge: number(6)?,
            mac,
            error,
            other: rest.get(16 + length..16 + length + other)?,
        })
    }
}

impl Key {
    fn algorithm_name(&self) -> &'static str {
        match self.algorithm {
            TsigAlgorithm::HmacSha256 => "hmac-sha256",
            TsigAlgorithm::HmacSha512 => "hmac-sha512",
        }
    }

    fn hmac(&self) -> hmac::Key {
        let algorithm = match self.algorithm {
            TsigAlgorithm::HmacSha256 => hmac::HMAC_SHA256,
            TsigAlgorithm::HmacSha512 => hmac::HMAC_SHA512,
        };
        hmac::Key::new(algorithm, &self.secret)
    }

    fn mac(&self, bytes: &[u8]) -> Vec<u8> {
        hmac::sign(&self.hmac(), bytes).as_ref().to_vec()
    }
}

/// What a code of an answer means (RFC 1035 section 4.1.1, RFC 2136 section 2.2).
pub(super) fn code_name(code: u8) -> &'static str {
    match code {
        1 => "it cannot read the request (FORMERR)",
        2 => "it failed (SERVFAIL)",
        3 => "there is no such name (NXDOMAIN)",
        4 => "it does not know how (NOTIMP)",
        5 => "it refused (REFUSED)",
        8 => "a set that should be there is not (NXRRSET)",
        9 => "it is not the authority, or does not accept the key (NOTAUTH)",
        10 => "the name is not in the zone (NOTZONE)",
        _ => "it answered with an error",
    }
}

/// What an error of signatures means (RFC 8945 section 3).
pub(super) fn signature_error_name(error: u16) -> &'static str {
    match error {
        0 => "its answer is not signed",
        16 => "the signature is wrong: the secrets or algorithms differ (BADSIG)",
        17 => "it does not know the key (BADKEY)",
        18 => "the clocks are too far apart (BADTIME)",
        22 => "the signature is too short (BADTRUNC)",
        _ => "the signature is not accepted",
    }
}

fn head(identifier: u16, flags: u16, [questions, answers, authority]: [u16; 3]) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    put(
        &mut out,
        &[identifier, flags, questions, answers, authority, 0],
    );
    out
}

fn put(out: &mut Vec<u8>, numbers: &[u16]) {
    for number in numbers {
        out.extend(number.to_be_bytes());
    }
}

/// A name without compression, in lower case, as signatures want it.
fn put_name(out: &mut Vec<u8>, name: &str) {
    for label in name.split('.').filter(|label| !label.is_empty()) {
        let label = &label.as_bytes()[..label.len().min(63)];
        out.push(label.len() as u8);
        out.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    out.push(0);
}

/// What is signed behind the message (RFC 8945 section 4.3.3).
fn put_variables(out: &mut Vec<u8>, key: &Key, time: u64, fudge: u16, error: u16, other: &[u8]) {
    put_name(out, &key.name);
    put(out, &[CLASS_ANY]);
    out.extend(0_u32.to_be_bytes());
    put_name(out, key.algorithm_name());
    out.extend(&time.to_be_bytes()[2..]);
    put(out, &[fudge, error, other.len() as u16]);
    out.extend(other);
}

/// A name, and where what follows it starts.
fn name_at(bytes: &[u8], start: usize) -> Option<(String, usize)> {
    let mut name = String::new();
    let mut at = start;
    let mut after = None;
    // Each step back must go further back, so it ends (RFC 1035 section 4.1.4: a prior occurrence).
    let mut least = start;
    loop {
        let length = *bytes.get(at)?;
        match length >> 6 {
            0 if length == 0 => return Some((name, after.unwrap_or(at + 1))),
            0 => {
                let label = bytes.get(at + 1..at + 1 + usize::from(length))?;
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(&String::from_utf8_lossy(label).to_ascii_lowercase());
                if name.len() > 1024 {
                    return None;
                }
                at += 1 + usize::from(length);
            }
            3 => {
                let low = *bytes.get(at + 1)?;
                let target = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                if target >= least {
                    return None;
                }
                least = target;
                after = after.or(Some(at + 2));
                at = target;
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        Key {
            name: "Key.Example".into(),
            algorithm: TsigAlgorithm::HmacSha256,
            secret: b"0123456789abcdef".to_vec(),
        }
    }

    /// An answer with a compressed name, two texts and what a test adds.
    fn answer(additional: u16) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34, 0x84, 0x00];
        put(&mut bytes, &[1, 2, 0, additional]);
        put_name(&mut bytes, "a.Example");
        put(&mut bytes, &[TXT, CLASS_IN]);
        for text in [&b"\x03one"[..], b"\x01t\x02wo"] {
            put(
                &mut bytes,
                &[0xc00c, TXT, CLASS_IN, 0, 60, text.len() as u16],
            );
            bytes.extend(text);
        }
        bytes
    }

    #[test]
    fn the_texts_of_an_answer_are_read() {
        let bytes = answer(0);
        let answer = Answer::parse(&bytes).expect("an answer");
        assert!(answer.is_authoritative && !answer.is_truncated && answer.code == 0);
        let texts: Vec<_> = answer.records.iter().map(Found::text).collect();
        assert_eq!(texts, [b"one".to_vec(), b"two".to_vec()]);
        assert!(
            answer
                .records
                .iter()
                .all(|it| it.name == "a.example" && it.kind == TXT)
        );
    }

    #[test]
    fn a_signature_of_an_answer_holds_for_its_request_time_and_bytes_only() {
        let key = key();
        let request = [7; 32];
        // Signed as a server does: the request's signature stands before the message.
        let mut bytes = answer(0);
        let mut signed = 32_u16.to_be_bytes().to_vec();
        signed.extend(request);
        signed.extend(&bytes);
        put_variables(&mut signed, &key, 1000, FUDGE, 0, &[]);
        let mac = key.mac(&signed);
        let plain = bytes.len();
        sign(&mut bytes, &key, 1000);
        let at = bytes.len() - 6 - mac.len();
        bytes[at..at + mac.len()].copy_from_slice(&mac);
        let parsed = Answer::parse(&bytes).expect("an answer");
        assert_eq!(parsed.verify(&key, &request, 1300), Ok(()));
        assert_eq!(parsed.verify(&key, &request, 1301), Err(18));
        assert_eq!(parsed.verify(&key, &[8; 32], 1000), Err(16));
        let mut changed = bytes.clone();
        changed[plain - 1] ^= 1;
        let parsed = Answer::parse(&changed).expect("an answer");
        assert_eq!(parsed.verify(&key, &request, 1000), Err(16));
        let unsigned = answer(0);
        let parsed = Answer::parse(&unsigned).expect("an answer");
        assert_eq!(parsed.verify(&key, &request, 1000), Err(0));
    }

    #[test]
    fn an_error_of_signatures_is_told_by_its_number() {
        let mut bytes = answer(0);
        sign(&mut bytes, &key(), 1000);
        // The error stands before the length of what else there is.
        let at = bytes.len() - 4;
        bytes[at..at + 2].copy_from_slice(&17_u16.to_be_bytes());
        let parsed = Answer::parse(&bytes).expect("an answer");
        assert_eq!(parsed.verify(&key(), &[], 1000), Err(17));
    }

    #[test]
    fn names_that_point_forward_or_at_themselves_are_refused() {
        let mut bytes = answer(0);
        for target in [HEADER, HEADER + 11, 0x3fff] {
            // The name of the question, where nothing stands before it.
            bytes[HEADER..HEADER + 2].copy_from_slice(&(0xc000 | target as u16).to_be_bytes());
            assert!(Answer::parse(&bytes).is_none(), "{target}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_reading_panic(bytes: Vec<u8>, cut in 0_usize..200, spot in 0_usize..200, with: u8) {
            Answer::parse(&bytes);
            let mut bytes = answer(0);
            sign(&mut bytes, &key(), 1000);
            bytes.truncate(cut.max(4));
            if let Some(byte) = bytes.get_mut(spot) {
                *byte = with;
            }
            if let Some(answer) = Answer::parse(&bytes) {
                let _ = answer.verify(&key(), &[], 0);
                for record in &answer.records {
                    record.text();
                }
            }
        }
    }

    #[test]
    fn an_update_adds_or_removes_one_value() {
        let add = update(1, "Example", Update::Add, "_a.example", "v");
        let mut expected = vec![0, 1, 0x28, 0];
        put(&mut expected, &[1, 0, 1, 0]);
        put_name(&mut expected, "example");
        put(&mut expected, &[SOA, CLASS_IN]);
        put_name(&mut expected, "_a.example");
        put(&mut expected, &[TXT, CLASS_IN, 0, 60, 2]);
        expected.extend(b"\x01v");
        assert_eq!(add, expected);
        let remove = update(1, "example", Update::Remove, "_a.example", "v");
        let at = add.len() - 10;
        assert_eq!(remove[at..at + 6], [0, 254, 0, 0, 0, 0]);
        // A long value has several parts.
        let long = update(1, "example", Update::Add, "a.example", &"x".repeat(300));
        assert_eq!(long[long.len() - 46], 45);
    }
}
