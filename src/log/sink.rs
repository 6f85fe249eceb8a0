//! Opened log files, and the lines that wait for them in each thread.
//!
//! Owns descriptors: one for each path, shared by all threads, generations, access and error logs,
//! and swapped in place when logs are reopened. Owns the threads' buffers: a line is formatted
//! straight behind the lines that wait, and whole lines leave in one append. Knows nothing of what
//! stands in a line.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
    PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use nix::unistd::{Gid, Uid};
use parking_lot::{Mutex, RwLock};

use super::{DROPPED, OpenError, OpenWarning, error_log};
use crate::conf::typed::log::Level;
use crate::unit::clock;

/// Bytes of an unbuffered log that may wait in a thread; one more line and they are written.
const UNBUFFERED_SIZE: usize = 32 * 1024;

/// `gzip` without `buffer` (nginx `ngx_http_log_set_log`).
const GZIP_SIZE: usize = 64 * 1024;

/// Room that an empty buffer keeps.
const IDLE_CAPACITY: usize = 4 * 1024;

/// Bytes kept for a pipe or terminal that takes no more at the moment.
const BACKLOG_SIZE: usize = 256 * 1024;

/// One open file.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    /// Standard output or error: it cannot be rotated, so it is never opened again.
    is_standard: bool,
    /// Writers of a regular file share it, the kernel keeps their appends apart. All others take
    /// turns: pipes split what is longer than `PIPE_BUF`.
    handle: RwLock<Handle>,
    /// A write failed in this second: no further one is tried in it. A full disk may take its time
    /// to say so (nginx `disk_full_time`).
    failed_second: AtomicU64,
    reported_second: AtomicU64,
    unreported: AtomicU64,
}

#[derive(Debug)]
struct Handle {
    file: File,
    is_regular: bool,
    /// The file ends in the midst of a line, because the disk became full there.
    is_torn: bool,
    /// What a pipe or terminal did not take yet; may begin in the midst of a line.
    backlog: Vec<u8>,
}

