//! The server of a request, by the address that accepted it and the host that it names.
//!
//! The order is nginx's (`ngx_http_find_virtual_server`): the exact name, the longest `*.suffix`,
//! the longest `prefix.*`, regular expressions as written, the default server. A host that is found
//! by its exact name is hashed once; where there is one server only, nothing is looked up.

use std::sync::Arc;

use super::remember;
use crate::conf::regex::{Groups, Regex};
use crate::conf::typed::hostnames::HostnameTable;
use crate::conf::typed::listen::Listen;
use crate::conf::typed::location::{Server, ServerName};
use crate::http::exchange::Exchange;

/// The servers at one address by their names.
#[derive(Debug)]
pub struct ServerNames {
    names: HostnameTable<usize>,
    /// In the order written.
    regexes: Box<[(Arc<Regex>, usize)]>,
    default: usize,
}

impl ServerNames {
    /// The table of an address; servers are positions in `servers`. A name that two servers have
    /// belongs to the first one.
    pub fn new(listen: &Listen, servers: &[Arc<Server>]) -> Self {
        let mut names = HostnameTable::default();
        let mut regexes = Vec::new();
        for &position in &listen.servers {
            let Some(server) = servers.get(position) else {
                continue;
            };
            for name in &server.names {
                match (name, name.pattern()) {
                    (_, Some(pattern)) => {
                        names.insert(pattern, position);
                    }
                    (ServerName::Regex(regex), _) => regexes.push((Arc::clone(regex), position)),
                    _ => {}
                }
            }
        }
        // With one server there is no choice; its patterns count for the groups that they fill.
        if listen.servers.len() == 1 && regexes.iter().all(|(regex, _)| regex.group_count() == 1) {
            names = HostnameTable::default();
            regexes.clear();
        }
        Self {
            names,
            regexes: regexes.into(),
            default: listen.default_server,
        }
    }

    /// The position of the server for a host: lower case, without port and trailing dot; empty if
    /// the request names none. Groups of a regular expression are remembered.
    pub fn find(&self, host: &[u8], exchange: &Exchange) -> usize {
        if let Some(&found) = self.names.find(host) {
            return found;
        }
        if !host.is_empty() && !self.regexes.is_empty() {
            let mut groups = Groups::new();
            for (regex, position) in &self.regexes {
                if regex.find(host, &mut groups) {
                    remember(exchange, regex, &groups, host);
                    return *position;
                }
            }
        }
        self.default
    }
}
