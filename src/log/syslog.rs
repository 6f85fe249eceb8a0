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
use crate::http::{date, variables};
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
        push_time(datagram);
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
        self.resolved_second
            .store(clock::unix().as_secs(), Relaxed);
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

/// `Mmm dd hh:mm:ss`, the day filled with a space (RFC 3164 section 4.1.2).
fn push_time(datagram: &mut Vec<u8>) {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let now = date::iso8601(clock::unix().as_secs());
    // 1970-09-28T12:00:00+06:00
    let [
        _, _, _, _, _, tens, units, _, day_tens, day_units, _, time @ ..,
    ] = now.as_bytes()
    else {
        return;
    };
    let month = usize::from(tens & 1) * 10 + usize::from(units & 15);
    let name = month.saturating_sub(1).min(11) * 3;
    datagram.extend_from_slice(&MONTHS[name..name + 3]);
    datagram.push(b' ');
    datagram.push(if *day_tens == b'0' { b' ' } else { *day_tens });
    datagram.push(*day_units);
    datagram.push(b' ');
    datagram.extend_from_slice(&time[..time.len().min(8)]);
}
