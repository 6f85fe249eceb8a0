//! `map`, `geo`, `split_clients`: variables computed from a value by a table.

use std::net::IpAddr;

use super::hostnames::HostnameTable;
use crate::conf::regex::{Groups, Regex};
use crate::conf::template::Template;

/// `map source $name { … }`
#[derive(Debug)]
pub struct Map {
    /// What is looked up; may hold several variables.
    pub source: Template,
    /// Computed anew each time it is asked.
    pub volatile: bool,
    /// Values in lower case (nginx compares without case); with `hostnames`, wildcards too.
    pub values: HostnameTable<Template>,
    /// The longest of `values`; a longer text is not looked up. `None` is no bound.
    pub longest_value: Option<usize>,
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
        let value = match value.strip_suffix(b".") {
            Some(value) if self.hostnames => value,
            _ => value,
        };
        if self.longest_value.is_none_or(|most| value.len() <= most) {
            let mut lower = smallvec::SmallVec::<[u8; 128]>::from_slice(value);
            lower.make_ascii_lowercase();
            if let Some(found) = self.values.find(&lower) {
                return (found, None);
            }
        }
        // The empty value is never matched (nginx `ngx_http_map_find`).
        if !value.is_empty() {
            for (regex, found) in &self.regexes {
                if regex.find(value, groups) {
                    return (found, Some(regex));
                }
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
    /// Computed anew each time it is asked.
    pub volatile: bool,
    /// What the networks or ranges stand for.
    pub networks: AddressTable,
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
        self.networks.find(address).unwrap_or(&self.default)
    }
}

/// Values by address: ranges that do not overlap, in order, found by bisection.
#[derive(Debug, Default)]
pub struct AddressTable {
    /// Where each range starts, and its value's position; it reaches to the next start. An address
    /// before the first start has no value.
    four: Vec<(u32, Option<u32>)>,
    six: Vec<(u128, Option<u32>)>,
    values: Vec<Box<[u8]>>,
}

impl AddressTable {
    /// A table of networks; where they lie in each other, the smaller one counts.
    pub fn new(networks: &[(ipnet::IpNet, Box<[u8]>)]) -> Self {
        let mut table = Self::default();
        let mut four = Vec::new();
        let mut six = Vec::new();
        for (network, value) in networks {
            let value = table.value(value);
            match network {
                ipnet::IpNet::V4(network) => {
                    four.push((network.network().into(), network.broadcast().into(), value));
                }
                ipnet::IpNet::V6(network) => {
                    six.push((network.network().into(), network.broadcast().into(), value));
                }
            }
        }
        table.four = flatten(four, |end: u32| end.checked_add(1));
        table.six = flatten(six, |end: u128| end.checked_add(1));
        table
    }

    /// A table of ranges of IPv4 (first and last address) that do not overlap.
    pub fn from_ranges(ranges: Vec<(u32, u32, Box<[u8]>)>) -> Self {
        let mut table = Self::default();
        let mut four = Vec::new();
        for (start, end, value) in ranges {
            let value = table.value(&value);
            four.push((start, end, value));
        }
        table.four = flatten(four, |end: u32| end.checked_add(1));
        table
    }

    /// The value of an address; IPv4 in IPv6 is looked up as IPv4.
    pub fn find(&self, address: IpAddr) -> Option<&[u8]> {
        let position = match address.to_canonical() {
            IpAddr::V4(address) => range_of(&self.four, address.into()),
            IpAddr::V6(address) => range_of(&self.six, address.into()),
        };
        self.values.get(position? as usize).map(|value| &**value)
    }

