//! The same peer for the same text: `ip_hash`, `hash`, and the circle of `hash … consistent`.
//!
//! Owns the arithmetic, which is nginx's to the bit (`ngx_http_upstream_ip_hash_module.c`,
//! `ngx_http_upstream_hash_module.c`), so that clients stay where they were when a host changes from
//! nginx. A peer that is down keeps its share of the texts; whoever falls on it is hashed on.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;

use super::balance::{GUESSES, Tier, Tried};
use super::group::Peer;

/// Points that a peer has on the circle for each unit of its weight.
const POINTS: u64 = 160;

/// Most points on a circle (32 MiB); weights that ask for more are scaled down.
const MOST_POINTS: u64 = 1 << 22;

/// The circle of consistent hashing: points in order, each with the name that it belongs to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Circle {
    points: Box<[(u32, u32)]>,
}

impl Circle {
    /// A circle of peers given by name, the number of the name, and weight. Peers of one name share
    /// its points, which the weights of all of them add to, as they do in nginx.
    pub fn new<'a>(peers: impl Iterator<Item = (&'a str, u32, u32)> + Clone) -> Self {
        Self::within(MOST_POINTS, peers)
    }

    fn within<'a>(most: u64, peers: impl Iterator<Item = (&'a str, u32, u32)> + Clone) -> Self {
        let total: u64 = peers.clone().map(|(_, _, weight)| u64::from(weight)).sum();
        let excess = (total * POINTS).div_ceil(most).max(1);
        let mut points = Vec::with_capacity((total * POINTS / excess) as usize);
        for (name, number, weight) in peers {
            let (host, port) = host_and_port(name);
            let mut base = crc32fast::Hasher::new();
            base.update(host);
            base.update(&[0]);
            base.update(port);
            let mut previous = 0u32;
            for _ in 0..(u64::from(weight) * POINTS).div_ceil(excess) {
                let mut hasher = base.clone();
                hasher.update(&previous.to_le_bytes());
                previous = hasher.finalize();
                points.push((previous, number));
            }
        }
        // Stable: of points that coincide the first written stays.
        points.sort_by_key(|&(hash, _)| hash);
        points.dedup_by_key(|&mut (hash, _)| hash);
        Self {
            points: points.into(),
        }
    }

    /// The first point at or behind a hash; one past the last wraps around.
    fn find(&self, hash: u32) -> u32 {
        self.points.partition_point(|&(point, _)| point < hash) as u32
    }

    /// The number of the name at a point, counted around the circle.
    fn name(&self, point: u32) -> u32 {
        self.points[point as usize % self.points.len()].1
    }
}

/// `host:port`, `host` or `unix:path` as nginx takes it apart.
fn host_and_port(name: &str) -> (&[u8], &[u8]) {
    let name = name.as_bytes();
    if let Some((scheme, path)) = name.split_at_checked(5)
        && scheme.eq_ignore_ascii_case(b"unix:")
    {
        return (path, b"");
    }
    match name.iter().rposition(|byte| !byte.is_ascii_digit()) {
        Some(colon) if name[colon] == b':' => (&name[..colon], &name[colon + 1..]),
        _ => (name, b""),
    }
}

/// `ip_hash`: by three bytes of an IPv4 address, or the sixteen of an IPv6 address.
pub(super) fn by_address(
    tier: &Tier,
    address: &[u8],
    tried: &mut Tried,
    now: Instant,
) -> Option<usize> {
    if tier.peers.len() < 2 || tried.guesses > GUESSES {
        return None;
    }
    let mut hash = match tried.hash {
        0 => 89,
        hash => hash - 1,
    };
    loop {
        for &byte in address {
            hash = (hash * 113 + u32::from(byte)) % 6271;
        }
        let position = tier.at_weight(u64::from(hash) % tier.total_weight.max(1));
        if tier.is_usable(position, tried, now) {
            // Zero is kept for "not begun".
            tried.hash = hash + 1;
            return Some(position);
        }
        tried.guesses += 1;
        if tried.guesses > GUESSES {
            return None;
        }
    }
}

/// `hash key`: compatible with Cache::Memcached.
pub(super) fn by_key(tier: &Tier, key: &[u8], tried: &mut Tried, now: Instant) -> Option<usize> {
    if tier.peers.len() < 2 || tried.guesses > GUESSES || key.is_empty() {
        return None;
    }
    loop {
        let mut hasher = crc32fast::Hasher::new();
        if tried.rehashes > 0 {
            let mut digits = [0; 10];
            let mut rest = &mut digits[..];
            let _ = write!(rest, "{}", tried.rehashes);
            let length = 10 - rest.len();
            hasher.update(&digits[..length]);
        }
        hasher.update(key);
        tried.hash = tried.hash.wrapping_add((hasher.finalize() >> 16) & 0x7fff);
        tried.rehashes += 1;
        let position = tier.at_weight(u64::from(tried.hash) % tier.total_weight.max(1));
        if tier.is_usable(position, tried, now) {
            return Some(position);
        }
        tried.guesses += 1;
        if tried.guesses > GUESSES {
            return None;
        }
    }
}

