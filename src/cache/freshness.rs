//! Is an answer stored, and for how long is it fresh?
//!
//! Owns the precedence of what origin and configuration say: `X-Accel-Expires`, then
//! `CDN-Cache-Control` or else `Cache-Control` and `Expires`, then `proxy_cache_valid`. Knows nothing of
//! requests that come later; [`super::reuse`] does.
//!
//! Where nginx's directives are silent, RFC 9111 decides; what cannot be understood is not stored.

use super::control::{Control, Scope, delta_seconds};
use super::entry::Head;
use super::vary;
use crate::conf::typed::proxy_cache::{Ignored, Valid};
use crate::http::date;
use crate::http::head::{Fields, Known};

/// [`Head::flags`]: it must not be served stale, whatever goes wrong (`must-revalidate`).
pub const MUST_REVALIDATE: u32 = 1;
/// [`Head::flags`]: the origin said itself for how long it is fresh.
pub const EXPLICIT: u32 = 1 << 1;
/// [`Head::flags`]: an error of ours stands for it (`proxy_cache_valid` for 502 and 504, or an answer
/// that `proxy_intercept_errors` gave to `error_page`); there is no body.
pub const IS_ERROR: u32 = 1 << 2;
/// [`Head::flags`]: the origin takes no ranges of it (`Accept-Ranges: none`).
pub const NO_RANGES: u32 = 1 << 3;

/// Tags and names of `Vary` that an answer may have; more are not understood.
pub const MOST_NAMES: usize = 64;

/// An answer of an origin, as far as storing it depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub fields: &'a Fields,
    /// When its request was sent, in milliseconds since 1970.
    pub requested: u64,
    /// When its head came, in milliseconds since 1970.
    pub received: u64,
    /// Its request told who asks (`Authorization`), and the key does not.
    pub is_personal: bool,
}

/// What the configuration says about storing.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// `proxy_ignore_headers`
    pub ignored: Ignored,
    /// `proxy_cache_valid`
    pub valid: &'a [Valid],
    /// The answer is the part that was asked for, and the key tells parts apart.
    pub is_slice: bool,
}

/// Why an answer is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// Its status says nothing that may be told to another (1xx, 206, 304, 416), or is not understood
    /// where it must be (`must-understand`).
    Status,
    /// It sets a cookie.
    SetCookie,
    /// `Vary: *`, or one that is too long.
    Vary,
    /// `no-store`
    NoStore,
    /// `no-cache`
    NoCache,
    /// `private`
    Private,
    /// It was made for somebody who said who they are.
    Authorization,
    /// It is stale on arrival, or is said to be.
    Stale,
    /// Neither origin nor configuration say for how long.
    NoLifetime,
}

impl Refusal {
    /// As it is told.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::SetCookie => "set-cookie",
            Self::Vary => "vary",
            Self::NoStore => "no-store",
            Self::NoCache => "no-cache",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::Stale => "stale",
            Self::NoLifetime => "no-lifetime",
        }
    }
}

/// Decides whether an answer is stored. What comes back lacks the fields and the request's side of
/// `Vary`: see [`stored_fields`] and [`vary::select`].
pub fn judge(answer: &Answer<'_>, rules: &Rules<'_>) -> Result<Head, Refusal> {
    let fields = answer.fields;
    // A part is not the whole, "not modified" is an answer to one who has it already, and a 416
    // answers a range that we did not ask for.
    if answer.status < 200
        || matches!(answer.status, 304 | 416)
        || (answer.status == 206 && !rules.is_slice)
    {
        return Err(Refusal::Status);
    }
    if fields.has(Known::SetCookie) && !rules.ignored.has(Ignored::SET_COOKIE) {
        return Err(Refusal::SetCookie);
    }
    if !rules.ignored.has(Ignored::VARY) {
        vary::names(fields).ok_or(Refusal::Vary)?;
    }
    let life = life(answer, rules)?;
    let etag = fields.known(Known::Etag).unwrap_or_default();
    Ok(Head {
        status: answer.status,
        requested: answer.requested,
        received: answer.received,
        date: life.date,
        age: life.age,
        lifetime: life.lifetime,
        stale_while_revalidate: life.stale_while_revalidate,
        stale_if_error: life.stale_if_error,
        flags: life.flags | no_ranges(fields),
        last_modified: fields
            .known(Known::LastModified)
            .and_then(date::parse)
            .and_then(|modified| u64::try_from(modified).ok()),
        etag: etag.into(),
        tags: tags(fields),
        ..Head::default()
    })
}

