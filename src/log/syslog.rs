//! Syslog datagrams in the form of RFC 3164, over UDP or a Unix socket.
//!
//! Owns the sockets and the header of a datagram. A send never waits: what the socket does not take
//! at once is dropped and counted. One socket per server, shared by all threads.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::{DROPPED, OpenWarning, error_log};
use crate::conf::typed::log::{Level, Syslog, SyslogServer};
use crate::http::variables;
use crate::unit::clock;

/// Seconds until an unresolved name is asked for again.
const RESOLVE_AGAIN: u64 = 30;

/// A header and where datagrams with it go.
#[derive(Debug)]
pub struct Sender {
    peer: Arc<Peer>,
    facility: u8,
    severity: u8,
    /// Between the time and the message: the host, unless left out, and the tag.
    origin: Box<[u8]>,
}

impl Sender {
    /// Prepares a sender. The socket is opened with the first line, so that a syslog server that is
    /// not up yet keeps nothing from starting (nginx `ngx_syslog_send`).
    pub fn open(syslog: &Syslog, warnings: &mut Vec<OpenWarning>) -> Self {
        let mut origin = vec![b' '];
        if !syslog.no_hostname {
            origin.extend_from_slice(variables::hostname());
            origin.push(b' ');
        }
        origin.extend_from_slice(syslog.tag.as_bytes());
        origin.extend_from_slice(b": ");
        Self {
            peer: Peer::of(&syslog.server, warnings),
            facility: syslog.facility,
            severity: syslog.severity,
            origin: origin.into(),
        }
    }

    /// Appends `<PRI>Mmm dd hh:mm:ss host tag: ` (RFC 3164 section 4.1). Lines of an error log have
    /// their own severity.
    pub fn push_header(&self, severity: Option<Level>, datagram: &mut Vec<u8>) {
        let severity = severity.map_or(self.severity, |level| level as u8);
        datagram.push(b'<');
        crate::http::h1::write::push_decimal(
            datagram,
            u64::from(self.facility) * 8 + u64::from(severity),
        );
        datagram.push(b'>');
        variables::with_times(|times| push_time(times.error_log(), datagram));
        datagram.extend_from_slice(&self.origin);
    }

    /// Sends a datagram; the error says why it was dropped and who should have got it.
    pub fn send(&self, datagram: &[u8]) -> Result<(), Undelivered<'_>> {
        self.peer.send(datagram).map_err(|error| {
            DROPPED.fetch_add(1, Relaxed);
            Undelivered {
                peer: &self.peer,
                error,
            }
        })
    }
}

/// A datagram that was dropped.
pub struct Undelivered<'a> {
    peer: &'a Peer,
    error: io::Error,
}

impl Undelivered<'_> {
    /// Says so in the error log, once a second at most for each server.
    pub fn report(self) {
        let peer = self.peer;
        let lost = peer.unreported.fetch_add(1, Relaxed) + 1;
        let second = clock::unix().as_secs();
        if peer.reported_second.swap(second, Relaxed) != second {
            peer.unreported.fetch_sub(lost, Relaxed);
            error_log::report(
                Level::Warn,
                format_args!(
                    "send() to syslog failed {}, {lost} lines lost, server: {}",
                    error_log::cause(&self.error),
                    name_of(&peer.server),
                ),
            );
        }
    }
}

/// A server and the socket connected to it.
#[derive(Debug)]
struct Peer {
    server: SyslogServer,
    socket: RwLock<Option<Socket>>,
    /// The address of a named server, once it resolved.
    address: RwLock<Option<SocketAddr>>,
    resolved_second: AtomicU64,
    reported_second: AtomicU64,
    unreported: AtomicU64,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

static PEERS: Mutex<Vec<Weak<Peer>>> = Mutex::new(Vec::new());

/// Forgets the sockets and asks for the servers' addresses again.
pub fn reconnect_all() {
    let peers: Vec<_> = PEERS.lock().iter().filter_map(Weak::upgrade).collect();
    for peer in peers {
        *peer.socket.write() = None;
        peer.resolve_beside();
    }
}

impl Peer {
    fn of(server: &SyslogServer, warnings: &mut Vec<OpenWarning>) -> Arc<Self> {
        let mut peers = PEERS.lock();
        peers.retain(|peer| peer.strong_count() > 0);
        let known = peers
            .iter()
            .filter_map(Weak::upgrade)
            .find(|peer| peer.server == *server);
        if let Some(peer) = known {
            return peer;
        }
        let address = resolve(server).unwrap_or_else(|error| {
            warnings.push(OpenWarning::Unresolved {
                name: name_of(server).into(),
                reason: error.to_string(),
            });
            None
        });
        let peer = Arc::new(Self {
            server: server.clone(),
            socket: RwLock::new(None),
            address: RwLock::new(address),
            resolved_second: AtomicU64::new(clock::unix().as_secs()),
            reported_second: AtomicU64::new(0),
            unreported: AtomicU64::new(0),
        });
        peers.push(Arc::downgrade(&peer));
        peer
    }

