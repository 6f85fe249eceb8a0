//! A peer's answer, or its silence, and what is stored: kept, freshened, sent instead, forgotten.

use std::rc::Rc;
use std::sync::Arc;

use tokio::time::timeout;

use super::send::{Sending, Stored, send};
use super::{Caching, PATIENCE, POST, any_is_set, now, selecting};
use crate::cache::entry::{Entry, Head};
use crate::cache::flight::Fill;
use crate::cache::freshness::{self, Answer, IS_ERROR, Refusal, Rules};
use crate::cache::key::Key;
use crate::cache::reuse::{self, Standing};
use crate::cache::status::{self, Forwarded, Told};
use crate::cache::suffix;
use crate::cache::vary;
use crate::cache::zone::Found;
use crate::conf::typed::proxy::NextUpstream;
use crate::conf::typed::proxy_cache::{Ignored, ProxyCache};
use crate::http::exchange::{CacheStatus, Exchange};
use crate::http::head::{Fields, Known, Method};
use crate::http::uri;
use crate::serve::downstream::{ClientError, Downstream};
use crate::serve::generation::Local;
use crate::serve::proxy::{Outcome, Plan};
use crate::unit::clock;

/// The answer of the peer as it is judged.
fn received(exchange: &Exchange, is_personal: bool) -> Answer<'_> {
    let received = now();
    let waited = (exchange.attempts.last())
        .map(|attempt| clock::since(attempt.started))
        .unwrap_or_default();
    let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    Answer {
        status: exchange.upstream_head.status,
        fields: &exchange.upstream_head.fields,
        requested: received.saturating_sub(waited),
        received,
        is_personal,
    }
}

/// Does what a cookie may have made personal pass for a file that is the same for all? An origin that
/// varies by cookies tells them apart itself.
fn is_disguised(exchange: &Exchange, plan: &Plan) -> bool {
    let head = &exchange.upstream_head;
    let Some(content_type) = head.fields.known(Known::ContentType) else {
        return false;
    };
    let asked = exchange.head.bytes(exchange.head.path_and_query);
    let asked = asked.split(|&byte| byte == b'?').next().unwrap_or_default();
    (200..300).contains(&head.status)
        && [asked, &exchange.path]
            .iter()
            .any(|path| suffix::is_broken(path, content_type))
        && selecting(exchange, plan)(b"Cookie", &mut Vec::new())
        && !vary::names(&head.fields).is_some_and(|names| {
            names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(b"cookie"))
        })
}

/// What the client asked for, with scheme and host.
fn url(exchange: &Exchange) -> Box<[u8]> {
    let head = &exchange.head;
    let mut url = match exchange.connection.is_secure() {
        true => b"https://".to_vec(),
        false => b"http://".to_vec(),
    };
    url.extend_from_slice(&exchange.host);
    url.extend_from_slice(head.bytes(head.path_and_query));
    url.into()
}

fn rules<'a>(cache: &'a ProxyCache, exchange: &Exchange) -> Rules<'a> {
    Rules {
        is_slice: cache.key_has_slice && exchange.slicing.is_active(),
        ignored: cache.ignored,
        valid: &cache.valid,
    }
}

/// A peer answered: begins to store the answer if it is one to store. Otherwise those who wait for it
/// are told so. `length` is that of its body, if it is known; `buffering` is off where the answer may
/// not be held.
pub fn store(
    caching: &mut Caching,
    exchange: &mut Exchange,
    plan: &Plan,
    cache: &ProxyCache,
    length: Option<u64>,
    buffering: bool,
) -> Option<Fill> {
    let mut fill = caching.fill.take()?;
    if !buffering || any_is_set(&cache.no_cache, exchange) {
        exchange.caching.refusal = Some("no-cache");
        return None;
    }
    if let Some(hindrance) = fill.hindrance(length) {
        exchange.caching.refusal = Some(hindrance);
        return None;
    }
    let judged = freshness::judge(
        &received(exchange, caching.is_personal),
        &rules(cache, exchange),
    );
    let mut head = match judged {
        Ok(head) => head,
        Err(refusal) => {
            exchange.caching.refusal = Some(refusal.name());
            return None;
        }
    };
    if cache.checks_type && is_disguised(exchange, plan) {
        exchange.caching.refusal = Some("content-type");
        return None;
    }
    let fields = &exchange.upstream_head.fields;
    let mut names = match cache.ignored.has(Ignored::VARY) {
        true => Vec::new(),
        false => vary::names(fields)?,
    };
    if plan.proxy.pass_request_headers {
        // What the configuration puts in the place of a field is no client's to choose.
        let set = &plan.proxy.set_fields;
        let is_clients = |name: &[u8]| {
            !set.iter()
                .any(|field| field.name.eq_ignore_ascii_case(name))
        };
        let unsaid = vary::unsaid(&exchange.head.fields, fields);
        let known = names.len();
        names.extend(unsaid.filter(|name| is_clients(name)));
        if names.len() > known {
            names.sort_unstable();
            names.dedup();
        }
    }
    head.vary = vary::select(names, selecting(exchange, plan));
    head.url = url(exchange);
    head.fields = freshness::stored_fields(fields, cache.ignored, cache.strip_cookies);
    caching.remaining = Some(reuse::remaining(&head, head.received));
    fill.begin(head, length);
    Some(fill)
}

