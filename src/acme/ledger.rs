//! What was asked of an authority lately: what it counts, so that its limits are seen before it refuses.
//!
//! Kept beside the account, `history.json`, because authorities count for an account or for a name and
//! not for a certificate. Instances with the same state directory share it; what two of them write at
//! the same moment may be lost, which makes a count too low by one. Everything in it is bounded.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use serde::{Deserialize, Serialize};

use super::storage::{self, unix_time};

/// Let's Encrypt counts failed proofs of a name for this long, and refuses after five.
const PROOFS_COUNTED: Duration = Duration::from_secs(3600);
const MOST_UNPROVEN: usize = 4;
/// New orders of an account.
const ORDERS_COUNTED: Duration = Duration::from_secs(3 * 3600);
/// Certificates for the same names, and for names below the same domain.
const ISSUED_COUNTED: Duration = Duration::from_secs(7 * 86_400);

/// The most entries of each kind that are kept: more than any limit lets through.
const MOST_KEPT: usize = 2000;

/// The published limits of Let's Encrypt (<https://letsencrypt.org/docs/rate-limits/>).
pub const LIMITS: Usage = Usage {
    orders: 300,
    same_names: 5,
    domain: 50,
};

/// How much of each limit is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Orders of the account within three hours.
    pub orders: usize,
    /// Certificates for exactly these names within seven days.
    pub same_names: usize,
    /// Certificates for names of the domain with the most of them within seven days.
    pub domain: usize,
}

/// What one authority was asked.
pub struct Ledger {
    path: PathBuf,
    book: Mutex<Book>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Book {
    unproven: VecDeque<Unproven>,
    orders: VecDeque<Ordered>,
    issued: VecDeque<Issued>,
    /// When the file was written that this was read from.
    #[serde(skip)]
    seen: Option<SystemTime>,
}

#[derive(Serialize, Deserialize)]
struct Unproven {
    #[serde(with = "unix_time")]
    at: SystemTime,
    name: Box<str>,
}

#[derive(Serialize, Deserialize)]
struct Ordered {
    #[serde(with = "unix_time")]
    at: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Issued {
    #[serde(with = "unix_time")]
    at: SystemTime,
    /// Sorted.
    names: Vec<Box<str>>,
}

impl Book {
    fn prune(&mut self, now: SystemTime) {
        // What lies ahead was written by a clock that was wrong.
        let is_counted = |at: SystemTime, within: Duration| at <= now && at + within > now;
        self.unproven
            .retain(|one| is_counted(one.at, PROOFS_COUNTED));
        self.orders.retain(|one| is_counted(one.at, ORDERS_COUNTED));
        self.issued.retain(|one| is_counted(one.at, ISSUED_COUNTED));
        let excess = |length: usize| length.saturating_sub(MOST_KEPT);
        self.unproven.drain(..excess(self.unproven.len()));
        self.orders.drain(..excess(self.orders.len()));
        self.issued.drain(..excess(self.issued.len()));
    }
}

impl Ledger {
    /// What was asked of the authority with this directory.
    pub fn of(directory: &Path) -> Self {
        Self {
            path: directory.join("history.json"),
            book: Mutex::default(),
        }
    }

    /// Some names could not be proven.
    pub fn unproven(&self, names: &[Box<str>], now: SystemTime) {
        self.change(now, |book| {
            let names = names.iter().cloned();
            book.unproven
                .extend(names.map(|name| Unproven { at: now, name }));
        });
    }

    /// An order was placed.
    pub fn ordered(&self, now: SystemTime) {
        self.change(now, |book| book.orders.push_back(Ordered { at: now }));
    }

    /// A certificate came that counts: not one that replaces another as its authority wished.
    pub fn issued(&self, names: &[Box<str>], now: SystemTime) {
        let names = sorted(names);
        self.change(now, |book| book.issued.push_back(Issued { at: now, names }));
    }

    /// When all of these names may be proven again, if one of them failed too often lately.
    pub fn proof_allowed(&self, names: &[Box<str>], now: SystemTime) -> Option<SystemTime> {
        let book = self.read(now);
        let again = |name: &str| {
            let of_name = book.unproven.iter().filter(|one| *one.name == *name);
            let counted: Vec<_> = of_name.map(|one| one.at).collect();
            let oldest = counted.len().checked_sub(MOST_UNPROVEN)?;
            Some(counted[oldest] + PROOFS_COUNTED)
        };
        names.iter().filter_map(|name| again(name)).max()
    }

    /// What is used up of the limits, for a certificate with these names.
    pub fn usage(&self, names: &[Box<str>], now: SystemTime) -> Usage {
        let book = self.read(now);
        let own = sorted(names);
        let domains = names.iter().map(|name| domain(name));
        let of_domain = |domain: &str| {
            let has = |issued: &&Issued| {
                let mut names = issued.names.iter();
                names.any(|name| self::domain(name) == domain)
            };
            book.issued.iter().filter(has).count()
        };
        Usage {
            orders: book.orders.len(),
            same_names: book.issued.iter().filter(|one| one.names == own).count(),
            domain: domains.map(of_domain).max().unwrap_or(0),
        }
    }