    fn send(self: &Arc<Self>, datagram: &[u8]) -> io::Result<()> {
        if let Some(socket) = &*self.socket.read() {
            match socket.send(datagram) {
                // The receiver of an earlier datagram was missing (ICMP); this one was not sent.
                Err(error)
                    if error.kind() == io::ErrorKind::ConnectionRefused
                        && matches!(socket, Socket::Udp(_)) =>
                {
                    return socket.send(datagram);
                }
                // A Unix socket whose server began anew must be connected anew.
                Err(error) if is_disconnected(&error) => {}
                result => return result,
            }
        }
        let mut slot = self.socket.write();
        *slot = None;
        let socket = self.connect()?;
        let result = socket.send(datagram);
        *slot = Some(socket);
        result
    }

    fn connect(self: &Arc<Self>) -> io::Result<Socket> {
        if let SyslogServer::Unix(path) = &self.server {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(path)?;
            return Ok(Socket::Unix(socket));
        }
        let Some(address) = *self.address.read() else {
            let second = clock::unix().as_secs();
            if second.saturating_sub(self.resolved_second.load(Relaxed)) >= RESOLVE_AGAIN {
                self.resolve_beside();
            }
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "the name did not resolve yet",
            ));
        };
        let socket = UdpSocket::bind(match address {
            SocketAddr::V4(_) => "0.0.0.0:0",
            SocketAddr::V6(_) => "[::]:0",
        })?;
        socket.set_nonblocking(true)?;
        socket.connect(address)?;
        Ok(Socket::Udp(socket))
    }

    /// Asks for the address in a thread of its own: a worker never waits for a name. One that
    /// resolved before stays when it does not resolve now.
    fn resolve_beside(self: &Arc<Self>) {
        if matches!(self.server, SyslogServer::Unix(_)) {
            return;
        }
        self.resolved_second.store(clock::unix().as_secs(), Relaxed);
        let peer = Arc::clone(self);
        // Without a thread to be had it is tried again later.
        let _ = std::thread::Builder::new()
            .name("syslog-resolve".to_owned())
            .spawn(move || {
                if let Ok(address) = resolve(&peer.server) {
                    *peer.address.write() = address;
                }
            });
    }
}

impl Socket {
    fn send(&self, datagram: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(datagram),
            Self::Unix(socket) => socket.send(datagram),
        }
        .map(|_| ())
    }
}

fn is_disconnected(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NotConnected
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::AddrNotAvailable
    )
}

