//! Everything that routing looks up, built once for a configuration and shared by all workers.

use std::sync::Arc;

use super::location::{Found, LocationTree};
use super::server_name::ServerNames;
use crate::conf::typed::Http;
use crate::conf::typed::location::{Server, Settings};
use crate::http::exchange::Exchange;

/// The tables of a configuration. Servers are named by their position in [`Http::servers`],
/// listening addresses by theirs in [`Http::listens`].
#[derive(Debug)]
pub struct RouteTable {
    listens: Box<[ServerNames]>,
    servers: Box<[(Arc<Server>, LocationTree)]>,
}

impl RouteTable {
    /// Builds all tables.
    pub fn new(http: &Http) -> Self {
        let listens = http.listens.iter();
        let servers = http.servers.iter();
        Self {
            listens: listens
                .map(|listen| ServerNames::new(listen, &http.servers))
                .collect(),
            servers: servers
                .map(|server| (Arc::clone(server), LocationTree::new(&server.locations)))
                .collect(),
        }
    }

    /// The position of the server for a host (lower case, without port and trailing dot; empty if
    /// the request names none) at a listening address. Groups of a regular expression are
    /// remembered in the exchange.
    ///
    /// # Panics
    /// If there is no such listening address.
    pub fn server(&self, listen: usize, host: &[u8], exchange: &Exchange) -> usize {
        self.listens[listen].find(host, exchange)
    }

    /// The server at a position.
    ///
    /// # Panics
    /// If there is none.
    pub fn server_at(&self, server: usize) -> &Arc<Server> {
        &self.servers[server].0
    }

    /// The location of a normalised path in a server. Groups of a regular expression are
    /// remembered in the exchange.
    ///
    /// # Panics
    /// If there is no such server.
    pub fn location(&self, server: usize, path: &[u8], exchange: &Exchange) -> Found<'_> {
        self.servers[server].1.find(path, exchange)
    }

    /// The named location of a server, without the `@`.
    ///
    /// # Panics
    /// If there is no such server.
    pub fn named(&self, server: usize, name: &str) -> Option<&Arc<Settings>> {
        self.servers[server].1.named(name)
    }
}
