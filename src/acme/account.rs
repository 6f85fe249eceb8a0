//! The account at an authority: made when first needed, kept, and used again.
//!
//! Owns the account's file. Invariant: the key of an account is on the disk before the authority hears
//! of it, so that a program that is killed finds its account again instead of making another one.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use http::Request;
use instant_acme::{Account, AccountBuilder, Error, ExternalAccountKey, Key, NewAccount};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::again;
use super::dns::Provider;
use super::failure::{Failure, is_kind};
use super::ledger::Ledger;
use super::storage;
use super::transport::Transport;
use crate::conf::typed::acme::{Issuer, MacKey};
use crate::net::resolver::Resolver;
use crate::tls::fetch::{Fetcher, Limits, Trust};
use crate::tls::file;

/// So many orders are under way at one authority at a time.
const AT_ONCE: usize = 4;

/// How long to wait for another instance that makes the account.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often an authority is asked whether it still has terms that nobody has agreed to.
const ASK_TERMS_AGAIN: Duration = Duration::from_secs(3600);

/// Where the terms of the built-in authority are read; it is not asked before they are agreed to.
const BUILT_IN_TERMS: &str = "https://letsencrypt.org/repository/";

/// One authority, and what is ours there.
pub struct Authority {
    /// What the configuration says of it.
    pub issuer: Arc<Issuer>,
    /// Where its files are.
    pub directory: PathBuf,
    /// What it was asked lately.
    pub ledger: Ledger,
    /// A turn at it.
    pub turns: Arc<Semaphore>,
    /// Where names are asked for.
    runtime: Handle,
    fetcher: Mutex<Option<Fetcher>>,
    account: tokio::sync::Mutex<Option<Account>>,
    zones: OnceLock<Provider>,
    unagreed: Mutex<Option<Unagreed>>,
}

/// What it said of terms that are not agreed to.
struct Unagreed {
    at: Instant,
    terms: Box<str>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("issuer", &self.issuer.name)
            .finish_non_exhaustive()
    }
}

/// `account.json`
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The address of the authority's directory.
    directory: String,
    /// The address of the account; none while it is being made.
    id: Option<String>,
    /// PKCS#8 in base64url.
    key_pkcs8: String,
    /// Whom the authority knows that it may write to.
    #[serde(default)]
    contacts: Vec<String>,
}

impl Kept {
    fn key(&self) -> Option<PrivatePkcs8KeyDer<'static>> {
        let bytes = BASE64URL_NOPAD.decode(self.key_pkcs8.as_bytes()).ok()?;
        Some(PrivatePkcs8KeyDer::from(bytes))
    }
}

/// What an authority says of itself (RFC 8555 section 7.1.1).
#[derive(Deserialize, Default)]
struct Directory {
    #[serde(default)]
    meta: Option<Meta>,
}

#[derive(Deserialize, Default)]
struct Meta {
    #[serde(rename = "termsOfService")]
    terms: Option<String>,
    #[serde(rename = "externalAccountRequired")]
    needs_external_account: Option<bool>,
}

impl Authority {
    /// An authority whose files are in this directory.
    pub fn new(issuer: Arc<Issuer>, directory: PathBuf, runtime: Handle) -> Arc<Self> {
        Arc::new(Self {
            issuer,
            ledger: Ledger::of(&directory),
            directory,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            runtime,
            fetcher: Mutex::default(),
            account: tokio::sync::Mutex::default(),
            zones: OnceLock::new(),
            unagreed: Mutex::default(),
        })
    }

