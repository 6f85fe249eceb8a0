//! What would happen to a request, and why: the phases of a request walked through without sending
//! anything, each with the line that decides.
//!
//! It asks the same tables as a request does (servers, locations, rewrites, access rules); what
//! depends on the world (files, peers, time) is said and not guessed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

use crate::access::ip_rules::{self, Verdict};
use crate::access::real_ip;
use crate::conf::source::{Sources, Span};
use crate::conf::typed::Http;
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{
    Handler, Location, LocationKind, Root, Server, ServerName, Settings, Statement,
};
use crate::conf::typed::proxy::Target;
use crate::conf::typed::upstream::PeerAddress;
use crate::http::exchange::{Connection, Exchange};
use crate::http::h1::parse::{HeadLimits, HeadParser, Progress};
use crate::http::head::{Known, Method};
use crate::http::{uri, variables};
use crate::protocol::{Explanation, Question, Step};
use crate::route::location::Found;
use crate::route::rewrite::{self, Outcome};
use crate::route::table::RouteTable;
use crate::unit::clock;

/// nginx `NGX_HTTP_MAX_URI_CHANGES`
const MOST_REDIRECTS: u8 = 10;

/// The largest head that is put together for a question.
const MOST_HEAD: usize = 64 << 10;

/// Walks a request through a configuration. The error says what is wrong with the question.
pub fn explain(
    http: &Arc<Http>,
    sources: &Sources,
    question: &Question,
) -> Result<Explanation, String> {
    let url = Url::parse(&question.url)?;
    let routes = RouteTable::new(http);
    let mut walk = Walk {
        http,
        sources,
        told: Explanation::default(),
    };
    let client = match question.client.as_str() {
        "" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        text => text
            .parse()
            .map_err(|_| format!("`{}` is not an address", text.escape_debug()))?,
    };

    // Which socket, and so which servers.
    let Some(listen) = walk.listen(&url) else {
        let ports: Vec<_> = http
            .listens
            .iter()
            .map(|it| it.address.to_string())
            .collect();
        let text = format!(
            "nothing listens on port {} (there is {})",
            url.port,
            ports.join(", ")
        );
        walk.step("listen", text, None);
        return Ok(walk.told);
    };

    let first = Arc::clone(&http.servers[http.listens[listen].default_server]);
    let connection = Connection {
        serial: 0,
        remote: Address::Ip(SocketAddr::new(client, 50_000)),
        remote_text: client.to_string().into(),
        local: http.listens[listen].address.clone(),
        secured: url.is_secure.then(Rc::default),
        proxied: None,
        accepted: clock::now(),
        descriptor: -1,
    };
    let mut exchange = Exchange::new(Rc::new(connection), Arc::clone(http), first);
    read_head(&mut exchange, question, &url)?;
    let host = exchange.head.fields.known(Known::Host).unwrap_or_default();
    let host = host.to_vec();
    exchange.host_port = uri::validate_host(&host, &mut exchange.host)
        .map_err(|_| "the host is not one".to_owned())?;
    let position = routes.server(listen, &exchange.host, &exchange);
    exchange.enter_server(&http.servers[position], position);
    walk.server(listen, position, &exchange.host);
    walk.real_ip(&mut exchange);
    if matches!(exchange.method, Method::Connect | Method::Trace) {
        walk.step("server", "this method is not served".to_owned(), None);
        walk.told.status = Some(405);
        return Ok(walk.told);
    }

    // The path as locations see it.
    let target = exchange.head.path_and_query.of(&exchange.head.fields.bytes);
    let target = target.to_vec();
    let merge = exchange.server.reading.merge_slashes;
    let mut path = Vec::new();
    let normalised = uri::normalise(&target, merge, &mut path)
        .map_err(|error| format!("the path cannot be used: {error}"))?;
    match normalised.path {
        uri::Path::AsReceived(length) => path.extend_from_slice(&target[..length]),
        _ => walk.step(
            "server",
            format!("the path is read as {}", shown(&path)),
            None,
        ),
    }
    exchange.path = path;
    if let Some(query) = normalised.query {
        exchange.args = target[query].to_vec();
    }

    // Rewrites of the server, then locations until one stays.
    let mut changes = 0;
    let mut settings = Arc::clone(&exchange.server.settings);
    exchange.enter(&settings);
    let server = Arc::clone(&exchange.server);
    let mut outcome = walk.run(&server.statements, &mut exchange, "server");
    loop {
        match outcome {
            End::Answered => return Ok(walk.told),
            End::Continue if !Arc::ptr_eq(&settings, &server.settings) => break,
            End::Continue | End::SearchAgain => {}
        }
        changes += 1;
        if changes > MOST_REDIRECTS {
            walk.step(
                "rewrite",
                "the path is rewritten more than ten times".to_owned(),
                None,
            );
            walk.told.status = Some(500);
            return Ok(walk.told);
        }
        match routes.location(position, &exchange.path, &exchange) {
            Found::Nothing => {
                walk.step(
                    "location",
                    format!(
                        "no location takes {}: the server itself answers",
                        shown(&exchange.path)
                    ),
                    Some(server.span),
                );
                break;
            }
            Found::Redirect(found) => {
                let name = shown(&found.name);
                walk.location(found, position, &exchange.path);
                walk.step(
                    "location",
                    format!("the path lacks its last slash: redirect to {name}"),
                    None,
                );
                walk.told.status = Some(301);
                walk.told.target = format!("redirect to {name}");
                return Ok(walk.told);
            }
            Found::Location(found) => {
                settings = Arc::clone(found);
                walk.location(&settings, position, &exchange.path);
            }
        }
        exchange.enter(&settings);
        if settings.internal {
            walk.step(
                "location",
                "this location is `internal`: no client reaches it directly".to_owned(),
                None,
            );
            walk.told.status = Some(404);
            return Ok(walk.told);
        }
        outcome = walk.run(&settings.statements, &mut exchange, "rewrite");
        if matches!(outcome, End::SearchAgain) {
            settings = Arc::clone(&server.settings);
        } else if matches!(outcome, End::Continue) {
            break;
        }
    }

    // An `if` may have changed what holds.
    let settings = Arc::clone(&exchange.settings);
    if let Some(limits) = &settings.limit_except {
        let token = exchange.head.bytes(exchange.head.method_token);
        let is_excepted = limits
            .methods
            .iter()
            .any(|method| &**method == token || (&**method == b"GET" && token == b"HEAD"));
        if !is_excepted {
            walk.step(
                "access",
                "`limit_except` has rules of its own for this method".to_owned(),
                None,
            );
            exchange.enter(&limits.settings);
        }
    }
    let settings = Arc::clone(&exchange.settings);
    walk.real_ip(&mut exchange);
    let client = &exchange.connection.remote_text;
    if !settings.access.is_empty() {
        let verdict = ip_rules::judge(&settings.access, &exchange.connection.remote);
        let text = match verdict {
            Verdict::Allowed => format!("{client} is allowed"),
            Verdict::Denied => format!("{client} is denied"),
            Verdict::Undecided => format!("no rule speaks of {client}: it may pass"),
        };
        walk.step("access", text, None);
        if verdict == Verdict::Denied {
            walk.told.status = Some(403);
            return Ok(walk.told);
        }
    }
    if settings.try_files.is_some() {
        walk.step(
            "content",
            "`try_files` looks for files first, and decides by what is there".to_owned(),
            None,
        );
    }
    walk.content(&settings, &exchange);
    Ok(walk.told)
}

