//! What a browser keeps: a login that has begun, and a session.
//!
//! Both are cookies that only we can read ([`sealed`]), bound to one provider and client. A session
//! that is too large for one cookie is cut into two; more would not fit into a field of a request.

use std::borrow::Cow;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::tokens::sealed;
use crate::conf::typed::access::Login;
use crate::http::head::{Fields, Known};

/// How long somebody may take to log in.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// As much of a session stands in one cookie; browsers take some 4096 bytes with its name.
const CHUNK: usize = 3500;

/// So many cookies make up a session.
const MOST_CHUNKS: usize = 2;

/// What is kept of a session that is too large otherwise.
const WORTH_KEEPING: &[&str] = &[
    "sub",
    "email",
    "email_verified",
    "name",
    "preferred_username",
    "groups",
    "roles",
];

/// The longest target that is gone back to after a login.
const LONGEST_TARGET: usize = 1500;

/// So many letters of its state name a login that has begun.
const NAMED: usize = 8;

/// So many bytes of logins that have begun are left to a browser; of a request it has some 8 KiB.
const ROOM: usize = 2500;

/// So many of them are taken away at a time.
const MOST_FORGOTTEN: usize = 16;

/// A login that has begun.
#[derive(Serialize, Deserialize)]
pub struct Begun {
    /// What the provider gives back; names this login.
    pub state: String,
    /// What stands in the token that is meant for this login.
    pub nonce: String,
    /// What proves that whoever brings the code asked for it (RFC 7636).
    pub verifier: String,
    /// Where to go afterwards.
    pub target: String,
    /// Until when, in seconds since 1970.
    ends: u64,
}

/// A session.
#[derive(Serialize, Deserialize)]
struct Session {
    ends: u64,
    claims: Map<String, Value>,
    /// The provider's token, for when it is to end the session too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

/// Is the connection to the client secured, so that cookies may be bound to that?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// HTTPS.
    Secure,
    /// HTTP.
    Clear,
}

fn purpose(kind: &str, login: &Login) -> Vec<u8> {
    [kind, &login.issuer, &login.client_id]
        .join("\0")
        .into_bytes()
}

/// Random characters that an address may have. `None` without randomness.
fn random<const BYTES: usize>() -> Option<String> {
    let mut bytes = [0; BYTES];
    aws_lc_rs::rand::fill(&mut bytes).ok()?;
    Some(BASE64URL_NOPAD.encode(&bytes))
}

impl Begun {
    /// Begins one that leads back to this target; to `/` if that is none of our own.
    pub fn new(target: &[u8], now: Duration) -> Option<Self> {
        let is_own = target.starts_with(b"/")
            && !matches!(target.get(1), Some(b'/' | b'\\'))
            && target.len() <= LONGEST_TARGET
            && target.iter().all(u8::is_ascii_graphic);
        Some(Self {
            state: random::<16>()?,
            nonce: random::<16>()?,
            verifier: random::<32>()?,
            target: match is_own {
                true => String::from_utf8_lossy(target).into_owned(),
                false => "/".to_owned(),
            },
            ends: (now + PATIENCE).as_secs(),
        })
    }

    /// The proof's digest, which the provider is shown first.
    pub fn challenge(&self) -> String {
        use sha2::Digest as _;
        BASE64URL_NOPAD.encode(&sha2::Sha256::digest(self.verifier.as_bytes()))
    }

    /// Takes away the logins that began first, where so many have begun that their cookies would
    /// soon be too much for a request: a browser with many tabs, or a page that asks again and again.
    pub fn forgetting(login: &Login, fields: &Fields, way: Way) -> Vec<String> {
        let prefix = format!("{}_", name(login, way));
        let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let begun = pairs(fields).filter_map(|(name, value)| {
            let id = name.strip_prefix(prefix.as_bytes())?;
            let is_begun = id.len() == NAMED && id.iter().all(|&byte| is_of_name(byte));
            let name = std::str::from_utf8(name).ok().filter(|_| is_begun)?;
            Some((name, name.len() + value.len()))
        });
        let begun: Vec<(&str, usize)> = begun.collect();
        let mut kept = 0;
        // Browsers send the oldest first (RFC 6265 section 5.4).
        let over = begun.iter().rev().filter(|(_, size)| {
            kept += size;
            kept > ROOM
        });
        over.take(MOST_FORGOTTEN)
            .map(|(name, _)| set_cookie(name, "", path(login, way), 0, way))
            .collect()
    }

    fn cookie_name(login: &Login, state: &str, way: Way) -> String {
        let state = state.get(..NAMED).unwrap_or_default();
        format!("{}_{state}", name(login, way))
    }

