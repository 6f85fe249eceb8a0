//! The outermost layer of DER: one value after the other.
//!
//! Owns reading what neither a certificate nor a plain key is: the wrappings of encrypted keys and of
//! PKCS#12, with the parts that [`x509_parser`] has no types for. Lengths are definite and tags have
//! one byte; anything else is no DER that these wrappings have.

pub const INTEGER: u8 = 0x02;
pub const BIT_STRING: u8 = 0x03;
pub const OCTET_STRING: u8 = 0x04;
pub const OBJECT_IDENTIFIER: u8 = 0x06;
pub const SEQUENCE: u8 = 0x30;
/// `[0]`, constructed.
pub const CONTEXT_0: u8 = 0xa0;
/// `[0]`, primitive.
pub const CONTEXT_0_PRIMITIVE: u8 = 0x80;

/// Values that follow each other.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of some bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Is nothing left?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// All that is left.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The tag of the next value.
    pub fn peek(&self) -> Option<u8> {
        self.bytes.first().copied()
    }

    /// The next value, whatever it is: its tag and its content.
    pub fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.bytes.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = octets
                    .iter()
                    .fold(0, |length, &octet| length << 8 | usize::from(octet));
                (length, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.bytes = rest;
        Some((tag, content))
    }

    /// The content of the next value, if it has this tag.
    pub fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        let mut ahead = *self;
        let (found, content) = ahead.any()?;
        if found != tag {
            return None;
        }
        *self = ahead;
        Some(content)
    }

    /// What the next value holds, if it has this tag.
    pub fn enter(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self::new)
    }

    /// A number that is not negative and fits.
    pub fn number(&mut self) -> Option<u32> {
        let octets = self.take(INTEGER)?;
        let octets = match octets {
            [0, rest @ ..] => rest,
            [0x80..=0xff, ..] | [] => return None,
            _ => octets,
        };
        if octets.len() > 4 {
            return None;
        }
        Some(
            octets
                .iter()
                .fold(0, |number, &octet| number << 8 | u32::from(octet)),
        )
    }
}

/// Is this one SEQUENCE and nothing else?
pub fn is_one_sequence(bytes: &[u8]) -> bool {
    let mut reader = Reader::new(bytes);
    reader.take(SEQUENCE).is_some() && reader.is_empty()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_read_one_after_the_other() {
        let mut reader = Reader::new(&[0x30, 0x03, 0x02, 0x01, 0x05, 0x04, 0x81, 0x01, 0xff]);
        assert_eq!(reader.peek(), Some(SEQUENCE));
        assert!(reader.take(INTEGER).is_none());
        let mut inner = reader.enter(SEQUENCE).expect("a sequence");
        assert_eq!(inner.number(), Some(5));
        assert!(inner.is_empty());
        assert_eq!(reader.take(OCTET_STRING), Some(&[0xff][..]));
        assert!(reader.is_empty() && reader.any().is_none());
    }

    #[test]
    fn numbers_are_neither_negative_nor_large() {
        for (bytes, number) in [
            (&[2, 1, 0][..], Some(0)),
            (&[2, 2, 0, 0x80], Some(128)),
            (&[2, 5, 0, 0xff, 0xff, 0xff, 0xff], Some(u32::MAX)),
            (&[2, 1, 0x80], None),
            (&[2, 5, 1, 0, 0, 0, 0], None),
            (&[2, 0], None),
        ] {
            assert_eq!(Reader::new(bytes).number(), number, "{bytes:?}");
        }
    }

    #[test]
    fn lengths_beyond_the_end_and_without_end_are_refused() {
        for bytes in [
            &[0x30][..],
            &[0x30, 0x01],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x85, 0, 0, 0, 0, 0],
            &[0x1f, 0x01, 0x00],
        ] {
            assert!(Reader::new(bytes).any().is_none(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.any().is_some() {}
            let _ = Reader::new(&bytes).number();
        }
    }
}
