//! Taking connections from one listening socket.
//!
//! Owns how many are taken and what happens when none can be: connections that find no room stay in
//! the kernel's queue and are taken when there is room again; none is refused.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::access::bans::bans;
use crate::conf::typed::listen::Address;
use crate::conf::typed::log::Level;
use crate::log::error_log;
use crate::metrics::registry;
use crate::net::listener::{Endpoint, Listener};
use crate::net::stream::Stream;
use crate::serve::connection;
use crate::serve::worker::Worker;
use crate::unit::clock;

/// So many are taken in a row before other tasks get their turn.
const BURST: usize = 32;

/// How long to wait for descriptors or memory (nginx `accept_mutex_delay`).
const NO_RESOURCES: Duration = Duration::from_millis(500);

/// How long to wait before looking again whether connections have ended. Nobody tells of each end,
/// so that nobody pays for it while there is room; only a worker that has its hands full looks.
const NO_ROOM: Duration = Duration::from_millis(10);

/// How many connections a worker may have, shared by its listeners; changes with a reload.
#[derive(Debug)]
pub struct Room {
    /// `worker_connections`
    pub most: Cell<usize>,
    /// `multi_accept`
    pub all_at_once: Cell<bool>,
    /// The second in which the lack of room was told last.
    told: Cell<u64>,
}

impl Room {
    /// So many connections, no more.
    pub fn new(most: usize, all_at_once: bool) -> Self {
        Self {
            most: Cell::new(most),
            all_at_once: Cell::new(all_at_once),
            told: Cell::new(0),
        }
    }

    /// Is this the first such problem in this second?
    fn is_news(&self) -> bool {
        let second = clock::unix().as_secs();
        self.told.replace(second) != second
    }
}

/// A listening socket as its worker holds it.
#[derive(Debug)]
pub struct Entrance {
    addresses: RefCell<Addresses>,
    closing: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// The addresses that one socket stands for.
#[derive(Debug)]
struct Addresses {
    own: Rc<Address>,
    covered: Vec<Rc<Address>>,
}

impl Entrance {
    /// Not taking anything yet, see [`accept`].
    pub fn new(endpoint: &Arc<Endpoint>) -> Rc<Self> {
        Rc::new(Self {
            addresses: RefCell::new(Addresses::of(endpoint)),
            closing: Cell::new(false),
            waker: RefCell::new(None),
        })
    }

    /// A reload may change which addresses the socket stands for.
    pub fn stands_for(&self, endpoint: &Arc<Endpoint>) {
        *self.addresses.borrow_mut() = Addresses::of(endpoint);
    }

    /// Takes what waits already, then closes the socket.
    pub fn close(&self) {
        self.closing.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// The address that a connection came to.
    fn address_of(&self, stream: &Stream) -> Rc<Address> {
        let addresses = self.addresses.borrow();
        if addresses.covered.is_empty() {
            return Rc::clone(&addresses.own);
        }
        let local = stream.local_address();
        let covered = addresses.covered.iter().find(|covered| ***covered == local);
        Rc::clone(covered.unwrap_or(&addresses.own))
    }
}

impl Addresses {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            own: Rc::new(endpoint.address.clone()),
            covered: endpoint.covered.iter().cloned().map(Rc::new).collect(),
        }
    }
}

/// Takes connections until the entrance is closed, each into a task of its own.
pub async fn accept(
    worker: Rc<Worker>,
    listener: Listener,
    entrance: Rc<Entrance>,
    room: Rc<Room>,
) {
    let mut taken = 0;
    while !entrance.closing.get() {
        // Tasks made in this turn have not yet been counted by the worker.
        if worker.connection_count() + taken >= room.most.get() {
            if room.is_news() {
                error_log::report(
                    Level::Alert,
                    format_args!("{} worker_connections are not enough", room.most.get()),
                );
            }
            tokio::time::sleep(NO_ROOM).await;
            taken = 0;
            continue;
        }
        let next = poll_fn(|context| {
            if let Poll::Ready(accepted) = listener.poll_accept(context) {
                return Poll::Ready(Some(accepted));
            }
            if entrance.closing.get() {
                return Poll::Ready(None);
            }
            // Nothing waits: the tasks made so far get their turn before this is polled again.
            taken = 0;
            let mut waker = entrance.waker.borrow_mut();
            match &mut *waker {
                Some(waker) => waker.clone_from(context.waker()),
                none => *none = Some(context.waker().clone()),
            }
            Poll::Pending
        });
        match next.await {
            None => break,
            Some(Ok(stream)) => {
                welcome(&worker, stream, &entrance);
                taken += 1;
                if taken >= BURST && !room.all_at_once.get() {
                    tokio::task::yield_now().await;
                    taken = 0;
                }
            }
            Some(Err(error)) => match error.raw_os_error() {
                // The connection was gone before it was taken, or its network is (accept(2)).
                Some(
                    libc::ECONNABORTED
                    | libc::EINTR
                    | libc::EPROTO
                    | libc::ENETDOWN
                    | libc::ENOPROTOOPT
                    | libc::EHOSTDOWN
                    | libc::ENONET
                    | libc::EHOSTUNREACH
                    | libc::EOPNOTSUPP
                    | libc::ENETUNREACH
                    | libc::EPERM,
                ) => {}
                _ => {
                    if room.is_news() {
                        error_log::report(
                            Level::Crit,
                            format_args!("accept4() failed {}", error_log::cause(&error)),
                        );
                    }
                    tokio::time::sleep(NO_RESOURCES).await;
                    taken = 0;
                }
            },
        }
    }
    // What came before the socket closes would be reset with it.
    match listener {
        Listener::Tcp(listener) => {
            if let Ok(listener) = listener.into_std() {
                let accept = || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    TcpStream::from_std(stream).map(Stream::Tcp)
                };
                take_all(accept, &worker, &entrance);
            }
        }
        Listener::Unix(listener) => {
            if let Ok(listener) = listener.into_std() {
                let accept = || {
                    let (stream, _) = listener.accept()?;
                    stream.set_nonblocking(true)?;
                    UnixStream::from_std(stream).map(Stream::Unix)
                };
                take_all(accept, &worker, &entrance);
            }
        }
    }
}

/// Takes what waits in a socket that closes.
fn take_all(
    mut accept: impl FnMut() -> io::Result<Stream>,
    worker: &Rc<Worker>,
    entrance: &Entrance,
) {
    loop {
        match accept() {
            Ok(stream) => welcome(worker, stream, entrance),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => return,
        }
    }
}

fn welcome(worker: &Rc<Worker>, stream: Stream, entrance: &Entrance) {
    registry::with(|counters| {
        counters.accepted.increase();
        counters.handled.increase();
    });
    // Nothing is done for those who are kept out, not even a handshake.
    if bans().keeps_out(&stream.peer_address()) {
        return;
    }
    let address = entrance.address_of(&stream);
    connection::start(worker, stream, address);
}
