//! Virtual keys: who may call which model, from where, through which gateway.
//!
//! A key is one record with one account and several secrets, so that a secret can be replaced while
//! both work. A secret is 256 bits, shown once and kept as its SHA-256; of a request only that digest
//! is compared. It is found by its first eight bytes, which say nothing about the secret, and compared
//! whole in constant time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};
use smallvec::SmallVec;

use super::account::{Account, Limits, Moment};
use super::refusal::{Refusal, Scope};
use crate::alerts::{self, Alert, Severity};
use crate::store::{KeyRow, SecretRow};
use crate::unit::secret::{LENGTH, MARK, SHOWN};

/// Letters and digits, in the order of their values.
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Secrets are between so many characters. Shorter ones can be guessed.
const SHORTEST: usize = 16;
const LONGEST: usize = 512;

/// The longest name of a gateway, a user or a node.
const LONGEST_TAG: usize = 128;

/// A secret while it is shown to the person who asked for it. Is not printed by accident.
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        zeroize::Zeroize::zeroize(&mut self.0);
    }
}

impl Secret {
    /// A new one; `None` if the system has no randomness.
    #[must_use]
    pub fn generate() -> Option<Self> {
        let mut bits = [0; 32];
        aws_lc_rs::rand::fill(&mut bits).ok()?;
        let mut text = MARK.as_bytes().to_vec();
        // The number that the bits are, digit by digit, the last one first.
        for _ in 0..LENGTH {
            let mut rest = 0;
            for byte in &mut bits {
                let value = rest << 8 | u32::from(*byte);
                *byte = (value / 62) as u8;
                rest = value % 62;
            }
            text.push(LETTERS[rest as usize]);
        }
        String::from_utf8(text).ok().map(Self)
    }

    /// One that somebody brings from elsewhere: visible ASCII of a length that cannot be guessed.
    #[must_use]
    pub fn foreign(text: &str) -> Option<Self> {
        let is_fit = (SHORTEST..=LONGEST).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_fit.then(|| Self(text.to_owned()))
    }

    /// The text, to be shown once.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn row(&self, created: u64) -> SecretRow {
        SecretRow {
            digest: digest(&self.0),
            prefix: self.0.chars().take(SHOWN).collect(),
            created,
            not_before: created,
            ..SecretRow::default()
        }
    }
}

fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

/// A key as it is asked.
#[derive(Debug)]
pub struct Key {
    /// How it is kept.
    pub row: KeyRow,
    /// Its secrets, oldest first.
    pub secrets: Vec<SecretRow>,
    /// What it uses. It outlives a change of the key.
    pub account: Arc<Account>,
    addresses: Vec<IpNet>,
}

/// Why a key cannot be used as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// Its name is not one.
    Name,
    /// A network is none.
    Address(String),
    /// The zone is not known to the system.
    Zone(String),
    /// The name of its gateway is none.
    Gateway,
    /// A pattern of a model is empty or has blanks.
    Model(String),
    /// A limit is zero.
    Zero,
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name => {
                formatter.write_str("a key's name has 1 to 128 letters, digits or any of `._:@-`")
            }
            Self::Address(text) => write!(
                formatter,
                "`{}` is neither an address nor a network; hint: for example 10.0.0.0/8",
                text.escape_debug()
            ),
            Self::Zone(text) => write!(
                formatter,
                "the time zone `{}` is not known here; hint: for example Europe/Berlin",
                text.escape_debug()
            ),
            Self::Gateway => formatter
                .write_str("a gateway's name has 1 to 128 letters, digits or any of `._:@-`"),
            Self::Model(text) => write!(
                formatter,
                "`{}` is no pattern for a model; hint: for example gpt-4o*",
                text.escape_debug()
            ),
            Self::Zero => formatter
                .write_str("a limit of zero lets nothing through; hint: revoke the key instead"),
        }
    }
}

impl std::error::Error for KeyError {}

