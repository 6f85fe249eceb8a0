//! Port numbers for servers under test.
//!
//! A number is picked below the range from which the kernel serves outgoing connections, so that no
//! client of a test running beside it can take it before the server binds it, and it is reserved
//! across processes by a UDP socket of the same number for as long as the [`Port`] lives. All
//! numbers have five digits, so that answers that carry them have the same length on every run, and
//! none is round, so that a number of bytes in a test is never taken for a port.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use socket2::{Domain, Socket, Type};

const FIRST: u32 = 10_000;
const COUNT: u32 = 22_000;

/// A port that no other test uses.
pub struct Port {
    pub number: u16,
    _reservation: UdpSocket,
}

/// Reserves a port on which nothing listens yet.
pub fn reserve() -> Port {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |passed| passed.subsec_nanos());
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let candidate = std::process::id()
            .wrapping_mul(2_654_435_761)
            .wrapping_add(nanos / 1000)
            .wrapping_add(step.wrapping_mul(7919));
        let number = u16::try_from(FIRST + candidate % COUNT).expect("the range ends below 65536");
        if number.is_multiple_of(100) {
            continue;
        }
        let Ok(reservation) = UdpSocket::bind((Ipv4Addr::LOCALHOST, number)) else {
            continue;
        };
        if nobody_listens(number) {
            return Port {
                number,
                _reservation: reservation,
            };
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}

/// Does nobody listen on this port? Asked by binding, not by listening: a child that another test
/// forks in this moment holds the socket until it becomes another program, and a socket that listens
/// would keep the port from the server that it is for.
fn nobody_listens(number: u16) -> bool {
    let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, number));
    Socket::new(Domain::IPV4, Type::STREAM, None).is_ok_and(|socket| {
        socket.set_reuse_address(true).is_ok() && socket.bind(&address.into()).is_ok()
    })
}
