//! Answers of our own, and the head of every answer.
//!
//! Owns the table from status to page, the head as written to the client (nginx's order of fields),
//! and the sending of bodies that are at hand. A proxied answer begins here too ([`start`]); its
//! body is the proxy's.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

use super::downstream::{ClientError, Downstream, Framing, framing_for};
use super::generation::Local;
use super::pace::Pace;
use crate::conf::template::Template;
use crate::conf::variable::{Core, Variable};
use crate::files::serve::Content;
use crate::filter::{begin, headers};
use crate::http::body::{Body, FileBody};
use crate::http::coding::Coding;
use crate::http::exchange::Exchange;
use crate::http::h1::write;
use crate::http::head::{Known, Method, Version};
use crate::http::{buffer, range, variables};
use crate::metrics::registry;
use crate::unit::{self, clock};

/// A file up to this size is copied into the write that carries the head.
const COPY_FILE: u64 = 32 << 10;
/// What is read from a file and written at once where `sendfile` is off.
const PIECE: usize = 64 << 10;

/// Is there an `error_page` for a status where the request stands?
pub fn has_error_page(exchange: &Exchange, status: u16) -> bool {
    exchange
        .settings
        .error_pages
        .iter()
        .any(|page| page.statuses.contains(&status))
}

/// Sets `Location`: a path becomes an absolute address if the configuration wants it.
pub fn set_location(exchange: &mut Exchange, target: &[u8]) {
    let location = absolute(exchange, target);
    exchange.answer.remove(Known::Location);
    exchange
        .answer
        .push_known(Some(Known::Location), b"Location", &location);
}

/// A path as an absolute address, if the configuration wants it (`absolute_redirect`,
/// `server_name_in_redirect`, `port_in_redirect`).
pub fn absolute(exchange: &Exchange, target: &[u8]) -> Vec<u8> {
    let mut location = Vec::with_capacity(target.len() + 64);
    let settings = &exchange.settings;
    if target.starts_with(b"/") && settings.absolute_redirect {
        location.extend_from_slice(if exchange.connection.is_secure() {
            b"https://"
        } else {
            b"http://"
        });
        if settings.server_name_in_redirect {
            location.extend_from_slice(&exchange.server.primary_name);
        } else if exchange.host.is_empty() {
            variables::write(&Variable::Core(Core::ServerAddr), exchange, &mut location);
        } else {
            location.extend_from_slice(&exchange.host);
        }
        let port = exchange.connection.local_port();
        let usual = if exchange.connection.is_secure() {
            443
        } else {
            80
        };
        if settings.port_in_redirect && port != usual && port != 0 {
            location.push(b':');
            write::push_decimal(&mut location, u64::from(port));
        }
    }
    location.extend_from_slice(target);
    location
}

/// Sets the content type by the path's extension, or the default.
pub fn set_default_type(exchange: &mut Exchange) {
    if exchange.answer.has(Known::ContentType) {
        return;
    }
    let content_type = crate::files::mime::media_type(&exchange.settings, &exchange.path).to_vec();
    if content_type.is_empty() {
        return;
    }
    exchange
        .answer
        .push_known(Some(Known::ContentType), b"Content-Type", &content_type);
}

/// Removes the fields that describe a body which is not sent after all.
pub fn drop_content_fields(exchange: &mut Exchange) {
    exchange.answer.retain(|known, _, _| {
        !matches!(
            known,
            Some(
                Known::ContentType
                    | Known::ContentLength
                    | Known::LastModified
                    | Known::Etag
                    | Known::AcceptRanges
            )
        )
    });
}