impl Key {
    /// A key of what is kept, with the account that it has had so far.
    ///
    /// # Errors
    ///
    /// What of it cannot be used.
    pub fn new(
        row: KeyRow,
        secrets: Vec<SecretRow>,
        account: Option<Arc<Account>>,
        now: Moment,
    ) -> Result<Self, KeyError> {
        if !is_tag(&row.name) {
            return Err(KeyError::Name);
        }
        if !row.gateway.is_empty() && !is_tag(&row.gateway) {
            return Err(KeyError::Gateway);
        }
        for pattern in &row.models {
            if pattern.is_empty() || pattern.contains(|letter: char| !letter.is_ascii_graphic()) {
                return Err(KeyError::Model(pattern.clone()));
            }
        }
        let network = |text: &String| {
            let address = text.parse().map(|address: IpAddr| address.to_canonical());
            let network = address.map(IpNet::from).or_else(|_| text.parse());
            network.map_err(|_| KeyError::Address(text.clone()))
        };
        let addresses = row.addresses.iter().map(network);
        let addresses = addresses.collect::<Result<_, _>>()?;
        let limit = |limit: Option<u64>| match limit {
            None => Ok(None),
            Some(limit) => NonZeroU64::new(limit).map(Some).ok_or(KeyError::Zero),
        };
        let limits = Limits {
            rpm: limit(row.rpm)?,
            tpm: limit(row.tpm)?,
            concurrency: limit(row.concurrency)?,
        };
        let zone = match &*row.zone {
            "" | "UTC" => TimeZone::UTC,
            name => TimeZone::get(name).map_err(|_| KeyError::Zone(name.to_owned()))?,
        };
        let account = match account {
            Some(account) => {
                account.set_limits(limits, now);
                account.set_budgets(row.budgets);
                account
            }
            None => {
                let budgets = row.budgets;
                Arc::new(Account::with_budgets(
                    Scope::Key,
                    limits,
                    budgets,
                    zone,
                    now,
                ))
            }
        };
        Ok(Self {
            row,
            secrets,
            account,
            addresses,
        })
    }

    /// May it be used from this address?
    ///
    /// # Errors
    ///
    /// [`Refusal::Address`].
    pub fn check_address(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let address = address.map(|address| address.to_canonical());
        let is_allowed = self.addresses.is_empty()
            || address.is_some_and(|address| {
                self.addresses
                    .iter()
                    .any(|network| network.contains(&address))
            });
        is_allowed.then_some(()).ok_or(Refusal::Address)
    }

    /// May it use this model? The name is the one that the client asks for, or that of an alias.
    #[must_use]
    pub fn allows_model(&self, model: &str) -> bool {
        let models = &self.row.models;
        models.is_empty() || models.iter().any(|pattern| matches(pattern, model))
    }

    /// Through which gateway is the call? `said` is what the client says of itself; a key that is
    /// bound to a gateway knows better. A client that says nothing is the gateway that its key is
    /// named after.
    ///
    /// # Errors
    ///
    /// [`Refusal::Gateway`] if the client says something else than its key.
    pub fn gateway<'a>(&'a self, said: Option<&'a str>) -> Result<&'a str, Refusal> {
        match (&*self.row.gateway, said) {
            ("", None) => Ok(&self.row.name),
            ("", Some(said)) => Ok(said),
            (bound, None) => Ok(bound),
            (bound, Some(said)) if bound == said => Ok(bound),
            (_, Some(_)) => Err(Refusal::Gateway),
        }
    }
}

/// Is it a name that a gateway, a user or a node may have?
#[must_use]
pub fn is_tag(text: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@-".contains(&byte);
    (1..=LONGEST_TAG).contains(&text.len()) && text.bytes().all(is_fit)
}

/// What somebody says who it is, as it is noted: cut off, with `_` in the place of what no name has. Nothing
/// if it says nothing.
#[must_use]
pub fn tag_of(said: &[u8]) -> Option<String> {
    let said = String::from_utf8_lossy(said.trim_ascii());
    let fit = |letter: char| match is_tag(letter.encode_utf8(&mut [0; 4])) {
        true => letter,
        false => '_',
    };
    (!said.is_empty()).then(|| said.chars().take(LONGEST_TAG).map(fit).collect())
}

/// Does a name match a pattern with `*`, without regard to case? Takes time in proportion to the
/// product of their lengths at worst.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut at, mut reached) = (0, 0);
    // Where to go on if what comes after the last star does not match.
    let mut star: Option<(usize, usize)> = None;
    while reached < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, reached));
                at += 1;
            }
            Some(letter) if letter.eq_ignore_ascii_case(&name[reached]) => {
                at += 1;
                reached += 1;
            }
            _ => {
                let Some((behind, from)) = star else {
                    return false;
                };
                star = Some((behind, from + 1));
                at = behind;
                reached = from + 1;
            }
        }
    }
    pattern[at..].iter().all(|&letter| letter == b'*')
}

/// All keys, as they are at one time.
#[derive(Default, Debug)]
pub struct Keys {
    keys: Vec<Arc<Key>>,
    by_digest: HashMap<u64, SmallVec<[(usize, usize); 1]>>,
}

/// Who has called: a key and the secret that was used.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The key.
    pub key: Arc<Key>,
    /// The number of its secret.
    pub secret: u64,
}

