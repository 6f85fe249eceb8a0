//! `map`, `geo`, `split_clients`: variables computed from a value by a table.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::conf::regex::{Groups, Regex};
use crate::conf::template::Template;

/// `map source $name { … }`
#[derive(Debug)]
pub struct Map {
    /// What is looked up; may hold several variables.
    pub source: Template,
    /// Computed anew each time it is asked.
    pub volatile: bool,
    /// Exact values, in lower case (nginx compares without case).
    pub exact: HashMap<Box<[u8]>, Template>,
    /// With `hostnames`: `*.example.org` kept as `.example.org`, the longest first. (The bare name of
    /// `.example.org` stands in `exact` too.)
    pub suffixes: Vec<(Box<[u8]>, Template)>,
    /// With `hostnames`: `www.example.*` kept as `www.example.`, the longest first.
    pub prefixes: Vec<(Box<[u8]>, Template)>,
    /// `hostnames`: a trailing dot of the value is ignored.
    pub hostnames: bool,
    /// Regular expressions in order.
    pub regexes: Vec<(Regex, Template)>,
    /// `default`; empty when not given.
    pub default: Template,
}

impl Map {
    /// What a value maps to; for a regular expression its groups are filled in.
    pub fn find(&self, value: &[u8], groups: &mut Groups) -> (&Template, Option<&Regex>) {
        let mut lower = smallvec::SmallVec::<[u8; 64]>::from_slice(value);
        lower.make_ascii_lowercase();
        if self.hostnames && lower.last() == Some(&b'.') {
            lower.pop();
        }
        if let Some(found) = self.exact.get(&lower[..]) {
            return (found, None);
        }
        // Both lists are sorted longest first by the lowering.
        if let Some((_, found)) = self
            .suffixes
            .iter()
            .find(|(suffix, _)| lower.ends_with(suffix))
        {
            return (found, None);
        }
        if let Some((_, found)) = self
            .prefixes
            .iter()
            .find(|(prefix, _)| lower.starts_with(prefix))
        {
            return (found, None);
        }
        for (regex, found) in &self.regexes {
            if regex.find(value, groups) {
                return (found, Some(regex));
            }
        }
        (&self.default, None)
    }
}

/// `geo [$address] $name { … }`
#[derive(Debug)]
pub struct Geo {
    /// The variable that holds the address; `$remote_addr` when `None`.
    pub source: Option<Template>,
    /// Networks, the longest prefix first; a linear look-up is replaced by a table where many.
    pub networks: Vec<(ipnet::IpNet, Box<[u8]>)>,
    /// `default`; empty when not given.
    pub default: Box<[u8]>,
    /// `proxy` networks: the address is taken from `X-Forwarded-For` when the peer is one of them.
    pub proxies: Vec<ipnet::IpNet>,
    /// `proxy_recursive`
    pub proxy_recursive: bool,
}

impl Geo {
    /// The value for an address.
    pub fn find(&self, address: IpAddr) -> &[u8] {
        let address = match address {
            IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, IpAddr::V4),
            IpAddr::V4(_) => address,
        };
        self.networks
            .iter()
            .find(|(network, _)| network.contains(&address))
            .map_or(&self.default, |(_, value)| value)
    }
}

/// `split_clients source $name { … }`
#[derive(Debug)]
pub struct SplitClients {
    /// What is hashed.
    pub source: Template,
    /// `(upper bound of the hash, value)` in order; the last bound of `*` is `u32::MAX`.
    pub parts: Vec<(u32, Template)>,
}

impl SplitClients {
    /// The value for a text; empty when the percentages leave it out.
    pub fn find(&self, text: &[u8]) -> Option<&Template> {
        let hash = murmur2(text);
        self.parts
            .iter()
            .find(|&&(bound, _)| hash < bound || bound == u32::MAX)
            .map(|(_, value)| value)
    }
}

/// MurmurHash2 with seed 0, so that a client falls into the same part as with nginx
/// (`ngx_murmur_hash2`).
pub fn murmur2(data: &[u8]) -> u32 {
    const MULTIPLIER: u32 = 0x5bd1_e995;
    let mut hash = data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        word = word.wrapping_mul(MULTIPLIER);
        word ^= word >> 24;
        word = word.wrapping_mul(MULTIPLIER);
        hash = hash.wrapping_mul(MULTIPLIER) ^ word;
    }
    let rest = chunks.remainder();
    for (position, &byte) in rest.iter().enumerate() {
        hash ^= u32::from(byte) << (8 * position);
    }
    if !rest.is_empty() {
        hash = hash.wrapping_mul(MULTIPLIER);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MULTIPLIER);
    hash ^ (hash >> 15)
}
