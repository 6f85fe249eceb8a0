//! The values of variables, computed when asked.
//!
//! Values are appended to a buffer of the caller's; nothing is allocated for a value that can be
//! copied from the exchange. `None`/`false` means "no value", which logs print as `-` and templates
//! as nothing.

use std::cell::RefCell;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering::Relaxed;

use super::claims;
use super::coding::Coding;
use super::date;
use super::exchange::{
    Attempt, BanStatus, ClientFact, Connection, Exchange, LimitStatus, ModelCall, Secured, Slot,
};
use super::forwarded;
use super::head::{Fields, Known, Method, Version};
use super::origin;
use super::places;
use super::slices;
use super::uri;
use crate::conf::openssl;
use crate::conf::regex::Groups;
use crate::conf::template::{Part, Template};
use crate::conf::typed::listen::Address;
use crate::conf::typed::location::Root;
use crate::conf::variable::{Core, Source, Variable};
use crate::metrics::registry;
use crate::net::proxy_protocol::Header;
use crate::unit::clock;

/// Map values that ask for map values that ask for … stop here.
const DEPTH: u8 = 16;

/// Appends the value of a template.
pub fn expand(template: &Template, exchange: &Exchange, out: &mut Vec<u8>) {
    expand_at(template, exchange, out, 0);
}

/// The value of a template: borrowed if it is plain text, else written into `scratch`.
pub fn value_of<'a>(
    template: &'a Template,
    exchange: &Exchange,
    scratch: &'a mut Vec<u8>,
) -> &'a [u8] {
    if let Some(text) = template.literal() {
        return text;
    }
    scratch.clear();
    expand(template, exchange, scratch);
    scratch
}

/// Appends the value of a variable; `false` if it has none.
pub fn write(variable: &Variable, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    write_at(variable, exchange, out, 0)
}

/// Appends what `$1` to `$9` stand for; `false` if the group took no part in the match.
pub fn write_capture(number: u8, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    let (groups, subject) = &*exchange.groups.borrow();
    match groups.get(usize::from(number)).copied().flatten() {
        Some((start, end)) => {
            out.extend_from_slice(&subject[start as usize..end as usize]);
            true
        }
        None => false,
    }
}

fn expand_at(template: &Template, exchange: &Exchange, out: &mut Vec<u8>, depth: u8) {
    for part in template.parts() {
        match part {
            Part::Text(text) => out.extend_from_slice(text),
            Part::Variable(variable) => {
                write_at(variable, exchange, out, depth);
            }
            Part::Capture(number) => {
                write_capture(*number, exchange, out);
            }
        }
    }
}

fn write_at(variable: &Variable, exchange: &Exchange, out: &mut Vec<u8>, depth: u8) -> bool {
    match variable {
        Variable::Core(core) => write_core(*core, exchange, out),
        Variable::Http(name) => write_fields(&exchange.head.fields, name, out),
        Variable::SentHttp(name) => write_sent_field(exchange, name, out),
        Variable::SentTrailer(name) => write_fields(&exchange.answer_trailers, name, out),
        Variable::UpstreamHttp(name) => write_fields(&exchange.upstream_head.fields, name, out),
        Variable::UpstreamTrailer(name) => write_fields(&exchange.upstream_trailers, name, out),
        Variable::UpstreamCookie(name) => exchange
            .upstream_head
            .fields
            .all(Known::SetCookie)
            .find_map(|value| set_cookie_value(value, name))
            .is_some_and(|value| append(out, value)),
        Variable::Argument(name) => {
            uri::argument(&exchange.args, name).is_some_and(|value| append(out, value))
        }
        Variable::Cookie(name) => exchange
            .head
            .fields
            .all(Known::Cookie)
            .find_map(|value| cookie_value(value, name))
            .is_some_and(|value| append(out, value)),
        Variable::ProxyProtocol(value) => {
            (exchange.connection.proxied.as_ref()).is_some_and(|header| header.write(*value, out))
        }
        Variable::TokenClaim(name) => {
            (exchange.token.as_ref()).is_some_and(|it| claims::write(&it.claims, name, out))
        }
        Variable::TokenHeader(name) => {
            (exchange.token.as_ref()).is_some_and(|it| claims::write(&it.header, name, out))
        }
        Variable::LoginClaim(name) => {
            (exchange.login.as_ref()).is_some_and(|it| claims::write(&it.claims, name, out))
        }
        Variable::Slot(slot) => write_slot(*slot, exchange, out, depth),
    }
}

/// Appends bytes; none of them are no value.
fn append_some(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    !bytes.is_empty() && append(out, bytes)
}

/// `$gzip_ratio` and its like: two digits behind the point.
fn ratio(out: &mut Vec<u8>, exchange: &Exchange, coding: Coding) -> bool {
    let compressed = (exchange.compressed).filter(|compressed| compressed.coding == coding);
    let Some(ratio) = compressed.and_then(|compressed| compressed.ratio()) else {
        return false;
    };
    // Writing to memory does not fail.
    let _ = write!(out, "{}.{:02}", ratio / 100, ratio % 100);
    true
}