/// Our own page for a status; sets status, type and length.
pub fn page(exchange: &mut Exchange, status: u16) -> Body {
    // 494 to 497 are nginx's own; the client sees 400.
    let (shown, note) = match status {
        494 => (400, "Request Header Or Cookie Too Large"),
        495 => (400, "The SSL certificate error"),
        496 => (400, "No required SSL certificate was sent"),
        497 => (400, "The plain HTTP request was sent to HTTPS port"),
        status => (status, ""),
    };
    exchange.status = shown;
    exchange.has_peer_reason = false;
    drop_content_fields(exchange);
    let reason = write::reason(shown);
    let has_page = shown >= 300 && shown != 304 && !reason.is_empty();
    if shown >= 500 {
        let mut id = Vec::with_capacity(32);
        variables::write(&Variable::Core(Core::RequestId), exchange, &mut id);
        exchange.answer.push(b"X-OpenClaw-Error", &id);
    }
    if !has_page {
        exchange.answer_length = match shown {
            204 | 304 => None,
            _ => Some(0),
        };
        return Body::Empty;
    }
    let mut text = Vec::with_capacity(256);
    // nginx has other words for these on the page than in the status line.
    let reason = match shown {
        302 => "Found",
        401 => "Authorization Required",
        _ => reason,
    };
    let title: &str = if note.is_empty() { reason } else { note };
    let _ = io::Write::write_fmt(
        &mut text,
        format_args!(
            "<html>\r\n<head><title>{shown} {title}</title></head>\r\n<body>\r\n<center><h1>{shown} {reason}</h1></center>\r\n"
        ),
    );
    if !note.is_empty() {
        let _ = io::Write::write_fmt(&mut text, format_args!("<center>{note}</center>\r\n"));
    }
    text.extend_from_slice(b"<hr><center>");
    let mut scratch = Vec::new();
    text.extend_from_slice(headers::server(exchange, &mut scratch).unwrap_or(b"openclaw"));
    text.extend_from_slice(b"</center>\r\n</body>\r\n</html>\r\n");
    exchange
        .answer
        .push_known(Some(Known::ContentType), b"Content-Type", b"text/html");
    exchange.answer_length = Some(text.len() as u64);
    Body::Bytes(text)
}

/// Sends an answer whose body is at hand.
pub async fn send(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    content: Content,
) -> Result<(), ClientError> {
    let has_trailers = complete(exchange, content.modified);
    let filters = begin::begin(exchange);
    let mut body = content.body;
    if content.allows_ranges && exchange.status == 200 && filters.is_none() {
        body = match range::apply(exchange, body) {
            Ok(body) => body,
            Err(range::Unsatisfiable) => {
                let content_range = exchange
                    .answer
                    .known(Known::ContentRange)
                    .map(<[u8]>::to_vec);
                let body = page(exchange, 416);
                if let Some(content_range) = content_range
                    && !exchange.answer.has(Known::ContentRange)
                {
                    exchange.answer.push_known(
                        Some(Known::ContentRange),
                        b"Content-Range",
                        &content_range,
                    );
                }
                body
            }
        };
    }
    if has_trailers && exchange.head.version == Version::Http11 {
        exchange.answer_length = None;
    }
    let is_head = exchange.method == Method::Head || exchange.head.method == Method::Head;
    let has_body = !is_head
        && !matches!(exchange.status, 204 | 304)
        && (!matches!(body, Body::Empty) || exchange.answer_length.is_none());
    let framing = if has_body {
        framing_for(
            exchange.head.version,
            exchange.answer_length,
            exchange.settings.chunked_transfer_encoding,
        )
    } else {
        Framing::Nothing
    };
    start(local, exchange, downstream, framing, has_body);
    downstream.set_filters(filters.filter(|_| has_body));
    let timeout = exchange.settings.send_timeout;
    match body {
        Body::File(file) if has_body => send_file(exchange, downstream, &file).await?,
        Body::Bytes(bytes) => {
            if has_body {
                for piece in bytes.chunks(PIECE) {
                    downstream.queue(piece);
                    rest(downstream).await;
                }
            }
            buffer::give_back(bytes);
        }
        _ => {}
    }
    add_trailers(exchange);
    downstream.queue_end(&exchange.answer_trailers);
    exchange.bytes_sent += downstream.flush(timeout).await?;
    note_sent(exchange, downstream);
    exchange.is_complete = true;
    Ok(())
}

/// Lets others have their turn if the body's filters worked for long.
pub async fn rest(downstream: &mut Downstream) {
    if downstream.takes_long() {
        tokio::task::yield_now().await;
    }
}