/// What is appended in one piece.
#[derive(Clone, Copy)]
pub enum Piece<'a> {
    /// Whole lines; it may be cut behind any of them.
    Lines(&'a [u8]),
    /// A gzip member, which is worth nothing in part.
    Member(&'a [u8]),
}

/// What could not be written.
pub struct Failure {
    /// So many bytes went out before.
    pub written: usize,
    /// Lines of a backlog that were lost besides.
    pub lost_backlog: usize,
    /// Why.
    pub error: io::Error,
}

/// How many files have a backlog.
static BACKLOGGED: AtomicUsize = AtomicUsize::new(0);

/// Counts reopenings, so that every thread lets go of its buffered lines.
static REOPENINGS: AtomicU64 = AtomicU64::new(0);

const NO_OWNER: u64 = u64::MAX;
static OWNER: AtomicU64 = AtomicU64::new(NO_OWNER);

struct Registry {
    files: BTreeMap<PathBuf, Weak<LogFile>>,
    /// By [`Channel::index`].
    channels: Vec<Weak<Channel>>,
}

static REGISTRY: Mutex<Registry> = Mutex::new(Registry {
    files: BTreeMap::new(),
    channels: Vec::new(),
});

/// See [`super::set_owner`].
pub fn set_owner(user: Option<u32>) {
    OWNER.store(user.map_or(NO_OWNER, u64::from), Relaxed);
}

/// The file of a path, opened unless it already is.
pub fn open(path: &Path, warnings: &mut Vec<OpenWarning>) -> Result<Arc<LogFile>, OpenError> {
    open_in(&mut REGISTRY.lock(), path, warnings)
}

/// Standard error as a log.
pub fn open_stderr() -> Result<Arc<LogFile>, OpenError> {
    open(Path::new(Standard::Error.path()), &mut Vec::new())
}

fn open_in(
    registry: &mut Registry,
    path: &Path,
    warnings: &mut Vec<OpenWarning>,
) -> Result<Arc<LogFile>, OpenError> {
    if let Some(file) = registry.files.get(path).and_then(Weak::upgrade) {
        return Ok(file);
    }
    let standard = Standard::of(path);
    let file = match standard {
        Some(standard) => standard.open(),
        None => append_to(path).or_else(|error| {
            match path.parent().filter(|parent| !parent.exists()) {
                Some(parent) if error.kind() == io::ErrorKind::NotFound => {
                    create_directory(parent)?;
                    warnings.push(OpenWarning::DirectoryCreated(parent.to_owned()));
                    append_to(path)
                }
                _ => Err(error),
            }
        }),
    }
    .map_err(|source| OpenError {
        path: path.to_owned(),
        source,
    })?;
    let file = Arc::new(LogFile {
        path: path.to_owned(),
        is_standard: standard.is_some(),
        handle: RwLock::new(Handle::new(file)),
        failed_second: AtomicU64::new(0),
        reported_second: AtomicU64::new(0),
        unreported: AtomicU64::new(0),
    });
    registry
        .files
        .retain(|_, known| known.strong_count() > 0);
    registry
        .files
        .insert(path.to_owned(), Arc::downgrade(&file));
    Ok(file)
}

/// See [`super::reopen_all`].
pub fn reopen_all() -> Vec<OpenError> {
    let files: Vec<_> = {
        let registry = REGISTRY.lock();
        registry.files.values().filter_map(Weak::upgrade).collect()
    };
    let mut errors = Vec::new();
    for log in files.iter().filter(|log| !log.is_standard) {
        match append_to(&log.path) {
            Ok(file) => {
                let mut fresh = Handle::new(file);
                let mut handle = log.handle.write();
                std::mem::swap(&mut fresh.backlog, &mut handle.backlog);
                *handle = fresh;
                log.failed_second.store(0, Relaxed);
            }
            Err(source) => errors.push(OpenError {
                path: log.path.clone(),
                source,
            }),
        }
    }
    REOPENINGS.fetch_add(1, Relaxed);
    errors
}

impl LogFile {
    /// Its name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends with one write.
    pub fn write(&self, piece: Piece) -> Result<(), Failure> {
        let second = clock::unix().as_secs();
        if self.failed_second.load(Relaxed) == second {
            return Err(Failure::new(0, io::ErrorKind::StorageFull.into()));
        }
        let handle = self.handle.read();
        let result = if handle.is_regular && !handle.is_torn {
            let result = write_to(&handle.file, piece.bytes());
            drop(handle);
            if let Err(failure) = &result
                && piece.is_line_begun(failure.written)
            {
                self.handle.write().is_torn = true;
            }
            result
        } else {
            drop(handle);
            self.handle.write().write_alone(piece)
        };
        if let Err(failure) = &result
            && failure.error.kind() != io::ErrorKind::WouldBlock
        {
            self.failed_second.store(second, Relaxed);
        }
        result
    }

    /// Counts lines that a failure cost, and says so once a second at most.
    fn lose(&self, lines: usize, error: &io::Error) {
        DROPPED.fetch_add(lines as u64, Relaxed);
        self.unreported.fetch_add(lines as u64, Relaxed);
        let second = clock::unix().as_secs();
        if self.reported_second.swap(second, Relaxed) != second {
            let lost = self.unreported.swap(0, Relaxed);
            error_log::report(
                Level::Alert,
                format_args!(
                    "write() to \"{}\" failed {}, {lost} lines lost",
                    self.path.display(),
                    error_log::cause(error),
                ),
            );
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        if !self.handle.get_mut().backlog.is_empty() {
            BACKLOGGED.fetch_sub(1, Relaxed);
        }
    }
}

impl Handle {
    fn new(file: File) -> Self {
        Self {
            is_regular: file.metadata().is_ok_and(|data| data.is_file()),
            is_torn: false,
            backlog: Vec::new(),
            file,
        }
    }

    /// Writes while nobody else does: behind a torn line, or to a pipe, whose backlog goes first.
    fn write_alone(&mut self, piece: Piece) -> Result<(), Failure> {
        if self.is_torn {
            write_to(&self.file, b"\n").map_err(|failure| Failure::new(0, failure.error))?;
            self.is_torn = false;
        }
        self.write_backlog()?;
        let bytes = piece.bytes();
        let written = if self.backlog.is_empty() {
            match write_to(&self.file, bytes) {
                Ok(()) => return Ok(()),
                Err(failure) if failure.error.kind() == io::ErrorKind::WouldBlock => {
                    failure.written
                }
                Err(failure) => {
                    self.is_torn = piece.is_line_begun(failure.written);
                    return Err(failure);
                }
            }
        } else {
            0
        };
        let room = BACKLOG_SIZE.saturating_sub(self.backlog.len());
        let kept = piece.cut(written, room);
        if self.backlog.is_empty() && kept > written {
            BACKLOGGED.fetch_add(1, Relaxed);
        }
        self.backlog.extend_from_slice(&bytes[written..kept]);
        if kept < bytes.len() {
            return Err(Failure::new(kept, io::ErrorKind::WouldBlock.into()));
        }
        Ok(())
    }

    /// Writes as much of the backlog as is taken. A pipe that is broken loses it.
    fn write_backlog(&mut self) -> Result<(), Failure> {
        if self.backlog.is_empty() {
            return Ok(());
        }
        let result = match write_to(&self.file, &self.backlog) {
            Err(failure) if failure.error.kind() == io::ErrorKind::WouldBlock => {
                self.backlog.drain(..failure.written);
                return Ok(());
            }
            Err(failure) => Err(Failure {
                written: 0,
                lost_backlog: count_lines(&self.backlog[failure.written..]),
                error: failure.error,
            }),
            Ok(()) => Ok(()),
        };
        self.backlog = Vec::new();
        BACKLOGGED.fetch_sub(1, Relaxed);
        result
    }
}

impl<'a> Piece<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Lines(bytes) | Self::Member(bytes) => bytes,
        }
    }

    /// Does this many bytes end in the midst of a line?
    fn is_line_begun(self, written: usize) -> bool {
        match self {
            Self::Lines(bytes) => written > 0 && bytes[written - 1] != b'\n',
            Self::Member(_) => false,
        }
    }

    /// Where to cut when `written` bytes are out and `room` more can be kept: what has begun is
    /// kept to its end whatever its size, or the next would be written into its midst.
    fn cut(self, written: usize, room: usize) -> usize {
        let bytes = self.bytes();
        let limit = bytes.len().min(written + room);
        match self {
            Self::Member(_) if written > 0 || limit == bytes.len() => bytes.len(),
            Self::Member(_) => 0,
            Self::Lines(_) => {
                let begun = if self.is_line_begun(written) {
                    memchr::memchr(b'\n', &bytes[written..])
                        .map_or(bytes.len(), |at| written + at + 1)
                } else {
                    written
                };
                memchr::memrchr(b'\n', &bytes[..limit])
                    .map_or(0, |at| at + 1)
                    .max(begun)
            }
        }
    }
}