fn append(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    out.extend_from_slice(bytes);
    true
}

/// Appends a part of the request line; there is none when the line was not understood.
fn append_received(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    !bytes.is_empty() && append(out, bytes)
}

fn write_slot(slot: u16, exchange: &Exchange, out: &mut Vec<u8>, depth: u8) -> bool {
    if depth >= DEPTH {
        return false;
    }
    {
        let (slots, arena) = &*exchange.slots.borrow();
        match slots.get(usize::from(slot)).copied().unwrap_or(Slot::Unset) {
            Slot::Unset => {}
            Slot::Absent => return false,
            Slot::Value(start, end) => return append(out, &arena[start as usize..end as usize]),
        }
    }
    let http = &exchange.http;
    let Some(&(_, source)) = http.names.slots.get(usize::from(slot)) else {
        return false;
    };
    let start = out.len();
    let (found, is_volatile) = match source {
        // One that no `set` reached yet has the empty value (`ngx_http_rewrite_var`).
        Source::Set => return true,
        Source::Capture => return false,
        Source::Map(index) => {
            let Some(map) = http.maps.get(usize::from(index)) else {
                return false;
            };
            expand_at(&map.source, exchange, out, depth + 1);
            let mut groups = Groups::new();
            let (value, regex) = map.find(&out[start..], &mut groups);
            if let Some(regex) = regex {
                exchange.remember_groups(regex, &groups, &out[start..]);
            }
            out.truncate(start);
            expand_at(value, exchange, out, depth + 1);
            (true, map.volatile)
        }
        Source::Geo(index) => {
            let Some(geo) = http.geos.get(usize::from(index)) else {
                return false;
            };
            let address = match &geo.source {
                Some(source) => {
                    expand_at(source, exchange, out, depth + 1);
                    let text = std::str::from_utf8(&out[start..]).unwrap_or_default();
                    let address = text.parse::<IpAddr>().ok();
                    out.truncate(start);
                    address
                }
                None => exchange.connection.remote_ip(),
            };
            let address = address.map(|address| {
                behind_proxies(
                    address,
                    &geo.proxies,
                    geo.proxy_recursive,
                    &exchange.head.fields,
                )
            });
            out.extend_from_slice(address.map_or(&geo.default, |address| geo.find(address)));
            (true, geo.volatile)
        }
        Source::Place(index) => {
            let Some(place) = http.places.get(usize::from(index)) else {
                return false;
            };
            let address = match &place.source {
                Some(source) => {
                    expand_at(source, exchange, out, depth + 1);
                    let text = std::str::from_utf8(&out[start..]).unwrap_or_default();
                    let address = text.parse::<IpAddr>().ok();
                    out.truncate(start);
                    address
                }
                None => exchange.connection.remote_ip().map(|address| {
                    let proxies = &http.place_proxies;
                    behind_proxies(
                        address,
                        &proxies.networks,
                        proxies.recursive,
                        &exchange.head.fields,
                    )
                }),
            };
            places::write(place, address, out);
            (true, false)
        }
        Source::Split(index) => {
            let Some(split) = http.splits.get(usize::from(index)) else {
                return false;
            };
            expand_at(&split.source, exchange, out, depth + 1);
            let value = split.find(&out[start..]);
            out.truncate(start);
            if let Some(value) = value {
                expand_at(value, exchange, out, depth + 1);
            }
            (true, false)
        }
    };
    if !is_volatile {
        exchange.set_slot(slot, found.then_some(&out[start..]));
    }
    found
}

/// The client's address when the peer is a trusted proxy that names it.
fn behind_proxies(
    address: IpAddr,
    proxies: &[ipnet::IpNet],
    recursive: bool,
    fields: &Fields,
) -> IpAddr {
    let trusted = |address: IpAddr| proxies.iter().any(|network| network.contains(&address));
    if proxies.is_empty() || !trusted(address) {
        return address;
    }
    forwarded::client(fields.forwarded_for(), trusted, recursive)
        .map_or(address, |client| client.ip())
}

/// Appends the values of all fields of a variable's name, joined by `, ` (cookies by `; `).
fn write_fields(fields: &Fields, name: &[u8], out: &mut Vec<u8>) -> bool {
    let separator: &[u8] = if name == b"cookie" { b"; " } else { b", " };
    let mut found = false;
    for (_, field, value) in fields.iter() {
        if is_variable_name_of(name, field) {
            if found {
                out.extend_from_slice(separator);
            }
            found = true;
            out.extend_from_slice(value);
        }
    }
    found
}

