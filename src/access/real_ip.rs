//! `set_real_ip_from`: who a request is from, when a trusted proxy says so.
//!
//! Owns whom to believe and what to read (nginx `ngx_http_realip_module`). What it leads to is one
//! thing: [`Exchange::replace_client`], after which the request is one of that client for everybody.

use std::net::{IpAddr, SocketAddr};

use crate::conf::typed::listen::Address;
use crate::conf::typed::location::{RealIp, RealIpSource};
use crate::http::exchange::Exchange;
use crate::http::forwarded;

/// Puts the client that a trusted proxy names in the place of the proxy, once in a request.
pub fn apply(exchange: &mut Exchange) {
    let Some(real_ip) = &exchange.settings.real_ip else {
        return;
    };
    if exchange.has_other_client() || !trusts(real_ip, &exchange.connection.remote) {
        return;
    }
    if let Some(client) = client(real_ip, exchange) {
        exchange.replace_client(client);
    }
}

/// Is the client of a request one of those who are trusted to name theirs?
pub fn is_trusted(exchange: &Exchange) -> bool {
    let real_ip = exchange.settings.real_ip.as_deref();
    real_ip.is_some_and(|real_ip| trusts(real_ip, &exchange.connection.remote))
}

fn trusts(real_ip: &RealIp, sender: &Address) -> bool {
    match sender {
        Address::Ip(sender) => is_proxy(real_ip, sender.ip()),
        Address::Unix(_) => real_ip.trusts_unix,
    }
}

/// IPv4 in IPv6 is IPv4.
fn is_proxy(real_ip: &RealIp, address: IpAddr) -> bool {
    let address = address.to_canonical();
    (real_ip.networks.iter()).any(|network| network.contains(&address))
}

fn client(real_ip: &RealIp, exchange: &Exchange) -> Option<SocketAddr> {
    let fields = &exchange.head.fields;
    let is_trusted = |address| is_proxy(real_ip, address);
    match &real_ip.source {
        RealIpSource::ForwardedFor => {
            forwarded::client(fields.forwarded_for(), is_trusted, real_ip.recursive)
        }
        RealIpSource::Field(name) => {
            let first = fields.named(name).next();
            forwarded::client(first.into_iter(), is_trusted, real_ip.recursive)
        }
        RealIpSource::ProxyProtocol => Some(exchange.connection.proxied.as_ref()?.source),
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::sync::Arc;

    use super::*;
    use crate::conf::typed::location::Settings;
    use crate::http::exchange::Connection;
    use crate::http::fixture;
    use crate::net::proxy_protocol::{Progress, parse};

    /// The client of a request that comes from 192.0.2.7, which is trusted like all of its network.
    fn exchange(source: RealIpSource, recursive: bool, fields: &[(&str, &str)]) -> Exchange {
        let settings = Settings {
            real_ip: Some(Arc::new(RealIp {
                networks: ["192.0.2.0/24".parse().expect("a network")].into(),
                trusts_unix: true,
                source,
                recursive,
            })),
            ..fixture::settings()
        };
        fixture::exchange(settings, "/", fields)
    }

    fn field(name: &str) -> RealIpSource {
        RealIpSource::Field(name.as_bytes().into())
    }

    fn applied(mut exchange: Exchange) -> (String, String) {
        apply(&mut exchange);
        let remote = exchange.connection.remote.to_string();
        (remote, exchange.connection.remote_text.to_string())
    }

    fn from(exchange: &mut Exchange, remote: Address) {
        let connection = Connection {
            remote_text: Connection::text_of(&remote),
            remote,
            ..Connection::clone(&exchange.connection)
        };
        exchange.connection = Rc::new(connection);
    }

    #[test]
    fn a_trusted_proxy_names_the_client_and_the_next_request_has_none_until_it_is_named_again() {
        let mut exchange = exchange(
            field("x-real-ip"),
            false,
            &[("X-Real-IP", "203.0.113.9:81")],
        );
        apply(&mut exchange);
        assert_eq!(&*exchange.connection.remote_text, "203.0.113.9");
        assert_eq!(exchange.connection.remote_port(), 81);
        assert_eq!(&*exchange.accepted().remote_text, "192.0.2.7");
        assert_eq!(exchange.accepted().remote_port(), 50_000);
        let replaced = Rc::clone(&exchange.connection);
        apply(&mut exchange);
        assert!(
            Rc::ptr_eq(&exchange.connection, &replaced),
            "once in a request"
        );
        exchange.reset();
        assert_eq!(&*exchange.connection.remote_text, "192.0.2.7");
        assert!(!exchange.has_other_client());
        // The same client again costs nothing.
        exchange.head.fields.push(b"X-Real-IP", b"203.0.113.9:81");
        apply(&mut exchange);
        assert!(Rc::ptr_eq(&exchange.connection, &replaced));
        exchange.reset();
        exchange.head.fields.push(b"X-Real-IP", b"203.0.113.10");
        apply(&mut exchange);
        assert_eq!(&*exchange.connection.remote_text, "203.0.113.10");
    }

    #[test]
    fn who_is_not_trusted_is_not_believed() {
        let mut exchange = exchange(field("x-real-ip"), false, &[("X-Real-IP", "203.0.113.9")]);
        from(&mut exchange, Address::Ip(([198, 51, 100, 1], 7).into()));
        assert_eq!(applied(exchange).0, "198.51.100.1:7");
    }

    #[test]
    fn a_unix_socket_and_ipv4_in_ipv6_can_be_trusted() {
        let fields = [("X-Real-IP", "::ffff:203.0.113.9")];
        for remote in [
            Address::Unix("".into()),
            Address::Ip("[::ffff:192.0.2.1]:1".parse().expect("an address")),
        ] {
            let mut exchange = exchange(field("x-real-ip"), false, &fields);
            from(&mut exchange, remote);
            assert_eq!(applied(exchange).1, "203.0.113.9");
        }
    }

    #[test]
    fn a_field_is_read_once_and_forwarded_for_as_one_list() {
        let fields = [
            ("X-Forwarded-For", "203.0.113.1, 203.0.113.2"),
            ("X-Forwarded-For", "192.0.2.9"),
        ];
        let client = |source, recursive| applied(exchange(source, recursive, &fields)).1;
        assert_eq!(client(RealIpSource::ForwardedFor, false), "192.0.2.9");
        assert_eq!(client(RealIpSource::ForwardedFor, true), "203.0.113.2");
        assert_eq!(client(field("x-forwarded-for"), true), "203.0.113.2");
        assert_eq!(client(field("x-other"), true), "192.0.2.7");
    }

    #[test]
    fn the_header_of_the_connection_names_the_client_with_its_port() {
        let mut exchange = exchange(RealIpSource::ProxyProtocol, false, &[]);
        let header = parse(b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\n");
        let Ok(Progress::Complete(_, Some(header))) = header else {
            panic!("it is a header");
        };
        exchange.connection = Rc::new(Connection {
            proxied: Some(Rc::new(header)),
            ..Connection::clone(&exchange.connection)
        });
        assert_eq!(applied(exchange).0, "203.0.113.5:4711");
    }
}
