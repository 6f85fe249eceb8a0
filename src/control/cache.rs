//! The cache for people: its zones, what is stored under a name, and its purging.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::{Control, kept, now};
use crate::cache::entry::{Entry, Head};
use crate::cache::key::Key;
use crate::cache::purge::Target;
use crate::cache::zone::Zone;
use crate::metrics::cache as counted;
use crate::process::desk::refusal;
use crate::protocol::{
    CacheEntries, CacheEntry, CacheKey, CacheName, CachePurge, CachePurged, CacheResults,
    CacheTarget, CacheZone, Caches, Refusal, RefusalCode,
};
use crate::serve::generation::Generation;

/// So many of the keys that are wanted most are told of each zone.
const HOTTEST: usize = 20;

/// So many entries in memory are searched for a URL.
const SEARCHED: usize = 10_000;

/// Every zone.
pub fn list(control: &Control) -> Caches {
    let generation = &control.desk.in_force().generation;
    Caches {
        zones: generation.caches().iter().map(told).collect(),
        llm: kept::list(),
    }
}

/// What is stored under a key or a URL.
pub async fn show(control: &Control, wanted: &CacheName) -> Result<CacheEntries, Refusal> {
    let generation = Arc::clone(&control.desk.in_force().generation);
    let zones = zones(&generation, wanted.zone.as_deref())?;
    let keys = candidates(&generation, &wanted.name);
    let mut entries = Vec::new();
    for zone in &zones {
        let mut found = Vec::new();
        for key in &keys {
            found.extend(zone.variants(&Key::new(key)).await);
        }
        if found.is_empty() {
            let named = |(entry, _): &(Arc<Entry>, u32)| *entry.head.url == *wanted.name.as_bytes();
            found.extend(zone.hottest(SEARCHED).into_iter().filter(named));
        }
        entries.extend((found.iter()).map(|(entry, uses)| told_entry(zone, entry, *uses)));
    }
    Ok(CacheEntries {
        looked_for: keys.iter().map(|key| text(key)).collect(),
        entries,
    })
}

/// Removes from the zones what is named.
pub async fn purge(control: &Control, wanted: &CachePurge) -> Result<CachePurged, Refusal> {
    let generation = Arc::clone(&control.desk.in_force().generation);
    let zones = zones(&generation, wanted.zone.as_deref())?;
    let mut targets = Vec::new();
    match &wanted.target {
        CacheTarget::Everything => targets.push(Target::Everything),
        CacheTarget::Tag(tag) => targets.push(Target::Tag(tag.as_bytes().into())),
        CacheTarget::Name(name) if name.is_empty() => {
            return Err(refusal(RefusalCode::Invalid, "nothing is named"));
        }
        CacheTarget::Name(name) if name.ends_with('*') => {
            targets.push(Target::parse(name.as_bytes()));
        }
        CacheTarget::Name(name) => {
            let keys = candidates(&generation, name);
            targets.extend(keys.into_iter().map(|key| Target::Exact(key.into())));
        }
    }
    for zone in &zones {
        for target in &targets {
            // A key that nobody has costs no rule.
            let purged = match target {
                Target::Exact(key) if **key != *target_name(&wanted.target) => {
                    zone.remove(&Key::new(key));
                    Ok(())
                }
                target => zone.purge(target.clone()).await,
            };
            purged.map_err(|error| {
                let code = match error {
                    crate::cache::zone::PurgeError::TooMany => RefusalCode::Busy,
                    crate::cache::zone::PurgeError::NotSaved => RefusalCode::Failed,
                };
                refusal(code, format!("cache zone `{}`: {error}", zone.conf().name))
            })?;
        }
    }
    Ok(CachePurged {
        zones: (zones.iter())
            .map(|zone| zone.conf().name.to_string())
            .collect(),
    })
}

fn target_name(target: &CacheTarget) -> &[u8] {
    match target {
        CacheTarget::Name(name) => name.as_bytes(),
        CacheTarget::Tag(_) | CacheTarget::Everything => b"",
    }
}

/// The zone with this name, or all.
fn zones(generation: &Generation, name: Option<&str>) -> Result<Vec<Arc<Zone>>, Refusal> {
    let all = generation.caches();
    let found: Vec<_> = all
        .iter()
        .filter(|zone| name.is_none_or(|name| *zone.conf().name == *name))
        .cloned()
        .collect();
    match (found.is_empty(), name) {
        (true, Some(name)) => {
            let names: Vec<_> = (all.iter())
                .map(|zone| format!("`{}`", zone.conf().name))
                .collect();
            Err(Refusal {
                hint: Some(match names.is_empty() {
                    true => "`proxy_cache_path` makes one".to_owned(),
                    false => format!("there are {}", names.join(", ")),
                }),
                ..refusal(
                    RefusalCode::NotFound,
                    format!("no cache zone is named `{name}`"),
                )
            })
        }
        _ => Ok(found),
    }
}

