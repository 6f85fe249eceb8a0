//! Keys: the text that names an answer, and the digest that it is found by.

use std::fmt;

use md5::{Digest as _, Md5};

/// The MD5 of a key's text, as nginx names its files; finds an entry, never proves that it is the
/// right one: texts are compared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 16]);

/// The key of an answer. All variants of an answer (`Vary`) have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key<'a> {
    /// Of the text.
    pub digest: Digest,
    /// What the configuration makes of the request.
    pub text: &'a [u8],
}

impl<'a> Key<'a> {
    /// The key with this text.
    pub fn new(text: &'a [u8]) -> Self {
        Self {
            digest: Digest(Md5::digest(text).into()),
            text,
        }
    }
}

impl Digest {
    /// Reads what [`fmt::Display`] prints.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut bytes = [0; 16];
        if text.len() != 32 {
            return None;
        }
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0.iter()).try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_what_md5sum_prints_and_reads_back() {
        let digest = Key::new(b"http://example.com/").digest;
        assert_eq!(digest.to_string(), "a6bf1757fff057f266b697df9cf176fd");
        assert_eq!(Digest::parse(digest.to_string().as_bytes()), Some(digest));
        for wrong in ["", "a6", "A6bf1757fff057f266b697df9cf176fd"] {
            assert_eq!(Digest::parse(wrong.as_bytes()), None);
        }
    }
}
