//! The file of an entry.
//!
//! ```text
//! preamble (128 bytes) | head | room | body | a checksum for each block of the body | spare head
//! ```
//!
//! The preamble says where everything is and is written last, after all that it speaks of, into a
//! file that has no name in the cache yet. A head that is renewed goes to the area that is not in
//! use, or behind the end; then the preamble is written anew, within one page. So a process that is
//! killed leaves a file with the old head or the new one. What a dying disk or a lost power supply
//! makes of it is found by the checksums: the preamble has one of itself, of the head and of the
//! table of the body's, and no byte is used before its checksum was seen to be right.
//!
//! Numbers are little-endian.

use super::entry::Head;

/// The first bytes of every file.
pub const MAGIC: [u8; 8] = *b"OpenClaw";

/// Files of other versions are not read.
pub const VERSION: u32 = 1;

/// The length of the preamble.
pub const PREAMBLE: usize = 128;

/// A body has a checksum for each so many bytes.
pub const BLOCK: usize = 64 << 10;

/// The longest encoded head; the answer with a longer one is not stored.
pub const MOST_HEAD: usize = 1 << 20;

/// The longest body; its table of checksums takes 4 MiB.
pub const MOST_BODY: u64 = 64 << 30;

/// Where a head is or may be.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Area {
    /// From the start of the file.
    pub at: u64,
    /// How long a head may be there.
    pub room: u32,
}

/// What the preamble says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Preamble {
    /// Which entry of its zone this is.
    pub serial: u64,
    /// Where the head is.
    pub head: Area,
    /// How long it is.
    pub head_length: u32,
    /// Its checksum.
    pub head_checksum: u32,
    /// Where the next head may be written.
    pub spare: Area,
    /// Where the body is.
    pub body_at: u64,
    /// How long it is.
    pub body_length: u64,
    /// The checksum of the table behind the body.
    pub table_checksum: u32,
}

impl Preamble {
    /// The bytes of the file.
    pub fn encode(&self) -> [u8; PREAMBLE] {
        let mut bytes = [0; PREAMBLE];
        let mut at = 0;
        let mut put = |part: &[u8]| {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        };
        put(&MAGIC);
        put(&VERSION.to_le_bytes());
        put(&(BLOCK as u32).to_le_bytes());
        put(&self.serial.to_le_bytes());
        put(&self.head.at.to_le_bytes());
        put(&self.head.room.to_le_bytes());
        put(&self.head_length.to_le_bytes());
        put(&self.head_checksum.to_le_bytes());
        put(&self.spare.room.to_le_bytes());
        put(&self.spare.at.to_le_bytes());
        put(&self.body_at.to_le_bytes());
        put(&self.body_length.to_le_bytes());
        put(&self.table_checksum.to_le_bytes());
        let checksum = crc32fast::hash(&bytes[..PREAMBLE - 4]);
        bytes[PREAMBLE - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the preamble of a file of this length; `None` if it is none, or cannot be true.
    pub fn decode(bytes: &[u8], file_length: u64) -> Option<Self> {
        let bytes = bytes.get(..PREAMBLE)?;
        let (content, checksum) = bytes.split_at(PREAMBLE - 4);
        let mut from = Source(content);
        if from.take(8)? != MAGIC
            || from.u32()? != VERSION
            || from.u32()? != BLOCK as u32
            || checksum != crc32fast::hash(content).to_le_bytes()
        {
            return None;
        }
        let serial = from.u64()?;
        let mut head = Area {
            at: from.u64()?,
            room: from.u32()?,
        };
        let head_length = from.u32()?;
        let head_checksum = from.u32()?;
        let mut spare = Area {
            at: 0,
            room: from.u32()?,
        };
        spare.at = from.u64()?;
        head.room = head.room.min(MOST_HEAD as u32);
        let preamble = Self {
            serial,
            head,
            head_length,
            head_checksum,
            spare,
            body_at: from.u64()?,
            body_length: from.u64()?,
            table_checksum: from.u32()?,
        };
        let ends_at =
            |at: u64, length: u64| at.checked_add(length).filter(|end| *end <= file_length);
        ends_at(head.at, u64::from(head_length))?;
        let is_possible = preamble.head_length <= preamble.head.room
            && preamble.body_length <= MOST_BODY
            && preamble.body_at >= PREAMBLE as u64;
        let body_end = ends_at(preamble.body_at, preamble.body_length)?;
        ends_at(body_end, 4 * blocks(preamble.body_length))?;
        is_possible.then_some(preamble)
    }
}

/// How many blocks a body of this length has.
pub fn blocks(length: u64) -> u64 {
    length.div_ceil(BLOCK as u64)
}

/// The room that a head of this length gets: its renewal is usually a little longer.
pub fn room_for(length: usize) -> u32 {
    (length + length / 8 + 64).next_multiple_of(64) as u32
}

/// The bytes of a head and its key.
pub fn encode_head(key: &[u8], head: &Head) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128 + key.len() + head.fields.len());
    put(&mut bytes, key);
    bytes.extend_from_slice(&head.status.to_le_bytes());
    for number in [
        head.requested,
        head.received,
        head.age,
        head.lifetime,
        u64::from(head.stale_while_revalidate),
        u64::from(head.stale_if_error),
        u64::from(head.flags),
    ] {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    for number in [head.date, head.last_modified] {
        bytes.push(u8::from(number.is_some()));
        bytes.extend_from_slice(&number.unwrap_or_default().to_le_bytes());
    }
    put(&mut bytes, &head.url);
    put(&mut bytes, &head.etag);
    bytes.extend_from_slice(&(head.vary.len() as u32).to_le_bytes());
    for (name, value) in &head.vary {
        put(&mut bytes, name);
        bytes.push(u8::from(value.is_some()));
        put(&mut bytes, value.as_deref().unwrap_or_default());
    }
    bytes.extend_from_slice(&(head.tags.len() as u32).to_le_bytes());
    for tag in &head.tags {
        put(&mut bytes, tag);
    }
    put(&mut bytes, &head.fields);
    bytes
}

/// The key and the head that these bytes are; `None` if they are not exactly one of each.
pub fn decode_head(bytes: &[u8]) -> Option<(Box<[u8]>, Head)> {
    let mut from = Source(bytes);
    let key = from.bytes()?;
    let mut head = Head {
        status: from.u16()?,
        requested: from.u64()?,
        received: from.u64()?,
        age: from.u64()?,
        lifetime: from.u64()?,
        stale_while_revalidate: u32::try_from(from.u64()?).ok()?,
        stale_if_error: u32::try_from(from.u64()?).ok()?,
        flags: u32::try_from(from.u64()?).ok()?,
        date: from.option()?,
        last_modified: from.option()?,
        url: from.bytes()?,
        etag: from.bytes()?,
        ..Head::default()
    };
    // Each takes some bytes, so that a wrong count ends with them.
    for _ in 0..from.u32()? {
        let name = from.bytes()?;
        let is_there = from.flag()?;
        let value = from.bytes()?;
        if !is_there && !value.is_empty() {
            return None;
        }
        head.vary.push((name, is_there.then_some(value)));
    }
    for _ in 0..from.u32()? {
        head.tags.push(from.bytes()?);
    }
    head.fields = from.bytes()?;
    from.0.is_empty().then_some((key, head))
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
    bytes.extend_from_slice(part);
}

/// What is still to be read.
struct Source<'a>(&'a [u8]);

