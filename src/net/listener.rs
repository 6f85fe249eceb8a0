//! Listening sockets: which of them a configuration needs, their options, and how workers share them.
//!
//! Owns binding and closing. Who accepts, and how many, is decided above.
//!
//! Invariants: a set of sockets is bound whole or not at all; a socket whose address stays is never
//! closed, whatever else changes, so that no connection waiting in it is lost; two instances never
//! share a port unnoticed.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use super::stream::Stream;
use crate::conf::typed::listen::{Address, Listen, Options};

/// nginx's `NGX_LISTEN_BACKLOG` on Linux.
const BACKLOG: u32 = 511;

/// How long the kernel holds a connection back that sends nothing (`deferred`), in seconds; nginx
/// takes `client_header_timeout`, whose default this is.
const DEFERRED_SECONDS: i32 = 60;

/// What is bound as one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Where.
    pub address: Address,
    /// How.
    pub options: Options,
    /// Addresses of the same port that need no socket of their own, because this one takes their
    /// connections too; the local address of a connection tells which it came to.
    pub covered: Vec<Address>,
}

/// What has to be bound for these addresses.
pub fn endpoints(listens: &[Listen]) -> Vec<Endpoint> {
    listens
        .iter()
        .filter(|listen| !listen.is_covered)
        .map(|listen| Endpoint {
            address: listen.address.clone(),
            options: listen.options.clone(),
            covered: listens
                .iter()
                .filter(|other| other.is_covered && covers(&listen.address, &other.address))
                .map(|other| other.address.clone())
                .collect(),
        })
        .collect()
}

/// Does a socket of one address take the connections to the other, too?
fn covers(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Ip(one), Address::Ip(other)) => {
            one.ip().is_unspecified()
                && one.port() == other.port()
                && one.is_ipv4() == other.is_ipv4()
        }
        _ => false,
    }
}

/// All listening sockets of the process. A clone shares them; one is closed with the last clone that
/// holds it and the last worker that took it.
#[derive(Clone, Default, Debug)]
pub struct Sockets {
    bound: Vec<Arc<Bound>>,
}

/// An endpoint with its sockets.
#[derive(Debug)]
struct Bound {
    endpoint: Arc<Endpoint>,
    queues: Arc<Queues>,
}

/// The sockets of one address: one of each worker for TCP, or a single one for all.
#[derive(Debug)]
struct Queues {
    sockets: Vec<(u64, Socket)>,
    /// The file of a Unix socket, which goes with it.
    file: Option<SocketFile>,
}

impl Sockets {
    /// Sockets that listen already, each with a name for it: [`Sockets::adapt`] takes those whose
    /// address it needs. All sockets of one address stand for that address together; where there is
    /// only one, which is the rule, all workers accept from it. Their files stay when they close,
    /// for whoever made them. What could not be used or set is told beside.
    pub fn inherited(sockets: Vec<(String, Socket)>) -> (Self, Vec<ListenError>) {
        let mut warnings = Vec::new();
        let mut found: Vec<(Endpoint, Queues)> = Vec::new();
        for (name, socket) in sockets {
            let address = match address_of(&socket) {
                Ok(address) => address,
                Err(error) => {
                    // It has no address to be called by.
                    let name = Address::Unix(name.into());
                    warnings.push(ListenError::of("getsockname() of", &name)(error));
                    continue;
                }
            };
            let endpoint = Endpoint {
                address,
                options: Options::default(),
                covered: Vec::new(),
            };
            tune(&socket, &endpoint, None, &mut warnings);
            if let Err(error) = listen(&socket, &endpoint) {
                warnings.push(error);
                continue;
            }
            let socket = (next_id(), socket);
            match found.iter_mut().find(|(known, _)| *known == endpoint) {
                Some((_, queues)) => queues.sockets.push(socket),
                None => {
                    let sockets = vec![socket];
                    found.push((
                        endpoint,
                        Queues {
                            sockets,
                            file: None,
                        },
                    ));
                }
            }
        }
        let bound = |(endpoint, queues)| {
            Arc::new(Bound {
                endpoint: Arc::new(endpoint),
                queues: Arc::new(queues),
            })
        };
        let bound = found.into_iter().map(bound).collect();
        (Self { bound }, warnings)
    }

