//! What is said of the cache.

use serde::{Deserialize, Serialize};

use super::Millis;

/// The cache.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Caches {
    /// Every `proxy_cache_path`, in the order of the configuration.
    pub zones: Vec<CacheZone>,
    /// The answers of language models that are kept (`llm_cache`), if any were looked for since the
    /// process started.
    pub llm: Option<KeptAnswers>,
}

/// Answers of language models that are kept. What was asked and what was answered is told nowhere.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptAnswers {
    /// How many.
    pub answers: u64,
    /// What they take in memory.
    pub bytes: u64,
    /// `llm_cache_size`
    pub most_bytes: u64,
    /// What came of looking for one, since the process started.
    pub results: CacheResults,
    /// What those that were there have saved since, in dollars.
    pub saved: String,
    /// How many have given way to others.
    pub evicted: u64,
    /// How many were purged.
    pub purged: u64,
    /// By whose they are and by model, those that take most first; no more than five hundred.
    pub shares: Vec<KeptShare>,
}

/// Kept answers that somebody has of one model.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptShare {
    /// The name of the key whose they are; `#7` for one that is gone.
    pub key: Option<String>,
    /// The name of the group whose they are. Without a key and a group they are everybody's.
    pub group: Option<String>,
    /// The model, as it was asked for.
    pub model: String,
    /// What was wanted: `chat`, `embeddings`.
    pub operation: String,
    /// How many.
    pub answers: u64,
    /// What they take.
    pub bytes: u64,
    /// How often they were given again.
    pub hits: u64,
    /// What that has saved, in dollars.
    pub saved: String,
    /// For how many seconds the oldest of them is kept.
    pub oldest: u64,
    /// The same of the newest.
    pub newest: u64,
}

impl KeptShare {
    /// Whose they are, in words.
    pub fn whose(&self) -> String {
        match (&self.key, &self.group) {
            (Some(key), _) => format!("key {key}"),
            (None, Some(group)) => format!("group {group}"),
            (None, None) => "everybody".to_owned(),
        }
    }
}

/// Which kept answers of language models are to be removed: those of which all holds that is said, and all
/// if nothing is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeptPurge {
    /// Those of the key with this name, or `#7` for one that is gone.
    pub key: Option<String>,
    /// Those of this group.
    pub group: Option<String>,
    /// Those that everybody has.
    pub everybody: bool,
    /// Those of this model: as clients call it, as its provider does, or `PROVIDER/MODEL`.
    pub model: Option<String>,
}

impl KeptPurge {
    /// What is meant, in words.
    pub fn words(&self) -> String {
        let mut words = match &self.model {
            Some(model) => format!("kept answers of {model}"),
            None => "all kept answers".to_owned(),
        };
        match (&self.key, &self.group) {
            (Some(key), _) => words.push_str(&format!(" for the key {key}")),
            (None, Some(group)) => words.push_str(&format!(" for the group {group}")),
            (None, None) if self.everybody => words.push_str(" for everybody"),
            (None, None) => {}
        }
        words
    }
}

/// What was removed of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct KeptPurged {
    /// How many.
    pub answers: u64,
    /// What they took.
    pub bytes: u64,
}

/// A zone of the cache. What is counted is counted since the process started.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheZone {
    /// The name in `keys_zone`.
    pub name: String,
    /// Its directory.
    pub path: String,
    /// Entries.
    pub entries: u64,
    /// How many the size in `keys_zone` allows.
    pub most_entries: u64,
    /// What they take on the disk.
    pub bytes: u64,
    /// `max_size`, if there is one.
    pub most_bytes: Option<u64>,
    /// Entries in memory.
    pub entries_in_memory: u64,
    /// What they take there.
    pub bytes_in_memory: u64,
    /// `memory`
    pub most_in_memory: u64,
    /// `inactive`, in seconds.
    pub inactive: u64,
    /// Is its directory still being read? It serves meanwhile.
    pub is_loading: bool,
    /// Is nothing stored for now, because the disk failed?
    pub is_aside: bool,
    /// What came of looking into it.
    pub results: CacheResults,
    /// Bytes that were sent from it.
    pub saved: u64,
    /// Entries that were stored.
    pub stored: u64,
    /// Entries that were removed to make room.
    pub evicted: u64,
    /// Entries that were removed because nobody wanted them for [`Self::inactive`].
    pub inactive_removed: u64,
    /// Entries that were purged.
    pub purged: u64,
    /// Answers that were not stored because of the disk.
    pub abandoned: u64,
    /// Failures of the disk.
    pub disk_errors: u64,
    /// Files that were not what was written.
    pub broken: u64,
    /// What is in memory and wanted most.
    pub hottest: Vec<CacheKey>,
}

impl CacheZone {
    /// How it does, in a word or two.
    pub fn state(&self) -> &'static str {
        match (self.is_aside, self.is_loading) {
            (true, _) => "stores nothing",
            (_, true) => "loading",
            _ => "ok",
        }
    }
}

