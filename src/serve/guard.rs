//! The access phase: may this request have the content of the place where it stands?
//!
//! The checks run in nginx's order (address, password, token, login, another server,
//! what is required) and are weighed by `satisfy`. Invariant: a check
//! that could not be made lets nobody pass.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

use super::generation::Local;
use super::{login, subrequest};
use crate::access::identity;
use crate::access::ip_rules::{self, Verdict};
use crate::access::kept_file::KeptFiles;
use crate::access::passwords::check::{self, Patience, Question};
use crate::access::tokens::jwt::{self, Disbelief};
use crate::access::tokens::keys::{self, KeySet};
use crate::conf::typed::access::{AuthRequest, Basic, Guard, Require, Token};
use crate::conf::typed::log::Level;
use crate::http::claims;
use crate::http::exchange::Exchange;
use crate::http::head::{Fields, Known};
use crate::http::variables;
use crate::unit::clock;

/// What one check found.
enum Finding {
    /// It lets pass.
    Allowed,
    /// It has nothing to say.
    Silent,
    /// It lets not pass, but another one may: 401 or 403.
    Refused(u16),
    /// The answer is this, whatever others would say.
    Final(u16),
}

/// Runs the checks; the error is the status of the answer.
pub async fn pass(local: &Rc<Local>, exchange: &mut Exchange) -> Result<(), u16> {
    let settings = Arc::clone(&exchange.settings);
    let address = match ip_rules::judge(&settings.access, &exchange.connection.remote) {
        Verdict::Allowed => Finding::Allowed,
        Verdict::Undecided => Finding::Silent,
        Verdict::Denied => Finding::Refused(403),
    };
    let Some(guard) = &settings.guard else {
        return match address {
            Finding::Refused(status) => {
                forbidden(local, exchange);
                Err(status)
            }
            _ => Ok(()),
        };
    };
    identity::strip(&mut exchange.head.fields, &guard.identity);
    let verdict = weigh(local, exchange, guard, address).await;
    if verdict == Err(401) && !guard.delay.is_zero() {
        tokio::time::sleep(guard.delay).await;
    }
    verdict
}

async fn weigh(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    guard: &Guard,
    address: Finding,
) -> Result<(), u16> {
    let mut refused = None;
    let mut address = Some(address);
    for check in 0.. {
        let finding = match (check, &guard.basic) {
            (0, _) => address.take().unwrap_or(Finding::Silent),
            (1, Some(basic)) => password(local, exchange, basic).await,
            (1, None) => Finding::Silent,
            (2, _) => match &guard.token {
                Some(token) => bearer(local, exchange, token).await,
                None => Finding::Silent,
            },
            (3, _) => match &guard.login {
                Some(required) => match login::require(local, exchange, required).await {
                    Ok(()) => Finding::Allowed,
                    Err(status @ (401 | 403)) => Finding::Refused(status),
                    Err(status) => Finding::Final(status),
                },
                None => Finding::Silent,
            },
            (4, _) => match &guard.request {
                Some(request) => ask_another(local, exchange, request).await,
                None => Finding::Silent,
            },
            (5, _) => required(exchange, &guard.require),
            _ => break,
        };
        match finding {
            Finding::Silent => {}
            Finding::Allowed if guard.satisfy_any => {
                exchange.answer.remove(Known::WwwAuthenticate);
                return Ok(());
            }
            Finding::Allowed => {}
            // Whoever may log in is asked to, also where the address is refused.
            Finding::Refused(status) if guard.satisfy_any => {
                if refused != Some(401) {
                    refused = Some(status);
                }
            }
            Finding::Refused(status) => {
                if check == 0 {
                    forbidden(local, exchange);
                }
                return Err(status);
            }
            Finding::Final(status) => return Err(status),
        }
    }
    match refused {
        Some(status) => {
            if status == 403 {
                forbidden(local, exchange);
            }
            Err(status)
        }
        None => Ok(()),
    }
}

fn forbidden(local: &Rc<Local>, exchange: &Exchange) {
    local.log(
        exchange,
        Level::Error,
        format_args!("access forbidden by rule"),
    );
}

