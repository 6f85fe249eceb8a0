//! DNS-01 (RFC 8555 section 8.4): one more TXT value at `_acme-challenge.NAME`, put there and taken
//! away again through whoever holds the zone.
//!
//! Owns the interfaces of providers, finding the zone of a name through them, following a CNAME to
//! another zone, and waiting until the zone's servers have a value. Invariants: a value that is added
//! never replaces another one (a wildcard and its domain share a name), a removal takes away that
//! value only and succeeds if it is gone, and every step is bounded in time.

mod acme_dns;
mod caller;
mod cloudflare;
mod desec;
mod digital_ocean;
mod duck_dns;
mod error;
#[cfg(test)]
mod fake;
mod gandi;
mod hetzner;
mod hook;
mod message;
#[cfg(test)]
mod named;
mod ovh;
mod porkbun;
mod propagation;
mod rfc2136;
mod route53;
mod server;

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

pub use self::error::DnsError;

use self::caller::Caller;
use self::message::Key;
use self::propagation::Watcher;
use super::secret::Secret;
use crate::conf::typed::acme_dns::{DnsApi, DnsProvider};
use crate::conf::typed::secret::SecretSource;
use crate::net::resolver::Resolver;
use crate::tls::fetch::Fetcher;

/// One change at a provider, with all its questions and pauses.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Between two questions about the same thing.
const PACE: Duration = Duration::from_secs(1);

/// The longest name that DNS can carry (RFC 1035 section 2.3.4), as text.
const LONGEST_NAME: usize = 253;

/// Whoever can put records into zones, as one `dns_provider {}` says. Changes are made one after the
/// other: many interfaces replace a set of values as a whole, and two changes at a time would lose
/// one.
pub struct Provider {
    conf: Arc<DnsProvider>,
    fetcher: Fetcher,
    watcher: Watcher,
    pace: Duration,
    /// What was put where there is room for one value only, by name. Holding it orders the changes.
    held: Mutex<HashMap<Box<str>, Box<str>>>,
}

/// A value that was put. Keep its two parts to remove it after a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handle {
    /// The name that has the value: behind the CNAME records, if there are any.
    pub name: Box<str>,
    /// The value.
    pub value: Box<str>,
}

impl Provider {
    /// A provider as configured. `fetcher` asks its interface; `resolver` is asked for CNAME records
    /// and for the servers of zones.
    pub fn new(conf: Arc<DnsProvider>, fetcher: Fetcher, resolver: Resolver) -> Self {
        Self {
            conf,
            fetcher,
            watcher: Watcher { resolver, port: 53 },
            pace: PACE,
            held: Mutex::default(),
        }
    }

    /// The name of its block.
    pub fn name(&self) -> &str {
        &self.conf.name
    }

    /// Has a name room for one value only? Then the challenges of a wildcard and of its domain must
    /// be answered one after the other.
    pub fn holds_one_value(&self) -> bool {
        matches!(self.conf.api, DnsApi::DuckDns { .. })
    }

    /// Adds a value to the TXT records of a name (`_acme-challenge.example.org`) and waits until the
    /// servers of the zone have it. If they do not get it in time it is removed again.
    pub async fn present(&self, name: &str, value: &str) -> Result<Handle, DnsError> {
        let name = checked(name)?;
        let name = self.watcher.alias(&name).await;
        let handle = Handle {
            name,
            value: value.into(),
        };
        self.bounded(async {
            let mut held = self.held.lock().await;
            let service = self.open().await?;
            let record = self.record(&*service, &handle).await?;
            if self.holds_one_value() {
                let other = held.get(&record.zone.name).is_some_and(|it| **it != *value);
                if other {
                    return Err(DnsError::Occupied {
                        provider: self.conf.api.name(),
                        name: record.zone.name,
                    });
                }
            }
            service.add(&record).await?;
            if self.holds_one_value() {
                held.insert(record.zone.name, value.into());
            }
            Ok(())
        })
        .await?;
        if let Some(most) = self.conf.propagation
            && let Err(error) = self.watcher.wait(&handle.name, value, most).await
        {
            // The error that is told is the first one.
            let _ = self.remove(handle).await;
            return Err(error);
        }
        Ok(handle)
    }

    /// Removes a value that was put; it is fine if it is gone.
    pub async fn remove(&self, handle: Handle) -> Result<(), DnsError> {
        self.bounded(async {
            let mut held = self.held.lock().await;
            let service = self.open().await?;
            let record = self.record(&*service, &handle).await?;
            if self.holds_one_value() {
                // Removing takes away whatever is there, so it must be ours.
                let other = held
                    .get(&record.zone.name)
                    .is_some_and(|it| *it != handle.value);
                if other {
                    return Ok(());
                }
            }
            service.remove(&record).await?;
            held.remove(&record.zone.name);
            Ok(())
        })
        .await
    }