    /// The account, made now if there is none.
    pub async fn account(&self) -> Result<Account, Failure> {
        let mut open = self.account.lock().await;
        if let Some(account) = &*open {
            return Ok(account.clone());
        }
        let path = self.directory.join("account.json");
        let disk = |error: std::io::Error| Failure::of_disk(&path, &error);
        // The library binds an external account only to a key that it makes itself: that one is kept,
        // and a comparison with another would register anew at each start.
        let own_key = match &self.issuer.external_account {
            Some(_) => None,
            None => self.issuer.account_key.as_deref().map(key_in).transpose()?,
        };
        let is_usable = |kept: &Kept| {
            kept.directory == *self.issuer.uri
                && own_key.as_ref().is_none_or(|own| {
                    let kept = kept.key();
                    kept.is_some_and(|kept| kept.secret_pkcs8_der() == own.secret_pkcs8_der())
                })
        };
        let kept: Option<Kept> = storage::read_json(&path).map_err(disk)?;
        let kept = kept.filter(is_usable);
        let account = match kept {
            Some(kept) if kept.id.is_some() => {
                let id = kept.id.clone().unwrap_or_default();
                let key = kept.key().ok_or_else(|| damaged(&path))?;
                let opened = self
                    .builder()?
                    .from_parts(id, key, self.issuer.uri.to_string());
                let account = opened
                    .await
                    .map_err(|error| failed("asking for the directory", error))?;
                self.update_contacts(&account, kept, &path).await?;
                account
            }
            _ => {
                self.check_terms().await?;
                storage::make_directory(&self.directory).map_err(disk)?;
                let _lock = self.lock().await?;
                // Another instance may have made it meanwhile.
                let kept: Option<Kept> = storage::read_json(&path).map_err(disk)?;
                if kept.as_ref().is_some_and(|kept| !is_usable(kept)) {
                    // It is the only key of an account that somebody may want back.
                    storage::set_aside(&path).map_err(disk)?;
                }
                let kept = kept.filter(is_usable);
                self.register(kept, own_key, &path).await?
            }
        };
        *open = Some(account.clone());
        Ok(account)
    }

    /// Forgets the account, which the authority does not know any more; its key is used for the next.
    pub async fn forget_account(&self) -> Result<(), Failure> {
        let mut open = self.account.lock().await;
        *open = None;
        let path = self.directory.join("account.json");
        let disk = |error: std::io::Error| Failure::of_disk(&path, &error);
        if let Some(kept) = storage::read_json::<Kept>(&path).map_err(disk)? {
            storage::write_json(&path, &Kept { id: None, ..kept }).map_err(disk)?;
        }
        Ok(())
    }

    /// Opens the account anew the next time, with the directory as it is then.
    pub async fn close_account(&self) {
        *self.account.lock().await = None;
        *self.fetcher.lock() = None;
    }

    /// Who puts records into zones for it.
    pub fn zones(&self) -> Result<&Provider, Failure> {
        if let Some(provider) = self.zones.get() {
            return Ok(provider);
        }
        let Some(conf) = &self.issuer.provider else {
            return Err(Failure::new("the issuer has no DNS provider"));
        };
        let resolver = || Resolver::new(self.issuer.resolver.as_deref(), self.runtime.clone());
        let fetcher = match &self.issuer.resolver {
            None => Fetcher::new(Trust::System),
            Some(_) => Fetcher::with_resolver(Trust::System, resolver()),
        };
        let fetcher = fetcher.map_err(|error| Failure::of_fetch("preparing to ask", &error))?;
        let made = Provider::new(Arc::clone(conf), fetcher, resolver());
        Ok(self.zones.get_or_init(|| made))
    }

    /// Are the terms agreed to, by the configuration or by a person?
    pub fn is_agreed(&self) -> bool {
        self.issuer.accepts_terms || self.agreement().is_file()
    }

    /// Keeps that the terms are agreed to.
    pub fn agree(&self, contact: Option<&str>) -> std::io::Result<()> {
        storage::make_directory(&self.directory)?;
        let text = contact.map_or_else(String::new, |contact| format!("{contact}\n"));
        storage::write(&self.agreement(), text.as_bytes())
    }

    fn agreement(&self) -> PathBuf {
        self.directory.join("agreed")
    }

    /// Whom the authority may write to.
    fn contacts(&self) -> Vec<String> {
        if !self.issuer.contacts.is_empty() {
            return self
                .issuer
                .contacts
                .iter()
                .map(ToString::to_string)
                .collect();
        }
        let agreed = storage::read(&self.agreement()).ok().flatten();
        let text = agreed.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
        text.into_iter()
            .filter(|text| !text.is_empty() && !text.contains(char::is_whitespace))
            .map(|text| match text.contains(':') {
                true => text,
                false => format!("mailto:{text}"),
            })
            .collect()
    }

