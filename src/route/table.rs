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

    /// As [`RouteTable::server`] where nobody asks what a regular expression matched.
    ///
    /// # Panics
    /// If there is no such listening address.
    pub fn server_of_name(&self, listen: usize, name: &[u8]) -> usize {
        self.listens[listen].find_by(name, |_, _| {})
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::fixture::{exchange, http};
    use super::super::rewrite::{self, Outcome};
    use super::*;
    use crate::http::uri;
    use crate::http::variables;

    #[test]
    fn requests_are_routed_as_nginx_routes_them() {
        let mut count = 0;
        let text = include_str!("../../tests/route/cases.txt");
        for case in text.split("\n=== ").skip(1) {
            let (title, rest) = case.split_once('\n').expect("a title");
            let (config, requests) = rest.split_once("\n---\n").expect("requests");
            let http = http(config);
            for line in requests.lines().filter(|line| !line.trim().is_empty()) {
                let line = line.trim_start_matches("! ");
                let (request, wanted) = line.split_once(" => ").expect("an expectation");
                assert_eq!(routed(&http, request), wanted, "{title}: {request}");
                count += 1;
            }
        }
        assert!(count > 150, "only {count} requests are tried");
    }

    /// What becomes of a request, as the file of cases writes it.
    fn routed(http: &Arc<Http>, request: &str) -> String {
        let (host, target) = match request.strip_prefix('[') {
            Some(request) => request.split_once(']').expect("a host"),
            None => ("test", request),
        };
        let table = RouteTable::new(http);
        let mut exchange = exchange(http, target);
        uri::validate_host(host.as_bytes(), &mut exchange.host).expect("a host");
        let server = table.server(0, &exchange.host, &exchange);
        exchange.server = Arc::clone(table.server_at(server));
        let settings = Arc::clone(&exchange.server.settings);
        exchange.enter(&settings);
        let statements = &table.server_at(server).statements;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut outcome = rewrite::run(statements, &mut exchange, &mut |_, _| ());
        let mut changes = 0;
        while matches!(outcome, Outcome::Continue | Outcome::SearchAgain) {
            let settings = match table.location(server, &exchange.path, &exchange) {
                Found::Nothing => break,
                Found::Location(settings) => settings,
                Found::Redirect(settings) => {
                    let mut location = settings.name.to_vec();
                    if !exchange.args.is_empty() {
                        location.push(b'?');
                        location.extend_from_slice(&exchange.args);
                    }
                    return format!("301 {}", shown(&location));
                }
            };
            exchange.enter(settings);
            outcome = rewrite::run(&settings.statements, &mut exchange, &mut |_, _| ());
            if outcome == Outcome::Continue {
                break;
            }
            if outcome == Outcome::SearchAgain {
                changes += 1;
                if changes > 10 {
                    return "500 -".to_owned();
                }
                let server = Arc::clone(&exchange.server);
                exchange.enter(&server.settings);
            }
        }
        let dash = |text: String| {
            if text.is_empty() {
                "-".to_owned()
            } else {
                text
            }
        };
        match outcome {
            Outcome::Redirect { status, location } => {
                format!("{status} {}", dash(shown(&location)))
            }
            Outcome::Return { status, text } => {
                let mut body = Vec::new();
                if let Some(text) = text {
                    variables::expand(text, &exchange, &mut body);
                }
                format!("{status} {}", dash(shown(&body)))
            }
            Outcome::EmptyPath => "500 -".to_owned(),
            Outcome::Continue | Outcome::SearchAgain => {
                let mut line = match &*exchange.settings.name {
                    b"" if Arc::ptr_eq(&exchange.settings, &exchange.server.settings) => {
                        "server ".to_owned()
                    }
                    name => shown(name) + " ",
                };
                line.push_str(&shown(&exchange.path));
                if !exchange.args.is_empty() {
                    line.push('?');
                    line.push_str(&shown(&exchange.args));
                }
                line
            }
        }
    }
}
