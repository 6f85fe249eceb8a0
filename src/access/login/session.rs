//! What a browser keeps: a login that has begun, and a session.
//!
//! Both are cookies that only we can read ([`sealed`]), bound to one provider and client. A session
//! that is too large for one cookie is cut into two; more would not fit into a field of a request.

use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::tokens::sealed;
use crate::conf::typed::access::Login;
use crate::http::head::{Fields, Known};
use crate::http::variables::cookie_value;

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

    fn cookie_name(login: &Login, state: &str) -> String {
        format!("{}_{}", login.cookie, state.get(..8).unwrap_or_default())
    }

    /// The value of `Set-Cookie`.
    pub fn cookie(&self, login: &Login, way: Way) -> Option<String> {
        let text = serde_json::to_vec(self).ok()?;
        let sealed = sealed::seal(&purpose("login", login), &text)?;
        Some(set_cookie(
            &Self::cookie_name(login, &self.state),
            &sealed,
            &login.redirect_path,
            PATIENCE.as_secs(),
            way,
        ))
    }

    /// The one that the provider names, if it began in this browser and has not ended.
    pub fn read(login: &Login, state: &str, fields: &Fields, now: Duration) -> Option<Self> {
        let sealed = cookie(fields, &Self::cookie_name(login, state))?;
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
        let name = Self::cookie_name(login, &self.state);
        set_cookie(&name, "", &login.redirect_path, 0, way)
    }
}

/// The values of `Set-Cookie` of a session; `None` if there is too much to say.
pub fn cookies(
    login: &Login,
    claims: &Map<String, Value>,
    now: Duration,
    way: Way,
) -> Option<Vec<String>> {
    let seal = |claims: &Map<String, Value>| {
        let session = Session {
            ends: (now + login.session).as_secs(),
            claims: claims.clone(),
        };
        let text = serde_json::to_vec(&session).ok()?;
        sealed::seal(&purpose("session", login), &text)
    };
    let mut sealed = seal(claims)?;
    if sealed.len() > CHUNK * MOST_CHUNKS {
        let mut fewer = claims.clone();
        fewer.retain(|name, _| WORTH_KEEPING.contains(&&**name));
        sealed = seal(&fewer)?;
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
    let cookies = chunks
        .iter()
        .enumerate()
        .map(|(number, chunk)| match number {
            // How many there are: another may be left of an earlier session.
            0 => set_cookie(
                &login.cookie,
                &format!("{}.{chunk}", chunks.len()),
                "/",
                lifetime,
                way,
            ),
            _ => set_cookie(
                &format!("{}_{number}", login.cookie),
                chunk,
                "/",
                lifetime,
                way,
            ),
        });
    Some(cookies.collect())
}

/// What the session of a request says, if it has one.
pub fn read(login: &Login, fields: &Fields, now: Duration) -> Option<Map<String, Value>> {
    let first = cookie(fields, &login.cookie)?;
    let (count, first) = first.split_at_checked(2)?;
    let mut sealed = first.to_vec();
    match count {
        b"1." => {}
        b"2." => sealed.extend_from_slice(cookie(fields, &format!("{}_1", login.cookie))?),
        _ => return None,
    }
    let text = sealed::open(&purpose("session", login), &sealed)?;
    let session: Session = serde_json::from_slice(&text).ok()?;
    (now.as_secs() < session.ends).then_some(session.claims)
}

/// Takes the session away.
pub fn clearing(login: &Login, way: Way) -> Vec<String> {
    (0..MOST_CHUNKS)
        .map(|number| match number {
            0 => set_cookie(&login.cookie, "", "/", 0, way),
            _ => set_cookie(&format!("{}_{number}", login.cookie), "", "/", 0, way),
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

fn cookie<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let value = fields
        .all(Known::Cookie)
        .find_map(|field| cookie_value(field, name.as_bytes()));
    value.map(<[u8]>::trim_ascii)
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
        let set = cookies(&own, &who, NOW, Way::Secure).expect("small");
        assert_eq!(set.len(), 1);
        assert!(set[0].ends_with("; Path=/; Max-Age=28800; HttpOnly; SameSite=Lax; Secure"));
        assert!(!set[0].contains("ann"));
        let fields = next(&set);
        assert_eq!(read(&own, &fields, NOW), Some(who));
        assert_eq!(read(&own, &fields, NOW + Duration::from_secs(28_800)), None);
        assert_eq!(read(&other, &fields, NOW), None);
        assert_eq!(read(&own, &next(&clearing(&own, Way::Clear)), NOW), None);
        assert_eq!(read(&own, &Fields::default(), NOW), None);
    }

    #[test]
    fn a_large_session_is_cut_in_two_and_what_is_too_much_left_out() {
        let own = login("one");
        let long = claims(&format!(r#"{{"sub":"ann","x":"{}"}}"#, "y".repeat(4000)));
        let set = cookies(&own, &long, NOW, Way::Clear).expect("fits");
        assert_eq!(set.len(), 2);
        assert_eq!(read(&own, &next(&set), NOW), Some(long));
        assert_eq!(read(&own, &next(&set[..1]), NOW), None);
        let longer = claims(&format!(r#"{{"sub":"ann","x":"{}"}}"#, "y".repeat(9000)));
        let set = cookies(&own, &longer, NOW, Way::Clear).expect("fits");
        assert_eq!(
            read(&own, &next(&set), NOW),
            Some(claims(r#"{"sub":"ann"}"#))
        );
        let hopeless = claims(&format!(r#"{{"sub":"{}"}}"#, "y".repeat(9000)));
        assert_eq!(cookies(&own, &hopeless, NOW, Way::Clear), None);
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
        let read = |state: &str, now| Begun::read(&own, state, &fields, now);
        assert_eq!(
            read(&begun.state, NOW).map(|found| found.verifier),
            Some(begun.verifier.clone())
        );
        assert!(read(&begun.state, NOW + PATIENCE).is_none());
        assert!(read(&format!("{}x", begun.state), NOW).is_none());
        assert!(read("", NOW).is_none() && read("ä", NOW).is_none());
        assert!(Begun::read(&login("two"), &begun.state, &fields, NOW).is_none());
        // A session is no login.
        let session = cookies(&own, &Map::new(), NOW, Way::Clear).expect("small");
        let swapped = session[0].replacen(
            &format!("{}=1.", own.cookie),
            &format!("{}_{}=", own.cookie, &begun.state[..8]),
            1,
        );
        assert!(Begun::read(&own, &begun.state, &next(&[swapped]), NOW).is_none());
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