/// The times of an entry, as in its [`Head`].
struct Life {
    date: Option<u64>,
    age: u64,
    lifetime: u64,
    stale_while_revalidate: u32,
    stale_if_error: u32,
    flags: u32,
}

fn life(answer: &Answer<'_>, rules: &Rules<'_>) -> Result<Life, Refusal> {
    let fields = answer.fields;
    let ignored = rules.ignored;
    let now = i64::try_from(answer.received / 1000).unwrap_or(i64::MAX);
    let date = fields.known(Known::Date).and_then(date::parse);
    let age = initial_age(answer, date, now);
    let (control, is_targeted) = match ignored.has(Ignored::CACHE_CONTROL) {
        true => (Control::default(), false),
        false => Control::of_answer(fields),
    };
    let accel = match ignored.has(Ignored::X_ACCEL_EXPIRES) {
        true => None,
        false => fields.known(Known::XAccelExpires).and_then(accel_expires),
    };
    let mut flags = 0;
    // Lifetimes that are told to us count from now; the others from when the answer was made.
    let from_now = |seconds: i64| u64::try_from(seconds).map_or(0, |seconds| seconds + age);
    let lifetime = match accel {
        // nginx's own field goes before all others, `no-store` included.
        Some(Accel::Seconds(0)) => return Err(Refusal::NoStore),
        Some(Accel::Seconds(seconds)) => Some(from_now(seconds)),
        Some(Accel::At(time)) => Some(from_now(time.saturating_sub(now))),
        None => {
            // RFC 9111 section 5.2.2.3: who understands the status passes over the `no-store` that
            // is meant for those who do not.
            if control.must_understand && !is_understood(answer.status) {
                return Err(Refusal::Status);
            }
            if control.no_store && !control.must_understand {
                return Err(Refusal::NoStore);
            }
            if control.no_cache == Scope::Whole {
                return Err(Refusal::NoCache);
            }
            if control.private == Scope::Whole {
                return Err(Refusal::Private);
            }
            if let Some(seconds) = control.shared_max_age.or(control.max_age) {
                Some(u64::from(seconds))
            } else if fields.has(Known::Expires) && !is_targeted && !ignored.has(Ignored::EXPIRES) {
                Some(expires(fields, date, now))
            } else {
                None
            }
        }
    };
    if answer.is_personal
        && !(control.public || control.must_revalidate || control.shared_max_age.is_some())
    {
        return Err(Refusal::Authorization);
    }
    let lifetime = match lifetime {
        Some(lifetime) => {
            flags |= EXPLICIT;
            lifetime
        }
        None => match valid_for(rules.valid, answer.status) {
            0 => return Err(Refusal::NoLifetime),
            seconds => seconds + age,
        },
    };
    let (mut while_revalidate, mut if_error) = (
        control.stale_while_revalidate.unwrap_or(0),
        // As in nginx the one gives leave for the other as well.
        control
            .stale_if_error
            .or(control.stale_while_revalidate)
            .unwrap_or(0),
    );
    if control.must_revalidate || control.proxy_revalidate {
        flags |= MUST_REVALIDATE;
        (while_revalidate, if_error) = (0, 0);
    }
    let usable = lifetime.saturating_add(u64::from(while_revalidate.max(if_error)));
    if usable <= age {
        return Err(Refusal::Stale);
    }
    Ok(Life {
        date: date.and_then(|date| u64::try_from(date).ok()),
        age,
        lifetime,
        stale_while_revalidate: while_revalidate,
        stale_if_error: if_error,
        flags,
    })
}

/// What `proxy_cache_valid` says of a status, in seconds; the first line that fits. 0 is not at all.
pub fn valid_for(valid: &[Valid], status: u16) -> u64 {
    let fits = |line: &&Valid| line.status.is_none_or(|of| of == status);
    valid.iter().find(fits).map_or(0, |line| line.seconds)
}