/// As [`write_fields`] for the answer, of which some fields are written with the head only.
fn write_sent_field(exchange: &Exchange, name: &[u8], out: &mut Vec<u8>) -> bool {
    let is_sent = exchange.head_bytes_sent > 0;
    match name {
        b"content_length" => exchange
            .answer_length
            .is_some_and(|length| decimal(out, length)),
        b"connection" if is_sent => append(
            out,
            match (exchange.status, exchange.keep_alive) {
                (101, _) => b"upgrade",
                (_, true) => b"keep-alive",
                (_, false) => b"close",
            },
        ),
        b"keep_alive" if is_sent && exchange.keep_alive => {
            exchange.settings.keepalive_header.is_some_and(|seconds| {
                out.extend_from_slice(b"timeout=");
                decimal(out, seconds)
            })
        }
        b"transfer_encoding" => exchange.is_chunked && append(out, b"chunked"),
        _ => write_fields(&exchange.answer, name, out),
    }
}

/// `user_agent` is the name of `User-Agent`.
fn is_variable_name_of(name: &[u8], field: &[u8]) -> bool {
    name.len() == field.len()
        && name.iter().zip(field).all(|(&wanted, &byte)| match byte {
            b'-' => wanted == b'_',
            _ => wanted == byte.to_ascii_lowercase(),
        })
}

/// The value of a cookie in a `Cookie` field; names are compared without case, as nginx does.
pub fn cookie_value<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    field.split(|&byte| byte == b';').find_map(|pair| {
        let pair = pair.trim_ascii_start();
        let equals = memchr::memchr(b'=', pair)?;
        pair[..equals]
            .trim_ascii_end()
            .eq_ignore_ascii_case(name)
            .then(|| &pair[equals + 1..])
    })
}

/// The value of a cookie in a `Set-Cookie` field.
fn set_cookie_value<'a>(field: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let pair = field.split(|&byte| byte == b';').next()?;
    let equals = memchr::memchr(b'=', pair)?;
    pair[..equals]
        .trim_ascii()
        .eq_ignore_ascii_case(name)
        .then(|| &pair[equals + 1..])
}

/// `$ssl_*`; none of them has a value without TLS.
fn secured(core: Core, connection: &Connection, out: &mut Vec<u8>) -> bool {
    let Some(secured) = &connection.secured else {
        return false;
    };
    let text = match core {
        Core::SslAlpnProtocol => &*secured.alpn_protocol,
        Core::SslCipher => secured.cipher,
        Core::SslCurve => secured.curve,
        Core::SslProtocol => secured.protocol,
        Core::SslServerName => &*secured.server_name,
        Core::SslSessionReused => return append(out, if secured.is_resumed { b"r" } else { b"." }),
        Core::SslCiphers => return offered(&secured.ciphers, openssl::suite, out),
        Core::SslCurves => return offered(&secured.curves, openssl::group, out),
        Core::SslEarlyData => match &secured.early {
            Some(is_early) if is_early.load(Relaxed) => "1",
            _ => "",
        },
        Core::SslClientSigalg => secured.certificate.as_ref().map_or("", |shown| shown.proof),
        Core::SslClientVerify => {
            let judged = secured.judged.borrow();
            let verdict = judged.as_ref().map(|judged| &*judged.verdict);
            return append(out, verdict.unwrap_or("NONE").as_bytes());
        }
        // rustls does not tell.
        Core::SslSessionId | Core::SslSigalg => "",
        _ => return shown(core, secured, out),
    };
    !text.is_empty() && append(out, text.as_bytes())
}

/// `$ssl_client_*` of a certificate that was shown.
fn shown(core: Core, secured: &Secured, out: &mut Vec<u8>) -> bool {
    let fact = match core {
        Core::SslClientCert => ClientFact::Folded,
        Core::SslClientRawCert => ClientFact::Raw,
        Core::SslClientEscapedCert => ClientFact::Escaped,
        Core::SslClientFingerprint => ClientFact::Fingerprint,
        Core::SslClientSDn => ClientFact::Subject,
        Core::SslClientSDnLegacy => ClientFact::SubjectLegacy,
        Core::SslClientIDn => ClientFact::Issuer,
        Core::SslClientIDnLegacy => ClientFact::IssuerLegacy,
        Core::SslClientSerial => ClientFact::Serial,
        Core::SslClientVStart => ClientFact::NotBefore,
        Core::SslClientVEnd => ClientFact::NotAfter,
        Core::SslClientVRemain => ClientFact::DaysLeft,
        _ => return false,
    };
    let Some(certificate) = &secured.certificate else {
        return false;
    };
    let own = certificate.chain.first();
    own.is_some_and(|own| (certificate.describe)(own, fact, out))
}

/// A list of what a client offered; numbers that nobody named are written as such.
fn offered(numbers: &[u16], name: fn(u16) -> Option<&'static str>, out: &mut Vec<u8>) -> bool {
    for (position, &number) in numbers.iter().enumerate() {
        if position > 0 {
            out.push(b':');
        }
        match name(number) {
            Some(name) => out.extend_from_slice(name.as_bytes()),
            // Writing to a vector cannot fail.
            None => {
                let _ = write!(out, "0x{number:04x}");
            }
        }
    }
    !numbers.is_empty()
}

