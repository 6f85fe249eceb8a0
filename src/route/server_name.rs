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
        self.find_by(host, |regex, groups| {
            remember(exchange, regex, groups, host)
        })
    }

    /// As [`ServerNames::find`]; `matched` is told which regular expression it was.
    pub fn find_by(&self, host: &[u8], matched: impl FnOnce(&Regex, &Groups)) -> usize {
        if let Some(&found) = self.names.find(host) {
            return found;
        }
        if !host.is_empty() && !self.regexes.is_empty() {
            let mut groups = Groups::new();
            for (regex, position) in &self.regexes {
                if regex.find(host, &mut groups) {
                    matched(regex, &groups);
                    return *position;
                }
            }
        }
        self.default
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{exchange, http};
    use super::*;
    use crate::conf::template::Template;
    use crate::http::variables;

    fn found(text: &str, host: &str) -> (usize, String) {
        let http = http(text);
        let names = ServerNames::new(&http.listens[0], &http.servers);
        let exchange = exchange(&http, "/");
        let found = names.find(host.as_bytes(), &exchange);
        let template = Template::parse("$1", &http.names).expect("valid");
        let mut group = Vec::new();
        variables::expand(&template, &exchange, &mut group);
        (found, String::from_utf8(group).expect("text"))
    }

    #[test]
    fn the_default_server_takes_what_no_name_has() {
        let text =
            "server { server_name a; } server { server_name b ''; } server { server_name ~c; }";
        assert_eq!(found(text, "b").0, 1);
        assert_eq!(found(text, "").0, 1);
        assert_eq!(found(text, "xcx").0, 2);
        assert_eq!(found(text, "z").0, 0);
        // No pattern is tried for a request without a host.
        let text = "server { server_name a; } server { server_name ~^$ ~.*; }";
        assert_eq!(found(text, "").0, 0);
    }

    #[test]
    fn a_lonely_server_fills_the_groups_of_its_pattern_unless_its_name_is_exact() {
        let text = "server { server_name www.a.org ~^(.+)\\.a\\.org$; }";
        assert_eq!(found(text, "x.a.org"), (0, "x".into()));
        assert_eq!(found(text, "www.a.org"), (0, String::new()));
        assert_eq!(found(text, "z"), (0, String::new()));
    }
}