    /// The value of `Set-Cookie`.
    pub fn cookie(&self, login: &Login, way: Way) -> Option<String> {
        let text = serde_json::to_vec(self).ok()?;
        let sealed = sealed::seal(&purpose("login", login), &text)?;
        Some(set_cookie(
            &Self::cookie_name(login, &self.state, way),
            &sealed,
            path(login, way),
            PATIENCE.as_secs(),
            way,
        ))
    }

    /// The one that the provider names, if it began in this browser and has not ended.
    pub fn read(
        login: &Login,
        state: &str,
        fields: &Fields,
        now: Duration,
        way: Way,
    ) -> Option<Self> {
        let sealed = cookie(fields, &Self::cookie_name(login, state, way))?;
        let text = sealed::open(&purpose("login", login), sealed)?;
        let begun: Self = serde_json::from_slice(&text).ok()?;
        let is_same = aws_lc_rs::constant_time::verify_slices_are_equal(
            begun.state.as_bytes(),
            state.as_bytes(),
        );
        (is_same.is_ok() && now.as_secs() < begun.ends).then_some(begun)
    }

    /// Takes the cookie away: a login is good for once.
    pub fn clearing(&self, login: &Login, way: Way) -> String {
        let name = Self::cookie_name(login, &self.state, way);
        set_cookie(&name, "", path(login, way), 0, way)
    }
}

/// The name of the cookie of a session. Over TLS one with the prefix that keeps other hosts of the same
/// domain, and whoever is in between without TLS, from putting a session of theirs in its place
/// (RFC 6265bis section 4.1.3.2).
fn name(login: &Login, way: Way) -> Cow<'_, str> {
    match way {
        Way::Secure if !login.cookie.starts_with("__") => {
            Cow::Owned(format!("__Host-{}", login.cookie))
        }
        _ => Cow::Borrowed(&login.cookie),
    }
}

/// The path of the cookie of a login that has begun: where it ends, unless the prefix of its name asks
/// for all paths.
fn path(login: &Login, way: Way) -> &str {
    match name(login, way).starts_with("__Host-") {
        true => "/",
        false => &login.redirect_path,
    }
}

/// The values of `Set-Cookie` of a session; `None` if there is too much to say. The token is left out
/// first.
pub fn cookies(
    login: &Login,
    claims: &Map<String, Value>,
    token: Option<&str>,
    now: Duration,
    way: Way,
) -> Option<Vec<String>> {
    let seal = |claims: &Map<String, Value>, token: Option<&str>| {
        let session = Session {
            ends: (now + login.session).as_secs(),
            claims: claims.clone(),
            token: token.map(str::to_owned),
        };
        let text = serde_json::to_vec(&session).ok()?;
        sealed::seal(&purpose("session", login), &text)
    };
    let is_too_long = |sealed: &str| sealed.len() > CHUNK * MOST_CHUNKS;
    let mut sealed = seal(claims, token)?;
    if is_too_long(&sealed) && token.is_some() {
        sealed = seal(claims, None)?;
    }
    if is_too_long(&sealed) {
        let mut fewer = claims.clone();
        fewer.retain(|name, _| WORTH_KEEPING.contains(&&**name));
        sealed = seal(&fewer, None)?;
    }
    // Of letters, digits, `-` and `_` only.
    let chunks: Vec<&str> = (0..sealed.len())
        .step_by(CHUNK)
        .map(|start| &sealed[start..sealed.len().min(start + CHUNK)])
        .collect();
    if chunks.len() > MOST_CHUNKS {
        return None;
    }
    let lifetime = login.session.as_secs();
    let name = name(login, way);
    let cookies = chunks
        .iter()
        .enumerate()
        .map(|(number, chunk)| match number {
            // How many there are: another may be left of an earlier session.
            0 => set_cookie(
                &name,
                &format!("{}.{chunk}", chunks.len()),
                "/",
                lifetime,
                way,
            ),
            _ => set_cookie(&format!("{name}_{number}"), chunk, "/", lifetime, way),
        });
    Some(cookies.collect())
}

/// What the session of a request says, if it has one.
pub fn read(login: &Login, fields: &Fields, now: Duration, way: Way) -> Option<Map<String, Value>> {
    session(login, fields, now, way).map(|session| session.claims)
}

/// The provider's token of the session of a request, if it is kept.
pub fn token(login: &Login, fields: &Fields, now: Duration, way: Way) -> Option<String> {
    session(login, fields, now, way)?.token
}

fn session(login: &Login, fields: &Fields, now: Duration, way: Way) -> Option<Session> {
    let name = name(login, way);
    let first = cookie(fields, &name)?;
    let (count, first) = first.split_at_checked(2)?;
    let mut sealed = first.to_vec();
    match count {
        b"1." => {}
        b"2." => sealed.extend_from_slice(cookie(fields, &format!("{name}_1"))?),
        _ => return None,
    }
    let text = sealed::open(&purpose("session", login), &sealed)?;
    let session: Session = serde_json::from_slice(&text).ok()?;
    (now.as_secs() < session.ends).then_some(session)
}

