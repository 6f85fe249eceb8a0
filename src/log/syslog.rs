//! Lines for syslog in the form of RFC 3164 or RFC 5424, over UDP, a Unix socket or TCP.
//!
//! Owns the sockets and the header of a line. A send never waits: what the socket does not take at
//! once is dropped and counted. One socket per server, shared by all threads. A connection of TCP has
//! a thread of its own that writes what waits in a bounded outbox, and connects again.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use super::{DROPPED, OpenWarning, error_log};
use crate::conf::typed::log::{Level, Syslog, SyslogForm, SyslogServer};
use crate::http::h1::write::push_decimal;
use crate::http::variables;
use crate::unit::clock;

/// Seconds until an unresolved name is asked for again.
const RESOLVE_AGAIN: u64 = 30;
/// Lines that wait for a connection of TCP, and their bytes.
const MOST_LINES: usize = 4096;
const MOST_BYTES: usize = 1 << 20;
/// What is written to a connection at once, about.
const BATCH: usize = 64 << 10;
/// For connecting, and for each write.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between tries to connect: the first wait, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A header and where datagrams with it go.
#[derive(Debug)]
pub struct Sender {
    peer: Arc<Peer>,
    facility: u8,
    severity: u8,
    form: SyslogForm,
    /// Between the time and the message: the host, unless left out, the tag, and what else the form
    /// has there.
    origin: Box<[u8]>,
}

impl Sender {
    /// Prepares a sender. The socket is opened with the first line, so that a syslog server that is
    /// not up yet keeps nothing from starting (nginx `ngx_syslog_send`).
    pub fn open(syslog: &Syslog, warnings: &mut Vec<OpenWarning>) -> Self {
        let mut origin = vec![b' '];
        let host: &[u8] = match (syslog.no_hostname, syslog.form) {
            (false, _) => variables::hostname(),
            (true, SyslogForm::Rfc3164) => b"",
            (true, SyslogForm::Rfc5424) => b"-",
        };
        origin.extend_from_slice(host);
        if !host.is_empty() {
            origin.push(b' ');
        }
        origin.extend_from_slice(syslog.tag.as_bytes());
        match syslog.form {
            SyslogForm::Rfc3164 => origin.extend_from_slice(b": "),
            // RFC 5424 section 6: the process, the kind of message, no structured data.
            SyslogForm::Rfc5424 => {
                origin.push(b' ');
                push_decimal(&mut origin, u64::from(std::process::id()));
                origin.extend_from_slice(b" - - ");
            }
        }
        Self {
            peer: Peer::of(&syslog.server, warnings),
            facility: syslog.facility,
            severity: syslog.severity,
            form: syslog.form,
            origin: origin.into(),
        }
    }

    /// Appends what stands before a line's text: `<PRI>Mmm dd hh:mm:ss host tag: ` (RFC 3164 section
    /// 4.1), or `<PRI>1 time host tag process - - ` (RFC 5424 section 6). Lines of an error log have
    /// their own severity.
    pub fn push_header(&self, severity: Option<Level>, datagram: &mut Vec<u8>) {
        let severity = severity.map_or(self.severity, |level| level as u8);
        datagram.push(b'<');
        push_decimal(datagram, u64::from(self.facility) * 8 + u64::from(severity));
        datagram.push(b'>');
        variables::with_times(|times| match self.form {
            SyslogForm::Rfc3164 => push_time(times.error_log(), datagram),
            SyslogForm::Rfc5424 => {
                datagram.extend_from_slice(b"1 ");
                datagram.extend_from_slice(times.iso8601());
            }
        });
        datagram.extend_from_slice(&self.origin);
    }

    /// Sends a line; the error says why it was dropped and who should have got it.
    pub fn send(&self, datagram: &[u8]) -> Result<(), Undelivered<'_>> {
        let sent = match &self.peer.server {
            SyslogServer::Host {
                is_stream: true, ..
            } => self.peer.post(framed(self.form, datagram)),
            _ => self.peer.send(datagram),
        };
        sent.map_err(|error| {
            DROPPED.fetch_add(1, Relaxed);
            Undelivered {
                peer: &self.peer,
                error,
            }
        })
    }
}