impl Keys {
    /// These keys.
    #[must_use]
    pub fn new(keys: Vec<Arc<Key>>) -> Self {
        let mut by_digest: HashMap<u64, SmallVec<[(usize, usize); 1]>> = HashMap::new();
        for (place, key) in keys.iter().enumerate() {
            for (number, secret) in key.secrets.iter().enumerate() {
                let found = by_digest.entry(head(&secret.digest)).or_default();
                found.push((place, number));
            }
        }
        Self { keys, by_digest }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// The one with a name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Arc<Key>> {
        self.keys.iter().find(|key| key.row.name == name)
    }

    /// Who has this secret, at a time in microseconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unknown`], [`Refusal::Revoked`], [`Refusal::Expired`] or [`Refusal::NotActive`].
    /// What is refused for another reason than being unknown belongs to somebody who had the secret.
    pub fn authenticate(&self, secret: &str, now: u64) -> Result<Caller, Refusal> {
        if !(SHORTEST..=LONGEST).contains(&secret.len()) {
            return Err(Refusal::Unknown);
        }
        let digest = digest(secret);
        let found = self.by_digest.get(&head(&digest)).into_iter().flatten();
        for &(place, number) in found {
            let key = &self.keys[place];
            let kept = &key.secrets[number];
            let is_it =
                aws_lc_rs::constant_time::verify_slices_are_equal(&kept.digest, &digest).is_ok();
            if !is_it {
                continue;
            }
            if key.row.is_revoked || kept.revoked.is_some_and(|revoked| revoked <= now) {
                tell_revoked(&key.row.name, &kept.prefix);
                return Err(Refusal::Revoked);
            }
            if kept.expires.is_some_and(|expires| expires <= now) {
                return Err(Refusal::Expired);
            }
            if kept.not_before > now {
                return Err(Refusal::NotActive);
            }
            return Ok(Caller {
                key: Arc::clone(key),
                secret: kept.id,
            });
        }
        Err(Refusal::Unknown)
    }
}

/// Somebody has a secret that was taken back, and uses it.
fn tell_revoked(name: &str, prefix: &str) {
    alerts::raise(Alert {
        kind: "key.revoked_used",
        subject: name.to_owned(),
        severity: Severity::Warn,
        text: format!("a secret of the key `{name}` that was revoked is used: `{prefix}…`"),
        quiet: Duration::from_secs(3600),
    });
}

