//! Directives about caching: `Cache-Control` of answers and requests (RFC 9111 section 5.2) and
//! `CDN-Cache-Control` (RFC 9213).
//!
//! Owns how they are read. What is malformed or contradicts itself is read so that less is stored and
//! nothing is fresh longer (RFC 9111 section 4.2.1); what is unknown is passed over.

use super::structured::{self, Item};
use crate::http::head::{Fields, Known};

/// The greatest number of seconds (RFC 9111 section 1.2.2).
pub const MOST_SECONDS: u32 = 1 << 31;

/// The name of the field for caches such as this one.
pub const TARGETED: &[u8] = b"CDN-Cache-Control";

/// A directive that concerns the whole answer, or only some of its fields.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub enum Scope {
    /// The directive is not there.
    #[default]
    Nothing,
    /// The answer as a whole.
    Whole,
    /// These fields, in lower case.
    Fields(Vec<Box<[u8]>>),
}

impl Scope {
    /// Does it concern this field?
    pub fn names(&self, name: &[u8]) -> bool {
        match self {
            Self::Fields(names) => names.iter().any(|held| held.eq_ignore_ascii_case(name)),
            _ => false,
        }
    }

    fn widen(&mut self, argument: Option<&[u8]>) {
        let names: Vec<Box<[u8]>> = argument
            .unwrap_or_default()
            .split(|&byte| byte == b',')
            .map(<[u8]>::trim_ascii)
            .filter(|name| !name.is_empty())
            .map(|name| name.to_ascii_lowercase().into())
            .collect();
        match self {
            Self::Whole => {}
            Self::Fields(held) if !names.is_empty() => held.extend(names),
            Self::Nothing if !names.is_empty() => *self = Self::Fields(names),
            _ => *self = Self::Whole,
        }
    }
}

/// What an answer says about being stored.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Control {
    /// `no-store`
    pub no_store: bool,
    /// `no-cache`
    pub no_cache: Scope,
    /// `private`
    pub private: Scope,
    /// `public`
    pub public: bool,
    /// `must-revalidate`
    pub must_revalidate: bool,
    /// `proxy-revalidate`
    pub proxy_revalidate: bool,
    /// `must-understand`
    pub must_understand: bool,
    /// `max-age` in seconds; 0 if it cannot be read or contradicts itself.
    pub max_age: Option<u32>,
    /// `s-maxage`, likewise.
    pub shared_max_age: Option<u32>,
    /// `stale-while-revalidate` in seconds; none if it cannot be read.
    pub stale_while_revalidate: Option<u32>,
    /// `stale-if-error`, likewise.
    pub stale_if_error: Option<u32>,
}

impl Control {
    /// What the fields of an answer say to a shared cache, and whether a field for caches such as this
    /// one said it: then `Expires` has no meaning (RFC 9213 section 2.2).
    pub fn of_answer(fields: &Fields) -> (Self, bool) {
        if let Some(control) = Self::targeted(fields) {
            return (control, true);
        }
        let mut control = Self::default();
        for value in fields.all(Known::CacheControl) {
            each_directive(value, |name, argument| control.take(name, argument));
        }
        (control, false)
    }

