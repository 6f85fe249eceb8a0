//! `openclaw cache`: the zones of the cache, what is stored, the kept answers of language models, and
//! their purging.

use std::fmt::Write as _;

use super::config::agree;
use super::figures::{age, bytes, count, part};
use super::print;
use super::session::{Failure, Session, print_json};
use super::table::{Side, Table};
use super::words::{CacheWord, Daemon};
use crate::protocol::{
    CacheEntries, CacheEntry, CacheName, CachePurge, CachePurged, CacheTarget, CacheZone, Caches,
    KeptAnswers, KeptPurge, KeptPurged,
};
use crate::unit::printable::escape;

/// Does what the word says; without one the zones are listed.
pub fn run(session: &Session, word: Option<&CacheWord>) -> Result<(), Failure> {
    match word {
        None => list(session),
        Some(CacheWord::Show { name, zone, .. }) => {
            let name = CacheName {
                zone: zone.clone(),
                name: name.clone(),
            };
            show(session, &name)
        }
        Some(CacheWord::Keys { zone, .. }) => keys(session, zone.as_deref()),
        Some(CacheWord::Llm { .. }) => kept(session),
        Some(CacheWord::Purge {
            llm: true,
            model,
            key,
            group,
            agreement,
            ..
        }) => {
            let purge = KeptPurge {
                key: key.clone(),
                group: group.clone(),
                everybody: false,
                model: model.clone(),
            };
            agree(*agreement, &format!("remove {}?", escape(&purge.words())))?;
            let purged: KeptPurged = session.post("/v1/llm/cache/purge", &purge)?;
            match session.json {
                true => print_json(&purged),
                false => print(&format!(
                    "purged {} kept answers, {}\n",
                    count(purged.answers),
                    bytes(purged.bytes)
                )),
            }
            Ok(())
        }
        Some(CacheWord::Purge {
            name,
            tag,
            all,
            zone,
            agreement,
            ..
        }) => {
            let (target, question) = match (name, tag, all, zone) {
                (Some(name), ..) if name == "*" => (
                    CacheTarget::Everything,
                    Some("remove everything from all zones?".to_owned()),
                ),
                (Some(name), ..) => (
                    CacheTarget::Name(name.clone()),
                    (name.ends_with('*')).then(|| format!("remove all that begins so: `{name}`?")),
                ),
                (_, Some(tag), ..) => (CacheTarget::Tag(tag.clone()), None),
                (.., Some(zone)) => (
                    CacheTarget::Everything,
                    Some(format!("remove everything from the zone `{zone}`?")),
                ),
                (_, _, true, None) => (
                    CacheTarget::Everything,
                    Some("remove everything from all zones?".to_owned()),
                ),
                (None, None, false, None) => {
                    return Err(Failure::failed(
                        "say what is to be removed: a URL, a key, `PREFIX*`, `--tag`, `--zone` or \
                         `--all`",
                    ));
                }
            };
            if let Some(question) = question {
                agree(*agreement, &question)?;
            }
            let purge = CachePurge {
                zone: zone.clone(),
                target,
            };
            let purged: CachePurged = session.post("/v1/cache/purge", &purge)?;
            if session.json {
                print_json(&purged);
            } else if purged.zones.is_empty() {
                print("there is no cache: `proxy_cache_path` makes one\n");
            } else {
                print(&format!("purged in {}\n", purged.zones.join(", ")));
            }
            Ok(())
        }
    }
}

/// The options of the daemon that stand behind a word.
pub fn daemon(word: Option<&CacheWord>, outer: &Daemon) -> Daemon {
    match word {
        None => outer.clone(),
        Some(
            CacheWord::Show { daemon, .. }
            | CacheWord::Keys { daemon, .. }
            | CacheWord::Llm { daemon }
            | CacheWord::Purge { daemon, .. },
        ) => daemon.or(outer),
    }
}

fn list(session: &Session) -> Result<(), Failure> {
    let caches: Caches = session.get("/v1/cache")?;
    if session.json {
        print_json(&caches);
        return Ok(());
    }
    let sum = caches.llm.as_ref().map(sum_of_kept).unwrap_or_default();
    if caches.zones.is_empty() {
        match sum.as_str() {
            "" => print("there is no cache: `proxy_cache_path` makes one\n"),
            sum => print(sum),
        }
        return Ok(());
    }
    let mut table = Table::new(&[
        ("ZONE", Side::Left),
        ("USED", Side::Right),
        ("MAX", Side::Right),
        ("ENTRIES", Side::Right),
        ("MEMORY", Side::Right),
        ("HIT", Side::Right),
        ("SAVED", Side::Right),
        ("INACTIVE", Side::Right),
        ("STATE", Side::Left),
    ]);
    for zone in &caches.zones {
        table.row([
            zone.name.clone(),
            bytes(zone.bytes),
            zone.most_bytes.map_or("–".to_owned(), bytes),
            count(zone.entries),
            bytes(zone.bytes_in_memory),
            part(zone.results.from_cache(), zone.results.all()),
            bytes(zone.saved),
            age(zone.inactive),
            zone.state().to_owned(),
        ]);
    }
    let mut results = Table::new(&[
        ("ZONE", Side::Left),
        ("HIT", Side::Right),
        ("MISS", Side::Right),
        ("EXPIRED", Side::Right),
        ("STALE", Side::Right),
        ("UPDATING", Side::Right),
        ("REVALIDATED", Side::Right),
        ("BYPASS", Side::Right),
        ("STORED", Side::Right),
        ("EVICTED", Side::Right),
        ("PURGED", Side::Right),
        ("DISK ERRORS", Side::Right),
    ]);
    for zone in &caches.zones {
        let numbers = zone.results.named().map(|(_, number)| count(number));
        let more = [zone.stored, zone.evicted, zone.purged, zone.disk_errors].map(count);
        results.row([zone.name.clone()].into_iter().chain(numbers).chain(more));
    }
    print(&format!("{}\n{}", table.text(), results.text()));
    if !sum.is_empty() {
        print(&format!("\n{sum}"));
    }
    Ok(())
}

