//! Blocks of fields as they are sent to a client (RFC 7541 section 6).
//!
//! Most answers of a connection have the same fields as the one before. A field that is sent a second
//! time goes to the table and costs a byte or two from then on; one that was never seen before does
//! not, so that lengths, dates and numbers of requests do not drive out what is sent again and again.

use super::huffman;
use super::table::{FIXED, FIXED_OF_KNOWN, Table, USUAL_SIZE};
use crate::http::head::Known;

/// How many fields that were sent once are remembered.
const SEEN: usize = 32;
/// A field longer than this does not go to the table.
const LONGEST: usize = 256;

/// Writes blocks, in the order in which they are sent.
#[derive(Debug)]
pub struct Encoder {
    table: Table,
    /// What the table's size is to become, least and last, if the client has changed it.
    resized: Option<(usize, usize)>,
    seen: [u32; SEEN],
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            table: Table::default(),
            resized: None,
            seen: [0; SEEN],
        }
    }
}

impl Encoder {
    /// The client has said how large the table may be.
    pub fn resize(&mut self, most: usize) {
        let most = most.min(USUAL_SIZE);
        let (least, last) = self
            .resized
            .unwrap_or((self.table.most(), self.table.most()));
        if most != last {
            self.resized = Some((least.min(most), most));
        }
    }

    /// Begins a block. What the client has changed is told here, also if that was changed back (RFC
    /// 7541 section 4.2).
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if let Some((least, last)) = self.resized.take() {
            if least < last {
                push_integer(out, 0x20, 5, least);
                self.table.resize(least);
            }
            push_integer(out, 0x20, 5, last);
            self.table.resize(last);
        }
    }

    /// Appends `:status`.
    pub fn status(&mut self, status: u16, out: &mut Vec<u8>) {
        match status {
            200 => out.push(0x88),
            204 => out.push(0x89),
            206 => out.push(0x8a),
            304 => out.push(0x8b),
            400 => out.push(0x8c),
            404 => out.push(0x8d),
            500 => out.push(0x8e),
            status => {
                let digit = |value: u16| b'0' + (value % 10) as u8;
                let digits = [digit(status / 100), digit(status / 10), digit(status)];
                out.extend_from_slice(&[0x08, 3]);
                out.extend_from_slice(&digits);
            }
        }
    }

    /// Appends a field. Its name may be in any case.
    pub fn field(&mut self, known: Option<Known>, name: &[u8], value: &[u8], out: &mut Vec<u8>) {
        let fixed = known.map_or(0, |known| usize::from(FIXED_OF_KNOWN[known as usize]));
        // A secret must not be guessed by what a block is long.
        if known == Some(Known::SetCookie) {
            return literal(out, (0x10, 4), fixed, name, value);
        }
        let mark = mark(known, name, value);
        for (place, entry) in self.table.entries().enumerate() {
            if entry.note == mark
                && entry.value() == value
                && name.eq_ignore_ascii_case(entry.name())
            {
                return push_integer(out, 0x80, 7, FIXED.len() + 1 + place);
            }
        }
        let seen = &mut self.seen[mark as usize % SEEN];
        if *seen == mark && name.len() + value.len() <= LONGEST {
            self.table.insert(&name.to_ascii_lowercase(), value, mark);
            return literal(out, (0x40, 6), fixed, name, value);
        }
        *seen = mark;
        literal(out, (0, 4), fixed, name, value);
    }
}

