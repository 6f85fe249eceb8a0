//! Bodies on their way through one filter after the other.
//!
//! Owns what waits between two filters. Whoever has bytes puts them in ([`Chain::push`]), asks for
//! what is held back ([`Chain::flush`]) or says that there is no more ([`Chain::end`]), and takes what
//! comes out ([`Chain::run`]), as much at a time as there is room for: however much comes out of a
//! few bytes, it comes in pieces.
//!
//! Invariants: what comes out does not depend on how the bytes were cut that came in, but for the
//! marks that flushing leaves in compressed bodies. After a flush nothing is held back that a client
//! could read.

use smallvec::SmallVec;

use super::compress::{Brotli, Gzip, Zstd};
use super::decompress::Gunzip;
use super::substitute::Substitute;
use crate::http::buffer;
use crate::http::coding::{Coding, Compressed};

/// What is passed on between two filters at a time.
const PIECE: usize = buffer::LARGE;
/// Room that a filter always gets: the least in which each of them comes forward.
const LEAST_ROOM: usize = 1 << 10;

/// The filters of one body, in the order in which it passes them.
#[derive(Debug)]
pub struct Chain {
    stages: SmallVec<[Stage; 1]>,
    /// Bytes were put in since all was flushed.
    holds: bool,
    /// Bytes put in; a measure of the work done.
    received: u64,
}

/// What a filter is asked to do when it has worked off its input; each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Ask {
    /// More input will come.
    Nothing,
    /// More may come, but what is there is to come out.
    Flush,
    /// No more will come.
    End,
}

/// What a filter did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stepped {
    /// Bytes of the input that need not be shown again.
    pub consumed: usize,
    /// What was asked for was done, and all of the input was worked off, or, where nothing was asked
    /// for, is to be shown again with what follows it.
    pub is_quiet: bool,
}

/// Why a body cannot be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The peer's gzip cannot be unpacked.
    BadGzip,
    /// It ends too early.
    CutGzip,
    /// A filter comes no further; our own mistake.
    Stuck,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::BadGzip => "upstream sent gzip that cannot be unpacked",
            Self::CutGzip => "upstream sent gzip that ends too early",
            Self::Stuck => "a filter of the body failed",
        })
    }
}

impl std::error::Error for Failure {}

/// One filter.
#[derive(Debug)]
pub enum Filter {
    /// See [`Gunzip`].
    Gunzip(Gunzip),
    /// See [`Substitute`].
    Substitute(Substitute),
    /// See [`Gzip`].
    Gzip(Gzip),
    /// See [`Brotli`].
    Brotli(Brotli),
    /// See [`Zstd`].
    Zstd(Zstd),
}

impl Filter {
    /// Works off some of `input`, appending about as many bytes to `output` as it has room.
    fn step(&mut self, input: &[u8], ask: Ask, output: &mut Vec<u8>) -> Result<Stepped, Failure> {
        match self {
            Self::Gunzip(gunzip) => gunzip.step(input, ask, output),
            Self::Substitute(substitute) => Ok(substitute.step(input, ask, output)),
            Self::Gzip(gzip) => gzip.step(input, ask, output),
            Self::Brotli(brotli) => brotli.step(input, ask, output),
            Self::Zstd(zstd) => zstd.step(input, ask, output),
        }
    }

    /// The coding that it brings about.
    fn coding(&self) -> Option<Coding> {
        match self {
            Self::Gunzip(_) | Self::Substitute(_) => None,
            Self::Gzip(_) => Some(Coding::Gzip),
            Self::Brotli(_) => Some(Coding::Brotli),
            Self::Zstd(_) => Some(Coding::Zstd),
        }
    }
}

#[derive(Debug)]
struct Stage {
    filter: Filter,
    /// What it was given, of which what lies before `at` was worked off.
    input: Vec<u8>,
    at: usize,
    /// Bytes behind `at` that the filter wants to see again when more comes.
    held: usize,
    ask: Ask,
    has_ended: bool,
    received: u64,
    sent: u64,
}

impl Stage {
    fn new(filter: Filter) -> Self {
        Self {
            filter,
            input: Vec::new(),
            at: 0,
            held: 0,
            ask: Ask::Nothing,
            has_ended: false,
            received: 0,
            sent: 0,
        }
    }

    fn waiting(&self) -> usize {
        self.input.len() - self.at - self.held
    }

    fn has_work(&self) -> bool {
        !self.has_ended && (self.waiting() > 0 || self.ask > Ask::Nothing)
    }

    fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        let length = self.input.len() + bytes.len();
        if length > buffer::SMALL && length > self.input.capacity() {
            let mut large = buffer::take_large();
            large.extend_from_slice(&self.input);
            buffer::give_back(std::mem::replace(&mut self.input, large));
        } else {
            buffer::ensure(&mut self.input);
        }
        self.input.extend_from_slice(bytes);
    }

    /// One step into `output`, which has room for `room` bytes more; what it was asked for, once that
    /// is done.
    fn step(&mut self, output: &mut Vec<u8>, room: usize) -> Result<Option<Ask>, Failure> {
        output.reserve(room.max(LEAST_ROOM));
        let before = output.len();
        let stepped = self.filter.step(&self.input[self.at..], self.ask, output)?;
        let made = output.len() - before;
        self.sent += made as u64;
        self.at += stepped.consumed;
        self.held = 0;
        if self.at == self.input.len() {
            self.at = 0;
            buffer::release(&mut self.input);
        }
        if !stepped.is_quiet {
            return match made + stepped.consumed {
                0 => Err(Failure::Stuck),
                _ => Ok(None),
            };
        }
        self.held = self.waiting();
        let done = std::mem::replace(&mut self.ask, Ask::Nothing);
        self.has_ended = done == Ask::End;
        Ok(Some(done))
    }
}

impl Chain {
    /// One filter; further ones are appended.
    pub fn new(filter: Filter) -> Self {
        let mut stages = SmallVec::new();
        stages.push(Stage::new(filter));
        Self {
            stages,
            holds: false,
            received: 0,
        }
    }

    /// Appends a filter that what comes out passes next.
    pub fn append(&mut self, filter: Filter) {
        self.stages.push(Stage::new(filter));
    }

    /// Puts bytes of the body in.
    pub fn push(&mut self, bytes: &[u8]) {
        self.holds = true;
        self.received += bytes.len() as u64;
        if let Some(first) = self.stages.first_mut() {
            first.push(bytes);
        }
    }

    /// Asks for what is held back; `false` if nothing is.
    pub fn flush(&mut self) -> bool {
        let holds = std::mem::take(&mut self.holds);
        if holds {
            self.ask(Ask::Flush);
        }
        holds
    }

    /// No more bytes will come.
    pub fn end(&mut self) {
        self.ask(Ask::End);
    }

    fn ask(&mut self, ask: Ask) {
        if let Some(first) = self.stages.first_mut() {
            first.ask = first.ask.max(ask);
        }
    }

    /// Is there anything to work off?
    pub fn has_work(&self) -> bool {
        self.stages.iter().any(Stage::has_work)
    }

    /// Did the end of the body come out?
    pub fn has_ended(&self) -> bool {
        self.stages.last().is_none_or(|stage| stage.has_ended)
    }

    /// Bytes that wait to be worked off.
    pub fn waiting(&self) -> usize {
        self.stages.iter().map(Stage::waiting).sum()
    }

    /// Bytes put in so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Works on until nothing is left to do or about `most` bytes came out.
    pub fn run(&mut self, out: &mut Vec<u8>, most: usize) -> Result<(), Failure> {
        let start = out.len();
        loop {
            // The last filter that has something to do goes first: so no more than a piece waits in
            // front of any but the first.
            let Some(position) = self.stages.iter().rposition(Stage::has_work) else {
                return Ok(());
            };
            let made = out.len() - start;
            if made >= most {
                return Ok(());
            }
            let (until, behind) = self.stages.split_at_mut(position + 1);
            let stage = &mut until[position];
            match behind.first_mut() {
                None => {
                    stage.step(out, (most - made).min(PIECE))?;
                }
                Some(next) => {
                    buffer::ensure(&mut next.input);
                    let before = next.input.len();
                    let done = stage.step(&mut next.input, PIECE)?;
                    next.received += (next.input.len() - before) as u64;
                    next.ask = next.ask.max(done.unwrap_or(Ask::Nothing));
                }
            }
        }
    }

    /// What the compressor among the filters did.
    pub fn compressed(&self) -> Option<Compressed> {
        self.stages.iter().find_map(|stage| {
            Some(Compressed {
                coding: stage.filter.coding()?,
                received: stage.received,
                sent: stage.sent,
            })
        })
    }
}