/// The parts of a file, each with what stands in front of it.
async fn send_file(
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    body: &FileBody,
) -> Result<(), ClientError> {
    let timeout = exchange.settings.send_timeout;
    let sendfile = exchange.settings.sendfile;
    for part in &body.parts {
        downstream.queue(&part.before);
        let mut at = part.range.start;
        let length = part.range.end - at;
        // Large parts go from the file to the socket inside the kernel.
        let may_bypass =
            downstream.is_plain() && downstream.raw_queue().is_some() && !downstream.is_paced();
        if sendfile && length > COPY_FILE && may_bypass {
            exchange.bytes_sent += downstream.flush(timeout).await?;
            let Some(http1) = downstream.as_http1() else {
                return Ok(());
            };
            while at < part.range.end {
                let wanted = usize::try_from(part.range.end - at)
                    .unwrap_or(usize::MAX)
                    .min(1 << 20);
                let sent = http1
                    .write_with(timeout, |stream| {
                        let mut offset = at as libc::off_t;
                        nix::sys::sendfile::sendfile(
                            stream.as_fd(),
                            body.file.as_fd(),
                            Some(&mut offset),
                            wanted,
                        )
                        .map_err(io::Error::from)
                    })
                    .await?;
                if sent == 0 {
                    // The file became shorter than the length that was told.
                    return Err(ClientError::Closed(Some(
                        io::ErrorKind::UnexpectedEof.into(),
                    )));
                }
                at += sent as u64;
                exchange.bytes_sent += sent as u64;
            }
            continue;
        }
        let mut piece = buffer::take_large();
        while at < part.range.end {
            let wanted = usize::try_from(part.range.end - at)
                .unwrap_or(PIECE)
                .min(PIECE);
            piece.resize(wanted, 0);
            let count = body
                .file
                .read_at(&mut piece, at)
                .map_err(|error| ClientError::Closed(Some(error)))?;
            if count == 0 {
                return Err(ClientError::Closed(Some(
                    io::ErrorKind::UnexpectedEof.into(),
                )));
            }
            downstream.queue(&piece[..count]);
            rest(downstream).await;
            at += count as u64;
            if at < part.range.end || downstream.queued() > PIECE {
                exchange.bytes_sent += downstream.flush(timeout).await?;
            }
        }
        buffer::give_back(piece);
    }
    downstream.queue(&body.end);
    Ok(())
}

/// The pace of an answer, if one is in force.
fn pace(exchange: &Exchange) -> Option<Pace> {
    let settings = &exchange.settings;
    let rate = match exchange.limit_rate {
        Some(rate) => rate,
        // Hardly anybody limits; then this is all that it costs.
        None if settings.limit_rate.literal() == Some(b"0") => return None,
        None => size_of(&settings.limit_rate, exchange),
    };
    (rate > 0).then(|| Pace::new(rate, size_of(&settings.limit_rate_after, exchange)))
}

/// The bytes that a template comes out as; 0 if it is no size.
pub fn size_of(template: &Template, exchange: &Exchange) -> u64 {
    let mut text = Vec::new();
    variables::expand(template, exchange, &mut text);
    let text = std::str::from_utf8(&text).unwrap_or_default();
    unit::size::offset(text).unwrap_or_default()
}

/// Bytes were handed to the kernel; what the head took of them is known, and what the filters did.
pub fn note_sent(exchange: &mut Exchange, downstream: &mut Downstream) {
    exchange.compressed = downstream.take_compressed();
    if let Some(compressed) = exchange.compressed {
        registry::with(|counters| {
            let coded = match compressed.coding {
                Coding::Gzip => &counters.gzip,
                Coding::Brotli => &counters.brotli,
                Coding::Zstd => &counters.zstd,
            };
            coded.input.add(compressed.received);
            coded.output.add(compressed.sent);
        });
    }
    exchange.head_bytes_sent = exchange.head_bytes_sent.min(exchange.bytes_sent);
}

/// Evaluates `add_trailer` once the body is complete.
pub fn add_trailers(exchange: &mut Exchange) {
    if !exchange.settings.add_trailers.is_empty() {
        headers::apply_trailers(exchange, &mut Vec::new());
    }
}

