//! Texts without what should not be written down: keys and passwords, addresses, numbers of phones, cards
//! and accounts, and bytes in base64.
//!
//! What looks like one of them is replaced by a word for it. That is done by shape alone, so that it can be
//! too much (a number of twelve digits that begins with 0 is a phone) and too little (a name is a name).
//!
//! The invariant: the time that a text takes grows with its length alone, whatever is in it. At each place
//! only so many bytes are looked at, and what a longer search has found it steps over.

use super::wire::json::{Kind, Value, encode};

/// A text behind a cut is looked at for so far: what begins before it is recognised by what follows.
const BEYOND: usize = 4096;

/// The shortest secret behind a start that says so.
const LEAST: usize = 8;

/// The longest address in front of an `@`, and behind it.
const ADDRESS: (usize, usize) = (256, 253);

/// So many digits are looked at together.
const DIGITS: usize = 32;

/// The longest text in base64 that is shown.
const LONGEST_BASE64: usize = 256;

/// The longest number that is shown as one.
const LONGEST_NUMBER: usize = 64;

/// How keys begin.
const STARTS: [&str; 36] = [
    "sk-",
    "sk_",
    "oc-",
    "pk-",
    "pk_live_",
    "rk_live_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxs-",
    "xapp-",
    "AKIA",
    "ASIA",
    "AIza",
    "ya29.",
    "gsk_",
    "xai-",
    "hf_",
    "r8_",
    "nvapi-",
    "npm_",
    "pypi-",
    "eyJ",
    "tgp_",
    "csk-",
    "fw_",
    "dop_v1_",
    "SG.",
    "whsec_",
];

/// What stands in front of a secret, with `:` or `=` between.
const NAMES: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "api_key",
    "apikey",
    "api-key",
    "x-api-key",
    "access_token",
    "auth_token",
    "refresh_token",
    "client_secret",
    "private_key",
    "authorization",
];

/// What was found: so much stays as it is, so much is replaced behind it, by this word.
struct Found {
    stays: usize,
    goes: usize,
    word: &'static str,
}

const fn whole(goes: usize, word: &'static str) -> Found {
    Found {
        stays: 0,
        goes,
        word,
    }
}

/// A text with all of it replaced.
#[must_use]
pub fn redacted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let rest = &text[at..];
        let before = &text[..at];
        let found = match next {
            '-' => pem(rest),
            '@' => domain(rest).and_then(|length| {
                // What is in front of it was written already.
                let local = |c: char| c.is_alphanumeric() || "._%+-'".contains(c);
                let tail = out.char_indices().rev().take(ADDRESS.0);
                let start = tail.take_while(|(_, c)| local(*c)).last()?.0;
                out.truncate(start);
                Some(whole(length, "[e-mail]"))
            }),
            '0'..='9' if !before.ends_with(|c: char| c.is_ascii_digit()) => number(rest),
            '+' | '(' => number(rest),
            letter if letter.is_ascii_alphabetic() && is_boundary(before) => key(rest)
                .or_else(|| credential(rest))
                .or_else(|| named(rest))
                .or_else(|| account(rest)),
            _ => None,
        };
        // Only where a token begins: within it each place would go through the rest of it again.
        let found = found.or_else(|| {
            let begins = is_of_token(next) && !before.ends_with(is_of_token);
            if begins { random(rest) } else { None }
        });
        match found {
            Some(found) => {
                out.push_str(&rest[..found.stays]);
                out.push_str(found.word);
                at += found.stays + found.goes;
            }
            None => {
                out.push(next);
                at += next.len_utf8();
            }
        }
    }
    out
}

/// Does a word begin behind this? Escapes of JSON in JSON and of URLs end in letters that are of no word.
fn is_boundary(before: &str) -> bool {
    let mut last = before.chars().rev();
    let (one, two, three) = (last.next(), last.next(), last.next());
    !one.is_some_and(char::is_alphanumeric)
        || two == Some('\\')
        || (three == Some('%') && two.is_some_and(|c| c.is_ascii_hexdigit()))
}

const fn is_of_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=' | '~')
}

