//! Tickets: sessions that clients keep themselves, encrypted with keys that only we have.
//!
//! Owns the keys. By themselves they are random, live in memory only and are replaced every twelve
//! hours, so that who steals one later reads little of what was recorded; they outlive a reload, and
//! all workers have the same. Keys in files are there for several machines with one name; their
//! replacement is the business of whoever wrote them.
//!
//! A ticket holds when it ends and is bound to its server: neither another one nor its own takes it
//! after that.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest;
use parking_lot::{Mutex, RwLock};
use rustls::server::ProducesTickets;
use zeroize::Zeroizing;

use super::file;
use super::files::Stamp;
use super::provider;
use super::sessions::Identity;
use crate::unit::clock;

/// How long a random key encrypts; for so long again it decrypts.
const ROTATION: Duration = Duration::from_hours(12);
/// What a key is called in its tickets.
const NAME: usize = 16;

/// The keys of tickets.
pub struct TicketKeys {
    /// Where they are read from; random if nowhere.
    files: Vec<PathBuf>,
    ring: RwLock<Ring>,
    /// What the files looked like before they were read.
    seen: Mutex<Vec<Option<Stamp>>>,
}

/// Keys in files, for as long as a configuration has them.
static IN_FILES: Mutex<Vec<Weak<TicketKeys>>> = Mutex::new(Vec::new());

/// Looks whether files of keys have changed and takes those that have into use; tells what is wrong
/// with them. Reads files: not for a thread that serves.
pub fn look() -> Vec<String> {
    let mut known = IN_FILES.lock();
    known.retain(|keys| keys.strong_count() > 0);
    let keys: Vec<Arc<TicketKeys>> = known.iter().filter_map(Weak::upgrade).collect();
    drop(known);
    keys.iter()
        .filter(|keys| *keys.seen.lock() != stamps(&keys.files))
        .filter_map(|keys| keys.reload().err())
        .collect()
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|path| Stamp::of(path)).collect()
}

/// The first key encrypts, all decrypt.
struct Ring {
    keys: Vec<Key>,
    made: Instant,
}

struct Key {
    name: [u8; NAME],
    key: LessSafeKey,
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("TicketKeys")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl TicketKeys {
    /// Random keys; `None` if the machine has nothing random.
    pub fn random() -> Option<Arc<Self>> {
        Some(Arc::new(Self {
            files: Vec::new(),
            ring: RwLock::new(Ring {
                keys: vec![Key::random()?],
                made: clock::now(),
            }),
            seen: Mutex::default(),
        }))
    }

    /// The keys in these files, of 48 or 80 bytes each. The error says which one is none.
    pub fn load(files: Vec<PathBuf>) -> Result<Arc<Self>, String> {
        let seen = stamps(&files);
        let keys = read(&files)?;
        let keys = Arc::new(Self {
            files,
            ring: RwLock::new(Ring {
                keys,
                made: clock::now(),
            }),
            seen: Mutex::new(seen),
        });
        IN_FILES.lock().push(Arc::downgrade(&keys));
        Ok(keys)
    }

    /// Reads the files again. What cannot be read leaves the keys as they are.
    pub fn reload(&self) -> Result<(), String> {
        if !self.files.is_empty() {
            *self.seen.lock() = stamps(&self.files);
            let keys = read(&self.files)?;
            self.ring.write().keys = keys;
        }
        Ok(())
    }

    /// The files that the keys are in.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Replaces random keys whose time is over.
    fn rotate(&self) {
        let now = clock::now();
        let is_due = |ring: &Ring| now.saturating_duration_since(ring.made) >= ROTATION;
        if !self.files.is_empty() || !is_due(&self.ring.read()) {
            return;
        }
        let mut ring = self.ring.write();
        if !is_due(&ring) {
            return;
        }
        let Some(key) = Key::random() else { return };
        // One that nobody used for two times of its life decrypts nothing either.
        let is_late = now.saturating_duration_since(ring.made) >= 2 * ROTATION;
        ring.keys.truncate(usize::from(!is_late));
        ring.keys.insert(0, key);
        ring.made = now;
    }
}

fn read(files: &[PathBuf]) -> Result<Vec<Key>, String> {
    let keys = files.iter().map(|path| {
        let failed = |problem: &dyn fmt::Display| {
            format!("cannot load ticket key \"{}\": {problem}", path.display())
        };
        let (bytes, _) = file::read(path).map_err(|problem| failed(&problem))?;
        if !matches!(bytes.len(), 48 | 80) {
            return Err(failed(&"it must be 48 or 80 bytes"));
        }
        let (name, secret) = bytes.split_at(NAME);
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"openclaw session ticket");
        context.update(secret);
        let name = name.try_into().map_err(|_| failed(&"it is too short"))?;
        Key::new(name, context.finish().as_ref()).ok_or_else(|| failed(&"it is no key"))
    });
    keys.collect()
}

impl Key {
    fn new(name: [u8; NAME], bytes: &[u8]) -> Option<Self> {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, bytes).ok()?);
        Some(Self { name, key })
    }

    fn random() -> Option<Self> {
        let mut name = [0; NAME];
        let mut bytes = Zeroizing::new([0; 32]);
        let random = provider::provider().secure_random;
        random.fill(&mut name).ok()?;
        random.fill(&mut *bytes).ok()?;
        Self::new(name, &*bytes)
    }
}

