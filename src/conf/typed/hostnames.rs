//! A table of host names with wildcards: `server_name`, and `map` with `hostnames`.
//!
//! Owns the order in which names win (nginx `ngx_hash_find_combined`): the exact name, else the
//! longest `*.suffix`, else the longest `prefix.*`; and which names exclude each other. Names and
//! what is looked up are in lower case. A look-up that finds an exact name hashes once.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A name as it can be matched; the parts are in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pattern<'a> {
    /// `example.org`
    Exact(&'a [u8]),
    /// `*.example.org`, as `.example.org`.
    Suffix(&'a [u8]),
    /// `.example.org`: the name itself and everything below it.
    SelfOrSuffix(&'a [u8]),
    /// `www.example.*`, as `www.example.`.
    Prefix(&'a [u8]),
}

impl<'a> Pattern<'a> {
    /// Reads a name in lower case; `None` if a `*` stands in a wrong place, or a part is empty.
    pub fn parse(name: &'a [u8]) -> Option<Self> {
        let stars = memchr::memchr_iter(b'*', name).count();
        if stars > 1 || name.windows(2).any(|pair| pair == b"..") || name.contains(&0) {
            return None;
        }
        if name.len() > 1 && name[0] == b'.' && stars == 0 {
            return Some(Self::SelfOrSuffix(name));
        }
        if name.len() > 2 && name.starts_with(b"*.") {
            return Some(Self::Suffix(&name[1..]));
        }
        if name.len() > 2 && name.ends_with(b".*") {
            return Some(Self::Prefix(&name[..name.len() - 1]));
        }
        (stars == 0).then_some(Self::Exact(name))
    }
}

/// Names and what they stand for.
#[derive(Clone, Debug)]
pub struct HostnameTable<T> {
    /// `None`: the name is taken, but stands for nothing (see [`HostnameTable::insert`]).
    exact: HashMap<Box<[u8]>, Option<T>, Hasher>,
    suffixes: HashMap<Box<[u8]>, T, Hasher>,
    prefixes: HashMap<Box<[u8]>, T, Hasher>,
    /// Nothing longer is looked up, so that a long host costs no more than a short one.
    longest_suffix: usize,
    longest_prefix: usize,
}

type Hasher = foldhash::fast::RandomState;

impl<T> Default for HostnameTable<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            suffixes: HashMap::default(),
            prefixes: HashMap::default(),
            longest_suffix: 0,
            longest_prefix: 0,
        }
    }
}

impl<T: Clone> HostnameTable<T> {
    /// Adds a name; `false` if an earlier name excludes it, which then changes nothing that is found.
    ///
    /// As in nginx (`ngx_hash_add_key`), `.name` and `*.name` exclude each other, and so do `.name`
    /// and `name`; a `.name` that came too late still takes the place of a later `name`.
    pub fn insert(&mut self, pattern: Pattern<'_>, value: T) -> bool {
        match pattern {
            Pattern::Exact(name) => vacant(&mut self.exact, name, Some(value)),
            Pattern::Suffix(suffix) => self.insert_suffix(suffix, value),
            Pattern::SelfOrSuffix(suffix) => {
                if !vacant(&mut self.exact, &suffix[1..], None) {
                    return false;
                }
                let is_new = self.insert_suffix(suffix, value.clone());
                if is_new {
                    self.exact.insert(suffix[1..].into(), Some(value));
                }
                is_new
            }
            Pattern::Prefix(prefix) => {
                self.longest_prefix = self.longest_prefix.max(prefix.len());
                vacant(&mut self.prefixes, prefix, value)
            }
        }
    }

    fn insert_suffix(&mut self, suffix: &[u8], value: T) -> bool {
        self.longest_suffix = self.longest_suffix.max(suffix.len());
        vacant(&mut self.suffixes, suffix, value)
    }
}

impl<T> HostnameTable<T> {
    /// What a host in lower case stands for.
    pub fn find(&self, host: &[u8]) -> Option<&T> {
        if !self.exact.is_empty()
            && let Some(Some(found)) = self.exact.get(host)
        {
            return Some(found);
        }
        if !self.suffixes.is_empty() {
            // From the left: the longest suffix comes first.
            let start = host.len().saturating_sub(self.longest_suffix);
            let found = memchr::memchr_iter(b'.', &host[start..])
                .find_map(|dot| self.suffixes.get(&host[start + dot..]));
            if found.is_some() {
                return found;
            }
        }
        if !self.prefixes.is_empty() {
            let end = host.len().min(self.longest_prefix);
            return memchr::memrchr_iter(b'.', &host[..end])
                .find_map(|dot| self.prefixes.get(&host[..=dot]));
        }
        None
    }

    /// Is there no name?
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffixes.is_empty() && self.prefixes.is_empty()
    }
}

