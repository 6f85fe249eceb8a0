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
use crate::http::date;
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
    let date = date::http(i64::try_from(unix).unwrap_or(i64::MAX));
    let year = match date[12..16] <= b"2037"[..] {
        true => &date[14..16],
        false => &date[12..16],
    };
    for part in [&date[..7], b"-", &date[8..11], b"-", year, &date[16..]] {
        out.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::super::fixture::{exchange, template};
    use super::*;
    use crate::conf::variable::Names;

    const SECOND: Duration = Duration::from_secs(1);
    const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn variable(name: &str) -> Variable {
        Names::default().resolve(name).expect("a known variable")
    }

    fn cookie(expires: Option<Duration>) -> Sticky {
        Sticky::Cookie {
            name: "srv".into(),
            attributes: template("; domain=.example.org; path=/"),
            expires,
        }
    }

    fn set_cookie(expires: Option<Duration>, unix: u64) -> String {
        let mut out = Vec::new();
        let exchange = exchange(CLIENT, "", &[]);
        let unix = Duration::from_secs(unix);
        assert!(write_cookie(
            &cookie(expires),
            "abc",
            &exchange,
            unix,
            &mut out
        ));
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_peer_is_named_by_the_md5_of_its_address() {
        // As `printf 127.0.0.1:8080 | md5sum`.
        assert_eq!(
            &*session_of("127.0.0.1:8080"),
            "5958c386bf5e9109ac10d2a628645aea"
        );
    }

    #[test]
    fn the_cookie_ends_with_the_session_or_at_its_time_or_never() {
        assert_eq!(set_cookie(None, 0), "srv=abc; domain=.example.org; path=/");
        assert_eq!(
            set_cookie(Some(3600 * SECOND), 1_290_076_055),
            "srv=abc; expires=Thu, 18-Nov-10 11:27:35 GMT; max-age=3600\
             ; domain=.example.org; path=/"
        );
        assert_eq!(
            set_cookie(Some(Duration::MAX), 0),
            "srv=abc; expires=Thu, 31-Dec-37 23:55:55 GMT; max-age=315360000\
             ; domain=.example.org; path=/"
        );
        assert!(set_cookie(Some(SECOND), 2_145_916_799).contains("Fri, 01-Jan-2038 00:00:00 GMT"));
    }

    fn session(sticky: &Sticky, args: &str, fields: &[(&str, &str)]) -> Option<String> {
        let mut out = b"key".to_vec();
        let exchange = exchange(CLIENT, args, fields);
        let found = write_session(sticky, None, &exchange, Instant::now(), &mut out);
        found.then(|| String::from_utf8_lossy(&out[3..]).into_owned())
    }

    #[test]
    fn the_session_is_read_from_the_cookie_and_an_empty_one_is_none() {
        let sticky = cookie(None);
        let cookies = [("Cookie", "a=1; srv=abc; b=2")];
        assert_eq!(session(&sticky, "", &cookies).as_deref(), Some("abc"));
        assert_eq!(session(&sticky, "", &[("Cookie", "srv=")]), None);
        assert_eq!(session(&sticky, "", &[("Cookie", "srvx=1")]), None);
    }

    #[test]
    fn a_route_is_the_first_variable_that_is_not_empty() {
        let sticky = Sticky::Route(vec![variable("cookie_route"), variable("arg_route")]);
        let cookies = [("Cookie", "route=a")];
        assert_eq!(session(&sticky, "route=b", &cookies).as_deref(), Some("a"));
        assert_eq!(session(&sticky, "route=b", &[]).as_deref(), Some("b"));
        assert_eq!(session(&sticky, "route=", &[]), None);
    }

    fn learning(header: bool) -> Sticky {
        Sticky::Learn {
            create: vec![variable("upstream_cookie_sid")],
            lookup: vec![variable("cookie_sid")],
            timeout: 10 * SECOND,
            capacity: 2,
            header,
        }
    }

    #[test]
    fn a_session_that_the_peer_creates_is_found_by_the_next_request() {
        let sticky = learning(false);
        let sessions = sessions(Some(&sticky), None).expect("it learns");
        let now = Instant::now();
        let mut first = exchange(CLIENT, "", &[]);
        first
            .upstream_head
            .fields
            .push(b"Set-Cookie", b"sid=s1; path=/");
        learn(&sticky, &sessions, "peer", &first, true, now);
        let next = exchange(CLIENT, "", &[("Cookie", "sid=s1")]);
        let find = |now| {
            let mut out = Vec::new();
            write_session(&sticky, Some(&sessions), &next, now, &mut out).then_some(out)
        };
        assert_eq!(find(now), None, "not learned from the head");
        learn(&sticky, &sessions, "peer", &first, false, now);
        assert_eq!(find(now).as_deref(), Some(&b"peer"[..]));
        // A request of the session renews it, and moves it to the peer that answered.
        let later = now + 8 * SECOND;
        learn(&sticky, &sessions, "other", &next, false, later);
        assert_eq!(find(later + 8 * SECOND).as_deref(), Some(&b"other"[..]));
        assert_eq!(find(later + 10 * SECOND), None);
        // But it does not create one.
        let unknown = exchange(CLIENT, "", &[("Cookie", "sid=s2")]);
        learn(&sticky, &sessions, "peer", &unknown, false, later);
        assert_eq!(sessions.lock().entries.len(), 1);
    }

    #[test]
    fn the_session_unused_longest_makes_room_and_old_ones_go() {
        let mut sessions = Sessions::new(2, 10 * SECOND);
        let now = Instant::now();
        let key = |number: u8| [number; 16];
        sessions.bind(key(1), "a", true, now);
        sessions.bind(key(2), "b", true, now);
        sessions.bind(key(1), "a", true, now);
        sessions.bind(key(3), "c", true, now);
        assert!(sessions.find(&key(2), now).is_none());
        assert!(sessions.find(&key(1), now).is_some());
        let later = now + 11 * SECOND;
        sessions.bind(key(4), "d", true, later);
        assert_eq!(sessions.entries.len(), 1);
        assert_eq!(sessions.positions.len(), 1);
    }

    #[test]
    fn sessions_outlive_a_configuration_unless_their_limits_change() {
        let old = sessions(Some(&learning(false)), None).expect("it learns");
        let new = sessions(Some(&learning(true)), Some(&old)).expect("it learns");
        assert!(Arc::ptr_eq(&old, &new));
        let Sticky::Learn {
            create,
            lookup,
            timeout,
            header,
            ..
        } = learning(false)
        else {
            panic!("it learns")
        };
        let larger = Sticky::Learn {
            create,
            lookup,
            timeout,
            capacity: 3,
            header,
        };
        let new = sessions(Some(&larger), Some(&old)).expect("it learns");
        assert!(!Arc::ptr_eq(&old, &new));
    }

    proptest::proptest! {
        #[test]
        fn sessions_do_what_a_plain_list_does(
            steps in proptest::collection::vec(
                (0..8u8, 0..3u8, proptest::bool::ANY, 0..3u64), 0..200),
        ) {
            let mut sessions = Sessions::new(4, 10 * SECOND);
            let mut list: Vec<(u8, String, Instant)> = Vec::new();
            let mut now = Instant::now();
            for (number, peer, may_create, seconds) in steps {
                now += Duration::from_secs(seconds);
                let peer = peer.to_string();
                sessions.bind([number; 16], &peer, may_create, now);
                // One step lets no more than a few grow old at once.
                list.retain(|it| now.duration_since(it.2) < 10 * SECOND);
                let known = list.iter().position(|it| it.0 == number);
                if let Some(known) = known {
                    list.remove(known);
                } else if may_create && list.len() == 4 {
                    list.remove(0);
                }
                if known.is_some() || may_create {
                    list.push((number, peer, now));
                }
                proptest::prop_assert!(sessions.entries.len() <= 4);
                for number in 0..8 {
                    let found = sessions.find(&[number; 16], now).map(|peer| &**peer);
                    let expected = list.iter().find(|it| it.0 == number).map(|it| &*it.1);
                    proptest::prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