impl Failure {
    fn new(written: usize, error: io::Error) -> Self {
        Self {
            written,
            lost_backlog: 0,
            error,
        }
    }
}

/// Writes all of the bytes, which a regular file takes at once unless the disk is full.
fn write_to(mut file: &File, bytes: &[u8]) -> Result<(), Failure> {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return Err(Failure::new(written, io::ErrorKind::WriteZero.into())),
            Ok(more) => written += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::new(written, error)),
        }
    }
    Ok(())
}

fn count_lines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

/// Opens a file to append to; made with nginx's mode when missing. `O_NONBLOCK`, which regular
/// files ignore, keeps a pipe that nobody reads from stopping a worker.
pub fn append_to(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o644)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if let Some(owner) = owner() {
        // A file that somebody else put in our way (a symbolic or hard link to another user's) is
        // not given away.
        let data = file.metadata()?;
        let named = path.symlink_metadata()?;
        if data.is_file()
            && data.nlink() == 1
            && (data.dev(), data.ino()) == (named.dev(), named.ino())
        {
            if data.uid() != owner.as_raw() {
                nix::unistd::fchown(&file, Some(owner), None::<Gid>)?;
            }
            let mut permissions = data.permissions();
            if permissions.mode() & 0o600 != 0o600 {
                permissions.set_mode(permissions.mode() | 0o600);
                file.set_permissions(permissions)?;
            }
        }
    }
    Ok(file)
}

