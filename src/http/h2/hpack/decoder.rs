//! Blocks of fields as a client sends them (RFC 7541 section 6).

use super::huffman;
use super::table::{FIXED, KNOWN_OF_FIXED, Table, USUAL_SIZE};
use crate::http::head::Known;

/// A block that cannot be decoded. The tables differ from here on, so the connection is lost (RFC 9113
/// section 4.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Broken;

impl From<huffman::Invalid> for Broken {
    fn from(_: huffman::Invalid) -> Self {
        Self
    }
}

/// A field of a block.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Which known name it has.
    pub known: Option<Known>,
    /// Its name as it came.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
    /// Do name and value hold only what they may (RFC 9113 section 8.2.1)?
    pub is_valid: bool,
}

/// Where a string stands.
#[derive(Clone, Copy)]
enum Text {
    /// In the block, or decoded from it.
    Block(usize, usize),
    Decoded(usize, usize),
    /// The name of this entry.
    Name(usize),
}

/// Reads blocks, in the order in which they came.
#[derive(Debug, Default)]
pub struct Decoder {
    table: Table,
    /// Strings of one field.
    decoded: Vec<u8>,
}

const VALID: u32 = 1 << 31;
const UNKNOWN: u32 = u8::MAX as u32;

impl Decoder {
    /// Gives back what is not needed while nothing comes.
    pub fn rest(&mut self) {
        self.decoded = Vec::new();
    }

    /// Hands each field of a whole block to `take`.
    pub fn decode(&mut self, block: &[u8], mut take: impl FnMut(Field<'_>)) -> Result<(), Broken> {
        let mut at = 0;
        let mut may_resize = true;
        while let Some(&first) = block.get(at) {
            if first & 0x80 != 0 {
                let number = integer(block, &mut at, 7)?;
                take(self.field(number)?);
            } else if first & 0xe0 == 0x20 {
                // RFC 7541 section 4.2: before the first field only.
                let size = integer(block, &mut at, 5)?;
                if !may_resize || size > USUAL_SIZE {
                    return Err(Broken);
                }
                self.table.resize(size);
                continue;
            } else {
                let is_kept = first & 0x40 != 0;
                let number = integer(block, &mut at, if is_kept { 6 } else { 4 })?;
                self.decoded.clear();
                let name = match number {
                    0 => self.string(block, &mut at)?,
                    number => Text::Name(number),
                };
                let value = self.string(block, &mut at)?;
                let field = self.literal(block, name, value)?;
                take(field);
                if is_kept {
                    let note = note(field);
                    // The name may be that of an entry which makes room for this one.
                    let start = self.decoded.len();
                    let (name, value) = match (name, value) {
                        (Text::Name(number), _) if number > FIXED.len() => {
                            let entry = self.table.at(number - FIXED.len() - 1).ok_or(Broken)?;
                            self.decoded.extend_from_slice(entry.name());
                            (Text::Decoded(start, self.decoded.len()), value)
                        }
                        texts => texts,
                    };
                    let text = |text: Text| match text {
                        Text::Block(start, end) => &block[start..end],
                        Text::Decoded(start, end) => &self.decoded[start..end],
                        Text::Name(number) => FIXED[number - 1].0.as_bytes(),
                    };
                    self.table.insert(text(name), text(value), note);
                }
            }
            may_resize = false;
        }
        Ok(())
    }

    /// The field of an entry, by its number in both tables.
    fn field(&self, number: usize) -> Result<Field<'_>, Broken> {
        let place = number.checked_sub(1).ok_or(Broken)?;
        if let Some(&(name, value)) = FIXED.get(place) {
            return Ok(Field {
                known: KNOWN_OF_FIXED[place],
                name: name.as_bytes(),
                value: value.as_bytes(),
                is_valid: true,
            });
        }
        let entry = self.table.at(place - FIXED.len()).ok_or(Broken)?;
        Ok(Field {
            known: Known::ALL.get((entry.note & UNKNOWN) as usize).copied(),
            name: entry.name(),
            value: entry.value(),
            is_valid: entry.note & VALID != 0,
        })
    }