/// The first address of a name, as nginx takes; `None` for a path.
fn resolve(server: &SyslogServer) -> io::Result<Option<SocketAddr>> {
    let SyslogServer::Host { name, port } = server else {
        return Ok(None);
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    let first = (name, *port).to_socket_addrs()?.next();
    first
        .map(Some)
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the name has no address"))
}

fn name_of(server: &SyslogServer) -> String {
    match server {
        SyslogServer::Host { name, port } => format!("{name}:{port}"),
        SyslogServer::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// `Mmm dd hh:mm:ss` from `YYYY/MM/DD hh:mm:ss`; the day is filled with a space (RFC 3164 section
/// 4.1.2).
fn push_time(now: &[u8], datagram: &mut Vec<u8>) {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let month = usize::from(now[5] & 15) * 10 + usize::from(now[6] & 15);
    let name = month.clamp(1, 12) * 3 - 3;
    datagram.extend_from_slice(&MONTHS[name..name + 3]);
    datagram.push(b' ');
    datagram.push(match now[8] {
        b'0' => b' ',
        ten => ten,
    });
    datagram.extend_from_slice(&now[9..]);
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::path::Path;

    use super::super::{dropped_lines, fixture, reopen_all};
    use super::*;

    fn sender(server: SyslogServer) -> Sender {
        let syslog = Syslog {
            server,
            facility: 23,
            severity: 6,
            tag: "openclaw".into(),
            no_hostname: false,
        };
        Sender::open(&syslog, &mut Vec::new())
    }

    fn received(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 100];
        let length = socket.recv(&mut bytes).expect("a datagram");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    fn unix(path: &Path) -> SyslogServer {
        SyslogServer::Unix(path.to_owned())
    }

    #[test]
    fn a_header_has_priority_time_host_and_tag() {
        let sender = sender(unix(Path::new("/none")));
        let mut datagram = Vec::new();
        sender.push_header(None, &mut datagram);
        let text = std::str::from_utf8(&datagram).expect("a text");
        let host = std::str::from_utf8(variables::hostname()).expect("a text");
        let rest = text.strip_prefix("<190>").expect("local7.info");
        assert_eq!(&rest[15..], format!(" {host} openclaw: "));
        datagram.clear();
        sender.push_header(Some(Level::Error), &mut datagram);
        assert!(datagram.starts_with(b"<187>"));
    }

    #[test]
    fn the_time_fills_days_with_a_space() {
        let text = |now: &[u8; 19]| {
            let mut out = Vec::new();
            push_time(now, &mut out);
            String::from_utf8(out).expect("a text")
        };
        assert_eq!(text(b"1994/11/06 08:49:37"), "Nov  6 08:49:37");
        assert_eq!(text(b"2026/01/31 23:59:59"), "Jan 31 23:59:59");
        assert_eq!(text(b"2026/12/10 00:00:00"), "Dec 10 00:00:00");
    }

    #[test]
    fn datagrams_reach_a_server_over_udp_and_over_a_path() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let over_path = UnixDatagram::bind(&path).expect("binds");
        sender(unix(&path)).send(b"one").ok().expect("sends");
        assert_eq!(received(&over_path), "one");

        let over_udp = UdpSocket::bind("[::1]:0").or_else(|_| UdpSocket::bind("127.0.0.1:0"));
        let over_udp = over_udp.expect("binds");
        let address = over_udp.local_addr().expect("bound");
        let server = SyslogServer::Host {
            name: address.ip().to_string().into(),
            port: address.port(),
        };
        sender(server).send(b"two").ok().expect("sends");
        let mut bytes = [0; 10];
        assert_eq!(over_udp.recv(&mut bytes).expect("a datagram"), 3);
    }

    #[test]
    fn a_server_that_began_anew_gets_the_next_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let sender = sender(unix(&path));
        let before = dropped_lines();
        assert!(sender.send(b"nobody listens").is_err());
        assert!(dropped_lines() > before);
        let first = UnixDatagram::bind(&path).expect("binds");
        sender.send(b"one").ok().expect("sends");
        assert_eq!(received(&first), "one");
        drop(first);
        std::fs::remove_file(&path).expect("removes");
        assert!(sender.send(b"nobody listens").is_err());
        let second = UnixDatagram::bind(&path).expect("binds");
        sender.send(b"two").ok().expect("sends");
        assert_eq!(received(&second), "two");
    }

    #[test]
    fn a_server_that_does_not_read_costs_lines_and_no_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let server = UnixDatagram::bind(&path).expect("binds");
        let sender = sender(unix(&path));
        let sent = (0..100_000)
            .take_while(|_| sender.send(b"line").is_ok())
            .count();
        assert!(sent > 0 && sent < 100_000);
        assert_eq!(received(&server), "line");
        sender.send(b"line").ok().expect("there is room again");
    }

    #[test]
    fn one_server_has_one_socket_and_is_connected_anew_with_the_logs() {
        let _alone = fixture::alone();
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let (one, two) = (sender(unix(&path)), sender(unix(&path)));
        assert!(Arc::ptr_eq(&one.peer, &two.peer));
        let server = UnixDatagram::bind(&path).expect("binds");
        one.send(b"one").ok().expect("sends");
        let _ = reopen_all();
        assert!(one.peer.socket.read().is_none());
        two.send(b"two").ok().expect("sends");
        assert_eq!(received(&server), "one");
        assert_eq!(received(&server), "two");
    }

    #[test]
    fn a_name_that_does_not_resolve_is_a_warning_and_its_lines_are_dropped() {
        let server = SyslogServer::Host {
            name: "no\0name".into(),
            port: 514,
        };
        let syslog = Syslog {
            server,
            facility: 23,
            severity: 6,
            tag: "openclaw".into(),
            no_hostname: true,
        };
        let mut warnings = Vec::new();
        let sender = Sender::open(&syslog, &mut warnings);
        assert!(matches!(
            &*warnings,
            [OpenWarning::Unresolved { name, .. }] if &**name == "no\0name:514"
        ));
        assert!(sender.send(b"x").is_err());
    }
}
