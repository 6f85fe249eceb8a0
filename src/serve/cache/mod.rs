//! The cache on the way of a proxied request: what is looked up, what is sent of it, what of a peer's
//! answer is stored.
//!
//! Owns the order of these decisions; the decisions themselves are pure functions of
//! [`crate::cache`]. A request that finds its answer asks no peer ([`look_up`]). One that does not takes
//! along a [`Caching`], which [`super::proxy`] and [`super::relay`] consult when the peer answers or
//! fails.
//!
//! Invariants: an answer is stored as its peer sent it, before anything is added for one client; it was
//! asked for with nothing of the client but what the key or `Vary` hold of it, so conditions and ranges
//! are answered here.

mod send;
mod store;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::timeout;

pub use self::send::{AHEAD, PIECE, break_off, is_known_to_client, send_rest, wants_range};
use self::send::{Sending, Stored, send};
pub use self::store::{freshen, invalidate, send_confirmed, send_stale, store, store_error, tell};
use crate::cache::control::Wishes;
use crate::cache::entry::Entry;
use crate::cache::flight::{Fill, Started};
use crate::cache::freshness::{self, IS_ERROR};
use crate::cache::key::{Digest, Key};
use crate::cache::purge::Target;
use crate::cache::reuse::{self, Standing};
use crate::cache::status::Forwarded;
use crate::cache::vary;
use crate::cache::zone::{Begin, Found, Zone};
use crate::conf::template::Template;
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy_cache::{CacheZone, ProxyCache};
use crate::http::exchange::{CacheStatus, Exchange};
use crate::http::h1::framing;
use crate::http::head::{Known, Method};
use crate::http::{date, variables};
use crate::net::deadline::Deadline;
use crate::serve::account;
use crate::serve::downstream::{ClientError, Downstream};
use crate::serve::generation::Local;
use crate::serve::proxy::{self, Outcome, Plan};
use crate::unit::clock;

/// What the keys of answers to POST begin with.
const POST: &[u8] = b"POST ";

/// So long is waited for what only the disk knows of an answer before a peer is asked for it.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often what is stored is looked for again, because it changed meanwhile.
const ROUNDS: u8 = 4;

/// What the cache came to before a peer is asked.
pub enum Step {
    /// A peer is to be asked; with this, if the cache has a part in it.
    Ask(Option<Box<Caching>>),
    /// The request is over.
    Done(Outcome),
}

/// The part of the cache in a request that goes to a peer.
pub struct Caching {
    zone: Arc<Zone>,
    digest: Digest,
    key: Box<[u8]>,
    /// The right to store the answer.
    fill: Option<Fill>,
    /// HEAD is asked as GET, so that the answer can be stored.
    asks_get: bool,
    /// What is stored already and does not answer as it is.
    stored: Option<Arc<Entry>>,
    /// The client takes that when nothing better is to be had.
    may_be_stale: bool,
    /// The peer is asked whether it is still good.
    revalidates: bool,
    /// The answer may say that what is stored is no longer true (RFC 9111 section 4.4).
    invalidates: bool,
    /// The request tells who asks, and the key does not.
    is_personal: bool,
    forwarded: Forwarded,
    /// For how many seconds the answer that is stored now is fresh.
    remaining: Option<i64>,
}

/// What is asked of a peer in another way than the client asks.
#[derive(Clone, Copy, Default)]
pub struct Asks<'a> {
    /// With GET, whatever the client's method is.
    pub with_get: bool,
    /// Without the client's conditions and ranges.
    pub whole: bool,
    /// `If-Modified-Since` of our own; empty if there is none.
    pub modified: &'a [u8],
    /// `If-None-Match`, likewise.
    pub etag: &'a [u8],
}

impl Caching {
    /// Is the answer to be stored, as far as it is known?
    pub fn may_store(&self) -> bool {
        self.fill.is_some()
    }

    /// The answer is not one to store after all.
    pub fn store_nothing(&mut self) {
        self.fill = None;
    }

    /// Is HEAD asked as GET?
    pub fn asks_get(&self) -> bool {
        self.asks_get
    }

