//! `add_header`, `add_trailer`, `expires` and `server_tokens` (nginx
//! `ngx_http_headers_filter_module`), and our own `hsts`.
//!
//! Owns the fields that the configuration adds to an answer; those that describe the content are the
//! content's. Call [`apply`] once for an answer that is sent, when its status and its own fields are
//! known, and before ranges are cut: a 206 is made from what was a 200 here.

use std::time::Duration;

use super::{cors, header_edits};
use crate::conf::template::Template;
use crate::conf::typed::location::{AddHeader, Expires, ServerTokens};
use crate::http::date;
use crate::http::exchange::Exchange;
use crate::http::h1::write::push_decimal;
use crate::http::head::{Fields, Known};
use crate::http::variables;
use crate::unit::{clock, time};

/// Adds the fields. `modified` is when the content was last modified, in seconds since 1970, for
/// `expires modified`. The answer tells whether trailers follow the body: it is then sent in chunks,
/// without `Content-Length`, if the client can read them.
pub fn apply(exchange: &mut Exchange, modified: Option<i64>, scratch: &mut Vec<u8>) -> bool {
    if let Some(edits) = &exchange.settings.header_edits {
        let edits = std::sync::Arc::clone(edits);
        header_edits::answer(&edits, exchange, scratch);
    }
    let is_usual = is_usual(exchange.status);
    if is_usual && let Some(expires) = &exchange.settings.expires {
        let now = clock::unix().as_secs() as i64;
        if let Some(lifetime) = lifetime(expires, exchange, modified, now, scratch) {
            set_expires(&mut exchange.answer, &lifetime);
        }
    }
    for position in 0..exchange.settings.add_headers.len() {
        let header = &exchange.settings.add_headers[position];
        if is_usual || header.always {
            expand(&header.value, exchange, scratch);
            let header = &exchange.settings.add_headers[position];
            add(&mut exchange.answer, header, scratch);
        }
    }
    if let Some(cors) = &exchange.settings.cors {
        let cors = std::sync::Arc::clone(cors);
        cors::apply(exchange, &cors);
    }
    // RFC 6797 section 7.2: never without TLS.
    if let Some(value) = &exchange.settings.hsts
        && exchange.connection.is_secure()
    {
        const NAME: &[u8] = b"Strict-Transport-Security";
        // Clients heed the first one only (section 8.1), and this one is meant.
        let is_name = |name: &[u8]| name.eq_ignore_ascii_case(NAME);
        if exchange.answer.iter().any(|(_, name, _)| is_name(name)) {
            exchange.answer.retain(|_, name, _| !is_name(name));
        }
        exchange.answer.push_known(None, NAME, value);
    }
    let mut trailers = exchange.settings.add_trailers.iter();
    trailers.any(|trailer| is_usual || trailer.always)
}

/// Tells caches that the answer depends on a field of the request, unless they know.
pub fn vary(answer: &mut Fields, field: &[u8]) {
    let is_known = answer.all(Known::Vary).any(|value| {
        value.split(|&byte| byte == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(field)
        })
    });
    if !is_known {
        answer.push_first(Known::Vary, field);
    }
}

/// Adds the trailer fields, when the body has been sent.
pub fn apply_trailers(exchange: &mut Exchange, scratch: &mut Vec<u8>) {
    let is_usual = is_usual(exchange.status);
    for position in 0..exchange.settings.add_trailers.len() {
        let trailer = &exchange.settings.add_trailers[position];
        if is_usual || trailer.always {
            expand(&trailer.value, exchange, scratch);
            if !scratch.is_empty() {
                let name = &exchange.settings.add_trailers[position].name;
                exchange.answer_trailers.push(name, scratch);
            }
        }
    }
}

/// The value of `Server`; `None` where there is to be none.
pub fn server<'a>(exchange: &'a Exchange, scratch: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    match &exchange.settings.server_tokens {
        ServerTokens::Name => Some(b"openclaw"),
        ServerTokens::Version => Some(concat!("openclaw/", env!("CARGO_PKG_VERSION")).as_bytes()),
        ServerTokens::Nothing => None,
        ServerTokens::Text(text) => {
            expand(text, exchange, scratch);
            (!scratch.is_empty()).then_some(scratch)
        }
    }
}

/// The statuses whose answers get fields without `always`.
fn is_usual(status: u16) -> bool {
    matches!(
        status,
        200 | 201 | 204 | 206 | 301 | 302 | 303 | 304 | 307 | 308
    )
}

/// Writes a value into the scratch. What would end the line, or the head, becomes a space: values may
/// hold what the client sent.
pub(super) fn expand(template: &Template, exchange: &Exchange, scratch: &mut Vec<u8>) {
    scratch.clear();
    variables::expand(template, exchange, scratch);
    for byte in scratch {
        if matches!(byte, b'\r' | b'\n' | 0) {
            *byte = b' ';
        }
    }
}

