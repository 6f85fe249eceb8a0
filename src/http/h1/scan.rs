//! Finding the byte that ends a run, sixteen bytes at a time.
//!
//! Owns the search loops of the head parser. The runs of a head are 10 to 40 bytes long: too short
//! for a search that chooses its instructions when it runs, which costs about as much as the rest of
//! the line does. Every search is exact: nothing in front of the position it gives would match.

#[cfg(not(target_arch = "x86_64"))]
use portable::{equal, low_or_delete};
#[cfg(target_arch = "x86_64")]
use sse2::{equal, low_or_delete};

/// The first byte from `from` on that may not stand in a field value (RFC 9110 section 5.5): a control
/// byte other than the horizontal tab. Line ends are control bytes, so this is where a line ends.
#[inline(always)]
pub fn control(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, |block| {
        low_or_delete(block, 0x1f) & !equal(block, b'\t')
    })
}

/// The first byte from `from` on that may not stand in a request target: a control byte or a space.
#[inline(always)]
pub fn target_end(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, |block| low_or_delete(block, b' '))
}

/// The first colon from `from` on.
#[inline(always)]
pub fn colon(bytes: &[u8], from: usize) -> Option<usize> {
    find(bytes, from, |block| equal(block, b':'))
}

/// Of a line of at least sixteen bytes, the first colon and the first control byte behind it, the tab
/// included; `None` if a control byte comes first.
#[inline(always)]
pub fn colon_and_control(line: &[u8]) -> Option<(usize, usize)> {
    let block = line.first_chunk()?;
    let controls = low_or_delete(block, 0x1f);
    let control = match controls {
        0 => find(line, 16, |block| low_or_delete(block, 0x1f))?,
        _ => controls.trailing_zeros() as usize,
    };
    let colons = equal(block, b':');
    let colon = match colons {
        0 => colon(line.get(..control)?, 16)?,
        _ => colons.trailing_zeros() as usize,
    };
    (colon < control).then_some((colon, control))
}

type Block = [u8; 16];

/// Searches with a function that gives a bit for each byte of a block that matches.
#[inline(always)]
fn find(bytes: &[u8], from: usize, hits: impl Fn(&Block) -> u32) -> Option<usize> {
    let mut rest = bytes.get(from..)?;
    while let Some((block, behind)) = rest.split_first_chunk() {
        let hits = hits(block);
        if hits != 0 {
            return Some(bytes.len() - rest.len() + hits.trailing_zeros() as usize);
        }
        rest = behind;
    }
    // The last block of all bytes begins with some that were searched already.
    let Some(block) = bytes.last_chunk() else {
        return find_in_few(bytes, from, hits);
    };
    let hits = hits(block) >> (16 - rest.len());
    (hits != 0).then(|| bytes.len() - rest.len() + hits.trailing_zeros() as usize)
}

/// As [`find`] in fewer bytes than a block.
#[cold]
fn find_in_few(bytes: &[u8], from: usize, hits: impl Fn(&Block) -> u32) -> Option<usize> {
    let mut block = [0; 16];
    block[..bytes.len()].copy_from_slice(bytes);
    let hits = hits(&block) & ((1 << bytes.len()) - 1) & !((1 << from) - 1);
    (hits != 0).then(|| hits.trailing_zeros() as usize)
}