    /// How the peer is asked. The validators are those of what is stored.
    pub fn asks<'a>(&self, exchange: &'a Exchange) -> Asks<'a> {
        let validator = |value: &'a [u8]| if self.revalidates { value } else { &[] };
        Asks {
            with_get: self.asks_get,
            whole: self.may_store(),
            modified: validator(&exchange.caching.last_modified),
            etag: validator(&exchange.caching.etag),
        }
    }

    /// Does this answer mean that what is stored is still good?
    pub fn is_confirmed_by(&self, status: u16) -> bool {
        status == 304 && self.revalidates
    }

    fn key(&self) -> Key<'_> {
        Key {
            digest: self.digest,
            text: &self.key,
        }
    }

    /// The peer is asked, and its answer stored.
    fn store_with(&mut self, fill: Fill, exchange: &mut Exchange, cache: &ProxyCache) {
        self.fill = Some(fill);
        self.asks_get = exchange.method == Method::Head;
        let Some(stored) = &self.stored else {
            return;
        };
        if !cache.revalidate || stored.head.status != 200 || stored.head.flags & IS_ERROR != 0 {
            return;
        }
        exchange.caching.etag.extend_from_slice(&stored.head.etag);
        if let Some(modified) = stored.head.last_modified {
            let modified = date::http(i64::try_from(modified).unwrap_or(i64::MAX));
            exchange.caching.last_modified.extend_from_slice(&modified);
        }
        self.revalidates =
            !(exchange.caching.etag.is_empty() && exchange.caching.last_modified.is_empty());
    }
}

/// Does the key of this request depend on its body, so that it has to be read first?
pub fn needs_body(cache: &ProxyCache, exchange: &Exchange) -> bool {
    match exchange.method {
        Method::Get | Method::Head => cache.key_has_body,
        Method::Post => cache.takes_post,
        _ => false,
    }
}