    /// What `CDN-Cache-Control` says; `None` if it is absent, empty or malformed, which are the same
    /// (RFC 9213 section 2.1).
    fn targeted(fields: &Fields) -> Option<Self> {
        let mut text = Vec::new();
        for value in fields.named(TARGETED) {
            if !text.is_empty() {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(value);
        }
        if text.is_empty() {
            return None;
        }
        let members = structured::dictionary(&text)?;
        if members.is_empty() {
            return None;
        }
        let mut control = Self::default();
        for (name, item) in members {
            let seconds = |item: &Item| match item {
                Item::Integer(number) => Some(
                    u32::try_from(*number)
                        .map_or(if *number < 0 { 0 } else { MOST_SECONDS }, |seconds| {
                            seconds.min(MOST_SECONDS)
                        }),
                ),
                _ => None,
            };
            let is_set = item != Item::Boolean(false);
            match &*name {
                // A limit that is of another type than a limit has is none that can be relied on.
                b"max-age" => control.max_age = Some(seconds(&item).unwrap_or(0)),
                b"s-maxage" => control.shared_max_age = Some(seconds(&item).unwrap_or(0)),
                b"stale-while-revalidate" => control.stale_while_revalidate = seconds(&item),
                b"stale-if-error" => control.stale_if_error = seconds(&item),
                b"no-store" => control.no_store = is_set,
                b"must-revalidate" => control.must_revalidate = is_set,
                b"proxy-revalidate" => control.proxy_revalidate = is_set,
                b"must-understand" => control.must_understand = item == Item::Boolean(true),
                b"public" => control.public = item == Item::Boolean(true),
                b"no-cache" | b"private" if is_set => {
                    let scope = match &*name {
                        b"private" => &mut control.private,
                        _ => &mut control.no_cache,
                    };
                    match &item {
                        Item::Text(names) => scope.widen(Some(names)),
                        _ => scope.widen(None),
                    }
                }
                _ => {}
            }
        }
        Some(control)
    }

    fn take(&mut self, name: &[u8], argument: Argument<'_>) {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        let is_bare = argument == Argument::Absent;
        if is("max-age") {
            limit(&mut self.max_age, argument);
        } else if is("s-maxage") {
            limit(&mut self.shared_max_age, argument);
        } else if is("stale-while-revalidate") {
            allowance(&mut self.stale_while_revalidate, argument);
        } else if is("stale-if-error") {
            allowance(&mut self.stale_if_error, argument);
        } else if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache.widen(argument.text());
        } else if is("private") {
            self.private.widen(argument.text());
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("must-understand") {
            self.must_understand |= is_bare;
        } else if is("public") {
            self.public |= is_bare;
        }
    }
}

/// What a client's request says about being answered from a cache (RFC 9111 section 5.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Wishes {
    /// `no-cache`, or `Pragma: no-cache` without a `Cache-Control`.
    pub no_cache: bool,
    /// `no-store`
    pub no_store: bool,
    /// `only-if-cached`
    pub only_if_cached: bool,
    /// `max-age` in seconds.
    pub max_age: Option<u32>,
    /// `min-fresh` in seconds.
    pub min_fresh: u32,
    /// `max-stale` in seconds; without an argument as long as there can be.
    pub max_stale: Option<u32>,
}

impl Wishes {
    /// What the fields of a request say.
    pub fn of_request(fields: &Fields) -> Self {
        let mut wishes = Self::default();
        if !fields.has(Known::CacheControl) {
            // RFC 9111 section 5.4: it is read where nothing else is said.
            wishes.no_cache = fields
                .all(Known::Pragma)
                .any(|value| value.trim_ascii().eq_ignore_ascii_case(b"no-cache"));
            return wishes;
        }
        let (mut max_age, mut min_fresh) = (None, None);
        for value in fields.all(Known::CacheControl) {
            each_directive(value, |name, argument| {
                let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
                if is("no-cache") {
                    wishes.no_cache = true;
                } else if is("no-store") {
                    wishes.no_store = true;
                } else if is("only-if-cached") {
                    wishes.only_if_cached = true;
                } else if is("max-age") {
                    limit(&mut max_age, argument);
                } else if is("min-fresh") {
                    min_fresh = min_fresh.max(argument.seconds());
                } else if is("max-stale") {
                    let stale = match argument {
                        Argument::Absent => Some(MOST_SECONDS),
                        argument => argument.seconds(),
                    };
                    wishes.max_stale = match (wishes.max_stale, stale) {
                        (Some(held), Some(stale)) => Some(held.min(stale)),
                        (held, stale) => held.or(stale),
                    };
                }
            });
        }
        wishes.max_age = max_age;
        wishes.min_fresh = min_fresh.unwrap_or(0);
        wishes
    }
}