/// Makes a directory and those above it that are missing.
fn create_directory(path: &Path) -> io::Result<()> {
    let missing: Vec<_> = path
        .ancestors()
        .take_while(|ancestor| !ancestor.exists())
        .collect();
    DirBuilder::new().recursive(true).mode(0o750).create(path)?;
    if let Some(owner) = owner() {
        for directory in missing {
            nix::unistd::chown(directory, Some(owner), None)?;
        }
    }
    Ok(())
}

/// Who is to own new files, if we have the right to give them away.
fn owner() -> Option<Uid> {
    let owner = u32::try_from(OWNER.load(Relaxed)).ok()?;
    nix::unistd::geteuid()
        .is_root()
        .then(|| Uid::from_raw(owner))
}

/// A stream that the process was started with.
#[derive(Clone, Copy)]
enum Standard {
    Output,
    Error,
}

impl Standard {
    fn path(self) -> &'static str {
        match self {
            Self::Output => "/dev/stdout",
            Self::Error => "/dev/stderr",
        }
    }

    /// The stream that a path names, directly or by a symbolic link as container images have it.
    /// Such a path cannot always be opened: not behind a socket, and not after a change of user.
    fn of(path: &Path) -> Option<Self> {
        let by_name = |path: &Path| match path.to_str()? {
            "/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1" => Some(Self::Output),
            "/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2" => Some(Self::Error),
            _ => None,
        };
        by_name(path).or_else(|| by_name(&path.read_link().ok()?))
    }

    fn open(self) -> io::Result<File> {
        let (descriptor, name) = match self {
            Self::Output => (
                io::stdout().as_fd().try_clone_to_owned()?,
                "/proc/self/fd/1",
            ),
            Self::Error => (
                io::stderr().as_fd().try_clone_to_owned()?,
                "/proc/self/fd/2",
            ),
        };
        let file = File::from(descriptor);
        let kind = file.metadata()?.file_type();
        if kind.is_fifo() || kind.is_char_device() {
            // Our own description of the pipe or terminal can be non-blocking without a change for
            // those who share the inherited one.
            let own = OpenOptions::new()
                .append(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
                .open(name);
            return Ok(own.unwrap_or(file));
        }
        Ok(file)
    }
}

/// A file with the way its lines are held back. Threads have one buffer for each channel.
#[derive(Debug)]
pub struct Channel {
    index: usize,
    file: Arc<LogFile>,
    buffering: Option<Buffering>,
    /// How many opened logs write to it; threads let go of it when there are none.
    uses: AtomicUsize,
}

/// `buffer=`, `flush=` and `gzip=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buffering {
    size: usize,
    flush: Option<Duration>,
    gzip: Option<u32>,
}

impl Buffering {
    /// From the parameters; `None` if lines are not held back.
    pub fn new(size: Option<usize>, flush: Option<Duration>, gzip: Option<u8>) -> Option<Self> {
        let size = size.or(gzip.map(|_| GZIP_SIZE))?;
        Some(Self {
            size,
            flush,
            gzip: gzip.map(u32::from),
        })
    }
}

/// An opened log's hold on a channel.
#[derive(Debug)]
pub struct ChannelUse(Arc<Channel>);