/// `auth_basic`
async fn password(local: &Rc<Local>, exchange: &mut Exchange, basic: &Basic) -> Finding {
    let mut realm = Vec::new();
    variables::expand(&basic.realm, exchange, &mut realm);
    if realm == b"off" {
        return Finding::Silent;
    }
    let Some(file) = &basic.file else {
        return Finding::Refused(403);
    };
    let Some((user, password)) = credentials(&exchange.head.fields) else {
        local.log(
            exchange,
            Level::Info,
            format_args!("no user/password was provided for basic authentication"),
        );
        return ask(exchange, &realm);
    };
    let mut path = Vec::new();
    variables::expand(file, exchange, &mut path);
    let verdict = check::check(Question {
        path: &path,
        user: &user,
        password: &password,
        client: exchange.connection.remote_ip(),
        patience: basic.throttle.map(|throttle| Patience {
            count: throttle.count,
            period: throttle.period,
        }),
        now: clock::now(),
    })
    .await;
    exchange.has_failed_login =
        matches!(verdict, check::Verdict::NoSuchUser | check::Verdict::Wrong);
    let user = user.escape_ascii();
    let log = |level, words: std::fmt::Arguments<'_>| local.log(exchange, level, words);
    match verdict {
        check::Verdict::Right => Finding::Allowed,
        check::Verdict::NoSuchUser => {
            log(
                Level::Error,
                format_args!(
                    "user \"{user}\" was not found in \"{}\"",
                    path.escape_ascii()
                ),
            );
            ask(exchange, &realm)
        }
        check::Verdict::Wrong => {
            log(
                Level::Error,
                format_args!("user \"{user}\": password mismatch"),
            );
            ask(exchange, &realm)
        }
        check::Verdict::Unusable(why) => {
            log(Level::Error, format_args!("user \"{user}\": {why}"));
            Finding::Final(500)
        }
        check::Verdict::Unreadable(why) => {
            let is_missing = why.is_missing();
            let (level, status) = match is_missing {
                true => (Level::Error, 403),
                false => (Level::Crit, 500),
            };
            log(
                level,
                format_args!(
                    "{why_call} \"{}\" failed{}",
                    path.escape_ascii(),
                    words_of(&why.error),
                    why_call = why.call
                ),
            );
            // As with nginx, a file that is not there is no more than a refusal.
            match is_missing {
                true => Finding::Refused(status),
                false => Finding::Final(status),
            }
        }
        check::Verdict::Throttled(wait) => {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            log(
                Level::Warn,
                format_args!("user \"{user}\": too many wrong passwords, again in {seconds}s"),
            );
            exchange.answer.push_known(
                Some(Known::RetryAfter),
                b"Retry-After",
                seconds.to_string().as_bytes(),
            );
            Finding::Final(429)
        }
        check::Verdict::Busy => {
            log(
                Level::Error,
                format_args!("user \"{user}\": too many passwords wait to be compared"),
            );
            Finding::Final(503)
        }
    }
}

/// All of the values must be something, and not `0`.
fn required(exchange: &Exchange, all: &[Require]) -> Finding {
    let mut text = Vec::new();
    for require in all {
        for value in &require.values {
            text.clear();
            variables::expand(value, exchange, &mut text);
            if text.is_empty() || text == b"0" {
                return match require.status {
                    status @ (401 | 403) => Finding::Refused(status),
                    status => Finding::Final(status),
                };
            }
        }
    }
    match all {
        [] => Finding::Silent,
        _ => Finding::Allowed,
    }
}

/// Key sets of `auth_jwt_key_file`; `None` for a file that is none.
static KEY_FILES: KeptFiles<Option<KeySet>> = KeptFiles::new(keys::LARGEST, KeySet::parse);

