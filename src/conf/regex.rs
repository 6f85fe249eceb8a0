//! Regular expressions of the configuration, in the PCRE spelling that nginx users write.
//!
//! `regex` runs in linear time and takes nearly every pattern found in the wild; look-around and
//! back-references go to `fancy-regex` with a bound on backtracking, so that no pattern can hang a
//! worker. A pattern works on bytes, as nginx's do.

use super::variable::{Names, Source};

/// Steps of backtracking after which a match is given up as "no match".
const BACKTRACK_LIMIT: usize = 100_000;

/// A compiled pattern together with the slots that its named groups fill.
#[derive(Debug)]
pub struct Regex {
    engine: Engine,
    source: Box<str>,
    ignores_case: bool,
    captures: u16,
    /// `(group, slot)` of each named group.
    named: Box<[(u8, u16)]>,
}

#[derive(Debug)]
enum Engine {
    Linear(regex::bytes::Regex),
    Backtracking(Box<fancy_regex::Regex>),
}

/// Where the groups of a match stand in the subject; group 0 is the whole match.
pub type Groups = smallvec::SmallVec<[Option<(u32, u32)>; 4]>;

impl Regex {
    /// Compiles a pattern and defines a variable for each named group. The error is the engine's
    /// one-line text.
    pub fn new(pattern: &str, ignore_case: bool, names: &mut Names) -> Result<Self, String> {
        let linear = regex::bytes::RegexBuilder::new(pattern)
            .unicode(false)
            .case_insensitive(ignore_case)
            .size_limit(4 << 20)
            .build()
            .or_else(|_| {
                regex::bytes::RegexBuilder::new(pattern)
                    .case_insensitive(ignore_case)
                    .size_limit(4 << 20)
                    .build()
            });
        let (engine, groups): (_, Vec<Option<String>>) = match linear {
            Ok(linear) => {
                let groups = linear
                    .capture_names()
                    .map(|name| name.map(str::to_owned))
                    .collect();
                (Engine::Linear(linear), groups)
            }
            Err(_) => {
                let fancy = fancy_regex::RegexBuilder::new(pattern)
                    .case_insensitive(ignore_case)
                    .backtrack_limit(BACKTRACK_LIMIT)
                    .build()
                    .map_err(|error| error.to_string().replace('\n', " "))?;
                let groups = fancy
                    .capture_names()
                    .map(|name| name.map(str::to_owned))
                    .collect();
                (Engine::Backtracking(Box::new(fancy)), groups)
            }
        };
        let mut named = Vec::new();
        for (group, name) in groups.iter().enumerate() {
            if let Some(name) = name {
                let slot = names.define(&name.to_ascii_lowercase(), Source::Capture);
                named.push((
                    u8::try_from(group).map_err(|_| "too many groups".to_owned())?,
                    slot,
                ));
            }
        }
        Ok(Self {
            engine,
            source: pattern.into(),
            ignores_case: ignore_case,
            captures: u16::try_from(groups.len()).unwrap_or(u16::MAX),
            named: named.into(),
        })
    }

    /// The pattern as written.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Does it take capital and small letters for the same?
    pub fn ignores_case(&self) -> bool {
        self.ignores_case
    }

    /// How many groups a match fills, the whole match counted.
    pub fn group_count(&self) -> usize {
        usize::from(self.captures)
    }

    /// `(group, slot)` of each named group.
    pub fn named(&self) -> &[(u8, u16)] {
        &self.named
    }

    /// Does it match anywhere in the subject?
    pub fn is_match(&self, subject: &[u8]) -> bool {
        match &self.engine {
            Engine::Linear(regex) => regex.is_match(subject),
            Engine::Backtracking(regex) => std::str::from_utf8(subject)
                .is_ok_and(|subject| regex.is_match(subject).unwrap_or(false)),
        }
    }

    /// As [`Regex::is_match`], and fills in where each group stands.
    pub fn find(&self, subject: &[u8], groups: &mut Groups) -> bool {
        let range = |start: usize, end: usize| (start as u32, end as u32);
        match &self.engine {
            Engine::Linear(regex) => {
                if self.captures == 1 {
                    let Some(found) = regex.find(subject) else {
                        return false;
                    };
                    groups.clear();
                    groups.push(Some(range(found.start(), found.end())));
                    return true;
                }
                let Some(found) = regex.captures(subject) else {
                    return false;
                };
                groups.clear();
                groups.extend(
                    found
                        .iter()
                        .map(|group| group.map(|group| range(group.start(), group.end()))),
                );
                true
            }
            Engine::Backtracking(regex) => {
                let Ok(subject) = std::str::from_utf8(subject) else {
                    return false;
                };
                let Ok(Some(found)) = regex.captures(subject) else {
                    return false;
                };
                groups.clear();
                groups.extend(
                    found
                        .iter()
                        .map(|group| group.map(|group| range(group.start(), group.end()))),
                );
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_names_and_escapes_of_pcre_work() {
        let mut names = Names::default();
        let regex = Regex::new(r"^/(?<User>\w+)\/(.*)$", false, &mut names).expect("compiles");
        let mut groups = Groups::new();
        assert!(regex.find(b"/ann/x/y", &mut groups));
        assert_eq!(
            groups.as_slice(),
            [Some((0, 8)), Some((1, 4)), Some((5, 8))]
        );
        assert_eq!(regex.named(), [(1, names.slot("user").expect("defined"))]);
    }

    #[test]
    fn look_around_is_taken_and_bounded() {
        let regex = Regex::new(r"^(?!/api)(a+)+$", false, &mut Names::default()).expect("compiles");
        assert!(regex.is_match(b"aaa"));
        assert!(
            !regex.is_match(
                "a".repeat(64)
                    .as_bytes()
                    .iter()
                    .chain(b"!")
                    .copied()
                    .collect::<Vec<_>>()
                    .as_slice()
            )
        );
    }

    #[test]
    fn a_pattern_matches_bytes_that_are_not_utf8() {
        let regex = Regex::new(r"^/.\.html$", false, &mut Names::default()).expect("compiles");
        assert!(regex.is_match(b"/\xff.html"));
    }
}
