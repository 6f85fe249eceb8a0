//! `Vary`: which requests an answer was selected for (RFC 9111 section 4.1).
//!
//! Owns the names that an answer gives and how values are compared. Where the values come from is the
//! caller's: what counts is what the origin was sent.

use crate::http::head::{Fields, Known};

/// The most that all names of a `Vary` may take, in bytes.
const MOST_BYTES: usize = 1024;

/// The names in the `Vary` fields of an answer: lower case, in order, each once. `None` if the answer
/// fits no other request (`*` anywhere), or names more than is remembered.
pub fn names(fields: &Fields) -> Option<Vec<Box<[u8]>>> {
    if !fields.has(Known::Vary) {
        return Some(Vec::new());
    }
    let mut names: Vec<Box<[u8]>> = Vec::new();
    let mut bytes = 0;
    for value in fields.all(Known::Vary) {
        for name in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if name == b"*" {
                return None;
            }
            if name.is_empty() {
                continue;
            }
            bytes += name.len();
            if bytes > MOST_BYTES || names.len() >= super::freshness::MOST_NAMES {
                return None;
            }
            names.push(name.to_ascii_lowercase().into());
        }
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

/// Fields from which origins and what they are built of take the host, the scheme, the path or the
/// method in place of what was asked, without ever saying so in `Vary`. In order.
const UNSAID: [&[u8]; 18] = [
    b"forwarded",
    b"front-end-https",
    b"x-forwarded-host",
    b"x-forwarded-path",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-ssl",
    b"x-host",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-original-host",
    b"x-original-url",
    b"x-rewrite-url",
    b"x-url-scheme",
];

/// Names of fields of a request that an answer may have been selected for although its `Vary` says
/// nothing of them, lower case. Whoever asks first with such a field would otherwise choose what all
/// others get.
pub fn unsaid<'a>(
    request: &'a Fields,
    answer: &Fields,
) -> impl Iterator<Item = Box<[u8]>> + use<'a> {
    let mut allowed = answer.named(b"Access-Control-Allow-Origin");
    let names_origin = allowed.any(|origin| origin.trim_ascii() != b"*");
    request.iter().filter_map(move |(_, name, _)| {
        let is_origin = names_origin && name.eq_ignore_ascii_case(b"Origin");
        // All of the list begin so; nearly no other field does.
        let may_be = matches!(name.first(), Some(b'f' | b'F' | b'x' | b'X'));
        let lower: Box<[u8]> = match is_origin || may_be {
            true => name.to_ascii_lowercase().into(),
            false => return None,
        };
        (is_origin || UNSAID.binary_search(&&*lower).is_ok()).then_some(lower)
    })
}

/// A name with the value that the request had, as it is compared.
pub type Selected = (Box<[u8]>, Option<Box<[u8]>>);

/// What a request has of these names; `value_of` appends the value of one and tells whether there is
/// any.
pub fn select(
    names: Vec<Box<[u8]>>,
    mut value_of: impl FnMut(&[u8], &mut Vec<u8>) -> bool,
) -> Vec<Selected> {
    let mut raw = Vec::new();
    names
        .into_iter()
        .map(|name| {
            raw.clear();
            let value = value_of(&name, &mut raw).then(|| normalised(&name, &raw).into());
            (name, value)
        })
        .collect()
}

/// Was an answer selected for requests such as this one?
pub fn fits(selected: &[Selected], mut value_of: impl FnMut(&[u8], &mut Vec<u8>) -> bool) -> bool {
    let mut raw = Vec::new();
    selected.iter().all(|(name, held)| {
        raw.clear();
        match (value_of(name, &mut raw), held) {
            (false, None) => true,
            (true, Some(held)) => **held == *raw || **held == normalised(name, &raw),
            _ => false,
        }
    })
}

