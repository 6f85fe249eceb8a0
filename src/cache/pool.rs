//! The threads that wait for a zone's disk, so that nobody else does.
//!
//! Few, each doing one thing at a time, made when there is work for them. Reading goes before
//! writing, and writing never takes all of them. What cannot be queued is refused at once: a disk
//! that hangs costs those who want something of it and nobody else.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, OnceLock};

use parking_lot::{Condvar, Mutex};

/// The most threads of a zone, and how many of them may write at once.
const THREADS: usize = 8;
const WRITERS: usize = 5;

/// So much may wait.
const MOST_READS: usize = 1024;
const MOST_WRITES: usize = 4096;

/// Enough for what the jobs do, whose buffers are on the heap.
const STACK: usize = 256 << 10;

/// The threads of a zone.
pub struct Pool {
    queues: Mutex<Queues>,
    work: Condvar,
    settled: Condvar,
    /// Called first in each thread.
    begin: OnceLock<fn()>,
}

#[derive(Default)]
struct Queues {
    reads: VecDeque<Job>,
    writes: VecDeque<Job>,
    threads: usize,
    idle: usize,
    writing: usize,
    is_closed: bool,
}

type Job = Box<dyn FnOnce() + Send>;

/// What a job waits for mostly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lane {
    /// Somebody waits for the result.
    Read,
    /// Nobody does.
    Write,
}

/// Too much waits already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused;

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").finish_non_exhaustive()
    }
}

impl Pool {
    /// No thread yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            queues: Mutex::default(),
            work: Condvar::new(),
            settled: Condvar::new(),
            begin: OnceLock::new(),
        })
    }

    /// Each thread that is made from now on calls this first.
    pub fn begin_with(&self, begin: fn()) {
        // The first one stays; there is but one.
        let _ = self.begin.set(begin);
    }

    /// Does something on one of the threads.
    pub fn submit(
        self: &Arc<Self>,
        lane: Lane,
        job: impl FnOnce() + Send + 'static,
    ) -> Result<(), Refused> {
        let mut queues = self.queues.lock();
        let (queue, most) = match lane {
            Lane::Read => (&mut queues.reads, MOST_READS),
            Lane::Write => (&mut queues.writes, MOST_WRITES),
        };
        if queue.len() >= most {
            return Err(Refused);
        }
        queue.push_back(Box::new(job));
        let waiting = queues.reads.len() + queues.writes.len();
        if queues.idle < waiting && queues.threads < THREADS {
            queues.threads += 1;
            let pool = Arc::clone(self);
            let spawned = std::thread::Builder::new()
                .name("cache disk".to_owned())
                .stack_size(STACK)
                .spawn(move || pool.run());
            if spawned.is_err() {
                queues.threads -= 1;
                if queues.threads == 0 {
                    queues.reads.clear();
                    queues.writes.clear();
                    return Err(Refused);
                }
            }
        }
        drop(queues);
        self.work.notify_one();
        Ok(())
    }

    /// Waits until nothing is queued or written any more, or until then.
    pub fn settle(&self, deadline: std::time::Instant) {
        let mut queues = self.queues.lock();
        while !(queues.reads.is_empty() && queues.writes.is_empty() && queues.writing == 0) {
            if self.settled.wait_until(&mut queues, deadline).timed_out() {
                return;
            }
        }
    }

    /// The threads end when they have done what is queued.
    pub fn close(&self) {
        self.queues.lock().is_closed = true;
        self.work.notify_all();
    }

    fn run(&self) {
        if let Some(begin) = self.begin.get() {
            begin();
        }
        let mut queues = self.queues.lock();
        loop {
            let (job, is_write) = match queues.reads.pop_front() {
                Some(job) => (job, false),
                None if queues.writing < WRITERS && !queues.writes.is_empty() => {
                    (queues.writes.pop_front().expect("looked at"), true)
                }
                None if queues.is_closed => break,
                None => {
                    queues.idle += 1;
                    self.work.wait(&mut queues);
                    queues.idle -= 1;
                    continue;
                }
            };
            queues.writing += usize::from(is_write);
            drop(queues);
            // A panic is told by the hook for panics; it costs this job.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            queues = self.queues.lock();
            queues.writing -= usize::from(is_write);
            if is_write && !queues.writes.is_empty() {
                // One that could not write before may do so now.
                self.work.notify_one();
            }
            self.settled.notify_all();
        }
        queues.threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn reading_goes_on_while_all_who_may_write_hang() {
        let pool = Pool::new();
        let (release, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        for _ in 0..WRITERS + 3 {
            let gate = Arc::clone(&gate);
            let hangs = move || while gate.lock().recv().is_ok() {};
            pool.submit(Lane::Write, hangs).expect("queued");
        }
        let (done, result) = channel();
        for number in 0..10 {
            let done = done.clone();
            let reads = move || done.send(number).expect("heard");
            pool.submit(Lane::Read, reads).expect("queued");
        }
        let mut read: Vec<i32> = result.iter().take(10).collect();
        read.sort_unstable();
        assert_eq!(read, (0..10).collect::<Vec<_>>());
        drop(release);
        pool.settle(Instant::now() + Duration::from_secs(60));
        assert!(pool.queues.lock().writes.is_empty());
        pool.close();
    }

    #[test]
    fn what_is_too_much_is_refused_at_once() {
        let pool = Pool::new();
        let (release, gate) = channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let mut refused = 0;
        for _ in 0..MOST_READS + THREADS + 1 {
            let gate = Arc::clone(&gate);
            let job = move || while gate.lock().recv().is_ok() {};
            refused += usize::from(pool.submit(Lane::Read, job).is_err());
        }
        assert!(refused > 0);
        drop(release);
        pool.settle(Instant::now() + Duration::from_secs(60));
        pool.close();
    }

    #[test]
    fn a_job_that_panics_costs_itself_only() {
        let pool = Pool::new();
        for _ in 0..THREADS {
            let job = || std::panic::resume_unwind(Box::new(()));
            pool.submit(Lane::Read, job).expect("queued");
        }
        let (done, result) = channel();
        let job = move || done.send(()).expect("heard");
        pool.submit(Lane::Read, job).expect("queued");
        result.recv().expect("done");
        pool.close();
    }
}
