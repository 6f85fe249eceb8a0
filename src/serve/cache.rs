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

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use super::account;
use super::downstream::{ClientError, Downstream, Framing, framing_for};
use super::generation::Local;
use super::peer::deliver;
use super::proxy::{self, Outcome, Plan};
use super::{answer, proxy_fields};
use crate::cache::control::Wishes;
use crate::cache::entry::{Entry, Head};
use crate::cache::flight::{Fill, Follower, Started};
use crate::cache::freshness::{self, Answer, IS_ERROR, NO_RANGES, Refusal, Rules};
use crate::cache::key::{Digest, Key};
use crate::cache::purge::Target;
use crate::cache::reuse::{self, Standing};
use crate::cache::status::{self, Forwarded, Told};
use crate::cache::suffix;
use crate::cache::vary;
use crate::cache::zone::{Begin, Found, ReadError, Reader, Zone};
use crate::conf::template::Template;
use crate::conf::typed::location::IfModifiedSince;
use crate::conf::typed::log::Level;
use crate::conf::typed::proxy::NextUpstream;
use crate::conf::typed::proxy_cache::{CacheZone, Ignored, ProxyCache};
use crate::filter::begin;
use crate::http::body::Body;
use crate::http::conditional::{self, Verdict};
use crate::http::exchange::{CacheStatus, Exchange};
use crate::http::h1::framing;
use crate::http::h1::write::push_decimal;
use crate::http::head::{Fields, Known, Method, Version};
use crate::http::{buffer, date, range, slices, uri, variables};
use crate::net::deadline::Deadline;
use crate::unit::clock;

/// What of a stored body is queued for a client at once.
pub const PIECE: usize = 64 << 10;
/// So much of an answer that is being stored may wait for the client that caused it, at least. With
/// more it reads what is stored, as those do who follow: nobody is to wait for a slow one.
pub const AHEAD: usize = 1 << 20;
/// The greatest body of which several ranges are put together in memory.
const SEVERAL_RANGES: u64 = 4 << 20;
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

/// What is sent of the cache.
enum Stored {
    /// What is stored whole.
    Entry(Arc<Entry>),
    /// What another request is storing.
    Flight(Follower, Arc<Head>),
}

/// How it is sent.
struct Sending<'a> {
    zone: &'a Arc<Zone>,
    cache: &'a ProxyCache,
    status: CacheStatus,
    forwarded: Option<Forwarded>,
    forwarded_status: Option<u16>,
    is_collapsed: bool,
}

impl<'a> Sending<'a> {
    fn hit(zone: &'a Arc<Zone>, cache: &'a ProxyCache, status: CacheStatus) -> Self {
        Self {
            zone,
            cache,
            status,
            forwarded: None,
            forwarded_status: None,
            is_collapsed: false,
        }
    }

    fn following(zone: &'a Arc<Zone>, cache: &'a ProxyCache) -> Self {
        Self {
            is_collapsed: true,
            ..Self::hit(zone, cache, CacheStatus::Hit)
        }
    }
}

/// The bytes that are sent.
enum Source {
    Memory(Bytes),
    Disk(Reader),
    Flight(Follower),
}