/// The address of an end that a proxy named.
fn proxied(
    connection: &Connection,
    out: &mut Vec<u8>,
    end: impl FnOnce(&Header) -> SocketAddr,
) -> bool {
    connection.proxied.as_ref().is_some_and(|header| {
        let _ = write!(out, "{}", end(header).ip());
        true
    })
}

/// The port of an end that a proxy named; there is no port 0.
fn proxied_port(
    connection: &Connection,
    out: &mut Vec<u8>,
    end: impl FnOnce(&Header) -> SocketAddr,
) -> bool {
    (connection.proxied.as_ref()).is_some_and(|header| match end(header).port() {
        0 => true,
        port => decimal(out, u64::from(port)),
    })
}

fn write_core(core: Core, exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    let connection = &exchange.connection;
    let head = &exchange.head;
    match core {
        Core::Args | Core::QueryString => {
            out.extend_from_slice(&exchange.args);
            !exchange.args.is_empty()
        }
        Core::BinaryRemoteAddr => match &connection.remote {
            Address::Ip(address) => match address.ip() {
                IpAddr::V4(four) => append(out, &four.octets()),
                IpAddr::V6(six) => append(out, &six.octets()),
            },
            Address::Unix(_) => append(out, b"unix:"),
        },
        Core::BodyBytesSent => decimal(
            out,
            exchange.bytes_sent.saturating_sub(exchange.head_bytes_sent),
        ),
        Core::BrotliRatio => ratio(out, exchange, Coding::Brotli),
        Core::GzipRatio => ratio(out, exchange, Coding::Gzip),
        Core::ZstdRatio => ratio(out, exchange, Coding::Zstd),
        Core::BytesSent => decimal(out, exchange.bytes_sent),
        Core::Connection => decimal(out, connection.serial),
        Core::ConnectionRequests => decimal(out, exchange.request_count),
        Core::ConnectionTime => seconds(out, clock::since(connection.accepted)),
        Core::ConnectionsActive => decimal(out, registry::total(|counters| &counters.active)),
        Core::ConnectionsReading => decimal(out, registry::total(|counters| &counters.reading)),
        Core::ConnectionsWriting => decimal(out, registry::total(|counters| &counters.writing)),
        Core::ConnectionsWaiting => decimal(out, registry::total(|counters| &counters.waiting)),
        Core::ContentLength => field(&head.fields, Known::ContentLength, out),
        Core::ContentType => field(&head.fields, Known::ContentType, out),
        Core::DocumentRoot => document_root(exchange, out),
        Core::DocumentUri | Core::Uri => append_received(out, &exchange.path),
        Core::Host => {
            if exchange.host.is_empty() {
                append(out, &exchange.server.primary_name)
            } else {
                append(out, &exchange.host)
            }
        }
        Core::Hostname => append(out, hostname()),
        Core::SslAlpnProtocol
        | Core::SslCipher
        | Core::SslCiphers
        | Core::SslClientCert
        | Core::SslClientEscapedCert
        | Core::SslClientFingerprint
        | Core::SslClientIDn
        | Core::SslClientIDnLegacy
        | Core::SslClientRawCert
        | Core::SslClientSDn
        | Core::SslClientSDnLegacy
        | Core::SslClientSerial
        | Core::SslClientSigalg
        | Core::SslClientVEnd
        | Core::SslClientVRemain
        | Core::SslClientVStart
        | Core::SslClientVerify
        | Core::SslCurve
        | Core::SslCurves
        | Core::SslEarlyData
        | Core::SslProtocol
        | Core::SslServerName
        | Core::SslSessionId
        | Core::SslSessionReused
        | Core::SslSigalg => secured(core, connection, out),
        Core::Http2 => {
            !exchange.is_http2
                || append(
                    out,
                    if connection.is_secure() {
                        b"h2"
                    } else {
                        b"h2c"
                    },
                )
        }
        // Nobody comes by it.
        Core::Http3 => true,
        Core::Https => !connection.is_secure() || append(out, b"on"),
        Core::InvalidReferer => append(
            out,
            if origin::is_invalid_referer(exchange) {
                b"1"
            } else {
                b""
            },
        ),
        Core::SecureLink => origin::secure_link(exchange, out),
        Core::SecureLinkExpires => origin::secure_link_expires(exchange, out),
        Core::IsArgs => exchange.args.is_empty() || append(out, b"?"),
        Core::IsRequestPort => request_port(exchange).is_none() || append(out, b":"),
        Core::BanStatus => append(
            out,
            match exchange.ban_status {
                None => return false,
                Some(BanStatus::TurnedAway) => b"TURNED_AWAY",
                Some(BanStatus::Counted) => b"COUNTED",
                Some(BanStatus::Banned) => b"BANNED",
            },
        ),
        Core::LimitReqStatus => limit_status(exchange.limit_req_status, out),
        Core::LimitConnStatus => limit_status(exchange.limit_conn_status, out),
        Core::LimitRate => {
            let start = out.len();
            match exchange.limit_rate {
                Some(rate) => decimal(out, rate),
                None => {
                    expand(&exchange.settings.limit_rate, exchange, out);
                    if out.len() == start {
                        out.push(b'0');
                    }
                    true
                }
            }
        }
        Core::Msec => seconds(out, clock::unix()),
        Core::NginxVersion => append(out, env!("CARGO_PKG_VERSION").as_bytes()),
        Core::Pid => decimal(out, u64::from(std::process::id())),
        Core::Pipe => append(out, if exchange.is_pipelined { b"p" } else { b"." }),
        Core::ProxyAddXForwardedFor => {
            if write_fields(&head.fields, b"x_forwarded_for", out) {
                out.extend_from_slice(b", ");
            }
            append(out, connection.remote_text.as_bytes())
        }
        Core::ProxyHost => !exchange.proxy_host.is_empty() && append(out, &exchange.proxy_host),
        Core::ProxyPort => !exchange.proxy_port.is_empty() && append(out, &exchange.proxy_port),
        Core::ProxyProtocolAddr => proxied(connection, out, |header| header.source),
        Core::ProxyProtocolPort => proxied_port(connection, out, |header| header.source),
        Core::ProxyProtocolServerAddr => proxied(connection, out, |header| header.destination),
        Core::ProxyProtocolServerPort => proxied_port(connection, out, |header| header.destination),
        Core::RealipRemoteAddr => append(out, exchange.accepted().remote_text.as_bytes()),
        Core::RealipRemotePort => match exchange.accepted().remote_port() {
            0 => true,
            port => decimal(out, u64::from(port)),
        },
        Core::RealpathRoot => {
            let start = out.len();
            document_root(exchange, out);
            let real = std::str::from_utf8(&out[start..])
                .ok()
                .and_then(|root| std::fs::canonicalize(root).ok());
            out.truncate(start);
            real.is_some_and(|real| append(out, real.as_os_str().as_encoded_bytes()))
        }
        Core::RemoteAddr => append(out, connection.remote_text.as_bytes()),
        Core::RemotePort => match connection.remote_port() {
            0 => true,
            port => decimal(out, u64::from(port)),
        },
        Core::RemoteUser => remote_user(&head.fields, out),
        Core::Request => append(out, head.bytes(head.line)),
        Core::RequestBody => !exchange.body.is_empty() && append(out, &exchange.body),
        Core::RequestBodyFile => exchange
            .body_file
            .as_ref()
            .is_some_and(|file| append(out, file.path().as_os_str().as_encoded_bytes())),
        Core::RequestCompletion => !exchange.is_complete || append(out, b"OK"),
        Core::RequestFilename => request_filename(exchange, out),
        Core::RequestId => {
            let id = exchange.id.get().unwrap_or_else(|| {
                let id = random_id();
                exchange.id.set(Some(id));
                id
            });
            let _ = write!(out, "{id:032x}");
            true
        }
        Core::RequestLength => decimal(out, exchange.request_length),
        // A page of `error_page` is fetched with another method than the client's.
        Core::RequestMethod if exchange.method != head.method => append(
            out,
            match exchange.method {
                Method::Head => b"HEAD",
                _ => b"GET",
            },
        ),
        Core::RequestMethod => append_received(out, head.bytes(head.method_token)),
        Core::RequestPort => match request_port(exchange) {
            Some(port) => decimal(out, u64::from(port)),
            None => true,
        },
        Core::RequestTime => seconds(out, clock::since(exchange.started)),
        Core::RequestUri => append_received(out, head.bytes(head.path_and_query)),
        Core::Scheme => append(
            out,
            if connection.is_secure() {
                b"https"
            } else {
                b"http"
            },
        ),
        Core::ServerAddr => match &connection.local {
            Address::Ip(address) => {
                let _ = write!(out, "{}", address.ip());
                true
            }
            Address::Unix(path) => {
                out.extend_from_slice(b"unix:");
                append(out, path.as_os_str().as_encoded_bytes())
            }
        },
        Core::ServerName => append(out, &exchange.server.primary_name),
        Core::ServerPort => match connection.local_port() {
            0 => true,
            port => decimal(out, u64::from(port)),
        },
        Core::ServerProtocol => {
            // A request of HTTP/0.9 names none.
            !head.path_and_query.is_empty()
                && head.version != Version::Http09
                && append(out, head.version.name().as_bytes())
        }
        Core::Status => {
            let status = match exchange.error_status {
                0 => exchange.status,
                status => status,
            };
            let _ = write!(out, "{status:03}");
            true
        }
        Core::TcpinfoRtt => tcp_info(exchange, out, |info| info.tcpi_rtt),
        Core::TcpinfoRttvar => tcp_info(exchange, out, |info| info.tcpi_rttvar),
        Core::TcpinfoSndCwnd => tcp_info(exchange, out, |info| info.tcpi_snd_cwnd),
        Core::TcpinfoRcvSpace => tcp_info(exchange, out, |info| info.tcpi_rcv_space),
        Core::TimeIso8601 => with_times(|times| append(out, times.iso8601())),
        Core::TimeLocal => with_times(|times| append(out, times.local())),
        Core::UpstreamAddr => attempts(exchange, out, |attempt, out| {
            append(out, attempt.address.as_bytes())
        }),
        Core::UpstreamLastServerName => exchange
            .attempts
            .last()
            .is_some_and(|attempt| append(out, attempt.server_name.as_bytes())),
        Core::UpstreamStatus => attempts(exchange, out, |attempt, out| match attempt.status {
            0 => append(out, b"-"),
            status => decimal(out, u64::from(status)),
        }),
        Core::UpstreamConnectTime => times(exchange, out, |attempt| attempt.connect_time),
        Core::UpstreamQueueTime => {
            // Most groups have no queue, and then there is nothing to tell.
            exchange
                .attempts
                .iter()
                .any(|attempt| attempt.queue_time.is_some())
                && times(exchange, out, |attempt| attempt.queue_time)
        }
        Core::UpstreamHeaderTime => times(exchange, out, |attempt| attempt.header_time),
        Core::UpstreamResponseTime => times(exchange, out, |attempt| attempt.response_time),
        Core::UpstreamResponseLength => attempts(exchange, out, |attempt, out| {
            decimal(out, attempt.response_length)
        }),
        Core::UpstreamCacheAge => (exchange.caching.age).is_some_and(|age| decimal(out, age)),
        Core::UpstreamCacheEtag => append_some(out, &exchange.caching.etag),
        Core::SliceRange => slices::range(exchange).is_some_and(|range| {
            out.extend_from_slice(b"bytes=");
            decimal(out, range.start);
            out.push(b'-');
            decimal(out, range.end - 1)
        }),
        Core::UpstreamCacheKey => append_some(out, &exchange.caching.key),
        Core::UpstreamCacheLastModified => append_some(out, &exchange.caching.last_modified),
        Core::UpstreamCacheStatus => {
            (exchange.caching.status).is_some_and(|status| append(out, status.name().as_bytes()))
        }
        Core::LlmAttempts => of_call(exchange, |call| append_some(out, call.attempts.as_bytes())),
        Core::LlmBudgetUsed => of_call(exchange, |call| {
            (call.shape.budget_used).is_some_and(|percent| decimal(out, percent))
        }),
        Core::LlmCache => of_call(exchange, |call| append_some(out, call.cache.as_bytes())),
        Core::LlmCachedTokens => of_call(exchange, |call| {
            call.tokens
                .is_some_and(|tokens| decimal(out, tokens.cached))
        }),
        Core::LlmCost => of_call(exchange, |call| append_some(out, call.cost.as_bytes())),
        Core::LlmGateway => of_call(exchange, |call| append_some(out, call.gateway.as_bytes())),
        Core::LlmGroup => of_call(exchange, |call| {
            append_some(out, call.shape.group.as_bytes())
        }),
        Core::LlmCode => of_call(exchange, |call| {
            let text = &call.shape.text;
            !text.is_empty() && decimal(out, code_share(text))
        }),
        Core::LlmConversation => of_call(exchange, |call| {
            let conversation = call.shape.conversation;
            conversation != 0 && write!(out, "{conversation:016x}").is_ok()
        }),
        Core::LlmHasSchema => of_call(exchange, |call| {
            append_some(out, if call.shape.has_schema { b"1" } else { b"" })
        }),
        Core::LlmMaxTokens => of_call(exchange, |call| {
            (call.shape.max_tokens).is_some_and(|most| decimal(out, most))
        }),
        Core::LlmHasImage => of_call(exchange, |call| {
            append_some(out, if call.shape.has_image { b"1" } else { b"" })
        }),
        Core::LlmHasTools => of_call(exchange, |call| {
            append_some(out, if call.shape.has_tools { b"1" } else { b"" })
        }),
        Core::LlmInputTokens => of_call(exchange, |call| {
            let told = call.tokens.map(|tokens| tokens.input);
            let estimated = Some(call.shape.input_tokens).filter(|tokens| *tokens > 0);
            (told.or(estimated)).is_some_and(|tokens| decimal(out, tokens))
        }),
        Core::LlmLang => of_call(exchange, |call| {
            append_some(out, call.shape.format.as_bytes())
        }),
        Core::LlmQueueTime => of_call(exchange, |call| {
            if call.queued.is_zero() {
                return false;
            }
            let queued = call.queued.as_millis();
            write!(out, "{}.{:03}", queued / 1000, queued % 1000).is_ok()
        }),
        Core::LlmRoute => of_call(exchange, |call| append_some(out, call.route.as_bytes())),
        Core::LlmSaved => of_call(exchange, |call| append_some(out, call.saved.as_bytes())),
        Core::LlmText => of_call(exchange, |call| {
            append_some(out, call.shape.text.as_bytes())
        }),
        Core::LlmTurns => of_call(exchange, |call| {
            call.shape.turns > 0 && decimal(out, u64::from(call.shape.turns))
        }),
        Core::LlmJson => match exchange.call.as_deref() {
            Some(call) => {
                call_as_json(exchange, call, out);
                true
            }
            None => false,
        },
        Core::LlmKey => of_call(exchange, |call| append_some(out, call.key.as_bytes())),
        Core::LlmModel => of_call(exchange, |call| append_some(out, call.model.as_bytes())),
        Core::LlmOutcome => of_call(exchange, |call| append_some(out, call.outcome.as_bytes())),
        Core::LlmOutputTokens => of_call(exchange, |call| {
            call.tokens
                .is_some_and(|tokens| decimal(out, tokens.output))
        }),
        Core::LlmTarget => of_call(exchange, |call| append_some(out, call.target.as_bytes())),
        Core::LlmUser => of_call(exchange, |call| append_some(out, call.user.as_bytes())),
        Core::UpstreamBytesSent => attempts(exchange, out, |attempt, out| {
            decimal(out, attempt.bytes_sent)
        }),
        Core::UpstreamBytesReceived => attempts(exchange, out, |attempt, out| {
            decimal(out, attempt.bytes_received)
        }),
    }
}