/// A value without what makes no difference: spaces around commas and semicolons; the order and the
/// case of codings that are all liked alike (`Accept-Encoding`), the case of languages.
fn normalised(name: &[u8], value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    match name {
        b"accept-encoding" | b"accept-language" | b"accept" | b"accept-charset" => {}
        // Who asked is another each time, and no page is made of that.
        b"forwarded" => {
            let pairs = value.split(|byte| matches!(byte, b',' | b';'));
            for pair in pairs.map(<[u8]>::trim_ascii) {
                let lower = pair.to_ascii_lowercase();
                if lower.starts_with(b"host") || lower.starts_with(b"proto") {
                    out.extend_from_slice(&lower);
                    out.push(b';');
                }
            }
            return out;
        }
        // Of other fields nothing is known but that spaces at the ends mean nothing.
        _ => return value.trim_ascii().to_vec(),
    }
    let mut members: Vec<Vec<u8>> = value
        .split(|&byte| byte == b',')
        .map(|member| {
            let mut kept = member.to_ascii_lowercase();
            kept.retain(|byte| !matches!(byte, b' ' | b'\t'));
            kept
        })
        .filter(|member| !member.is_empty())
        .collect();
    if name == b"accept-encoding" && !value.contains(&b';') {
        members.sort_unstable();
        members.dedup();
    }
    for member in members {
        if !out.is_empty() {
            out.push(b',');
        }
        out.extend_from_slice(&member);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    fn of_request(request: &Fields) -> impl FnMut(&[u8], &mut Vec<u8>) -> bool {
        |name, out| {
            let mut is_there = false;
            for value in request.named(name) {
                if is_there {
                    out.extend_from_slice(b", ");
                }
                is_there = true;
                out.extend_from_slice(value);
            }
            is_there
        }
    }

    #[test]
    fn names_are_gathered_from_all_lines_and_a_star_anywhere_fits_nothing() {
        let listed = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|value| ("Vary", *value)).collect();
            names(&fields(&lines)).map(|names| {
                let names = names
                    .iter()
                    .map(|name| String::from_utf8_lossy(name).into_owned());
                names.collect::<Vec<_>>()
            })
        };
        assert_eq!(listed(&[]), Some(vec![]));
        let expected = vec!["a".to_owned(), "b".to_owned()];
        assert_eq!(listed(&["B, a,,", "A"]), Some(expected));
        for star in [&["*"][..], &["a, *"], &["a", "b,*"]] {
            assert_eq!(listed(star), None);
        }
        assert_eq!(listed(&[&"x".repeat(2000)]), None);
    }

    #[test]
    fn a_request_fits_if_every_field_has_the_same_value_or_is_absent_in_both() {
        let names = names(&fields(&[("Vary", "Accept-Language, X-A")])).expect("names");
        let first = fields(&[("Accept-Language", "de, EN"), ("X-A", "1")]);
        let selected = select(names, of_request(&first));
        let fitting = |lines: &[(&str, &str)]| fits(&selected, of_request(&fields(lines)));
        assert!(fitting(&[("accept-language", "DE,en"), ("x-a", "1")]));
        assert!(fitting(&[
            ("Accept-Language", "de"),
            ("Accept-Language", "en"),
            ("X-A", "1")
        ]));
        assert!(!fitting(&[("Accept-Language", "en, de"), ("X-A", "1")]));
        assert!(!fitting(&[("Accept-Language", "de, en")]));
        assert!(!fitting(&[("Accept-Language", "de, en"), ("X-A", "2")]));

        let names = super::names(&fields(&[("Vary", "X-A")])).expect("names");
        let absent = select(names, of_request(&fields(&[])));
        assert!(fits(&absent, of_request(&fields(&[]))));
        assert!(!fits(&absent, of_request(&fields(&[("X-A", "")]))));
    }

    #[test]
    fn what_origins_are_led_by_is_known_whatever_its_case() {
        assert!(UNSAID.is_sorted());
        let request = fields(&[
            ("x-FORWARDED-host", "a"),
            ("X-Forwarded-For", "1.2.3.4"),
            ("Origin", "https://a"),
            ("Front-End-Https", "on"),
            ("Accept", "x"),
        ]);
        let told = |answer: &[(&str, &str)]| -> Vec<String> {
            let names = unsaid(&request, &fields(answer));
            let text = |name: Box<[u8]>| String::from_utf8_lossy(&name).into_owned();
            names.map(text).collect()
        };
        assert_eq!(told(&[]), ["x-forwarded-host", "front-end-https"]);
        let any = [("Access-Control-Allow-Origin", "*")];
        assert_eq!(told(&any), ["x-forwarded-host", "front-end-https"]);
        let one = [("Access-Control-Allow-Origin", "https://a")];
        assert_eq!(
            told(&one),
            ["x-forwarded-host", "origin", "front-end-https"]
        );
        assert_eq!(
            normalised(b"forwarded", b"for=1.2.3.4; Host=a.test;proto=http, for=b"),
            b"host=a.test;proto=http;"
        );
    }

    #[test]
    fn codings_in_another_order_are_the_same_unless_they_are_weighed() {
        let same = |one: &str, other: &str| {
            normalised(b"accept-encoding", one.as_bytes())
                == normalised(b"accept-encoding", other.as_bytes())
        };
        assert!(same("gzip, br", "BR,gzip"));
        assert!(!same("gzip;q=1, br;q=0.5", "br;q=0.5, gzip;q=1"));
        assert!(same("gzip; q=1,br", "gzip;q=1 , br"));
    }
}
