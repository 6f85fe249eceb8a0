//! What came of looking into the cache, for each zone.
//!
//! A zone has a small number, given out once for its name and kept for as long as the process runs.
//! Each worker thread has a page of its own with a tally for each zone and writes there with plain
//! loads and stores.

use std::cell::RefCell;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;

use super::registry::Counter;

/// So many zones have tallies of their own; those that come later share the last one.
const MOST: usize = 64;

/// The number of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheId(usize);

/// What came of it, as `$upstream_cache_status` has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CacheResult {
    /// It was there.
    Hit,
    /// Nothing was stored.
    Miss,
    /// It was stale, and the origin gave another.
    Expired,
    /// It was stale, and nothing better was to be had.
    Stale,
    /// It was stale, and another request renews it.
    Updating,
    /// It was stale, and the origin said that it is still good.
    Revalidated,
    /// The cache was not to be asked.
    Bypass,
}

impl CacheResult {
    /// All, in the order of [`CacheTotals::results`].
    pub const ALL: [Self; 7] = [
        Self::Hit,
        Self::Miss,
        Self::Expired,
        Self::Stale,
        Self::Updating,
        Self::Revalidated,
        Self::Bypass,
    ];

    /// Its name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Expired => "expired",
            Self::Stale => "stale",
            Self::Updating => "updating",
            Self::Revalidated => "revalidated",
            Self::Bypass => "bypass",
        }
    }

    /// Was the answer, its head at least, the cache's?
    pub fn is_saved(self) -> bool {
        matches!(
            self,
            Self::Hit | Self::Stale | Self::Updating | Self::Revalidated
        )
    }
}

/// What is known of a zone.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CacheTotals {
    /// How often each of [`CacheResult::ALL`] came.
    pub results: [u64; 7],
    /// Bytes that were sent from the cache.
    pub saved: u64,
}

/// A zone of the configuration in force.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListedCache {
    /// Its name.
    pub zone: String,
    /// Entries.
    pub entries: u64,
    /// What they take on the disk.
    pub size_bytes: u64,
    /// What entries take in memory.
    pub memory_bytes: u64,
    /// How often each of [`CacheResult::ALL`] came.
    pub results: [u64; 7],
    /// Bytes that were sent from the cache.
    pub saved_bytes: u64,
    /// Entries that were stored.
    pub stored: u64,
    /// Entries that were removed to make room.
    pub evicted: u64,
    /// Entries that were removed because nobody wanted them for long.
    pub inactive: u64,
    /// Entries that were purged.
    pub purged: u64,
    /// Answers that were not stored because of the disk.
    pub abandoned: u64,
    /// Failures of the disk.
    pub disk_errors: u64,
    /// Files that were not what was written.
    pub broken: u64,
}

/// The number of a zone; the same for the same name.
pub fn cache_id(name: &str) -> CacheId {
    let mut names = NAMES.lock();
    let known = names.iter().position(|known| &**known == name);
    CacheId(known.unwrap_or_else(|| {
        if names.len() < MOST {
            names.push(name.into());
        }
        names.len() - 1
    }))
}

/// Counts a request that the cache had to do with, and what was sent of its answer.
pub fn count(zone: CacheId, result: CacheResult, sent: u64) {
    MINE.with_borrow_mut(|mine| {
        let page = mine.get_or_insert_with(|| {
            let page: Arc<Page> = Arc::new(std::array::from_fn(|_| Tally::default()));
            PAGES.lock().push(Arc::clone(&page));
            page
        });
        let tally = &page[zone.0];
        tally.results[result as usize].increase();
        if result.is_saved() {
            tally.saved.add(sent);
        }
    });
}

/// What is known of a zone, all threads taken together.
pub fn totals(zone: CacheId) -> CacheTotals {
    let mut totals = CacheTotals::default();
    for page in PAGES.lock().iter() {
        let tally = &page[zone.0];
        for (sum, count) in totals.results.iter_mut().zip(&tally.results) {
            *sum += count.value();
        }
        totals.saved += tally.saved.value();
    }
    totals
}

#[derive(Default, Debug)]
struct Tally {
    results: [Counter; 7],
    saved: Counter,
}

type Page = [Tally; MOST];

static NAMES: Mutex<Vec<Box<str>>> = Mutex::new(Vec::new());
static PAGES: Mutex<Vec<Arc<Page>>> = Mutex::new(Vec::new());

thread_local! {
    static MINE: RefCell<Option<Arc<Page>>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_all_threads_are_summed_and_stay_when_those_end() {
        let zone = cache_id("results of all threads");
        assert_eq!(zone, cache_id("results of all threads"));
        let count_some = move || {
            count(zone, CacheResult::Hit, 100);
            count(zone, CacheResult::Miss, 100);
        };
        std::thread::spawn(count_some).join().expect("no panic");
        count_some();
        let totals = totals(zone);
        assert_eq!(totals.results, [2, 2, 0, 0, 0, 0, 0]);
        assert_eq!(totals.saved, 200);
    }

    #[test]
    fn results_stand_where_their_number_says() {
        for (position, result) in CacheResult::ALL.into_iter().enumerate() {
            assert_eq!(result as usize, position);
        }
    }
}