/// `hash key consistent`: compatible with Cache::Memcached::Fast. The addresses of a name take turns.
pub(super) fn by_circle(
    tier: &mut Tier,
    peers: &[Arc<Peer>],
    circle: &Circle,
    key: &[u8],
    tried: &mut Tried,
    now: Instant,
) -> Option<usize> {
    if tier.peers.len() < 2 || tried.guesses > GUESSES || key.is_empty() || circle.points.is_empty()
    {
        return None;
    }
    if tried.rehashes == 0 {
        tried.rehashes = 1;
        tried.hash = circle.find(crc32fast::hash(key));
    }
    loop {
        let name = circle.name(tried.hash);
        let mut best = None;
        let mut total = 0;
        for (position, peer) in peers.iter().enumerate() {
            if peer.name == name && tier.is_usable(position, tried, now) {
                tier.advance(position, &mut best, &mut total, now);
            }
        }
        if let Some(best) = best {
            tier.pay(best, total);
            return Some(best);
        }
        tried.hash = tried.hash.wrapping_add(1);
        tried.guesses += 1;
        if tried.guesses > GUESSES {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::balance::{State, Wish};
    use super::super::fixture::{named, state, upstream, weighted};
    use super::super::group::{Mode, Override, Peers, Resolved};
    use super::*;
    use crate::conf::typed::upstream::Method;

    fn consistent() -> Method {
        Method::Hash {
            key: Default::default(),
            consistent: true,
        }
    }

    fn pick(state: &mut State, method: &Method, key: &[u8], now: Instant) -> String {
        let wish = Wish { key, sticky: None };
        let choice = state.select(method, wish, &mut Tried::default(), now);
        let choice = choice.expect("a peer is free");
        state.release(choice, now, None, now);
        state.table().primary[choice.position].label.to_string()
    }

    #[test]
    fn names_are_taken_apart_as_nginx_does() {
        let parts = |name| {
            let (host, port) = host_and_port(name);
            (
                host.escape_ascii().to_string(),
                port.escape_ascii().to_string(),
            )
        };
        for (name, host, port) in [
            ("a.test:8080", "a.test", "8080"),
            ("a.test", "a.test", ""),
            ("a.test:", "a.test", ""),
            ("8080", "8080", ""),
            ("[::1]:80", "[::1]", "80"),
            ("[::1]", "[::1]", ""),
            ("unix:/run/a.sock", "/run/a.sock", ""),
            ("UNIX:/run/a:80", "/run/a:80", ""),
        ] {
            assert_eq!(parts(name), (host.to_owned(), port.to_owned()), "{name}");
        }
    }

    #[test]
    fn a_circle_of_great_weights_stays_within_its_bound() {
        let peers = [("a:1", 0, u32::MAX), ("b:1", 1, u32::MAX / 2)];
        let circle = Circle::within(100_000, peers.into_iter());
        assert!(circle.points.len() <= 100_000 + peers.len());
        let first = circle.points.iter().filter(|(_, name)| *name == 0).count();
        let share = first as f64 / circle.points.len() as f64;
        assert!((0.66..0.67).contains(&share), "{share}");
    }

    #[test]
    fn the_addresses_of_one_name_share_its_keys_in_turn() {
        let lines = vec![named("a.test", 80), named("b.test", 80)];
        let conf = Arc::new(upstream(consistent(), lines));
        let peers = Peers::new(Arc::clone(&conf), None);
        let address = |last: u8| Resolved {
            address: ([10, 0, 0, last], 80).into(),
            weight: None,
            is_backup: false,
        };
        peers.learn(0, &[address(1), address(2)]);
        peers.learn(1, &[address(3)]);
        let mut state = State::new(&conf, peers.table());
        let now = Instant::now();
        for number in 0..50u32 {
            let key = number.to_le_bytes();
            let (one, two) = (
                pick(&mut state, &conf.method, &key, now),
                pick(&mut state, &conf.method, &key, now),
            );
            let is_of_second = one.starts_with("10.0.0.3");
            assert_eq!(is_of_second, one == two, "{one} {two}");
            assert_eq!(is_of_second, two.starts_with("10.0.0.3"));
        }
    }

    proptest! {
        /// What "consistent" promises, and why a peer is marked `down` and not removed.
        #[test]
        fn a_peer_that_goes_down_moves_its_own_keys_only(
            weights in prop::collection::vec(1..4u32, 3..7),
            gone in 0..3usize,
            keys in prop::collection::vec(any::<u32>(), 1..60),
        ) {
            let (conf, mut before) = state(consistent(), weighted(&weights));
            let peers = Peers::new(Arc::clone(&conf), None);
            let address = peers.table().primary[gone].address.clone();
            let down = Override { mode: Mode::Down, weight: None };
            prop_assert!(peers.set_override(gone, &address, down));
            let mut after = State::new(&conf, peers.table());
            let now = Instant::now();
            let gone = address.to_string();
            for key in keys {
                let key = key.to_le_bytes();
                let old = pick(&mut before, &conf.method, &key, now);
                let new = pick(&mut after, &conf.method, &key, now);
                prop_assert_ne!(&new, &gone);
                prop_assert!(old == gone || old == new);
            }
        }
    }

    #[test]
    fn a_weight_set_at_run_time_changes_the_share_of_the_circle() {
        let conf = Arc::new(upstream(consistent(), weighted(&[1, 1])));
        let peers = Peers::new(Arc::clone(&conf), None);
        let address = peers.table().primary[0].address.clone();
        let heavy = Override {
            mode: Mode::Configured,
            weight: NonZeroU32::new(9),
        };
        assert!(peers.set_override(0, &address, heavy));
        let mut state = State::new(&conf, peers.table());
        let now = Instant::now() + Duration::from_secs(1);
        let mut counts = HashMap::new();
        for number in 0..2000u32 {
            let label = pick(&mut state, &conf.method, &number.to_le_bytes(), now);
            *counts.entry(label).or_insert(0u32) += 1;
        }
        let heavy = counts[&address.to_string()];
        assert!((1600..1960).contains(&heavy), "{heavy}");
    }
}