    /// Closes the sockets whose address none of the endpoints has, and tells those addresses.
    pub fn close_others(&mut self, endpoints: &[Endpoint]) -> Vec<Address> {
        let is_needed = |bound: &Arc<Bound>| {
            let address = &bound.endpoint.address;
            endpoints
                .iter()
                .any(|endpoint| endpoint.address == *address)
        };
        let (kept, others) = self.bound.drain(..).partition(is_needed);
        self.bound = kept;
        let others: Vec<Arc<Bound>> = others;
        let addresses = others.iter().map(|bound| bound.endpoint.address.clone());
        addresses.collect()
    }

    /// The sockets for other endpoints: those of the same address are the same sockets, the others
    /// are bound. `self` stays as it is, also on failure. What an option could not be set to is
    /// told beside.
    pub fn adapt(
        &self,
        endpoints: Vec<Endpoint>,
        workers: usize,
    ) -> Result<(Self, Vec<ListenError>), ListenError> {
        let mut warnings = Vec::new();
        let mut all = Self::default();
        for endpoint in endpoints {
            let kept = self
                .bound
                .iter()
                .find(|bound| bound.endpoint.address == endpoint.address);
            let bound = match kept {
                Some(bound) if *bound.endpoint == endpoint => Arc::clone(bound),
                Some(bound) => {
                    for (_, socket) in &bound.queues.sockets {
                        tune(
                            socket,
                            &endpoint,
                            Some(&bound.endpoint.options),
                            &mut warnings,
                        );
                        listen(socket, &endpoint)?;
                    }
                    Arc::new(Bound {
                        endpoint: Arc::new(endpoint),
                        queues: Arc::clone(&bound.queues),
                    })
                }
                None => {
                    let own = self.bound.iter().chain(&all.bound);
                    let beside_own = own
                        .into_iter()
                        .any(|own| overlap(&own.endpoint.address, &endpoint.address));
                    let queues = bind(&endpoint, workers, beside_own, &mut warnings)?;
                    Arc::new(Bound {
                        endpoint: Arc::new(endpoint),
                        queues: Arc::new(queues),
                    })
                }
            };
            all.bound.push(bound);
        }
        Ok((all, warnings))
    }

    /// What a worker accepts from, out of so many workers; those in `held` it has already.
    ///
    /// Every socket is given to a worker, also when there are fewer workers than when it was bound;
    /// when there are more, several accept from one.
    pub fn shares(
        &self,
        worker: usize,
        workers: usize,
        held: &HashSet<u64>,
    ) -> Result<Vec<Share>, ListenError> {
        let mut shares = Vec::new();
        for bound in &self.bound {
            let sockets = &bound.queues.sockets;
            for (position, (id, socket)) in sockets.iter().enumerate() {
                if !belongs(position, sockets.len(), worker, workers) {
                    continue;
                }
                let socket = if held.contains(id) {
                    None
                } else {
                    let copy = socket.try_clone();
                    Some(copy.map_err(ListenError::of("dup() to", &bound.endpoint.address))?)
                };
                shares.push(Share {
                    id: *id,
                    endpoint: Arc::clone(&bound.endpoint),
                    socket,
                });
            }
        }
        Ok(shares)
    }

    /// The sockets of each TCP address.
    pub fn tcp(&self) -> impl Iterator<Item = (&Address, Vec<BorrowedFd<'_>>)> {
        let is_tcp = |bound: &&Arc<Bound>| matches!(bound.endpoint.address, Address::Ip(_));
        self.bound.iter().filter(is_tcp).map(|bound| {
            let sockets = bound.queues.sockets.iter();
            let sockets = sockets.map(|(_, socket)| socket.as_fd()).collect();
            (&bound.endpoint.address, sockets)
        })
    }