/// A call of a language model as one line of JSON: numbers are numbers, what is not known is not there,
/// and nothing of what was said is.
fn call_as_json(exchange: &Exchange, call: &ModelCall, out: &mut Vec<u8>) {
    let told = |variable: Core| {
        let mut value = Vec::new();
        write_core(variable, exchange, &mut value);
        value
    };
    let mut separator = b'{';
    let mut member = |name: &str, value: &[u8], is_text: bool| {
        if value.is_empty() {
            return;
        }
        out.push(std::mem::replace(&mut separator, b','));
        let value = String::from_utf8_lossy(value);
        let _ = match is_text {
            true => write!(out, "\"{name}\":{}", serde_json::Value::from(&*value)),
            false => write!(out, "\"{name}\":{value}"),
        };
    };
    member("time", &told(Core::TimeIso8601), true);
    member("request_id", &told(Core::RequestId), true);
    member("client", &told(Core::RemoteAddr), true);
    member("method", &told(Core::RequestMethod), true);
    member("path", &told(Core::Uri), true);
    let status = told(Core::Status);
    // `000` for a request without an answer is no number of JSON.
    let status = status.strip_prefix(b"00").unwrap_or(&status);
    member("status", status, false);
    for (name, value) in [
        ("key", &call.key),
        ("gateway", &call.gateway),
        ("user", &call.user),
        ("model", &call.model),
        ("target", &call.target),
        ("attempts", &call.attempts),
        ("outcome", &call.outcome),
    ] {
        member(name, value.as_bytes(), true);
    }
    member("cache", call.cache.as_bytes(), true);
    if let Some(tokens) = call.tokens {
        for (name, count) in [
            ("input_tokens", tokens.input),
            ("cached_tokens", tokens.cached),
            ("output_tokens", tokens.output),
        ] {
            member(name, count.to_string().as_bytes(), false);
        }
    }
    member("cost_dollars", call.cost.as_bytes(), false);
    member("saved_dollars", call.saved.as_bytes(), false);
    member("seconds", &told(Core::RequestTime), false);
    let upstream = exchange.attempts.iter().filter_map(|it| it.response_time);
    let mut waited = Vec::new();
    seconds(&mut waited, upstream.sum());
    member("upstream_seconds", &waited, false);
    member("sent_bytes", &told(Core::BytesSent), false);
    out.push(b'}');
}

