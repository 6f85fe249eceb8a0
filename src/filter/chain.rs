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

use super::compress::Gzip;
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
    /// All of the input was worked off, and what was asked for was done.
    pub is_quiet: bool,
}

/// Why a body cannot be passed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// A filter comes no further; our own mistake.
    Stuck,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Stuck => "a filter of the body failed",
        })
    }
}

impl std::error::Error for Failure {}

/// One filter.
#[derive(Debug)]
pub enum Filter {
    /// See [`Gzip`].
    Gzip(Gzip),
}

impl Filter {
    /// Works off some of `input`, appending about as many bytes to `output` as it has room.
    fn step(&mut self, input: &[u8], ask: Ask, output: &mut Vec<u8>) -> Result<Stepped, Failure> {
        match self {
            Self::Gzip(gzip) => gzip.step(input, ask, output),
        }
    }

    /// The coding that it brings about.
    fn coding(&self) -> Option<Coding> {
        match self {
            Self::Gzip(_) => Some(Coding::Gzip),
        }
    }
}

#[derive(Debug)]
struct Stage {
    filter: Filter,
    /// What it was given, of which what lies before `at` was worked off.
    input: Vec<u8>,
    at: usize,
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
            ask: Ask::Nothing,
            has_ended: false,
            received: 0,
            sent: 0,
        }
    }

    fn waiting(&self) -> usize {
        self.input.len() - self.at
    }

    fn has_work(&self) -> bool {
        !self.has_ended && (self.waiting() > 0 || self.ask > Ask::Nothing)
    }

    fn push(&mut self, bytes: &[u8]) {
        self.received += bytes.len() as u64;
        if self.input.capacity() == 0 && bytes.len() > buffer::SMALL {
            self.input = buffer::take_large();
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
                    stage.step(out, most - made)?;
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
