//! What a file of the cache may hold: any bytes are a preamble and a head, or none; and what is read
//! is, written again, the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use openclaw::cache::format::{Preamble, decode_head, encode_head};

fuzz_target!(|bytes: &[u8]| {
    let length = bytes.len() as u64;
    if let Some(preamble) = Preamble::decode(bytes, length) {
        let head_end = preamble.head.at + u64::from(preamble.head_length);
        assert!(head_end <= length && preamble.body_at + preamble.body_length <= length);
        // A head may have been given more room than is read back of it, nothing else differs.
        assert_eq!(
            Preamble::decode(&preamble.encode(), length),
            Some(preamble)
        );
    }
    if let Some((key, head)) = decode_head(bytes) {
        assert_eq!(encode_head(&key, &head), bytes);
    }
});
