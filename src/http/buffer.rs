//! Free lists of byte buffers, one set per thread.
//!
//! A connection that waits holds no buffer. It takes one when bytes arrive and gives it back after the
//! answer, so ten thousand idle connections share the buffers of the few that are busy.

use std::cell::RefCell;

/// Room for a head and a small body.
pub const SMALL: usize = 8 << 10;
/// Room for a large body passing through.
pub const LARGE: usize = 64 << 10;

/// Spare buffers kept per thread and size; what is given back beyond is freed.
const SPARE_SMALL: usize = 64;
const SPARE_LARGE: usize = 16;

thread_local! {
    static SPARE: RefCell<[Vec<Vec<u8>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// An empty buffer of at least [`SMALL`] bytes' room.
pub fn take_small() -> Vec<u8> {
    SPARE
        .with_borrow_mut(|[small, _]| small.pop())
        .unwrap_or_else(|| Vec::with_capacity(SMALL))
}

/// An empty buffer of at least [`LARGE`] bytes' room.
pub fn take_large() -> Vec<u8> {
    SPARE
        .with_borrow_mut(|[_, large]| large.pop())
        .unwrap_or_else(|| Vec::with_capacity(LARGE))
}

/// Gives a buffer back. Its bytes are forgotten; one that is of neither size is freed.
pub fn give_back(mut buffer: Vec<u8>) {
    let capacity = buffer.capacity();
    if !(SMALL..=2 * LARGE).contains(&capacity) {
        return;
    }
    buffer.clear();
    SPARE.with_borrow_mut(|[small, large]| {
        let (list, limit) = if capacity < LARGE {
            (small, SPARE_SMALL)
        } else {
            (large, SPARE_LARGE)
        };
        if list.len() < limit {
            list.push(buffer);
        }
    });
}

/// Makes room in a buffer that may have none yet: a fresh one is taken from the free list.
pub fn ensure(buffer: &mut Vec<u8>) {
    if buffer.capacity() == 0 {
        *buffer = take_small();
    }
}

/// Takes a buffer away from its holder and gives it back.
pub fn release(buffer: &mut Vec<u8>) {
    if buffer.capacity() != 0 {
        give_back(std::mem::take(buffer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_given_back_is_taken_again_and_is_empty() {
        let mut buffer = take_small();
        buffer.extend_from_slice(b"secret");
        let place = buffer.as_ptr();
        give_back(buffer);
        let again = take_small();
        assert_eq!(again.as_ptr(), place);
        assert!(again.is_empty());
    }
}