/// A line that was dropped.
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

/// A line as a connection carries it (RFC 6587): counted where the form has a version, ended by a
/// line feed where old receivers expect that.
fn framed(form: SyslogForm, line: &[u8]) -> Box<[u8]> {
    let mut framed = Vec::with_capacity(line.len() + 8);
    match form {
        SyslogForm::Rfc5424 => {
            push_decimal(&mut framed, line.len() as u64);
            framed.push(b' ');
            framed.extend_from_slice(line);
        }
        SyslogForm::Rfc3164 => {
            // `escape=none` may leave line feeds; they would begin lines of their own.
            let clean = line
                .iter()
                .map(|&byte| if byte == b'\n' { b' ' } else { byte });
            framed.extend(clean);
            framed.push(b'\n');
        }
    }
    framed.into()
}

/// A server and the socket connected to it.
#[derive(Debug)]
struct Peer {
    server: SyslogServer,
    socket: RwLock<Option<Socket>>,
    /// What waits for a connection of TCP.
    outbox: OnceLock<Outbox>,
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
            outbox: OnceLock::new(),
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

    /// Leaves a line for the thread that writes to the connection.
    fn post(self: &Arc<Self>, line: Box<[u8]>) -> io::Result<()> {
        let full = || io::Error::new(io::ErrorKind::WouldBlock, "too many lines wait");
        let outbox = self.outbox.get_or_init(|| Outbox::open(self));
        let length = line.len();
        if outbox.bytes.fetch_add(length, Relaxed) + length > MOST_BYTES {
            outbox.bytes.fetch_sub(length, Relaxed);
            return Err(full());
        }
        outbox.lines.try_send(line).map_err(|_| {
            outbox.bytes.fetch_sub(length, Relaxed);
            full()
        })
    }