/// `auth_jwt`
async fn bearer(local: &Rc<Local>, exchange: &mut Exchange, token: &Token) -> Finding {
    let mut realm = Vec::new();
    variables::expand(&token.realm, exchange, &mut realm);
    if realm == b"off" {
        return Finding::Silent;
    }
    let mut shown = Vec::new();
    match &token.source {
        Some(variable) => {
            variables::write(variable, exchange, &mut shown);
        }
        None => {
            let value = exchange.head.fields.known(Known::Authorization);
            let parts = value.and_then(|value| value.split_at_checked(7));
            if let Some((_, text)) =
                parts.filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "))
            {
                shown.extend_from_slice(text.trim_ascii());
            }
        }
    }
    if shown.is_empty() {
        local.log(
            exchange,
            Level::Info,
            format_args!("JWT token was not provided"),
        );
        return ask_for_token(exchange, &realm, b"");
    }
    let mut verdict = Err(Disbelief::NoKey);
    for file in &token.key_files {
        let mut path = Vec::new();
        variables::expand(file, exchange, &mut path);
        let keys = match KEY_FILES.open(&path, clock::now()) {
            Ok(keys) => keys,
            Err(why) => {
                local.log(
                    exchange,
                    Level::Crit,
                    format_args!(
                        "{} \"{}\" failed{}",
                        why.call,
                        path.escape_ascii(),
                        words_of(&why.error)
                    ),
                );
                return Finding::Final(500);
            }
        };
        let Some(keys) = &*keys else {
            local.log(
                exchange,
                Level::Error,
                format_args!("\"{}\" is no set of keys", path.escape_ascii()),
            );
            return Finding::Final(500);
        };
        verdict = jwt::verify(&shown, keys, true, clock::unix(), token.leeway);
        // Another file may have the key.
        if !matches!(verdict, Err(Disbelief::NoKey)) {
            break;
        }
    }
    for uri in &token.key_requests {
        if !matches!(verdict, Err(Disbelief::NoKey)) {
            break;
        }
        let Some(keys) = ask_for_keys(local, exchange, uri).await else {
            return Finding::Final(500);
        };
        verdict = jwt::verify(&shown, &keys, true, clock::unix(), token.leeway);
    }
    let believed = match verdict {
        Ok(believed) => Rc::new(believed),
        Err(why) => {
            // Those whose time is over were good once.
            exchange.has_failed_login = !matches!(why, Disbelief::Expired | Disbelief::TooEarly);
            local.log(
                exchange,
                Level::Error,
                format_args!("JWT is not believed: {}", why.words()),
            );
            return ask_for_token(exchange, &realm, b", error=\"invalid_token\"");
        }
    };
    for set in &token.sets {
        let map = match set.is_of_header {
            true => &believed.header,
            false => &believed.claims,
        };
        let mut text = Vec::new();
        let value = claims::at(map, &set.path);
        let is_there = value.is_some_and(|value| claims::write_value(value, &mut text));
        exchange.set_slot(set.slot, is_there.then_some(&text));
    }
    exchange.token = Some(believed);
    match required(exchange, &token.require) {
        Finding::Silent => Finding::Allowed,
        finding => finding,
    }
}

thread_local! {
    /// What was answered last to `auth_jwt_key_request`, by its path, with the keys in it: to read
    /// them anew for each token would take longer than to verify it.
    static ANSWERED_KEYS: RefCell<HashMap<Box<[u8]>, AnsweredKeys>> = RefCell::default();
}

type AnsweredKeys = (Vec<u8>, Rc<KeySet>);

/// So many paths are known; a configuration has no more.
const MOST_KEY_REQUESTS: usize = 64;

/// `auth_jwt_key_request`: the keys that a location of this server answers with. To keep them for a
/// while is for the cache of that location.
async fn ask_for_keys(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    uri: &[u8],
) -> Option<Rc<KeySet>> {
    let mut asked = exchange.derive(uri, b"");
    // Nobody here would unpack it.
    asked.head.fields.remove(Known::AcceptEncoding);
    // The whole set is wanted, whatever part of the page the client wants.
    for name in [
        Known::Range,
        Known::IfRange,
        Known::IfMatch,
        Known::IfNoneMatch,
        Known::IfModifiedSince,
        Known::IfUnmodifiedSince,
    ] {
        asked.head.fields.remove(name);
    }
    let body = subrequest::run_for_body(local, &mut asked, keys::LARGEST as usize).await;
    let refuse = |why: &dyn std::fmt::Display| {
        local.log(
            exchange,
            Level::Error,
            format_args!("keys of tokens from \"{}\": {why}", uri.escape_ascii()),
        );
        None
    };
    let body = match (asked.status, body) {
        (200, Some(body)) => body,
        (200, None) => return refuse(&"the answer is not whole, or too large"),
        (status, _) => return refuse(&format_args!("unexpected status: {status}")),
    };
    let known = ANSWERED_KEYS.with_borrow(|all| {
        let (text, keys) = all.get(uri)?;
        (*text == body).then(|| Rc::clone(keys))
    });
    if known.is_some() {
        return known;
    }
    let Some(keys) = KeySet::parse(&body).map(Rc::new) else {
        return refuse(&"that is no set of keys");
    };
    ANSWERED_KEYS.with_borrow_mut(|all| {
        if all.len() >= MOST_KEY_REQUESTS {
            all.clear();
        }
        all.insert(uri.into(), (body, Rc::clone(&keys)));
    });
    Some(keys)
}

