//! THE way of a request: the phases in order, in one function.
//!
//! [`serve`] takes an exchange whose head was read and sends its answer. The order is nginx's:
//! server rewrite → find location → location rewrite (back to find location, at most ten times) →
//! limits → access → content → the answer's fields → the answer's body. What a phase means is written in its
//! own module; that it stands where it stands is written here.

mod account;
pub mod answer;
mod cache;
pub mod connection;
pub mod downstream;
mod fields;
pub mod gateway;
pub mod generation;
mod guard;
mod handshake;
pub mod health;
mod http2;
mod limit;
mod login;
pub mod metrics_page;
mod mirror;
mod pace;
mod peer;
mod peer_http1;
mod peer_http2;
mod peer_patience;
mod proxy;
mod proxy_fields;
mod proxy_protocol;
mod proxy_request;
mod relay;
mod request_body;
mod slices;
mod status_page;
pub mod subrequest;
mod tunnel;
pub mod worker;

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;

use crate::access::bans::bans;
use crate::access::real_ip;
use crate::conf::typed::location::{ErrorPageStatus, Handler, Settings, Statement};
use crate::conf::typed::log::Level;
use crate::files::serve::{self as files, Content, FileError, TryOutcome};
use crate::filter::{cors, header_edits};
use crate::http::body::Body;
use crate::http::exchange::{BanStatus, Exchange};
use crate::http::head::{Known, Method};
use crate::http::{buffer, uri, variables};
use crate::route::location::Found;
use crate::route::rewrite::{self, Outcome};
use downstream::{ClientError, Downstream};
use generation::Local;

/// Internal redirects and repeated location searches that one request may make (nginx
/// `NGX_HTTP_MAX_URI_CHANGES`).
const MOST_REDIRECTS: u8 = 10;

/// Where a request goes next.
enum Next {
    /// The server's own rewrites, then the search.
    Server,
    /// Search the locations by the path.
    Search,
    /// Enter a named location.
    Named(Vec<u8>),
    /// Answer with an error, or with a redirect whose `Location` is set.
    Fail(u16),
    /// Send this.
    Send(Content),
    /// The answer was sent; `false` when it broke off.
    Done(bool),
}