/// No peer answered, or what one answered became an error of ours: remembers that if the configuration
/// says so, unless there is something better.
pub fn store_error(caching: &mut Caching, cache: &ProxyCache, status: u16) {
    let seconds = freshness::valid_for(&cache.valid, status);
    if caching.stored.is_some() || seconds == 0 {
        return;
    }
    if let Some(mut fill) = caching.fill.take() {
        let received = now();
        let head = Head {
            status,
            requested: received,
            received,
            lifetime: seconds,
            flags: IS_ERROR,
            ..Head::default()
        };
        fill.begin(head, Some(0));
        fill.commit();
    }
}

/// `Cache-Status` of an answer that a peer gave.
pub fn tell(exchange: &mut Exchange, caching: &Caching, cache: &ProxyCache) {
    let Some(name) = &cache.status_name else {
        return;
    };
    let told = Told {
        forwarded: Some(caching.forwarded),
        forwarded_status: None,
        remaining: caching.remaining,
        is_stored: caching.remaining.is_some(),
        is_collapsed: false,
        detail: exchange.caching.refusal,
    };
    let value = status::value(name, &told);
    exchange.answer.push(b"Cache-Status", &value);
}

/// Sends what is stored in place of an error, if configuration or origin give leave; `None` if they do
/// not, or nothing is stored. `status` is what the peer answered, if it did.
pub async fn send_stale(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    caching: &mut Caching,
    because: NextUpstream,
    status: Option<u16>,
) -> Result<Option<Outcome>, ClientError> {
    let (Some(cache), Some(stored)) = (&plan.proxy.cache, caching.stored.clone()) else {
        return Ok(None);
    };
    let Standing::Stale {
        if_error,
        may_be_stale,
        ..
    } = reuse::standing(&stored.head, now(), None)
    else {
        return Ok(None);
    };
    // RFC 5861 section 4: these are errors.
    let is_error = status.is_none_or(|status| matches!(status, 500 | 502..=504));
    let has_leave = (may_be_stale && cache.use_stale.has(because)) || (if_error && is_error);
    if !caching.may_be_stale || !has_leave {
        return Ok(None);
    }
    // Those who wait for the answer come to the same end by themselves.
    caching.fill = None;
    let zone = Arc::clone(&caching.zone);
    let sending = Sending {
        forwarded: Some(Forwarded::Stale),
        forwarded_status: status,
        ..Sending::hit(&zone, cache, CacheStatus::Stale)
    };
    exchange.answer.clear();
    send(
        local,
        exchange,
        downstream,
        plan,
        sending,
        Stored::Entry(stored),
    )
    .await
}

/// The head of an entry that the answer of a peer brings up to date (RFC 9111 section 3.2).
fn renewed(
    caching: &Caching,
    exchange: &Exchange,
    cache: &ProxyCache,
    stored: &Entry,
) -> Result<Head, Refusal> {
    let mut before = Fields::default();
    freshness::read_fields(&stored.head.fields, &mut before);
    let brought = &exchange.upstream_head.fields;
    let lines = freshness::renewed_fields(&before, brought, cache.ignored);
    let mut fields = Fields::default();
    freshness::read_fields(&lines, &mut fields);
    // An age is told of this answer, not of the one that was stored.
    if let Some(age) = brought.known(Known::Age) {
        fields.push_known(Some(Known::Age), b"Age", age);
    }
    if !brought.has(Known::Date) {
        fields.remove(Known::Date);
    }
    let answer = Answer {
        status: stored.head.status,
        fields: &fields,
        ..received(exchange, caching.is_personal)
    };
    let head = freshness::judge(&answer, &rules(cache, exchange))?;
    Ok(Head {
        vary: stored.head.vary.clone(),
        url: stored.head.url.clone(),
        fields: lines,
        ..head
    })
}