/// What is told of a call of a language model; nothing for another request.
fn of_call(exchange: &Exchange, tell: impl FnOnce(&ModelCall) -> bool) -> bool {
    exchange.call.as_deref().is_some_and(tell)
}

/// How much of a text looks like code, in percent of its letters: what stands between fences, and lines that
/// begin as code is set or end as statements do.
fn code_share(text: &str) -> u64 {
    let (mut code, mut all, mut is_fenced) = (0, 0, false);
    for line in text.lines() {
        let word = line.trim();
        if word.starts_with("```") {
            is_fenced = !is_fenced;
            continue;
        }
        all += word.len() as u64;
        let is_set_in = line.starts_with("    ") || line.starts_with('\t');
        if is_fenced || is_set_in || word.ends_with([';', '{', '}']) {
            code += word.len() as u64;
        }
    }
    (code * 100).checked_div(all).unwrap_or(0)
}

fn limit_status(status: Option<LimitStatus>, out: &mut Vec<u8>) -> bool {
    status.is_some_and(|status| append(out, status.name().as_bytes()))
}

fn decimal(out: &mut Vec<u8>, number: u64) -> bool {
    super::h1::write::push_decimal(out, number);
    true
}

/// Seconds with three decimals.
fn seconds(out: &mut Vec<u8>, duration: std::time::Duration) -> bool {
    super::h1::write::push_decimal(out, duration.as_secs());
    let milliseconds = duration.subsec_millis();
    out.extend_from_slice(&[
        b'.',
        b'0' + (milliseconds / 100) as u8,
        b'0' + (milliseconds / 10 % 10) as u8,
        b'0' + (milliseconds % 10) as u8,
    ]);
    true
}

