//! Logins with OpenID Connect on their way through the server: who has to, who comes back, who leaves.

use std::rc::Rc;
use std::sync::Arc;

use super::answer;
use super::generation::Local;
use crate::access::login::provider::{PAUSE, Provider};
use crate::access::login::session::{self, Begun, Way};
use crate::acme::secret::Secret;
use crate::conf::typed::access::{Allow, Login, LoginRequired};
use crate::conf::typed::log::Level;
use crate::http::claims::Claims;
use crate::http::exchange::Exchange;
use crate::http::head::{Known, Method};
use crate::http::uri;
use crate::metrics::registry;
use crate::unit::clock;

/// May whoever is logged in pass? The error is the status of the answer, which is a redirect for who is
/// not.
pub async fn require(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    required: &LoginRequired,
) -> Result<(), u16> {
    let login = &required.login;
    if let Some(claims) = session::read(login, &exchange.head.fields, clock::unix(), way(exchange))
    {
        let is_allowed =
            required.allow.is_empty() || required.allow.iter().any(|allow| holds(allow, &claims));
        let header = serde_json::Map::new();
        exchange.login = Some(Rc::new(Claims { header, claims }));
        if !is_allowed {
            local.log(
                exchange,
                Level::Error,
                format_args!(
                    "whoever is logged in at \"{}\" is not allowed here",
                    login.name
                ),
            );
            return Err(403);
        }
        return Ok(());
    }
    // A program cannot log in; what it asks for must not look like an answer.
    let mode = exchange.head.fields.named(b"sec-fetch-mode").next();
    let is_page = mode.is_none_or(|mode| mode == b"navigate");
    if !matches!(exchange.head.method, Method::Get | Method::Head) || !is_page {
        return Err(401);
    }
    let provider = provider(local, exchange, login)?;
    let target = exchange.head.bytes(exchange.head.path_and_query).to_vec();
    let begun = Begun::new(&target, clock::unix()).ok_or(500_u16)?;
    let redirect = redirect(login, exchange);
    let place = match provider.place(&begun, &redirect).await {
        Ok(place) => place,
        Err(why) => return Err(unreachable(local, exchange, login, &why)),
    };
    let cookie = begun.cookie(login, way(exchange)).ok_or(500_u16)?;
    for cookie in Begun::forgetting(login, &exchange.head.fields, way(exchange)) {
        set_cookie(exchange, &cookie);
    }
    set_cookie(exchange, &cookie);
    Err(away(exchange, place.as_bytes()))
}

/// Does a claim have one of the values?
fn holds(allow: &Allow, claims: &serde_json::Map<String, serde_json::Value>) -> bool {
    let is_one = |text: &str| {
        allow
            .values
            .iter()
            .any(|value| match value.strip_prefix("*@") {
                Some(domain) => text.rsplit_once('@').is_some_and(|(user, own)| {
                    !user.is_empty() && own.eq_ignore_ascii_case(domain)
                }),
                None => &**value == text,
            })
    };
    // An address that the provider did not look at may be anybody's. Some say so in text; what is
    // neither says nothing good.
    let is_unverified = match claims.get("email_verified") {
        None => false,
        Some(serde_json::Value::Bool(is_verified)) => !is_verified,
        Some(serde_json::Value::String(text)) => !text.eq_ignore_ascii_case("true"),
        Some(_) => true,
    };
    if &*allow.claim == "email" && is_unverified {
        return false;
    }
    match claims.get(&*allow.claim) {
        Some(serde_json::Value::String(text)) => is_one(text),
        Some(serde_json::Value::Array(all)) => {
            all.iter().filter_map(serde_json::Value::as_str).any(is_one)
        }
        Some(serde_json::Value::Bool(truth)) => is_one(if *truth { "true" } else { "false" }),
        _ => false,
    }
}

/// A path that belongs to a login and to no location.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errand {
    /// Somebody comes back from the provider.
    Return,
    /// Somebody leaves.
    Leave,
}