/// Sends what is stored. `None` if it cannot be read, and then nothing was sent.
async fn send(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    plan: &Plan,
    sending: Sending<'_>,
    stored: Stored,
) -> Result<Option<Outcome>, ClientError> {
    let (entry, flight, flight_head);
    let (head, length) = match stored {
        Stored::Entry(found) => {
            entry = Some(found);
            flight = None;
            match &entry {
                Some(entry) => (&entry.head, Some(entry.length)),
                None => return Ok(None),
            }
        }
        Stored::Flight(follower, head) => {
            entry = None;
            let length = follower.length();
            flight = Some(follower);
            flight_head = head;
            (&*flight_head, length)
        }
    };
    exchange.caching.status = Some(sending.status);
    if head.flags & IS_ERROR != 0 {
        return Ok(Some(Outcome::Failed(head.status)));
    }
    let proxy = &*plan.proxy;
    exchange.upstream_head.reset();
    exchange.upstream_head.status = head.status;
    buffer::ensure(&mut exchange.upstream_head.fields.bytes);
    freshness::read_fields(&head.fields, &mut exchange.upstream_head.fields);
    exchange.upstream_head.length = exchange.upstream_head.fields.bytes.len();
    if proxy.intercept_errors && head.status >= 300 && answer::has_error_page(exchange, head.status)
    {
        return Ok(Some(Outcome::Intercepted(head.status)));
    }
    proxy_fields::take_response(exchange, plan, None);
    exchange.status = head.status;
    exchange.has_peer_reason = false;
    exchange.answer_length = length;
    let part = match slices::begin(exchange, length) {
        Ok(part) => part,
        Err(problem) => {
            local.log(
                exchange,
                Level::Error,
                format_args!("{problem} while reading the cache"),
            );
            return Ok(Some(Outcome::Failed(502)));
        }
    };
    if let Some(part) = part.as_ref().filter(|_| exchange.slicing.is_further) {
        let range = slices::share(exchange, part, None);
        let source = match (entry, flight) {
            (_, Some(follower)) => Source::Flight(follower),
            (Some(entry), None) => {
                match source_of(local, exchange, downstream, &sending, &entry, &range).await? {
                    Some(source) => source,
                    None => return Ok(None),
                }
            }
            (None, None) => return Ok(None),
        };
        return Ok(Some(
            match send_body(exchange, downstream, source, &range).await? {
                true => Outcome::Sent,
                false => break_off(local, exchange, downstream).await,
            },
        ));
    }
    let now = now();
    push_age(exchange, head, now);
    if let Some(name) = &sending.cache.status_name {
        let told = Told {
            forwarded: sending.forwarded,
            forwarded_status: sending.forwarded_status,
            remaining: Some(reuse::remaining(head, now)),
            is_stored: false,
            is_collapsed: sending.is_collapsed,
            detail: None,
        };
        exchange
            .answer
            .push(b"Cache-Status", &status::value(name, &told));
    }
    if is_known_to_client(exchange) {
        conditional::make_not_modified(exchange);
    }
    let modified = head
        .last_modified
        .and_then(|modified| i64::try_from(modified).ok());
    let has_trailers = answer::complete(exchange, modified);
    let filters = begin::begin(exchange);
    let mut body = None;
    let mut window = None;
    if wants_range(exchange)
        && filters.is_none()
        && exchange.status == 200
        && head.flags & NO_RANGES == 0
        && exchange.settings.max_ranges != Some(0)
    {
        // Several ranges are put together of what is there whole.
        let memory = (entry.as_ref().filter(|_| part.is_none())).and_then(|entry| entry.body());
        let wants_several = exchange
            .head
            .fields
            .known(Known::Range)
            .is_some_and(|range| range.contains(&b','));
        let cut = match memory.filter(|body| wants_several && body.len() as u64 <= SEVERAL_RANGES) {
            Some(whole) => {
                let whole = Body::Bytes(whole.to_vec());
                range::apply(exchange, whole).map(|cut| body = Some(cut))
            }
            None => range::apply_to_stream(exchange).map(|found| window = found),
        };
        if cut.is_err() {
            return Ok(Some(Outcome::Failed(416)));
        }
    }
    if has_trailers && exchange.head.version == Version::Http11 {
        exchange.answer_length = None;
    }
    let is_head = exchange.method == Method::Head || exchange.head.method == Method::Head;
    let has_body = !is_head
        && !matches!(exchange.status, 204 | 304)
        && (length != Some(0) || exchange.answer_length.is_none());
    let range = match &part {
        Some(part) if has_body => slices::share(exchange, part, window),
        _ => window.unwrap_or(0..length.unwrap_or(u64::MAX)),
    };
    let source = match (&entry, flight) {
        _ if !has_body => None,
        (_, Some(follower)) => Some(Source::Flight(follower)),
        (Some(entry), None) => match body {
            Some(Body::Bytes(bytes)) => Some(Source::Memory(bytes.into())),
            _ => match source_of(local, exchange, downstream, &sending, entry, &range).await? {
                Some(source) => Some(source),
                None => return Ok(None),
            },
        },
        (None, None) => None,
    };
    let framing = match has_body {
        true => framing_for(
            exchange.head.version,
            exchange.answer_length,
            exchange.settings.chunked_transfer_encoding,
        ),
        false => Framing::Nothing,
    };
    answer::start(local, exchange, downstream, framing, has_body);
    downstream.set_filters(filters.filter(|_| has_body));
    let sent = match source {
        Some(source) => send_body(exchange, downstream, source, &range).await?,
        None => true,
    };
    if !sent {
        return Ok(Some(break_off(local, exchange, downstream).await));
    }
    if exchange.slicing.rest.is_some() {
        return Ok(Some(Outcome::Sent));
    }
    answer::add_trailers(exchange);
    downstream.queue_end(&exchange.answer_trailers);
    exchange.bytes_sent += downstream.flush(exchange.settings.send_timeout).await?;
    answer::note_sent(exchange, downstream);
    exchange.is_complete = true;
    Ok(Some(Outcome::Sent))
}