fn field(fields: &Fields, known: Known, out: &mut Vec<u8>) -> bool {
    fields.known(known).is_some_and(|value| append(out, value))
}

/// One value for each attempt, `, ` between attempts at peers of a group and ` : ` between groups.
fn attempts(
    exchange: &Exchange,
    out: &mut Vec<u8>,
    mut write: impl FnMut(&Attempt, &mut Vec<u8>) -> bool,
) -> bool {
    for (position, attempt) in exchange.attempts.iter().enumerate() {
        if position > 0 {
            out.extend_from_slice(if attempt.is_new_group { b" : " } else { b", " });
        }
        write(attempt, out);
    }
    !exchange.attempts.is_empty()
}

fn times(
    exchange: &Exchange,
    out: &mut Vec<u8>,
    time: impl Fn(&Attempt) -> Option<std::time::Duration>,
) -> bool {
    attempts(exchange, out, |attempt, out| match time(attempt) {
        Some(time) => seconds(out, time),
        None => append(out, b"-"),
    })
}

/// The texts of the current second.
pub fn with_times<R>(run: impl FnOnce(&date::Cache) -> R) -> R {
    thread_local! {
        static TIMES: RefCell<Option<date::Cache>> = const { RefCell::new(None) };
    }
    let second = i64::try_from(clock::unix().as_secs()).unwrap_or(i64::MAX);
    TIMES.with_borrow_mut(|times| {
        let times = times.get_or_insert_with(|| date::Cache::new(second));
        times.update(second);
        run(times)
    })
}