    /// The addresses.
    pub fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.bound.iter().map(|bound| &bound.endpoint.address)
    }
}

/// Does the socket of a position belong to a worker?
fn belongs(position: usize, sockets: usize, worker: usize, workers: usize) -> bool {
    if workers >= sockets {
        worker % sockets == position
    } else {
        position % workers == worker
    }
}

/// A socket that a worker accepts from.
#[derive(Debug)]
pub struct Share {
    /// The same for the same socket.
    pub id: u64,
    /// What it is bound to.
    pub endpoint: Arc<Endpoint>,
    /// The socket, unless the worker has it.
    pub socket: Option<Socket>,
}

/// A listening socket within a worker's event loop.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix stream socket.
    Unix(UnixListener),
}

impl Listener {
    /// Takes a socket into the event loop of this thread.
    pub fn new(socket: Socket, address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Ip(_) => Self::Tcp(TcpListener::from_std(socket.into())?),
            Address::Unix(_) => Self::Unix(UnixListener::from_std(socket.into())?),
        })
    }

    /// The next connection.
    pub fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        Poll::Ready(match self {
            Self::Tcp(listener) => {
                ready!(listener.poll_accept(context)).map(|(stream, _)| Stream::Tcp(stream))
            }
            Self::Unix(listener) => {
                ready!(listener.poll_accept(context)).map(|(stream, _)| Stream::Unix(stream))
            }
        })
    }
}

/// A system call on a listening socket that failed, in nginx's words.
#[derive(Debug)]
pub struct ListenError {
    call: &'static str,
    address: Address,
    error: io::Error,
}

impl ListenError {
    fn of(call: &'static str, address: &Address) -> impl Fn(io::Error) -> Self {
        move |error| Self {
            call,
            address: address.clone(),
            error,
        }
    }

    /// What helps.
    pub fn hint(&self) -> Option<&'static str> {
        match self.error.raw_os_error() {
            Some(libc::EADDRINUSE) => Some("another program listens there; `ss -ltnp` shows which"),
            Some(libc::EADDRNOTAVAIL) => {
                Some("this machine has no such address; `ip addr` lists them")
            }
            Some(libc::EACCES) if matches!(self.address, Address::Ip(_)) => {
                Some("ports below 1024 need root or the capability `cap_net_bind_service`")
            }
            Some(libc::EAFNOSUPPORT) => Some("this machine has no IPv6; remove the `listen` line"),
            _ => None,
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (call, address) = (self.call, &self.address);
        // The system's reason belongs to nginx's line, which tools look for.
        match self.error.raw_os_error() {
            Some(number) => write!(
                formatter,
                "{call} {address} failed ({number}: {})",
                nix::errno::Errno::from_raw(number).desc()
            ),
            None => write!(formatter, "{call} {address} failed ({})", self.error),
        }
    }
}

impl std::error::Error for ListenError {}

/// The number of a socket, never used again.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

/// Where a socket is bound.
fn address_of(socket: &Socket) -> io::Result<Address> {
    let address = socket.local_addr()?;
    let path = || address.as_pathname().map(|path| Address::Unix(path.into()));
    address
        .as_socket()
        .map(Address::Ip)
        .or_else(path)
        .ok_or_else(|| io::Error::from(io::ErrorKind::Unsupported))
}

/// Binds the sockets of a new address.
fn bind(
    endpoint: &Endpoint,
    workers: usize,
    beside_own: bool,
    warnings: &mut Vec<ListenError>,
) -> Result<Queues, ListenError> {
    let mut sockets = Vec::new();
    let mut file = None;
    match &endpoint.address {
        Address::Ip(ip) => {
            let shared = workers > 1;
            // With SO_REUSEPORT the kernel would let a second instance of the same user in. Not
            // asked when a socket of our own overlaps, which would be the one to answer.
            if shared && !beside_own {
                let _probe = bind_ip(*ip, endpoint, false)?;
            }
            for _ in 0..workers {
                let socket = bind_ip(*ip, endpoint, shared)?;
                tune(&socket, endpoint, None, warnings);
                listen(&socket, endpoint)?;
                sockets.push((next_id(), socket));
            }
        }
        Address::Unix(path) => {
            let socket = bind_unix(path, endpoint)?;
            file = SocketFile::of(path);
            tune(&socket, endpoint, None, warnings);
            listen(&socket, endpoint)?;
            sockets.push((next_id(), socket));
        }
    }
    Ok(Queues { sockets, file })
}