/// How old an answer is on arrival (RFC 9111 section 4.2.3), in seconds.
fn initial_age(answer: &Answer<'_>, date: Option<i64>, now: i64) -> u64 {
    let apparent = date.map_or(0, |date| {
        u64::try_from(now.saturating_sub(date)).unwrap_or(0)
    });
    // Of several the first one counts, and one that is no number is none (section 5.1).
    let told = answer.fields.known(Known::Age).and_then(|value| {
        let first = value.split(|&byte| byte == b',').next()?;
        delta_seconds(first.trim_ascii())
    });
    let delay = answer.received.saturating_sub(answer.requested) / 1000;
    apparent.max(u64::from(told.unwrap_or(0)) + delay)
}

/// The lifetime that `Expires` stands for. A date that cannot be read is past (RFC 9111 section 5.3),
/// and so is one that is said twice in two ways.
fn expires(fields: &Fields, date: Option<i64>, now: i64) -> u64 {
    let mut values = fields.all(Known::Expires);
    let first = values.next().unwrap_or_default();
    if values.any(|value| value != first) {
        return 0;
    }
    let until = date::parse(first).map(|expires| expires.saturating_sub(date.unwrap_or(now)));
    until
        .and_then(|until| u64::try_from(until).ok())
        .unwrap_or(0)
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Accel {
    Seconds(i64),
    At(i64),
}

/// `X-Accel-Expires`: seconds from now, or `@` and a time. What is neither says nothing.
fn accel_expires(value: &[u8]) -> Option<Accel> {
    match value {
        [b'@', time @ ..] => delta_seconds(time).and_then(|_| {
            let digits = std::str::from_utf8(time).ok()?;
            digits.parse().ok().map(Accel::At)
        }),
        seconds => delta_seconds(seconds).map(|seconds| Accel::Seconds(i64::from(seconds))),
    }
}

/// The final statuses whose rules for caches are known here (RFC 9110 section 15).
fn is_understood(status: u16) -> bool {
    matches!(
        status,
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 405 | 410 | 414 | 451 | 501
    )
}

fn no_ranges(fields: &Fields) -> u32 {
    let refuses = fields
        .all(Known::AcceptRanges)
        .any(|value| value.eq_ignore_ascii_case(b"none"));
    if refuses { NO_RANGES } else { 0 }
}

/// What an entry can be purged by: `Cache-Tag` (divided by commas) and `Surrogate-Key` (by spaces).
pub fn tags(fields: &Fields) -> Vec<Box<[u8]>> {
    let mut tags: Vec<Box<[u8]>> = Vec::new();
    let lists = [(&b"Cache-Tag"[..], b','), (b"Surrogate-Key", b' ')];
    for (name, divider) in lists {
        for value in fields.named(name) {
            let words = value.split(|&byte| byte == divider);
            for tag in words.map(<[u8]>::trim_ascii).filter(|tag| !tag.is_empty()) {
                if tags.len() < MOST_NAMES && !tags.iter().any(|held| **held == *tag) {
                    tags.push(tag.into());
                }
            }
        }
    }
    tags
}

/// The fields that are stored, each as a line: without those of the connection (RFC 9111 section
/// 3.1), those that the origin keeps from others (`private` and `no-cache` with names), and `Age`,
/// which is written anew each time; on demand without cookies.
pub fn stored_fields(fields: &Fields, ignored: Ignored, strips_cookies: bool) -> Box<[u8]> {
    let control = match ignored.has(Ignored::CACHE_CONTROL) {
        true => Control::default(),
        false => Control::of_answer(fields).0,
    };
    let mut lines = Vec::with_capacity(512);
    for (known, name, value) in fields.iter() {
        if !is_stored(known, name, fields)
            || control.private.names(name)
            || control.no_cache.names(name)
            || (strips_cookies && known == Some(Known::SetCookie))
        {
            continue;
        }
        push_line(&mut lines, name, value);
    }
    lines.into()
}

/// Fields that are never stored.
fn is_stored(known: Option<Known>, name: &[u8], fields: &Fields) -> bool {
    let is_of_connection = matches!(
        known,
        Some(
            Known::Connection
                | Known::KeepAlive
                | Known::ProxyConnection
                | Known::TransferEncoding
                | Known::ContentLength
                | Known::Upgrade
                | Known::Trailer
                | Known::Te
                | Known::ProxyAuthenticate
                | Known::ProxyAuthorization
                | Known::Age
        )
    ) || name.eq_ignore_ascii_case(b"Proxy-Authentication-Info");
    !is_of_connection && !crate::http::hop_by_hop::is_nominated(fields, name)
}

/// Is it this entry that a 304 speaks of (RFC 9111 section 4.3.4)? A tag that it has must be the stored
/// one, a strong one to the letter; without one a date of change must be the stored one.
pub fn is_of(stored: &Head, brought: &Fields) -> bool {
    fn opaque(tag: &[u8]) -> &[u8] {
        tag.strip_prefix(b"W/").unwrap_or(tag)
    }
    if let Some(tag) = brought.known(Known::Etag) {
        return match tag.starts_with(b"W/") {
            true => opaque(tag) == opaque(&stored.etag),
            false => *tag == *stored.etag,
        };
    }
    let modified = brought.known(Known::LastModified).and_then(date::parse);
    match (modified, stored.last_modified) {
        (Some(modified), Some(known)) => u64::try_from(modified) == Ok(known),
        _ => true,
    }
}

/// What an answer to HEAD says of the entry that GET would get (RFC 9111 section 4.3.5): is it another
/// answer by now? `None` if nothing of it can be compared.
pub fn is_other(stored: &Head, length: u64, brought: &Fields) -> Option<bool> {
    let tag = brought
        .known(Known::Etag)
        .filter(|_| !stored.etag.is_empty());
    let tag = tag.map(|_| !is_of(stored, brought));
    let modified = brought.known(Known::LastModified).and_then(date::parse);
    let modified = modified.zip(stored.last_modified);
    let modified = modified.map(|(modified, known)| u64::try_from(modified) != Ok(known));
    let told = brought.known(Known::ContentLength).map(|told| {
        let digits = std::str::from_utf8(told).ok();
        digits.and_then(|digits| digits.parse().ok()) != Some(length)
    });
    [tag, modified, told]
        .into_iter()
        .flatten()
        .reduce(|one, other| one || other)
}

/// The fields of an entry that a 304 brings up to date (RFC 9111 section 3.2): those that it has
/// replace those of the same name, but for what describes the body as it is stored.
pub fn renewed_fields(stored: &Fields, brought: &Fields, ignored: Ignored) -> Box<[u8]> {
    let control = match ignored.has(Ignored::CACHE_CONTROL) {
        true => Control::default(),
        false => Control::of_answer(brought).0,
    };
    let replaces = |known: Option<Known>, name: &[u8]| {
        is_stored(known, name, brought)
            && !matches!(
                known,
                Some(
                    Known::ContentEncoding
                        | Known::ContentType
                        | Known::ContentRange
                        // Of whoever asked this time.
                        | Known::SetCookie
                )
            )
            && !(name.eq_ignore_ascii_case(b"Content-MD5")
                || name.eq_ignore_ascii_case(b"Content-Digest"))
    };
    let mut lines = Vec::with_capacity(512);
    for (known, name, value) in stored.iter() {
        let is_kept_back = control.private.names(name) || control.no_cache.names(name);
        let is_replaced = replaces(known, name) && brought.named(name).next().is_some();
        if !is_kept_back && !is_replaced {
            push_line(&mut lines, name, value);
        }
    }
    for (known, name, value) in brought.iter() {
        let is_kept_back = control.private.names(name) || control.no_cache.names(name);
        if replaces(known, name) && !is_kept_back {
            push_line(&mut lines, name, value);
        }
    }
    lines.into()
}

fn push_line(lines: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    lines.extend_from_slice(name);
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}

/// Reads stored lines back.
pub fn read_fields(lines: &[u8], into: &mut Fields) {
    into.clear();
    into.bytes.extend_from_slice(lines);
    let (bytes, mut list) = into.parts();
    let mut start = 0;
    // Neither a name nor a value has a line's end in it, and no name a colon.
    while let Some(length) = memchr::memchr(b'\n', &bytes[start..]) {
        let line = &bytes[start..start + length];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(colon) = memchr::memchr(b':', line)
            && line.get(colon + 1) == Some(&b' ')
        {
            let name = start..start + colon;
            let known = Known::of(&line[..colon]);
            list.add(known, name, start + colon + 2..start + line.len());
        }
        start += length + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: u64 = 784_111_777;
    const DATE: (&str, &str) = ("Date", "Sun, 06 Nov 1994 08:49:37 GMT");
    const VALID: &[Valid] = &[
        Valid {
            status: Some(200),
            seconds: 60,
        },
        Valid {
            status: Some(404),
            seconds: 0,
        },
        Valid {
            status: None,
            seconds: 5,
        },
    ];

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    struct Case<'a> {
        status: u16,
        ignored: Ignored,
        valid: &'a [Valid],
        is_personal: bool,
        delay: u64,
    }

    const CASE: Case<'static> = Case {
        status: 200,
        ignored: Ignored::NOTHING,
        valid: &[],
        is_personal: false,
        delay: 0,
    };

    impl Case<'_> {
        fn judge(&self, lines: &[(&str, &str)]) -> Result<Head, Refusal> {
            let fields = fields(lines);
            judge(
                &Answer {
                    status: self.status,
                    fields: &fields,
                    requested: (NOW - self.delay) * 1000,
                    received: NOW * 1000,
                    is_personal: self.is_personal,
                },
                &Rules {
                    ignored: self.ignored,
                    valid: self.valid,
                    is_slice: false,
                },
            )
        }

        /// For how long from now.
        fn fresh(&self, lines: &[(&str, &str)]) -> Result<u64, Refusal> {
            self.judge(lines)
                .map(|head| head.lifetime.saturating_sub(head.age))
        }
    }

    #[test]
    fn what_is_said_more_directly_goes_before() {
        let all = [
            ("X-Accel-Expires", "10"),
            ("CDN-Cache-Control", "max-age=20"),
            ("Cache-Control", "max-age=40, s-maxage=30"),
            ("Expires", "Sun, 06 Nov 1994 08:50:27 GMT"),
            DATE,
        ];
        let case = Case {
            valid: VALID,
            ..CASE
        };
        assert_eq!(case.fresh(&all), Ok(10));
        assert_eq!(case.fresh(&all[1..]), Ok(20));
        assert_eq!(case.fresh(&all[2..]), Ok(30));
        assert_eq!(
            case.fresh(&[("Cache-Control", "max-age=40"), all[3], DATE]),
            Ok(40)
        );
        assert_eq!(case.fresh(&all[3..]), Ok(50));
        assert_eq!(case.fresh(&all[4..]), Ok(60));
        assert_eq!(CASE.fresh(&all[4..]), Err(Refusal::NoLifetime));
    }

    #[test]
    fn ignored_fields_give_no_orders() {
        let case = |ignored| Case {
            ignored,
            valid: VALID,
            ..CASE
        };
        let all = [
            ("X-Accel-Expires", "10"),
            ("Cache-Control", "no-store"),
            ("Expires", "0"),
            ("Set-Cookie", "a=b"),
            ("Vary", "*"),
        ];
        assert_eq!(case(Ignored::NOTHING).fresh(&all), Err(Refusal::SetCookie));
        let mut ignored = Ignored::SET_COOKIE;
        assert_eq!(case(ignored).fresh(&all), Err(Refusal::Vary));
        ignored = ignored.or(Ignored::VARY);
        assert_eq!(case(ignored).fresh(&all), Ok(10));
        ignored = ignored.or(Ignored::X_ACCEL_EXPIRES);
        assert_eq!(case(ignored).fresh(&all), Err(Refusal::NoStore));
        ignored = ignored.or(Ignored::CACHE_CONTROL);
        assert_eq!(case(ignored).fresh(&all), Err(Refusal::Stale));
        ignored = ignored.or(Ignored::EXPIRES);
        assert_eq!(case(ignored).fresh(&all), Ok(60));
    }

    #[test]
    fn the_configuration_speaks_by_status_and_its_first_line_that_fits_holds() {
        let of = |status| {
            Case {
                status,
                valid: VALID,
                ..CASE
            }
            .fresh(&[])
        };
        assert_eq!(of(200), Ok(60));
        assert_eq!(of(404), Err(Refusal::NoLifetime));
        assert_eq!(of(500), Ok(5));
        for never in [100, 206, 304, 416] {
            assert_eq!(of(never), Err(Refusal::Status));
        }
    }

    #[test]
    fn age_is_the_greater_of_what_is_told_and_what_is_seen() {
        let lives = [("Cache-Control", "max-age=100")];
        let aged = |delay, more: &[(&str, &str)]| {
            let lines = [&lives[..], more].concat();
            Case { delay, ..CASE }.judge(&lines).map(|head| head.age)
        };
        assert_eq!(aged(0, &[DATE]), Ok(0));
        assert_eq!(
            aged(0, &[("Date", "Sun, 06 Nov 1994 08:49:07 GMT")]),
            Ok(30)
        );
        assert_eq!(aged(0, &[("Date", "Sun, 06 Nov 1994 09:49:07 GMT")]), Ok(0));
        assert_eq!(aged(7, &[("Age", "10"), DATE]), Ok(17));
        assert_eq!(aged(0, &[("Age", "10, 20")]), Ok(10));
        assert_eq!(aged(0, &[("Age", "10"), ("Age", "20")]), Ok(10));
        for none in ["", "-1", "x", "1.5"] {
            assert_eq!(aged(0, &[("Age", none)]), Ok(0));
        }
        assert_eq!(aged(0, &[("Age", "100")]), Err(Refusal::Stale));
        assert_eq!(aged(0, &[("Age", "99999999999999")]), Err(Refusal::Stale));
    }

    #[test]
    fn what_expires_is_measured_with_the_clock_of_the_origin() {
        let late = [
            ("Date", "Sun, 06 Nov 1994 09:49:37 GMT"),
            ("Expires", "Sun, 06 Nov 1994 09:50:37 GMT"),
        ];
        assert_eq!(CASE.fresh(&late), Ok(60));
        for past in ["0", "-1", "Thu, 01 Jan 1970 00:00:00 GMT", "tomorrow", ""] {
            assert_eq!(
                CASE.fresh(&[("Expires", past), DATE]),
                Err(Refusal::Stale),
                "{past}"
            );
        }
        let twice = [
            ("Expires", "Sun, 06 Nov 1994 09:50:37 GMT"),
            ("Expires", "Sun, 06 Nov 1994 09:50:38 GMT"),
        ];
        assert_eq!(CASE.fresh(&twice), Err(Refusal::Stale));
    }

    #[test]
    fn nginx_s_own_field_takes_seconds_and_times_and_says_nothing_otherwise() {
        let of = |value: &str| {
            let lines = [
                ("X-Accel-Expires", value),
                ("Cache-Control", "private, max-age=9"),
            ];
            CASE.fresh(&lines)
        };
        assert_eq!(of("7"), Ok(7));
        assert_eq!(of("0"), Err(Refusal::NoStore));
        assert_eq!(of(&format!("@{}", NOW + 30)), Ok(30));
        assert_eq!(of("@1"), Err(Refusal::Stale));
        assert_eq!(of("soon"), Err(Refusal::Private));
    }

    #[test]
    fn the_origin_can_forbid_storing_and_give_leave_for_stale_answers() {
        let of = |value: &str| CASE.judge(&[("Cache-Control", value)]);
        assert_eq!(of("no-store, max-age=9"), Err(Refusal::NoStore));
        assert_eq!(of("no-cache, max-age=9"), Err(Refusal::NoCache));
        assert_eq!(of("private, max-age=9"), Err(Refusal::Private));
        assert_eq!(of("max-age=0"), Err(Refusal::Stale));
        assert_eq!(of("max-age=9").map(|head| head.flags), Ok(EXPLICIT));
        assert!(of("private=\"X\", no-cache=\"Y\", max-age=9").is_ok());
        assert!(of("no-store, must-understand, max-age=9").is_ok());
        let unknown = Case {
            status: 599,
            ..CASE
        };
        let lines = [("Cache-Control", "must-understand, max-age=9")];
        assert_eq!(unknown.judge(&lines), Err(Refusal::Status));

        let stale = of("max-age=0, stale-while-revalidate=5").expect("stored");
        assert_eq!((stale.stale_while_revalidate, stale.stale_if_error), (5, 5));
        let stale = of("max-age=1, stale-if-error=5").expect("stored");
        assert_eq!((stale.stale_while_revalidate, stale.stale_if_error), (0, 5));
        let never = of("max-age=1, stale-if-error=5, must-revalidate").expect("stored");
        assert_eq!(
            (never.stale_if_error, never.flags),
            (0, EXPLICIT | MUST_REVALIDATE)
        );
    }

    #[test]
    fn what_was_made_for_one_who_said_who_they_are_is_shared_only_with_leave() {
        let of = |value: &str| {
            let case = Case {
                is_personal: true,
                valid: VALID,
                ..CASE
            };
            case.fresh(&[("Cache-Control", value)])
        };
        assert_eq!(of("max-age=9"), Err(Refusal::Authorization));
        assert_eq!(of(""), Err(Refusal::Authorization));
        for leave in [
            "public, max-age=9",
            "s-maxage=9",
            "must-revalidate, max-age=9",
        ] {
            assert_eq!(of(leave), Ok(9), "{leave}");
        }
    }

    #[test]
    fn fields_of_the_connection_and_those_kept_from_others_are_not_stored() {
        let answer = fields(&[
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Content-Length", "3"),
            ("Proxy-Authenticate", "Basic"),
            ("Proxy-Authentication-Info", "x"),
            ("Age", "3"),
            ("Set-Cookie", "a=b"),
            ("X-Private", "p"),
            ("X-Again", "a"),
            (
                "Cache-Control",
                "private=\"X-Private\", no-cache=\"x-again\", max-age=9",
            ),
            ("Content-Type", "text/plain"),
        ]);
        let lines = stored_fields(&answer, Ignored::NOTHING, true);
        let expected = "Cache-Control: private=\"X-Private\", no-cache=\"x-again\", max-age=9\r\nContent-Type: text/plain\r\n";
        assert_eq!(String::from_utf8_lossy(&lines), expected);
        let mut read = Fields::default();
        read_fields(&lines, &mut read);
        assert_eq!(read.known(Known::ContentType), Some(&b"text/plain"[..]));
        assert_eq!(read.len(), 2);
    }

    #[test]
    fn a_304_replaces_fields_but_not_what_describes_the_body() {
        let stored = fields(&[
            ("ETag", "\"1\""),
            ("Content-Type", "text/plain"),
            ("X-Old", "1"),
            ("X-New", "1"),
            ("X-New", "2"),
        ]);
        let brought = fields(&[
            ("x-new", "3"),
            ("Content-Type", "text/html"),
            ("Content-Length", "0"),
            ("Content-Encoding", "gzip"),
            ("Connection", "X-Hop"),
            ("X-Hop", "h"),
            ("Cache-Control", "max-age=5"),
        ]);
        let lines = renewed_fields(&stored, &brought, Ignored::NOTHING);
        assert_eq!(
            String::from_utf8_lossy(&lines),
            "ETag: \"1\"\r\nContent-Type: text/plain\r\nX-Old: 1\r\nx-new: 3\r\nCache-Control: max-age=5\r\n"
        );
    }

    #[test]
    fn tags_are_read_from_both_fields_and_bounded() {
        let lines = fields(&[("Cache-Tag", "a, b,,a"), ("Surrogate-Key", "b c  d")]);
        let read = tags(&lines);
        let expected: Vec<Box<[u8]>> = ["a", "b", "c", "d"].map(|tag| tag.as_bytes().into()).into();
        assert_eq!(read, expected);
        let many = (0..200)
            .map(|number| number.to_string())
            .collect::<Vec<_>>()
            .join(",");
        assert_eq!(tags(&fields(&[("Cache-Tag", &many)])).len(), MOST_NAMES);
    }
}