/// Adds one field. There is only one `Last-Modified` and one `ETag`: those of the content are
/// replaced, and an empty value takes them away.
fn add(answer: &mut Fields, header: &AddHeader, value: &[u8]) {
    let known = Known::of(&header.name);
    if let Some(single @ (Known::LastModified | Known::Etag)) = known {
        answer.remove(single);
    }
    if !value.is_empty() {
        answer.push_known(known, &header.name, value);
    }
}

/// What `expires` comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Lifetime {
    /// `Expires`, in seconds since 1970.
    expires: i64,
    /// `max-age` of `Cache-Control`; `None` is `no-cache`.
    max_age: Option<i64>,
}

/// How long an answer is fresh, as `expires` has it; `None` if it says nothing.
fn lifetime(
    expires: &Expires,
    exchange: &Exchange,
    modified: Option<i64>,
    now: i64,
    scratch: &mut Vec<u8>,
) -> Option<Lifetime> {
    let (base, seconds) = match expires {
        Expires::Epoch => {
            return Some(Lifetime {
                expires: 1,
                max_age: None,
            });
        }
        // 31 December 2037, 23:55:55, which fits in 32 bits; ten years.
        Expires::Max => {
            return Some(Lifetime {
                expires: 2_145_916_555,
                max_age: Some(315_360_000),
            });
        }
        Expires::Daily(second) => {
            let expires = next_time(now, i64::from(*second), date::local_offset);
            return Some(Lifetime {
                expires,
                max_age: Some(expires - now),
            });
        }
        Expires::Template {
            value,
            modified: is_modified,
        } => {
            expand(value, exchange, scratch);
            let expires = parse(std::str::from_utf8(scratch).ok()?, *is_modified)?;
            return lifetime(&expires, exchange, modified, now, &mut Vec::new());
        }
        Expires::FromNow(seconds) => (now, *seconds),
        Expires::FromModified(seconds) => (modified.unwrap_or(now), *seconds),
    };
    if seconds == 0 {
        return Some(Lifetime {
            expires: now,
            max_age: Some(0),
        });
    }
    let expires = base.saturating_add(seconds);
    let max_age = expires.saturating_sub(now);
    Some(Lifetime {
        expires,
        max_age: (seconds > 0 && max_age >= 0).then_some(max_age),
    })
}