#[cfg(target_arch = "x86_64")]
mod sse2 {
    use super::Block;
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128,
        _mm_set1_epi8,
    };

    /// A bit for each byte that is at most `limit`, or DEL.
    #[inline(always)]
    pub fn low_or_delete(block: &Block, limit: u8) -> u32 {
        #[expect(
            unsafe_code,
            reason = "intrinsics; a word at a time takes twice as long"
        )]
        // SAFETY: every x86-64 has SSE2. The load reads the 16 bytes of the block, aligned or not.
        unsafe {
            let bytes = _mm_loadu_si128(block.as_ptr().cast());
            let low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(limit as i8)), bytes);
            let delete = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7f));
            _mm_movemask_epi8(_mm_or_si128(low, delete)) as u32
        }
    }

    /// A bit for each byte that is this one.
    #[inline(always)]
    pub fn equal(block: &Block, byte: u8) -> u32 {
        #[expect(
            unsafe_code,
            reason = "intrinsics; a word at a time takes twice as long"
        )]
        // SAFETY: as above.
        unsafe {
            let bytes = _mm_loadu_si128(block.as_ptr().cast());
            _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8))) as u32
        }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    use super::Block;

    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;

    /// A bit for each byte that is at most `limit`, or DEL.
    #[inline(always)]
    pub fn low_or_delete(block: &Block, limit: u8) -> u32 {
        // With one added, the low seven bits of DEL are zero too; no byte reaches its neighbour.
        bits(block, |word| {
            let added = ((word & !HIGH) + ONES) | HIGH;
            !((added - ONES * (u64::from(limit) + 2)) | word)
        })
    }

    /// A bit for each byte that is this one.
    #[inline(always)]
    pub fn equal(block: &Block, byte: u8) -> u32 {
        bits(block, |word| {
            let zero = word ^ (ONES * u64::from(byte));
            !(((zero & !HIGH) + !HIGH) | zero)
        })
    }

    /// Gathers the high bits of the bytes of two words.
    #[inline(always)]
    fn bits(block: &Block, matches: impl Fn(u64) -> u64) -> u32 {
        let (words, _) = block.as_chunks::<8>();
        let [low, high] = [0, 1].map(|half: usize| {
            let hits = (matches(u64::from_le_bytes(words[half])) & HIGH) >> 7;
            (hits.wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
        });
        low | high << 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_control(byte: u8) -> bool {
        (byte < 0x20 && byte != b'\t') || byte == 0x7f
    }

    fn slow(bytes: &[u8], from: usize, end: impl Fn(u8) -> bool) -> Option<usize> {
        (from..bytes.len()).find(|&at| end(bytes[at]))
    }

    #[test]
    fn every_byte_at_every_place_is_classified() {
        for byte in 0..=u8::MAX {
            for place in 0..16 {
                let mut block = [b'a'; 16];
                block[place] = byte;
                let bit = |matches: bool| u32::from(matches) << place;
                for limit in [0x1f, 0x20] {
                    let expected = bit(byte <= limit || byte == 0x7f);
                    assert_eq!(low_or_delete(&block, limit), expected);
                    assert_eq!(portable::low_or_delete(&block, limit), expected);
                }
                for wanted in *b":\t" {
                    let expected = bit(byte == wanted);
                    assert_eq!(equal(&block, wanted), expected);
                    assert_eq!(portable::equal(&block, wanted), expected);
                }
            }
        }
    }

    /// Bytes around every border of the classes, and any other.
    fn border_bytes(
        length: impl Into<prop::collection::SizeRange>,
    ) -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            4 => prop::sample::select(b"\t\r\n :\x00\x1f\x20\x21\x7e\x7f\x80\xa0\xff".to_vec()),
            1 => any::<u8>(),
            20 => b'a'..=b'z',
        ];
        prop::collection::vec(byte, length)
    }

    proptest! {
        #[test]
        fn the_searches_find_what_a_search_by_byte_finds(bytes in border_bytes(0..80), from in 0usize..90) {
            prop_assert_eq!(control(&bytes, from), slow(&bytes, from, is_control));
            prop_assert_eq!(target_end(&bytes, from), slow(&bytes, from, |byte| byte <= 0x20 || byte == 0x7f));
            prop_assert_eq!(colon(&bytes, from), slow(&bytes, from, |byte| byte == b':'));
            let both = colon_and_control(&bytes);
            let end = slow(&bytes, 0, |byte| byte < 0x20 || byte == 0x7f);
            let colon = slow(&bytes, 0, |byte| byte == b':');
            let expected = end.and_then(|end| Some((colon.filter(|&colon| colon < end)?, end)));
            prop_assert_eq!(both, expected.filter(|_| bytes.len() >= 16));
        }

        #[test]
        fn the_portable_words_match_what_the_vectors_match(bytes in border_bytes(16)) {
            let block: &Block = bytes.first_chunk().expect("sixteen bytes");
            for limit in [0x1f, 0x20] {
                prop_assert_eq!(portable::low_or_delete(block, limit), low_or_delete(block, limit));
            }
            for byte in *b":\t" {
                prop_assert_eq!(portable::equal(block, byte), equal(block, byte));
            }
        }
    }
}