fn head(digest: &[u8; 32]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Moment = Moment {
        unix: 1_800_000_000_000_000,
        milliseconds: 0,
    };

    fn row(name: &str) -> KeyRow {
        KeyRow {
            name: name.into(),
            ..KeyRow::default()
        }
    }

    fn key(row: KeyRow, secrets: Vec<SecretRow>) -> Arc<Key> {
        Arc::new(Key::new(row, secrets, None, NOW).expect("a key"))
    }

    #[test]
    fn secrets_have_256_bits_and_are_never_the_same() {
        let made: Vec<_> = (0..100)
            .map(|_| Secret::generate().expect("random"))
            .collect();
        let texts: std::collections::HashSet<_> = made.iter().map(Secret::reveal).collect();
        assert_eq!(texts.len(), 100);
        for secret in &made {
            let (mark, rest) = secret.reveal().split_at(3);
            assert_eq!((mark, rest.len()), ("oc-", 43));
            assert!(rest.bytes().all(|letter| LETTERS.contains(&letter)));
            assert_eq!(format!("{secret:?}"), "Secret(…)");
            let row = secret.row(1);
            assert_eq!(row.prefix, secret.reveal()[..9]);
            assert!(!format!("{row:?}").contains(rest));
        }
        // 62^43 is more than 2^256: no bit is lost.
        assert!(43.0 * 62_f64.log2() > 256.0);
    }

    #[test]
    fn a_secret_opens_its_key_in_its_time_until_it_is_revoked() {
        let secrets: Vec<_> = (0..5)
            .map(|_| Secret::generate().expect("random"))
            .collect();
        let mut rows: Vec<_> = secrets.iter().map(|secret| secret.row(0)).collect();
        rows[1].expires = Some(NOW.unix);
        rows[2].not_before = NOW.unix + 1;
        rows[3].revoked = Some(NOW.unix);
        for (number, row) in rows.iter_mut().enumerate() {
            row.id = number as u64;
        }
        let revoked = KeyRow {
            is_revoked: true,
            ..row("gone")
        };
        let keys = Keys::new(vec![
            key(row("laptop"), rows[..4].to_vec()),
            key(revoked, rows[4..].to_vec()),
        ]);
        let told = |secret: &str| {
            keys.authenticate(secret, NOW.unix)
                .map(|caller| (caller.key.row.name.clone(), caller.secret))
        };
        assert_eq!(told(secrets[0].reveal()), Ok(("laptop".into(), 0)));
        assert_eq!(told(secrets[1].reveal()), Err(Refusal::Expired));
        assert_eq!(told(secrets[2].reveal()), Err(Refusal::NotActive));
        assert_eq!(told(secrets[3].reveal()), Err(Refusal::Revoked));
        assert_eq!(told(secrets[4].reveal()), Err(Refusal::Revoked));
        let mut other = secrets[0].reveal().to_owned();
        other.pop();
        for unknown in ["", "oc-", &other, &"x".repeat(10_000)] {
            assert_eq!(told(unknown), Err(Refusal::Unknown));
        }
        assert!(keys.named("laptop").is_some() && keys.named("phone").is_none());
    }

    #[test]
    fn a_secret_from_elsewhere_works_if_it_cannot_be_guessed() {
        let foreign = Secret::foreign("sk-0123456789012345678901234567890123456789").expect("fit");
        let keys = Keys::new(vec![key(row("old"), vec![foreign.row(0)])]);
        assert!(keys.authenticate(foreign.reveal(), NOW.unix).is_ok());
        for unfit in [
            "",
            "sk-short",
            "sk-with blanks in it",
            "sk-ünïcödé-0123456789",
        ] {
            assert!(Secret::foreign(unfit).is_none(), "{unfit}");
        }
    }

    #[test]
    fn a_key_is_for_its_models_and_addresses() {
        let key = key(
            KeyRow {
                models: vec!["gpt-4o*".into(), "*/llama".into()],
                addresses: vec!["10.0.0.0/8".into(), "::1".into()],
                ..row("laptop")
            },
            Vec::new(),
        );
        for (model, is_allowed) in [
            ("gpt-4o", true),
            ("GPT-4o-mini", true),
            ("gpt-4", false),
            ("local/llama", true),
            ("local/llama2", false),
            ("", false),
        ] {
            assert_eq!(key.allows_model(model), is_allowed, "{model}");
        }
        let from = |address: &str| key.check_address(Some(address.parse().expect("an address")));
        assert_eq!(from("10.1.2.3"), Ok(()));
        assert_eq!(from("::ffff:10.1.2.3"), Ok(()));
        assert_eq!(from("::1"), Ok(()));
        assert_eq!(from("11.1.2.3"), Err(Refusal::Address));
        assert_eq!(key.check_address(None), Err(Refusal::Address));
    }

    #[test]
    fn a_key_that_is_bound_to_a_gateway_is_that_gateway() {
        let free = key(row("laptop"), Vec::new());
        assert_eq!(free.gateway(None), Ok("laptop"));
        assert_eq!(free.gateway(Some("pi")), Ok("pi"));
        let bound = key(
            KeyRow {
                gateway: "vps".into(),
                ..row("laptop")
            },
            Vec::new(),
        );
        assert_eq!(bound.gateway(None), Ok("vps"));
        assert_eq!(bound.gateway(Some("vps")), Ok("vps"));
        assert_eq!(bound.gateway(Some("pi")), Err(Refusal::Gateway));
    }

    #[test]
    fn what_cannot_be_used_is_refused_when_it_is_written() {
        let refused = |row: KeyRow| Key::new(row, Vec::new(), None, NOW).expect_err("refused");
        assert_eq!(refused(row("")), KeyError::Name);
        assert_eq!(refused(row("with blank")), KeyError::Name);
        let of = |change: fn(&mut KeyRow)| {
            let mut row = row("laptop");
            change(&mut row);
            refused(row)
        };
        assert_eq!(of(|row| row.rpm = Some(0)), KeyError::Zero);
        assert_eq!(of(|row| row.gateway = "ä".into()), KeyError::Gateway);
        assert_eq!(
            of(|row| row.zone = "Mars/Olympus".into()),
            KeyError::Zone("Mars/Olympus".into())
        );
        assert_eq!(
            of(|row| row.addresses = vec!["10.0.0.0/99".into()]),
            KeyError::Address("10.0.0.0/99".into())
        );
        assert_eq!(
            of(|row| row.models = vec!["a b".into()]),
            KeyError::Model("a b".into())
        );
    }

    proptest! {
        #[test]
        fn patterns_match_as_a_simple_matcher_says(
            pattern in "[ab*]{0,8}",
            name in "[abAB]{0,10}",
        ) {
            fn simple(pattern: &[u8], name: &[u8]) -> bool {
                match pattern.split_first() {
                    None => name.is_empty(),
                    Some((b'*', rest)) => (0..=name.len()).any(|at| simple(rest, &name[at..])),
                    Some((letter, rest)) => name.split_first().is_some_and(|(first, behind)| {
                        first.eq_ignore_ascii_case(letter) && simple(rest, behind)
                    }),
                }
            }
            prop_assert_eq!(
                matches(&pattern, &name),
                simple(pattern.as_bytes(), name.as_bytes())
            );
        }
    }
}