    async fn check_terms(&self) -> Result<(), Failure> {
        let is_agreed = self.is_agreed();
        if !is_agreed && *self.issuer.uri == *Issuer::BUILT_IN_URI {
            let terms = Some(BUILT_IN_TERMS.into());
            return Err(Failure::Unagreed { terms });
        }
        if !is_agreed
            && let Some(known) = &*self.unagreed.lock()
            && known.at.elapsed() < ASK_TERMS_AGAIN
        {
            let terms = Some(known.terms.clone());
            return Err(Failure::Unagreed { terms });
        }
        let asking = "asking for the directory";
        let request = Request::get(&*self.issuer.uri).body(Bytes::new());
        let request = request.map_err(|error| Failure::new(format!("{asking}: {error}")))?;
        let answer = self.fetcher()?.send(request, Limits::default()).await;
        let answer = answer.map_err(|error| Failure::of_fetch(asking, &error))?;
        if !answer.status().is_success() {
            let status = answer.status().as_u16();
            return Err(Failure::new(format!(
                "{asking}: the authority answers with status {status}"
            )));
        }
        let directory: Directory = serde_json::from_slice(answer.body())
            .map_err(|_| Failure::new(format!("{asking}: what came is no directory")))?;
        let meta = directory.meta.unwrap_or_default();
        if let Some(terms) = meta.terms.filter(|_| !is_agreed) {
            let terms: Box<str> = terms.into();
            *self.unagreed.lock() = Some(Unagreed {
                at: Instant::now(),
                terms: terms.clone(),
            });
            return Err(Failure::Unagreed { terms: Some(terms) });
        }
        if meta.needs_external_account == Some(true) && self.issuer.external_account.is_none() {
            return Err(Failure::new(format!(
                "the authority wants an account of its own: set `external_account_key` of the issuer `{}`",
                self.issuer.name
            )));
        }
        Ok(())
    }

    /// Makes the account, with the key that is there if there is one.
    async fn register(
        &self,
        kept: Option<Kept>,
        own_key: Option<PrivatePkcs8KeyDer<'static>>,
        path: &Path,
    ) -> Result<Account, Failure> {
        let disk = |error: std::io::Error| Failure::of_disk(path, &error);
        let asking = "making an account";
        let uri = self.issuer.uri.to_string();
        if let Some(kept) = &kept
            && let (Some(id), Some(key)) = (&kept.id, kept.key())
        {
            let opened = self.builder()?.from_parts(id.clone(), key, uri);
            return opened
                .await
                .map_err(|error| failed("asking for the directory", error));
        }
        let contacts = self.contacts();
        if let Some(external) = &self.issuer.external_account {
            let key = mac_key(&external.key)?;
            let external = ExternalAccountKey::new(external.identifier.to_string(), &key);
            let contact: Vec<&str> = contacts.iter().map(String::as_str).collect();
            let new = NewAccount {
                contact: &contact,
                terms_of_service_agreed: true,
                only_return_existing: false,
            };
            // The library binds only keys that it makes itself, so this one is kept afterwards.
            let made = again!(self.builder()?.create(&new, uri.clone(), Some(&external)));
            let (account, credentials) = made.map_err(|error| failed(asking, error))?;
            let made = Kept {
                directory: uri,
                id: Some(account.id().to_owned()),
                key_pkcs8: encoded(credentials.private_key()),
                contacts,
            };
            storage::write_json(path, &made).map_err(disk)?;
            return Ok(account);
        }
        let key = match (own_key, kept.as_ref().and_then(Kept::key)) {
            (Some(key), _) | (None, Some(key)) => key,
            (None, None) => {
                let (_, key) = Key::generate_pkcs8().map_err(|error| failed(asking, error))?;
                key
            }
        };
        let mut kept = Kept {
            directory: uri.clone(),
            id: None,
            key_pkcs8: encoded(&key),
            contacts: Vec::new(),
        };
        storage::write_json(path, &kept).map_err(disk)?;
        let made = again!(async {
            let own = Key::from_pkcs8_der(key.clone_key())?;
            let key = PrivateKeyDer::Pkcs8(key.clone_key());
            let builder = self.builder().map_err(|_| Error::Str("a client"))?;
            builder.create_from_key((own, key), uri.clone()).await
        });
        let (account, _) = made.map_err(|error| failed(asking, error))?;
        kept.id = Some(account.id().to_owned());
        storage::write_json(path, &kept).map_err(disk)?;
        self.update_contacts(&account, kept, path).await?;
        Ok(account)
    }