/// Answers one request. `false` when the client's connection must close now, because the answer
/// broke off or the client is gone.
pub async fn serve(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    first: Result<(), u16>,
) -> bool {
    let mut next = match first {
        Ok(()) => {
            // Who asks is clear before anything is decided by it. A request that was not understood
            // is its sender's.
            real_ip::apply(exchange);
            // Their connection may be older than the ban, or that of a proxy that is trusted.
            match is_kept_out(exchange) {
                true => Next::Fail(444),
                false => Next::Server,
            }
        }
        Err(status) => Next::Fail(status),
    };
    loop {
        next = match next {
            // Rewrites of the server run before a location is known, and again after an internal
            // redirect, because they decide by the path.
            Next::Server => {
                let server = Arc::clone(&exchange.server);
                exchange.enter(&server.settings);
                // Before any rewrite: a server that redirects all of its requests shall not keep an
                // authority from what it came to see.
                if let Some(answer) = local.generation.acme.challenges().at(&exchange.path)
                    && matches!(exchange.method, Method::Get | Method::Head)
                {
                    exchange.status = 200;
                    exchange
                        .answer
                        .push(b"Content-Type", b"application/octet-stream");
                    exchange.answer_length = Some(answer.len() as u64);
                    next = Next::Send(plain(Body::Bytes(answer.as_bytes().to_vec())));
                    continue;
                }
                if !server.logins.is_empty()
                    && !exchange.is_subrequest
                    && let Some((login, errand)) = login::errand(&server.logins, &exchange.path)
                {
                    next = Next::Fail(login::run(local, exchange, login, errand).await);
                    continue;
                }
                match run_statements(local, exchange, &server.statements) {
                    // The path changed or not: now it is searched.
                    Outcome::Continue | Outcome::SearchAgain => Next::Search,
                    outcome => rewritten(local, exchange, outcome),
                }
            }
            Next::Search => match find_location(local, exchange) {
                Found::Location(settings) => {
                    let settings = Arc::clone(settings);
                    enter_location(local, exchange, downstream, &settings).await
                }
                // `location /a/ { proxy_pass … }` and a request for `/a`.
                Found::Redirect(settings) => {
                    exchange.enter(settings);
                    let mut target = Vec::new();
                    uri::push_escaped(&mut target, &settings.name, uri::Escape::Path);
                    if !exchange.args.is_empty() {
                        target.push(b'?');
                        target.extend_from_slice(&exchange.args);
                    }
                    answer::set_location(exchange, &target);
                    Next::Fail(301)
                }
                Found::Nothing => {
                    let settings = Arc::clone(&exchange.server.settings);
                    enter_location(local, exchange, downstream, &settings).await
                }
            },
            Next::Named(name) => {
                exchange.redirects += 1;
                exchange.slicing.reset();
                let routes = &local.generation.routes;
                let found = std::str::from_utf8(&name)
                    .ok()
                    .and_then(|name| routes.named(exchange.server_position, name));
                if exchange.redirects > MOST_REDIRECTS {
                    local.log(
                        exchange,
                        Level::Error,
                        format_args!(
                            "rewrite or internal redirection cycle while redirect to named location \"@{}\"",
                            name.escape_ascii()
                        ),
                    );
                    Next::Fail(500)
                } else if let Some(settings) = found {
                    let settings = Arc::clone(settings);
                    exchange.is_internal = true;
                    enter_location(local, exchange, downstream, &settings).await
                } else {
                    local.log(
                        exchange,
                        Level::Error,
                        format_args!("could not find named location \"@{}\"", name.escape_ascii()),
                    );
                    Next::Fail(500)
                }
            }
            Next::Fail(status) => fail(local, exchange, status),
            Next::Send(content) => match answer::send(local, exchange, downstream, content).await {
                Ok(()) => Next::Done(true),
                Err(error) => {
                    log_client_error(local, exchange, &error, "sending to client");
                    Next::Done(false)
                }
            },
            Next::Done(is_whole) => return is_whole,
        };
    }
}