/// Where the body of an entry is read from; `None` if it cannot be.
async fn source_of(
    local: &Local,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    sending: &Sending<'_>,
    entry: &Arc<Entry>,
    range: &Range<u64>,
) -> Result<Option<Source>, ClientError> {
    if let Some(body) = entry.body() {
        return Ok(Some(Source::Memory(
            body.slice(in_memory(range, body.len())),
        )));
    }
    match open(sending, downstream, entry, range.clone()).await? {
        Ok(reader) => Ok(Some(Source::Disk(reader))),
        Err(error) => {
            local.log(
                exchange,
                Level::Warn,
                format_args!("{error} while reading the cache"),
            );
            exchange.answer.clear();
            Ok(None)
        }
    }
}

/// Opens a body that is on the disk, if that does not take too long.
async fn open(
    sending: &Sending<'_>,
    downstream: &mut Downstream,
    entry: &Arc<Entry>,
    range: Range<u64>,
) -> Result<Result<Reader, ReadError>, ClientError> {
    let until = clock::now() + PATIENCE;
    let opened = wait(downstream, until, sending.zone.open(entry, range)).await?;
    Ok(opened.unwrap_or_else(|| {
        sending.zone.gave_up_waiting();
        Err(ReadError::Busy)
    }))
}

/// Sends what a client is behind with of an answer that is whole by now, and with it the end. An
/// outcome if that did not succeed.
pub async fn send_rest(
    local: &Local,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    behind: Follower,
    window: Option<Range<u64>>,
) -> Result<Option<Outcome>, ClientError> {
    let range = window.unwrap_or(0..u64::MAX);
    if !send_body(exchange, downstream, Source::Flight(behind), &range).await? {
        return Ok(Some(break_off(local, exchange, downstream).await));
    }
    if exchange.slicing.rest.is_none() && !exchange.slicing.is_further {
        answer::add_trailers(exchange);
        downstream.queue_end(&exchange.answer_trailers);
    }
    exchange.bytes_sent += downstream.flush(exchange.settings.send_timeout).await?;
    Ok(None)
}

/// What was stored cannot be read on: the client gets what was read, then it sees the cut.
pub async fn break_off(
    local: &Local,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
) -> Outcome {
    local.log(
        exchange,
        Level::Error,
        format_args!("a stored answer broke off while sending to client"),
    );
    if let Ok(count) = downstream.flush(exchange.settings.send_timeout).await {
        exchange.bytes_sent += count;
    }
    answer::note_sent(exchange, downstream);
    Outcome::Cut
}