    /// Could a record be put for this name? Reads the secrets and finds the zone, changes nothing, and
    /// gives the name of the zone.
    pub async fn check(&self, name: &str) -> Result<Box<str>, DnsError> {
        let name = checked(name)?;
        let handle = Handle {
            name: self.watcher.alias(&name).await,
            value: Box::default(),
        };
        self.bounded(async {
            let service = self.open().await?;
            Ok(self.record(&*service, &handle).await?.zone.name)
        })
        .await
    }

    async fn bounded<T>(
        &self,
        change: impl Future<Output = Result<T, DnsError>>,
    ) -> Result<T, DnsError> {
        match tokio::time::timeout(TIMEOUT, change).await {
            Ok(outcome) => outcome,
            Err(_) => Err(DnsError::Timeout {
                provider: self.conf.api.name(),
                after: TIMEOUT,
            }),
        }
    }

    /// The record of a value, with its zone.
    async fn record(&self, service: &dyn Service, handle: &Handle) -> Result<Record, DnsError> {
        let name = &*handle.name;
        let zone = match &self.conf.zone {
            Some(zone) if is_in(name, zone) => service.zone(&[zone]).await?,
            Some(zone) => {
                return Err(DnsError::OutsideZone {
                    name: name.into(),
                    zone: zone.clone(),
                });
            }
            None => {
                // Itself, then each name above it. Public zones have two parts at least, those of a
                // private server may have one.
                let mut candidates = vec![name];
                let mut at = name;
                while let Some((_, parent)) = at.split_once('.') {
                    let is_private = matches!(self.conf.api, DnsApi::Rfc2136 { .. });
                    if !parent.contains('.') && !is_private {
                        break;
                    }
                    candidates.push(parent);
                    at = parent;
                }
                service.zone(&candidates).await?
            }
        };
        match zone {
            Some(zone) => Ok(Record {
                zone,
                name: name.into(),
                value: handle.value.clone(),
            }),
            None => Err(DnsError::NoZone {
                provider: self.conf.api.name(),
                name: name.into(),
            }),
        }
    }

    /// The interface with its secrets at hand.
    async fn open(&self) -> Result<Box<dyn Service>, DnsError> {
        let conf = Arc::clone(&self.conf);
        let fetcher = self.fetcher.clone();
        let pace = self.pace;
        // Files are read where blocking harms nobody.
        let opened = tokio::task::spawn_blocking(move || service(&conf.api, fetcher, pace));
        match opened.await {
            Ok(service) => service,
            // Only the end of the runtime stops it.
            Err(_) => Err(DnsError::Timeout {
                provider: self.conf.api.name(),
                after: Duration::ZERO,
            }),
        }
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Provider")
            .field("conf", &self.conf)
            .finish_non_exhaustive()
    }
}

/// What comes of asking a provider.
type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, DnsError>> + Send + 'a>>;

/// What each interface can do.
trait Service: Send + Sync {
    /// The zone with the longest name among these, which stand in order, the longest first.
    fn zone<'a>(&'a self, candidates: &'a [&'a str]) -> Pending<'a, Option<Zone>>;

    /// Adds the value beside others, unless it is there.
    fn add<'a>(&'a self, record: &'a Record) -> Pending<'a, ()>;

    /// Removes the value and no other, if it is there.
    fn remove<'a>(&'a self, record: &'a Record) -> Pending<'a, ()>;
}

/// A zone as a provider knows it.
struct Zone {
    name: Box<str>,
    /// How it is named in requests.
    id: Box<str>,
}

impl Zone {
    fn new(name: impl Into<Box<str>>, id: impl Into<Box<str>>) -> Self {
        Self {
            name: name.into(),
            id: id.into(),
        }
    }
}

/// A TXT value at a name.
struct Record {
    zone: Zone,
    name: Box<str>,
    value: Box<str>,
}

impl Record {
    /// The name without its zone; empty for the zone itself.
    fn relative(&self) -> &str {
        let rest = self
            .name
            .strip_suffix(&*self.zone.name)
            .unwrap_or(&self.name);
        rest.strip_suffix('.').unwrap_or(rest)
    }
}

/// A name in lower case and without a dot at its end, if DNS can carry it.
fn checked(name: &str) -> Result<String, DnsError> {
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        let sign = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len()) && label.bytes().all(sign)
    };
    match bare.len() <= LONGEST_NAME && bare.split('.').all(is_label) {
        true => Ok(bare.to_ascii_lowercase()),
        false => Err(DnsError::Name(name.into())),
    }
}