    /// The address of the server; an error as long as its name does not resolve.
    fn address(self: &Arc<Self>) -> io::Result<SocketAddr> {
        if let Some(address) = *self.address.read() {
            return Ok(address);
        }
        let second = clock::unix().as_secs();
        if second.saturating_sub(self.resolved_second.load(Relaxed)) >= RESOLVE_AGAIN {
            self.resolve_beside();
        }
        Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name did not resolve yet",
        ))
    }

    fn connect(self: &Arc<Self>) -> io::Result<Socket> {
        if let SyslogServer::Unix(path) = &self.server {
            let socket = UnixDatagram::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect(path)?;
            return Ok(Socket::Unix(socket));
        }
        let address = self.address()?;
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

/// Lines on their way to a connection.
#[derive(Debug)]
struct Outbox {
    lines: SyncSender<Box<[u8]>>,
    /// Of all lines that wait.
    bytes: Arc<AtomicUsize>,
}

impl Outbox {
    fn open(peer: &Arc<Peer>) -> Self {
        let (lines, waiting) = sync_channel(MOST_LINES);
        let bytes = Arc::new(AtomicUsize::new(0));
        let (peer, counted) = (Arc::downgrade(peer), Arc::clone(&bytes));
        // Without a thread to be had the lines are dropped, and counted as those of any dead server.
        let _ = std::thread::Builder::new()
            .name("syslog-tcp".to_owned())
            .spawn(move || deliver(&peer, &waiting, &counted));
        Self { lines, bytes }
    }
}

/// Writes lines to a server until nobody has any for it any more.
fn deliver(peer: &Weak<Peer>, lines: &Receiver<Box<[u8]>>, waiting: &AtomicUsize) {
    let mut connection: Option<TcpStream> = None;
    let mut pause = FIRST_PAUSE;
    let mut batch = Vec::new();
    while let Ok(line) = lines.recv() {
        batch.extend_from_slice(&line);
        while batch.len() < BATCH
            && let Ok(line) = lines.try_recv()
        {
            batch.extend_from_slice(&line);
        }
        loop {
            let Some(peer) = peer.upgrade() else {
                return;
            };
            let stream = match connection.take().filter(is_open) {
                Some(stream) => Ok(stream),
                None => peer.address().and_then(open),
            };
            drop(peer);
            let written = stream.and_then(|mut stream| {
                stream.write_all(&batch)?;
                Ok(stream)
            });
            if let Ok(stream) = written {
                connection = Some(stream);
                pause = FIRST_PAUSE;
                break;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        waiting.fetch_sub(batch.len(), Relaxed);
        batch.clear();
    }
}

fn open(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Did the server not close it? A write to a closed connection succeeds once, and its lines are gone.
fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    let peeked = stream
        .set_nonblocking(true)
        .and_then(|()| stream.peek(&mut byte));
    let is_open = match peeked {
        Ok(count) => count > 0,
        Err(error) => error.kind() == io::ErrorKind::WouldBlock,
    };
    is_open && stream.set_nonblocking(false).is_ok()
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
    let SyslogServer::Host { name, port, .. } = server else {
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
        SyslogServer::Host {
            name,
            port,
            is_stream: false,
        } => format!("{name}:{port}"),
        SyslogServer::Host { name, port, .. } => format!("tcp:{name}:{port}"),
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
            form: SyslogForm::Rfc3164,
        };
        Sender::open(&syslog, &mut Vec::new())
    }

    /// One over TCP to this port.
    fn stream(port: u16, form: SyslogForm) -> Sender {
        let syslog = Syslog {
            server: SyslogServer::Host {
                name: "127.0.0.1".into(),
                port,
                is_stream: true,
            },
            facility: 23,
            severity: 6,
            tag: "openclaw".into(),
            no_hostname: true,
            form,
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
            is_stream: false,
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
    fn a_header_of_rfc_5424_has_version_time_process_and_no_structured_data() {
        let sender = stream(1, SyslogForm::Rfc5424);
        let mut line = Vec::new();
        sender.push_header(Some(Level::Error), &mut line);
        let text = String::from_utf8(line).expect("a text");
        let (priority, rest) = text.split_once(' ').expect("a priority");
        assert_eq!(priority, "<187>1");
        let (time, rest) = rest.split_once(' ').expect("a time");
        time.parse::<jiff::Timestamp>().expect("RFC 3339");
        let process = std::process::id();
        assert_eq!(rest, format!("- openclaw {process} - - "));
    }

    #[test]
    fn lines_over_tcp_are_framed_and_go_on_when_the_server_comes_back() {
        use std::io::Read as _;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let read = |length: usize| {
            let (mut connection, _) = listener.accept().expect("a connection");
            let mut bytes = vec![0; length];
            connection.read_exact(&mut bytes).expect("lines");
            String::from_utf8(bytes).expect("a text")
        };
        let counted = stream(port, SyslogForm::Rfc5424);
        counted.send(b"one").ok().expect("there is room");
        counted.send(b"two\nlines").ok().expect("there is room");
        assert_eq!(read(5 + 11), "3 one9 two\nlines");
        // The connection was closed: a new one carries what comes next.
        counted.send(b"three").ok().expect("there is room");
        assert_eq!(read(7), "5 three");
        drop(counted);

        let ended = stream(port, SyslogForm::Rfc3164);
        ended.send(b"two\nlines").ok().expect("there is room");
        assert_eq!(read(10), "two lines\n");
    }

    #[test]
    fn a_server_of_tcp_that_is_not_there_costs_lines_and_no_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let sender = stream(port, SyslogForm::Rfc3164);
        let sent = (0..100_000)
            .take_while(|_| sender.send(&[b'x'; 999]).is_ok())
            .count();
        assert!((1000..1200).contains(&sent), "{sent}");
    }

    #[test]
    fn a_name_that_does_not_resolve_is_a_warning_and_its_lines_are_dropped() {
        let server = SyslogServer::Host {
            name: "no\0name".into(),
            port: 514,
            is_stream: false,
        };
        let syslog = Syslog {
            server,
            facility: 23,
            severity: 6,
            tag: "openclaw".into(),
            no_hostname: true,
            form: SyslogForm::Rfc3164,
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