fn starts_with(text: &str, start: &str) -> bool {
    let head = text.as_bytes().get(..start.len());
    head.is_some_and(|head| head.eq_ignore_ascii_case(start.as_bytes()))
}

/// How long the token is that a text begins with.
fn token(text: &str) -> usize {
    // A block of PEM is found where it begins. Nothing behind that is looked at: many short tokens may
    // follow each other so.
    let is_end = |(at, byte): &(usize, u8)| {
        !is_of_token(char::from(*byte)) || (*byte == b'-' && text[*at..].starts_with("-----BEGIN"))
    };
    let end = text.bytes().enumerate().find(is_end);
    end.map_or(text.len(), |(at, _)| at)
}

/// A block of PEM, to its end or that of the text.
fn pem(rest: &str) -> Option<Found> {
    if !rest.starts_with("-----BEGIN ") {
        return None;
    }
    let end = rest.find("-----END ").map(|at| at + "-----END ".len());
    let end = end.and_then(|at| Some(at + rest[at..].find("-----")? + "-----".len()));
    Some(whole(end.unwrap_or(rest.len()), "[pem]"))
}

/// A key that begins as keys do.
fn key(rest: &str) -> Option<Found> {
    let start = STARTS.iter().find(|start| rest.starts_with(**start))?;
    let length = token(&rest[start.len()..]);
    (length >= LEAST).then(|| whole(start.len() + length, "[secret]"))
}

/// `Bearer …` and the like.
fn credential(rest: &str) -> Option<Found> {
    let scheme = ["bearer ", "basic ", "bearer: ", "bearer\t"];
    let scheme = scheme.iter().find(|scheme| starts_with(rest, scheme))?;
    let token = token(&rest[scheme.len()..]);
    let text = &rest[scheme.len()..scheme.len() + token];
    // A basic understanding is none.
    let is_word = text.bytes().all(|byte| byte.is_ascii_lowercase());
    (token >= LEAST && !(is_word && starts_with(scheme, "basic"))).then_some(Found {
        stays: scheme.len(),
        goes: token,
        word: "[secret]",
    })
}

/// What is said to be a secret.
fn named(rest: &str) -> Option<Found> {
    let name = NAMES.iter().find(|name| starts_with(rest, name))?;
    let between = &rest[name.len()..];
    let blank = |c: char| matches!(c, ' ' | '"' | '\'' | '\\' | '`');
    let colon = between.find(|c: char| !blank(c))?;
    if colon > 4 || !between[colon..].starts_with([':', '=']) {
        return None;
    }
    let value = &between[colon + 1..];
    let quotes = value.find(|c: char| !blank(c))?;
    if quotes > 4 {
        return None;
    }
    let value = &value[quotes..];
    if value.starts_with("-----BEGIN ") {
        return None;
    }
    let is_end =
        |c: char| c.is_whitespace() || blank(c) || matches!(c, ',' | ';' | '&' | '}' | ')');
    let mut goes = value.find(is_end).unwrap_or(value.len());
    // `authorization: Bearer …`
    for scheme in ["bearer ", "basic "] {
        if starts_with(value, scheme) {
            let secret = &value[scheme.len()..];
            goes = scheme.len() + secret.find(is_end).unwrap_or(secret.len());
        }
    }
    (goes >= 3).then_some(Found {
        stays: name.len() + colon + 1 + quotes,
        goes,
        word: "[secret]",
    })
}