/// Sends a body; `false` if it cannot be read to its end.
async fn send_body(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    source: Source,
    range: &Range<u64>,
) -> Result<bool, ClientError> {
    let timeout = exchange.settings.send_timeout;
    match source {
        Source::Memory(bytes) => {
            for piece in bytes.chunks(PIECE) {
                if downstream.queued() >= PIECE {
                    exchange.bytes_sent += downstream.flush(timeout).await?;
                }
                downstream.queue(piece);
                answer::rest(downstream).await;
            }
        }
        Source::Disk(mut reader) => loop {
            let until = clock::now() + timeout;
            match wait(downstream, until, reader.next()).await? {
                Some(Ok(Some(bytes))) => downstream.queue(&bytes),
                Some(Ok(None)) => break,
                Some(Err(_)) | None => return Ok(false),
            }
            answer::rest(downstream).await;
            if downstream.queued() >= PIECE {
                exchange.bytes_sent += downstream.flush(timeout).await?;
            }
        },
        Source::Flight(mut follower) => {
            let mut position = follower.position();
            while position < range.end {
                // What came is sent before more is awaited.
                let next = {
                    let mut next = pin!(follower.next());
                    poll_fn(|context| {
                        if let Poll::Ready(next) = next.as_mut().poll(context) {
                            return Poll::Ready(Ok(next));
                        }
                        // What waits for more is not held back meanwhile.
                        if downstream.queued() > 0 || downstream.flush_filters() {
                            match downstream.poll_flush(context, timeout) {
                                Poll::Ready(Ok(count)) => exchange.bytes_sent += count as u64,
                                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                                Poll::Pending => {}
                            }
                        } else if downstream.poll_gone(context).is_ready() {
                            return Poll::Ready(Err(ClientError::Closed(None)));
                        }
                        Poll::Pending
                    })
                    .await?
                };
                match next {
                    Ok(Some(bytes)) => {
                        deliver(Some(range), position, &bytes, downstream);
                        position += bytes.len() as u64;
                    }
                    Ok(None) => break,
                    Err(_) => return Ok(false),
                }
                answer::rest(downstream).await;
                if downstream.queued() >= PIECE {
                    exchange.bytes_sent += downstream.flush(timeout).await?;
                }
            }
        }
    }
    Ok(true)
}

fn in_memory(range: &Range<u64>, length: usize) -> Range<usize> {
    let place = |position: u64| usize::try_from(position).unwrap_or(length).min(length);
    place(range.start)..place(range.end)
}

/// `Age`, and the `Date` that it belongs to (RFC 9111 section 5.1, RFC 9110 section 6.6.1).
fn push_age(exchange: &mut Exchange, head: &Head, now: u64) {
    let age = reuse::age(head, now);
    exchange.caching.age = Some(age);
    let mut digits = buffer::take_small();
    push_decimal(&mut digits, age);
    exchange
        .answer
        .push_known(Some(Known::Age), b"Age", &digits);
    buffer::give_back(digits);
    if !exchange.answer.has(Known::Date) {
        let date = head.date.unwrap_or(head.received / 1000);
        let date = date::http(i64::try_from(date).unwrap_or(i64::MAX));
        exchange
            .answer
            .push_known(Some(Known::Date), b"Date", &date);
    }
}

/// Has the client what it asks for (RFC 9110 section 13.2.2)? The conditions that protect a change are
/// not a cache's to judge (RFC 9111 section 4.3.2).
pub fn is_known_to_client(exchange: &Exchange) -> bool {
    let request = &exchange.head.fields;
    if exchange.status != 200 || !matches!(exchange.method, Method::Get | Method::Head) {
        return false;
    }
    if request.has(Known::IfNoneMatch) {
        return conditional::lists_tag(request, exchange.answer.known(Known::Etag));
    }
    let Some(since) = request.known(Known::IfModifiedSince) else {
        return false;
    };
    let modified = match exchange.answer.known(Known::LastModified) {
        // What is stored was true at its date (RFC 9111 section 4.3.2).
        None if exchange.caching.age.is_some() => exchange.answer.known(Known::Date),
        modified => modified,
    };
    let Some(modified) = modified.and_then(date::parse) else {
        return false;
    };
    let mut asked = Fields::default();
    asked.push_known(Some(Known::IfModifiedSince), b"If-Modified-Since", since);
    let rule: IfModifiedSince = exchange.settings.if_modified_since;
    conditional::evaluate(&asked, modified, None, rule) == Verdict::NotModified
}

/// Does the client want a range that can be cut from what is stored? A range means nothing for
/// another method than GET (RFC 9110 section 14.2), and a weak tag in `If-Range` is that of no copy
/// (section 13.1.5).
pub fn wants_range(exchange: &Exchange) -> bool {
    let request = &exchange.head.fields;
    exchange.head.method == Method::Get
        && request.has(Known::Range)
        && !(request.known(Known::IfRange)).is_some_and(|tag| tag.starts_with(b"W/"))
}

/// Milliseconds since 1970.
fn now() -> u64 {
    u64::try_from(clock::unix().as_millis()).unwrap_or(u64::MAX)
}

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