fn bind_ip(ip: SocketAddr, endpoint: &Endpoint, shared: bool) -> Result<Socket, ListenError> {
    let failed = |call| ListenError::of(call, &endpoint.address);
    let socket = Socket::new(Domain::for_address(ip), Type::STREAM, Some(Protocol::TCP))
        .map_err(failed("socket()"))?;
    socket
        .set_reuse_address(true)
        .map_err(failed("setsockopt(SO_REUSEADDR)"))?;
    if shared {
        socket
            .set_reuse_port(true)
            .map_err(failed("setsockopt(SO_REUSEPORT)"))?;
    }
    if ip.is_ipv6() {
        socket
            .set_only_v6(endpoint.options.ipv6_only.unwrap_or(true))
            .map_err(failed("setsockopt(IPV6_V6ONLY)"))?;
    }
    socket.bind(&ip.into()).map_err(failed("bind() to"))?;
    Ok(socket)
}

fn bind_unix(path: &Path, endpoint: &Endpoint) -> Result<Socket, ListenError> {
    let failed = |call| ListenError::of(call, &endpoint.address);
    let address = SockAddr::unix(path).map_err(failed("bind() to"))?;
    let new = || Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed("socket()"));
    let socket = new()?;
    if let Err(error) = socket.bind(&address) {
        // The file of a process that was killed stays behind and would keep every later one out.
        if error.raw_os_error() != Some(libc::EADDRINUSE) || !is_abandoned(path, &new()?, &address)
        {
            return Err(failed("bind() to")(error));
        }
        std::fs::remove_file(path).map_err(failed("unlink()"))?;
        socket.bind(&address).map_err(failed("bind() to"))?;
    }
    // Who may connect is said by the directory's mode (nginx `ngx_open_listening_sockets`).
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))
        .map_err(failed("chmod()"))?;
    Ok(socket)
}

/// Is it a socket on which nobody listens?
fn is_abandoned(path: &Path, probe: &Socket, address: &SockAddr) -> bool {
    let is_socket = path
        .symlink_metadata()
        .is_ok_and(|data| data.file_type().is_socket());
    // A full queue must not make this wait.
    is_socket
        && probe.set_nonblocking(true).is_ok()
        && matches!(probe.connect(address), Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED))
}

fn listen(socket: &Socket, endpoint: &Endpoint) -> Result<(), ListenError> {
    let backlog = endpoint.options.backlog.unwrap_or(BACKLOG);
    socket
        .set_nonblocking(true)
        .map_err(ListenError::of("fcntl(O_NONBLOCK)", &endpoint.address))?;
    socket
        .listen(i32::try_from(backlog).unwrap_or(i32::MAX))
        .map_err(ListenError::of("listen() to", &endpoint.address))
}