/// The phases inside of a location.
async fn enter_location(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    settings: &Arc<Settings>,
) -> Next {
    exchange.enter(settings);
    if let Some(limits) = &exchange.settings.limit_except {
        let token = exchange.head.bytes(exchange.head.method_token);
        let is_excepted = limits
            .methods
            .iter()
            .any(|method| &**method == token || (&**method == b"GET" && token == b"HEAD"));
        if !is_excepted {
            let settings = Arc::clone(&limits.settings);
            exchange.enter(&settings);
        }
    }
    if exchange.settings.internal && !exchange.is_internal {
        return Next::Fail(404);
    }
    // Before all that asks for passwords: browsers send none with this question.
    if exchange.settings.cors.is_some() && cors::is_preflight(exchange) {
        exchange.status = 204;
        return Next::Send(plain(Body::Empty));
    }
    // A body that is announced as too large is refused before anything is done for it; by the gateway
    // in its client's own words.
    if let (Some(limit), Some(length)) = (exchange.settings.max_body_size, downstream.body_length())
        && length > limit
        && !exchange.is_body_unwanted
        && !matches!(exchange.settings.handler, Handler::Gateway { .. })
    {
        local.log(
            exchange,
            Level::Error,
            format_args!("client intended to send too large body: {length} bytes"),
        );
        return Next::Fail(413);
    }

    // Location rewrite.
    if !exchange.settings.statements.is_empty() {
        let place = Arc::clone(&exchange.settings);
        match run_statements(local, exchange, &place.statements) {
            Outcome::Continue => {}
            outcome => return rewritten(local, exchange, outcome),
        }
    }

    // Behind rewrites, which see what the client sent, and before all that is decided by fields.
    if let Some(edits) = &exchange.settings.header_edits
        && !edits.request.is_empty()
        // A head that was not understood has no fields.
        && exchange.head.length > 0
    {
        let edits = Arc::clone(edits);
        let unread = downstream.take_unread(exchange);
        let mut scratch = buffer::take_small();
        header_edits::request(&edits, exchange, &mut scratch);
        buffer::give_back(scratch);
        downstream.put_back_unread(exchange, &unread);
    }

    // The location may trust proxies that its server does not; only now is it the one that answers.
    real_ip::apply(exchange);
    if is_kept_out(exchange) {
        return Next::Fail(444);
    }

    // Limits stand before access: a flood shall not get as far as passwords. A subrequest is ours, and
    // the client's request was counted.
    if let Some(limits) = &exchange.settings.limits
        && !exchange.is_subrequest
    {
        let limits = Arc::clone(limits);
        match limit::admit(local, exchange, downstream, &limits).await {
            limit::Outcome::Admitted => {}
            limit::Outcome::Refused(status) => return Next::Fail(status),
            limit::Outcome::Gone => return Next::Done(false),
        }
    }

    // Access, before any content is made. A subrequest is ours, and its client was let in.
    let asks = !exchange.settings.access.is_empty() || exchange.settings.guard.is_some();
    if asks
        && !exchange.is_subrequest
        && let Err(status) = guard::pass(local, exchange).await
    {
        return Next::Fail(status);
    }

    // Copies are made of what was let in; a copy makes no copies.
    if let Some(mirror) = &exchange.settings.mirror
        && !exchange.is_subrequest
    {
        let mirror = Arc::clone(mirror);
        match mirror::copy(local, exchange, downstream, &mirror).await {
            Ok(Ok(())) => {}
            Ok(Err(status)) => return Next::Fail(status),
            Err(error) => return client_failed(local, exchange, downstream, &error),
        }
    }

    // Content.
    let place = Arc::clone(&exchange.settings);
    if let Some(try_files) = &place.try_files {
        let outcome = with_scratch(local, exchange, |exchange, scratch| {
            files::try_files(exchange, try_files, scratch)
        });
        match outcome {
            TryOutcome::Found => {}
            TryOutcome::InternalRedirect => return redirected_inside(local, exchange),
            TryOutcome::Named(name) => return Next::Named(name.as_bytes().to_vec()),
            TryOutcome::Status(status) => return Next::Fail(status),
            TryOutcome::Error(error) => return Next::Fail(status_of_file(error)),
        }
    }
    match &place.handler {
        Handler::Proxy(_) => {
            let Some(plan) = local.plan(&place) else {
                return Next::Fail(500);
            };
            match proxy::proxy(local, exchange, downstream, plan).await {
                Ok(proxy::Outcome::Sent) => Next::Done(true),
                Ok(proxy::Outcome::Cut) => Next::Done(false),
                Ok(proxy::Outcome::Failed(status)) => Next::Fail(status),
                Ok(proxy::Outcome::Answered(status)) => {
                    exchange.status = status;
                    Next::Send(plain(Body::Empty))
                }
                Ok(proxy::Outcome::Intercepted(status)) => {
                    // A browser needs it to ask its user.
                    if status == 401 {
                        let peer = &exchange.upstream_head.fields;
                        for value in peer.all(Known::WwwAuthenticate) {
                            let name = Known::WwwAuthenticate;
                            exchange
                                .answer
                                .push_known(Some(name), name.name().as_bytes(), value);
                        }
                    }
                    Next::Fail(status)
                }
                Ok(proxy::Outcome::Redirected(target)) => match target.strip_prefix(b"@") {
                    Some(name) => Next::Named(name.to_vec()),
                    None => {
                        if !take_target(exchange, &target) {
                            local.log(
                                exchange,
                                Level::Error,
                                format_args!(
                                    "unsafe URI \"{}\" was detected",
                                    target.escape_ascii()
                                ),
                            );
                            return Next::Fail(404);
                        }
                        if exchange.method != Method::Head {
                            exchange.method = Method::Get;
                        }
                        redirected_inside(local, exchange)
                    }
                },
                Err(error) => client_failed(local, exchange, downstream, &error),
            }
        }
        Handler::Gateway {
            for_anybody,
            choosing,
            cache,
            log,
        } => {
            let own_time = gateway::OwnTime::begin();
            let place = gateway::Place {
                for_anybody: *for_anybody,
                choosing,
                cache: cache.as_ref(),
                log: log.as_ref(),
                own_time: &own_time,
            };
            // Apart: a connection that waits for a request would carry the room that a call takes.
            let mut call = Box::pin(gateway::answer(local, exchange, downstream, place));
            poll_fn(|context| own_time.poll(call.as_mut(), context)).await
        }
        Handler::StubStatus => {
            if !matches!(exchange.method, Method::Get | Method::Head) {
                return Next::Fail(405);
            }
            exchange.status = 200;
            exchange.answer.push(b"Content-Type", b"text/plain");
            let body = status_page::text();
            exchange.answer_length = Some(body.len() as u64);
            Next::Send(plain(Body::Bytes(body)))
        }
        Handler::Metrics(format) => {
            if !matches!(exchange.method, Method::Get | Method::Head) {
                return Next::Fail(405);
            }
            let Some((media_type, text)) = metrics_page::text(&local.generation, *format).await
            else {
                return Next::Fail(500);
            };
            exchange.status = 200;
            exchange.answer.push(b"Content-Type", media_type.as_bytes());
            exchange.answer_length = Some(text.len() as u64);
            Next::Send(plain(Body::Bytes(text.into_bytes())))
        }
        Handler::Files => match with_scratch(local, exchange, files::answer) {
            files::Answer::Content(content) => Next::Send(content),
            files::Answer::InternalRedirect => redirected_inside(local, exchange),
            files::Answer::Redirect { location } => {
                answer::set_location(exchange, &location);
                Next::Fail(301)
            }
            files::Answer::Error(error) => Next::Fail(status_of_file(error)),
        },
    }
}