/// A long token that looks as random as a key.
fn random(rest: &str) -> Option<Found> {
    let length = token(rest);
    let bytes = &rest.as_bytes()[..length];
    let count = |is: fn(&u8) -> bool| bytes.iter().filter(|byte| is(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let (capitals, small) = (count(u8::is_ascii_uppercase), count(u8::is_ascii_lowercase));
    let is_mixed = capitals >= 4 && small >= 4;
    let is_hex = bytes.iter().all(u8::is_ascii_hexdigit);
    let is_random = length >= 32 && digits >= 4 && capitals + small >= 4 && (is_mixed || is_hex);
    is_random.then(|| whole(length, "[secret]"))
}

/// `@` and the name of a host behind it.
fn domain(rest: &str) -> Option<usize> {
    let name = &rest[1..];
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
    let mut characters = name.char_indices().take(ADDRESS.1);
    let end = characters.find(|(_, c)| !is_part(*c)).map(|(at, _)| at);
    let end = end.unwrap_or_else(|| {
        let longest = name.char_indices().nth(ADDRESS.1);
        longest.map_or(name.len(), |(at, _)| at)
    });
    let host = name[..end].trim_end_matches(['.', '-']);
    let (before, top) = host.rsplit_once('.')?;
    let is_host = !before.is_empty() && top.chars().count() >= 2;
    is_host.then_some(1 + host.len())
}

/// The number of a card or of a phone.
fn number(rest: &str) -> Option<Found> {
    // Groups of digits: how many there are up to their ends, and where these are.
    let mut digits = [0_u8; DIGITS];
    let mut count = 0;
    let mut groups = [(0, 0); DIGITS];
    let mut group_count = 0;
    let mut separators = 0;
    let mut is_international = false;
    let mut is_decimal = false;
    let mut characters = rest.char_indices().peekable();
    while let Some((at, c)) = characters.next() {
        match c {
            '0'..='9' => {
                if count == DIGITS {
                    return None;
                }
                digits[count] = c as u8 - b'0';
                count += 1;
                separators = 0;
                if !characters
                    .peek()
                    .is_some_and(|(_, next)| next.is_ascii_digit())
                {
                    groups[group_count] = (count, at + 1);
                    group_count += 1;
                    // More than any number has: what is longer is none.
                    if count > 19 {
                        break;
                    }
                }
            }
            '+' if count == 0 && !is_international => is_international = true,
            ' ' | '-' | '.' | '(' | ')' | '/' | '\u{a0}' | '\u{2010}' | '\u{2011}' | '\u{2013}'
                if separators < 3 =>
            {
                separators += 1;
                is_decimal |= c == '.' && group_count == 1 && count == 1 && digits[0] == 0;
            }
            _ => break,
        }
        if count == 0 && at > 2 {
            return None;
        }
    }
    let groups = &groups[..group_count];
    let is_card =
        |(count, _): &&(usize, usize)| (13..=19).contains(count) && luhn(&digits[..*count]);
    if let Some((_, end)) = groups.iter().rev().find(is_card) {
        return Some(whole(*end, "[card]"));
    }
    let longest = |most: usize| groups.iter().rev().find(|(count, _)| *count <= most);
    let (count, end) = *longest(15)?;
    let is_trunk = digits[0] == 0 && !is_decimal;
    if (is_international && count >= 7) || (is_trunk && count >= 9) {
        return Some(whole(end, "[phone]"));
    }
    // As in North America: three, three and four, perhaps with 1 in front.
    for (start, sizes) in [(0, [3, 6, 10]), (1, [4, 7, 11])] {
        let ends = groups.get(start..start + 3);
        let fits = ends.is_some_and(|ends| ends.iter().map(|end| end.0).eq(sizes));
        if fits && (start == 0 || (groups[0].0, digits[0]) == (1, 1)) {
            return Some(whole(groups[start + 2].1, "[phone]"));
        }
    }
    None
}

/// The check digit of cards (ISO/IEC 7812-1 annex B).
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = (digits.iter().rev().enumerate())
        .map(|(place, digit)| {
            let digit = u32::from(*digit);
            match place % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != 0)
}

/// An account's number (ISO 13616): two letters and two digits, then letters and digits, in groups perhaps.
fn account(rest: &str) -> Option<Found> {
    let bytes = rest.as_bytes();
    let head = bytes.get(..4)?;
    let is_head =
        head[..2].iter().all(u8::is_ascii_alphabetic) && head[2..].iter().all(u8::is_ascii_digit);
    if !is_head {
        return None;
    }
    let value = |byte: u8| u32::from(byte.to_ascii_lowercase());
    let push = |remainder: u32, byte: u8| match byte {
        b'0'..=b'9' => (remainder * 10 + value(byte) - 48) % 97,
        _ => (remainder * 100 + value(byte) - 87) % 97,
    };
    let (mut remainder, mut count, mut end) = (0, 4, None);
    let mut at = 4;
    while let Some(byte) = bytes.get(at) {
        if byte.is_ascii_alphanumeric() {
            if count == 34 {
                break;
            }
            remainder = push(remainder, *byte);
            (count, at) = (count + 1, at + 1);
            let is_last = !bytes.get(at).is_some_and(u8::is_ascii_alphanumeric);
            let checked = head.iter().fold(remainder, |sum, byte| push(sum, *byte));
            if is_last && count >= 15 && checked == 1 {
                end = Some(at);
            }
        } else if matches!(byte, b' ' | b'-')
            && bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric)
        {
            at += 1;
        } else {
            break;
        }
    }
    end.map(|end| whole(end, "[iban]"))
}

/// How texts are written down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Without what should not be.
    Redacted,
    /// As they are, but for bytes in base64.
    Full,
}