/// The errand that a path is, if it is one.
pub fn errand<'a>(logins: &'a [Arc<Login>], path: &[u8]) -> Option<(&'a Arc<Login>, Errand)> {
    logins.iter().find_map(|login| {
        if login.redirect_path.as_bytes() == path {
            return Some((login, Errand::Return));
        }
        let is_leaving = login
            .logout_path
            .as_ref()
            .is_some_and(|own| own.as_bytes() == path);
        is_leaving.then_some((login, Errand::Leave))
    })
}

/// Runs one; the status of the answer.
pub async fn run(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    login: &Arc<Login>,
    errand: Errand,
) -> u16 {
    if !matches!(exchange.head.method, Method::Get | Method::Head) {
        return 405;
    }
    match errand {
        Errand::Return => match come_back(local, exchange, login).await {
            Ok(status) | Err(status) => status,
        },
        Errand::Leave => {
            let fields = &exchange.head.fields;
            let token = session::token(login, fields, clock::unix(), way(exchange));
            for cookie in session::clearing(login, way(exchange)) {
                set_cookie(exchange, &cookie);
            }
            let after = login.after_logout.as_deref().unwrap_or("/");
            let after = match after.starts_with('/') {
                true => origin(exchange) + after,
                false => after.to_owned(),
            };
            let place = match provider(local, exchange, login) {
                Ok(provider) => provider.exit(Some(&after), token.as_deref()).await,
                Err(_) => None,
            };
            away(exchange, place.unwrap_or(after).as_bytes())
        }
    }
}

async fn come_back(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    login: &Arc<Login>,
) -> Result<u16, u16> {
    let refuse = |exchange: &Exchange, why: &str| {
        registry::with(|counters| counters.logins_failed.increase());
        let why = why.escape_debug();
        local.log(
            exchange,
            Level::Error,
            format_args!("login at \"{}\" failed: {why}", login.name),
        );
    };
    let argument = |name: &[u8]| {
        let value = uri::argument(&exchange.args, name)?;
        let mut text = Vec::new();
        uri::push_unescaped(&mut text, value, uri::Unescape::Path);
        String::from_utf8(text)
            .ok()
            .filter(|text| text.len() <= 4096)
    };
    let (state, code, error) = (argument(b"state"), argument(b"code"), argument(b"error"));
    let issuer = argument(b"iss");
    let now = clock::unix();
    let state = state.unwrap_or_default();
    let Some(begun) = Begun::read(login, &state, &exchange.head.fields, now, way(exchange)) else {
        refuse(
            exchange,
            "it did not begin in this browser, or too long ago",
        );
        return Err(400);
    };
    let cleared = begun.clearing(login, way(exchange));
    set_cookie(exchange, &cleared);
    // An answer that another provider passes on is none of this one (RFC 9207 section 2.4).
    let is_own =
        |issuer: &String| issuer.trim_end_matches('/') == login.issuer.trim_end_matches('/');
    if !issuer.as_ref().is_none_or(is_own) {
        refuse(exchange, "another issuer answers");
        return Err(400);
    }
    if let Some(error) = error {
        let error: String = error.chars().take(80).collect();
        refuse(exchange, &format!("the provider says {error}"));
        return Err(403);
    }
    let Some(code) = code else {
        refuse(exchange, "there is no code");
        return Err(400);
    };
    let secret = match login.client_secret.as_ref().map(Secret::read).transpose() {
        Ok(secret) => secret,
        Err(error) => {
            refuse(exchange, &error.to_string());
            return Err(500);
        }
    };
    let provider = provider(local, exchange, login)?;
    let redirect = redirect(login, exchange);
    let secret = secret.as_ref().map(Secret::expose);
    let redeemed = match provider.redeem(&begun, &code, &redirect, secret, now).await {
        Ok(redeemed) => redeemed,
        Err(why) => {
            refuse(exchange, &why);
            return Err(502);
        }
    };
    let token = login.hints_at_logout.then_some(&*redeemed.token);
    let Some(cookies) = session::cookies(login, &redeemed.claims, token, now, way(exchange)) else {
        refuse(exchange, "the provider says more than a cookie can hold");
        return Err(502);
    };
    for cookie in cookies {
        set_cookie(exchange, &cookie);
    }
    registry::with(|counters| counters.logins.increase());
    Ok(away(exchange, begun.target.as_bytes()))
}