/// How statements ended.
enum End {
    Continue,
    SearchAgain,
    Answered,
}

struct Walk<'a> {
    http: &'a Arc<Http>,
    sources: &'a Sources,
    told: Explanation,
}

impl Walk<'_> {
    fn step(&mut self, phase: &str, text: String, span: Option<Span>) {
        let place = span.map_or_else(String::new, |span| {
            let (line, _) = self.sources.line_column(span);
            format!("{}:{line}", self.sources.path(span.file).display())
        });
        self.told.steps.push(Step {
            phase: phase.to_owned(),
            text,
            place,
        });
    }

    fn real_ip(&mut self, exchange: &mut Exchange) {
        let is_known = exchange.has_other_client();
        real_ip::apply(exchange);
        if exchange.has_other_client() && !is_known {
            let client = &exchange.connection.remote_text;
            let proxy = &exchange.accepted().remote_text;
            let text = format!("the client is {client}: {proxy} says so and is trusted");
            self.step("client", text, None);
        }
    }

    fn listen(&mut self, url: &Url) -> Option<usize> {
        let port_of = |address: &Address| match address {
            Address::Ip(address) => Some(address.port()),
            Address::Unix(_) => None,
        };
        let here: Vec<_> = self
            .http
            .listens
            .iter()
            .enumerate()
            .filter(|(_, listen)| port_of(&listen.address) == Some(url.port))
            .collect();
        let literal: Option<IpAddr> = url.host.trim_matches(['[', ']']).parse().ok();
        let exact = here.iter().find(|(_, listen)| match &listen.address {
            Address::Ip(address) => Some(address.ip()) == literal,
            Address::Unix(_) => false,
        });
        let any = here.iter().find(|(_, listen)| match &listen.address {
            Address::Ip(address) => address.ip().is_unspecified(),
            Address::Unix(_) => false,
        });
        let &(position, listen) = exact.or(any).or(here.first())?;
        let text = format!("the connection comes in by {}", listen.address);
        self.step("listen", text, Some(listen.span));
        Some(position)
    }

    fn server(&mut self, listen: usize, position: usize, host: &[u8]) {
        let server = &self.http.servers[position];
        let listen = &self.http.listens[listen];
        self.told.server = shown(&server.primary_name);
        let is_alone = listen.servers.len() == 1;
        let why = why_named(server, host).unwrap_or(match listen.has_explicit_default {
            _ if is_alone => "it is the only one at this address",
            true => "no other has this name, and it is the `default_server`",
            false => "no other has this name, and it is the first at this address",
        });
        let name = match self.told.server.as_str() {
            "" => "without a name".to_owned(),
            name => name.to_owned(),
        };
        let text = format!("server {name} takes the host `{}`: {why}", shown(host));
        self.step("server", text, Some(server.span));
    }

    fn location(&mut self, settings: &Arc<Settings>, position: usize, path: &[u8]) {
        fn find<'a>(locations: &'a [Location], settings: &Arc<Settings>) -> Option<&'a Location> {
            locations
                .iter()
                .find_map(|location| match Arc::ptr_eq(&location.settings, settings) {
                    true => Some(location),
                    false => find(&location.children, settings),
                })
        }
        let server = &self.http.servers[position];
        let Some(location) = find(&server.locations, settings) else {
            return;
        };
        let why = match &location.kind {
            LocationKind::Exact(_) => "it is exactly this path",
            LocationKind::Prefix { strong: true, .. } => {
                "the longest prefix, and `^~` keeps patterns from being tried"
            }
            LocationKind::Prefix { .. } => "the longest prefix, and no pattern matches",
            LocationKind::Regex(_) => "the first pattern that matches",
            LocationKind::Named(_) => "it is named",
        };
        let span = location.span;
        let written = location.kind.to_string();
        self.told.location.clone_from(&written);
        let text = format!("location {written} takes {}: {why}", shown(path));
        self.step("location", text, Some(span));
    }

    fn run(&mut self, statements: &[Statement], exchange: &mut Exchange, phase: &str) -> End {
        let before = exchange.path.clone();
        let mut notes = Vec::new();
        let outcome = rewrite::run(statements, exchange, &mut |_, words| {
            notes.push(words.to_string());
        });
        for note in notes {
            self.step("rewrite", note, None);
        }
        if exchange.path != before {
            let text = format!("{} becomes {}", shown(&before), shown(&exchange.path));
            self.step("rewrite", text, None);
        }
        match outcome {
            Outcome::Continue => End::Continue,
            Outcome::SearchAgain => End::SearchAgain,
            Outcome::Redirect { status, location } => {
                self.told.status = Some(status);
                self.told.target = format!("redirect to {}", shown(&location));
                self.step(
                    phase,
                    format!("redirect with {status} to {}", shown(&location)),
                    None,
                );
                End::Answered
            }
            Outcome::Return { status, text } => {
                let mut body = Vec::new();
                if let Some(text) = text {
                    variables::expand(text, exchange, &mut body);
                }
                self.told.status = Some(status);
                self.told.target = format!("return {status}");
                let text = match (status, body.is_empty()) {
                    (444, _) => "the connection closes without an answer (444)".to_owned(),
                    (_, true) => format!("answered with {status}"),
                    (_, false) => format!("answered with {status} and {} bytes", body.len()),
                };
                self.step(phase, text, None);
                End::Answered
            }
            Outcome::EmptyPath => {
                self.told.status = Some(500);
                self.step(phase, "the rewrite leaves no path".to_owned(), None);
                End::Answered
            }
        }
    }

    fn content(&mut self, settings: &Settings, exchange: &Exchange) {
        match &settings.handler {
            Handler::Proxy(proxy) => match &proxy.target {
                Target::Group {
                    scheme,
                    upstream,
                    host,
                    uri: replacement,
                    ..
                } => {
                    let Some(upstream) = self.http.upstreams.get(*upstream) else {
                        return;
                    };
                    let mut path = Vec::new();
                    match replacement {
                        Some(replacement) => {
                            path.extend_from_slice(replacement);
                            let rest = exchange.path.get(settings.prefix_length..);
                            uri::push_escaped(
                                &mut path,
                                rest.unwrap_or_default(),
                                uri::Escape::Path,
                            );
                        }
                        None => uri::push_escaped(&mut path, &exchange.path, uri::Escape::Path),
                    }
                    if !exchange.args.is_empty() {
                        path.push(b'?');
                        path.extend_from_slice(&exchange.args);
                    }
                    let url = format!("{}{}{}", scheme.prefix(), shown(host), shown(&path));
                    self.told.target = format!("{}{}", scheme.prefix(), upstream.name);
                    self.step("content", format!("passed on as {url}"), None);
                    self.told.upstream_url = Some(url);
                    let mut servers: Vec<_> = upstream
                        .servers
                        .iter()
                        .filter(|server| !server.down)
                        .collect();
                    servers.sort_by_key(|server| (server.backup, std::cmp::Reverse(server.weight)));
                    self.told.peers = servers
                        .iter()
                        .map(|server| match &server.address {
                            PeerAddress::Ip(address) => address.to_string(),
                            PeerAddress::Unix(path) => format!("unix:{}", path.display()),
                            PeerAddress::Name { host, port } => format!("{host}:{port}"),
                        })
                        .collect();
                    let span = (!upstream.is_implicit).then_some(upstream.span);
                    let text = match self.told.peers.len() {
                        0 => "no peer may be asked: 502".to_owned(),
                        1 => format!("the peer is {}", self.told.peers[0]),
                        count => format!("{count} peers share the requests of {}", upstream.name),
                    };
                    self.step("upstream", text, span);
                }
                Target::Dynamic(template) => {
                    let mut url = Vec::new();
                    variables::expand(template, exchange, &mut url);
                    self.told.target = shown(&url);
                    self.told.upstream_url = Some(shown(&url));
                    let text = format!("passed on to {}, computed for each request", shown(&url));
                    self.step("content", text, None);
                }
            },
            Handler::StubStatus => {
                self.told.target = "stub_status".to_owned();
                self.told.status = Some(200);
                self.step("content", "the page of counters".to_owned(), None);
            }
            Handler::Metrics(_) => {
                self.told.target = "metrics".to_owned();
                self.told.status = Some(200);
                self.step("content", "the page of metrics".to_owned(), None);
            }
            Handler::Gateway { .. } => {
                self.told.target = "llm_gateway".to_owned();
                self.step("content", "the gateway to language models".to_owned(), None);
            }
            Handler::Files => {
                let mut path = Vec::new();
                let (word, template) = match &settings.root {
                    Root::Root(template) => ("root", template),
                    Root::Alias(template) => ("alias", template),
                };
                variables::expand(template, exchange, &mut path);
                self.told.target = format!("{word} {}", shown(&path));
                let rest = match &settings.root {
                    Root::Root(_) => &exchange.path[..],
                    Root::Alias(_) => exchange
                        .path
                        .get(settings.prefix_length..)
                        .unwrap_or_default(),
                };
                path.extend_from_slice(rest);
                let mut text = format!("the file {}", shown(&path));
                if exchange.path.ends_with(b"/") {
                    text.push_str(" and its index");
                }
                self.step("content", text, None);
            }
        }
    }
}