    /// The position of a value; neighbours in the list share one.
    fn value(&mut self, value: &[u8]) -> u32 {
        if self.values.last().is_none_or(|last| **last != *value) {
            self.values.push(value.into());
        }
        self.values.len() as u32 - 1
    }
}

/// Cuts ranges that lie in each other, or apart, into ranges that do not overlap.
fn flatten<A: Copy + Ord>(
    mut ranges: Vec<(A, A, u32)>,
    after: impl Fn(A) -> Option<A>,
) -> Vec<(A, Option<u32>)> {
    // The outer one of two that start together comes first.
    ranges.sort_by(|one, other| one.0.cmp(&other.0).then(other.1.cmp(&one.1)));
    let mut flat: Vec<(A, Option<u32>)> = Vec::new();
    let mut push = |start: A, value: Option<u32>| match flat.last_mut() {
        Some(last) if last.0 == start => last.1 = value,
        Some(last) if last.1 == value => {}
        _ => flat.push((start, value)),
    };
    // The ranges that hold the present place, the outermost first.
    let mut open: Vec<(A, u32)> = Vec::new();
    let close =
        |open: &mut Vec<(A, u32)>, until: Option<A>, push: &mut dyn FnMut(A, Option<u32>)| {
            while let Some(&(end, _)) = open.last()
                && until.is_none_or(|until| end < until)
            {
                open.pop();
                if let Some(next) = after(end) {
                    push(next, open.last().map(|&(_, value)| value));
                }
            }
        };
    for (start, end, value) in ranges {
        close(&mut open, Some(start), &mut push);
        push(start, Some(value));
        open.push((end, value));
    }
    close(&mut open, None, &mut push);
    flat
}

fn range_of<A: Copy + Ord>(ranges: &[(A, Option<u32>)], address: A) -> Option<u32> {
    let position = ranges.partition_point(|&(start, _)| start <= address);
    ranges.get(position.checked_sub(1)?)?.1
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[(&str, &str)]) -> AddressTable {
        let networks: Vec<_> = texts
            .iter()
            .map(|(network, value)| {
                let network = network.parse().expect("a network");
                (network, value.as_bytes().into())
            })
            .collect();
        AddressTable::new(&networks)
    }

    #[test]
    fn the_smallest_network_counts() {
        let table = networks(&[
            ("10.1.0.0/16", "b"),
            ("10.0.0.0/8", "a"),
            ("10.1.2.3/32", "c"),
            ("255.255.255.255/32", "last"),
            ("2001:db8::/32", "six"),
        ]);
        let find = |address: &str| table.find(address.parse().expect("an address"));
        assert_eq!(find("9.255.255.255"), None);
        assert_eq!(find("10.0.0.0"), Some(&b"a"[..]));
        assert_eq!(find("10.1.2.2"), Some(&b"b"[..]));
        assert_eq!(find("10.1.2.3"), Some(&b"c"[..]));
        assert_eq!(find("10.1.2.4"), Some(&b"b"[..]));
        assert_eq!(find("10.2.0.0"), Some(&b"a"[..]));
        assert_eq!(find("11.0.0.0"), None);
        assert_eq!(find("255.255.255.255"), Some(&b"last"[..]));
        assert_eq!(find("2001:db8::1"), Some(&b"six"[..]));
        assert_eq!(find("2001:db9::1"), None);
        assert_eq!(find("::ffff:10.1.2.3"), Some(&b"c"[..]));
    }

    #[test]
    fn the_hash_of_a_share_is_nginx_s() {
        // The well-known values of MurmurHash2 with seed 0.
        assert_eq!(murmur2(b""), 0);
        assert_eq!(murmur2(b"a"), 0x9268_5f5e);
        assert_eq!(murmur2(b"hello"), 0xe56129cb);
    }

    proptest! {
        #[test]
        fn a_table_finds_what_the_longest_prefix_says(
            networks in prop::collection::vec((any::<u32>(), 0u8..=32, 0u8..4), 0..20),
            addresses in prop::collection::vec(any::<u32>(), 1..20),
        ) {
            // Few different bits, so that networks lie in each other.
            let squeeze = |bits: u32| bits & 0xc180_0003;
            let mut list: Vec<(ipnet::IpNet, Box<[u8]>)> = Vec::new();
            for (bits, length, value) in networks {
                let network = ipnet::Ipv4Net::new(squeeze(bits).into(), length).expect("a length");
                let network = ipnet::IpNet::V4(network.trunc());
                if list.iter().all(|(other, _)| *other != network) {
                    list.push((network, [value].into()));
                }
            }
            let table = AddressTable::new(&list);
            for bits in addresses {
                let address = IpAddr::V4(squeeze(bits).into());
                let naive = list
                    .iter()
                    .filter(|(network, _)| network.contains(&address))
                    .max_by_key(|(network, _)| network.prefix_len())
                    .map(|(_, value)| &**value);
                prop_assert_eq!(table.find(address), naive);
            }
        }
    }
}
