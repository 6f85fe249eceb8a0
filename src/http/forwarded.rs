//! `X-Forwarded-For`: who is behind proxies that are trusted to say so.

use std::net::{IpAddr, SocketAddr};

/// The client that a trusted proxy names, with the port if one is named, else 0. `values` are those
/// of the fields, each a list, the last value first; the last address of a list is the nearest one.
/// With `recursive`, it is the nearest address that is not itself one of a trusted proxy, or the
/// farthest if all are. `None` if the proxy names nobody. (nginx `ngx_http_get_forwarded_addr`.)
pub fn client<'a>(
    values: impl Iterator<Item = &'a [u8]>,
    is_trusted: impl Fn(IpAddr) -> bool,
    recursive: bool,
) -> Option<SocketAddr> {
    let mut found = None;
    for value in values {
        let mut rest = Some(value);
        while let Some(list) = rest {
            let end = list.iter().rposition(|byte| !is_separator(byte));
            let list = &list[..end.map_or(0, |end| end + 1)];
            let separator = list.iter().rposition(is_separator);
            // Nothing but an address begins a list.
            let separator = separator.filter(|&at| at > 0);
            let item = separator.map_or(list, |at| &list[at + 1..]);
            rest = separator.map(|at| &list[..at]);
            // Whatever stands in front of what is no address, nobody vouches for.
            let Some(address) = parse(item) else {
                return found;
            };
            found = Some(address);
            if !recursive || !is_trusted(address.ip()) {
                return found;
            }
        }
    }
    found
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b' ' | b',')
}

/// An address as proxies write it: bare, or with a port, and then in brackets if it is of IPv6.
fn parse(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?;
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(SocketAddr::new(address, 0));
    }
    let address: SocketAddr = text.parse().ok()?;
    let has_zone = text.contains('%');
    (address.port() > 0 && !has_zone).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The client when 10.0.0.0/8 and ::1 are trusted.
    fn found(values: &[&str], recursive: bool) -> Option<String> {
        let is_trusted = |address: IpAddr| match address {
            IpAddr::V4(address) => address.octets()[0] == 10,
            IpAddr::V6(address) => address.is_loopback(),
        };
        let values = values.iter().rev().map(|value| value.as_bytes());
        client(values, is_trusted, recursive).map(|address| address.to_string())
    }

    #[test]
    fn the_last_address_counts_or_the_last_that_is_not_trusted() {
        for (values, plain, recursive) in [
            (&["192.0.2.1"][..], "192.0.2.1:0", "192.0.2.1:0"),
            (&["192.0.2.1, 10.0.0.1"], "10.0.0.1:0", "192.0.2.1:0"),
            (&["192.0.2.1,10.0.0.1 , "], "10.0.0.1:0", "192.0.2.1:0"),
            (&["192.0.2.1", "10.0.0.1"], "10.0.0.1:0", "192.0.2.1:0"),
            (&["10.0.0.2, 10.0.0.1"], "10.0.0.1:0", "10.0.0.2:0"),
            (&["x, 192.0.2.1, 10.0.0.1"], "10.0.0.1:0", "192.0.2.1:0"),
            (&["192.0.2.1, x, 10.0.0.1"], "10.0.0.1:0", "10.0.0.1:0"),
            (&["192.0.2.1,, 10.0.0.1"], "10.0.0.1:0", "192.0.2.1:0"),
            (&["2001:db8::1, ::1"], "[::1]:0", "[2001:db8::1]:0"),
            (&["192.0.2.1:77, [::1]:88"], "[::1]:88", "192.0.2.1:77"),
        ] {
            assert_eq!(found(values, false).as_deref(), Some(plain), "{values:?}");
            assert_eq!(
                found(values, true).as_deref(),
                Some(recursive),
                "{values:?}"
            );
        }
    }

    #[test]
    fn who_is_named_by_nothing_that_can_be_read_is_nobody() {
        for value in [
            "",
            " ",
            ",",
            ",192.0.2.1",
            "unknown",
            "192.0.2.1, unknown",
            "[::1]",
            "192.0.2.1:0",
            "192.0.2.1:x",
            "192.0.2.1:",
            "fe80::1%1",
            "[fe80::1%1]:80",
        ] {
            for recursive in [false, true] {
                assert_eq!(found(&[value], recursive), None, "{value}");
            }
        }
        assert_eq!(
            found(&["192.0.2.1", ""], true),
            None,
            "the last field is empty"
        );
    }
}
