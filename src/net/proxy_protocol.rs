//! The PROXY protocol: what a proxy says of a client before the client's own bytes, in its versions
//! 1 (a line of text) and 2 (binary).
//!
//! Owns the bytes of such a header, read and written. Whether one is awaited, and whether what it
//! says is believed, others decide. Invariant: what is written here is read here as the same
//! addresses, and no header is longer than [`LONGEST`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::conf::typed::proxy::ProxyProtocol;
use crate::conf::variable::ProxyValue;

/// No header is longer, with all that version 2 may carry (nginx `NGX_PROXY_PROTOCOL_MAX_HEADER`).
pub const LONGEST: usize = 4096;

/// The longest line of version 1, with its end (section 2.1 of the specification).
const LONGEST_LINE: usize = 107;
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const START: &[u8] = b"PROXY ";
/// What stands in front of the addresses in version 2.
const FIXED: usize = 16;
/// What stands in front of the values about TLS: flags, and what verification came to.
const SSL_FIXED: usize = 5;

/// What a proxy says of the connection that it passes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// Where it came from: the client.
    pub source: SocketAddr,
    /// Where it went to: an address of the proxy.
    pub destination: SocketAddr,
    /// Further values of version 2, as received.
    values: Box<[u8]>,
}

/// What the first bytes of a connection are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// More have to be read.
    Partial,
    /// So many of them are a header. There are no addresses if the proxy speaks for itself or does
    /// not know them.
    Complete(usize, Option<Header>),
}

/// Why bytes are not a header; in nginx's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderError {
    /// Of neither version.
    Broken,
    /// Another version in the binary form.
    UnknownVersion(u8),
    /// Neither of the two commands.
    UnknownCommand(u8),
    /// Longer than anybody needs.
    TooLarge,
    /// The addresses are cut off.
    TooShort,
}

impl fmt::Display for HeaderError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => formatter.write_str("broken header"),
            Self::UnknownVersion(version) => {
                write!(formatter, "unknown PROXY protocol version: {version}")
            }
            Self::UnknownCommand(command) => {
                write!(formatter, "unknown PROXY protocol command: {command}")
            }
            Self::TooLarge => formatter.write_str("header is too large"),
            Self::TooShort => formatter.write_str("header is too short for its addresses"),
        }
    }
}

impl std::error::Error for HeaderError {}

/// Reads the header that a connection begins with. What is refused is refused as soon as it is
/// clear, so that no more than [`LONGEST`] bytes have to be held.
pub fn parse(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let begins_as = |start: &[u8]| {
        let length = bytes.len().min(start.len());
        bytes[..length] == start[..length]
    };
    if begins_as(SIGNATURE) {
        return match bytes.len() < FIXED {
            true => Ok(Progress::Partial),
            false => parse_binary(bytes),
        };
    }
    if !begins_as(START) {
        return Err(HeaderError::Broken);
    }
    let line = &bytes[..bytes.len().min(LONGEST_LINE)];
    match memchr::memchr(b'\n', line) {
        Some(end) => {
            let line = line[..end].strip_suffix(b"\r").ok_or(HeaderError::Broken)?;
            let header = parse_line(line.get(START.len()..).unwrap_or_default())?;
            Ok(Progress::Complete(end + 1, header))
        }
        None if line.len() == LONGEST_LINE => Err(HeaderError::Broken),
        None => Ok(Progress::Partial),
    }
}

/// Version 1, what stands behind `PROXY `.
fn parse_line(line: &[u8]) -> Result<Option<Header>, HeaderError> {
    if line.starts_with(b"UNKNOWN") {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|_| HeaderError::Broken)?;
    let parsed = || {
        let mut words = text.split(' ');
        // Which family it is, the addresses tell better.
        words
            .next()
            .filter(|family| matches!(*family, "TCP4" | "TCP6"))?;
        let source: IpAddr = words.next()?.parse().ok()?;
        let destination: IpAddr = words.next()?.parse().ok()?;
        let source = SocketAddr::new(source, port(words.next()?)?);
        let destination = SocketAddr::new(destination, port(words.next()?)?);
        words.next().is_none().then_some(Header {
            source,
            destination,
            values: Box::default(),
        })
    };
    parsed().map(Some).ok_or(HeaderError::Broken)
}

