//! Is what a client shows the password of its user?
//!
//! A comparison may take a tenth of a second, so it is made beside the event loop, by as many threads
//! as there are processors; who waits for one is bounded too. What turned out right is remembered for
//! a short while under a keyed digest of the kept text and the password: a changed file makes it
//! worthless by itself. Guessing is throttled by address and by name; who logged in from an address
//! before is not locked out there by what others guess. Nobody learns by the time of an answer which
//! users there are.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::file::{self, PasswordFile};
use super::hash::{Stored, Unusable};
use super::throttle::{Guesser, Throttle};
use crate::access::kept_file::Unreadable;
use crate::metrics::registry;

/// What turned out right is believed for so long without a comparison.
const REMEMBERED: Duration = Duration::from_secs(5 * 60);

/// Who logged in from an address is not kept out there by guesses from elsewhere for so long.
const KNOWN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// So much is remembered of either.
const MOST_REMEMBERED: usize = 4096;

/// So many wait for a comparison; whoever comes then is sent away.
const MOST_WAITING: usize = 256;

/// A comparison that takes less than this many microseconds is made at once.
const AT_ONCE: u64 = 20;

/// Guesses at one name, from wherever, are this many times those of one address.
const MORE_FOR_A_NAME: u32 = 10;

/// How much guessing is borne: so many wrong passwords in a period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// Of one address, at least 1.
    pub count: u32,
    /// In this time.
    pub period: Duration,
}

/// What is asked.
pub struct Question<'a> {
    /// The file of passwords.
    pub path: &'a [u8],
    /// Who the client says it is.
    pub user: &'a [u8],
    /// By what it proves it.
    pub password: &'a [u8],
    /// Where it is; `None` behind a Unix socket.
    pub client: Option<IpAddr>,
    /// `None` bears everything.
    pub patience: Option<Patience>,
    /// The time.
    pub now: Instant,
}

/// The answer.
pub enum Verdict {
    /// It is.
    Right,
    /// There is no such user.
    NoSuchUser,
    /// It is not.
    Wrong,
    /// What is kept cannot be compared with.
    Unusable(Unusable),
    /// The file cannot be used.
    Unreadable(Unreadable),
    /// Too much was guessed; again after this time.
    Throttled(Duration),
    /// Too many wait.
    Busy,
}

impl fmt::Debug for Question<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Question { .. }")
    }
}

/// Answers a question.
pub async fn check(question: Question<'_>) -> Verdict {
    let file = match file::open(question.path, question.now) {
        Ok(file) => file,
        Err(error) => return Verdict::Unreadable(error),
    };
    let digest = Digests::of(&question, &file);
    if STATE.lock().is_remembered(&digest.login, question.now) {
        return Verdict::Right;
    }
    let taken = match STATE.lock().take(&question, &digest) {
        Ok(taken) => taken,
        Err(wait) => {
            registry::with(|counters| counters.logins_throttled.increase());
            return Verdict::Throttled(wait);
        }
    };
    let verdict = compare(&question, &file, &digest).await;
    let mut state = STATE.lock();
    match verdict {
        Verdict::Right => {
            state.give_back(taken);
            state.remember(&digest, question.now);
            registry::with(|counters| counters.logins.increase());
        }
        Verdict::Wrong | Verdict::NoSuchUser => {
            registry::with(|counters| counters.logins_failed.increase());
        }
        // Nothing was learnt about the password.
        _ => state.give_back(taken),
    }
    verdict
}

async fn compare(question: &Question<'_>, file: &Arc<PasswordFile>, digest: &Digests) -> Verdict {
    let kept = file.kept(question.user);
    let is_user = kept.is_some();
    let Some(kept) = kept.or(file.stand_in()) else {
        return Verdict::NoSuchUser;
    };
    let stored = match Stored::parse(kept) {
        Ok(stored) => stored,
        Err(why) => return Verdict::Unusable(why),
    };
    let fits = if stored.cost() <= AT_ONCE {
        stored.verify(question.password)
    } else {
        let Some(_place) = WAITING.take() else {
            return Verdict::Busy;
        };
        let Ok(_turn) = TURNS.acquire().await else {
            return Verdict::Busy;
        };
        // A browser asks for many things at once; the first answer is one for all.
        if STATE.lock().is_remembered(&digest.login, question.now) {
            return Verdict::Right;
        }
        let kept = Arc::clone(kept);
        let password = Zeroizing::new(question.password.to_vec());
        let compared = tokio::task::spawn_blocking(move || {
            Stored::parse(&kept).is_ok_and(|stored| stored.verify(&password))
        });
        match compared.await {
            Ok(fits) => fits,
            Err(_) => return Verdict::Busy,
        }
    };
    match (is_user, fits) {
        (false, _) => Verdict::NoSuchUser,
        (true, true) => Verdict::Right,
        (true, false) => Verdict::Wrong,
    }
}

