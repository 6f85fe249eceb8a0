//! Compressing, a piece at a time.
//!
//! Owns the compressors: what they keep is large and dear to make, so each thread keeps a few for
//! the next body, and none looks back further than its body is long. A short body that comes whole is
//! compressed whole, which takes half the time. Invariant: a flushed piece can be read by whoever has
//! all up to it.

use std::cell::RefCell;

use brotli::enc::StandardAlloc;
use brotli::enc::encode::{
    BrotliEncoderDestroyInstance, BrotliEncoderOperation, BrotliEncoderParameter,
    BrotliEncoderStateStruct,
};
use flate2::{Compress, Compression as Level, FlushCompress, Status};
use libdeflater::{CompressionLvl, Compressor};
use zstd::zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd::zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

use super::chain::{Ask, Failure, Stepped};
use crate::http::buffer;

/// Compressors of a kind that a thread keeps.
const SPARE: usize = 8;

/// The level here that puts out as many bytes as zlib does at the level written, to a hundredth in the
/// mean: measured with 18 bodies of HTML, JSON, scripts and styles of 4 to 250 KiB, of which it takes
/// 0.3 to 0.7 of the time. A level more costs up to half as much again for the next hundredth. Below
/// the second one the output grows by a quarter.
const LEVELS: [u8; 10] = [2, 2, 2, 3, 3, 4, 5, 6, 7, 7];

/// As [`LEVELS`], for a body that is compressed whole: in 0.2 to 0.5 of the time.
const WHOLE_LEVELS: [u8; 10] = [1, 1, 1, 2, 3, 4, 5, 6, 6, 7];

/// A body up to this length is compressed whole if nothing of it is asked for before.
pub const WHOLE: usize = buffer::LARGE;

/// The greatest window of gzip.
const GZIP_WINDOW: u8 = 15;

/// The least window that every compressor here knows.
const LEAST_WINDOW: u8 = 10;

/// The greatest window of zstd: that of its middle levels. What the higher ones would take is up to
/// 128 MiB for each body, of which a browser reads 8 (RFC 9659).
const ZSTD_WINDOW: u8 = 20;

/// As [`ZSTD_WINDOW`] for a body that may be a stream, many of which may be open at a time.
const ZSTD_STREAM_WINDOW: u8 = 18;

/// How much of the output is made at once where the room for it has to be written first.
const ROOM: usize = 16 << 10;

thread_local! {
    static SPARE_GZIP: RefCell<[Vec<Compress>; 10]> =
        const { RefCell::new([const { Vec::new() }; 10]) };
    /// One of each level: it holds nothing from one body to the next.
    static WHOLE_GZIP: RefCell<[Option<Compressor>; 10]> = const { RefCell::new([const { None }; 10]) };
    static SPARE_ZSTD: RefCell<Vec<CCtx<'static>>> = const { RefCell::new(Vec::new()) };
}

/// A window, as a power of two, that holds a body of this length if it can.
fn window(length: Option<u64>, greatest: u8) -> u8 {
    let wanted = length.map_or(u32::MAX, |length| {
        u64::BITS - length.saturating_sub(1).leading_zeros()
    });
    wanted.clamp(LEAST_WINDOW.into(), greatest.max(LEAST_WINDOW).into()) as u8
}

/// A body that becomes gzip.
#[derive(Debug)]
pub struct Gzip {
    /// As zlib counts them.
    level: u8,
    /// All that came is held, for as long as the body may come whole.
    may_be_whole: bool,
    /// Made with the first bytes, so that a body that never comes costs nothing.
    compressor: Option<Compress>,
}