fn ask_for_token(exchange: &mut Exchange, realm: &[u8], error: &[u8]) -> Finding {
    let mut value = b"Bearer realm=\"".to_vec();
    value.extend(realm.iter().map(|&byte| match byte {
        b'\r' | b'\n' | 0 => b' ',
        byte => byte,
    }));
    value.push(b'"');
    value.extend_from_slice(error);
    let name = Known::WwwAuthenticate;
    exchange.answer.remove(name);
    exchange
        .answer
        .push_known(Some(name), name.name().as_bytes(), &value);
    Finding::Refused(401)
}

/// `auth_request`
async fn ask_another(local: &Rc<Local>, exchange: &mut Exchange, request: &AuthRequest) -> Finding {
    let mut asked = exchange.derive(&request.uri, b"");
    subrequest::run(local, &mut asked).await;
    // Also of a refusal: where to log in may stand in it.
    for (slot, value) in &request.sets {
        let mut text = Vec::new();
        variables::expand(value, &asked, &mut text);
        exchange.set_slot(*slot, Some(&text));
    }
    match asked.status {
        200..=299 => Finding::Allowed,
        403 => Finding::Refused(403),
        401 => {
            let name = Known::WwwAuthenticate;
            let own = Some(&asked.answer).filter(|answer| answer.has(name));
            for value in own.unwrap_or(&asked.upstream_head.fields).all(name) {
                let known = Some(name);
                exchange
                    .answer
                    .push_known(known, name.name().as_bytes(), value);
            }
            Finding::Refused(401)
        }
        status => {
            local.log(
                exchange,
                Level::Error,
                format_args!("auth request unexpected status: {status}"),
            );
            Finding::Final(500)
        }
    }
}

/// Asks for a name and a password.
fn ask(exchange: &mut Exchange, realm: &[u8]) -> Finding {
    let mut value = b"Basic realm=\"".to_vec();
    // Made of what clients send it could begin another field.
    value.extend(realm.iter().map(|&byte| match byte {
        b'\r' | b'\n' | 0 => b' ',
        byte => byte,
    }));
    value.push(b'"');
    let name = Known::WwwAuthenticate;
    exchange.answer.remove(name);
    exchange
        .answer
        .push_known(Some(name), name.name().as_bytes(), &value);
    Finding::Refused(401)
}

/// The name and the password that a client sends; both may be any bytes, the name is not empty.
fn credentials(fields: &Fields) -> Option<(Vec<u8>, Zeroizing<Vec<u8>>)> {
    let value = fields.known(Known::Authorization)?;
    let (scheme, encoded) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut encoded = encoded.trim_ascii();
    while let Some(shorter) = encoded.strip_suffix(b"=") {
        encoded = shorter;
    }
    let decoded = Zeroizing::new(BASE64_NOPAD.decode(encoded).ok()?);
    let colon = memchr::memchr(b':', &decoded).filter(|&colon| colon > 0)?;
    let password = Zeroizing::new(decoded[colon + 1..].to_vec());
    Some((decoded[..colon].to_vec(), password))
}

/// What the system said, as nginx writes it: ` (2: No such file or directory)`.
fn words_of(error: &std::io::Error) -> String {
    let words = error.to_string();
    match error.raw_os_error() {
        Some(number) => {
            let words = words.strip_suffix(&format!(" (os error {number})"));
            format!(" ({number}: {})", words.unwrap_or_default())
        }
        None => format!(" ({words})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Option<(String, String)> {
        let mut fields = Fields::default();
        fields.push(b"Authorization", value.as_bytes());
        let (user, password) = credentials(&fields)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Some((text(&user), text(&password)))
    }

    #[test]
    fn a_name_ends_at_the_first_colon_and_must_be_there() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(read("Basic YTpiOmM="), pair("a", "b:c"));
        assert_eq!(read("bAsIc   YTpiOmM"), pair("a", "b:c"));
        assert_eq!(read("Basic YTo="), pair("a", ""));
        for none in [
            "",
            "Basic",
            "Basic ",
            "Basic YQ==",
            "Basic OmI=",
            "Basic !",
            "Bearer YTpi",
        ] {
            assert_eq!(read(none), None, "{none}");
        }
    }
}