/// A text as it is written down: at most about so many bytes of it; whether something was cut off.
#[must_use]
pub fn text(text: &str, manner: Manner, most: usize) -> (String, bool) {
    let end = (text.len()).min(most.saturating_add(BEYOND));
    let seen = &text[..text.floor_char_boundary(end)];
    let (mut written, is_all) = match (base64(text), manner) {
        (Some(word), _) => (word, true),
        (None, Manner::Redacted) => (redacted(seen), seen.len() == text.len()),
        (None, Manner::Full) => (seen.to_owned(), seen.len() == text.len()),
    };
    let is_cut = written.len() > most || !is_all;
    written.truncate(written.floor_char_boundary(most));
    (written, is_cut)
}

/// A word for bytes in base64: their type, if it is told, and length.
fn base64(text: &str) -> Option<String> {
    let (kind, data) = match text.strip_prefix("data:") {
        Some(url) => {
            let (kind, data) = url.split_once(',')?;
            let kind = kind.strip_suffix(";base64")?;
            let is_type = |c: char| c.is_ascii_alphanumeric() || "/+.-;=".contains(c);
            (kind.len() <= 64 && kind.chars().all(is_type)).then_some((kind, data))?
        }
        None if text.len() <= LONGEST_BASE64 => return None,
        None => ("base64", text),
    };
    let is_data = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_' | b'\n' | b'\r')
    };
    // The first bytes tell; a text of many megabytes is not gone through for a word.
    let is_all = data.bytes().take(BEYOND).all(is_data);
    is_all.then(|| format!("[{kind}, {} bytes]", data.len() / 4 * 3))
}

/// JSON as it is written down, as JSON: at most about so many bytes of it; whether something was cut off.
#[must_use]
pub fn json(value: Value<'_>, manner: Manner, most: usize) -> (String, bool) {
    let mut writing = Writing {
        out: String::new(),
        manner,
        most,
        is_cut: false,
    };
    writing.value(value);
    (writing.out, writing.is_cut)
}

struct Writing {
    out: String,
    manner: Manner,
    most: usize,
    is_cut: bool,
}

impl Writing {
    fn left(&self) -> usize {
        self.most.saturating_sub(self.out.len())
    }

    fn string(&mut self, said: &str) {
        let (said, is_cut) = text(said, self.manner, self.left());
        self.is_cut |= is_cut;
        self.quoted(&said);
    }

    fn quoted(&mut self, text: &str) {
        self.out.push('"');
        self.out.push_str(&encode(text));
        self.out.push('"');
    }