/// The kept answers of language models in a line.
fn sum_of_kept(kept: &KeptAnswers) -> String {
    format!(
        "answers of models: {} kept, {} of {}; hit {}, saved ${} (`openclaw cache llm`)\n",
        count(kept.answers),
        bytes(kept.bytes),
        bytes(kept.most_bytes),
        part(kept.results.from_cache(), kept.results.all()),
        kept.saved
    )
}

/// Whose kept answers of which model there are.
fn kept(session: &Session) -> Result<(), Failure> {
    let caches: Caches = session.get("/v1/cache")?;
    let kept = caches.llm.unwrap_or_default();
    if session.json {
        print_json(&kept);
        return Ok(());
    }
    if kept.results.all() == 0 {
        print("no answer was looked for yet: `llm_cache` keeps them\n");
        return Ok(());
    }
    let mut table = Table::new(&[
        ("WHOSE", Side::Left),
        ("MODEL", Side::Left),
        ("FOR", Side::Left),
        ("ANSWERS", Side::Right),
        ("SIZE", Side::Right),
        ("HITS", Side::Right),
        ("SAVED", Side::Right),
        ("OLDEST", Side::Right),
        ("NEWEST", Side::Right),
    ]);
    for share in &kept.shares {
        table.row([
            share.whose(),
            share.model.clone(),
            share.operation.clone(),
            count(share.answers),
            bytes(share.bytes),
            count(share.hits),
            format!("${}", share.saved),
            age(share.oldest),
            age(share.newest),
        ]);
    }
    if !table.is_empty() {
        print(&format!("{}\n", table.text()));
    }
    print(&format!(
        "{}{} gave way to others, {} purged\n",
        sum_of_kept(&kept).replace(" (`openclaw cache llm`)", ""),
        count(kept.evicted),
        count(kept.purged)
    ));
    Ok(())
}

fn show(session: &Session, name: &CacheName) -> Result<(), Failure> {
    let found: CacheEntries = session.post("/v1/cache/show", name)?;
    if session.json {
        print_json(&found);
        return Ok(());
    }
    if found.entries.is_empty() {
        let mut text = format!(
            "nothing is stored for `{}`\nlooked for the keys\n",
            escape(&name.name)
        );
        for key in &found.looked_for {
            let _ = writeln!(text, "    {}", escape(key));
        }
        return Err(Failure::failed(text.trim_end()));
    }
    let texts: Vec<String> = found.entries.iter().map(described).collect();
    print(&texts.join("\n"));
    Ok(())
}

fn described(entry: &CacheEntry) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "{name:10}{}", escape(value));
    };
    line("key", &entry.key);
    if !entry.url.is_empty() {
        line("url", &entry.url);
    }
    line("zone", &entry.zone);
    line("file", &entry.file);
    let place = if entry.is_in_memory {
        ", in memory"
    } else {
        ""
    };
    line(
        "answer",
        &format!("{}, {}{place}", entry.status, bytes(entry.length)),
    );
    line("age", &age(entry.age));
    line("fresh", &entry.freshness());
    line("wanted", &format!("{} times", entry.uses));
    for (name, value) in &entry.vary {
        let value = value.as_deref().unwrap_or("(not sent)");
        line("for", &format!("{name}: {value}"));
    }
    if !entry.tags.is_empty() {
        line("tags", &entry.tags.join(" "));
    }
    for (position, field) in entry.fields.iter().enumerate() {
        line(if position == 0 { "head" } else { "" }, field);
    }
    text
}

fn keys(session: &Session, zone: Option<&str>) -> Result<(), Failure> {
    let mut caches: Caches = session.get("/v1/cache")?;
    caches
        .zones
        .retain(|known| zone.is_none_or(|zone| known.name == zone));
    if session.json {
        let hottest: Vec<_> = (caches.zones.iter())
            .map(|zone| (&zone.name, &zone.hottest))
            .collect();
        print_json(&hottest);
        return Ok(());
    }
    let mut table = Table::new(&[
        ("USES", Side::Right),
        ("SIZE", Side::Right),
        ("AGE", Side::Right),
        ("FRESH", Side::Right),
        ("ZONE", Side::Left),
        ("KEY", Side::Left),
    ]);
    let mut rows: Vec<(&CacheZone, _)> = (caches.zones.iter())
        .flat_map(|zone| zone.hottest.iter().map(move |key| (zone, key)))
        .collect();
    rows.sort_by_key(|(_, key)| std::cmp::Reverse(key.uses));
    for (zone, key) in rows {
        let left = match u64::try_from(key.left) {
            Ok(left) => age(left),
            Err(_) => "stale".to_owned(),
        };
        table.row([
            count(u64::from(key.uses)),
            bytes(key.length),
            age(key.age),
            left,
            zone.name.clone(),
            key.key.clone(),
        ]);
    }
    match table.is_empty() {
        true => print("nothing is in memory\n"),
        false => print(&table.text()),
    }
    Ok(())
}