impl ChannelUse {
    /// Opens a file with this way of holding lines back.
    pub fn open(
        path: &Path,
        buffering: Option<Buffering>,
        warnings: &mut Vec<OpenWarning>,
    ) -> Result<Self, OpenError> {
        let mut registry = REGISTRY.lock();
        let file = open_in(&mut registry, path, warnings)?;
        let known = registry
            .channels
            .iter()
            .filter_map(Weak::upgrade)
            .find(|channel| Arc::ptr_eq(&channel.file, &file) && channel.buffering == buffering);
        let channel = known.unwrap_or_else(|| {
            // A position is free when no thread holds a buffer for it any more.
            let index = registry
                .channels
                .iter()
                .position(|channel| channel.strong_count() == 0)
                .unwrap_or(registry.channels.len());
            let channel = Arc::new(Channel {
                index,
                file,
                buffering,
                uses: AtomicUsize::new(0),
            });
            if index == registry.channels.len() {
                registry.channels.push(Arc::downgrade(&channel));
            } else {
                registry.channels[index] = Arc::downgrade(&channel);
            }
            channel
        });
        channel.uses.fetch_add(1, Relaxed);
        Ok(Self(channel))
    }

    /// Adds a line to this thread's buffer. `format` appends it with its line end, or returns
    /// `false` if there is none to add.
    pub fn append(&self, format: impl FnOnce(&mut Vec<u8>) -> bool) {
        // A thread that is being torn down has no buffers any more; its last request was logged.
        let _ = BUFFERS.try_with(|buffers| buffers.borrow_mut().append(&self.0, format));
    }
}

impl Drop for ChannelUse {
    fn drop(&mut self) {
        self.0.uses.fetch_sub(1, Relaxed);
    }
}

thread_local! {
    static BUFFERS: RefCell<Buffers> = const { RefCell::new(Buffers::new()) };
    /// Lines of unbuffered logs wait in this thread.
    static UNBUFFERED_WAIT: Cell<bool> = const { Cell::new(false) };
    /// Lines of logs with `flush=` wait in this thread.
    static TIMED_WAIT: Cell<bool> = const { Cell::new(false) };
    /// The reopenings after which this thread let go of its lines.
    static REOPENINGS_SEEN: Cell<u64> = const { Cell::new(0) };
}

/// See [`super::flush_thread`].
pub fn flush_thread() {
    if UNBUFFERED_WAIT.get() {
        let _ = BUFFERS.try_with(|buffers| buffers.borrow_mut().flush_unbuffered());
    }
}

/// See [`super::tick`].
pub fn tick() {
    let _ = BUFFERS.try_with(|buffers| {
        let buffers = &mut *buffers.borrow_mut();
        buffers.flush_unbuffered();
        buffers.sweep();
    });
    if BACKLOGGED.load(Relaxed) > 0 {
        let files: Vec<_> = {
            let registry = REGISTRY.lock();
            registry.files.values().filter_map(Weak::upgrade).collect()
        };
        for file in files {
            let result = file.handle.write().write_backlog();
            if let Err(failure) = result {
                file.lose(failure.lost_backlog, &failure.error);
            }
        }
    }
}

/// See [`super::is_waiting`].
pub fn is_waiting() -> bool {
    UNBUFFERED_WAIT.get()
        || TIMED_WAIT.get()
        || REOPENINGS_SEEN.get() != REOPENINGS.load(Relaxed)
        || BACKLOGGED.load(Relaxed) > 0
}

/// See [`super::finish_thread`].
pub fn finish_thread() {
    let _ = BUFFERS.try_with(|buffers| buffers.borrow_mut().flush_all());
}

struct Buffers {
    /// By [`Channel::index`].
    slots: Vec<Option<Buffer>>,
    /// Positions of unbuffered logs with lines.
    waiting: Vec<usize>,
}

struct Buffer {
    channel: Arc<Channel>,
    bytes: Vec<u8>,
    /// When the first of the lines came.
    since: Instant,
}

impl Buffers {
    const fn new() -> Self {
        Self {
            slots: Vec::new(),
            waiting: Vec::new(),
        }
    }