/// A number that two fields hardly have in common; never 0.
fn mark(known: Option<Known>, name: &[u8], value: &[u8]) -> u32 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = value.len() as u64;
    let mut mix = |word: u64| mixed = (mixed ^ word).wrapping_mul(MULTIPLIER).rotate_left(29);
    match known {
        Some(known) => mix(known as u64),
        // Two spellings of a name only cost two entries.
        None => name.iter().for_each(|&byte| mix(u64::from(byte | 0x20))),
    }
    let (words, rest) = value.as_chunks::<8>();
    for word in words {
        mix(u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(u64::from_le_bytes(last));
    (mixed >> 32) as u32 | 1
}

/// A field that is written out; `kind` is what its first byte begins with, and how many bits are left
/// in that.
fn literal(out: &mut Vec<u8>, kind: (u8, u32), fixed: usize, name: &[u8], value: &[u8]) {
    push_integer(out, kind.0, kind.1, fixed);
    if fixed == 0 {
        push_string(out, &name.to_ascii_lowercase());
    }
    push_string(out, value);
}

fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    let encoded = huffman::encoded_length(text);
    if encoded < text.len() {
        push_integer(out, 0x80, 7, encoded);
        huffman::encode(text, out);
    } else {
        push_integer(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

fn push_integer(out: &mut Vec<u8>, first: u8, bits: u32, number: usize) {
    let most = (1_usize << bits) - 1;
    if number < most {
        return out.push(first | number as u8);
    }
    out.push(first | most as u8);
    let mut rest = number - most;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::decoder::Decoder;
    use super::*;

    /// A block of these fields, and what a decoder reads of it.
    fn sent(
        encoder: &mut Encoder,
        decoder: &mut Decoder,
        fields: &[(&str, &str)],
    ) -> (usize, String) {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        encoder.status(200, &mut block);
        for (name, value) in fields {
            let known = Known::of(name.as_bytes());
            encoder.field(known, name.as_bytes(), value.as_bytes(), &mut block);
        }
        let mut text = String::new();
        decoder
            .decode(&block, |field| {
                assert!(field.is_valid && field.known == Known::of(field.name));
                let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
                text += &format!("{name}: {value}\n");
            })
            .expect("a block");
        (block.len(), text)
    }

    #[test]
    fn a_field_that_is_sent_again_is_only_named() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let fields = [
            ("Server", "openclaw"),
            ("Content-Type", "text/html"),
            ("X-Own", "some value"),
        ];
        let text = ":status: 200\nserver: openclaw\ncontent-type: text/html\nx-own: some value\n";
        let mut lengths = Vec::new();
        for _ in 0..4 {
            let (length, read) = sent(&mut encoder, &mut decoder, &fields);
            assert_eq!(read, text);
            lengths.push(length);
        }
        assert!(lengths[1] > 20 && lengths[1] <= lengths[0], "{lengths:?}");
        assert_eq!(lengths[2..], [4, 4]);
    }

    #[test]
    fn what_is_sent_once_does_not_go_to_the_table_and_a_secret_never_does() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        for number in 0..100 {
            let length = number.to_string();
            let fields = [("Content-Length", &*length), ("Set-Cookie", "key=secret")];
            sent(&mut encoder, &mut decoder, &fields);
        }
        assert_eq!(encoder.table.entries().count(), 0);
    }

    #[test]
    fn a_client_may_make_the_table_smaller() {
        let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
        let fields = [("Server", "openclaw"), ("Vary", "Accept-Encoding")];
        for _ in 0..3 {
            sent(&mut encoder, &mut decoder, &fields);
        }
        assert_eq!(encoder.table.entries().count(), 2);
        // There and back again within one block drops what does not fit the smaller one.
        encoder.resize(0);
        encoder.resize(1 << 20);
        let (_, text) = sent(&mut encoder, &mut decoder, &fields);
        assert!(text.ends_with("vary: Accept-Encoding\n"));
        assert_eq!(encoder.table.most(), USUAL_SIZE);
        encoder.resize(60);
        for _ in 0..4 {
            let (_, text) = sent(&mut encoder, &mut decoder, &fields);
            assert!(text.contains("server: openclaw\n") && text.contains("vary: "));
        }
        assert!(encoder.table.entries().count() <= 1);
    }

    #[test]
    fn every_status_is_read_as_it_is_written() {
        for status in 100..1000 {
            let mut block = Vec::new();
            Encoder::default().status(status, &mut block);
            let mut read = Vec::new();
            let mut decoder = Decoder::default();
            let result = decoder.decode(&block, |field| read = field.value.to_vec());
            assert_eq!((result, read), (Ok(()), status.to_string().into_bytes()));
        }
    }

    proptest! {
        #[test]
        fn every_block_is_read_as_it_was_written(
            blocks in prop::collection::vec(
                prop::collection::vec(("[a-c][a-z-]{0,3}", "[!-~]{0,40}"), 0..6),
                1..20,
            ),
            sizes: Vec<u16>,
        ) {
            let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
            let mut sizes = sizes.into_iter();
            for fields in blocks {
                if let Some(size) = sizes.next() {
                    encoder.resize(usize::from(size));
                }
                let fields: Vec<_> = (fields.iter())
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                let mut text = ":status: 200\n".to_owned();
                for (name, value) in &fields {
                    text += &format!("{name}: {}\n", value.escape_default());
                }
                prop_assert_eq!(sent(&mut encoder, &mut decoder, &fields).1, text);
            }
        }
    }
}