impl Drop for Chain {
    fn drop(&mut self) {
        for stage in &mut self.stages {
            buffer::release(&mut stage.input);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    /// A body of words, so that there is something to compress.
    fn text(length: usize) -> Vec<u8> {
        let words =
            (0..).flat_map(|number: usize| format!("{} word ", number * number).into_bytes());
        words.take(length).collect()
    }

    fn compressor(kind: usize, level: u8, length: Option<u64>) -> Filter {
        match kind {
            0 => Filter::Gzip(Gzip::new(level.clamp(1, 9), length)),
            1 => Filter::Brotli(Brotli::new(level.min(11), length, 19)),
            _ => Filter::Zstd(Zstd::new(level.clamp(1, 22), length)),
        }
    }

    /// What can be read of a packed body of which perhaps not all is there.
    fn unpacked(kind: usize, packed: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        let _early_end = match kind {
            0 => flate2::read::GzDecoder::new(packed).read_to_end(&mut plain),
            1 => brotli::Decompressor::new(packed, 4096).read_to_end(&mut plain),
            _ => zstd::stream::read::Decoder::new(packed)
                .expect("memory")
                .read_to_end(&mut plain),
        };
        plain
    }

    fn run(chain: &mut Chain, out: &mut Vec<u8>, most: usize) {
        while chain.has_work() {
            chain.run(out, most).expect("a body without mistakes");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn a_body_comes_out_the_same_however_it_comes_in_and_is_flushed(
            kind in 0..3usize,
            level in 0..9u8,
            sizes in prop::collection::vec((1..9000usize, any::<bool>()), 1..12),
            tells_length: bool,
            most in 1..5000usize,
        ) {
            let body = text(sizes.iter().map(|(size, _)| size).sum());
            let length = tells_length.then_some(body.len() as u64);
            let mut chain = Chain::new(compressor(kind, level, length));
            let (mut out, mut at) = (Vec::new(), 0);
            for (size, flushes) in sizes {
                chain.push(&body[at..at + size]);
                at += size;
                if flushes {
                    prop_assert!(chain.flush());
                    run(&mut chain, &mut out, most);
                    prop_assert_eq!(unpacked(kind, &out), &body[..at]);
                    prop_assert!(!chain.flush());
                } else {
                    // Only some of the work is done before more comes.
                    chain.run(&mut out, most).expect("a body without mistakes");
                }
            }
            chain.end();
            run(&mut chain, &mut out, most);
            prop_assert!(chain.has_ended());
            prop_assert_eq!(unpacked(kind, &out), &body[..]);
            let compressed = chain.compressed().expect("it was compressed");
            prop_assert_eq!((compressed.received, compressed.sent), (at as u64, out.len() as u64));
        }
    }

    #[test]
    fn a_short_body_becomes_gzip_whole_and_is_then_no_larger_than_in_pieces() {
        let body = text(20_000);
        for level in 1..=9 {
            let [whole, pieces] = [body.len() as u64, 1 << 20].map(|length| {
                let mut chain = Chain::new(compressor(0, level, Some(length)));
                let mut out = Vec::new();
                for piece in body.chunks(777) {
                    chain.push(piece);
                    run(&mut chain, &mut out, 100);
                    assert_eq!(chain.waiting(), 0);
                    assert!(length > body.len() as u64 || out.is_empty());
                }
                chain.end();
                run(&mut chain, &mut out, 100);
                assert!(chain.has_ended());
                assert_eq!(unpacked(0, &out), body);
                out.len()
            });
            assert!(whole <= pieces, "level {level}: {whole} and {pieces} bytes");
        }
    }

    #[test]
    fn what_is_unpacked_passes_the_next_filters() {
        let substitute = Substitute::new([(b"WORD".to_vec(), b"mot".to_vec())], false);
        let body = text(200_000);
        let mut packed = Chain::new(compressor(0, 1, None));
        packed.push(&body);
        packed.end();
        let mut gzip = Vec::new();
        run(&mut packed, &mut gzip, usize::MAX);
        let mut chain = Chain::new(Filter::Gunzip(Gunzip::default()));
        chain.append(Filter::Substitute(substitute.expect("a text to look for")));
        chain.append(compressor(1, 4, None));
        let mut out = Vec::new();
        for piece in gzip.chunks(777) {
            chain.push(piece);
            chain.run(&mut out, 100).expect("good gzip");
        }
        chain.end();
        run(&mut chain, &mut out, 100);
        let expected = String::from_utf8(body)
            .expect("text")
            .replace("word", "mot");
        assert!(unpacked(1, &out) == expected.as_bytes());
    }

    #[test]
    fn a_bomb_goes_off_a_piece_at_a_time() {
        let mut packed = Chain::new(compressor(0, 9, None));
        let mut bomb = Vec::new();
        for _ in 0..100 {
            packed.push(&[0; 1 << 20]);
            run(&mut packed, &mut bomb, usize::MAX);
        }
        packed.end();
        run(&mut packed, &mut bomb, usize::MAX);
        assert!(bomb.len() < 500_000);
        let mut chain = Chain::new(Filter::Gunzip(Gunzip::default()));
        chain.push(&bomb);
        chain.end();
        let mut total = 0;
        while chain.has_work() {
            let mut out = Vec::with_capacity(PIECE);
            chain.run(&mut out, PIECE).expect("good gzip");
            assert!(out.capacity() <= 2 * PIECE, "{}", out.capacity());
            total += out.len();
        }
        assert_eq!(total, 100 << 20);
    }

    #[test]
    fn broken_gzip_is_told() {
        let mut packed = Chain::new(compressor(0, 1, None));
        packed.push(&text(1000));
        packed.end();
        let mut gzip = Vec::new();
        run(&mut packed, &mut gzip, usize::MAX);
        let of = |bytes: &[u8]| {
            let mut chain = Chain::new(Filter::Gunzip(Gunzip::default()));
            chain.push(bytes);
            chain.end();
            chain.run(&mut Vec::new(), usize::MAX)
        };
        assert_eq!(of(&gzip), Ok(()));
        assert_eq!(of(b""), Ok(()));
        assert_eq!(of(&gzip.repeat(2)), Ok(()));
        assert_eq!(of(&gzip[..gzip.len() - 1]), Err(Failure::CutGzip));
        assert_eq!(of(&[&gzip[..], b"more"].concat()), Err(Failure::BadGzip));
        gzip[100] ^= 1;
        assert_eq!(of(&gzip), Err(Failure::BadGzip));
        assert_eq!(of(b"plain text"), Err(Failure::BadGzip));
    }
}