/// Asks the cache. `target` is what the peer would be asked for, if that is not the client's own.
pub async fn look_up(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    cache: &ProxyCache,
    target: Option<&[u8]>,
) -> Result<Step, ClientError> {
    let zone = match zone(local, exchange, cache) {
        Ok(Some(zone)) => zone,
        Ok(None) => return Ok(Step::Ask(None)),
        Err(status) => return Ok(Step::Done(Outcome::Failed(status))),
    };
    exchange.caching.zone = Some(zone.id);
    if any_is_set(&cache.purge, exchange) {
        write_key(exchange, cache, target);
        let outcome = purge(local, &zone, exchange).await;
        return Ok(Step::Done(outcome));
    }
    // A body that the key does not hold would answer for others, of whom nobody sent one.
    let has_body =
        !downstream.is_body_complete() || !exchange.body.is_empty() || exchange.body_file.is_some();
    let is_storable = match exchange.method {
        Method::Get | Method::Head => !has_body || cache.key_has_body,
        Method::Post => cache.takes_post,
        _ => false,
    };
    let is_safe = matches!(
        exchange.method,
        Method::Get | Method::Head | Method::Options | Method::Trace | Method::Propfind
    );
    if framing::wants_upgrade(&exchange.head).is_some() || (!is_storable && is_safe) {
        return Ok(Step::Ask(None));
    }
    write_key(exchange, cache, target);
    let digest = Key::new(&exchange.caching.key).digest;
    // Made for those only that ask a peer: most find their answer.
    let part_of_cache = |exchange: &Exchange| {
        Box::new(Caching {
            digest,
            key: exchange.caching.key.as_slice().into(),
            zone: Arc::clone(&zone),
            fill: None,
            asks_get: false,
            stored: None,
            may_be_stale: false,
            revalidates: false,
            // A POST whose answer is stored is a question.
            invalidates: !is_safe && !is_storable,
            is_personal: is_personal(exchange, plan, cache),
            forwarded: Forwarded::Method,
            remaining: None,
        })
    };
    if !is_storable {
        return Ok(Step::Ask(Some(part_of_cache(exchange))));
    }
    // Without its conversion an answer to HEAD is not stored; a stored one to GET answers it.
    let may_store = exchange.method != Method::Head || cache.convert_head;
    if any_is_set(&cache.bypass, exchange) {
        exchange.caching.status = Some(CacheStatus::Bypass);
        let mut caching = part_of_cache(exchange);
        caching.forwarded = Forwarded::Bypass;
        if may_store {
            let fill = zone.fill_alone(&caching.key());
            caching.store_with(fill, exchange, cache);
        }
        return Ok(Step::Ask(Some(caching)));
    }
    let wishes = (cache.client_control).then(|| Wishes::of_request(&exchange.head.fields));
    let patience = cache.lock_age.min(cache.lock_timeout);
    let mut waits_until = None;
    let mut asking = None;
    for _ in 0..ROUNDS {
        let mut has_variants = false;
        let mut choose = |entry: &Entry| {
            let fits = vary::fits(&entry.head.vary, selecting(exchange, plan));
            has_variants |= !fits;
            fits
        };
        let key = Key {
            digest,
            text: &exchange.caching.key,
        };
        let found = match zone.find(&key, &mut choose) {
            Found::OnDisk => {
                let until = clock::now() + PATIENCE;
                if wait(downstream, until, zone.load(&key)).await?.is_none() {
                    zone.gave_up_waiting();
                }
                zone.find(&key, &mut choose)
            }
            found => found,
        };
        let mut entry = match found {
            Found::Entry(entry) => Some(entry),
            // What the disk did not tell is not there.
            Found::OnDisk | Found::Nothing => None,
        };
        let standing = match &entry {
            Some(entry) => reuse::standing(&entry.head, now(), wishes.as_ref()),
            None => Standing::Unwanted,
        };
        if let (Some(found), Standing::Fresh) = (&entry, standing) {
            let status = match reuse::remaining(&found.head, now()) {
                1.. => CacheStatus::Hit,
                _ => CacheStatus::Stale,
            };
            let stored = Stored::Entry(Arc::clone(found));
            let sending = Sending::hit(&zone, cache, status);
            match send(local, exchange, downstream, plan, sending, stored).await? {
                Some(outcome) => return Ok(Step::Done(outcome)),
                // It cannot be read: another one takes its place.
                None => entry = None,
            }
        }
        if wishes.is_some_and(|wishes| wishes.only_if_cached) {
            exchange.caching.status = Some(CacheStatus::Miss);
            return Ok(Step::Done(Outcome::Failed(504)));
        }
        let caching = asking.get_or_insert_with(|| part_of_cache(exchange));
        (exchange.caching.status, caching.forwarded) = match (&entry, standing) {
            (Some(_), Standing::Unwanted) => (Some(CacheStatus::Bypass), Forwarded::Request),
            (Some(_), _) => (Some(CacheStatus::Expired), Forwarded::Stale),
            (None, _) if has_variants => (Some(CacheStatus::Miss), Forwarded::VaryMiss),
            (None, _) => (Some(CacheStatus::Miss), Forwarded::UriMiss),
        };
        caching.stored.clone_from(&entry);
        caching.may_be_stale = entry.is_some() && standing != Standing::Unwanted;
        let may_store = may_store
            && !wishes.is_some_and(|wishes| wishes.no_store)
            && !is_far(exchange, cache)
            && (entry.is_some()
                || cache.min_uses <= 1
                || zone.count_use(&caching.key()) >= cache.min_uses);
        if !may_store {
            return Ok(Step::Ask(asking));
        }
        let begin = zone.begin_fill(&caching.key());
        if let (
            Some(found),
            Standing::Stale {
                while_revalidate,
                may_be_stale,
                ..
            },
        ) = (&entry, standing)
            && (while_revalidate || (may_be_stale && cache.use_stale_updating))
        {
            let status = match &begin {
                Begin::Follow(_) => Some(CacheStatus::Updating),
                Begin::Fill(_) => (cache.background_update.unwrap_or(while_revalidate))
                    .then_some(CacheStatus::Stale),
            };
            if let Some(status) = status {
                if let Begin::Fill(fill) = begin {
                    renew_behind(local, exchange, cache, caching.behind(), fill);
                }
                let stored = Stored::Entry(Arc::clone(found));
                let sending = Sending::hit(&zone, cache, status);
                match send(local, exchange, downstream, plan, sending, stored).await? {
                    Some(outcome) => return Ok(Step::Done(outcome)),
                    None => continue,
                }
            }
        }
        let follower = match begin {
            Begin::Fill(fill) => {
                caching.store_with(fill, exchange, cache);
                return Ok(Step::Ask(asking));
            }
            Begin::Follow(follower) => follower,
        };
        if cache.lock {
            let until = *waits_until.get_or_insert_with(|| clock::now() + patience);
            match wait(downstream, until, follower.started()).await? {
                Some(Started::Filling(head))
                    if vary::fits(&head.vary, selecting(exchange, plan)) =>
                {
                    let stored = Stored::Flight(follower, head);
                    let sending = Sending::following(&zone, cache);
                    match send(local, exchange, downstream, plan, sending, stored).await? {
                        Some(outcome) => return Ok(Step::Done(outcome)),
                        None => continue,
                    }
                }
                Some(Started::Renewed(_)) => continue,
                // That answer is for others, or for nobody else; all who waited ask at once.
                Some(Started::Filling(_) | Started::Released) => {}
                // Whoever waited long enough goes as well; its answer is stored only if the one
                // that it waited for was given up (`proxy_cache_lock_age`).
                None if cache.lock_timeout <= cache.lock_age => {
                    return Ok(Step::Ask(asking));
                }
                None => {}
            }
        }
        let fill = zone.fill_alone(&caching.key());
        caching.store_with(fill, exchange, cache);
        return Ok(Step::Ask(asking));
    }
    Ok(Step::Ask(asking))
}