    /// A field whose value stands in the block.
    fn literal<'a>(
        &'a self,
        block: &'a [u8],
        name: Text,
        value: Text,
    ) -> Result<Field<'a>, Broken> {
        let text = |text: Text| match text {
            Text::Block(start, end) => &block[start..end],
            Text::Decoded(start, end) => &self.decoded[start..end],
            Text::Name(_) => &[],
        };
        let value = text(value);
        let (known, name, has_valid_name) = match name {
            Text::Name(number) => {
                let named = self.field(number)?;
                // An entry with a wrong value may have a good name.
                let is_valid = named.is_valid || is_name(named.name);
                (named.known, named.name, is_valid)
            }
            name => {
                let name = text(name);
                (Known::of(name), name, is_name(name))
            }
        };
        Ok(Field {
            known,
            name,
            value,
            is_valid: has_valid_name && is_value(value),
        })
    }

    /// A string of the block (RFC 7541 section 5.2).
    fn string(&mut self, block: &[u8], at: &mut usize) -> Result<Text, Broken> {
        let is_encoded = block.get(*at).ok_or(Broken)? & 0x80 != 0;
        let length = integer(block, at, 7)?;
        let start = *at;
        let end = start.checked_add(length).ok_or(Broken)?;
        let bytes = block.get(start..end).ok_or(Broken)?;
        *at = end;
        if !is_encoded {
            return Ok(Text::Block(start, end));
        }
        let start = self.decoded.len();
        huffman::decode(bytes, &mut self.decoded)?;
        Ok(Text::Decoded(start, self.decoded.len()))
    }
}

/// What an entry is remembered by.
fn note(field: Field<'_>) -> u32 {
    let known = field.known.map_or(UNKNOWN, |known| known as u32);
    match field.is_valid {
        true => known | VALID,
        false => known,
    }
}

/// A number whose first byte has this many bits for it (RFC 7541 section 5.1).
fn integer(block: &[u8], at: &mut usize, bits: u32) -> Result<usize, Broken> {
    let most = (1_usize << bits) - 1;
    let mut number = usize::from(*block.get(*at).ok_or(Broken)?) & most;
    *at += 1;
    if number < most {
        return Ok(number);
    }
    // Four bytes more are beyond all that fits a block.
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(*at).ok_or(Broken)?;
        *at += 1;
        number += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(Broken)
}

/// Is this a token without capital letters, perhaps with the colon of a pseudo field in front?
fn is_name(name: &[u8]) -> bool {
    let rest = name.strip_prefix(b":").unwrap_or(name);
    let is_fine = |&byte: &u8| {
        matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'!' | b'#' | b'$' | b'%' | b'&'
            | b'\'' | b'*' | b'+' | b'.' | b'^' | b'`' | b'|' | b'~')
    };
    !rest.is_empty() && rest.iter().all(is_fine)
}

/// May this be the value of a field? Control bytes may not, and no white space around it.
pub fn is_value(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    !has_control(value) && !is_blank(value.first()) && !is_blank(value.last())
}