/// A peer answered a HEAD that was passed on as it is: what is stored is brought up to date if GET would
/// still get it, and stale from now on if not (RFC 9111 section 4.3.5).
pub async fn freshen(caching: &Caching, exchange: &Exchange, plan: &Plan, cache: &ProxyCache) {
    let head = &exchange.upstream_head;
    if caching.asks_get || exchange.method != Method::Head || head.status != 200 {
        return;
    }
    let zone = &caching.zone;
    let choose = |entry: &Entry| {
        entry.head.status == 200 && vary::fits(&entry.head.vary, selecting(exchange, plan))
    };
    let found = match zone.find(&caching.key(), choose) {
        Found::OnDisk => {
            if timeout(PATIENCE, zone.load(&caching.key())).await.is_err() {
                zone.gave_up_waiting();
            }
            zone.find(&caching.key(), choose)
        }
        found => found,
    };
    let Found::Entry(stored) = found else {
        return;
    };
    match freshness::is_other(&stored.head, stored.length, &head.fields) {
        None => {}
        Some(true) => {
            let stale = Head {
                lifetime: 0,
                stale_while_revalidate: 0,
                ..stored.head.clone()
            };
            zone.renew(&stored, stale);
        }
        Some(false) => match renewed(caching, exchange, cache, &stored) {
            Ok(head) => {
                zone.renew(&stored, head);
            }
            Err(Refusal::NoStore | Refusal::Private | Refusal::Authorization) => {
                zone.remove(&caching.key());
            }
            Err(_) => {}
        },
    }
}

/// The peer says that what is stored is still good (304): brings it up to date and sends it.
pub async fn send_confirmed(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    caching: &mut Caching,
) -> Result<Option<Outcome>, ClientError> {
    let (Some(cache), Some(stored)) = (&plan.proxy.cache, caching.stored.clone()) else {
        return Ok(None);
    };
    let zone = Arc::clone(&caching.zone);
    // What speaks of another answer says nothing of this one.
    let head = (freshness::is_of(&stored.head, &exchange.upstream_head.fields))
        .then(|| renewed(caching, exchange, cache, &stored));
    let renewed = match head {
        None => stored,
        Some(Ok(head)) => match caching.fill.take() {
            Some(fill) => fill.renew(&stored, head),
            None => zone.renew(&stored, head),
        },
        // The origin changed its mind: this one request is still answered with it.
        Some(Err(Refusal::NoStore | Refusal::Private | Refusal::Authorization)) => {
            zone.remove(&caching.key());
            stored
        }
        Some(Err(_)) => stored,
    };
    caching.fill = None;
    let sending = Sending {
        forwarded: Some(Forwarded::Stale),
        forwarded_status: Some(304),
        ..Sending::hit(&zone, cache, CacheStatus::Revalidated)
    };
    send(
        local,
        exchange,
        downstream,
        plan,
        sending,
        Stored::Entry(renewed),
    )
    .await
}

/// A peer answered a request that may have changed something: removes what is stored for its target,
/// and for what `Location` and `Content-Location` name on the same host (RFC 9111 section 4.4).
pub fn invalidate(caching: &Caching, exchange: &Exchange) {
    if !caching.invalidates || !(200..400).contains(&exchange.upstream_head.status) {
        return;
    }
    let head = &exchange.head;
    let own = head.bytes(head.path_and_query);
    // Without the word in front it is the key of the answer to GET.
    let key = caching.key.strip_prefix(POST).unwrap_or(&caching.key);
    caching.zone.remove(&Key::new(key));
    let fields = &exchange.upstream_head.fields;
    let named = fields
        .all(Known::Location)
        .chain(fields.named(b"Content-Location"));
    for target in named.filter_map(|target| same_origin(target, exchange)) {
        // The key of another path of this place is this one's with that path in place of its own.
        let Some(start) = memchr::memmem::rfind(key, own).filter(|_| !own.is_empty()) else {
            continue;
        };
        let other = [&key[..start], target, &key[start + own.len()..]].concat();
        caching.zone.remove(&Key::new(&other));
    }
}

/// The path and query that a reference names, if it is on the host of the request.
fn same_origin<'a>(reference: &'a [u8], exchange: &Exchange) -> Option<&'a [u8]> {
    let path = match reference {
        [b'/', b'/', ..] => return None,
        [b'/', ..] => reference,
        _ => {
            let scheme: &[u8] = match exchange.connection.is_secure() {
                true => b"https://",
                false => b"http://",
            };
            let (prefix, rest) = reference.split_at_checked(scheme.len())?;
            if !prefix.eq_ignore_ascii_case(scheme) {
                return None;
            }
            let slash = memchr::memchr(b'/', rest)?;
            let mut host = Vec::new();
            uri::validate_host(&rest[..slash], &mut host).ok()?;
            if host != exchange.host {
                return None;
            }
            &rest[slash..]
        }
    };
    let end = memchr::memchr(b'#', path).unwrap_or(path.len());
    Some(&path[..end])
}