/// Is the client of a request banned?
fn is_kept_out(exchange: &mut Exchange) -> bool {
    let is_out = bans().keeps_out(&exchange.connection.remote);
    if is_out {
        exchange.ban_status = Some(BanStatus::TurnedAway);
    }
    is_out
}

/// Goes to a target that a peer names, which is escaped as one of a client is; `false` if it leaves
/// the root.
fn take_target(exchange: &mut Exchange, target: &[u8]) -> bool {
    // A peer has no reason to climb: whoever wrote such a path did not mean well.
    let mut unescaped = Vec::new();
    uri::push_unescaped(
        &mut unescaped,
        uri::split_query(target).0,
        uri::Unescape::Path,
    );
    if unescaped
        .split(|&byte| byte == b'/')
        .any(|segment| segment == b"..")
    {
        return false;
    }
    let mut path = Vec::new();
    let merge_slashes = exchange.server.reading.merge_slashes;
    let Ok(normalised) = uri::normalise(target, merge_slashes, &mut path) else {
        return false;
    };
    if let uri::Path::AsReceived(length) = normalised.path {
        path.extend_from_slice(&target[..length]);
    }
    exchange.path = path;
    exchange.args = target[normalised.query.unwrap_or_default()].to_vec();
    exchange.is_behind_alias = false;
    exchange.path.starts_with(b"/")
}