/// The tickets of one server.
#[derive(Debug)]
pub struct Tickets {
    keys: Arc<TicketKeys>,
    identity: Identity,
    lifetime: Duration,
}

impl Tickets {
    /// Tickets for this server, each for so long.
    pub fn new(keys: Arc<TicketKeys>, identity: Identity, lifetime: Duration) -> Arc<Self> {
        Arc::new(Self {
            keys,
            identity,
            lifetime,
        })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // RFC 8446 section 4.6.1: a week is the most.
        const WEEK: u64 = 7 * 24 * 60 * 60;
        let most = match self.keys.files.is_empty() {
            true => (2 * ROTATION).as_secs(),
            false => WEEK,
        };
        u32::try_from(self.lifetime.as_secs().min(most)).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys.rotate();
        let until = clock::unix().saturating_add(self.lifetime).as_secs();
        let mut nonce = [0; NONCE_LEN];
        provider::provider().secure_random.fill(&mut nonce).ok()?;
        let mut content = Vec::with_capacity(NAME + NONCE_LEN + 8 + plain.len() + 16);
        content.extend_from_slice(&until.to_be_bytes());
        content.extend_from_slice(plain);
        let ring = self.keys.ring.read();
        let key = ring.keys.first()?;
        let tag = (key.key)
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.identity),
                &mut content,
            )
            .ok()?;
        let mut ticket = Vec::with_capacity(NAME + NONCE_LEN + content.len() + 16);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&content);
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.keys.rotate();
        let (name, rest) = ticket.split_first_chunk::<NAME>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = Zeroizing::new(sealed.to_vec());
        let ring = self.keys.ring.read();
        let key = ring.keys.iter().find(|key| key.name == *name)?;
        let plain = (key.key)
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(self.identity),
                &mut sealed,
            )
            .ok()?;
        let (until, session) = plain.split_first_chunk::<8>()?;
        let is_good = clock::unix().as_secs() < u64::from_be_bytes(*until);
        is_good.then(|| session.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    #[test]
    fn a_ticket_is_taken_by_its_server_only_unchanged_and_in_time() {
        let keys = TicketKeys::random().expect("random");
        let one = Tickets::new(Arc::clone(&keys), [1; 16], HOUR);
        let ticket = one.encrypt(b"session").expect("encrypted");
        assert_eq!(one.decrypt(&ticket).as_deref(), Some(&b"session"[..]));
        let two = Tickets::new(Arc::clone(&keys), [2; 16], HOUR);
        assert_eq!(two.decrypt(&ticket), None);
        for position in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[position] ^= 1;
            assert_eq!(one.decrypt(&changed), None, "{position}");
            assert_eq!(one.decrypt(&ticket[..position]), None, "{position}");
        }
        let short = Tickets::new(keys, [1; 16], Duration::ZERO);
        let ticket = short.encrypt(b"session").expect("encrypted");
        assert_eq!(short.decrypt(&ticket), None);
    }

    #[test]
    fn a_random_key_decrypts_for_a_while_after_its_time_and_then_no_more() {
        let keys = TicketKeys::random().expect("random");
        let tickets = Tickets::new(Arc::clone(&keys), [1; 16], 100 * HOUR);
        let ticket = tickets.encrypt(b"session").expect("encrypted");
        let age = |by: Duration| keys.ring.write().made -= by;
        age(ROTATION);
        assert!(tickets.decrypt(&ticket).is_some());
        assert_eq!(keys.ring.read().keys.len(), 2);
        let second = tickets.encrypt(b"session").expect("encrypted");
        assert_ne!(second[..NAME], ticket[..NAME]);
        age(ROTATION);
        assert!(tickets.decrypt(&ticket).is_none() && tickets.decrypt(&second).is_some());
        age(2 * ROTATION);
        assert!(tickets.decrypt(&second).is_none());
        assert_eq!(keys.ring.read().keys.len(), 1);
    }

    #[test]
    fn keys_in_files_encrypt_in_turn_and_are_read_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        std::fs::write(path("a"), [1; 48]).expect("written");
        std::fs::write(path("b"), [2; 80]).expect("written");
        let keys = TicketKeys::load(vec![path("a"), path("b")]).expect("keys");
        let tickets = Tickets::new(Arc::clone(&keys), [1; 16], HOUR);
        let ticket = tickets.encrypt(b"session").expect("encrypted");
        assert_eq!(ticket[..NAME], [1; NAME]);
        // Another machine has the same files.
        let other = TicketKeys::load(vec![path("b"), path("a")]).expect("keys");
        let other = Tickets::new(other, [1; 16], HOUR);
        assert!(other.decrypt(&ticket).is_some());
        // A new key comes first, the old one stays for a while.
        std::fs::write(path("a"), [3; 48]).expect("written");
        std::fs::write(path("b"), [1; 48]).expect("written");
        assert_eq!(look(), [] as [String; 0]);
        assert!(tickets.decrypt(&ticket).is_some());
        assert_eq!(tickets.encrypt(b"").expect("encrypted")[..NAME], [3; NAME]);
        // A broken file changes nothing.
        std::fs::write(path("a"), [3; 47]).expect("written");
        let told = look();
        assert!(told[0].ends_with("it must be 48 or 80 bytes"), "{told:?}");
        assert_eq!(look(), [] as [String; 0]);
        assert!(tickets.decrypt(&ticket).is_some());
        assert!(!format!("{tickets:?}").contains("ring"));
    }
}
