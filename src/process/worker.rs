//! A worker thread: its event loop, its listening sockets, and the orders it takes.
//!
//! Everything on the way of a request belongs to one worker and stays on its thread. The main thread
//! speaks to a worker through a channel and never touches what it owns.

use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::accept::{Entrance, Room, accept};
use super::{privileges, pulse};
use crate::conf::typed::log::Level;
use crate::conf::typed::process::Process;
use crate::log::{self, error_log};
use crate::net::deadline;
use crate::net::listener::{Listener, Share};
use crate::serve::generation::Generation;
use crate::serve::worker::Worker;

/// So many tasks run before the system is asked for events again. As many as one asking returns at
/// most: the loop sleeps, and so reads the clock, once for each round of events.
const TASKS_BETWEEN_EVENTS: u32 = 1024;

/// What the main thread wants of a worker.
#[derive(Debug)]
pub enum Order {
    /// The next requests are served by this generation, on these sockets.
    Install {
        /// The generation.
        generation: Arc<Generation>,
        /// All sockets of this worker; those it lacks come along.
        shares: Vec<Share>,
    },
    /// Log files were opened anew: buffered lines belong into the new ones.
    LogsReopened,
    /// Give a sign of life: [`News::Alive`].
    Answer,
    /// Take nothing new, finish what runs, then end.
    Drain,
    /// End now.
    Stop,
}

/// What a worker tells the main thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// It accepts connections.
    Ready,
    /// It takes orders: the worker with this id.
    Alive(u64),
    /// Its thread ends: the worker with this id.
    Ended(u64),
}

/// A worker as the main thread sees it.
#[derive(Debug)]
pub struct Handle {
    id: u64,
    orders: UnboundedSender<Order>,
    thread: JoinHandle<()>,
    /// The sockets that it holds.
    held: HashSet<u64>,
}

impl Handle {
    /// Starts a worker. The id is never used again, the index is when one takes another's place.
    pub fn start(
        id: u64,
        index: usize,
        generation: Arc<Generation>,
        shares: Vec<Share>,
        news: UnboundedSender<News>,
    ) -> io::Result<Self> {
        let held = shares.iter().map(|share| share.id).collect();
        let (orders, receiver) = unbounded_channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker {index}"))
            .spawn(move || {
                // Dropped last, also by a panic.
                let _ended = Ended {
                    id,
                    news: news.clone(),
                };
                run(id, index, generation, shares, receiver, &news);
                log::finish_thread();
            })?;
        Ok(Self {
            id,
            orders,
            thread,
            held,
        })
    }

    /// Which worker [`News::Ended`] speaks of.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Tells the worker; one that has ended does not mind.
    pub fn tell(&mut self, order: Order) {
        if let Order::Install { shares, .. } = &order {
            self.held = shares.iter().map(|share| share.id).collect();
        }
        let _ = self.orders.send(order);
    }

    /// The sockets that the worker holds.
    pub fn held(&self) -> &HashSet<u64> {
        &self.held
    }

    /// Waits for the end of the thread.
    pub fn join(self) {
        // How it ended was told by the hook for panics.
        let _ = self.thread.join();
    }
}

struct Ended {
    id: u64,
    news: UnboundedSender<News>,
}

impl Drop for Ended {
    fn drop(&mut self) {
        // The main thread may have stopped listening.
        let _ = self.news.send(News::Ended(self.id));
    }
}

fn run(
    id: u64,
    index: usize,
    generation: Arc<Generation>,
    shares: Vec<Share>,
    orders: UnboundedReceiver<Order>,
    news: &UnboundedSender<News>,
) {
    privileges::renounce();
    let runtime = Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_BETWEEN_EVENTS)
        .on_thread_park(pulse::before_sleep)
        .on_thread_unpark(pulse::awake)
        .build_local(LocalOptions::default());
    match runtime {
        Ok(runtime) => runtime.block_on(serve(id, index, generation, shares, orders, news)),
        Err(error) => error_log::report(
            Level::Emerg,
            format_args!("epoll_create() failed {}", error_log::cause(&error)),
        ),
    }
}

async fn serve(
    id: u64,
    index: usize,
    generation: Arc<Generation>,
    shares: Vec<Share>,
    mut orders: UnboundedReceiver<Order>,
    news: &UnboundedSender<News>,
) {
    let process = &generation.process;
    let room = Rc::new(Room::new(process.worker_connections, process.multi_accept));
    let worker = Worker::new(index, generation);
    let mut entrances = Entrances {
        worker: Rc::clone(&worker),
        room,
        open: HashMap::new(),
    };
    tokio::task::spawn_local(deadline::turn());
    tokio::task::spawn_local(pulse::beat(Rc::clone(&worker)));
    entrances.change_to(shares);
    // The main thread may have stopped listening.
    let _ = news.send(News::Ready);
    while let Some(order) = orders.recv().await {
        match order {
            Order::Install { generation, shares } => {
                entrances.take_limits(&generation.process);
                // New sockets are served by the new generation, which must be there first.
                worker.install(generation);
                entrances.change_to(shares);
            }
            Order::LogsReopened => log::tick(),
            Order::Answer => {
                let _ = news.send(News::Alive(id));
            }
            Order::Drain => {
                entrances.change_to(Vec::new());
                // What was taken last enters the worker's count before that is asked for.
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                worker.drain();
                tokio::select! {
                    () = worker.drained() => {}
                    () = stopped(id, &mut orders, news) => {}
                }
                return;
            }
            Order::Stop => return,
        }
    }
}

/// Waits for the order to end now; others mean nothing to a worker that drains.
async fn stopped(id: u64, orders: &mut UnboundedReceiver<Order>, news: &UnboundedSender<News>) {
    loop {
        match orders.recv().await {
            Some(Order::Stop) | None => return,
            Some(Order::LogsReopened) => log::tick(),
            Some(Order::Answer) => {
                let _ = news.send(News::Alive(id));
            }
            Some(Order::Install { .. } | Order::Drain) => {}
        }
    }
}

/// The sockets that a worker accepts from.
struct Entrances {
    worker: Rc<Worker>,
    room: Rc<Room>,
    open: HashMap<u64, Rc<Entrance>>,
}

impl Entrances {
    fn take_limits(&self, process: &Process) {
        self.room.most.set(process.worker_connections);
        self.room.all_at_once.set(process.multi_accept);
    }

    /// Opens, keeps and closes so that these are open.
    fn change_to(&mut self, shares: Vec<Share>) {
        let mut next = HashMap::new();
        for share in shares {
            if let Some(entrance) = self.open.remove(&share.id) {
                entrance.stands_for(&share.endpoint);
                next.insert(share.id, entrance);
                continue;
            }
            let Some(socket) = share.socket else { continue };
            match Listener::new(socket, &share.endpoint.address) {
                Ok(listener) => {
                    let entrance = Entrance::new(&share.endpoint);
                    next.insert(share.id, Rc::clone(&entrance));
                    tokio::task::spawn_local(accept(
                        Rc::clone(&self.worker),
                        listener,
                        entrance,
                        Rc::clone(&self.room),
                    ));
                }
                Err(error) => error_log::report(
                    Level::Alert,
                    format_args!(
                        "epoll_ctl() for {} failed {}",
                        share.endpoint.address,
                        error_log::cause(&error)
                    ),
                ),
            }
        }
        for closed in std::mem::replace(&mut self.open, next).into_values() {
            closed.close();
        }
    }
}