/// Runs a function of `files` with this thread's room for paths, and logs what it reports.
fn with_scratch<R>(
    local: &Local,
    exchange: &mut Exchange,
    run: impl FnOnce(&mut Exchange, &mut files::Scratch) -> R,
) -> R {
    thread_local! {
        static SCRATCH: std::cell::Cell<files::Scratch> = std::cell::Cell::default();
    }
    let mut scratch = SCRATCH.take();
    let result = run(exchange, &mut scratch);
    for report in scratch.reports.drain(..) {
        let mut words = Vec::new();
        report.write(&mut words);
        local.log(
            exchange,
            report.level,
            format_args!("{}", String::from_utf8_lossy(&words)),
        );
    }
    SCRATCH.set(scratch);
    result
}

/// Content without more to say about it.
fn plain(body: Body) -> Content {
    Content {
        body,
        modified: None,
        allows_ranges: false,
    }
}

fn status_of_file(error: FileError) -> u16 {
    match error {
        FileError::NotFound => 404,
        FileError::Forbidden => 403,
        FileError::NotAllowed => 405,
        FileError::PreconditionFailed => 412,
        FileError::BadRequest => 400,
        FileError::Internal => 500,
    }
}

/// The location of the path in the server in force.
fn find_location<'a>(local: &'a Local, exchange: &Exchange) -> Found<'a> {
    local
        .generation
        .routes
        .location(exchange.server_position, &exchange.path, exchange)
}

/// Runs the rewrite phase of a place; what it tells goes to the error log.
fn run_statements<'a>(
    local: &Local,
    exchange: &mut Exchange,
    statements: &'a [Statement],
) -> Outcome<'a> {
    if statements.is_empty() {
        return Outcome::Continue;
    }
    let mut told: Vec<(Level, String)> = Vec::new();
    let outcome = rewrite::run(statements, exchange, &mut |level, words| {
        told.push((level, words.to_string()))
    });
    for (level, words) in told {
        local.log(exchange, level, format_args!("{words}"));
    }
    outcome
}

/// What a rewrite decided, beyond going on.
fn rewritten(local: &Local, exchange: &mut Exchange, outcome: Outcome<'_>) -> Next {
    match outcome {
        Outcome::Continue => Next::Search,
        Outcome::SearchAgain => {
            exchange.redirects += 1;
            if exchange.redirects <= MOST_REDIRECTS {
                return Next::Search;
            }
            local.log(
                exchange,
                Level::Error,
                format_args!(
                    "rewrite or internal redirection cycle while processing \"{}\"",
                    exchange.path.escape_ascii()
                ),
            );
            Next::Fail(500)
        }
        Outcome::Redirect { status, location } => {
            answer::set_location(exchange, &location);
            Next::Fail(status)
        }
        Outcome::Return {
            status,
            text: Some(text),
        } => {
            // A text makes it an answer of our own; error pages are for those without.
            let mut body = buffer::take_small();
            exchange.status = status;
            variables::expand(text, exchange, &mut body);
            if status != 204 {
                answer::set_default_type(exchange);
            }
            exchange.answer_length = Some(body.len() as u64);
            Next::Send(plain(Body::Bytes(body)))
        }
        // Without a text, errors have their pages; anything else is an empty answer.
        Outcome::Return {
            status: status @ 100..=399,
            text: None,
        } => {
            exchange.status = status;
            if status != 204 {
                answer::set_default_type(exchange);
                exchange.answer_length = Some(0);
            }
            Next::Send(plain(Body::Empty))
        }
        Outcome::Return { status, text: None } => Next::Fail(status),
        Outcome::EmptyPath => Next::Fail(500),
    }
}

/// Goes to another path inside the server.
fn redirect_inside(local: &Local, exchange: &mut Exchange, target: &[u8]) -> Next {
    let (path, query) = uri::split_query(target);
    let path = path.to_vec();
    exchange.args = query.unwrap_or_default().to_vec();
    exchange.path = path;
    exchange.is_behind_alias = false;
    redirected_inside(local, exchange)
}