/// What stands behind the `=` of a directive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Argument<'a> {
    Absent,
    Text(&'a [u8]),
    /// A space where none may stand, or a quotation that does not end.
    Malformed,
}

impl<'a> Argument<'a> {
    fn text(self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    fn seconds(self) -> Option<u32> {
        delta_seconds(self.text()?)
    }
}

/// Digits as seconds; numbers that are too great are the greatest (RFC 9111 section 1.2.2).
pub fn delta_seconds(text: &[u8]) -> Option<u32> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = text.iter().fold(0u64, |number, digit| {
        (number * 10 + u64::from(digit - b'0')).min(u64::from(MOST_SECONDS))
    });
    u32::try_from(number).ok()
}

/// A limit that is said twice with two values, or unreadably, is none that can be relied on.
fn limit(held: &mut Option<u32>, argument: Argument<'_>) {
    let seconds = argument.seconds().unwrap_or(0);
    *held = match held {
        Some(held) if *held != seconds => Some(0),
        _ => Some(seconds),
    };
}

/// Of two allowances the smaller one holds; one that cannot be read is none.
fn allowance(held: &mut Option<u32>, argument: Argument<'_>) {
    let seconds = argument.seconds().unwrap_or(0);
    *held = Some(held.map_or(seconds, |held| held.min(seconds)));
}