/// Comparisons that are made at the same time.
static TURNS: LazyLock<Semaphore> = LazyLock::new(|| {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    Semaphore::new(processors.clamp(1, 16))
});

static WAITING: Waiting = Waiting(AtomicUsize::new(0));

/// How many wait.
struct Waiting(AtomicUsize);

impl Waiting {
    fn take(&self) -> Option<Place<'_>> {
        let took = self.0.try_update(Relaxed, Relaxed, |waiting| {
            (waiting < MOST_WAITING).then_some(waiting + 1)
        });
        took.is_ok().then(|| Place(self))
    }
}

/// A place among those who wait.
struct Place<'a>(&'a Waiting);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// Under which things are remembered: whoever reads memory later finds no password in it.
struct Digests {
    /// The kept text with the password.
    login: [u8; 32],
    /// The user.
    user: [u8; 16],
    /// The user at the address.
    known: [u8; 16],
}

static KEY: LazyLock<Option<hmac::Key>> = LazyLock::new(|| {
    let random = aws_lc_rs::rand::SystemRandom::new();
    hmac::Key::generate(hmac::HMAC_SHA256, &random).ok()
});

impl Digests {
    fn of(question: &Question<'_>, file: &PasswordFile) -> Self {
        let kept = file.kept(question.user).map_or(&b""[..], |kept| kept);
        let client = question.client.map(Guesser::of_address);
        let address = match client {
            Some(Guesser::Address(bytes)) => bytes,
            _ => [0; 8],
        };
        Self {
            login: digest(
                b"l",
                &[question.path, question.user, kept, question.password],
            ),
            user: half(digest(b"u", &[question.path, question.user])),
            known: half(digest(b"k", &[question.path, question.user, &address])),
        }
    }
}

/// A keyed digest of parts, each with its length so that none can pass for another. Without
/// randomness nothing is equal to anything.
fn digest(purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    static UNIQUE: AtomicUsize = AtomicUsize::new(0);
    let mut out = [0; 32];
    match &*KEY {
        Some(key) => {
            let mut context = hmac::Context::with_key(key);
            context.update(purpose);
            for part in parts {
                context.update(&(part.len() as u64).to_le_bytes());
                context.update(part);
            }
            out.copy_from_slice(context.sign().as_ref());
        }
        None => {
            let unique = UNIQUE.fetch_add(1, Relaxed) as u64;
            out[..8].copy_from_slice(&unique.to_le_bytes());
        }
    }
    out
}

fn half(whole: [u8; 32]) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

static STATE: LazyLock<Mutex<State>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct State {
    remembered: HashMap<[u8; 32], Instant>,
    known: HashMap<[u8; 16], Instant>,
    throttle: Throttle,
}

/// The tokens that a guess took.
type Taken = Vec<(Guesser, u32, Duration)>;

impl State {
    fn is_remembered(&self, login: &[u8; 32], now: Instant) -> bool {
        let since = self.remembered.get(login);
        since.is_some_and(|&since| now.saturating_duration_since(since) < REMEMBERED)
    }

    fn remember(&mut self, digest: &Digests, now: Instant) {
        note(&mut self.remembered, digest.login, REMEMBERED, now);
        note(&mut self.known, digest.known, KNOWN, now);
    }

    /// Takes what a guess costs.
    fn take(&mut self, question: &Question<'_>, digest: &Digests) -> Result<Taken, Duration> {
        let Some(patience) = question.patience else {
            return Ok(Vec::new());
        };
        let mut wanted: Taken = Vec::with_capacity(2);
        if let Some(client) = question.client {
            let guesser = Guesser::of_address(client);
            wanted.push((guesser, patience.count, patience.period));
        }
        let is_known = self
            .known
            .get(&digest.known)
            .is_some_and(|&since| question.now.saturating_duration_since(since) < KNOWN);
        if !is_known {
            let count = patience.count.saturating_mul(MORE_FOR_A_NAME);
            wanted.push((Guesser::User(digest.user), count, patience.period));
        }
        for (position, &(guesser, count, period)) in wanted.iter().enumerate() {
            if let Err(wait) = self.throttle.take(guesser, count, period, question.now) {
                wanted.truncate(position);
                self.give_back(wanted);
                return Err(wait);
            }
        }
        Ok(wanted)
    }

    fn give_back(&mut self, taken: Taken) {
        for (guesser, count, period) in taken {
            self.throttle.give_back(guesser, count, period);
        }
    }
}