/// The port that the request names, if it names one.
fn request_port(exchange: &Exchange) -> Option<u16> {
    exchange.host_port
}

fn document_root(exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    match &exchange.settings.root {
        Root::Root(root) | Root::Alias(root) => expand(root, exchange, out),
    }
    true
}

/// Appends the file that the path stands for: `root` and the whole path, or `alias` and the path
/// behind the location's prefix.
pub fn request_filename(exchange: &Exchange, out: &mut Vec<u8>) -> bool {
    match &exchange.settings.root {
        Root::Root(root) => {
            expand(root, exchange, out);
            append(out, &exchange.path)
        }
        Root::Alias(alias) => {
            expand(alias, exchange, out);
            if exchange.is_behind_alias {
                out.extend_from_slice(&exchange.path);
            } else if !exchange.settings.is_regex {
                out.extend_from_slice(
                    exchange
                        .path
                        .get(exchange.settings.prefix_length..)
                        .unwrap_or_default(),
                );
            }
            true
        }
    }
}

/// The user name of Basic credentials (RFC 7617); the password is never copied.
fn remote_user(fields: &Fields, out: &mut Vec<u8>) -> bool {
    let Some(value) = fields.known(Known::Authorization) else {
        return false;
    };
    let Some((scheme, credentials)) = value.split_at_checked(6) else {
        return false;
    };
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return false;
    }
    let start = out.len();
    let mut group = 0u32;
    let mut bits = 0u32;
    for &byte in credentials.trim_ascii() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            b'=' => break,
            _ => {
                out.truncate(start);
                return false;
            }
        };
        group = (group << 6) | u32::from(six);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            let decoded = (group >> bits) as u8;
            if decoded == b':' {
                return out.len() > start;
            }
            out.push(decoded);
        }
    }
    out.truncate(start);
    false
}

/// The name of this host, in lower case (`$hostname`).
pub fn hostname() -> &'static [u8] {
    static NAME: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let name = std::fs::read("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim_ascii().to_ascii_lowercase()
    });
    &NAME
}

/// 128 bits that nobody can guess, from a generator that the system seeds per thread.
pub fn random_id() -> u128 {
    use std::hash::{BuildHasher as _, Hasher as _};
    thread_local! {
        static STATE: (std::hash::RandomState, std::hash::RandomState) =
            (std::hash::RandomState::new(), std::hash::RandomState::new());
        static COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
    }
    let count = COUNT.get();
    COUNT.set(count.wrapping_add(1));
    STATE.with(|(left, right)| {
        let half = |state: &std::hash::RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write_u64(count);
            u128::from(hasher.finish())
        };
        (half(left) << 64) | half(right)
    })
}

fn tcp_info(
    exchange: &Exchange,
    out: &mut Vec<u8>,
    value: impl Fn(&libc::tcp_info) -> u32,
) -> bool {
    crate::net::tcp_info::of(exchange.connection.descriptor)
        .is_some_and(|info| decimal(out, u64::from(value(&info))))
}
