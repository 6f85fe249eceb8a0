//! Finding the byte that ends a run, eight bytes at a time.
//!
//! Owns the search loops of the head parser. They work on whole words in portable code: the runs of
//! a head are 10 to 40 bytes long, too short for a vectorised search to repay its start. Every
//! search is exact: nothing in front of the returned position would have matched.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The first byte that may not stand in a field value (RFC 9110 section 5.5): a control byte other
/// than the horizontal tab. Line ends are control bytes, so this is also where a line ends.
#[inline]
pub fn control(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let hits = below(word, 0x20) | equal(word, 0x7f);
        if hits == 0 {
            at += 8;
            continue;
        }
        at += first(hits);
        if bytes[at] != b'\t' {
            return Some(at);
        }
        at += 1;
    }
    let tail = bytes.get(at..)?;
    let found = tail
        .iter()
        .position(|&byte| (byte < 0x20 && byte != b'\t') || byte == 0x7f)?;
    Some(at + found)
}

/// The first byte that may not stand in a request target: a control byte or a space.
#[inline]
pub fn target_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*chunk);
        let hits = below(word, 0x21) | equal(word, 0x7f);
        if hits != 0 {
            return Some(at + first(hits));
        }
        at += 8;
    }
    let tail = bytes.get(at..)?;
    let found = tail.iter().position(|&byte| byte < 0x21 || byte == 0x7f)?;
    Some(at + found)
}

/// The first colon.
#[inline]
pub fn colon(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let hits = equal(u64::from_le_bytes(*chunk), b':');
        if hits != 0 {
            return Some(at + first(hits));
        }
        at += 8;
    }
    let tail = bytes.get(at..)?;
    let found = tail.iter().position(|&byte| byte == b':')?;
    Some(at + found)
}

/// The high bit of each byte of `word` that is less than `limit` (at most 0x80). Bits above the
/// lowest one may be wrong (the subtraction borrows upwards), the lowest never is.
#[inline]
const fn below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(ONES * limit as u64) & !word & HIGH
}

/// As [`below`], of each byte that equals `byte`.
#[inline]
const fn equal(word: u64, byte: u8) -> u64 {
    below(word ^ (ONES * byte as u64), 1)
}

/// Which byte the lowest bit belongs to.
#[inline]
const fn first(hits: u64) -> usize {
    (hits.trailing_zeros() / 8) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slow(bytes: &[u8], from: usize, end: impl Fn(u8) -> bool) -> Option<usize> {
        (from..bytes.len()).find(|&at| end(bytes[at]))
    }

    /// Bytes around every border of the classes, and any other.
    fn border_bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            4 => prop::sample::select(b"\t\r\n :\x00\x1f\x20\x21\x7e\x7f\x80\xa0\xff".to_vec()),
            1 => any::<u8>(),
            6 => b'a'..=b'z',
        ];
        prop::collection::vec(byte, 0..64)
    }

    proptest! {
        #[test]
        fn the_word_searches_find_what_a_search_by_byte_finds(bytes in border_bytes(), from in 0usize..70) {
            let is_control = |byte: u8| (byte < 0x20 && byte != b'\t') || byte == 0x7f;
            prop_assert_eq!(control(&bytes, from), slow(&bytes, from, is_control));
            prop_assert_eq!(target_end(&bytes, from), slow(&bytes, from, |byte| byte <= 0x20 || byte == 0x7f));
            prop_assert_eq!(colon(&bytes), slow(&bytes, 0, |byte| byte == b':'));
        }
    }
}