/// How a name of a server takes a host, the strongest way first.
fn why_named(server: &Server, host: &[u8]) -> Option<&'static str> {
    let takes = |name: &ServerName| match name {
        ServerName::Exact(name) => (**name == *host).then_some((0, "it has exactly this name")),
        ServerName::SelfOrSuffix(name) if name[1..] == *host => {
            Some((0, "it has exactly this name"))
        }
        ServerName::Suffix(suffix) | ServerName::SelfOrSuffix(suffix) => host
            .ends_with(suffix)
            .then_some((1, "it has the longest `*.` name that fits")),
        ServerName::Prefix(prefix) => host
            .starts_with(prefix)
            .then_some((2, "it has the longest `.*` name that fits")),
        ServerName::Regex(regex) => regex
            .is_match(host)
            .then_some((3, "the first pattern of a name that matches is its")),
    };
    let found = server.names.iter().filter_map(takes);
    found.min_by_key(|(rank, _)| *rank).map(|(_, why)| why)
}

/// The request of a question, read by the same parser as one of a client.
fn read_head(exchange: &mut Exchange, question: &Question, url: &Url) -> Result<(), String> {
    let method = match question.method.as_str() {
        "" => "GET",
        method => method,
    };
    let mut head = format!("{method} {} HTTP/1.1\r\n", url.target);
    let has_host = question
        .fields
        .iter()
        .any(|(name, _)| name.eq_ignore_ascii_case("host"));
    if !has_host {
        head.push_str(&format!("Host: {}\r\n", url.authority));
    }
    for (name, value) in &question.fields {
        if name.contains(['\r', '\n', ':']) || value.contains(['\r', '\n']) {
            return Err("a field has a line end in it".to_owned());
        }
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    if head.len() > MOST_HEAD {
        return Err("the request is too large".to_owned());
    }
    exchange.head.fields.bytes = head.into_bytes();
    match HeadParser::default().request(&mut exchange.head, &HeadLimits::default()) {
        Ok(Progress::Complete) => {}
        Ok(Progress::Partial) => return Err("the request is not complete".to_owned()),
        Err(error) => return Err(format!("the request would be refused: {error}")),
    }
    exchange.method = exchange.head.method;
    Ok(())
}

/// The parts of a URL.
struct Url {
    host: String,
    authority: String,
    port: u16,
    target: String,
    is_secure: bool,
}

impl Url {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains(|letter: char| letter.is_ascii_control() || letter == ' ') {
            return Err("a URL has no blanks or control characters in it".to_owned());
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_secure = match scheme {
            "http" => false,
            "https" => true,
            other => return Err(format!("`{}` is not http or https", other.escape_debug())),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        let target = target.split('#').next().unwrap_or_default();
        if authority.is_empty() {
            return Err("the URL names no host".to_owned());
        }
        let usual = if is_secure { 443 } else { 80 };
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && !port.contains(']') => (
                host,
                port.parse()
                    .map_err(|_| format!("`{}` is not a port", port.escape_debug()))?,
            ),
            _ => (authority, usual),
        };
        Ok(Self {
            host: host.to_owned(),
            authority: authority.to_owned(),
            port,
            target: match target {
                "" => "/".to_owned(),
                target if target.starts_with('?') => format!("/{target}"),
                target => target.to_owned(),
            },
            is_secure,
        })
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;
    use crate::conf::check;
    use crate::conf::include::load_text;
    use crate::conf::typed::lower::config::lower;

    /// Asks a configuration about a request.
    fn ask(servers: &str, question: &Question) -> Result<Explanation, String> {
        let text = format!("events {{}} http {{ {servers} }}");
        let mut loaded = load_text(Path::new("test.conf"), text, Path::new("/"));
        check::check(&mut loaded);
        let config = lower(&mut loaded, Path::new("/"), &[]).expect("a good configuration");
        explain(&Arc::new(config.http), &loaded.sources, question)
    }

    fn of(url: &str) -> Question {
        Question {
            method: "GET".to_owned(),
            url: url.to_owned(),
            ..Question::default()
        }
    }

    const SERVERS: &str = "
        upstream app { server 127.0.0.1:1; server 127.0.0.1:2 backup; }
        server { listen 80; server_name a.test *.b.test;
            location / { root /srv; }
            location /app/ { proxy_pass http://app/; deny 10.0.0.0/8; allow all; }
            location ^~ /fixed/ { internal; }
            location ~ ^/u/(?<user>\\w+)$ { proxy_pass http://$user.test:8080; resolver 127.0.0.1; }
            location /loop { rewrite ^ /loop last; }
            location @named { return 418; } }
        server { listen 8080 default_server; return 301 https://$host$request_uri; }";

    #[test]
    fn each_phase_says_what_it_decides() {
        let told = ask(SERVERS, &of("http://x.b.test/app/y?z")).expect("a request");
        assert_eq!(told.upstream_url.as_deref(), Some("http://app/y?z"));
        assert_eq!(told.peers, ["127.0.0.1:1", "127.0.0.1:2"]);
        let told = ask(SERVERS, &of("http://a.test/u/bob")).expect("a request");
        assert_eq!(told.target, "http://bob.test:8080");
        let told = ask(SERVERS, &of("http://a.test/fixed/x")).expect("a request");
        assert_eq!(told.status, Some(404));
        let told = ask(SERVERS, &of("http://a.test/loop")).expect("a request");
        assert_eq!(told.status, Some(500));
        let told = ask(SERVERS, &of("http://a.test/dir/../x//y")).expect("a request");
        assert_eq!(told.target, "root /srv");
        assert!(
            told.steps.iter().any(|step| step.text.contains("/x/y")),
            "{told:?}"
        );
        let told = ask(SERVERS, &of("http://any.test:8080/p?q")).expect("a request");
        assert_eq!(told.target, "redirect to https://any.test/p?q");
        for url in [
            "",
            "ftp://a/",
            "http://",
            "http://a:x/",
            "http://a/ b",
            "http://a/\u{7}",
        ] {
            ask(SERVERS, &of(url)).expect_err(url);
        }
    }

    #[test]
    fn rules_are_judged_by_the_client_that_a_trusted_proxy_names() {
        let servers = "set_real_ip_from 127.0.0.1; real_ip_header X-Forwarded-For;
            server { listen 80; location / { allow 192.0.2.0/24; deny all; root /srv; } }";
        let forwarded = |client: &str| Question {
            fields: vec![("X-Forwarded-For".to_owned(), "192.0.2.7".to_owned())],
            client: client.to_owned(),
            ..of("http://a.test/")
        };
        let told = ask(servers, &forwarded("127.0.0.1")).expect("a request");
        let said = |text: &str| told.steps.iter().any(|step| step.text.contains(text));
        assert!(
            said("the client is 192.0.2.7: 127.0.0.1 says so"),
            "{told:?}"
        );
        assert!(said("192.0.2.7 is allowed"), "{told:?}");
        let told = ask(servers, &forwarded("203.0.113.1")).expect("a request");
        assert_eq!(told.status, Some(403));
    }

    proptest! {
        #[test]
        fn no_question_can_do_harm(
            method in "\\PC{0,8}",
            url in "(https?://)?[a-b.:\\[\\]]{0,8}(:80|:8080)?\\PC{0,24}",
            name in "\\PC{0,8}",
            value in "[ -~\\r\\n]{0,12}",
            client in "[0-9a-f:.]{0,12}",
        ) {
            let question = Question { method, url, fields: vec![(name, value)], client };
            let _ = ask(SERVERS, &question);
        }
    }
}
