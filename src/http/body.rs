//! What an answer's body is before it is sent.
//!
//! Owns the forms a body takes; sending is the connection's. Invariant: the ranges of a
//! [`FileBody`] lie inside the file as it was when opened, so that [`Body::length`] is what a
//! receiver is promised.

use std::fs::File;
use std::ops::Range;

use smallvec::SmallVec;

/// The body of an answer.
#[derive(Debug)]
pub enum Body {
    /// Nothing is sent: there is no content, or the request was HEAD.
    Empty,
    /// Held in memory. Small files come in a buffer of [`super::buffer`]: give it back after sending.
    Bytes(Vec<u8>),
    /// Read from a file while sending.
    File(FileBody),
}

/// Pieces of one file, with text in front of each and behind the last.
#[derive(Debug)]
pub struct FileBody {
    /// The file, open for reading.
    pub file: File,
    /// What is sent of it, in order; never empty.
    pub parts: SmallVec<[FilePart; 1]>,
    /// Sent behind the last part: the closing boundary of several ranges.
    pub end: Vec<u8>,
}

/// One piece of a file.
#[derive(Debug, Default)]
pub struct FilePart {
    /// Sent in front of the piece: boundary and fields of one of several ranges.
    pub before: Vec<u8>,
    /// The bytes of the file.
    pub range: Range<u64>,
}

impl Body {
    /// How many bytes are sent.
    pub fn length(&self) -> u64 {
        match self {
            Self::Empty => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(file) => {
                let parts = file.parts.iter();
                parts.fold(file.end.len() as u64, |length, part| {
                    length + part.before.len() as u64 + (part.range.end - part.range.start)
                })
            }
        }
    }
}

impl FileBody {
    /// A whole file of this length.
    pub fn whole(file: File, length: u64) -> Self {
        Self {
            file,
            parts: SmallVec::from_buf([FilePart {
                before: Vec::new(),
                range: 0..length,
            }]),
            end: Vec::new(),
        }
    }
}
