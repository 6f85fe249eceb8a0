//! The code that strings are written in (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: codes of one length follow each other in the order of their symbols, and
//! shorter codes come before longer ones. So the lengths are all that has to be written down.

/// A string that is none: the code for its end stands in it, or its padding is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid;

/// The symbols are bytes and the end.
const SYMBOLS: usize = 257;
const END: u16 = 256;
const LONGEST: usize = 30;

/// How many bits the code of each symbol has.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

struct Code {
    /// The code of each symbol, in its lowest bits.
    codes: [u32; SYMBOLS],
    /// The symbols in the order of their codes.
    symbols: [u16; SYMBOLS],
    /// For each length: the first code behind those of this length, as the highest bits of 32.
    limits: [u64; LONGEST + 1],
    /// For each length: what is added to a code of it to find its place in `symbols`.
    offsets: [i64; LONGEST + 1],
    /// For each byte: the symbol and the length of the code that it begins with, if that is not
    /// longer than the byte; else 0 as the length.
    short: [(u8, u8); 256],
}

static CODE: Code = {
    let mut code = Code {
        codes: [0; SYMBOLS],
        symbols: [0; SYMBOLS],
        limits: [0; LONGEST + 1],
        offsets: [0; LONGEST + 1],
        short: [(0, 0); 256],
    };
    let mut next = 0_u32;
    let mut place = 0;
    let mut length = 1;
    while length <= LONGEST {
        code.offsets[length] = place as i64 - next as i64;
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as usize == length {
                code.codes[symbol] = next;
                code.symbols[place] = symbol as u16;
                if length <= 8 {
                    let first = (next << (8 - length)) as usize;
                    let mut rest = 0;
                    while rest < 1 << (8 - length) {
                        code.short[first + rest] = (symbol as u8, length as u8);
                        rest += 1;
                    }
                }
                next += 1;
                place += 1;
            }
            symbol += 1;
        }
        code.limits[length] = (next as u64) << (32 - length);
        next <<= 1;
        length += 1;
    }
    code
};

/// Appends what a string says to `out`.
pub fn decode(string: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    let mut bytes = string.iter();
    // The lowest `count` bits are those read and not yet used.
    let (mut bits, mut count) = (0_u64, 0_u32);
    loop {
        while count <= 48 {
            let Some(&byte) = bytes.next() else { break };
            bits = bits << 8 | u64::from(byte);
            count += 8;
        }
        // The next 32 bits; behind the end of the string are ones, as in its padding.
        let window = match count {
            32.. => (bits >> (count - 32)) as u32,
            0 => return Ok(()),
            _ => (bits << (32 - count)) as u32 | (u32::MAX >> count),
        };
        let (symbol, length) = CODE.short[(window >> 24) as usize];
        let (symbol, length) = match length {
            0 => {
                let mut length = 9;
                while u64::from(window) >= CODE.limits[length] && length < LONGEST {
                    length += 1;
                }
                let place = i64::from(window >> (32 - length)) + CODE.offsets[length];
                (CODE.symbols[place as usize], length as u32)
            }
            length => (u16::from(symbol), u32::from(length)),
        };
        if length > count {
            // Padding is shorter than a byte and the beginning of the end's code.
            return match count < 8 && window == u32::MAX {
                true => Ok(()),
                false => Err(Invalid),
            };
        }
        if symbol == END {
            return Err(Invalid);
        }
        out.push(symbol as u8);
        count -= length;
    }
}

/// How many bytes a text takes when it is encoded.
pub fn encoded_length(text: &[u8]) -> usize {
    let bits: usize = (text.iter())
        .map(|&byte| usize::from(LENGTHS[usize::from(byte)]))
        .sum();
    bits.div_ceil(8)
}

/// Appends a text as a string to `out`.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut count) = (0_u64, 0_u32);
    for &byte in text {
        let length = u32::from(LENGTHS[usize::from(byte)]);
        bits = bits << length | u64::from(CODE.codes[usize::from(byte)]);
        count += length;
        while count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    if count > 0 {
        out.push((bits << (8 - count)) as u8 | (0xff >> count) as u8);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(string: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut out = Vec::new();
        decode(string, &mut out).map(|()| out)
    }

    /// RFC 7541 appendix C.
    #[test]
    fn the_examples_of_the_standard_are_read_and_written() {
        for (text, string) in [
            (
                &b"www.example.com"[..],
                &[
                    0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff,
                ][..],
            ),
            (b"no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            (
                b"custom-value",
                &[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf],
            ),
            (b"302", &[0x64, 0x02]),
            (
                b"Mon, 21 Oct 2013 20:13:21 GMT",
                &[
                    0xd0, 0x7a, 0xbe, 0x94, 0x10, 0x54, 0xd4, 0x44, 0xa8, 0x20, 0x05, 0x95, 0x04,
                    0x0b, 0x81, 0x66, 0xe0, 0x82, 0xa6, 0x2d, 0x1b, 0xff,
                ],
            ),
        ] {
            let mut out = Vec::new();
            encode(text, &mut out);
            assert_eq!(out, string);
            assert_eq!(out.len(), encoded_length(text));
            assert_eq!(decoded(string), Ok(text.to_vec()));
        }
    }

    #[test]
    fn what_is_no_string_is_refused() {
        for wrong in [
            // The end's code, alone and behind something.
            &[0xff, 0xff, 0xff, 0xfc][..],
            &[0xff, 0xff, 0xff, 0xff],
            &[0x1f, 0xff, 0xff, 0xff, 0xff],
            // Padding of a whole byte, and of zeros.
            &[0x1f, 0xff],
            &[0x18],
            // A code that is cut.
            &[0xff, 0xff, 0xfe],
        ] {
            assert_eq!(decoded(wrong), Err(Invalid), "{wrong:?}");
        }
        assert_eq!(decoded(&[]), Ok(Vec::new()));
        assert_eq!(decoded(&[0x1f]), Ok(b"a".to_vec()));
    }

    proptest! {
        #[test]
        fn every_text_is_read_as_it_was_written(text: Vec<u8>) {
            let mut out = Vec::new();
            encode(&text, &mut out);
            prop_assert_eq!(out.len(), encoded_length(&text));
            prop_assert_eq!(decoded(&out), Ok(text));
        }

        /// Whatever is accepted has one spelling only.
        #[test]
        fn any_bytes_are_a_text_or_refused(string: Vec<u8>) {
            if let Ok(text) = decoded(&string) {
                let mut out = Vec::new();
                encode(&text, &mut out);
                prop_assert_eq!(out, string);
            }
        }
    }
}
