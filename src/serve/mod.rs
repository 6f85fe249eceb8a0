//! THE way of a request: the phases in order, in one function.
//!
//! [`serve`] takes an exchange whose head was read and sends its answer. The order is nginx's:
//! server rewrite → find location → location rewrite (back to find location, at most ten times) →
//! access → content → the answer's fields → the answer's body. What a phase means is written in its
//! own module; that it stands where it stands is written here.

pub mod answer;
pub mod connection;
pub mod downstream;
mod fields;
pub mod generation;
mod http2;
mod proxy;
mod proxy_fields;
mod request_body;
mod status_page;
mod tunnel;
pub mod worker;

use std::rc::Rc;
use std::sync::Arc;

use crate::access::ip_rules;
use crate::conf::typed::location::{ErrorPageStatus, Fallback, Handler, Settings};
use crate::conf::typed::log::Level;
use crate::files::serve as files;
use crate::http::body::Body;
use crate::http::exchange::Exchange;
use crate::http::head::{Known, Method};
use crate::http::{uri, variables};
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
    Send(Body),
    /// The answer was sent; `false` when it broke off.
    Done(bool),
}

/// Answers one request. `false` when the client's connection must close now, because the answer
/// broke off or the client is gone.
pub async fn serve(local: &Rc<Local>, exchange: &mut Exchange, downstream: &mut Downstream, first: Result<(), u16>) -> bool {
    let mut next = match first {
        Ok(()) => Next::Server,
        Err(status) => Next::Fail(status),
    };
    loop {
        next = match next {
            // Rewrites of the server run before a location is known, and again after an internal
            // redirect, because they decide by the path.
            Next::Server => {
                let server = Arc::clone(&exchange.server);
                exchange.enter(&server.settings);
                match rewrite::run(&server.statements, exchange) {
                    Outcome::Continue | Outcome::SearchAgain | Outcome::Break => Next::Search,
                    outcome => rewritten(exchange, outcome),
                }
            }
            Next::Search => match local.generation.routes.location(exchange) {
                Found::Settings(settings) => {
                    let settings = Arc::clone(settings);
                    enter_location(local, exchange, downstream, &settings).await
                }
                // `location /a/ { proxy_pass … }` and a request for `/a`.
                Found::Redirect(path) => {
                    let mut target = path.to_vec();
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
                let server = Arc::clone(&exchange.server);
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
                } else if let Some(settings) = local.generation.routes.named(&server, &name) {
                    let settings = Arc::clone(settings);
                    exchange.is_internal = true;
                    exchange.answer.clear();
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
            Next::Send(body) => match answer::send(local, exchange, downstream, body).await {
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
        let is_excepted = limits.methods.iter().any(|method| {
            &**method == token || (&**method == b"GET" && token == b"HEAD")
        });
        if !is_excepted {
            let settings = Arc::clone(&limits.settings);
            exchange.enter(&settings);
        }
    }
    if exchange.settings.internal && !exchange.is_internal {
        return Next::Fail(404);
    }
    // A body that is announced as too large is refused before anything is done for it.
    if let (Some(limit), Some(length)) = (exchange.settings.max_body_size, downstream.body_length())
        && length > limit
    {
        local.log(exchange, Level::Error, format_args!("client intended to send too large body: {length} bytes"));
        return Next::Fail(413);
    }

    // Location rewrite.
    if !exchange.settings.statements.is_empty() {
        let place = Arc::clone(&exchange.settings);
        match rewrite::run(&place.statements, exchange) {
            Outcome::Continue | Outcome::Break => {}
            outcome => return rewritten(exchange, outcome),
        }
    }

    // Access, before any content is made.
    if !exchange.settings.access.is_empty() && !ip_rules::allows(&exchange.settings.access, &exchange.connection.remote) {
        local.log(exchange, Level::Error, format_args!("access forbidden by rule"));
        return Next::Fail(403);
    }

    // Content.
    let place = Arc::clone(&exchange.settings);
    if let Some(try_files) = &place.try_files {
        match files::try_files(exchange, try_files) {
            files::Tried::Found => {}
            files::Tried::Fallback => {
                return match &try_files.fallback {
                    Fallback::Status(status) => Next::Fail(*status),
                    Fallback::Named(name) => Next::Named(name.as_bytes().to_vec()),
                    Fallback::Uri(target) => {
                        let mut text = Vec::new();
                        variables::expand(target, exchange, &mut text);
                        redirect_inside(local, exchange, &text)
                    }
                };
            }
        }
    }
    match &place.handler {
        Handler::Proxy(_) => {
            let Some(plan) = local.plan(&place) else { return Next::Fail(500) };
            match proxy::proxy(local, exchange, downstream, plan).await {
                Ok(proxy::Outcome::Sent) => Next::Done(true),
                Ok(proxy::Outcome::Cut) => Next::Done(false),
                Ok(proxy::Outcome::Failed(status) | proxy::Outcome::Intercepted(status)) => Next::Fail(status),
                Ok(proxy::Outcome::Redirected(target)) => match target.strip_prefix(b"@") {
                    Some(name) => Next::Named(name.to_vec()),
                    None => {
                        exchange.method = if exchange.method == Method::Head { Method::Head } else { Method::Get };
                        let answer = std::mem::take(&mut exchange.answer);
                        let next = redirect_inside(local, exchange, &target);
                        exchange.answer = answer;
                        next
                    }
                },
                Err(error) => client_failed(local, exchange, downstream, &error),
            }
        }
        Handler::StubStatus => {
            if !matches!(exchange.method, Method::Get | Method::Head) {
                return Next::Fail(405);
            }
            exchange.status = 200;
            exchange.answer.push(b"Content-Type", b"text/plain");
            let body = status_page::text();
            exchange.answer_length = Some(body.len() as u64);
            Next::Send(Body::Bytes(body))
        }
        Handler::Files => match files::answer(exchange) {
            files::Answer::Content(body) => Next::Send(body),
            files::Answer::InternalRedirect(path) => {
                // An index file: the arguments stay.
                let mut target = path;
                if !exchange.args.is_empty() {
                    target.push(b'?');
                    target.extend_from_slice(&exchange.args);
                }
                redirect_inside(local, exchange, &target)
            }
            files::Answer::Redirect(location) => {
                answer::set_location(exchange, &location);
                Next::Fail(301)
            }
            files::Answer::Error(error) => {
                if let Some(level) = error.level(&exchange.settings) {
                    local.log(exchange, level, format_args!("{error}"));
                }
                Next::Fail(error.status())
            }
        },
    }
}

/// What a rewrite decided, beyond going on.
fn rewritten(exchange: &mut Exchange, outcome: Outcome) -> Next {
    match outcome {
        Outcome::Continue | Outcome::Break => Next::Search,
        Outcome::SearchAgain => {
            exchange.redirects += 1;
            if exchange.redirects > MOST_REDIRECTS { Next::Fail(500) } else { Next::Search }
        }
        Outcome::Redirect { status, location } => {
            answer::set_location(exchange, &location);
            Next::Fail(status)
        }
        Outcome::Return { status, body } => match body {
            // A text makes it an answer of our own; error pages are for those without.
            Some(body) => {
                exchange.status = status;
                answer::set_default_type(exchange);
                exchange.answer_length = Some(body.len() as u64);
                Next::Send(Body::Bytes(body))
            }
            None => Next::Fail(status),
        },
        Outcome::Fail(status) => Next::Fail(status),
    }
}

/// Goes to another path inside the server.
fn redirect_inside(local: &Rc<Local>, exchange: &mut Exchange, target: &[u8]) -> Next {
    let (path, query) = uri::split_query(target);
    exchange.redirects += 1;
    if exchange.redirects > MOST_REDIRECTS {
        local.log(
            exchange,
            Level::Error,
            format_args!(
                "rewrite or internal redirection cycle while internally redirecting to \"{}\"",
                target.escape_ascii()
            ),
        );
        return Next::Fail(500);
    }
    let path = path.to_vec();
    let query = query.unwrap_or_default().to_vec();
    exchange.path = path;
    exchange.args = query;
    exchange.path_is_original = false;
    exchange.rewrite_broken = false;
    exchange.is_internal = true;
    exchange.answer.clear();
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
    exchange.error_status = status;
    exchange.has_peer_reason = false;
    let settings = Arc::clone(&exchange.settings);
    if !exchange.has_error_page && exchange.redirects < MOST_REDIRECTS {
        let page = settings.error_pages.iter().find(|page| page.statuses.contains(&status));
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
            exchange.answer.push_known(Some(Known::Location), b"Location", &target);
            return Next::Send(answer::page(exchange, status));
        }
    }
    if status >= 500 && exchange.attempts.is_empty() {
        tracing::debug!(status, "answering with an error of our own");
    }
    Next::Send(answer::page(exchange, status))
}

/// The client failed while its request was being worked on.
fn client_failed(local: &Rc<Local>, exchange: &mut Exchange, downstream: &Downstream, error: &ClientError) -> Next {
    exchange.keep_alive = false;
    let is_body = !downstream.is_body_complete();
    match error {
        ClientError::BadBody(_) => {
            local.log(exchange, Level::Info, format_args!("{error} while reading client request body"));
            Next::Fail(400)
        }
        ClientError::TimedOut => {
            local.log(exchange, Level::Info, format_args!("{error} while reading client request body"));
            exchange.status = 408;
            Next::Fail(408)
        }
        ClientError::Closed(_) => {
            let doing = if is_body { "reading client request body" } else { "waiting for upstream" };
            local.log(exchange, Level::Info, format_args!("{error} while {doing}"));
            // nginx's own status for a client that did not wait; nobody reads the answer.
            exchange.status = if is_body { 400 } else { 499 };
            Next::Done(false)
        }
    }
}

/// Logs that the client went away or stalled.
fn log_client_error(local: &Rc<Local>, exchange: &Exchange, error: &ClientError, doing: &str) {
    local.log(exchange, Level::Info, format_args!("{error} while {doing}"));
}