/// Reads what a variable says for `expires` (nginx `ngx_http_parse_expires`); `None` for `off` and
/// for what is not understood.
fn parse(text: &str, is_modified: bool) -> Option<Expires> {
    match text {
        "epoch" if !is_modified => return Some(Expires::Epoch),
        "max" if !is_modified => return Some(Expires::Max),
        _ => {}
    }
    if let Some(time) = text.strip_prefix('@') {
        let second = time::seconds(time)?.as_secs();
        return (!is_modified && second <= Duration::from_hours(24).as_secs())
            .then_some(Expires::Daily(second as u32));
    }
    let (is_negative, time) = match text.strip_prefix('-') {
        Some(time) => (true, time),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let seconds = i64::try_from(time::seconds(time)?.as_secs()).ok()?;
    let seconds = if is_negative { -seconds } else { seconds };
    Some(if is_modified {
        Expires::FromModified(seconds)
    } else {
        Expires::FromNow(seconds)
    })
}

/// When a local clock next shows this second of the day (nginx `ngx_next_time`). The offset of a time
/// zone is asked for minutes east of Greenwich.
fn next_time(now: i64, second: i64, offset: impl Fn(i64) -> i32) -> i64 {
    const DAY: i64 = 86_400;
    let local = now + i64::from(offset(now)) * 60;
    let midnight = local - local.rem_euclid(DAY);
    let at = |midnight: i64| {
        // The offset may change on the way: that of the time itself counts.
        let guess = midnight + second - i64::from(offset(now)) * 60;
        midnight + second - i64::from(offset(guess)) * 60
    };
    let today = at(midnight);
    if today > now {
        today
    } else {
        at(midnight + DAY)
    }
}

/// `Expires` and `Cache-Control` of the content are replaced.
fn set_expires(answer: &mut Fields, lifetime: &Lifetime) {
    answer.remove(Known::Expires);
    answer.remove(Known::CacheControl);
    let expires = date::http(lifetime.expires);
    answer.push_known(Some(Known::Expires), b"Expires", &expires);
    let mut value = smallvec::SmallVec::<[u8; 32]>::new();
    match lifetime.max_age {
        None => value.extend_from_slice(b"no-cache"),
        Some(max_age) => {
            let mut digits = Vec::new();
            push_decimal(&mut digits, max_age.unsigned_abs());
            value.extend_from_slice(b"max-age=");
            value.extend_from_slice(&digits);
        }
    }
    answer.push_known(Some(Known::CacheControl), b"Cache-Control", &value);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conf::typed::location::Settings;
    use crate::http::fixture::{self, template};

    /// Sun, 06 Nov 1994 08:49:37 GMT
    const NOW: i64 = 784_111_777;

    fn header(name: &str, value: &str, always: bool) -> AddHeader {
        AddHeader {
            name: name.as_bytes().into(),
            value: template(value),
            always,
        }
    }

    fn answered(status: u16, change: impl FnOnce(&mut Settings)) -> (bool, String) {
        let mut settings = fixture::settings();
        change(&mut settings);
        let mut exchange = fixture::exchange(settings, "/a?q=%0d", &[("X-In", "a\u{1}b")]);
        exchange.status = status;
        for (name, value) in [("ETag", "\"e\""), ("Cache-Control", "private"), ("X", "0")] {
            exchange.answer.push(name.as_bytes(), value.as_bytes());
        }
        let trailers = apply(&mut exchange, None, &mut Vec::new());
        (trailers, fixture::answer(&exchange))
    }

    fn fields(status: u16, headers: Vec<AddHeader>) -> String {
        answered(status, |settings| settings.add_headers = headers.into()).1
    }

    const BEFORE: &str = "ETag: \"e\"\nCache-Control: private\nX: 0\n";

    #[test]
    fn fields_are_added_behind_those_of_the_content() {
        let headers = vec![
            header("X", "$uri-$status", false),
            header("Cache-Control", "public", false),
            header("X-Empty", "$arg_none", false),
        ];
        let expected = format!("{BEFORE}X: /a-200\nCache-Control: public\n");
        assert_eq!(fields(200, headers), expected);
    }

    #[test]
    fn other_statuses_get_only_what_is_always_added() {
        for (status, is_usual) in [
            (200, true),
            (201, true),
            (204, true),
            (206, true),
            (301, true),
            (302, true),
            (303, true),
            (304, true),
            (307, true),
            (308, true),
            (202, false),
            (400, false),
            (404, false),
            (416, false),
            (500, false),
        ] {
            let headers = vec![header("X-A", "a", false), header("X-B", "b", true)];
            let fields = fields(status, headers);
            assert_eq!(fields.contains("X-A: a\n"), is_usual, "{status}");
            assert!(fields.contains("X-B: b\n"), "{status}");
        }
    }

    #[test]
    fn validators_are_replaced_or_taken_away() {
        let set = vec![header("etag", "\"f\"", false)];
        assert_eq!(
            fields(200, set),
            "Cache-Control: private\nX: 0\netag: \"f\"\n"
        );
        let unset = vec![
            header("ETag", "", false),
            header("Last-Modified", "", false),
        ];
        assert_eq!(fields(200, unset), "Cache-Control: private\nX: 0\n");
    }

    #[test]
    fn a_value_cannot_end_its_line() {
        let mut settings = fixture::settings();
        settings.add_headers = [header("X", "$uri", true)].into();
        let mut exchange = fixture::exchange(settings, "/a\r\nSet-Cookie: b\0", &[]);
        exchange.status = 200;
        apply(&mut exchange, None, &mut Vec::new());
        assert_eq!(fixture::answer(&exchange), "X: /a  Set-Cookie: b \n");
    }

    #[test]
    fn trailers_are_announced_and_added_when_the_body_is_sent() {
        let trailers = || [header("X-T", "$status", false), header("X-E", "", true)].into();
        assert!(answered(200, |settings| settings.add_trailers = trailers()).0);
        assert!(!answered(200, |_| {}).0);
        let usual = || [header("X-T", "t", false)].into();
        assert!(!answered(404, |settings| settings.add_trailers = usual()).0);

        let mut settings = fixture::settings();
        settings.add_trailers = trailers();
        let mut exchange = fixture::exchange(settings, "/", &[]);
        exchange.status = 200;
        apply_trailers(&mut exchange, &mut Vec::new());
        let trailers: Vec<_> = exchange.answer_trailers.iter().collect();
        assert_eq!(trailers, [(None, &b"X-T"[..], &b"200"[..])]);
    }

    fn lives(expires: &Expires, modified: Option<i64>) -> Option<(i64, Option<i64>)> {
        let exchange = fixture::exchange(fixture::settings(), "/?e=5m&m=modified", &[]);
        lifetime(expires, &exchange, modified, NOW, &mut Vec::new())
            .map(|lifetime| (lifetime.expires, lifetime.max_age))
    }

    #[test]
    fn expires_has_the_forms_of_nginx() {
        for (expires, modified, expected) in [
            (Expires::Epoch, None, (1, None)),
            (Expires::Max, None, (2_145_916_555, Some(315_360_000))),
            (Expires::FromNow(60), Some(5), (NOW + 60, Some(60))),
            (Expires::FromNow(0), None, (NOW, Some(0))),
            (Expires::FromNow(-1), None, (NOW - 1, None)),
            (
                Expires::FromModified(60),
                Some(NOW - 20),
                (NOW + 40, Some(40)),
            ),
            (Expires::FromModified(60), Some(NOW - 61), (NOW - 1, None)),
            (Expires::FromModified(60), None, (NOW + 60, Some(60))),
            (Expires::FromModified(-1), Some(NOW + 9), (NOW + 8, None)),
            (
                Expires::FromNow(i64::MAX),
                None,
                (i64::MAX, Some(i64::MAX - NOW)),
            ),
        ] {
            assert_eq!(lives(&expires, modified), Some(expected), "{expires:?}");
        }
    }

    #[test]
    fn expires_by_a_variable_is_read_when_asked_and_may_say_nothing() {
        let by = |text: &str, modified| {
            let value = template(text);
            lives(&Expires::Template { value, modified }, Some(NOW - 100))
        };
        assert_eq!(by("$arg_e", false), Some((NOW + 300, Some(300))));
        assert_eq!(by("$arg_e", true), Some((NOW + 200, Some(200))));
        assert_eq!(by("-$arg_e", false), Some((NOW - 300, None)));
        assert_eq!(by("+1h", false), Some((NOW + 3600, Some(3600))));
        assert_eq!(by("epoch", false), Some((1, None)));
        assert!(by("max", false).is_some());
        assert!(by("@24h", false).is_some());
        for nothing in ["off", "$arg_none", "soon", "@25h", "@", "-", "+-5"] {
            assert_eq!(by(nothing, false), None, "{nothing}");
        }
        for nothing in ["epoch", "max", "off", "@1h"] {
            assert_eq!(by(nothing, true), None, "{nothing}");
        }
    }

    #[test]
    fn a_time_of_day_is_the_next_one_by_the_local_clock() {
        let hour = 3600;
        let utc = |_| 0;
        // 08:49:37 now.
        let midnight = NOW - (8 * 3600 + 49 * 60 + 37);
        assert_eq!(next_time(NOW, 15 * hour, utc), midnight + 15 * hour);
        assert_eq!(next_time(NOW, 8 * hour, utc), midnight + 32 * hour);
        assert_eq!(next_time(midnight, 0, utc), midnight + 24 * hour);
        // 10:49:37 two hours further east, where 10:00 was at 08:00.
        assert_eq!(next_time(NOW, 10 * hour, |_| 120), midnight + 32 * hour);
        assert_eq!(next_time(NOW, 11 * hour, |_| 120), midnight + 9 * hour);
        // The clock goes back an hour at noon, so that 15:00 comes an hour later.
        let changes = |unix| if unix < midnight + 12 * hour { 60 } else { 0 };
        assert_eq!(next_time(NOW, 15 * hour, changes), midnight + 15 * hour);
    }

    #[test]
    fn expires_replaces_what_the_content_says_of_its_lifetime() {
        let (_, fields) = answered(200, |settings| settings.expires = Some(Expires::Epoch));
        assert_eq!(
            fields,
            "ETag: \"e\"\nX: 0\nExpires: Thu, 01 Jan 1970 00:00:01 GMT\nCache-Control: no-cache\n"
        );
        let (_, fields) = answered(200, |settings| settings.expires = Some(Expires::Max));
        assert_eq!(
            fields,
            "ETag: \"e\"\nX: 0\nExpires: Thu, 31 Dec 2037 23:55:55 GMT\n\
             Cache-Control: max-age=315360000\n"
        );
        let (_, fields) = answered(404, |settings| settings.expires = Some(Expires::Max));
        assert_eq!(fields, BEFORE);
    }

    #[test]
    fn the_server_is_named_as_configured() {
        let version = concat!("openclaw/", env!("CARGO_PKG_VERSION"));
        for (tokens, expected) in [
            (ServerTokens::Name, Some("openclaw")),
            (ServerTokens::Version, Some(version)),
            (ServerTokens::Nothing, None),
            (
                ServerTokens::Text(template("at $host")),
                Some("at example.org"),
            ),
            (ServerTokens::Text(template("$arg_none")), None),
        ] {
            let mut settings = fixture::settings();
            settings.server_tokens = tokens;
            let exchange = fixture::exchange(settings, "/", &[]);
            let mut scratch = Vec::new();
            let value = server(&exchange, &mut scratch);
            assert_eq!(value, expected.map(str::as_bytes));
        }
    }
}