/// Takes the session away.
pub fn clearing(login: &Login, way: Way) -> Vec<String> {
    let name = name(login, way);
    (0..MOST_CHUNKS)
        .map(|number| match number {
            0 => set_cookie(&name, "", "/", 0, way),
            _ => set_cookie(&format!("{name}_{number}"), "", "/", 0, way),
        })
        .collect()
}

fn set_cookie(name: &str, value: &str, path: &str, lifetime: u64, way: Way) -> String {
    let secure = match way {
        Way::Secure => "; Secure",
        Way::Clear => "",
    };
    // Lax: the provider sends the browser back from elsewhere.
    format!("{name}={value}; Path={path}; Max-Age={lifetime}; HttpOnly; SameSite=Lax{secure}")
}

/// The value of a cookie of exactly this name: what guards `__Host-` in a browser may let `__host-`
/// pass, which another host can set.
fn cookie<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let mut pairs = pairs(fields);
    let found = pairs.find(|(own, _)| *own == name.as_bytes());
    found.map(|(_, value)| value)
}

/// The names and values of the cookies of a request.
fn pairs(fields: &Fields) -> impl Iterator<Item = (&[u8], &[u8])> {
    let pairs = fields
        .all(Known::Cookie)
        .flat_map(|field| field.split(|&byte| byte == b';'));
    pairs.filter_map(|pair| {
        let equals = memchr::memchr(b'=', pair)?;
        Some((pair[..equals].trim_ascii(), pair[equals + 1..].trim_ascii()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn login(client: &str) -> Login {
        Login {
            client_id: client.into(),
            ..Login::named("test", "https://id.test")
        }
    }

    #[test]
    fn of_very_many_logins_that_begin_the_first_are_forgotten() {
        let login = login("a");
        for way in [Way::Clear, Way::Secure] {
            let mut jar: Vec<String> = Vec::new();
            let mut states = Vec::new();
            for number in 0..100 {
                let fields = next(&jar);
                let forgotten = Begun::forgetting(&login, &fields, way);
                jar.retain(|cookie| {
                    let name = cookie.split('=').next().expect("a name");
                    !forgotten
                        .iter()
                        .any(|gone| gone.starts_with(&format!("{name}=;")))
                });
                let target = format!("/{number}/{}", "x".repeat(number * 3));
                let begun = Begun::new(target.as_bytes(), NOW).expect("begun");
                jar.push(begun.cookie(&login, way).expect("sealed"));
                states.push(begun.state);
                let size: usize = next(&jar).all(Known::Cookie).map(<[u8]>::len).sum();
                assert!(size < 2 * ROOM, "{number}: {size}");
            }
            let read = |state: &String| Begun::read(&login, state, &next(&jar), NOW, way);
            assert!(read(&states[99]).is_some() && read(&states[98]).is_some());
            assert!(read(&states[0]).is_none());
        }
        // What is none of them stays.
        let mut fields = Fields::default();
        let long = "x".repeat(4000);
        let session = format!("{0}=1.{long}; {0}_1={long}; other={long}", login.cookie);
        fields.push(b"Cookie", session.as_bytes());
        assert!(Begun::forgetting(&login, &fields, Way::Clear).is_empty());
    }

    #[test]
    fn a_cookie_of_another_spelling_is_none() {
        let login = login("a");
        let claims = Map::from_iter([("sub".to_owned(), Value::from("ann"))]);
        let cookies = cookies(&login, &claims, None, NOW, Way::Secure).expect("sealed");
        assert!(read(&login, &next(&cookies), NOW, Way::Secure).is_some());
        let others: Vec<String> = (cookies.iter())
            .map(|cookie| cookie.replace("__Host-", "__host-"))
            .collect();
        assert!(read(&login, &next(&others), NOW, Way::Secure).is_none());
    }

    /// The fields of the next request of a browser.
    fn next(cookies: &[String]) -> Fields {
        let mut fields = Fields::default();
        let pairs = cookies.iter().filter_map(|cookie| cookie.split(';').next());
        fields.push(b"Cookie", pairs.collect::<Vec<_>>().join("; ").as_bytes());
        fields
    }

    fn claims(text: &str) -> Map<String, Value> {
        serde_json::from_str(text).expect("an object")
    }

    #[test]
    fn a_session_lasts_for_its_time_and_for_its_client() {
        let (own, other) = (login("one"), login("two"));
        let who = claims(r#"{"sub":"ann","groups":["a"]}"#);
        let set = cookies(&own, &who, None, NOW, Way::Secure).expect("small");
        assert_eq!(set.len(), 1);
        assert!(set[0].ends_with("; Path=/; Max-Age=28800; HttpOnly; SameSite=Lax; Secure"));
        assert!(!set[0].contains("ann"));
        let fields = next(&set);
        let secure = |login, fields: &Fields, now| read(login, fields, now, Way::Secure);
        assert_eq!(secure(&own, &fields, NOW), Some(who.clone()));
        assert_eq!(
            secure(&own, &fields, NOW + Duration::from_secs(28_800)),
            None
        );
        assert_eq!(secure(&other, &fields, NOW), None);
        assert_eq!(secure(&own, &next(&clearing(&own, Way::Secure)), NOW), None);
        assert_eq!(secure(&own, &Fields::default(), NOW), None);
        // Whoever is on the way without TLS, or on a host beside this one, sets no session.
        assert!(set[0].starts_with("__Host-OPENCLAW_SESSION=1."));
        let clear = cookies(&own, &who, None, NOW, Way::Clear).expect("small");
        assert!(clear[0].starts_with("OPENCLAW_SESSION=1."));
        assert_eq!(secure(&own, &next(&clear), NOW), None);
    }

    #[test]
    fn a_large_session_is_cut_in_two_and_what_is_too_much_left_out() {
        let own = login("one");
        let long = claims(&format!(r#"{{"sub":"ann","x":"{}"}}"#, "y".repeat(4000)));
        let set = cookies(&own, &long, None, NOW, Way::Clear).expect("fits");
        assert_eq!(set.len(), 2);
        assert_eq!(read(&own, &next(&set), NOW, Way::Clear), Some(long.clone()));
        assert_eq!(read(&own, &next(&set[..1]), NOW, Way::Clear), None);
        // The provider's token stays where there is room for it, and is the first to go.
        let small = claims(r#"{"sub":"ann"}"#);
        let kept = |claims: &Map<String, Value>, size| {
            let hint = "t".repeat(size);
            let set = cookies(&own, claims, Some(&hint), NOW, Way::Clear).expect("fits");
            let fields = next(&set);
            assert_eq!(read(&own, &fields, NOW, Way::Clear).as_ref(), Some(claims));
            token(&own, &fields, NOW, Way::Clear).map(|token| token.len())
        };
        assert_eq!(kept(&small, 1500), Some(1500));
        assert_eq!(kept(&small, 6000), None);
        assert_eq!(kept(&long, 1500), None);
        let longer = claims(&format!(r#"{{"sub":"ann","x":"{}"}}"#, "y".repeat(9000)));
        let set = cookies(&own, &longer, None, NOW, Way::Clear).expect("fits");
        assert_eq!(
            read(&own, &next(&set), NOW, Way::Clear),
            Some(claims(r#"{"sub":"ann"}"#))
        );
        let hopeless = claims(&format!(r#"{{"sub":"{}"}}"#, "y".repeat(9000)));
        assert_eq!(cookies(&own, &hopeless, None, NOW, Way::Clear), None);
    }

    #[test]
    fn a_login_ends_where_it_began_and_leads_to_own_places_only() {
        let own = login("one");
        for (target, kept) in [
            ("/a?b=c", "/a?b=c"),
            ("//evil.test/", "/"),
            ("/\\evil.test/", "/"),
            ("https://evil.test/", "/"),
            ("", "/"),
            ("/a b", "/"),
        ] {
            let begun = Begun::new(target.as_bytes(), NOW).expect("random");
            assert_eq!(begun.target, kept, "{target}");
        }
        let begun = Begun::new(b"/a", NOW).expect("random");
        let fields = next(&[begun.cookie(&own, Way::Clear).expect("sealed")]);
        let read = |state: &str, now| Begun::read(&own, state, &fields, now, Way::Clear);
        assert_eq!(
            read(&begun.state, NOW).map(|found| found.verifier),
            Some(begun.verifier.clone())
        );
        assert!(read(&begun.state, NOW + PATIENCE).is_none());
        assert!(read(&format!("{}x", begun.state), NOW).is_none());
        assert!(read("", NOW).is_none() && read("ä", NOW).is_none());
        assert!(Begun::read(&login("two"), &begun.state, &fields, NOW, Way::Clear).is_none());
        // A session is no login.
        let session = cookies(&own, &Map::new(), None, NOW, Way::Clear).expect("small");
        let swapped = session[0].replacen(
            &format!("{}=1.", own.cookie),
            &format!("{}_{}=", own.cookie, &begun.state[..8]),
            1,
        );
        assert!(Begun::read(&own, &begun.state, &next(&[swapped]), NOW, Way::Clear).is_none());
    }

    #[test]
    fn the_proof_is_that_of_rfc_7636() {
        let begun = Begun {
            state: String::new(),
            nonce: String::new(),
            verifier: "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned(),
            target: String::new(),
            ends: 0,
        };
        assert_eq!(
            begun.challenge(),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }
}