    /// The book as it is now, also if another instance wrote it.
    fn read(&self, now: SystemTime) -> MutexGuard<'_, Book> {
        let mut book = self.book.lock();
        self.refresh(&mut book);
        book.prune(now);
        book
    }

    fn refresh(&self, book: &mut Book) {
        let metadata = std::fs::metadata(&self.path);
        let modified = metadata.and_then(|metadata| metadata.modified()).ok();
        if modified.is_none() || modified == book.seen {
            return;
        }
        // A history that cannot be read costs a refusal, and no certificate.
        if let Ok(Some(read)) = storage::read_json::<Book>(&self.path) {
            *book = read;
        }
        book.seen = modified;
    }

    fn change(&self, now: SystemTime, change: impl FnOnce(&mut Book)) {
        let mut book = self.book.lock();
        self.refresh(&mut book);
        change(&mut book);
        book.prune(now);
        // What is not on the disk is still known here.
        let _ = storage::write_json(&self.path, &*book);
        let metadata = std::fs::metadata(&self.path);
        book.seen = metadata.and_then(|metadata| metadata.modified()).ok();
    }
}

impl Usage {
    /// What Let's Encrypt lets through, and what of it is used up, in a sentence.
    pub fn text(self) -> String {
        format!(
            "of Let's Encrypt's limits {} of {} certificates for the same names and {} of {} for names \
             of the same domain are used up within 7 days, and {} of {} orders within 3 hours, as far \
             as this instance knows; renewals that it wishes do not count",
            self.same_names,
            LIMITS.same_names,
            self.domain,
            LIMITS.domain,
            self.orders,
            LIMITS.orders
        )
    }

    /// Will another order be refused?
    pub fn is_used_up(self) -> bool {
        self.orders >= LIMITS.orders
            || self.same_names >= LIMITS.same_names
            || self.domain >= LIMITS.domain
    }
}

fn sorted(names: &[Box<str>]) -> Vec<Box<str>> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

/// What is registered of a name, as far as that can be said without the list of all that is: the last
/// two labels, or three where the last but one is what countries have for kinds of owners.
fn domain(name: &str) -> &str {
    const KINDS: [&str; 9] = ["ac", "co", "com", "edu", "go", "gov", "ne", "net", "org"];
    let mut dots = name.rmatch_indices('.').map(|(position, _)| position);
    let (Some(last), Some(before)) = (dots.next(), dots.next()) else {
        return name;
    };
    let is_country = name.len() - last == 3;
    match is_country && KINDS.contains(&&name[before + 1..last]) {
        true => dots.next().map_or(name, |third| &name[third + 1..]),
        false => &name[before + 1..],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boxed(names: &[&str]) -> Vec<Box<str>> {
        names.iter().map(|name| Box::from(*name)).collect()
    }

    #[test]
    fn a_proof_that_failed_counts_for_its_name_in_whatever_certificate() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::of(directory.path());
        // As exact as it is written.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let at = |minutes: u64| now + Duration::from_secs(60 * minutes);
        let (a, ab) = (
            boxed(&["a.example.com"]),
            boxed(&["a.example.com", "b.example.com"]),
        );
        for minute in 0..4 {
            assert_eq!(ledger.proof_allowed(&ab, at(minute)), None);
            ledger.unproven(&a, at(minute));
        }
        assert_eq!(ledger.proof_allowed(&ab, at(4)), Some(at(60)));
        assert_eq!(ledger.proof_allowed(&ab[1..], at(4)), None);
        // Another instance, or the next start, knows it too.
        let other = Ledger::of(directory.path());
        assert_eq!(other.proof_allowed(&a, at(4)), Some(at(60)));
        assert_eq!(other.proof_allowed(&a, at(61)), None);
    }

    #[test]
    fn what_is_used_up_of_the_limits_is_counted_for_names_and_domains() {
        let directory = tempfile::tempdir().expect("a directory");
        let ledger = Ledger::of(directory.path());
        let now = SystemTime::now();
        ledger.issued(&boxed(&["b.example.com", "a.example.com"]), now);
        ledger.issued(&boxed(&["a.example.com"]), now);
        ledger.issued(&boxed(&["a.example.org"]), now);
        ledger.ordered(now);
        let usage = ledger.usage(&boxed(&["a.example.com", "b.example.com"]), now);
        assert_eq!((usage.orders, usage.same_names, usage.domain), (1, 1, 2));
        assert!(!usage.is_used_up());
        let week = now + ISSUED_COUNTED;
        assert_eq!(
            ledger.usage(&boxed(&["a.example.com"]), week),
            Usage::default()
        );
        for _ in 0..3 * MOST_KEPT {
            ledger.book.lock().orders.push_back(Ordered { at: now });
        }
        ledger.ordered(now);
        assert!(ledger.book.lock().orders.len() <= MOST_KEPT);
        assert!(ledger.usage(&boxed(&["x.test"]), now).is_used_up());
    }

    #[test]
    fn the_domain_of_a_name_is_what_somebody_registered() {
        for (name, expected) in [
            ("example.com", "example.com"),
            ("a.b.example.com", "example.com"),
            ("*.example.com", "example.com"),
            ("a.example.co.uk", "example.co.uk"),
            ("example.co.uk", "example.co.uk"),
            ("a.co.example", "co.example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(domain(name), expected, "{name}");
        }
    }
}