    /// Tells the authority whom it may write to, if it knows otherwise.
    async fn update_contacts(
        &self,
        account: &Account,
        mut kept: Kept,
        path: &Path,
    ) -> Result<(), Failure> {
        let contacts = self.contacts();
        if contacts == kept.contacts {
            return Ok(());
        }
        let contact: Vec<&str> = contacts.iter().map(String::as_str).collect();
        match again!(account.update_contacts(&contact)) {
            Ok(()) => {}
            // An account that is gone is told of by what is asked for next.
            Err(Error::Api(problem)) if is_kind(&problem, "accountDoesNotExist") => return Ok(()),
            Err(error) => return Err(failed("telling whom the authority may write to", error)),
        }
        kept.contacts = contacts;
        storage::write_json(path, &kept).map_err(|error| Failure::of_disk(path, &error))
    }

    async fn lock(&self) -> Result<std::fs::File, Failure> {
        let path = self.directory.join("lock");
        let until = Instant::now() + PATIENCE;
        loop {
            match storage::lock(&path) {
                Ok(Some(lock)) => return Ok(lock),
                Ok(None) if Instant::now() < until => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Ok(None) => {
                    let told = "another instance has been making the account for a minute";
                    return Err(Failure::new(told));
                }
                Err(error) => return Err(Failure::of_disk(&path, &error)),
            }
        }
    }

    fn builder(&self) -> Result<AccountBuilder, Failure> {
        let transport = Transport(self.fetcher()?);
        Ok(Account::builder_with_http(Box::new(transport)))
    }

    /// Who asks the authority.
    pub(super) fn fetcher(&self) -> Result<Fetcher, Failure> {
        let mut fetcher = self.fetcher.lock();
        if let Some(fetcher) = &*fetcher {
            return Ok(fetcher.clone());
        }
        let trust = match (&self.issuer.trusted, self.issuer.verify) {
            (_, false) => Trust::Anything,
            (None, true) => Trust::System,
            (Some(path), true) => {
                Trust::roots("ssl_trusted_certificate", path).map_err(Failure::new)?
            }
        };
        let made = match &self.issuer.resolver {
            None => Fetcher::new(trust),
            Some(written) => {
                Fetcher::with_resolver(trust, Resolver::new(Some(written), self.runtime.clone()))
            }
        };
        let made = made.map_err(|error| Failure::of_fetch("preparing to ask", &error))?;
        *fetcher = Some(made.clone());
        Ok(made)
    }
}

fn failed(what: &str, error: Error) -> Failure {
    Failure::of(what, error)
}

fn damaged(path: &Path) -> Failure {
    Failure::new(format!("`{}` is damaged: it has no key", path.display()))
}

fn encoded(key: &PrivatePkcs8KeyDer<'_>) -> String {
    BASE64URL_NOPAD.encode(key.secret_pkcs8_der())
}

/// The key of an account in a file that somebody wrote: ECDSA on P-256, as PEM.
fn key_in(path: &Path) -> Result<PrivatePkcs8KeyDer<'static>, Failure> {
    let wrong = |reason: &dyn fmt::Display| {
        Failure::new(format!(
            "cannot use `account_key` `{}`: {reason}",
            path.display()
        ))
    };
    let (text, _) = file::read(path).map_err(|problem| wrong(&problem))?;
    let key = PrivateKeyDer::from_pem_slice(&text).map_err(|_| wrong(&"there is no key in it"))?;
    let other = "it is no ECDSA key on P-256, the only kind that is supported";
    let pair = match &key {
        PrivateKeyDer::Pkcs8(key) => {
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.secret_pkcs8_der())
                .map_err(|_| wrong(&other))?
        }
        PrivateKeyDer::Sec1(key) => EcdsaKeyPair::from_private_key_der(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            key.secret_sec1_der(),
        )
        .map_err(|_| wrong(&other))?,
        _ => return Err(wrong(&other)),
    };
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| wrong(&other))?;
    Ok(PrivatePkcs8KeyDer::from(pkcs8.as_ref().to_vec()))
}

/// The bytes of the key of an external account.
fn mac_key(key: &MacKey) -> Result<Zeroizing<Vec<u8>>, Failure> {
    match key {
        MacKey::Literal(bytes) => Ok(Zeroizing::new(bytes.to_vec())),
        MacKey::File(path) => {
            let wrong = |reason: &dyn fmt::Display| {
                let path = path.display();
                Failure::new(format!(
                    "cannot use `external_account_key` `{path}`: {reason}"
                ))
            };
            let (text, _) = file::read(path).map_err(|problem| wrong(&problem))?;
            std::str::from_utf8(&text)
                .ok()
                .and_then(MacKey::decode)
                .map(Zeroizing::new)
                .ok_or_else(|| wrong(&"it is not base64url"))
        }
    }
}
