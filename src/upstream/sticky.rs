//! Session affinity: `sticky cookie`, `sticky route`, `sticky learn`
//! (`ngx_http_upstream_sticky_module.c`).
//!
//! Owns which peer a request asks for and the sessions learned; whether the peer can take it is the
//! balance's to say. The number of sessions is bounded: the one unused longest makes room.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use md5::{Digest as _, Md5};
use parking_lot::Mutex;

use crate::conf::typed::upstream::Sticky;
use crate::conf::variable::Variable;
use crate::http::exchange::Exchange;
use crate::http::head::Known;
use crate::http::variables;

/// The sessions that `sticky learn` knows.
#[derive(Debug)]
pub struct Sessions {
    capacity: usize,
    timeout: Duration,
    /// By the MD5 of the session's id: hostile ids cost no memory, and cannot be chosen to collide
    /// in the map, whose hash has a secret.
    positions: HashMap<[u8; 16], u32, foldhash::fast::RandomState>,
    entries: Vec<Entry>,
    newest: u32,
    oldest: u32,
}

#[derive(Debug)]
struct Entry {
    key: [u8; 16],
    peer: Arc<str>,
    used: Instant,
    newer: u32,
    older: u32,
}

const NONE: u32 = u32::MAX;

impl Sessions {
    fn new(capacity: usize, timeout: Duration) -> Self {
        Self {
            capacity: capacity.clamp(1, NONE as usize - 1),
            timeout,
            positions: HashMap::default(),
            entries: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    /// The peer of a session that is not too old.
    fn find(&self, key: &[u8; 16], now: Instant) -> Option<&Arc<str>> {
        let entry = &self.entries[*self.positions.get(key)? as usize];
        (now.duration_since(entry.used) < self.timeout).then_some(&entry.peer)
    }

    /// Binds a session to a peer, or only renews it if it is not to be created.
    fn bind(&mut self, key: [u8; 16], peer: &str, may_create: bool, now: Instant) {
        self.expire(now);
        if let Some(&position) = self.positions.get(&key) {
            self.unlink(position);
            let entry = &mut self.entries[position as usize];
            entry.used = now;
            if *entry.peer != *peer {
                entry.peer = Arc::from(peer);
            }
            self.link_newest(position);
            return;
        }
        if !may_create {
            return;
        }
        if self.entries.len() >= self.capacity {
            self.remove(self.oldest);
        }
        let position = self.entries.len() as u32;
        self.entries.push(Entry {
            key,
            peer: Arc::from(peer),
            used: now,
            newer: NONE,
            older: NONE,
        });
        self.positions.insert(key, position);
        self.link_newest(position);
    }

    /// Forgets a few of the sessions that are too old: more than come in, so that all go in time.
    fn expire(&mut self, now: Instant) {
        for _ in 0..4 {
            let Some(entry) = self.entries.get(self.oldest as usize) else {
                return;
            };
            if now.duration_since(entry.used) < self.timeout {
                return;
            }
            self.remove(self.oldest);
        }
    }

    fn link_newest(&mut self, position: u32) {
        let newest = self.newest;
        let entry = &mut self.entries[position as usize];
        (entry.older, entry.newer) = (newest, NONE);
        match newest {
            NONE => self.oldest = position,
            newest => self.entries[newest as usize].newer = position,
        }
        self.newest = position;
    }

    fn unlink(&mut self, position: u32) {
        let Entry { newer, older, .. } = self.entries[position as usize];
        match newer {
            NONE => self.newest = older,
            newer => self.entries[newer as usize].older = older,
        }
        match older {
            NONE => self.oldest = newer,
            older => self.entries[older as usize].newer = newer,
        }
    }

    /// Removes an entry; the last one moves into its place.
    fn remove(&mut self, position: u32) {
        self.unlink(position);
        let removed = self.entries.swap_remove(position as usize);
        self.positions.remove(&removed.key);
        let Some(moved) = self.entries.get(position as usize) else {
            return;
        };
        let Entry {
            key, newer, older, ..
        } = *moved;
        self.positions.insert(key, position);
        match newer {
            NONE => self.newest = position,
            newer => self.entries[newer as usize].older = position,
        }
        match older {
            NONE => self.oldest = position,
            older => self.entries[older as usize].newer = position,
        }
    }
}

/// The sessions of a group: those of the configuration before, if the limits are the same.
pub(super) fn sessions(
    sticky: Option<&Sticky>,
    previous: Option<&Arc<Mutex<Sessions>>>,
) -> Option<Arc<Mutex<Sessions>>> {
    let Some(&Sticky::Learn {
        timeout, capacity, ..
    }) = sticky
    else {
        return None;
    };
    let fresh = Sessions::new(capacity, timeout);
    let kept = previous.filter(|previous| {
        let previous = previous.lock();
        (previous.capacity, previous.timeout) == (fresh.capacity, fresh.timeout)
    });
    Some(kept.map_or_else(|| Arc::new(Mutex::new(fresh)), Arc::clone))
}

/// What stands for a peer in a cookie: the MD5 of its address as text.
pub(super) fn session_of(label: &str) -> Box<str> {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(32);
    for byte in Md5::digest(label.as_bytes()) {
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// Appends the id of the peer that the request asks for; `false` if it asks for none.
pub(super) fn write_session(
    sticky: &Sticky,
    sessions: Option<&Mutex<Sessions>>,
    exchange: &Exchange,
    now: Instant,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    match sticky {
        Sticky::Cookie { name, .. } => exchange
            .head
            .fields
            .all(Known::Cookie)
            .find_map(|field| variables::cookie_value(field, name.as_bytes()))
            .is_some_and(|value| {
                out.extend_from_slice(value);
                !value.is_empty()
            }),
        Sticky::Route(variables) => write_first(variables, exchange, out),
        Sticky::Learn { lookup, .. } => {
            if !write_first(lookup, exchange, out) {
                return false;
            }
            let key = Md5::digest(&out[start..]).into();
            out.truncate(start);
            let peer = sessions.and_then(|sessions| sessions.lock().find(&key, now).cloned());
            peer.is_some_and(|peer| {
                out.extend_from_slice(peer.as_bytes());
                true
            })
        }
    }
}

/// Appends the first variable that has a value.
fn write_first(variables: &[Variable], exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    variables.iter().any(|variable| {
        out.truncate(start);
        variables::write(variable, exchange, out) && out.len() > start
    })
}

/// Remembers the session that the peer created, or renews the one that the request belongs to.
pub(super) fn learn(
    sticky: &Sticky,
    sessions: &Mutex<Sessions>,
    peer: &str,
    exchange: &Exchange,
    is_head: bool,
    now: Instant,
) {
    let Sticky::Learn {
        create,
        lookup,
        header,
        ..
    } = sticky
    else {
        return;
    };
    if *header != is_head {
        return;
    }
    let mut id = Vec::new();
    let is_created = write_first(create, exchange, &mut id);
    if is_created || write_first(lookup, exchange, &mut id) {
        let key = Md5::digest(&id).into();
        sessions.lock().bind(key, peer, is_created, now);
    }
}

/// Appends `name=peer` and the cookie's attributes.
pub(super) fn write_cookie(
    sticky: &Sticky,
    peer: &str,
    exchange: &Exchange,
    unix: Duration,
    out: &mut Vec<u8>,
) -> bool {
    let Sticky::Cookie {
        name,
        attributes,
        expires,
    } = sticky
    else {
        return false;
    };
    out.extend_from_slice(name.as_bytes());
    out.push(b'=');
    out.extend_from_slice(peer.as_bytes());
    write_expires(*expires, unix, out);
    variables::expand(attributes, exchange, out);
    true
}

fn write_expires(expires: Option<Duration>, unix: Duration, out: &mut Vec<u8>) {
    match expires {
        None => {}
        Some(Duration::MAX) => {
            out.extend_from_slice(b"; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000")
        }
        Some(expires) => {
            out.extend_from_slice(b"; expires=");
            write_cookie_time(unix.as_secs().saturating_add(expires.as_secs()), out);
            let _ = write!(out, "; max-age={}", expires.as_secs());
        }
    }
}

/// `Thu, 18-Nov-10 11:27:35 GMT`; with four digits from 2038 on (`ngx_http_cookie_time`).
fn write_cookie_time(unix: u64, out: &mut Vec<u8>) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    // Years beyond 9999 are not dates any more.
    let unix = unix.min(253_402_300_799);
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Days are counted from 1 March of year 0, so that a leap day ends its year.
    let days_since = days + 719_468;
    let (era, day_of_era) = (days_since / 146_097, days_since % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = (shifted_month + 2) % 12;
    let year = era * 400 + year_of_era + u64::from(month < 2);
    let _ = write!(
        out,
        "{}, {day:02}-{}-",
        DAYS[(days % 7) as usize],
        MONTHS[month as usize]
    );
    let _ = match year {
        0..=2037 => write!(out, "{:02}", year % 100),
        _ => write!(out, "{year}"),
    };
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let _ = write!(out, " {hour:02}:{minute:02}:{second:02} GMT");
}
