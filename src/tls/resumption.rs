//! What lets clients take up their sessions again, kept from one configuration to the next.
//!
//! Owns which zone and which keys a server has. A zone is found again by its name and size, that of a
//! single server by the server; what a new configuration does not ask for goes with the old one.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use rustls::server::{NoServerSessionStorage, ProducesTickets, StoresServerSessions};

use super::sessions::{Identity, Store, Zone};
use super::tickets::{TicketKeys, Tickets};
use crate::conf::typed::location::Server;
use crate::conf::typed::tls::{ServerTls, SessionCache};

/// Zones and keys of one configuration.
#[derive(Default)]
pub struct Resumption {
    zones: Vec<(Name, usize, Arc<Zone>)>,
    /// Keys in files.
    keys: Vec<Arc<TicketKeys>>,
    /// The keys of servers without such files.
    random: Option<Arc<TicketKeys>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Name {
    Shared(Box<str>),
    Own(Identity),
}

impl fmt::Debug for Resumption {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Resumption")
            .field("zones", &self.zones.len())
            .finish_non_exhaustive()
    }
}

impl Resumption {
    /// Holds nothing but the random keys of the configuration before.
    pub fn following(previous: Option<&Self>) -> Self {
        let random = previous.and_then(|previous| previous.random.clone());
        Self {
            random: random.or_else(TicketKeys::random),
            ..Self::default()
        }
    }

    /// Where the sessions of a server are kept.
    pub fn storage(
        &mut self,
        tls: &ServerTls,
        identity: Identity,
        previous: Option<&Self>,
    ) -> Arc<dyn StoresServerSessions> {
        let (name, sessions) = match &tls.session_cache {
            SessionCache::Off => return Arc::new(NoServerSessionStorage {}),
            SessionCache::Own { sessions } => (Name::Own(identity), *sessions),
            SessionCache::Shared { name, sessions } => (Name::Shared(name.clone()), *sessions),
        };
        let find = |zones: &[(Name, usize, Arc<Zone>)]| {
            let mut zones = zones.iter();
            let found = zones.find(|(known, size, _)| *known == name && *size == sessions);
            found.map(|(_, _, zone)| Arc::clone(zone))
        };
        let zone = find(&self.zones).unwrap_or_else(|| {
            let zone = previous.and_then(|previous| find(&previous.zones));
            let zone = zone.unwrap_or_else(|| Zone::new(sessions));
            self.zones.push((name.clone(), sessions, Arc::clone(&zone)));
            zone
        });
        Store::new(zone, identity, tls.session_timeout)
    }

    /// The tickets of a server, if it has any. Files that cannot be read are told; random keys stand
    /// in for them, or what was read before.
    pub fn ticketer(
        &mut self,
        tls: &ServerTls,
        identity: Identity,
        previous: Option<&Self>,
        warnings: &mut Vec<String>,
    ) -> Option<Arc<dyn ProducesTickets>> {
        if !tls.tickets {
            return None;
        }
        let keys = match tls.ticket_keys.is_empty() {
            true => self.random.clone()?,
            false => self.keys_of_files(tls, previous, warnings)?,
        };
        Some(Tickets::new(keys, identity, tls.session_timeout))
    }

    fn keys_of_files(
        &mut self,
        tls: &ServerTls,
        previous: Option<&Self>,
        warnings: &mut Vec<String>,
    ) -> Option<Arc<TicketKeys>> {
        let files: Vec<_> = tls
            .ticket_keys
            .iter()
            .map(|(path, _)| path.clone())
            .collect();
        let find = |keys: &[Arc<TicketKeys>]| {
            keys.iter()
                .find(|keys| keys.files() == files)
                .map(Arc::clone)
        };
        if let Some(keys) = find(&self.keys) {
            return Some(keys);
        }
        let keys = match previous.and_then(|previous| find(&previous.keys)) {
            Some(keys) => {
                warnings.extend(keys.reload().err());
                keys
            }
            None => match TicketKeys::load(files) {
                Ok(keys) => keys,
                Err(problem) => {
                    warnings.push(problem);
                    return self.random.clone();
                }
            },
        };
        self.keys.push(Arc::clone(&keys));
        Some(keys)
    }
}

/// What tells a server from others in its sessions and tickets: its name and addresses, so that it
/// finds them again after a reload and on another machine; and what it asks of clients, so that who
/// was not asked then is asked now.
pub fn identity(server: &Server, tls: &ServerTls) -> Identity {
    let mut context = digest::Context::new(&digest::SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    add(&server.primary_name);
    for listen in &server.listens {
        add(listen.to_string().as_bytes());
    }
    add(&[tls.verify_client as u8]);
    // About whom nobody was asked then is asked about now.
    add(&[u8::from(tls.client_status.is_some())]);
    for (path, _) in [&tls.client_authorities, &tls.trusted]
        .into_iter()
        .flatten()
    {
        add(path.as_os_str().as_encoded_bytes());
    }
    let digest = context.finish();
    let mut identity = Identity::default();
    identity.copy_from_slice(&digest.as_ref()[..16]);
    identity
}