/// How often something came of looking into the cache.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheResults {
    /// It was there.
    pub hit: u64,
    /// Nothing was stored.
    pub miss: u64,
    /// It was stale, and the origin gave another.
    pub expired: u64,
    /// It was stale, and nothing better was to be had.
    pub stale: u64,
    /// It was stale, and another request renews it.
    pub updating: u64,
    /// It was stale, and the origin said that it is still good.
    pub revalidated: u64,
    /// The cache was not to be asked.
    pub bypass: u64,
}

impl CacheResults {
    /// Each with its name, as `$upstream_cache_status` has it.
    pub fn named(&self) -> [(&'static str, u64); 7] {
        [
            ("HIT", self.hit),
            ("MISS", self.miss),
            ("EXPIRED", self.expired),
            ("STALE", self.stale),
            ("UPDATING", self.updating),
            ("REVALIDATED", self.revalidated),
            ("BYPASS", self.bypass),
        ]
    }

    /// All of them.
    pub fn all(&self) -> u64 {
        self.named().iter().map(|(_, count)| count).sum()
    }

    /// Those whose answer was the cache's.
    pub fn from_cache(&self) -> u64 {
        self.hit + self.stale + self.updating + self.revalidated
    }
}

/// A key that is wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheKey {
    /// Its text.
    pub key: String,
    /// What the client asked for when it was stored.
    pub url: String,
    /// The status of the answer.
    pub status: u16,
    /// The length of its body.
    pub length: u64,
    /// How old it is, in seconds.
    pub age: u64,
    /// For how many seconds it is fresh; negative once it is stale.
    pub left: i64,
    /// How often it was wanted.
    pub uses: u32,
}

/// What is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheName {
    /// Only in this zone.
    pub zone: Option<String>,
    /// A key, or a URL.
    pub name: String,
}

/// What is stored under a name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheEntries {
    /// The keys that the name may mean.
    pub looked_for: Vec<String>,
    /// What was found; the variants of one key, the newest first.
    pub entries: Vec<CacheEntry>,
}

/// An entry of the cache.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheEntry {
    /// Its zone.
    pub zone: String,
    /// The text of its key.
    pub key: String,
    /// What the client asked for when it was stored.
    pub url: String,
    /// Its file.
    pub file: String,
    /// The status of the answer.
    pub status: u16,
    /// The length of its body.
    pub length: u64,
    /// Is its body in memory?
    pub is_in_memory: bool,
    /// When it was stored, or renewed last.
    pub stored: Millis,
    /// How old it is, in seconds.
    pub age: u64,
    /// For how many seconds it is fresh; negative once it is stale.
    pub left: i64,
    /// For so many seconds more it may be served while it is renewed.
    pub stale_while_revalidate: u32,
    /// For so many seconds more it may be served when the origin fails.
    pub stale_if_error: u32,
    /// The fields that `Vary` names, with the values that it is for.
    pub vary: Vec<(String, Option<String>)>,
    /// What it may be purged by.
    pub tags: Vec<String>,
    /// The fields of the answer.
    pub fields: Vec<String>,
    /// How often it was wanted.
    pub uses: u32,
}

impl CacheEntry {
    /// How fresh it is, and what may still be done with it, in words.
    pub fn freshness(&self) -> String {
        let Ok(over) = u64::try_from(-self.left) else {
            return format!("for {} s more", self.left);
        };
        let mut text = format!("stale since {over} s: it is asked for again when it is wanted");
        for (window, what) in [
            (self.stale_while_revalidate, "while it is renewed"),
            (self.stale_if_error, "if the origin fails"),
        ] {
            let left = u64::from(window).saturating_sub(over);
            if left > 0 {
                text.push_str(&format!("; for {left} s more it may be served {what}"));
            }
        }
        text
    }
}

/// What is to be removed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CachePurge {
    /// Only in this zone.
    #[serde(default)]
    pub zone: Option<String>,
    /// What.
    pub target: CacheTarget,
}

/// See [`CachePurge::target`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheTarget {
    /// A key or a URL; with `*` at its end, all that begin so.
    Name(String),
    /// All with this tag.
    Tag(String),
    /// All.
    Everything,
}

/// Where it was removed.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CachePurged {
    /// The zones.
    pub zones: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_for_how_long_it_may_still_be_served() {
        let mut entry = CacheEntry {
            left: 5,
            stale_while_revalidate: 30,
            stale_if_error: 600,
            ..CacheEntry::default()
        };
        assert_eq!(entry.freshness(), "for 5 s more");
        entry.left = -10;
        assert_eq!(
            entry.freshness(),
            "stale since 10 s: it is asked for again when it is wanted; for 20 s more it may be \
             served while it is renewed; for 590 s more it may be served if the origin fails"
        );
        entry.left = -700;
        assert_eq!(
            entry.freshness(),
            "stale since 700 s: it is asked for again when it is wanted"
        );
    }
}