/// A port: digits and nothing else.
fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Version 2. All of the fixed part is there.
fn parse_binary(bytes: &[u8]) -> Result<Progress, HeaderError> {
    let (version, command) = (bytes[12] >> 4, bytes[12] & 15);
    if version != 2 {
        return Err(HeaderError::UnknownVersion(version));
    }
    // Section 2.2: a receiver drops connections with any other.
    if command > 1 {
        return Err(HeaderError::UnknownCommand(command));
    }
    let length = FIXED + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > LONGEST {
        return Err(HeaderError::TooLarge);
    }
    let Some(rest) = bytes.get(FIXED..length) else {
        return Ok(Progress::Partial);
    };
    let addresses = match (command, bytes[13]) {
        // TCP over IPv4.
        (1, 0x11) => rest.split_first_chunk::<12>().map(|(part, rest)| {
            let [a, b, c, d, e, f, g, h, ports @ ..] = *part;
            let source = Ipv4Addr::new(a, b, c, d).into();
            let destination = Ipv4Addr::new(e, f, g, h).into();
            (source, destination, ports, rest)
        }),
        // TCP over IPv6.
        (1, 0x21) => rest.split_first_chunk::<36>().map(|(part, rest)| {
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&part[at..at + 16]);
                Ipv6Addr::from(octets).into()
            };
            let ports = [part[32], part[33], part[34], part[35]];
            (address(0), address(16), ports, rest)
        }),
        // The proxy speaks for itself, or of what we have no use for.
        _ => return Ok(Progress::Complete(length, None)),
    };
    let (source, destination, ports, values) = addresses.ok_or(HeaderError::TooShort)?;
    let [source_high, source_low, destination_high, destination_low] = ports;
    let header = Header {
        source: SocketAddr::new(source, u16::from_be_bytes([source_high, source_low])),
        destination: SocketAddr::new(
            destination,
            u16::from_be_bytes([destination_high, destination_low]),
        ),
        values: values.into(),
    };
    Ok(Progress::Complete(length, Some(header)))
}

impl Header {
    /// Appends one of the further values; `false` if it is not there.
    pub fn write(&self, value: ProxyValue, out: &mut Vec<u8>) -> bool {
        let ssl = || lookup(&self.values, ProxyValue::SSL)?.split_first_chunk::<SSL_FIXED>();
        match value {
            ProxyValue::Plain(kind) => {
                lookup(&self.values, kind).map(|it| out.extend_from_slice(it))
            }
            ProxyValue::Ssl(kind) => ssl()
                .and_then(|(_, values)| lookup(values, kind))
                .map(|it| out.extend_from_slice(it)),
            ProxyValue::SslVerify => ssl().map(|(&[_, a, b, c, d], _)| {
                let result = u32::from_be_bytes([a, b, c, d]);
                out.extend_from_slice(result.to_string().as_bytes());
            }),
        }
        .is_some()
    }
}

/// The first value of a type; none is found behind one that is cut off.
fn lookup(mut values: &[u8], wanted: u8) -> Option<&[u8]> {
    while let Some((&[kind, high, low], rest)) = values.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length)?;
        if kind == wanted {
            return Some(value);
        }
        values = rest;
    }
    None
}