impl Caching {
    /// The same for a request of our own.
    fn behind(&self) -> Box<Self> {
        Box::new(Self {
            zone: Arc::clone(&self.zone),
            digest: self.digest,
            key: self.key.clone(),
            fill: None,
            asks_get: true,
            stored: self.stored.clone(),
            may_be_stale: true,
            revalidates: false,
            invalidates: false,
            is_personal: self.is_personal,
            forwarded: Forwarded::Stale,
            remaining: None,
        })
    }
}

/// Renews what is stored while the client gets what there is.
fn renew_behind(
    local: &Rc<Local>,
    exchange: &Exchange,
    cache: &ProxyCache,
    mut caching: Box<Caching>,
    fill: Fill,
) {
    let mut own = exchange.derive_same();
    own.slicing = exchange.slicing.again();
    own.caching.key.extend_from_slice(&exchange.caching.key);
    own.caching.status = Some(CacheStatus::Expired);
    caching.store_with(fill, &mut own, cache);
    caching.asks_get = true;
    let local = Rc::clone(local);
    tokio::task::spawn_local(async move {
        let settings = Arc::clone(&own.settings);
        let Some(plan) = local.plan(&settings) else {
            return;
        };
        let Some(cache) = &plan.proxy.cache else {
            return;
        };
        if let Ok(aim) = proxy::aim(&local, &mut own, &plan.proxy) {
            let mut nobody = Downstream::Detached(None);
            // Whatever it comes to, the client has its answer.
            let asked = proxy::ask(
                &local,
                &mut own,
                &mut nobody,
                plan,
                cache,
                &aim,
                Some(caching),
            );
            let _ = asked.await;
            account::count_attempts(&own);
        }
    });
}

/// Waits for something no longer than until then, nor than the client does.
async fn wait<T>(
    downstream: &mut Downstream,
    until: Instant,
    future: impl Future<Output = T>,
) -> Result<Option<T>, ClientError> {
    let mut future = pin!(future);
    let polled = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
    if let Poll::Ready(value) = polled {
        return Ok(Some(value));
    }
    let left = until.saturating_duration_since(clock::now());
    let deadline = Deadline::new();
    deadline.set(left.max(Duration::from_millis(1)));
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(Some(value)));
        }
        if downstream.is_body_complete() && downstream.poll_gone(context).is_ready() {
            return Poll::Ready(Err(ClientError::Closed(None)));
        }
        deadline.poll_expired(context).map(|()| Ok(None))
    })
    .await
}

/// The zone of a request; `Err` is the status of a request whose zone is not known.
fn zone(local: &Local, exchange: &Exchange, cache: &ProxyCache) -> Result<Option<Arc<Zone>>, u16> {
    let position = match &cache.zone {
        CacheZone::Known(position) => *position,
        CacheZone::Computed(template) => {
            let mut name = Vec::new();
            variables::expand(template, exchange, &mut name);
            if name.is_empty() || name == b"off" {
                return Ok(None);
            }
            let mut caches = exchange.http.caches.iter();
            match caches.position(|cache| cache.name.as_bytes() == name) {
                Some(position) => position,
                None => {
                    local.log(
                        exchange,
                        Level::Error,
                        format_args!("cache \"{}\" not found", name.escape_ascii()),
                    );
                    return Err(500);
                }
            }
        }
    };
    Ok(local.generation.cache(position).cloned())
}

/// Does one of these come out as something else than nothing and `0`?
fn any_is_set(templates: &[Template], exchange: &Exchange) -> bool {
    let mut scratch = Vec::new();
    templates.iter().any(|template| {
        let value = variables::value_of(template, exchange, &mut scratch);
        !value.is_empty() && value != b"0"
    })
}