/// Is there a control byte other than a tab?
pub fn has_control(value: &[u8]) -> bool {
    (value.iter()).fold(false, |found, &byte| {
        found | ((byte < b' ') & (byte != b'\t')) | (byte == 0x7f)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<String, Broken> {
        let mut text = String::new();
        decoder
            .decode(block, |field| {
                let (name, value) = (field.name.escape_ascii(), field.value.escape_ascii());
                text += &format!("{name}: {value}\n");
            })
            .map(|()| text)
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |byte: u8| (byte as char).to_digit(16).expect("a digit") as u8;
        (digits.chunks(2))
            .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
            .collect()
    }

    /// RFC 7541 appendix C.3 and C.4.
    #[test]
    fn the_examples_of_the_standard_are_read() {
        let requests = [
            ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n",
            ":method: GET\n:scheme: http\n:path: /\n:authority: www.example.com\n\
             cache-control: no-cache\n",
            ":method: GET\n:scheme: https\n:path: /index.html\n:authority: www.example.com\n\
             custom-key: custom-value\n",
        ];
        for blocks in [
            [
                "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
                "8286 84be 5808 6e6f 2d63 6163 6865",
                "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
            ],
            [
                "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
                "8286 84be 5886 a8eb 1064 9cbf",
                "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
            ],
        ] {
            let mut decoder = Decoder::default();
            for (block, request) in blocks.iter().zip(requests) {
                assert_eq!(decoded(&mut decoder, &hex(block)).as_deref(), Ok(request));
            }
            assert_eq!(decoder.table.entries().count(), 3);
        }
    }

    /// RFC 7541 appendix C.5, with its table of 256 bytes.
    #[test]
    fn a_small_table_forgets_what_is_oldest() {
        let mut decoder = Decoder::default();
        let blocks = [
            "3fe1 01 4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 \
             2032 303a 3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
            "4803 3330 37c1 c0bf",
        ];
        assert!(decoded(&mut decoder, &hex(blocks[0])).is_ok());
        assert_eq!(decoder.table.entries().count(), 4);
        let second = decoded(&mut decoder, &hex(blocks[1])).expect("a block");
        assert!(second.starts_with(":status: 307\ncache-control: private\ndate: Mon,"));
        assert_eq!(decoder.table.entries().count(), 4);
        // What is named and pushes its own name out of the table keeps it.
        let mut decoder = Decoder::default();
        let block = [&b"\x3f\x08\x40\x01x\x02yz"[..], b"\x7e\x03abc", b"\xbe"].concat();
        let text = decoded(&mut decoder, &block).expect("a block");
        assert_eq!(text, "x: yz\nx: abc\nx: abc\n");
    }

    #[test]
    fn what_is_no_block_is_refused() {
        for wrong in [
            // Entries that are not there.
            &b"\x80"[..],
            b"\xbe",
            b"\xff\x00",
            b"\x7f\x00\x01a",
            // Strings that are cut.
            b"\x00",
            b"\x00\x05a",
            b"\x00\x01a",
            b"\x00\x01a\x7f",
            b"\x00\x01a\x81\x18",
            // Numbers without an end, or beyond everything.
            b"\xff",
            b"\xff\x80\x80\x80\x80\x01",
            b"\x00\x7f\xff\xff\xff\x7f",
            // A size behind a field, and one larger than ours.
            b"\x82\x20",
            b"\x3f\xe2\x1f",
        ] {
            assert_eq!(
                decoded(&mut Decoder::default(), wrong),
                Err(Broken),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn names_and_values_are_judged_once() {
        let mut decoder = Decoder::default();
        let mut seen = Vec::new();
        let block = [
            &b"\x40\x01x\x02 a\x40\x01x\x01a"[..],
            b"\x40\x01X\x01a\x40\x03x\x00y\x01a",
            b"\x40\x00\x01a\x40\x04te\xe4t\x01a\x40\x01x\x02a\n",
            b"\xbe\xc3\xc4\x7e\x01b",
        ];
        decoder
            .decode(&block.concat(), |field| seen.push(field.is_valid))
            .expect("a block");
        let expected = [
            false, true, false, false, false, false, false, false, true, false, true,
        ];
        assert_eq!(seen, expected);
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(blocks: Vec<Vec<u8>>) {
            let mut decoder = Decoder::default();
            for block in blocks {
                let _ = decoder.decode(&block, |_| {});
                let size: usize = (decoder.table.entries())
                    .map(|entry| entry.name().len() + entry.value().len() + 32)
                    .sum();
                prop_assert!(size <= decoder.table.most());
            }
        }
    }
}