/// Appends a header for a connection between these ends; `None` says that they have no addresses (a
/// Unix socket). Two families are written as the one that holds both.
pub fn write(version: ProxyProtocol, ends: Option<(SocketAddr, SocketAddr)>, out: &mut Vec<u8>) {
    let ends = ends.map(|(source, destination)| {
        let ips = (source.ip().to_canonical(), destination.ip().to_canonical());
        let ips = match ips {
            (IpAddr::V4(_), IpAddr::V4(_)) => ips,
            (source, destination) => (in_six(source).into(), in_six(destination).into()),
        };
        (ips, source.port(), destination.port())
    });
    match version {
        ProxyProtocol::Text => {
            let line = match ends {
                None => "PROXY UNKNOWN\r\n".to_owned(),
                Some(((source, destination), from, to)) => {
                    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
                    format!("PROXY {family} {source} {destination} {from} {to}\r\n")
                }
            };
            out.extend_from_slice(line.as_bytes());
        }
        ProxyProtocol::Binary => {
            out.extend_from_slice(SIGNATURE);
            // Version 2, on behalf of a client.
            out.push(0x21);
            match ends {
                None => out.extend_from_slice(&[0, 0, 0]),
                Some(((source, destination), from, to)) => {
                    let (family, length) = if source.is_ipv4() {
                        (0x11, 12)
                    } else {
                        (0x21, 36)
                    };
                    out.extend_from_slice(&[family, 0, length]);
                    for address in [source, destination] {
                        match address {
                            IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
                            IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
                        }
                    }
                    out.extend_from_slice(&from.to_be_bytes());
                    out.extend_from_slice(&to.to_be_bytes());
                }
            }
        }
    }
}