/// Writes the key of a request into its exchange.
fn write_key(exchange: &mut Exchange, cache: &ProxyCache, target: Option<&[u8]>) {
    let mut key = std::mem::take(&mut exchange.caching.key);
    key.clear();
    // Whatever the key is made of, a form that was sent never answers one who sent none.
    if exchange.method == Method::Post {
        key.extend_from_slice(POST);
    }
    match &cache.key {
        Some(template) => variables::expand(template, exchange, &mut key),
        None => {
            key.extend_from_slice(exchange.proxy_scheme.prefix().as_bytes());
            key.extend_from_slice(&exchange.proxy_host);
            if let Some(host) = &cache.key_host {
                key.push(b'|');
                let start = key.len();
                variables::expand(host, exchange, &mut key);
                key[start..].make_ascii_lowercase();
                key.push(b'|');
            }
            let head = &exchange.head;
            key.extend_from_slice(target.unwrap_or_else(|| head.bytes(head.path_and_query)));
        }
    }
    exchange.caching.key = key;
}

/// Does the peer learn who asks, while the key does not hold it?
fn is_personal(exchange: &Exchange, plan: &Plan, cache: &ProxyCache) -> bool {
    if cache.key_is_personal {
        return false;
    }
    let proxy = &plan.proxy;
    let mut set = proxy.set_fields.iter();
    match set.find(|field| field.name.eq_ignore_ascii_case(b"Authorization")) {
        // The same for all is nobody's own.
        Some(field) => {
            let mut value = Vec::new();
            variables::expand(&field.value, exchange, &mut value);
            field.value.literal().is_none() && !value.is_empty()
        }
        None => proxy.pass_request_headers && exchange.head.fields.has(Known::Authorization),
    }
}

/// The value of a field as the peer gets it, for `Vary`: what the configuration puts in its place, or
/// else the client's.
fn selecting<'a>(
    exchange: &'a Exchange,
    plan: &'a Plan,
) -> impl FnMut(&[u8], &mut Vec<u8>) -> bool + 'a {
    |name, out| {
        let start = out.len();
        let mut set = plan.proxy.set_fields.iter();
        if let Some(field) = set.find(|field| field.name.eq_ignore_ascii_case(name)) {
            variables::expand(&field.value, exchange, out);
            return out.len() > start;
        }
        if !plan.proxy.pass_request_headers {
            return false;
        }
        let mut is_there = false;
        for (_, held, value) in exchange.head.fields.iter() {
            if held.eq_ignore_ascii_case(name) {
                if is_there {
                    out.extend_from_slice(b", ");
                }
                is_there = true;
                out.extend_from_slice(value);
            }
        }
        is_there
    }
}

/// Does the request want a range so far behind the start that the whole is not asked for
/// (`proxy_cache_max_range_offset`)?
fn is_far(exchange: &Exchange, cache: &ProxyCache) -> bool {
    let (Some(most), Some(range)) = (
        cache.max_range_offset,
        exchange.head.fields.known(Known::Range),
    ) else {
        return false;
    };
    let Some((unit, range)) = range.split_at_checked(6) else {
        return false;
    };
    let range = range.trim_ascii_start();
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return false;
    }
    // The end of something whose length is not known yet.
    if range.starts_with(b"-") {
        return true;
    }
    let digits = range.iter().take_while(|byte| byte.is_ascii_digit());
    let offset = digits.fold(0u64, |offset, digit| {
        offset
            .saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    offset >= most
}

/// Removes what a request names: what has the tags in its `Cache-Tag` or `Surrogate-Key`; without any
/// what its key stands for, with all variants, or if that ends with a `*`, all whose keys begin so.
async fn purge(local: &Local, zone: &Arc<Zone>, exchange: &Exchange) -> Outcome {
    let key = &exchange.caching.key;
    let tags = freshness::tags(&exchange.head.fields);
    let mut targets: Vec<Target> = tags.into_iter().map(Target::Tag).collect();
    if targets.is_empty() {
        match key.strip_suffix(b"*") {
            Some(prefix) => targets.push(Target::Prefix(prefix.into())),
            None if zone.remove(&Key::new(key)) => {
                // A disk that hangs has it removed when it goes on.
                let is_gone = timeout(PATIENCE, zone.buried()).await;
                if is_gone != Ok(true) {
                    local.log(
                        exchange,
                        Level::Warn,
                        format_args!("the disk is slow while purging the cache"),
                    );
                }
                return Outcome::Answered(204);
            }
            None => return Outcome::Failed(404),
        }
    }
    for target in targets {
        if let Err(error) = zone.purge(target).await {
            local.log(
                exchange,
                Level::Error,
                format_args!("{error} while purging the cache"),
            );
            return Outcome::Failed(500);
        }
    }
    Outcome::Answered(204)
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(clock::unix().as_millis()).unwrap_or(u64::MAX)
}