    fn value(&mut self, value: Value<'_>) {
        match value.kind() {
            Kind::Object => {
                self.out.push('{');
                for (position, (name, value)) in value.members().enumerate() {
                    if self.left() == 0 {
                        self.is_cut = true;
                        break;
                    }
                    if position > 0 {
                        self.out.push(',');
                    }
                    let name = name.string().unwrap_or_default();
                    self.string(&name);
                    self.out.push(':');
                    let is_secret = NAMES
                        .iter()
                        .any(|secret| secret.eq_ignore_ascii_case(&name));
                    match is_secret && self.manner == Manner::Redacted {
                        true => self.quoted("[secret]"),
                        false => self.value(value),
                    }
                }
                self.out.push('}');
            }
            Kind::Array => {
                self.out.push('[');
                // Tokens and vectors.
                let numbers = value.numbers().count();
                if numbers > 0 {
                    self.quoted(&format!("[{numbers} numbers]"));
                }
                for (position, item) in value.items().enumerate() {
                    if self.left() == 0 {
                        self.is_cut = true;
                        break;
                    }
                    if position > 0 || numbers > 0 {
                        self.out.push(',');
                    }
                    self.value(item);
                }
                self.out.push(']');
            }
            Kind::String => self.string(&value.string().unwrap_or_default()),
            Kind::Number => {
                let raw = value.raw();
                let (told, _) = text(raw, self.manner, LONGEST_NUMBER);
                match told == raw {
                    true => self.out.push_str(raw),
                    false => self.string(&told),
                }
            }
            _ => self.out.push_str(value.raw()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::llm::wire::json::{Duplicates, Index};

    #[test]
    fn what_should_not_be_written_down_is_not() {
        for (text, expected) in [
            ("", ""),
            (
                "nothing here, at all: 1 + 2 = 3",
                "nothing here, at all: 1 + 2 = 3",
            ),
            ("my key sk-proj-abc123DEF456 works", "my key [secret] works"),
            ("oc-0123456789abcdef", "[secret]"),
            ("x=ghp_abcdefghij0123456789;", "x=[secret];"),
            ("AKIAIOSFODNN7EXAMPLE", "[secret]"),
            (
                "Authorization: Bearer abc.DEF-123",
                "Authorization: [secret]",
            ),
            ("send bearer abcdefgh12 along", "send bearer [secret] along"),
            ("a basic understanding", "a basic understanding"),
            ("Basic dXNlcjpwYXNz", "Basic [secret]"),
            ("password = hunter2, ok", "password = [secret], ok"),
            (
                r#"{"api_key": "abc", "b": 1}"#,
                r#"{"api_key": "[secret]", "b": 1}"#,
            ),
            (r"a\nsk-abcdefgh1234", r"a\n[secret]"),
            ("a%20sk-abcdefgh1234", "a%20[secret]"),
            (
                "task-management and risk-averse-ness",
                "task-management and risk-averse-ness",
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----, see",
                "[pem], see",
            ),
            ("-----BEGIN PRIVATE KEY-----\nMIIE", "[pem]"),
            ("write robin.hood+x@mail.example.org.", "write [e-mail]."),
            ("m\u{fc}ller@ex\u{e4}mple.de, a@b", "[e-mail], a@b"),
            ("call +49 30 1234567!", "call [phone]!"),
            ("call 030 12345678", "call [phone]"),
            (
                "call (555) 123-4567 or 1-555-123-4567",
                "call [phone] or [phone]",
            ),
            ("call (030) 12345-678", "call [phone]"),
            ("on 2026-11-22 12:03:11", "on 2026-11-22 12:03:11"),
            (
                "0.123456789012 and 192.168.100.200",
                "0.123456789012 and 192.168.100.200",
            ),
            (
                "card 4111 1111 1111 1111 exp 12/27",
                "card [card] exp 12/27",
            ),
            ("12 4111-1111-1111-1111", "12 [card]"),
            ("378282246310005", "[card]"),
            ("4111111111111112", "4111111111111112"),
            ("to DE89 3704 0044 0532 0130 00 please", "to [iban] please"),
            ("gb82west12345698765432", "[iban]"),
            ("DE89 3704 0044 0532 0130 02", "DE89 3704 [phone]"),
            ("wJalrXUtnFEMI/K7MDENG/bPxRfiCY9876EXAMPLEKEY", "[secret]"),
            (
                "123e4567-e89b-12d3-a456-426614174000",
                "123e4567-e89b-12d3-a456-426614174000",
            ),
        ] {
            assert_eq!(redacted(text), expected, "{text}");
        }
    }

    #[test]
    fn json_stays_json_and_is_bounded() {
        let call = r#"{"model":"a","messages":[{"role":"user","content":[
            {"type":"text","text":"I am robin@example.org, key \u0073k-abcdefgh1234"},
            {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}],
            "password":"x","card":4111111111111111,"input":[1,2,3],"n":1.5,"yes":true,"no":null}"#;
        let mut index = Index::new();
        let root = index
            .read(call.as_bytes(), Duplicates::Refuse)
            .expect("JSON");
        let (told, is_cut) = json(root, Manner::Redacted, 10_000);
        assert!(!is_cut);
        assert_eq!(
            told,
            r#"{"model":"a","messages":[{"role":"user","content":[{"type":"text","text":"I am [e-mail], key [secret]"},{"type":"image_url","image_url":{"url":"[image/png, 9 bytes]"}}]}],"password":"[secret]","card":"[card]","input":["[3 numbers]"],"n":1.5,"yes":true,"no":null}"#
        );
        let (full, _) = json(root, Manner::Full, 10_000);
        assert!(full.contains("robin@example.org") && full.contains("[image/png, 9 bytes]"));
        for most in 0..told.len() {
            let (told, is_cut) = json(root, Manner::Redacted, most);
            // The brackets of what is open are closed behind the cut.
            assert!(is_cut || told.len() > most, "{most} {told}");
            assert!(
                serde_json::from_str::<serde_json::Value>(&told).is_ok(),
                "{told}"
            );
            assert!(
                !told.contains("abcdefgh") && !told.contains("robin"),
                "{told}"
            );
        }
    }

    #[test]
    fn a_secret_at_the_cut_is_recognised_by_what_is_behind_it() {
        let secret = format!("sk-{}", "a1B2".repeat(40));
        let said = format!("{} {secret} end", "word ".repeat(20));
        for most in 80..said.len() {
            let (told, is_cut) = text(&said, Manner::Redacted, most);
            assert!(!told.contains("sk-a"), "{most}: {told}");
            assert!(told.len() <= most);
            assert_eq!(is_cut, most < redacted(&said).len(), "{most}");
        }
    }

    /// Each of these makes a search begin at every place.
    #[test]
    fn hostile_texts_are_gone_through_and_do_not_grow() {
        for piece in [
            "a",
            "@",
            "a@",
            "@a.",
            "1",
            "1 ",
            "+1",
            "(",
            "-----BEGIN ",
            "-----",
            "sk-",
            "sk-a ",
            "sk------BEGIN-",
            "bearer ",
            "password",
            "password:",
            "AB12",
            "AB12 ",
            ".",
            "a.",
            "\\n",
            "%20",
            "0 ",
            "4111 ",
            "\u{e9}@\u{e9}.",
            "=",
            "eyJ.",
            "data:",
        ] {
            let text = piece.repeat((8 << 10) / piece.len());
            let told = redacted(&text);
            assert!(told.len() <= 2 * text.len() + 16, "{piece}");
        }
    }

    proptest! {
        #[test]
        fn planted_secrets_never_survive(
            before in "[ -~\u{e9}\n]{0,40}",
            after in "[ -~\u{e9}\n]{0,40}",
            which in 0_usize..8,
            tail in "[A-Za-z0-9]{20,60}",
            digits in "[1-9][0-9]{14}",
        ) {
            let secret = match which {
                0 => format!("sk-{tail}"),
                1 => format!("oc-{tail}"),
                2 => format!("ghp_{tail}"),
                3 => format!("AKIA{tail}"),
                4 => format!("-----BEGIN PRIVATE KEY-----\n{tail}\n-----END PRIVATE KEY-----"),
                5 => format!("{tail}@example.org"),
                6 => format!("Bearer {tail}"),
                _ => {
                    let digits: Vec<u8> = digits.bytes().map(|byte| byte - b'0').collect();
                    let check = (0..10).find(|check| {
                        let mut digits = digits.clone();
                        digits.push(*check);
                        luhn(&digits)
                    });
                    digits.iter().chain(&check).map(ToString::to_string).collect()
                }
            };
            // A blank on each side: what stands in front of a secret may be a part of a longer one.
            let text = format!("{before} {secret} {after}");
            let told = redacted(&text);
            let needle = match which {
                4..=6 => &tail,
                _ => &secret,
            };
            prop_assert!(!told.contains(needle.as_str()), "{text}\n{told}");
            prop_assert!(!redacted(&told).contains(needle.as_str()));
        }
    }
}