fn provider(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    login: &Arc<Login>,
) -> Result<Rc<Provider>, u16> {
    local
        .provider(login, exchange)
        .map_err(|why| unreachable(local, exchange, login, &why))
}

fn unreachable(local: &Rc<Local>, exchange: &mut Exchange, login: &Login, why: &str) -> u16 {
    exchange.retry_after = PAUSE.as_secs() as u32;
    local.log(
        exchange,
        Level::Error,
        format_args!(
            "nobody can log in at \"{}\": {}",
            login.name,
            why.escape_debug()
        ),
    );
    502
}

fn way(exchange: &Exchange) -> Way {
    match exchange.connection.is_secure() {
        true => Way::Secure,
        false => Way::Clear,
    }
}

/// The address of this server as the client has it.
fn origin(exchange: &Exchange) -> String {
    let scheme = match way(exchange) {
        Way::Secure => "https",
        Way::Clear => "http",
    };
    let host = String::from_utf8_lossy(&exchange.host);
    match exchange.host_port {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// Where the provider sends people back to.
fn redirect(login: &Login, exchange: &Exchange) -> String {
    match &login.redirect {
        Some(redirect) => redirect.to_string(),
        None => origin(exchange) + &login.redirect_path,
    }
}

fn set_cookie(exchange: &mut Exchange, cookie: &str) {
    exchange
        .answer
        .push_known(Some(Known::SetCookie), b"Set-Cookie", cookie.as_bytes());
}

fn away(exchange: &mut Exchange, place: &[u8]) -> u16 {
    exchange.answer.remove(Known::CacheControl);
    exchange
        .answer
        .push_known(Some(Known::CacheControl), b"Cache-Control", b"no-store");
    answer::set_location(exchange, place);
    302
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_address_counts_only_if_its_provider_does_not_doubt_it() {
        let allow = |claim: &str, values: &[&str]| Allow {
            claim: claim.into(),
            values: values.iter().map(|value| (*value).into()).collect(),
        };
        let everybody = allow("email", &["*@example.com"]);
        for (verified, passes) in [
            (Value::Null, false),
            (json!(true), true),
            (json!(false), false),
            (json!("true"), true),
            (json!("True"), true),
            (json!("false"), false),
            (json!(""), false),
            (json!(0), false),
            (json!(1), false),
            (json!([true]), false),
        ] {
            let claims = json!({"email": "ann@example.com", "email_verified": verified});
            let claims = claims.as_object().expect("an object");
            assert_eq!(holds(&everybody, claims), passes, "{verified}");
            // Nobody doubts the others.
            assert!(!holds(&allow("sub", &["ann"]), claims));
        }
        for (email, passes) in [
            ("ann@example.com", true),
            ("ann@EXAMPLE.com", true),
            ("@example.com", false),
            ("ann@example.com.evil.example", false),
            ("ann@evil.example@example.com", true),
            ("ann@sub.example.com", false),
        ] {
            let claims = json!({"email": email});
            let claims = claims.as_object().expect("an object");
            assert_eq!(holds(&everybody, claims), passes, "{email}");
        }
        let claims = json!({"groups": ["staff", 7, "admins"], "admin": true});
        let claims = claims.as_object().expect("an object");
        assert!(holds(&allow("groups", &["admins"]), claims));
        assert!(!holds(&allow("groups", &["7"]), claims));
        assert!(holds(&allow("admin", &["true"]), claims));
    }
}
