//! Compressing, a piece at a time.
//!
//! Owns the compressors: what they keep is large and dear to make, so each thread keeps a few for
//! the next body. Invariant: a flushed piece can be read by whoever has all up to it.

use std::cell::RefCell;

use flate2::{Compress, Compression as Level, FlushCompress, Status};

use super::chain::{Ask, Failure, Stepped};

/// Compressors of one level that a thread keeps.
const SPARE: usize = 8;

/// The level here that puts out no more bytes than zlib does at the level written: measured with
/// HTML and JSON of 1 to 200 KiB. Ours are cut finer among the low levels, and the last one is no
/// gain over the one before it.
const LEVELS: [u8; 10] = [2, 2, 2, 4, 4, 5, 6, 7, 8, 8];

/// The greatest window of gzip.
const WINDOW_BITS: u8 = 15;

thread_local! {
    static SPARES: RefCell<[Vec<Compress>; 10]> = const { RefCell::new([const { Vec::new() }; 10]) };
}

/// A body that becomes gzip.
#[derive(Debug)]
pub struct Gzip {
    level: u8,
    /// Made with the first bytes, so that a body that never comes costs nothing.
    compressor: Option<Compress>,
}

impl Gzip {
    /// At a level from 1 to 9, as zlib counts them.
    pub fn new(level: u8) -> Self {
        Self {
            level: LEVELS[usize::from(level.min(9))],
            compressor: None,
        }
    }

    /// See [`super::chain`].
    pub fn step(
        &mut self,
        input: &[u8],
        ask: Ask,
        output: &mut Vec<u8>,
    ) -> Result<Stepped, Failure> {
        let level = self.level;
        let compressor = self.compressor.get_or_insert_with(|| {
            let spare = SPARES.with_borrow_mut(|spares| spares[usize::from(level)].pop());
            spare.unwrap_or_else(|| Compress::new_gzip(Level::new(level.into()), WINDOW_BITS))
        });
        let flush = match ask {
            Ask::Nothing => FlushCompress::None,
            Ask::Flush => FlushCompress::Sync,
            Ask::End => FlushCompress::Finish,
        };
        let before = compressor.total_in();
        let status = compressor
            .compress_vec(input, output, flush)
            // It fails for a compressor that is used in a wrong way only.
            .map_err(|_| Failure::Stuck)?;
        let consumed = (compressor.total_in() - before) as usize;
        let is_quiet = match ask {
            Ask::End => status == Status::StreamEnd,
            // With room left there is nothing more to come.
            _ => consumed == input.len() && output.len() < output.capacity(),
        };
        if is_quiet && ask == Ask::End {
            self.give_back();
        }
        Ok(Stepped { consumed, is_quiet })
    }

    fn give_back(&mut self) {
        if let Some(mut compressor) = self.compressor.take() {
            // Fails only while the thread ends.
            let _ = SPARES.try_with(|spares| {
                let spares = &mut spares.borrow_mut()[usize::from(self.level)];
                if spares.len() < SPARE {
                    compressor.reset();
                    spares.push(compressor);
                }
            });
        }
    }
}

impl Drop for Gzip {
    fn drop(&mut self) {
        self.give_back();
    }
}
