//! The provider: what it says of itself, its keys, and the token for a code.
//!
//! One per worker. What it says is fetched when first needed and again after an hour; while it cannot
//! be reached, what is known goes on for a day. Invariant: nothing that it sends is unbounded, and no
//! error names a code, a token or a secret.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use data_encoding::BASE64;
use http::{Method, Request, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::super::tokens::jwt::{self, Disbelief};
use super::super::tokens::keys::KeySet;
use super::session::Begun;
use crate::conf::typed::access::Login;
use crate::net::resolver::Resolver;
use crate::tls::fetch::{Fetcher, Limits, Trust};

/// What is known is fetched again after this time.
const FRESH: Duration = Duration::from_secs(3600);

/// And is used for so long if that fails.
const USABLE: Duration = Duration::from_secs(24 * 3600);

/// After a failure, and for a key that is not known, it is not asked again for so long.
pub const PAUSE: Duration = Duration::from_secs(10);

/// An exchange with it is no longer and no larger.
const LIMITS: Limits = Limits {
    timeout: Duration::from_secs(10),
    body: 1 << 20,
};

/// How far its clock and ours may be apart.
const LEEWAY: Duration = Duration::from_secs(60);

/// What a provider says of itself (OpenID Connect Discovery section 3).
#[derive(Debug, Deserialize)]
struct Metadata {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
    userinfo_endpoint: Option<String>,
    end_session_endpoint: Option<String>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

/// The token endpoint's answer.
#[derive(Deserialize)]
struct Answer {
    id_token: Option<String>,
    access_token: Option<String>,
    error: Option<String>,
}

#[derive(Debug)]
struct Known {
    metadata: Metadata,
    keys: KeySet,
    fetched: Instant,
}

/// Who came back with a code.
pub struct Redeemed {
    /// What is known of them.
    pub claims: Map<String, Value>,
    /// The token that says so.
    pub token: String,
}

/// A provider as a worker knows it.
#[derive(Debug)]
pub struct Provider {
    login: Arc<Login>,
    fetcher: Fetcher,
    known: RefCell<Option<Rc<Known>>>,
    failed: RefCell<Option<(Instant, String)>>,
    /// Only one asks at a time; who waits finds what it found.
    turn: Mutex<()>,
}

impl Provider {
    /// One that is asked with the names that the resolver knows.
    pub fn new(login: Arc<Login>, resolver: Resolver) -> Result<Self, String> {
        let trust = match (&login.trusted, login.verify) {
            (_, false) => Trust::Anything,
            (Some(path), true) => Trust::roots("ssl_trusted_certificate", path)?,
            (None, true) => Trust::System,
        };
        let fetcher = Fetcher::with_resolver(trust, resolver).map_err(|error| error.to_string())?;
        Ok(Self {
            login,
            fetcher,
            known: RefCell::default(),
            failed: RefCell::default(),
            turn: Mutex::default(),
        })
    }

    /// What is known of it, no older than an hour if it can be reached; with `anew` no older than a
    /// moment.
    async fn known(&self, anew: bool) -> Result<Rc<Known>, String> {
        let is_fresh =
            |known: &Rc<Known>| known.fetched.elapsed() < if anew { PAUSE } else { FRESH };
        if let Some(known) = self.known.borrow().as_ref().filter(|known| is_fresh(known)) {
            return Ok(Rc::clone(known));
        }
        let _turn = self.turn.lock().await;
        let known = self.known.borrow().clone();
        if let Some(known) = known.as_ref().filter(|known| is_fresh(known)) {
            return Ok(Rc::clone(known));
        }
        let failed = self.failed.borrow().clone();
        let fetched = match failed.filter(|(at, _)| at.elapsed() < PAUSE) {
            Some((_, why)) => Err(why),
            None => self.fetch().await,
        };
        match fetched {
            Ok(fetched) => {
                let fetched = Rc::new(fetched);
                *self.known.borrow_mut() = Some(Rc::clone(&fetched));
                *self.failed.borrow_mut() = None;
                Ok(fetched)
            }
            Err(why) => {
                let mut failed = self.failed.borrow_mut();
                if failed.as_ref().is_none_or(|(at, _)| at.elapsed() >= PAUSE) {
                    *failed = Some((Instant::now(), why.clone()));
                }
                known
                    .filter(|known| known.fetched.elapsed() < USABLE)
                    .ok_or(why)
            }
        }
    }

    async fn fetch(&self) -> Result<Known, String> {
        let address = match &self.login.config_url {
            Some(address) => address.to_string(),
            None => format!(
                "{}/.well-known/openid-configuration",
                self.login.issuer.trim_end_matches('/')
            ),
        };
        let metadata: Metadata = self.get(&address, None).await?;
        // It speaks for itself only (section 4.3).
        if metadata.issuer.trim_end_matches('/') != self.login.issuer.trim_end_matches('/') {
            return Err("it says that it is another issuer".to_owned());
        }
        let is_clear = self.login.issuer.starts_with("http://");
        let all = [
            Some(&metadata.authorization_endpoint),
            Some(&metadata.token_endpoint),
            Some(&metadata.jwks_uri),
            metadata.userinfo_endpoint.as_ref(),
            metadata.end_session_endpoint.as_ref(),
        ];
        let is_fine = |address: &&String| {
            let scheme =
                address.starts_with("https://") || is_clear && address.starts_with("http://");
            scheme && address.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if !all.iter().flatten().all(is_fine) {
            return Err("it names addresses that are not https".to_owned());
        }
        let keys: Value = self.get(&metadata.jwks_uri, None).await?;
        let keys = KeySet::parse(keys.to_string().as_bytes()).ok_or("its keys cannot be read")?;
        Ok(Known {
            metadata,
            keys,
            fetched: Instant::now(),
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        address: &str,
        bearer: Option<&str>,
    ) -> Result<T, String> {
        let mut request = Request::get(address).header(header::ACCEPT, "application/json");
        if let Some(token) = bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request
            .body(Bytes::new())
            .map_err(|_| "an address is none")?;
        self.send(request)
            .await
            .and_then(|(status, body)| match status {
                200 => serde_json::from_slice(&body)
                    .map_err(|_| "its answer cannot be read".to_owned()),
                status => Err(format!("it answers with {status}")),
            })
    }

    async fn send(&self, request: Request<Bytes>) -> Result<(u16, Bytes), String> {
        let answer = self.fetcher.send(request, LIMITS).await;
        let answer = answer.map_err(|error| match std::error::Error::source(&error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        })?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    /// Where a browser is sent to log in.
    pub async fn place(&self, begun: &Begun, redirect: &str) -> Result<String, String> {
        let known = self.known(false).await?;
        let login = &self.login;
        let mut address = known.metadata.authorization_endpoint.clone();
        let mut pairs = vec![
            ("response_type", "code"),
            ("client_id", &login.client_id),
            ("redirect_uri", redirect),
            ("scope", &login.scope),
            ("state", &begun.state),
            ("nonce", &begun.nonce),
        ];
        let challenge = begun.challenge();
        if login.pkce {
            pairs.extend([
                ("code_challenge", &*challenge),
                ("code_challenge_method", "S256"),
            ]);
        }
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(&form(&pairs));
        if !login.extra_arguments.is_empty() {
            address.push('&');
            address.push_str(&login.extra_arguments);
        }
        Ok(address)
    }

    /// Who somebody is who came back with a code.
    pub async fn redeem(
        &self,
        begun: &Begun,
        code: &str,
        redirect: &str,
        secret: Option<&str>,
        now: Duration,
    ) -> Result<Redeemed, String> {
        let known = self.known(false).await?;
        let login = &self.login;
        let mut pairs = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect),
        ];
        if login.pkce {
            pairs.push(("code_verifier", &begun.verifier));
        }
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&known.metadata.token_endpoint)
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        let methods = known
            .metadata
            .token_endpoint_auth_methods_supported
            .as_deref();
        // What is not said is `client_secret_basic` (section 3).
        let takes_basic = methods
            .is_none_or(|methods| methods.iter().any(|method| method == "client_secret_basic"));
        match secret {
            Some(secret) if takes_basic => {
                let pair = format!("{}:{}", encode(&login.client_id), encode(secret));
                let value = format!("Basic {}", BASE64.encode(pair.as_bytes()));
                request = request.header(header::AUTHORIZATION, value);
            }
            Some(secret) => {
                pairs.extend([("client_id", &*login.client_id), ("client_secret", secret)])
            }
            None => pairs.push(("client_id", &login.client_id)),
        }
        let request = request.body(Bytes::from(form(&pairs)));
        let request = request.map_err(|_| "the address of its tokens is none")?;
        let (status, body) = self.send(request).await?;
        let answer: Option<Answer> = serde_json::from_slice(&body).ok();
        let Some(answer) = answer.filter(|answer| status == 200 && answer.error.is_none()) else {
            let error = serde_json::from_slice::<Answer>(&body)
                .ok()
                .and_then(|answer| answer.error);
            let error: String = error.unwrap_or_default().escape_debug().take(80).collect();
            return Err(format!("it gives no token: {status} {error}"));
        };
        let id_token = answer.id_token.ok_or("its answer has no id_token")?;
        let mut claims = self.believe(&id_token, begun, now).await?;
        if login.userinfo
            && let Some(address) = &known.metadata.userinfo_endpoint
        {
            let token = answer
                .access_token
                .ok_or("its answer has no access_token")?;
            let more: Map<String, Value> = self.get(address, Some(&token)).await?;
            // Answers of different people are not to be mixed (Core section 5.3.2).
            if more.get("sub") != claims.get("sub") {
                return Err("it tells of another user than its token".to_owned());
            }
            for (name, value) in more {
                claims.entry(name).or_insert(value);
            }
        }
        Ok(Redeemed {
            claims,
            token: id_token,
        })
    }

    /// OpenID Connect Core section 3.1.3.7.
    async fn believe(
        &self,
        token: &str,
        begun: &Begun,
        now: Duration,
    ) -> Result<Map<String, Value>, String> {
        let mut known = self.known(false).await?;
        let mut verified = jwt::verify(token.as_bytes(), &known.keys, false, now, LEEWAY);
        if verified == Err(Disbelief::NoKey) {
            known = self.known(true).await?;
            verified = jwt::verify(token.as_bytes(), &known.keys, false, now, LEEWAY);
        }
        let claims = verified
            .map_err(|why| format!("its token is not believed: {}", why.words()))?
            .claims;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let client = &*self.login.client_id;
        let (is_audience, is_alone) = match claims.get("aud") {
            Some(Value::String(one)) => (one == client, true),
            Some(Value::Array(all)) => (
                all.iter().any(|one| one.as_str() == Some(client)),
                all.len() == 1,
            ),
            _ => (false, false),
        };
        let is_party = match claims.get("azp") {
            None => is_alone,
            Some(party) => party.as_str() == Some(client),
        };
        let problem = if text("iss") != Some(&known.metadata.issuer) {
            "another issuer"
        } else if !is_audience || !is_party {
            "another client"
        } else if text("nonce") != Some(&begun.nonce) {
            "another login"
        } else if !claims.contains_key("exp") {
            "all times"
        } else if text("sub").is_none_or(str::is_empty) {
            "nobody"
        } else {
            return Ok(claims);
        };
        Err(format!("its token is one of {problem}"))
    }

    /// Where a browser is sent to log out at the provider too; `None` if it has no such place.
    pub async fn exit(&self, after: Option<&str>, token: Option<&str>) -> Option<String> {
        let known = self.known(false).await.ok()?;
        let mut address = known.metadata.end_session_endpoint.clone()?;
        let mut pairs = vec![("client_id", &*self.login.client_id)];
        pairs.extend(after.map(|after| ("post_logout_redirect_uri", after)));
        pairs.extend(token.map(|token| ("id_token_hint", token)));
        address.push(if address.contains('?') { '&' } else { '?' });
        address.push_str(&form(&pairs));
        Some(address)
    }
}

fn form(pairs: &[(&str, &str)]) -> String {
    let pairs = pairs
        .iter()
        .map(|(name, value)| format!("{name}={}", encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// As a form has it.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