/// The keys that a name may mean: itself, and for a URL what the usual forms of `proxy_cache_key`
/// make of it.
fn candidates(generation: &Generation, name: &str) -> Vec<Vec<u8>> {
    let mut keys = vec![name.to_owned()];
    if let Some((scheme, rest)) = name.split_once("://") {
        let (host, uri) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, "/"),
        };
        let without_port = host.rsplit_once(':').map_or(host, |(host, _)| host);
        // The default: `$scheme$proxy_host$request_uri`, as it is written and as it is made without
        // being written, with the host where the peer is told it.
        for upstream in &generation.http.upstreams {
            for peer_scheme in ["http", "https"] {
                keys.push(format!("{peer_scheme}{}{uri}", upstream.name));
                let peer = format!("{peer_scheme}://{}", upstream.name);
                keys.push(format!("{peer}{uri}"));
                for host in [host, without_port] {
                    let host = host.to_ascii_lowercase();
                    keys.push(format!("{peer}|{host}|{uri}"));
                }
            }
        }
        for host in [host, without_port] {
            keys.push(format!("{scheme}{host}{uri}"));
            keys.push(format!("{scheme}://{host}{uri}"));
            keys.push(format!("{host}{uri}"));
        }
        keys.push(uri.to_owned());
    }
    let mut distinct: Vec<Vec<u8>> = Vec::new();
    for key in keys {
        let key = key.into_bytes();
        if !distinct.contains(&key) {
            distinct.push(key);
        }
    }
    distinct
}

fn told(zone: &Arc<Zone>) -> CacheZone {
    let conf = zone.conf();
    let extent = zone.extent();
    let totals = counted::totals(zone.id);
    let [hit, miss, expired, stale, updating, revalidated, bypass] = totals.results;
    let hottest = zone.hottest(HOTTEST);
    CacheZone {
        name: conf.name.to_string(),
        path: conf.path.display().to_string(),
        entries: extent.entries,
        most_entries: conf.capacity(),
        bytes: extent.bytes,
        most_bytes: conf.max_size,
        entries_in_memory: extent.entries_in_memory,
        bytes_in_memory: extent.bytes_in_memory,
        most_in_memory: conf.memory,
        inactive: conf.inactive.as_secs(),
        is_loading: extent.is_loading,
        is_aside: extent.is_aside,
        results: CacheResults {
            hit,
            miss,
            expired,
            stale,
            updating,
            revalidated,
            bypass,
        },
        saved: totals.saved,
        stored: zone.figures.stored.load(Relaxed),
        evicted: zone.figures.evicted.load(Relaxed),
        inactive_removed: zone.figures.expired.load(Relaxed),
        purged: zone.figures.purged.load(Relaxed),
        abandoned: zone.figures.abandoned.load(Relaxed),
        disk_errors: zone.figures.disk_errors.load(Relaxed),
        broken: zone.figures.broken.load(Relaxed),
        hottest: (hottest.iter())
            .map(|(entry, uses)| CacheKey {
                key: text(entry.key()),
                url: text(&entry.head.url),
                status: entry.head.status,
                length: entry.length,
                age: age(&entry.head),
                left: left(&entry.head),
                uses: *uses,
            })
            .collect(),
    }
}

fn told_entry(zone: &Arc<Zone>, entry: &Arc<Entry>, uses: u32) -> CacheEntry {
    let head = &entry.head;
    let fields = head.fields.split(|byte| *byte == b'\n');
    CacheEntry {
        zone: zone.conf().name.to_string(),
        key: text(entry.key()),
        url: text(&head.url),
        file: zone.file_of(entry).display().to_string(),
        status: head.status,
        length: entry.length,
        is_in_memory: entry.body().is_some(),
        stored: head.received,
        age: age(head),
        left: left(head),
        stale_while_revalidate: head.stale_while_revalidate,
        stale_if_error: head.stale_if_error,
        vary: (head.vary.iter())
            .map(|(name, value)| (text(name), value.as_deref().map(text)))
            .collect(),
        tags: head.tags.iter().map(|tag| text(tag)).collect(),
        fields: fields
            .map(|line| text(line.trim_ascii()))
            .filter(|line| !line.is_empty())
            .collect(),
        uses,
    }
}

/// How old it is (RFC 9111 section 4.2.3), in seconds.
fn age(head: &Head) -> u64 {
    head.age + now().saturating_sub(head.received) / 1000
}

/// For how many seconds more it is fresh; negative once it is stale.
fn left(head: &Head) -> i64 {
    let lifetime = i64::try_from(head.lifetime).unwrap_or(i64::MAX);
    lifetime.saturating_sub(i64::try_from(age(head)).unwrap_or(i64::MAX))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