fn in_six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(source: &str, destination: &str) -> Header {
        Header {
            source: source.parse().expect("an address"),
            destination: destination.parse().expect("an address"),
            values: Box::default(),
        }
    }

    /// A header of version 2 with this command, family and content.
    fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
        let mut bytes = SIGNATURE.to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(content.len()).expect("short").to_be_bytes());
        bytes.extend(content);
        bytes
    }

    #[test]
    fn a_line_of_version_1_names_both_ends() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 0443\r\nGET /";
        let found = header("192.0.2.1:56324", "198.51.100.2:443");
        assert_eq!(parse(line), Ok(Progress::Complete(46, Some(found))));
        let line = b"PROXY TCP6 2001:DB8::1 ::ffff:192.0.2.1 1 65535\r\n";
        let found = header("[2001:db8::1]:1", "[::ffff:192.0.2.1]:65535");
        assert_eq!(parse(line), Ok(Progress::Complete(line.len(), Some(found))));
    }

    #[test]
    fn an_unknown_origin_is_a_header_without_addresses() {
        for line in ["PROXY UNKNOWN\r\n", "PROXY UNKNOWN ffff::1 x 1\r\n"] {
            let complete = Progress::Complete(line.len(), None);
            assert_eq!(parse(line.as_bytes()), Ok(complete));
        }
        // Local, unspecified, datagrams, Unix sockets.
        for (command, family) in [(0x20, 0x11), (0x21, 0), (0x21, 0x12), (0x21, 0x31)] {
            let bytes = binary(command, family, b"anything");
            let complete = Progress::Complete(bytes.len(), None);
            assert_eq!(parse(&bytes), Ok(complete), "{command:x} {family:x}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_at_once() {
        use HeaderError::*;
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LONGEST_LINE));
        for wrong in [
            "GET / HTTP/1.1\r\n",
            "\x16\x03\x01",
            "PROXYTCP4",
            "PROXY TCP5 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 65536\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 +1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n",
            "PROXY TCP4  1.1.1.1 1.1.1.1 1 1\r\n",
            "PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n",
            "PROXY TCP4 1.1.1.1 1.1.1.1 1 1\n",
            "PROXY \r\n",
            &long,
        ] {
            assert_eq!(parse(wrong.as_bytes()), Err(Broken), "{wrong}");
        }
        let refused = |command, family, content| parse(&binary(command, family, content));
        assert_eq!(refused(0x11, 0x11, &[0; 12]), Err(UnknownVersion(1)));
        assert_eq!(refused(0x22, 0x11, &[0; 12]), Err(UnknownCommand(2)));
        assert_eq!(refused(0x21, 0x11, &[0; 11]), Err(TooShort));
        assert_eq!(refused(0x21, 0x21, &[0; 35]), Err(TooShort));
        assert_eq!(refused(0x21, 0x11, &[0; LONGEST]), Err(TooLarge));
        // That it is too large is clear before all of it is there.
        let head = &binary(0x21, 0x11, &[0; LONGEST])[..FIXED];
        assert_eq!(parse(head), Err(TooLarge));
    }

    #[test]
    fn values_are_found_by_the_names_that_nginx_gives_them() {
        let value = |kind: u8, text: &[u8]| {
            let mut bytes = vec![kind, 0, u8::try_from(text.len()).expect("short")];
            bytes.extend(text);
            bytes
        };
        let mut ssl = vec![1, 0, 0, 1, 2];
        ssl.extend(value(0x21, b"TLSv1.3"));
        ssl.extend(value(0x22, b"client"));
        let mut content = vec![0; 12];
        content.extend(value(0x04, b"nothing"));
        content.extend(value(0x02, b"example.com"));
        content.extend(value(0x20, &ssl));
        content.extend(value(0xee, b"own"));
        content.extend(value(0x02, b"second"));
        content.extend([0x05, 0xff, 0xff, b'c', b'u', b't']);
        let Ok(Progress::Complete(_, Some(header))) = parse(&binary(0x21, 0x11, &content)) else {
            panic!("it is a header");
        };
        let value = |name: &str| {
            let mut out = Vec::new();
            let value = ProxyValue::named(name).expect("a name");
            header.write(value, &mut out).then(|| latin1(&out))
        };
        assert_eq!(value("authority").as_deref(), Some("example.com"));
        assert_eq!(value("0xee").as_deref(), Some("own"));
        assert_eq!(value("0xEE").as_deref(), Some("own"));
        assert_eq!(value("ssl_version").as_deref(), Some("TLSv1.3"));
        assert_eq!(value("ssl_0x22").as_deref(), Some("client"));
        assert_eq!(value("ssl_verify").as_deref(), Some("258"));
        for none in ["alpn", "ssl_cipher", "unique_id", "0x06"] {
            assert_eq!(value(none), None, "{none}");
        }
    }

    fn latin1(bytes: &[u8]) -> String {
        bytes.iter().map(|&byte| char::from(byte)).collect()
    }

    fn address() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            any::<([u8; 4], u16)>().prop_map(SocketAddr::from),
            any::<([u16; 8], u16)>().prop_map(SocketAddr::from),
        ]
    }

    proptest! {
        /// What is written is read, whatever follows, and every part of it is partial.
        #[test]
        fn a_header_written_is_the_header_read(
            source in address(),
            destination in address(),
            is_text: bool,
            behind in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let version = if is_text { ProxyProtocol::Text } else { ProxyProtocol::Binary };
            let mut bytes = Vec::new();
            write(version, Some((source, destination)), &mut bytes);
            let length = bytes.len();
            prop_assert!(!is_text || length <= LONGEST_LINE);
            for end in 0..length {
                prop_assert_eq!(parse(&bytes[..end]), Ok(Progress::Partial));
            }
            bytes.extend(behind);
            let Ok(Progress::Complete(read, Some(header))) = parse(&bytes) else {
                return Err(TestCaseError::fail("it is a header"));
            };
            prop_assert_eq!(read, length);
            let plain = |address: SocketAddr| (address.ip().to_canonical(), address.port());
            prop_assert_eq!(plain(header.source), plain(source));
            prop_assert_eq!(plain(header.destination), plain(destination));
            prop_assert_eq!(header.source.is_ipv4(), header.destination.is_ipv4());
        }

        /// Any bytes behind a signature are a header, a part of one or refused; and the answer does
        /// not change with what follows.
        #[test]
        fn bytes_that_follow_change_nothing(
            is_binary: bool,
            rest in prop::collection::vec(any::<u8>(), 0..200),
            cut in 0..240usize,
        ) {
            let mut bytes = if is_binary { SIGNATURE.to_vec() } else { START.to_vec() };
            bytes.extend(rest);
            let whole = parse(&bytes);
            let part = parse(&bytes[..cut.min(bytes.len())]);
            if part != Ok(Progress::Partial) {
                prop_assert_eq!(&part, &whole);
            }
            if let Ok(Progress::Complete(length, Some(header))) = whole {
                prop_assert!(length <= bytes.len() && length <= LONGEST);
                for kind in 0..=255 {
                    let mut out = Vec::new();
                    header.write(ProxyValue::Plain(kind), &mut out);
                    header.write(ProxyValue::Ssl(kind), &mut out);
                    prop_assert!(out.len() <= 2 * length);
                }
            }
        }
    }
}