impl Gzip {
    /// At a level from 1 to 9, as zlib counts them, for a body of this length.
    pub fn new(level: u8, length: Option<u64>) -> Self {
        Self {
            level: level.min(9),
            may_be_whole: length.is_none_or(|length| length <= WHOLE as u64),
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
        self.may_be_whole &= input.len() <= WHOLE && ask != Ask::Flush;
        if self.may_be_whole {
            if ask == Ask::End {
                self.compress_whole(input, output)?;
            }
            let consumed = if ask == Ask::End { input.len() } else { 0 };
            return Ok(Stepped {
                consumed,
                is_quiet: true,
            });
        }
        let level = LEVELS[usize::from(self.level)];
        let compressor = self.compressor.get_or_insert_with(|| {
            let spare = SPARE_GZIP.with_borrow_mut(|spares| spares[usize::from(level)].pop());
            spare.unwrap_or_else(|| Compress::new_gzip(Level::new(level.into()), GZIP_WINDOW))
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

    fn compress_whole(&self, body: &[u8], output: &mut Vec<u8>) -> Result<(), Failure> {
        let level = usize::from(self.level);
        WHOLE_GZIP.with_borrow_mut(|compressors| {
            let compressor = match &mut compressors[level] {
                Some(compressor) => compressor,
                none => {
                    let level = CompressionLvl::new(WHOLE_LEVELS[level].into());
                    none.insert(Compressor::new(level.map_err(|_| Failure::Stuck)?))
                }
            };
            let start = output.len();
            output.resize(start + compressor.gzip_compress_bound(body.len()), 0);
            let length = compressor.gzip_compress(body, &mut output[start..]);
            // It fails for want of room only.
            output.truncate(start + length.map_err(|_| Failure::Stuck)?);
            Ok(())
        })
    }

    fn give_back(&mut self) {
        if let Some(mut compressor) = self.compressor.take() {
            // Fails only while the thread ends.
            let _ = SPARE_GZIP.try_with(|spares| {
                let level = LEVELS[usize::from(self.level)];
                let spares = &mut spares.borrow_mut()[usize::from(level)];
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

/// A body that becomes brotli.
pub struct Brotli {
    quality: u8,
    window: u8,
    length: Option<u64>,
    encoder: Option<Box<BrotliEncoderStateStruct<StandardAlloc>>>,
    /// What was asked for is not done; until it is, the encoder takes no more bytes.
    is_flushing: bool,
}

impl std::fmt::Debug for Brotli {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Brotli")
            .field("quality", &self.quality)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl Brotli {
    /// At a level from 0 to 11, for a body of this length, with a window of at most so many bytes as
    /// a power of two.
    pub fn new(level: u8, length: Option<u64>, greatest_window: u8) -> Self {
        Self {
            quality: level.min(11),
            window: window(length, greatest_window),
            length,
            encoder: None,
            is_flushing: false,
        }
    }

    /// See [`super::chain`].
    pub fn step(
        &mut self,
        input: &[u8],
        ask: Ask,
        output: &mut Vec<u8>,
    ) -> Result<Stepped, Failure> {
        let operation = match ask {
            _ if self.is_flushing => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
            Ask::Nothing => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
            Ask::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
            Ask::End => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
        };
        let encoder = self.encoder.get_or_insert_with(|| {
            let mut encoder = Box::new(BrotliEncoderStateStruct::new(StandardAlloc::default()));
            let hint = self.length.and_then(|length| u32::try_from(length).ok());
            for (parameter, value) in [
                (
                    BrotliEncoderParameter::BROTLI_PARAM_QUALITY,
                    self.quality.into(),
                ),
                (
                    BrotliEncoderParameter::BROTLI_PARAM_LGWIN,
                    self.window.into(),
                ),
                (
                    BrotliEncoderParameter::BROTLI_PARAM_SIZE_HINT,
                    hint.unwrap_or(0),
                ),
            ] {
                encoder.set_parameter(parameter, value);
            }
            encoder
        });
        let has_input = !input.is_empty();
        let input = if self.is_flushing { &[] } else { input };
        let start = output.len();
        output.resize(start + ROOM, 0);
        let (mut available, mut consumed) = (input.len(), 0);
        let (mut room, mut written) = (ROOM, start);
        let is_well = encoder.compress_stream(
            operation,
            &mut available,
            input,
            &mut consumed,
            &mut room,
            output,
            &mut written,
            &mut None,
            &mut |_, _, _, _| {},
        );
        output.truncate(written);
        if !is_well {
            return Err(Failure::Stuck);
        }
        if self.is_flushing {
            self.is_flushing = encoder.has_more_output();
            // More may have come, and more may be asked for than when this flush began.
            return Ok(Stepped {
                consumed: 0,
                is_quiet: !self.is_flushing && !has_input && ask == Ask::Flush,
            });
        }
        let is_quiet = match ask {
            Ask::End => encoder.is_finished(),
            _ => available == 0 && !encoder.has_more_output(),
        };
        self.is_flushing = ask == Ask::Flush && available == 0 && !is_quiet;
        if is_quiet && ask == Ask::End {
            self.free();
        }
        Ok(Stepped { consumed, is_quiet })
    }

    fn free(&mut self) {
        if let Some(mut encoder) = self.encoder.take() {
            BrotliEncoderDestroyInstance(&mut encoder);
        }
    }
}

impl Drop for Brotli {
    fn drop(&mut self) {
        self.free();
    }
}

/// A body that becomes zstd.
pub struct Zstd {
    level: u8,
    window: u8,
    context: Option<CCtx<'static>>,
}

impl std::fmt::Debug for Zstd {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Zstd")
            .field("level", &self.level)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}

impl Zstd {
    /// At a level from 1 to 22, for a body of this length.
    pub fn new(level: u8, length: Option<u64>) -> Self {
        let greatest = match length {
            Some(_) => ZSTD_WINDOW,
            None => ZSTD_STREAM_WINDOW,
        };
        Self {
            level,
            window: window(length, greatest),
            context: None,
        }
    }

    /// See [`super::chain`].
    pub fn step(
        &mut self,
        input: &[u8],
        ask: Ask,
        output: &mut Vec<u8>,
    ) -> Result<Stepped, Failure> {
        // It fails for want of memory, or if it is used in a wrong way.
        let stuck = |_| Failure::Stuck;
        let context = match &mut self.context {
            Some(context) => context,
            None => {
                let spare = SPARE_ZSTD.with_borrow_mut(Vec::pop);
                let mut context = match spare {
                    Some(spare) => spare,
                    None => CCtx::try_create().ok_or(Failure::Stuck)?,
                };
                let level = CParameter::CompressionLevel(self.level.into());
                context.set_parameter(level).map_err(stuck)?;
                let window = CParameter::WindowLog(self.window.into());
                context.set_parameter(window).map_err(stuck)?;
                self.context.insert(context)
            }
        };
        let directive = match ask {
            Ask::Nothing => ZSTD_EndDirective::ZSTD_e_continue,
            Ask::Flush => ZSTD_EndDirective::ZSTD_e_flush,
            Ask::End => ZSTD_EndDirective::ZSTD_e_end,
        };
        let mut input_buffer = InBuffer::around(input);
        let left = {
            let start = output.len();
            let mut output_buffer = OutBuffer::around_pos(output, start);
            context
                .compress_stream2(&mut output_buffer, &mut input_buffer, directive)
                .map_err(stuck)?
        };
        let consumed = input_buffer.pos();
        let is_quiet = consumed == input.len() && (left == 0 || ask == Ask::Nothing);
        if is_quiet && ask == Ask::End {
            self.give_back();
        }
        Ok(Stepped { consumed, is_quiet })
    }

    fn give_back(&mut self) {
        if let Some(mut context) = self.context.take() {
            // Fails only while the thread ends.
            let _ = SPARE_ZSTD.try_with(|spares| {
                let spares = &mut spares.borrow_mut();
                let is_clean = (context.reset(ResetDirective::SessionAndParameters)).is_ok();
                if spares.len() < SPARE && is_clean {
                    spares.push(context);
                }
            });
        }
    }
}

impl Drop for Zstd {
    fn drop(&mut self) {
        self.give_back();
    }
}