/// Sets what a connection inherits from its listening socket, which saves setting it on each one.
/// `before` are the options that are set already. What fails is told and changes nothing else, as
/// in nginx.
fn tune(
    socket: &Socket,
    endpoint: &Endpoint,
    before: Option<&Options>,
    warnings: &mut Vec<ListenError>,
) {
    let mut try_set = |call, result: io::Result<()>| {
        if let Err(error) = result {
            warnings.push(ListenError::of(call, &endpoint.address)(error));
        }
    };
    let options = &endpoint.options;
    if let Some(size) = options.receive_buffer {
        let result = socket.set_recv_buffer_size(size as usize);
        try_set("setsockopt(SO_RCVBUF)", result);
    }
    if let Some(size) = options.send_buffer {
        let result = socket.set_send_buffer_size(size as usize);
        try_set("setsockopt(SO_SNDBUF)", result);
    }
    if let Address::Unix(_) = endpoint.address {
        return;
    }
    try_set("setsockopt(TCP_NODELAY)", socket.set_tcp_nodelay(true));
    match &options.keepalive {
        Some(keepalive) if keepalive.enabled => {
            let seconds = |seconds: u32| Duration::from_secs(seconds.into());
            let mut parameters = TcpKeepalive::new();
            if let Some(idle) = keepalive.idle {
                parameters = parameters.with_time(seconds(idle));
            }
            if let Some(interval) = keepalive.interval {
                parameters = parameters.with_interval(seconds(interval));
            }
            if let Some(count) = keepalive.count {
                parameters = parameters.with_retries(count);
            }
            try_set(
                "setsockopt(SO_KEEPALIVE)",
                socket.set_tcp_keepalive(&parameters),
            );
        }
        Some(_) => try_set("setsockopt(SO_KEEPALIVE)", socket.set_keepalive(false)),
        None => {}
    }
    let number = |number: Option<u32>| i32::try_from(number.unwrap_or(0)).unwrap_or(i32::MAX);
    if options.fastopen != before.and_then(|before| before.fastopen) {
        let result = set_tcp_option(socket, libc::TCP_FASTOPEN, number(options.fastopen));
        try_set("setsockopt(TCP_FASTOPEN)", result);
    }
    if options.deferred != before.is_some_and(|before| before.deferred) {
        let seconds = if options.deferred {
            DEFERRED_SECONDS
        } else {
            0
        };
        let result = set_tcp_option(socket, libc::TCP_DEFER_ACCEPT, seconds);
        try_set("setsockopt(TCP_DEFER_ACCEPT)", result);
    }
}

fn set_tcp_option(socket: &Socket, option: i32, value: i32) -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper sets these options")]
    // SAFETY: the value is an `int` that lives during the call, and its size is given with it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Would a socket of one address take connections of the other, or keep it from being bound?
fn overlap(one: &Address, other: &Address) -> bool {
    match (one, other) {
        (Address::Ip(one), Address::Ip(other)) => {
            one.port() == other.port()
                && (one.ip() == other.ip()
                    || one.ip().is_unspecified()
                    || other.ip().is_unspecified())
        }
        _ => false,
    }
}