fn is_in(name: &str, zone: &str) -> bool {
    let before = name.strip_suffix(zone);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// Reads the secrets of an interface and makes what asks it.
fn service(api: &DnsApi, fetcher: Fetcher, pace: Duration) -> Result<Box<dyn Service>, DnsError> {
    let read = |parameter: &'static str, source: &SecretSource| {
        Secret::read(source).map_err(|source| DnsError::Secret { parameter, source })
    };
    let token = |source| read("api_token", source);
    let caller = |url: &str, secrets: &[&Secret]| Caller {
        provider: api.name(),
        url: url.into(),
        fetcher: fetcher.clone(),
        secrets: secrets.iter().map(|&secret| secret.clone()).collect(),
        pace,
    };
    Ok(match api {
        DnsApi::AcmeDns {
            url,
            username,
            password,
            subdomain,
        } => {
            let password = read("password", password)?;
            Box::new(acme_dns::AcmeDns {
                caller: caller(url, &[&password]),
                username: read("username", username)?,
                password,
                subdomain: subdomain.clone(),
            })
        }
        DnsApi::Cloudflare { url, token: source } => {
            let token = token(source)?;
            let caller = caller(url, &[&token]);
            Box::new(cloudflare::Cloudflare { caller, token })
        }
        DnsApi::Desec { url, token: source } => {
            let token = token(source)?;
            let caller = caller(url, &[&token]);
            Box::new(desec::Desec { caller, token })
        }
        DnsApi::DigitalOcean { url, token: source } => {
            let token = token(source)?;
            let caller = caller(url, &[&token]);
            Box::new(digital_ocean::DigitalOcean { caller, token })
        }
        DnsApi::DuckDns { url, token: source } => {
            let token = token(source)?;
            let caller = caller(url, &[&token]);
            Box::new(duck_dns::DuckDns { caller, token })
        }
        DnsApi::Exec { command, timeout } => Box::new(hook::Hook {
            command: command.clone(),
            timeout: *timeout,
        }),
        DnsApi::Gandi { url, token: source } => {
            let token = token(source)?;
            let caller = caller(url, &[&token]);
            Box::new(gandi::Gandi { caller, token })
        }
        DnsApi::Hetzner { url, token: source } => {
            let token = token(source)?;
            let caller = caller(url, &[&token]);
            Box::new(hetzner::Hetzner { caller, token })
        }
        DnsApi::HetznerConsole { url, token: source } => {
            let token = token(source)?;
            let caller = caller(url, &[&token]);
            Box::new(hetzner::HetznerConsole { caller, token })
        }
        DnsApi::Ovh {
            url,
            application_key,
            application_secret,
            consumer_key,
        } => {
            let application_secret = read("application_secret", application_secret)?;
            let consumer_key = read("consumer_key", consumer_key)?;
            Box::new(ovh::Ovh {
                caller: caller(url, &[&application_secret, &consumer_key]),
                application_key: read("application_key", application_key)?,
                application_secret,
                consumer_key,
                ahead: tokio::sync::OnceCell::new(),
            })
        }
        DnsApi::Porkbun { url, key, secret } => {
            let key = read("api_key", key)?;
            let secret = read("api_secret", secret)?;
            let caller = caller(url, &[&key, &secret]);
            Box::new(porkbun::Porkbun {
                caller,
                key,
                secret,
            })
        }
        DnsApi::Rfc2136 {
            host,
            port,
            transport,
            key,
            algorithm,
            secret,
        } => {
            let secret = read("tsig_secret", secret)?;
            let bytes = data_encoding::BASE64.decode(secret.expose().as_bytes());
            let unusable = DnsError::Unusable {
                parameter: "tsig_secret",
                wanted: "base64",
            };
            Box::new(rfc2136::Rfc2136 {
                host: host.clone(),
                port: *port,
                transport: *transport,
                key: Key {
                    name: key.clone(),
                    algorithm: *algorithm,
                    secret: bytes.map_err(|_| unusable)?,
                },
            })
        }
        DnsApi::Route53 {
            url,
            access_key,
            secret_key,
            session_token,
        } => {
            let keys = route53::Keys {
                access_key: read("access_key", access_key)?,
                secret_key: read("secret_key", secret_key)?,
                session_token: match session_token {
                    Some(source) => Some(read("session_token", source)?),
                    None => None,
                },
            };
            let mut secrets = vec![&keys.secret_key];
            secrets.extend(&keys.session_token);
            Box::new(route53::Route53 {
                caller: caller(url, &secrets),
                keys,
            })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::fake::{Fake, NAME, Texts, Zones, provider};
    use super::named::Named;
    use super::*;
    use crate::conf::source::{FileId, Span};
    use crate::conf::typed::upstream as conf;
    use crate::tls::fetch::Trust;

    fn unset(url: &str) -> DnsApi {
        DnsApi::Cloudflare {
            url: url.into(),
            token: SecretSource::Environment("NO_SUCH_VARIABLE".into()),
        }
    }

    #[test]
    fn a_name_that_dns_cannot_carry_is_refused_before_anybody_is_asked() {
        for wrong in [
            "",
            ".",
            "a..b",
            "*.example.org",
            "a b",
            "bücher.example",
            &"a.".repeat(200),
        ] {
            assert!(matches!(checked(wrong), Err(DnsError::Name(_))), "{wrong}");
        }
        assert_eq!(
            checked("_Acme.Example.org.").expect("fine"),
            "_acme.example.org"
        );
    }

    #[test]
    fn a_name_is_in_a_zone_by_whole_parts() {
        assert!(is_in("a.example.org", "example.org") && is_in("example.org", "example.org"));
        assert!(!is_in("an-example.org", "example.org") && !is_in("org", "example.org"));
        let relative = |name: &str| {
            let record = Record {
                zone: Zone::new("example.org", ""),
                name: name.into(),
                value: Box::default(),
            };
            record.relative().to_owned()
        };
        assert_eq!(
            relative("_acme-challenge.www.example.org"),
            "_acme-challenge.www"
        );
        assert_eq!(relative("example.org"), "");
    }

    #[tokio::test]
    async fn a_secret_that_is_not_at_hand_names_its_directive() {
        let fake = Fake::start(Zones::default()).await;
        let provider = provider(unset(&fake.url), None).await;
        let error = provider
            .present(NAME, "value")
            .await
            .expect_err("no secret");
        assert_eq!(
            error.to_string(),
            "the secret of `api_token` is not at hand"
        );
        assert_eq!(fake.log(), [] as [&str; 0]);
    }

    #[tokio::test]
    async fn a_record_goes_where_the_name_leads_and_goes_again_if_it_does_not_spread() {
        let first = Named::start().await;
        let port = first.address.port();
        let _second = Texts::start(first.other(), &["unrelated"]).await;
        let conf = conf::Resolver {
            servers: vec![first.address],
            valid: None,
            ipv4: true,
            ipv6: true,
            timeout: Duration::from_secs(30),
        };
        let resolver = Resolver::new(Some(&conf), tokio::runtime::Handle::current());
        let ours = |propagation| Provider {
            conf: Arc::new(DnsProvider {
                name: "test".into(),
                api: first.api(),
                zone: None,
                propagation,
                span: Span::new(FileId(0), 0..0),
            }),
            fetcher: Fetcher::new(Trust::Anything).expect("a fetcher"),
            watcher: Watcher {
                resolver: resolver.clone(),
                port,
            },
            pace: Duration::from_millis(1),
            held: Mutex::default(),
        };
        // The zone of the alias has one server.
        let patient = ours(Some(Duration::ZERO));
        let handle = patient
            .present("_acme-challenge.alias.example.org", "v")
            .await;
        let handle = handle.expect("put and seen");
        assert_eq!(&*handle.name, "challenges.example.net");
        assert_eq!(first.texts("challenges.example.net").await, ["v"]);
        patient.remove(handle).await.expect("removed");
        assert!(first.texts("challenges.example.net").await.is_empty());
        // The other zone has two, of which one never gets it.
        let error = patient.present(NAME, "v").await.expect_err("one lacks it");
        assert!(matches!(error, DnsError::Unspread { .. }), "{error}");
        assert_eq!(first.texts(NAME).await, ["unrelated"]);
        let hasty = ours(None);
        hasty.present(NAME, "v").await.expect("nobody is asked");
        assert_eq!(first.texts(NAME).await, ["unrelated", "v"]);
    }

    #[tokio::test]
    async fn a_provider_shows_no_secret() {
        let provider = provider(
            DnsApi::Desec {
                url: "http://127.0.0.1:1".into(),
                token: SecretSource::Literal("s3cr3t-token".into()),
            },
            None,
        )
        .await;
        assert!(!format!("{provider:?}").contains("s3cr3t"));
        let error = provider.check(NAME).await.expect_err("nobody listens");
        assert_eq!(error.to_string(), "cannot list the zones");
        let handle = Handle {
            name: NAME.into(),
            value: "value".into(),
        };
        assert!(matches!(
            provider.remove(handle).await,
            Err(DnsError::Fetch { .. })
        ));
    }
}
