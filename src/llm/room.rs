//! How much memory the bodies of calls may take together (`llm_body_memory`).
//!
//! A call is held whole until its answer is over: another provider may have to be asked with it. On a small
//! machine a few clients with large ones, or one that means harm, would take all there is. So each body has
//! its place before it is read, or as it grows where its length is not told; where there is none the call is
//! refused, and can be made again.
//!
//! The usual call is small, and costs nothing here: [`SMALL`].

use std::sync::atomic::{AtomicU64, Ordering};

/// Bodies up to this size are not counted: as many as a worker has connections take little. Bytes.
pub const SMALL: u64 = 64 << 10;

static TAKEN: AtomicU64 = AtomicU64::new(0);

/// The place of one body, for as long as it is there.
#[derive(Debug)]
pub struct Room {
    bytes: u64,
    most: u64,
}

impl Room {
    /// For a body of which nothing is there. All together may take `most` bytes.
    #[must_use]
    pub const fn new(most: u64) -> Self {
        Self { bytes: 0, most }
    }

    /// Makes room for a body of so many bytes; `false` if there is none.
    pub fn grow(&mut self, bytes: u64) -> bool {
        if bytes <= SMALL.max(self.bytes) {
            return true;
        }
        let more = bytes - self.bytes;
        let add = |taken: u64| taken.checked_add(more).filter(|sum| *sum <= self.most);
        let added = TAKEN.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        if added.is_ok() {
            self.bytes = bytes;
        }
        added.is_ok()
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.bytes > 0 {
            TAKEN.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

/// What is taken now, bytes.
#[must_use]
pub fn taken() -> u64 {
    TAKEN.load(Ordering::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    // One test: what is taken is counted for all of the process.
    #[test]
    fn bodies_have_their_place_until_they_are_gone() {
        const MOST: u64 = 1 << 20;
        let room = |bytes: u64| {
            let mut room = Room::new(MOST);
            room.grow(bytes).then_some(room)
        };
        let small: Vec<_> = (0..100).map(|_| room(SMALL)).collect();
        assert!(small.iter().all(Option::is_some));
        assert_eq!(taken(), 0, "they are not counted");
        let half = room(MOST / 2).expect("room");
        let mut other = room(MOST / 4).expect("room");
        assert!(other.grow(MOST / 4) && other.grow(MOST / 8));
        assert!(other.grow(MOST / 2));
        assert_eq!(taken(), MOST);
        assert!(!other.grow(MOST / 2 + 1));
        assert!(room(SMALL + 1).is_none() && room(SMALL).is_some());
        drop(half);
        assert_eq!(taken(), MOST / 2);
        assert!(room(u64::MAX).is_none() && room(MOST).is_none());
        drop(other);
        assert_eq!(taken(), 0);
        assert!(room(MOST).is_some(), "all of it for one");
        assert_eq!(taken(), 0);
    }
}