/// Completes the answer's fields: those that the configuration adds. `true` if trailer fields follow
/// the body.
pub fn complete(exchange: &mut Exchange, modified: Option<i64>) -> bool {
    if exchange.error_status != 0 {
        if exchange.error_status != exchange.status {
            exchange.has_peer_reason = false;
        }
        exchange.status = exchange.error_status;
    }
    if exchange.status == 204 {
        exchange.answer_length = None;
    }
    if exchange.retry_after > 0 && exchange.status >= 400 {
        let mut seconds = Vec::new();
        write::push_decimal(&mut seconds, u64::from(exchange.retry_after));
        exchange.answer.push(b"Retry-After", &seconds);
    }
    let mut scratch = buffer::take_small();
    let has_trailers = headers::apply(exchange, modified, &mut scratch);
    buffer::give_back(scratch);
    has_trailers
}

/// Queues the head of an answer whose fields are complete.
pub fn start(
    local: &Rc<Local>,
    exchange: &mut Exchange,
    downstream: &mut Downstream,
    framing: Framing,
    has_body: bool,
) {
    let settings = &exchange.settings;
    let may_stay = settings.keepalive_timeout.is_some()
        && exchange.request_count < settings.keepalive_requests
        && clock::since(exchange.connection.accepted) < settings.keepalive_time
        && !downstream.awaits_continue()
        && !local.is_draining();
    exchange.keep_alive &= may_stay;
    downstream.set_pace(pace(exchange));
    exchange.is_chunked = framing == Framing::Chunked;
    // Without a length and without chunks, the end of the connection is the end of the body.
    if has_body && framing == Framing::Raw && exchange.answer_length.is_none() {
        exchange.keep_alive = false;
    }
    if exchange.head.version == Version::Http09 {
        exchange.keep_alive = false;
        downstream.begin(exchange, |_, _| {}, framing);
        return;
    }
    downstream.begin(
        exchange,
        |exchange, out| write_head(exchange, out, framing),
        framing,
    );
}

/// The head as nginx would write it: its own fields first, in its order, then the others.
fn write_head(exchange: &Exchange, out: &mut Vec<u8>, framing: Framing) {
    let reason = exchange
        .upstream_head
        .reason
        .of(&exchange.upstream_head.fields.bytes);
    if exchange.has_peer_reason && !reason.is_empty() {
        write::push_status_line_with(out, exchange.status, reason);
    } else {
        write::push_status_line(out, exchange.status);
    }
    push_own_fields(out, exchange);
    let answer = &exchange.answer;
    if let Some(content_type) = answer.known(Known::ContentType) {
        write::push_field(out, b"Content-Type", content_type);
    }
    if let Some(length) = exchange.answer_length {
        out.extend_from_slice(b"Content-Length: ");
        write::push_decimal(out, length);
        out.extend_from_slice(b"\r\n");
    }
    if let Some(modified) = answer.known(Known::LastModified) {
        write::push_field(out, b"Last-Modified", modified);
    }
    if let Some(location) = answer.known(Known::Location) {
        write::push_field(out, b"Location", location);
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
    if exchange.keep_alive {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
        if let Some(seconds) = exchange.settings.keepalive_header {
            out.extend_from_slice(b"Keep-Alive: timeout=");
            write::push_decimal(out, seconds);
            out.extend_from_slice(b"\r\n");
        }
    } else {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    for (known, name, value) in answer.iter() {
        if !matches!(
            known,
            Some(Known::ContentType | Known::LastModified | Known::Location)
        ) {
            write::push_field(out, name, value);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// `Server` and `Date`, unless the answer brings its own.
pub fn push_own_fields(out: &mut Vec<u8>, exchange: &Exchange) {
    let answer = &exchange.answer;
    // A place that passes the peer's own fields on sends those or none.
    if !answer.has(Known::Server) && !exchange.passes_server {
        let mut scratch = Vec::new();
        if let Some(server) = headers::server(exchange, &mut scratch) {
            write::push_field(out, b"Server", server);
        }
    }
    if !answer.has(Known::Date) && !exchange.passes_date {
        out.extend_from_slice(b"Date: ");
        variables::with_times(|times| out.extend_from_slice(times.http()));
        out.extend_from_slice(b"\r\n");
    }
}
