//! What tests of lowering and of routing start from: a text, read without files, and settings that
//! mean nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Cx;
use super::location::PlacedLocation;
use crate::conf::check;
use crate::conf::include::{self, Node};
use crate::conf::template::Template;
use crate::conf::typed::filters::{Beside, Filters, GzipClients, Proxied};
use crate::conf::typed::llm::Llm;
use crate::conf::typed::location::*;

/// The directives of a text without mistakes of writing.
pub fn nodes(text: &str) -> Vec<Node> {
    let loaded = include::load_text(Path::new("test.conf"), text.to_owned(), Path::new("/"));
    assert_eq!(loaded.diagnostics, [], "{text}");
    loaded.nodes
}

/// What directives of `http` without mistakes say of language models.
pub fn llm(text: &str) -> Llm {
    let text = format!("http {{ {text} }}\n");
    let mut loaded = include::load_text(Path::new("test.conf"), text, Path::new("/"));
    check::check(&mut loaded);
    let config = super::config::lower(&mut loaded, Path::new("/"), &[]);
    config
        .unwrap_or_else(|| panic!("{:?}", loaded.diagnostics))
        .http
        .llm
}

/// The code and message of each problem, a line each.
pub fn problems(cx: &Cx) -> String {
    let lines = cx.diagnostics.iter();
    lines
        .map(|problem| format!("{} {}\n", problem.code.name(), problem.message))
        .collect()
}

/// The locations with settings that carry their names, and statements without `if`'s settings.
pub fn located(placed: Vec<PlacedLocation<'_>>, cx: &mut Cx) -> Vec<Location> {
    placed
        .into_iter()
        .map(|location| {
            let block = location.node.block.as_deref().unwrap_or_default();
            let mut settings = settings();
            settings.name = location.name();
            settings.statements = super::rewrite::statements(block, cx, &mut |_, node| {
                let mut inside = self::settings();
                inside.name = format!("if {}", node.arguments[0].text).into_bytes().into();
                Some(Arc::new(inside))
            });
            settings.auto_redirect = block.iter().any(|node| &*node.name.text == "proxy_pass");
            Location {
                children: located(location.children, cx),
                span: location.node.span,
                kind: location.kind,
                settings: Arc::new(settings),
            }
        })
        .collect()
}

/// Settings as nothing had been written.
pub fn settings() -> Settings {
    Settings {
        id: 0,
        name: Box::default(),
        prefix_length: 0,
        is_regex: false,
        is_named: false,
        handler: Handler::Files,
        auto_redirect: false,
        statements: Vec::new(),
        limit_except: None,
        access: Arc::default(),
        guard: None,
        origin: None,
        mirror: None,
        limits: None,
        auto_bans: None,
        real_ip: None,
        internal: false,
        root: Root::Root(Template::from_text(b"/nonexistent")),
        index: Arc::default(),
        autoindex: None,
        try_files: None,
        error_pages: Arc::default(),
        recursive_error_pages: false,
        types: Arc::default(),
        default_type: Box::default(),
        add_headers: Arc::default(),
        add_trailers: Arc::default(),
        hsts: None,
        expires: None,
        etag: true,
        cors: None,
        filters: None,
        header_edits: None,
        if_modified_since: IfModifiedSince::Exact,
        max_ranges: None,
        slice: None,
        max_body_size: None,
        body_buffer_size: 0,
        body_timeout: Duration::ZERO,
        body_in_file: BodyInFile::Off,
        body_temp_path: Path::new("/nonexistent").into(),
        send_timeout: Duration::ZERO,
        keepalive_timeout: None,
        keepalive_header: None,
        keepalive_requests: 0,
        keepalive_time: Duration::ZERO,
        lingering: Lingering {
            mode: LingeringMode::Off,
            time: Duration::ZERO,
            timeout: Duration::ZERO,
        },
        reset_timed_out: false,
        limit_rate: Template::default(),
        limit_rate_after: Template::default(),
        server_tokens: ServerTokens::Name,
        absolute_redirect: true,
        server_name_in_redirect: false,
        port_in_redirect: true,
        chunked_transfer_encoding: true,
        sendfile: false,
        log_not_found: true,
        rewrite_log: false,
        access_logs: Arc::default(),
        error_logs: Arc::default(),
        resolver: None,
        disable_symlinks: DisableSymlinks::Off,
    }
}

/// What a place does to bodies that does nothing to them.
pub fn filters() -> Filters {
    Filters {
        gzip: None,
        brotli: None,
        zstd: None,
        substitutes: None,
        gunzip: false,
        beside: Beside::default(),
        vary: false,
        clients: GzipClients {
            http10: false,
            proxied: Proxied::OFF,
            disable: Box::default(),
            disable_msie6: false,
        },
    }
}