/// Takes a list of directives apart: commas inside quotations do not end one.
fn each_directive<'a>(value: &'a [u8], mut take: impl FnMut(&'a [u8], Argument<'a>)) {
    let mut rest = value;
    while !rest.is_empty() {
        let mut is_quoted = false;
        let mut is_escaped = false;
        let end = rest.iter().position(|&byte| {
            if is_escaped {
                is_escaped = false;
                return false;
            }
            match byte {
                b'\\' if is_quoted => is_escaped = true,
                b'"' => is_quoted = !is_quoted,
                b',' if !is_quoted => return true,
                _ => {}
            }
            false
        });
        let (directive, behind) = match end {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &b""[..]),
        };
        let directive = directive.trim_ascii();
        rest = behind;
        let Some(equals) = memchr::memchr(b'=', directive) else {
            if !directive.is_empty() {
                take(directive, Argument::Absent);
            }
            continue;
        };
        let (name, argument) = (&directive[..equals], &directive[equals + 1..]);
        let argument = match argument {
            _ if name.last().is_some_and(u8::is_ascii_whitespace) => Argument::Malformed,
            [b'"', inside @ .., b'"'] => Argument::Text(inside),
            [b'"', ..] => Argument::Malformed,
            [first, ..] if first.is_ascii_whitespace() => Argument::Malformed,
            text => Argument::Text(text),
        };
        take(name.trim_ascii(), argument);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(lines: &[(&str, &str)]) -> Control {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        Control::of_answer(&fields).0
    }

    fn control(value: &str) -> Control {
        answer(&[("Cache-Control", value)])
    }

    fn names(names: &[&str]) -> Scope {
        Scope::Fields(names.iter().map(|name| name.as_bytes().into()).collect())
    }

    #[test]
    fn directives_are_read_in_any_case_and_spelling() {
        let read = control("Public , MAX-AGE=60,s-maxage=\"10\",, x=\"a,b\", immutable");
        assert!(read.public);
        assert_eq!((read.max_age, read.shared_max_age), (Some(60), Some(10)));
        let read = answer(&[
            ("Cache-Control", "max-age=1"),
            ("cache-control", "no-store"),
        ]);
        assert_eq!((read.max_age, read.no_store), (Some(1), true));
    }

    #[test]
    fn limits_that_cannot_be_read_or_contradict_themselves_are_zero() {
        for value in [
            "max-age",
            "max-age=",
            "max-age=a",
            "max-age=-1",
            "max-age=1.5",
            "max-age =60",
            "max-age= 60",
            "max-age=\"60",
            "max-age=60, max-age=61",
            "max-age=60s",
        ] {
            assert_eq!(control(value).max_age, Some(0), "{value}");
        }
        assert_eq!(control("max-age=60, max-age=60").max_age, Some(60));
        assert_eq!(
            control("max-age=99999999999999999999").max_age,
            Some(MOST_SECONDS)
        );
    }

    #[test]
    fn a_directive_for_some_fields_names_them_and_a_bare_one_means_all() {
        assert_eq!(control("private").private, Scope::Whole);
        assert_eq!(
            control("private=\"Set-Cookie, X-A\"").private,
            names(&["set-cookie", "x-a"])
        );
        assert_eq!(control("no-cache=X").no_cache, names(&["x"]));
        assert_eq!(control("no-cache=X, no-cache").no_cache, Scope::Whole);
        assert_eq!(control("no-cache=\"X").no_cache, Scope::Whole);
        assert_eq!(control("private=\"\"").private, Scope::Whole);
        assert!(control("private=\"A,B\"").private.names(b"b"));
    }

    #[test]
    fn what_allows_more_is_not_read_out_of_what_is_malformed() {
        let read = control("public=1, must-understand=x, stale-if-error=a");
        assert!(!read.public && !read.must_understand);
        assert_eq!(read.stale_if_error, Some(0));
        let read = control("no-store=x, must-revalidate=x");
        assert!(read.no_store && read.must_revalidate);
        let read = control("stale-if-error=9, stale-if-error=5, stale-while-revalidate=7");
        assert_eq!(
            (read.stale_if_error, read.stale_while_revalidate),
            (Some(5), Some(7))
        );
    }

    #[test]
    fn the_field_for_caches_such_as_this_replaces_the_general_one_if_it_is_well_formed() {
        let both = |targeted: &str| {
            answer(&[
                ("Cache-Control", "max-age=1"),
                ("CDN-Cache-Control", targeted),
            ])
        };
        assert_eq!(both("max-age=60").max_age, Some(60));
        assert_eq!(both("max-age=60;a=b;c, max-age=70").max_age, Some(70));
        assert_eq!(both("none"), Control::default());
        assert!(both("no-store").no_store);
        assert!(!both("no-store=?0, max-age=3").no_store);
        assert_eq!(both("private=\"a\"").private, names(&["a"]));
        assert_eq!(both("no-cache=a").no_cache, Scope::Whole);
        for wrong_type in ["max-age=60.5", "max-age=\"60\"", "max-age", "max-age=-5"] {
            assert_eq!(both(wrong_type).max_age, Some(0), "{wrong_type}");
        }
        for malformed in [
            "",
            "max-age=60,",
            "Max-Age=60",
            "max-age=60 &&&",
            "max-age=\"60",
        ] {
            assert_eq!(both(malformed).max_age, Some(1), "{malformed}");
        }
        let in_two = answer(&[
            ("CDN-Cache-Control", "max-age=5"),
            ("cdn-cache-control", "private"),
        ]);
        assert_eq!((in_two.max_age, in_two.private), (Some(5), Scope::Whole));
    }

    #[test]
    fn a_client_says_what_it_takes() {
        let of = |name: &str, value: &str| {
            let mut fields = Fields::default();
            fields.push(name.as_bytes(), value.as_bytes());
            Wishes::of_request(&fields)
        };
        let none = Wishes::default();
        assert_eq!(
            of("Pragma", "No-Cache"),
            Wishes {
                no_cache: true,
                ..none
            }
        );
        assert_eq!(of("Pragma", "x"), none);
        assert_eq!(
            of("Cache-Control", "max-age=5, min-fresh=3, only-if-cached"),
            Wishes {
                max_age: Some(5),
                min_fresh: 3,
                only_if_cached: true,
                ..none
            }
        );
        assert_eq!(
            of("Cache-Control", "max-stale, no-store"),
            Wishes {
                max_stale: Some(MOST_SECONDS),
                no_store: true,
                ..none
            }
        );
        assert_eq!(
            of("Cache-Control", "max-stale=7"),
            Wishes {
                max_stale: Some(7),
                ..none
            }
        );
        assert_eq!(of("Cache-Control", "max-stale=x"), none);
    }
}
