//! The tables that fields are named from (RFC 7541 section 2.3).

use std::collections::VecDeque;

use crate::http::head::Known;

/// What an entry counts for besides its name and its value (RFC 7541 section 4.1).
pub const OVERHEAD: usize = 32;
/// The size of a table unless another one is agreed upon (RFC 9113 section 6.5.2). Ours are never
/// larger.
pub const USUAL_SIZE: usize = 4 << 10;

/// The fixed entries, from 1 (RFC 7541 appendix A).
#[rustfmt::skip]
pub static FIXED: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// Which known name each of [`FIXED`] has.
pub static KNOWN_OF_FIXED: [Option<Known>; FIXED.len()] = {
    let mut list = [None; FIXED.len()];
    let mut place = 0;
    while place < list.len() {
        let mut other = 0;
        while other < Known::COUNT {
            if is_same(FIXED[place].0, Known::ALL[other].name()) {
                list[place] = Some(Known::ALL[other]);
            }
            other += 1;
        }
        place += 1;
    }
    list
};

/// For each known name the number of a fixed entry with it; 0 if there is none.
pub static FIXED_OF_KNOWN: [u8; Known::COUNT] = {
    let mut list = [0; Known::COUNT];
    let mut place = FIXED.len();
    while place > 0 {
        if let Some(known) = KNOWN_OF_FIXED[place - 1] {
            list[known as usize] = place as u8;
        }
        place -= 1;
    }
    list
};

const fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// One entry that came or was sent.
#[derive(Debug)]
pub struct Entry {
    /// The name and the value behind it.
    text: Box<[u8]>,
    name_length: usize,
    /// What is worth knowing of it without reading it again.
    pub note: u32,
}

impl Entry {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.text[..self.name_length]
    }

    /// Its value.
    pub fn value(&self) -> &[u8] {
        &self.text[self.name_length..]
    }

    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// The entries that came or were sent, the newest first.
#[derive(Debug)]
pub struct Table {
    entries: VecDeque<Entry>,
    size: usize,
    most: usize,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: USUAL_SIZE,
        }
    }
}

impl Table {
    /// How large it may be.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The entry at a place, from 0.
    pub fn at(&self, place: usize) -> Option<&Entry> {
        self.entries.get(place)
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Changes how large it may be.
    pub fn resize(&mut self, most: usize) {
        self.most = most;
        self.make_room(0);
    }

    /// Adds an entry, and drops as many old ones as that takes: all, and the new one too, if it is
    /// larger than the table (RFC 7541 section 4.4).
    pub fn insert(&mut self, name: &[u8], value: &[u8], note: u32) {
        let size = name.len() + value.len() + OVERHEAD;
        self.make_room(size);
        if size <= self.most {
            self.size += size;
            self.entries.push_front(Entry {
                text: [name, value].concat().into(),
                name_length: name.len(),
                note,
            });
        }
    }

    fn make_room(&mut self, size: usize) {
        while self.size + size > self.most {
            let Some(oldest) = self.entries.pop_back() else {
                return;
            };
            self.size -= oldest.size();
        }
    }
}
