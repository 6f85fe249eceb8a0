//! Unpacking, a piece at a time, for clients that cannot.
//!
//! However much comes out of a few bytes, no more than a piece of it is there at a time; the client
//! sets the pace.

use flate2::{Decompress, FlushDecompress, Status};

use super::chain::{Ask, Failure, Stepped};

/// The greatest window that gzip has.
const WINDOW: u8 = 15;

/// A gzip body that becomes plain: one member, or several behind each other (RFC 1952 section 2.2).
#[derive(Debug, Default)]
pub struct Gunzip {
    decompressor: Option<Decompress>,
    /// A member ended, and nothing has come since.
    is_between: bool,
}

impl Gunzip {
    /// See [`super::chain`].
    pub fn step(
        &mut self,
        input: &[u8],
        ask: Ask,
        output: &mut Vec<u8>,
    ) -> Result<Stepped, Failure> {
        if input.is_empty() && (self.decompressor.is_none() || self.is_between) {
            return Ok(Stepped {
                consumed: 0,
                is_quiet: true,
            });
        }
        let decompressor = match &mut self.decompressor {
            Some(decompressor) if !self.is_between => decompressor,
            place => place.insert(Decompress::new_gzip(WINDOW)),
        };
        self.is_between = false;
        let before = decompressor.total_in();
        let status = decompressor
            .decompress_vec(input, output, FlushDecompress::None)
            .map_err(|_| Failure::BadGzip)?;
        let consumed = (decompressor.total_in() - before) as usize;
        self.is_between = status == Status::StreamEnd;
        let is_quiet =
            consumed == input.len() && (self.is_between || output.len() < output.capacity());
        if is_quiet && ask == Ask::End && !self.is_between {
            return Err(Failure::CutGzip);
        }
        Ok(Stepped { consumed, is_quiet })
    }
}
