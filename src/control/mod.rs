//! The daemon's side of the control protocol.
//!
//! Owns who may connect, what a request may cost, and the answers; what is changed is changed by the
//! main thread alone, through the [`Desk`]. It runs on the main thread's event loop, beside requests
//! and never on their way.
//!
//! Invariants: only root and the user that the daemon runs as are answered; every request is bounded
//! in size and time, the number of connections is bounded, and no client can make the daemon hold
//! more than that; every change leaves a line in the audit.

mod alerts;
mod answer;
mod bans;
mod cache;
mod certificates;
pub mod command;
mod explain;
pub mod firewall;
mod import;
mod kept;
mod keys;
mod limits;
mod llm;
mod numbers;
mod preflight;
mod revisions;
mod routes;
mod stream;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::unistd::{Uid, User, geteuid};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;

use crate::conf::typed::log::Level;
use crate::log::error_log;
use crate::process::control_socket::ControlSocket;
use crate::process::desk::{Author, Desk};
use crate::protocol::Millis;
use stream::Hub;

pub use certificates::of_files as certificates_of_files;
pub use explain::explain;
pub use preflight::firewall_check;

/// So many connections are served at once; others wait in the system's queue.
const CONNECTIONS: usize = 64;

/// How long the head of a request may take, and how long a connection may be without a request.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may last that has no stream.
const CONNECTION_PATIENCE: Duration = Duration::from_secs(90);

/// How long to wait when the system has no descriptors left.
const NO_RESOURCES: Duration = Duration::from_millis(500);

/// What all connections share.
#[derive(Debug)]
struct Control {
    desk: Desk,
    hub: Hub,
    /// Bodies that are read at the same time.
    bodies: Semaphore,
    started: SystemTime,
    numbers: numbers::Numbers,
    conf_state: answer::ConfWatch,
    routes: answer::RouteCache,
    certificates: certificates::Watch,
    limits: limits::Meter,
    bans: bans::Told,
    llm: llm::Meter,
}

/// Who is connected.
#[derive(Clone, Debug)]
struct Visitor {
    uid: u32,
    pid: Option<i32>,
    name: String,
}

/// The clock as the protocol tells it.
pub fn now() -> Millis {
    answer::millis(SystemTime::now())
}

/// Starts to serve the control protocol, and to keep the numbers that it tells; within the main
/// thread's event loop.
pub fn attend(desk: &Desk, socket: Option<ControlSocket>) {
    let control = Arc::new(Control {
        desk: desk.clone(),
        hub: Hub::new(),
        bodies: Semaphore::new(2),
        started: SystemTime::now(),
        numbers: numbers::Numbers::new(),
        conf_state: answer::ConfWatch::default(),
        routes: answer::RouteCache::default(),
        certificates: certificates::Watch::default(),
        limits: limits::Meter::default(),
        bans: bans::Told::default(),
        llm: llm::Meter::default(),
    });
    tokio::spawn(stream::keep_numbers(Arc::clone(&control)));
    tokio::spawn(stream::pass_on_news(Arc::clone(&control)));
    tokio::spawn(bans::remember(Arc::clone(&control)));
    tokio::spawn(keys::open_books(Arc::clone(&control)));
    alerts::attend(&control);
    if let Some(socket) = socket {
        tokio::spawn(accept(control, socket));
    }
}

async fn accept(control: Arc<Control>, socket: ControlSocket) {
    let listener = socket
        .listener()
        .try_clone()
        .and_then(UnixListener::from_std);
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            error_log::report(
                Level::Error,
                format_args!(
                    "the control socket cannot be used {}",
                    error_log::cause(&error)
                ),
            );
            return;
        }
    };
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    serve(control, stream).await;
                    drop(place);
                });
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(_) => tokio::time::sleep(NO_RESOURCES).await,
        }
    }
}

/// One connection to its end.
async fn serve(control: Arc<Control>, stream: UnixStream) {
    let Ok(visitor) = visitor(&stream) else {
        return;
    };
    let streams = Arc::new(AtomicU64::new(0));
    let service = {
        let streams = Arc::clone(&streams);
        service_fn(move |request| {
            let (control, visitor) = (Arc::clone(&control), visitor.clone());
            let streams = Arc::clone(&streams);
            async move {
                let answer = answer::answer(&control, &visitor, request, &streams).await;
                Ok::<_, Infallible>(answer)
            }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(64 << 10)
        .max_headers(64)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            // What broke it concerns the client alone.
            _ = connection.as_mut() => return,
            () = tokio::time::sleep(CONNECTION_PATIENCE) => {
                // A stream ends with its lease; anything else has had its time.
                if streams.load(Ordering::Relaxed) == 0 {
                    return;
                }
            }
        }
    }
}

/// Who is at the other end, as the kernel says.
fn visitor(stream: &UnixStream) -> io::Result<Visitor> {
    let credentials = stream.peer_cred()?;
    let (uid, pid) = (credentials.uid(), credentials.pid());
    Ok(Visitor {
        uid,
        pid,
        name: name_of(uid, pid),
    })
}

/// A user's name; for root also who it was before (`sudo`), as far as the system remembers.
fn name_of(uid: u32, pid: Option<i32>) -> String {
    let name = |uid: u32| match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        _ => uid.to_string(),
    };
    let before = || -> Option<u32> {
        let text = std::fs::read_to_string(format!("/proc/{}/loginuid", pid?)).ok()?;
        text.trim().parse().ok()
    };
    match before() {
        // 4294967295: the process belongs to no login.
        Some(login) if uid == 0 && login != 0 && login != u32::MAX => {
            format!("{} (root)", name(login))
        }
        _ => name(uid),
    }
}

impl Visitor {
    /// May this user ask at all?
    fn is_welcome(&self) -> bool {
        self.uid == 0 || self.uid == geteuid().as_raw()
    }

    /// As the record names them.
    fn author(&self, client: &str) -> Author {
        let client = match client {
            "" => "socket",
            client => client,
        };
        Author {
            name: self.name.clone(),
            client: client.chars().take(32).collect(),
        }
    }
}
