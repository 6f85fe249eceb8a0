//! What an HTTP/2 client asks for besides work.
//!
//! Every frame costs us something, and most kinds of them bring no request nearer to its answer. A
//! client that sends nothing else keeps a processor busy for a few bytes (rapid reset, floods of
//! SETTINGS, PING, PRIORITY and empty DATA: CVE-2023-44487, CVE-2019-9511 to 9518). So a connection
//! has points: such a frame takes some, work done gives some back, and so does time. A client without
//! points is sent away with ENHANCE_YOUR_CALM.
//!
//! | what | points |
//! | --- | --- |
//! | at first, and at most | [`MOST_POINTS`] |
//! | each second | + [`POINTS_PER_SECOND`] |
//! | an answer that was sent whole | + [`ANSWER_EARNS`] |
//! | a piece of an answer, and each 512 bytes of it | + [`PIECE_EARNS`], + 1 |
//! | HEADERS | − 2 |
//! | RST_STREAM | − 10 |
//! | SETTINGS, GOAWAY | − 20 |
//! | every 8 settings in one frame | − 1 |
//! | PING, DATA without a byte of content | − 2 |
//! | CONTINUATION | − 5 |
//! | WINDOW_UPDATE, PRIORITY, kinds we do not know | − 1 |
//! | a stream that we have to reset | − 10 |
//! | DATA of a stream that we have reset | − 1 |
//! | other DATA with content | nothing: flow control bounds it |

use super::frame::Kind;

/// The points of a connection that has done nothing wrong.
pub const MOST_POINTS: u32 = 2000;
/// What time gives back.
pub const POINTS_PER_SECOND: u64 = 100;
/// What an answer that was sent whole gives back.
pub const ANSWER_EARNS: u32 = 12;
/// What a piece of an answer gives back: the client may say for each that it was read.
pub const PIECE_EARNS: u32 = 4;
/// So many bytes of an answer give a point back.
pub const BYTES_PER_POINT: usize = 512;
/// What a stream costs that the client makes us reset.
pub const RESET_COSTS: u32 = 10;

/// The points of one client.
#[derive(Debug)]
pub struct Points {
    left: u32,
    /// Up to when time has given back, in milliseconds.
    refilled: u64,
    /// Bytes sent that have not earned a point yet.
    unearned: usize,
}

impl Points {
    /// For a connection that begins. Times are in milliseconds since any moment.
    pub fn new(now: u64) -> Self {
        Self {
            left: MOST_POINTS,
            refilled: now,
            unearned: 0,
        }
    }

    /// Time has passed.
    pub fn refill(&mut self, now: u64) {
        let gained = now.saturating_sub(self.refilled) * POINTS_PER_SECOND / 1000;
        if gained > 0 {
            self.refilled += gained * 1000 / POINTS_PER_SECOND;
            self.earn(u32::try_from(gained).unwrap_or(MOST_POINTS));
        }
    }

    /// Work was done that gives points back.
    pub fn earn(&mut self, points: u32) {
        self.left = self.left.saturating_add(points).min(MOST_POINTS);
    }

    /// A piece of an answer was sent.
    pub fn earn_bytes(&mut self, count: usize) {
        self.unearned += count;
        self.earn((self.unearned / BYTES_PER_POINT) as u32);
        self.unearned %= BYTES_PER_POINT;
    }

    /// Something is to be paid for; `false` if there are too few points.
    pub fn charge(&mut self, price: u32) -> bool {
        match self.left.checked_sub(price) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// What a frame costs; DATA is paid for by its content.
pub fn price(kind: Kind) -> u32 {
    match kind {
        Kind::DATA => 0,
        Kind::HEADERS | Kind::PING => 2,
        Kind::RST_STREAM => 10,
        Kind::SETTINGS | Kind::GOAWAY => 20,
        Kind::CONTINUATION => 5,
        _ => 1,
    }
}

/// What DATA without a byte of content costs; the end of a body is work.
pub const EMPTY_DATA_COSTS: u32 = 2;
/// What DATA costs that comes for a stream which we have reset: some may have been on its way.
pub const LATE_DATA_COSTS: u32 = 1;
/// So many settings in one frame cost a point.
pub const SETTINGS_PER_POINT: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_work_give_points_back_up_to_the_most() {
        let mut points = Points::new(0);
        for _ in 0..200 {
            assert!(points.charge(price(Kind::RST_STREAM)));
        }
        assert!(!points.charge(1));
        points.refill(999);
        assert!(points.charge(99) && !points.charge(1));
        // What a part of a second earned is not lost.
        points.refill(1001);
        assert!(points.charge(1) && !points.charge(1));
        points.earn(ANSWER_EARNS);
        assert!(points.charge(12) && !points.charge(1));
        points.earn_bytes(500);
        points.earn_bytes(500);
        assert!(points.charge(1) && !points.charge(1));
        points.refill(1_000_000_000);
        assert!(points.charge(MOST_POINTS) && !points.charge(1));
    }
}