    fn append(&mut self, channel: &Arc<Channel>, format: impl FnOnce(&mut Vec<u8>) -> bool) {
        let index = channel.index;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        let buffer = self.slots[index].get_or_insert_with(|| Buffer {
            channel: Arc::clone(channel),
            bytes: Vec::new(),
            since: clock::now(),
        });
        let start = buffer.bytes.len();
        if !format(&mut buffer.bytes) {
            buffer.bytes.truncate(start);
            return;
        }
        let size = channel
            .buffering
            .map_or(UNBUFFERED_SIZE, |buffering| buffering.size);
        if buffer.bytes.len() > size {
            // The lines before this one leave; this one too if it alone is longer than the buffer.
            buffer.write(start);
            if buffer.bytes.len() > size {
                buffer.write(buffer.bytes.len());
                buffer.bytes.shrink_to(size);
                return;
            }
            buffer.since = clock::now();
        }
        if start == 0 {
            buffer.since = clock::now();
            match channel.buffering {
                None => {
                    self.waiting.push(index);
                    UNBUFFERED_WAIT.set(true);
                }
                Some(buffering) if buffering.flush.is_some() => TIMED_WAIT.set(true),
                Some(_) => {}
            }
        }
    }

    fn flush_unbuffered(&mut self) {
        for index in self.waiting.drain(..) {
            if let Some(buffer) = &mut self.slots[index] {
                buffer.write(buffer.bytes.len());
            }
        }
        UNBUFFERED_WAIT.set(false);
    }

    /// Writes what waited long enough or was asked for by a reopening; drops buffers whose log is
    /// not part of any generation any more.
    fn sweep(&mut self) {
        let reopenings = REOPENINGS.load(Relaxed);
        let is_reopened = REOPENINGS_SEEN.replace(reopenings) != reopenings;
        let now = clock::now();
        let mut is_timed = false;
        for slot in &mut self.slots {
            let Some(buffer) = slot else { continue };
            let is_over = buffer.channel.uses.load(Relaxed) == 0;
            if !buffer.bytes.is_empty() {
                let flush = buffer.channel.buffering.and_then(|kind| kind.flush);
                let is_due =
                    flush.is_some_and(|flush| now.saturating_duration_since(buffer.since) >= flush);
                if is_over || is_reopened || is_due {
                    buffer.write(buffer.bytes.len());
                } else {
                    is_timed |= flush.is_some();
                }
            }
            if is_over {
                *slot = None;
            }
        }
        TIMED_WAIT.set(is_timed);
    }

    fn flush_all(&mut self) {
        self.flush_unbuffered();
        for buffer in self.slots.iter_mut().flatten() {
            buffer.write(buffer.bytes.len());
        }
        TIMED_WAIT.set(false);
    }
}

impl Drop for Buffers {
    fn drop(&mut self) {
        self.flush_all();
    }
}

impl Buffer {
    /// Writes the first bytes, which are whole lines, and forgets them.
    fn write(&mut self, length: usize) {
        if length == 0 {
            return;
        }
        let lines = &self.bytes[..length];
        let file = &self.channel.file;
        let level = self.channel.buffering.and_then(|kind| kind.gzip);
        let lost = match level {
            None => file.write(Piece::Lines(lines)).err().map(|failure| {
                // A line of which a part was written is lost as well.
                let lines = count_lines(&lines[failure.written..]);
                (lines + failure.lost_backlog, failure.error)
            }),
            Some(level) => match compress(lines, level) {
                Ok(member) => file
                    .write(Piece::Member(&member))
                    .err()
                    .map(|failure| (count_lines(lines) + failure.lost_backlog, failure.error)),
                Err(error) => Some((count_lines(lines), error)),
            },
        };
        if let Some((lines, error)) = lost {
            file.lose(lines, &error);
        }
        let rest = self.bytes.len() - length;
        self.bytes.copy_within(length.., 0);
        self.bytes.truncate(rest);
        if self.bytes.capacity() > IDLE_CAPACITY && length < self.bytes.capacity() / 4 {
            self.bytes.shrink_to(IDLE_CAPACITY.max(2 * length));
        }
    }
}

/// One gzip member; members behind each other are one gzip file (RFC 1952 section 2.2).
fn compress(lines: &[u8], level: u32) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(lines.len() / 4), Compression::new(level));
    encoder.write_all(lines)?;
    encoder.finish()
}
