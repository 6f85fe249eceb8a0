//! A whole configuration: `http {}`, its servers, their addresses.

use std::path::Path;
use std::sync::Arc;

use super::health::Checks;
use super::on_demand;
use super::scope::Scope;
use super::settings::{self, Maker};
use super::{
    Cx, access, acme, acme_dns, alerts, bans, cache_path, http3, limits, listen, llm, llm_money,
    location, log, map, process, rewrite, tls, upstream,
};
use crate::conf::diagnostic::{Code, Diagnostic, any_error, arrange};
use crate::conf::include::{COMMAND_LINE, Loaded};
use crate::conf::typed::listen::Listen;
use crate::conf::typed::location::Server;
use crate::conf::typed::log::ErrorLog;
use crate::conf::typed::tls::Certificate;
use crate::conf::typed::upstream::Upstream;
use crate::conf::typed::{Config, Http};

/// The typed value of a loaded and checked configuration; `None` if anything is wrong with it.
/// What is found wrong is added to the diagnostics. Relative paths start at `prefix`;
/// `usual_error_logs` are used where the configuration names none.
pub fn lower(loaded: &mut Loaded, prefix: &Path, usual_error_logs: &[ErrorLog]) -> Option<Config> {
    let mut cx = Cx::new(&loaded.nodes);
    // What `-g` says stands before the main file.
    let main_file = (loaded.sources.ids())
        .map(|file| loaded.sources.path(file))
        .find(|path| *path != Path::new(COMMAND_LINE));
    let conf_directory = main_file.and_then(Path::parent).unwrap_or(prefix);
    let main = Scope::outermost(&loaded.nodes, prefix).of_directory(conf_directory);
    let process = process::process(&main, usual_error_logs, &mut cx);
    let mut http = Http::default();
    if let Some(node) = main.own("http").first() {
        let block = node.block.as_deref().unwrap_or_default();
        let scope = main.inside(block);
        let lookups = map::lookups(block, &mut cx);
        let formats = log::formats(&scope, &mut cx);
        let checks = Checks::new(&scope, &mut cx);
        http.caches = cache_path::paths(&scope, &mut cx);
        let limit_zones = limits::zones(&scope, &mut cx);
        // Its own lines are looked at even where no server takes them.
        limits::limits(&scope, &limit_zones, &mut cx);
        bans::auto_bans(&scope, &mut cx);
        let mut maker = Maker {
            caches: &http.caches,
            formats: &formats,
            error_logs: &process.error_logs,
            upstreams: upstreams(&scope, &checks, &mut cx),
            checks,
            has_built_in_types: (loaded.diagnostics.iter())
                .any(|problem| problem.code == Code::BUILTIN_MIME_TYPES),
            proxies: std::collections::HashMap::default(),
            limit_zones: &limit_zones,
            identity: Arc::default(),
            logins: access::logins(&scope, &mut cx),
            count: 0,
        };
        http.llm = llm::llm(&scope, &mut maker.upstreams, &mut cx);
        http.llm.rules = llm_money::rules(&scope, &http.llm, &mut cx);
        http.alerts = alerts::alerts(&scope, &mut cx);
        llm::warn_of_gateways(block, &http.llm, &mut cx);
        let mut servers = Vec::new();
        let mut names = Vec::new();
        for (position, node) in scope.own("server").iter().enumerate() {
            let block = node.block.as_deref().unwrap_or_default();
            let scope = scope.inside(block);
            let listens = listen::add(
                scope.own("listen"),
                position,
                node,
                &mut http.listens,
                &mut cx,
            );
            let placed = location::server_names(node, &mut cx);
            maker.identity = access::identity(block, &scope);
            let settings = maker.server(&scope, &mut cx);
            let statements = rewrite::statements(block, &mut cx, &mut |_, _| None);
            let locations = location::locations(block, &mut cx);
            let locations = maker.locations(locations, &scope, &mut cx);
            let mut reading = settings::reading(&scope);
            let mut here = http
                .listens
                .iter()
                .filter(|listen| listen.servers.contains(&position));
            reading.http2 |= here.any(|listen| listen.options.http2);
            servers.push(Server {
                names: Vec::new(),
                primary_name: placed.primary.clone(),
                listens,
                settings,
                logins: access::logins_of(block, &scope, &maker.logins, &mut cx),
                statements,
                locations,
                reading,
                tls: None,
                span: node.name.span,
            });
            names.push(placed);
        }
        listen::mark_covered(&mut http.listens);
        http.dns_providers = acme_dns::providers(&scope, &mut cx);
        let issuers = acme::issuers(&scope, &http.dns_providers, &mut cx);
        let mut zones = tls::Zones::default();
        for (position, node) in scope.own("server").iter().enumerate() {
            let is_secure =
                |listen: &Listen| listen.options.ssl && listen.servers.contains(&position);
            let is_secure = http.listens.iter().any(is_secure);
            if is_secure {
                let inner = scope.inside(node.block.as_deref().unwrap_or_default());
                let identity = acme::Identity {
                    names: &names[position],
                    position,
                    listens: &http.listens,
                };
                let demanded = on_demand::of_server(&inner, identity, &issuers, &mut cx);
                let mut orders = acme::written(&inner, identity, &issuers, &mut cx);
                let mut offered = tls::server(&inner, &orders, &mut zones, &mut cx);
                if inner.all("ssl_certificate").is_empty() && !offered.rejects {
                    if orders.is_empty() && inner.own("acme_certificate").is_empty() {
                        let server = node.name.span;
                        let has_rule = demanded.is_some();
                        orders =
                            acme::automatic(&inner, identity, server, &issuers, has_rule, &mut cx);
                    }
                    offered
                        .certificates
                        .extend(orders.into_iter().map(Certificate::Managed));
                }
                // Who refuses all handshakes shows no certificate.
                offered.on_demand = demanded.filter(|_| !offered.rejects);
                servers[position].tls = Some(Arc::new(offered));
            } else {
                let inner = scope.inside(node.block.as_deref().unwrap_or_default());
                on_demand::warn_without_tls(&inner, &mut cx);
            }
            tls::lint_hsts(node, &scope, is_secure, &mut cx);
            http3::lint(node, &scope, &mut cx);
            access::lint_clear_text(node, &scope, position, &http.listens, &mut cx);
        }
        for listen in &http.listens {
            let servers: Vec<_> = listen
                .servers
                .iter()
                .map(|&server| &names[server])
                .collect();
            location::warn_of_conflicts(&listen.address.to_string(), &servers, &mut cx);
        }
        maker.checks.finish(&maker.upstreams, &mut cx);
        http.upstreams = maker.upstreams;
        http.limit_zones = limit_zones;
        http.places = super::places::places(&scope, &mut cx);
        http.place_proxies = super::places::proxies(&scope, &mut cx);
        http.maps = lookups.maps;
        http.geos = lookups.geos;
        http.splits = lookups.splits;
        let named = servers.into_iter().zip(names);
        http.servers = named
            .map(|(server, placed)| {
                Arc::new(Server {
                    names: placed.names,
                    ..server
                })
            })
            .collect();
    }
    http.names = std::mem::take(&mut cx.names);
    loaded.diagnostics.append(&mut cx.diagnostics);
    arrange(&mut loaded.diagnostics);
    (!any_error(&loaded.diagnostics)).then_some(Config { process, http })
}

/// Every `upstream {}`; a name stands once.
fn upstreams(http: &Scope<'_>, checks: &Checks, cx: &mut Cx) -> Vec<Arc<Upstream>> {
    let mut upstreams: Vec<Arc<Upstream>> = Vec::new();
    for node in http.own("upstream") {
        let Some(found) = upstream::upstream(node, http, checks, cx) else {
            continue;
        };
        if let Some(first) = upstreams
            .iter()
            .find(|known| known.name.eq_ignore_ascii_case(&found.name))
        {
            cx.report(
                Diagnostic::error(
                    Code::DUPLICATE,
                    found.span,
                    format!("the upstream `{}` stands twice", found.name),
                )
                .label(first.span, "first here"),
            );
            continue;
        }
        upstreams.push(Arc::new(found));
    }
    upstreams
}