fn vacant<T>(names: &mut HashMap<Box<[u8]>, T, Hasher>, name: &[u8], value: T) -> bool {
    match names.entry(name.into()) {
        Entry::Occupied(_) => false,
        Entry::Vacant(place) => {
            place.insert(value);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(names: &[&str]) -> HostnameTable<usize> {
        let mut table = HostnameTable::default();
        for (position, name) in names.iter().enumerate() {
            let pattern = Pattern::parse(name.as_bytes()).expect("a valid name");
            table.insert(pattern, position);
        }
        table
    }

    #[test]
    fn the_exact_name_wins_then_the_longest_suffix_then_the_longest_prefix() {
        let names = [
            "www.*",
            "*.org",
            "*.example.org",
            "a.example.org",
            ".self.net",
            "www.example.*",
        ];
        let table = table(&names);
        let find = |host: &str| table.find(host.as_bytes()).map(|&at| names[at]);
        assert_eq!(find("a.example.org"), Some("a.example.org"));
        assert_eq!(find("b.example.org"), Some("*.example.org"));
        assert_eq!(find("c.b.example.org"), Some("*.example.org"));
        assert_eq!(find("example.org"), Some("*.org"));
        assert_eq!(find("self.net"), Some(".self.net"));
        assert_eq!(find("x.self.net"), Some(".self.net"));
        assert_eq!(find("myself.net"), None);
        assert_eq!(find("www.example.com"), Some("www.example.*"));
        assert_eq!(find("www.example.co.uk"), Some("www.example.*"));
        assert_eq!(find("www.other.com"), Some("www.*"));
        assert_eq!(find("www"), None);
        assert_eq!(find(""), None);
    }

    #[test]
    fn a_name_that_came_too_late_still_takes_the_place_of_a_later_one() {
        let mut table = HostnameTable::default();
        assert!(table.insert(Pattern::Suffix(b".x.org"), 1));
        assert!(!table.insert(Pattern::SelfOrSuffix(b".x.org"), 2));
        assert!(!table.insert(Pattern::Exact(b"x.org"), 3));
        assert_eq!(table.find(b"x.org"), None);
        assert_eq!(table.find(b"a.x.org"), Some(&1));
    }

    #[test]
    fn stars_stand_alone_at_one_end_and_no_part_is_empty() {
        for invalid in [
            "*", "a*.org", "*a.org", "a.*.org", "*.*", "a..b", ".a..b", "*.a.*", "w.*.",
        ] {
            assert_eq!(Pattern::parse(invalid.as_bytes()), None, "{invalid}");
        }
        assert_eq!(Pattern::parse(b""), Some(Pattern::Exact(b"")));
        assert_eq!(Pattern::parse(b"."), Some(Pattern::Exact(b".")));
        assert_eq!(Pattern::parse(b"_"), Some(Pattern::Exact(b"_")));
        assert_eq!(Pattern::parse(b"a."), Some(Pattern::Exact(b"a.")));
        assert_eq!(Pattern::parse(b"*.a"), Some(Pattern::Suffix(b".a")));
        assert_eq!(Pattern::parse(b"a.*"), Some(Pattern::Prefix(b"a.")));
        assert_eq!(Pattern::parse(b".a"), Some(Pattern::SelfOrSuffix(b".a")));
    }

    /// Label by label, without a table.
    fn naive(names: &[String], host: &str) -> Option<usize> {
        let mut kept: Vec<(usize, &str)> = Vec::new();
        let mut exact_taken: Vec<&str> = Vec::new();
        for (position, name) in names.iter().enumerate() {
            let suffix = |name: &str| name.trim_start_matches('*').to_owned();
            let has_suffix = |kept: &[(usize, &str)], wanted: &str| {
                kept.iter()
                    .any(|(_, other)| other.starts_with(['*', '.']) && suffix(other) == wanted)
            };
            if let Some(bare) = name.strip_prefix('.') {
                if exact_taken.contains(&bare) {
                    continue;
                }
                exact_taken.push(bare);
                if has_suffix(&kept, name) {
                    continue;
                }
            } else if name.starts_with('*') {
                if has_suffix(&kept, &suffix(name)) {
                    continue;
                }
            } else if name.ends_with('*') {
                if kept.iter().any(|(_, other)| other == name) {
                    continue;
                }
            } else {
                if exact_taken.contains(&name.as_str()) {
                    continue;
                }
                exact_taken.push(name);
            }
            kept.push((position, name));
        }
        let best = |matches: &dyn Fn(&str) -> Option<usize>| {
            kept.iter()
                .filter_map(|&(position, name)| Some((matches(name)?, position)))
                .max_by_key(|&(length, _)| length)
                .map(|(_, position)| position)
        };
        let exact =
            best(&|name| (name == host || name.strip_prefix('.') == Some(host)).then_some(0));
        let suffix = best(&|name| {
            (name.starts_with(['*', '.']) && host.ends_with(name.trim_start_matches('*')))
                .then_some(name.trim_start_matches('*').len())
        });
        let prefix = best(&|name| {
            let stem = name.strip_suffix('*')?;
            host.starts_with(stem).then_some(stem.len())
        });
        exact.or(suffix).or(prefix)
    }

    proptest! {
        #[test]
        fn finds_what_trying_every_name_finds(
            names in prop::collection::vec(
                r"(\*\.|\.)?[ab](\.[ab]){0,2}|[ab](\.[ab]){0,2}(\.\*)?",
                0..12,
            ),
            host in r"[ab](\.[ab]){0,3}",
        ) {
            let table = table(&names.iter().map(String::as_str).collect::<Vec<_>>());
            prop_assert_eq!(table.find(host.as_bytes()).copied(), naive(&names, &host));
        }
    }
}