impl<'a> Source<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(part)
    }

    fn number<const LENGTH: usize>(&mut self) -> Option<[u8; LENGTH]> {
        self.take(LENGTH)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.number().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.number().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.number().map(u64::from_le_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.take(1)? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn option(&mut self) -> Option<Option<u64>> {
        let is_there = self.flag()?;
        let number = self.u64()?;
        match is_there {
            true => Some(Some(number)),
            false => (number == 0).then_some(None),
        }
    }

    fn bytes(&mut self) -> Option<Box<[u8]>> {
        let length = self.u32()? as usize;
        self.take(length).map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Box<[u8]>> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Into::into)
    }

    prop_compose! {
        fn heads()(
            status in any::<u16>(),
            numbers in any::<[u64; 4]>(),
            small in any::<[u32; 3]>(),
            dates in any::<[Option<u64>; 2]>(),
            texts in [bytes(), bytes(), bytes()],
            vary in proptest::collection::vec((bytes(), proptest::option::of(bytes())), 0..4),
            tags in proptest::collection::vec(bytes(), 0..4),
        ) -> Head {
            let [requested, received, age, lifetime] = numbers;
            let [stale_while_revalidate, stale_if_error, flags] = small;
            let [date, last_modified] = dates;
            let [url, etag, fields] = texts;
            Head {
                status, requested, received, date, age, lifetime, stale_while_revalidate,
                stale_if_error, flags, last_modified, url, etag, vary, tags, fields,
            }
        }
    }

    proptest! {
        #[test]
        fn a_head_reads_back_and_no_part_of_it_is_one(head in heads(), key in bytes()) {
            let encoded = encode_head(&key, &head);
            prop_assert_eq!(decode_head(&encoded), Some((key, head)));
            prop_assert_eq!(decode_head(&encoded[..encoded.len() - 1]), None);
        }

        #[test]
        fn whatever_a_file_holds_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_head(&bytes);
            prop_assert_eq!(Preamble::decode(&bytes, 1 << 40), None);
        }

        #[test]
        fn a_preamble_with_one_wrong_bit_is_none(bit in 0..PREAMBLE * 8) {
            let mut encoded = preamble().encode();
            encoded[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Preamble::decode(&encoded, 1 << 20), None);
        }
    }

    fn preamble() -> Preamble {
        Preamble {
            serial: 7,
            head: Area { at: 128, room: 256 },
            head_length: 200,
            head_checksum: 1,
            spare: Area::default(),
            body_at: 384,
            body_length: 100_000,
            table_checksum: 2,
        }
    }

    #[test]
    fn a_preamble_reads_back_unless_the_file_is_too_short_for_what_it_says() {
        let encoded = preamble().encode();
        let end = 384 + 100_000 + 2 * 4;
        assert_eq!(Preamble::decode(&encoded, end), Some(preamble()));
        assert_eq!(Preamble::decode(&encoded, end - 1), None);
    }
}