fn note<const N: usize>(
    all: &mut HashMap<[u8; N], Instant>,
    digest: [u8; N],
    longest: Duration,
    now: Instant,
) {
    if all.len() >= MOST_REMEMBERED {
        all.retain(|_, since| now.saturating_duration_since(*since) < longest);
    }
    if all.len() >= MOST_REMEMBERED {
        all.clear();
    }
    all.insert(digest, now);
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt as _;
    use std::path::Path;

    use super::*;

    fn words(verdict: Verdict) -> String {
        match verdict {
            Verdict::Right => "right".to_owned(),
            Verdict::NoSuchUser => "no such user".to_owned(),
            Verdict::Wrong => "wrong".to_owned(),
            Verdict::Unusable(why) => format!("{why:?}"),
            Verdict::Unreadable(error) => error.call.to_owned(),
            Verdict::Throttled(wait) => format!("wait {}", wait.as_secs()),
            Verdict::Busy => "busy".to_owned(),
        }
    }

    struct Fixture {
        path: std::path::PathBuf,
        start: Instant,
        _directory: tempfile::TempDir,
    }

    impl Fixture {
        fn new(text: &str) -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("users");
            std::fs::write(&path, text).expect("written");
            Self {
                path,
                start: Instant::now(),
                _directory: directory,
            }
        }

        fn path(&self) -> &Path {
            &self.path
        }

        fn ask(&self, client: &str, user: &str, password: &str, seconds: u64) -> String {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            let runtime = runtime.expect("a runtime");
            words(runtime.block_on(check(Question {
                path: self.path().as_os_str().as_bytes(),
                user: user.as_bytes(),
                password: password.as_bytes(),
                client: Some(client.parse().expect("an address")),
                patience: Some(Patience {
                    count: 3,
                    period: Duration::from_secs(30),
                }),
                now: self.start + Duration::from_secs(seconds),
            })))
        }
    }

    #[test]
    fn users_are_let_in_by_their_passwords_alone() {
        let fixture =
            Fixture::new("ann:$apr1$zRxsQmhC$SX2282b17vU1bbL9FTo6Y.\nbob:rqXexS6ZhobKA\n");
        assert_eq!(fixture.ask("203.0.113.1", "ann", "secret", 0), "right");
        assert_eq!(fixture.ask("203.0.113.1", "ann", "other", 0), "wrong");
        assert_eq!(
            fixture.ask("203.0.113.1", "cid", "secret", 0),
            "no such user"
        );
        assert_eq!(fixture.ask("203.0.113.1", "bob", "secret", 0), "Des");
    }

    #[test]
    fn a_changed_file_makes_what_is_remembered_worthless() {
        let fixture = Fixture::new("ann:{PLAIN}one\n");
        assert_eq!(fixture.ask("203.0.113.2", "ann", "one", 0), "right");
        std::fs::write(fixture.path(), "ann:{PLAIN}another\n").expect("written");
        assert_eq!(fixture.ask("203.0.113.2", "ann", "one", 2), "wrong");
        assert_eq!(fixture.ask("203.0.113.2", "ann", "another", 2), "right");
        std::fs::write(fixture.path(), "bob:{PLAIN}x\n").expect("written");
        assert_eq!(
            fixture.ask("203.0.113.2", "ann", "another", 4),
            "no such user"
        );
        std::fs::remove_file(fixture.path()).expect("there");
        assert_eq!(fixture.ask("203.0.113.2", "ann", "another", 6), "open()");
    }

    #[test]
    fn who_guesses_waits_and_who_is_right_does_not() {
        let fixture = Fixture::new("ann:{PLAIN}one\nbob:{PLAIN}two\n");
        assert_eq!(fixture.ask("203.0.113.3", "ann", "one", 0), "right");
        for _ in 0..3 {
            assert_eq!(fixture.ask("203.0.113.3", "bob", "x", 0), "wrong");
        }
        assert_eq!(fixture.ask("203.0.113.3", "bob", "two", 0), "wait 10");
        // What is remembered is not asked again.
        assert_eq!(fixture.ask("203.0.113.3", "ann", "one", 0), "right");
        assert_eq!(fixture.ask("203.0.113.4", "bob", "two", 0), "right");
        assert_eq!(fixture.ask("203.0.113.3", "bob", "two", 10), "right");
    }

    #[test]
    fn a_name_that_many_guess_at_is_closed_to_all_but_those_who_were_in() {
        let fixture = Fixture::new("ann:{PLAIN}one\n");
        assert_eq!(fixture.ask("198.51.100.1", "ann", "one", 0), "right");
        for number in 0..30 {
            let client = format!("203.0.114.{number}");
            assert_eq!(fixture.ask(&client, "ann", "x", 400), "wrong");
        }
        assert_eq!(fixture.ask("203.0.115.1", "ann", "one", 400), "wait 1");
        // No longer remembered, but known.
        assert_eq!(fixture.ask("198.51.100.1", "ann", "one", 400), "right");
    }

    #[test]
    fn no_more_than_so_many_wait() {
        let waiting = Waiting(AtomicUsize::new(0));
        let places: Vec<_> = std::iter::from_fn(|| waiting.take())
            .take(MOST_WAITING + 1)
            .collect();
        assert_eq!(places.len(), MOST_WAITING);
        drop(places);
        assert!(waiting.take().is_some());
    }
}
