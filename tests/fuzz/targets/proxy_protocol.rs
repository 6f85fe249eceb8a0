//! The first bytes of a connection behind a proxy: any bytes are a header, a part of one or refused;
//! what follows changes nothing; and what is read, written again, is read as the same addresses.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use openclaw::conf::typed::proxy::ProxyProtocol;
use openclaw::conf::variable::ProxyValue;
use openclaw::net::proxy_protocol::{LONGEST, Progress, parse, write};

fuzz_target!(|bytes: &[u8]| {
    let whole = parse(bytes);
    for end in 0..bytes.len().min(LONGEST) {
        match parse(&bytes[..end]) {
            Ok(Progress::Partial) => {}
            decided => {
                assert_eq!(decided, whole);
                break;
            }
        }
    }
    let Ok(Progress::Complete(length, Some(header))) = whole else {
        assert!(whole != Ok(Progress::Partial) || bytes.len() < LONGEST);
        return;
    };
    assert!(length <= bytes.len());
    let mut values = Vec::new();
    for kind in 0..=255 {
        header.write(ProxyValue::Plain(kind), &mut values);
        header.write(ProxyValue::Ssl(kind), &mut values);
    }
    header.write(ProxyValue::SslVerify, &mut values);
    for version in [ProxyProtocol::Text, ProxyProtocol::Binary] {
        let mut again = Vec::new();
        write(version, Some((header.source, header.destination)), &mut again);
        let Ok(Progress::Complete(length, Some(read))) = parse(&again) else {
            panic!("what was written is a header");
        };
        assert_eq!(length, again.len());
        assert_eq!(plain(read.source), plain(header.source));
        assert_eq!(plain(read.destination), plain(header.destination));
    }
});

/// IPv4 in IPv6 is IPv4.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
