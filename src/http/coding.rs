//! Content codings, and which of them a client takes (RFC 9110 sections 8.4.1 and 12.5.3).

use super::date;
use super::exchange::Exchange;
use super::head::{Fields, Known, Version};
use crate::conf::typed::filters::{GzipClients, Proxied};
use crate::unit::clock;

/// A coding that bodies are compressed with.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[expect(missing_docs, reason = "each variant is named after its coding")]
pub enum Coding {
    Gzip,
    Brotli,
    Zstd,
}

impl Coding {
    /// Every coding, the best first: what is taken where a client likes several alike.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// As in `Content-Encoding`.
    pub fn token(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }
}

/// How much went into a compressor, and what came out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compressed {
    /// With which coding.
    pub coding: Coding,
    /// Bytes that went in.
    pub received: u64,
    /// Bytes that came out.
    pub sent: u64,
}

impl Compressed {
    /// How often what came out fits in what went in, in hundredths (`$gzip_ratio`); `None` if nothing
    /// came out.
    pub fn ratio(&self) -> Option<u64> {
        let thousandths = self.received.saturating_mul(1000).checked_div(self.sent)?;
        Some((thousandths + 5) / 10)
    }
}

/// The greatest weight: `q=1` in thousandths.
const MOST: u16 = 1000;

/// What a client takes: weights in thousandths, 0 where it refuses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Accepted {
    /// As named, by the number of the coding.
    named: [Option<u16>; 3],
    /// `identity`: the body as it is.
    identity: Option<u16>,
    /// `*`: whatever is not named.
    others: Option<u16>,
}

impl Accepted {
    /// Reads all `Accept-Encoding` fields of a request.
    pub fn of(fields: &Fields) -> Self {
        let mut accepted = Self::default();
        for value in fields.all(Known::AcceptEncoding) {
            accepted.read(value);
        }
        accepted
    }

    /// Reads one field. Of a coding that is named twice the first weight counts.
    pub fn read(&mut self, value: &[u8]) {
        for element in value.split(|&byte| byte == b',') {
            let mut parts = element.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let name = parts.next().unwrap_or_default();
            let is = |token: &str| name.eq_ignore_ascii_case(token.as_bytes());
            let place = if is("gzip") || is("x-gzip") {
                &mut self.named[Coding::Gzip as usize]
            } else if is("br") {
                &mut self.named[Coding::Brotli as usize]
            } else if is("zstd") {
                &mut self.named[Coding::Zstd as usize]
            } else if is("identity") {
                &mut self.identity
            } else if is("*") {
                &mut self.others
            } else {
                continue;
            };
            let weight = parts.find_map(|part| {
                let (name, value) = part.split_at(part.iter().position(|&byte| byte == b'=')?);
                (name.trim_ascii().eq_ignore_ascii_case(b"q"))
                    .then(|| weight(value[1..].trim_ascii()))
            });
            place.get_or_insert(weight.unwrap_or(MOST));
        }
    }

    /// How much the client likes a coding; 0 if it does not take it.
    pub fn weight(&self, coding: Coding) -> u16 {
        self.named[coding as usize].or(self.others).unwrap_or(0)
    }

    /// Would the client have the body as it is rather than in a coding that it likes this much?
    pub fn prefers_identity(&self, weight: u16) -> bool {
        self.identity.is_some_and(|identity| identity > weight)
    }

    /// Does the client refuse the body as it is?
    pub fn refuses_identity(&self) -> bool {
        self.identity.or(self.others.filter(|&weight| weight == 0)) == Some(0)
    }
}

/// May an answer be sent in gzip to whoever asks, if they take it (nginx `ngx_http_gzip_ok`)? To be
/// asked when the answer has its fields: for a request of a proxy they decide.
pub fn may_be_gzip(exchange: &Exchange, clients: &GzipClients) -> bool {
    let request = &exchange.head.fields;
    let oldest = match clients.http10 {
        true => Version::Http10,
        false => Version::Http11,
    };
    if exchange.version() < oldest {
        return false;
    }
    if request.has(Known::Via) && !may_be_proxied(exchange, clients.proxied) {
        return false;
    }
    if !clients.disable_msie6 && clients.disable.is_empty() {
        return true;
    }
    let Some(agent) = request.known(Known::UserAgent) else {
        return true;
    };
    let is_disabled = (clients.disable_msie6 && is_msie6(agent))
        || clients.disable.iter().any(|regex| regex.is_match(agent));
    !is_disabled
}