/// The file of a Unix socket.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> Option<Self> {
        let data = path.symlink_metadata().ok()?;
        Some(Self {
            path: path.to_owned(),
            identity: (data.dev(), data.ino()),
        })
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        let Some(file) = &self.file else { return };
        // Another instance may have taken the name over.
        let is_ours = SocketFile::of(&file.path).is_some_and(|now| now.identity == file.identity);
        if is_ours {
            // A file that may not be removed is found abandoned by the next start.
            let _ = std::fs::remove_file(&file.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::conf::source::Span;
    use crate::conf::typed::listen::Keepalive;

    /// An address, behind a `-` if a wildcard covers it.
    fn listen_at(text: &str) -> Listen {
        let address = text.strip_prefix('-').unwrap_or(text);
        Listen {
            address: match address.strip_prefix("unix:") {
                Some(path) => Address::Unix(path.into()),
                None => Address::Ip(address.parse().expect("an address")),
            },
            options: Options::default(),
            servers: vec![0],
            default_server: 0,
            has_explicit_default: false,
            is_covered: text.starts_with('-'),
            span: Span::default(),
        }
    }

    fn endpoints_of(addresses: &[&str]) -> Vec<Endpoint> {
        let listens: Vec<_> = addresses.iter().map(|address| listen_at(address)).collect();
        endpoints(&listens)
    }

    fn bind_all(addresses: &[&str], workers: usize) -> Result<Sockets, ListenError> {
        let bound = Sockets::default().adapt(endpoints_of(addresses), workers);
        bound.map(|(sockets, warnings)| {
            assert!(warnings.is_empty(), "{warnings:?}");
            sockets
        })
    }

    /// An address on which nothing listens: the whole of 127.0.0.0/8 is this machine's, so that each
    /// test of each process gets one of its own.
    fn free_address() -> String {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let process = std::process::id();
        format!(
            "127.{}.{}.{}:{}",
            64 + process % 64,
            process / 64 % 256,
            NEXT.fetch_add(1, Relaxed),
            1024 + process / 16384 % 60000,
        )
    }

    fn ids(sockets: &Sockets) -> Vec<u64> {
        let shares = sockets.shares(0, 1, &HashSet::new()).expect("copies");
        shares.iter().map(|share| share.id).collect()
    }

    #[test]
    fn an_address_that_is_covered_is_bound_with_the_wildcard_of_its_port_and_family() {
        let endpoints = endpoints_of(&[
            "-127.0.0.1:80",
            "0.0.0.0:80",
            "0.0.0.0:82",
            "[::]:80",
            "-[::1]:80",
            "127.0.0.1:81",
            "-10.0.0.1:80",
            "unix:/run/a",
        ]);
        let shown: Vec<_> = endpoints
            .iter()
            .map(|endpoint| {
                let covered: Vec<_> = endpoint.covered.iter().map(Address::to_string).collect();
                format!("{} {}", endpoint.address, covered.join(" "))
            })
            .collect();
        assert_eq!(
            shown,
            [
                "0.0.0.0:80 127.0.0.1:80 10.0.0.1:80",
                "0.0.0.0:82 ",
                "[::]:80 [::1]:80",
                "127.0.0.1:81 ",
                "unix:/run/a ",
            ]
        );
    }

    #[test]
    fn a_port_of_another_instance_is_refused_in_nginx_words_whatever_the_number_of_workers() {
        let address = free_address();
        for workers in [1, 3] {
            let first = bind_all(&[&address], workers).expect("a free port");
            for second in [1, 2] {
                let error = bind_all(&[&address], second).expect_err("the port is taken");
                assert_eq!(
                    error.to_string(),
                    format!("bind() to {address} failed (98: Address already in use)")
                );
                assert!(error.hint().is_some());
            }
            drop(first);
        }
    }

    #[test]
    fn a_set_is_bound_whole_or_not_at_all() {
        let (free, taken) = (free_address(), free_address());
        let _other = bind_all(&[&taken], 1).expect("a free port");
        bind_all(&[&free, &taken], 2).expect_err("one of them is taken");
        bind_all(&[&free], 2).expect("was let go");
    }

    #[test]
    fn a_socket_whose_address_stays_is_kept_with_its_waiting_connections() {
        let address = free_address();
        let sockets = bind_all(&[&address], 2).expect("a free port");
        let before = ids(&sockets);
        let _waiting: Vec<_> = (0..4)
            .map(|_| std::net::TcpStream::connect(&address).expect("listens"))
            .collect();
        let mut endpoints = endpoints_of(&[&address]);
        endpoints[0].options.backlog = Some(64);
        endpoints[0].options.deferred = true;
        let (sockets, warnings) = sockets.adapt(endpoints, 4).expect("nothing to bind");
        assert!(warnings.is_empty(), "{warnings:?}");
        assert_eq!(ids(&sockets), before);
        let mut accepted = 0;
        for (_, socket) in &sockets.bound[0].queues.sockets {
            while socket.accept().is_ok() {
                accepted += 1;
            }
        }
        assert_eq!(accepted, 4);
    }

    #[test]
    fn every_socket_belongs_to_a_worker_and_every_worker_has_one_whatever_their_numbers() {
        for sockets in 1..6 {
            for workers in 1..9 {
                let pairs: Vec<_> = (0..sockets)
                    .flat_map(|position| (0..workers).map(move |worker| (position, worker)))
                    .filter(|&(position, worker)| belongs(position, sockets, worker, workers))
                    .collect();
                assert!((0..sockets).all(|one| pairs.iter().any(|(position, _)| *position == one)));
                assert!((0..workers).all(|one| pairs.iter().any(|(_, worker)| *worker == one)));
                if sockets == workers {
                    assert_eq!(pairs.len(), sockets);
                }
            }
        }
    }

    #[test]
    fn a_worker_is_not_given_again_what_it_holds() {
        let address = free_address();
        let sockets = bind_all(&[&address], 1).expect("a free port");
        let held: HashSet<_> = ids(&sockets).into_iter().collect();
        let shares = sockets.shares(0, 1, &held).expect("no copies");
        assert_eq!(shares.len(), 1);
        assert!(shares[0].socket.is_none());
    }

    #[test]
    fn options_of_the_line_are_set_and_inherited_by_connections() {
        let address = free_address();
        let mut endpoints = endpoints_of(&[&address]);
        endpoints[0].options = Options {
            backlog: Some(7),
            receive_buffer: Some(8192),
            send_buffer: Some(16384),
            keepalive: Some(Keepalive {
                enabled: true,
                idle: Some(90),
                interval: None,
                count: Some(4),
            }),
            fastopen: Some(3),
            ..Options::default()
        };
        let (sockets, warnings) = Sockets::default().adapt(endpoints, 1).expect("a free port");
        assert!(warnings.is_empty(), "{warnings:?}");
        let (_, socket) = &sockets.bound[0].queues.sockets[0];
        socket.set_nonblocking(false).expect("a socket");
        let _client = std::net::TcpStream::connect(&address).expect("listens");
        let (accepted, _) = socket.accept().expect("a connection waits");
        assert!(accepted.tcp_nodelay().expect("a socket"));
        assert!(accepted.keepalive().expect("a socket"));
        assert_eq!(
            accepted.tcp_keepalive_time().expect("a socket"),
            Duration::from_secs(90)
        );
        assert_eq!(accepted.tcp_keepalive_retries().expect("a socket"), 4);
        // The kernel doubles what is asked for (socket(7)).
        assert_eq!(accepted.recv_buffer_size().expect("a socket"), 2 * 8192);
        assert_eq!(accepted.send_buffer_size().expect("a socket"), 2 * 16384);
    }

    #[test]
    fn an_option_that_the_system_refuses_is_told_and_the_socket_works() {
        let mut endpoints = endpoints_of(&[&free_address()]);
        endpoints[0].options.keepalive = Some(Keepalive {
            enabled: true,
            idle: Some(u32::MAX),
            interval: None,
            count: None,
        });
        let (sockets, warnings) = Sockets::default()
            .adapt(endpoints, 1)
            .expect("a free address");
        let [warning] = &warnings[..] else {
            panic!("{warnings:?}")
        };
        assert_eq!(
            warning.to_string(),
            format!(
                "setsockopt(SO_KEEPALIVE) {} failed (22: Invalid argument)",
                warning.address
            )
        );
        assert_eq!(sockets.addresses().count(), 1);
    }

    #[test]
    fn an_abandoned_unix_socket_is_replaced_one_in_use_and_a_file_are_not() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let address = format!("unix:{}", path.display());
        drop(std::os::unix::net::UnixListener::bind(&path).expect("a fresh path"));
        assert!(path.exists());
        let sockets = bind_all(&[&address], 2).expect("nobody listens");
        let mode = path.metadata().expect("bound").permissions().mode();
        assert_eq!(mode & 0o777, 0o666);
        let error = bind_all(&[&address], 2).expect_err("somebody listens");
        assert!(error.to_string().contains("(98: Address already in use)"));
        UnixStream::connect(&path).expect("still listens");
        drop(sockets);
        assert!(!path.exists());
        std::fs::write(&path, "data").expect("a fresh file");
        bind_all(&[&address], 2).expect_err("not a socket");
        assert!(path.exists());
    }

    #[test]
    fn the_file_of_a_successor_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let address = format!("unix:{}", path.display());
        let first = bind_all(&[&address], 1).expect("a fresh path");
        std::fs::remove_file(&path).expect("bound");
        let _second = bind_all(&[&address], 1).expect("a fresh path");
        drop(first);
        UnixStream::connect(&path).expect("the second listens");
    }
}