/// The path became another one inside the server: the request begins anew with it.
fn redirected_inside(local: &Local, exchange: &mut Exchange) -> Next {
    exchange.redirects += 1;
    exchange.slicing.reset();
    if exchange.redirects > MOST_REDIRECTS {
        local.log(
            exchange,
            Level::Error,
            format_args!(
                "rewrite or internal redirection cycle while internally redirecting to \"{}\"",
                exchange.path.escape_ascii()
            ),
        );
        return Next::Fail(500);
    }
    exchange.path_is_original = false;
    exchange.rewrite_broken = false;
    exchange.is_internal = true;
    exchange.answer_length = None;
    Next::Server
}

/// An error, or a redirect: the page that the configuration names for it, or our own.
fn fail(local: &Rc<Local>, exchange: &mut Exchange, status: u16) -> Next {
    // These leave the connection in a state that is not worth another request.
    if matches!(status, 400 | 413 | 414 | 494 | 495 | 496 | 497 | 500 | 501) {
        exchange.keep_alive = false;
    }
    if status == 444 {
        exchange.status = 444;
        exchange.keep_alive = false;
        return Next::Done(false);
    }
    // 494 to 497 have pages of their own; the client sees one status for all.
    exchange.error_status = match status {
        494..=497 => 400,
        status => status,
    };
    exchange.has_peer_reason = false;
    // From here on the body is nobody's; its size offends no second time.
    exchange.is_body_unwanted = true;
    answer::drop_content_fields(exchange);
    let settings = Arc::clone(&exchange.settings);
    if !exchange.has_error_page && exchange.redirects <= MOST_REDIRECTS {
        let page = settings
            .error_pages
            .iter()
            .find(|page| page.statuses.contains(&status));
        if let Some(page) = page {
            exchange.has_error_page = !settings.recursive_error_pages;
            match page.answer {
                ErrorPageStatus::Keep => {}
                ErrorPageStatus::OfPage => exchange.error_status = 0,
                ErrorPageStatus::Set(status) => exchange.error_status = status,
            }
            let mut target = Vec::new();
            variables::expand(&page.target, exchange, &mut target);
            if let Some(name) = target.strip_prefix(b"@") {
                return Next::Named(name.to_vec());
            }
            if target.starts_with(b"/") {
                if exchange.method != Method::Head {
                    exchange.method = Method::Get;
                }
                return redirect_inside(local, exchange, &target);
            }
            let status = match exchange.error_status {
                status @ (301 | 302 | 303 | 307 | 308) => status,
                _ => 302,
            };
            exchange.error_status = status;
            exchange.answer.remove(Known::Location);
            exchange
                .answer
                .push_known(Some(Known::Location), b"Location", &target);
            return Next::Send(plain(answer::page(exchange, status)));
        }
    }
    Next::Send(plain(answer::page(exchange, status)))
}

/// The client failed while its request was being worked on.
fn client_failed(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &Downstream,
    error: &ClientError,
) -> Next {
    exchange.keep_alive = false;
    let is_body = !downstream.is_body_complete();
    match error {
        ClientError::BadBody(_) => {
            local.log(
                exchange,
                Level::Info,
                format_args!("{error} while reading client request body"),
            );
            Next::Fail(400)
        }
        ClientError::TimedOut => {
            local.log(
                exchange,
                Level::Info,
                format_args!("{error} while reading client request body"),
            );
            exchange.status = 408;
            Next::Fail(408)
        }
        ClientError::Closed(_) | ClientError::Filter(_) => {
            let doing = if is_body {
                "reading client request body"
            } else {
                "waiting for upstream"
            };
            local.log(exchange, Level::Info, format_args!("{error} while {doing}"));
            // nginx's own status for a client that did not wait; nobody reads the answer.
            exchange.status = if is_body { 400 } else { 499 };
            Next::Done(false)
        }
    }
}

/// Logs that the client went away or stalled.
fn log_client_error(local: &Rc<Local>, exchange: &Exchange, error: &ClientError, doing: &str) {
    let level = match error {
        ClientError::Filter(_) => Level::Error,
        _ => Level::Info,
    };
    local.log(exchange, level, format_args!("{error} while {doing}"));
}
