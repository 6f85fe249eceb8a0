//! What waits to be written to a client: frames, in the order in which they were said.
//!
//! Heads of frames, and whatever is short, stand one behind the other in one buffer. A long body stays
//! in the buffer that it came in, and is written from there: each copy of it costs more than all else
//! that is done for its frames. So what waits consists of parts, for a write that takes many.

use std::collections::VecDeque;
use std::io::IoSlice;

use smallvec::SmallVec;

use crate::http::buffer;

/// So many parts are written at once.
const PARTS: usize = 64;
/// A body that is shorter than this is copied: that costs less than the parts of a write.
const LEAST_KEPT: usize = 4 << 10;
/// So many bytes that were written make room for what follows.
const COMPACT: usize = 32 << 10;

/// Frames that wait.
#[derive(Debug, Default)]
pub struct Out {
    /// Heads of frames and whatever is short, from `taken` on.
    pub(super) bytes: Vec<u8>,
    taken: usize,
    /// Pieces of long bodies.
    pieces: VecDeque<Piece>,
    /// The buffers of these, in their order.
    kept: VecDeque<Vec<u8>>,
    /// How long the pieces are together.
    kept_length: usize,
}

/// A piece of the first buffer that has not seen the last of its pieces.
#[derive(Debug)]
struct Piece {
    /// It follows what stands in front of this position of the short bytes.
    behind: usize,
    start: usize,
    end: usize,
    is_last: bool,
}

impl Out {
    /// How many bytes wait.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.taken + self.kept_length
    }

    /// Is there nothing to be written?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets what waits.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.taken = 0;
        self.pieces.clear();
        self.kept.drain(..).for_each(buffer::give_back);
        self.kept_length = 0;
    }

    /// Gives back what is not needed while nothing waits.
    pub(super) fn rest(&mut self) {
        buffer::release(&mut self.bytes);
        self.taken = 0;
        self.pieces = VecDeque::new();
        self.kept = VecDeque::new();
    }

    /// Is the end of a buffer, so many bytes, worth to be written from where it is? One that is mostly
    /// empty would hold more memory than it counts for.
    pub(super) fn is_worth_keeping(buffer: &Vec<u8>, length: usize) -> bool {
        length >= LEAST_KEPT && length >= buffer.capacity() / 4
    }

    /// Appends a piece of the buffer that is handed over with [`Out::keep`] next. None is empty.
    pub(super) fn push_piece(&mut self, start: usize, end: usize) {
        self.kept_length += end - start;
        self.pieces.push_back(Piece {
            behind: self.bytes.len(),
            start,
            end,
            is_last: false,
        });
    }

    /// Takes the buffer of the pieces that were appended since the last one.
    pub(super) fn keep(&mut self, buffer: Vec<u8>) {
        if let Some(piece) = self.pieces.back_mut() {
            piece.is_last = true;
            self.kept.push_back(buffer);
        }
    }

    /// What waits, or the first parts of it.
    pub fn parts(&self) -> SmallVec<[IoSlice<'_>; PARTS]> {
        let mut parts = SmallVec::new();
        let mut at = self.taken;
        let mut buffers = self.kept.iter();
        let mut buffer = buffers.next();
        for piece in &self.pieces {
            if parts.len() + 2 > PARTS {
                return parts;
            }
            if at < piece.behind {
                parts.push(IoSlice::new(&self.bytes[at..piece.behind]));
                at = piece.behind;
            }
            if let Some(bytes) = buffer {
                parts.push(IoSlice::new(&bytes[piece.start..piece.end]));
            }
            if piece.is_last {
                buffer = buffers.next();
            }
        }
        if at < self.bytes.len() && parts.len() < PARTS {
            parts.push(IoSlice::new(&self.bytes[at..]));
        }
        parts
    }

    /// So many bytes of what waited were written.
    pub fn wrote(&mut self, mut count: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let in_front = piece.behind - self.taken;
            if count < in_front {
                break;
            }
            count -= in_front;
            self.taken = piece.behind;
            let length = piece.end - piece.start;
            let written = count.min(length);
            piece.start += written;
            self.kept_length -= written;
            count -= written;
            if written < length {
                break;
            }
            if piece.is_last
                && let Some(buffer) = self.kept.pop_front()
            {
                buffer::give_back(buffer);
            }
            self.pieces.pop_front();
        }
        self.taken += count;
        if self.is_empty() {
            self.bytes.clear();
            self.taken = 0;
        } else if self.taken >= COMPACT {
            self.bytes.drain(..self.taken);
            for piece in &mut self.pieces {
                piece.behind -= self.taken;
            }
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Short(usize),
        /// A buffer of such pieces, the first bytes of which are not of them.
        Long(usize, Vec<usize>),
        Write(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..20_000_usize).prop_map(Step::Short),
            (0..100_usize, prop::collection::vec(1..9000_usize, 1..40))
                .prop_map(|(offset, pieces)| Step::Long(offset, pieces)),
            prop_oneof![0..100_usize, 0..200_000_usize].prop_map(Step::Write),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn what_is_said_is_written_in_its_order_however_little_is_taken_at_once(
            steps in prop::collection::vec(step(), 1..40),
        ) {
            let mut out = Out::default();
            let (mut said, mut written) = (Vec::new(), Vec::new());
            let mut next = (0..251_u8).cycle();
            let mut write = |out: &mut Out, most: usize| {
                let mut count = 0;
                for part in &out.parts() {
                    assert!(!part.is_empty());
                    let taken = part.len().min(most - count);
                    written.extend_from_slice(&part[..taken]);
                    count += taken;
                }
                out.wrote(count);
                count
            };
            for step in steps {
                match step {
                    Step::Short(length) => {
                        let bytes: Vec<u8> = next.by_ref().take(length).collect();
                        out.bytes.extend_from_slice(&bytes);
                        said.extend(bytes);
                    }
                    Step::Long(offset, pieces) => {
                        let mut buffer = vec![255; offset];
                        for length in pieces {
                            let head: Vec<u8> = next.by_ref().take(length % 12).collect();
                            out.bytes.extend_from_slice(&head);
                            said.extend(head);
                            let start = buffer.len();
                            buffer.extend(next.by_ref().take(length));
                            said.extend_from_slice(&buffer[start..]);
                            out.push_piece(start, buffer.len());
                        }
                        out.keep(buffer);
                    }
                    Step::Write(most) => {
                        let before = out.len();
                        let count = write(&mut out, most);
                        prop_assert_eq!(out.len(), before - count);
                        prop_assert!(out.bytes.len() < out.len() + COMPACT);
                    }
                }
            }
            while write(&mut out, usize::MAX) > 0 {}
            prop_assert!(out.is_empty() && out.kept.is_empty() && out.bytes.is_empty());
            prop_assert!(said == written);
        }
    }

    #[test]
    fn what_is_forgotten_is_not_written() {
        let mut out = Out::default();
        out.bytes.extend_from_slice(b"head");
        out.push_piece(0, 9);
        out.keep(b"some body".to_vec());
        out.wrote(6);
        out.clear();
        assert!(out.is_empty() && out.parts().is_empty());
        out.bytes.extend_from_slice(b"goodbye");
        assert_eq!(&*out.parts()[0], b"goodbye");
    }
}