/// Does `gzip_proxied` let an answer be compressed for a proxy?
fn may_be_proxied(exchange: &Exchange, proxied: Proxied) -> bool {
    let answer = &exchange.answer;
    if proxied.has(Proxied::ANY)
        || (proxied.has(Proxied::AUTH) && exchange.head.fields.has(Known::Authorization))
    {
        return true;
    }
    if proxied == Proxied::OFF {
        return false;
    }
    if let Some(expires) = answer.known(Known::Expires) {
        let told = answer.known(Known::Date).map(date::parse);
        let now = told.unwrap_or_else(|| i64::try_from(clock::unix().as_secs()).ok());
        return proxied.has(Proxied::EXPIRED)
            && matches!((date::parse(expires), now), (Some(expires), Some(now)) if expires < now);
    }
    if answer.has(Known::CacheControl) {
        return [
            (Proxied::NO_CACHE, &b"no-cache"[..]),
            (Proxied::NO_STORE, b"no-store"),
            (Proxied::PRIVATE, b"private"),
        ]
        .iter()
        .any(|&(flag, directive)| proxied.has(flag) && says(answer, directive));
    }
    !(proxied.has(Proxied::NO_LAST_MODIFIED) && answer.has(Known::LastModified)
        || proxied.has(Proxied::NO_ETAG) && answer.has(Known::Etag))
}

/// Does `Cache-Control` hold a directive without an argument?
pub fn says(fields: &Fields, directive: &[u8]) -> bool {
    fields.all(Known::CacheControl).any(|value| {
        value
            .split(|&byte| byte == b',')
            .any(|element| element.trim_ascii().eq_ignore_ascii_case(directive))
    })
}

/// Internet Explorer 4 to 6, which could not read what it said that it takes; the one with the second
/// service pack of its system could.
fn is_msie6(agent: &[u8]) -> bool {
    memchr::memmem::find(agent, b"MSIE ").is_some_and(|place| {
        matches!(agent[place + 5..], [b'4'..=b'6', b'.', ..])
            && memchr::memmem::find(&agent[place..], b"SV1").is_none()
    })
}

/// A weight in thousandths; 0 for what is none, so that a client is sent nothing that it may not
/// understand (RFC 9110 section 12.4.2 has at most three digits behind the point).
fn weight(text: &[u8]) -> u16 {
    let (whole, fraction) = match text {
        [whole @ (b'0' | b'1')] => (whole, &b""[..]),
        [whole @ (b'0' | b'1'), b'.', fraction @ ..] => (whole, fraction),
        _ => return 0,
    };
    if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
        return 0;
    }
    let digits = fraction.iter().chain(b"000").take(3);
    let thousandths = digits.fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    match whole {
        b'0' => thousandths,
        _ if thousandths == 0 => MOST,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(value: &str) -> Accepted {
        let mut accepted = Accepted::default();
        accepted.read(value.as_bytes());
        accepted
    }

    #[test]
    fn weights_are_read_as_the_standard_has_them() {
        for (text, expected) in [
            ("1", 1000),
            ("1.000", 1000),
            ("1.", 1000),
            ("0", 0),
            ("0.", 0),
            ("0.5", 500),
            ("0.05", 50),
            ("0.001", 1),
            ("1.001", 0),
            ("0.0001", 0),
            ("2", 0),
            ("", 0),
            ("-1", 0),
            (".5", 0),
            ("0.x", 0),
        ] {
            assert_eq!(weight(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn each_coding_has_the_weight_that_its_client_gives_it() {
        let all = accepted("gzip;q=0.5, br ; Q=1.0,zstd; q = 0");
        assert_eq!(all.weight(Coding::Gzip), 500);
        assert_eq!(all.weight(Coding::Brotli), 1000);
        assert_eq!(all.weight(Coding::Zstd), 0);
        let others = accepted("X-GZIP, *;q=0.1");
        assert_eq!(others.weight(Coding::Gzip), 1000);
        assert_eq!(others.weight(Coding::Brotli), 100);
        for nothing in ["", "deflate", "gzip;q=x", "gzipped", "gzip;q=0,gzip"] {
            assert_eq!(accepted(nothing).weight(Coding::Gzip), 0, "{nothing}");
        }
    }

    #[test]
    fn the_body_as_it_is_can_be_liked_better_or_refused() {
        assert!(accepted("gzip;q=0.5, identity").prefers_identity(500));
        assert!(!accepted("gzip, identity").prefers_identity(1000));
        assert!(!accepted("gzip;q=0.5").prefers_identity(500));
        for refuses in ["identity;q=0", "gzip, *;q=0", "identity;q=0, *"] {
            assert!(accepted(refuses).refuses_identity(), "{refuses}");
        }
        for takes in ["", "gzip", "identity;q=0.1, *;q=0", "*"] {
            assert!(!accepted(takes).refuses_identity(), "{takes}");
        }
    }
}
