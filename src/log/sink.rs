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
    let file =
        match standard {
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
    registry.files.retain(|_, known| known.strong_count() > 0);
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

/// See [`super::rotate`].
pub fn rotate(size: u64, keep: u32) -> (usize, Vec<OpenError>) {
    let files: Vec<_> = {
        let registry = REGISTRY.lock();
        registry.files.values().filter_map(Weak::upgrade).collect()
    };
    let (mut moved, mut errors) = (0, Vec::new());
    for log in files.iter().filter(|log| !log.is_standard) {
        match log.move_away(size, keep) {
            Ok(true) => moved += 1,
            Ok(false) => {}
            Err(source) => errors.push(OpenError {
                path: log.path.clone(),
                source,
            }),
        }
    }
    (moved, errors)
}

impl LogFile {
    /// Renames the file if it has grown to this size: `LOG` becomes `LOG.1`, that `LOG.2`, and so on.
    fn move_away(&self, size: u64, keep: u32) -> io::Result<bool> {
        let open = {
            let handle = self.handle.read();
            if !handle.is_regular {
                return Ok(false);
            }
            handle.file.metadata()?
        };
        if open.len() < size {
            return Ok(false);
        }
        // A link, or a name that is another file's by now, is in somebody else's hands.
        let named = match self.path.symlink_metadata() {
            Ok(named) => named,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        if (named.dev(), named.ino()) != (open.dev(), open.ino()) {
            return Ok(false);
        }
        let numbered = |number: u32| {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..keep).rev() {
            match std::fs::rename(numbered(number), numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        std::fs::rename(&self.path, numbered(1))?;
        Ok(true)
    }

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

    /// After a write that went well: says how many lines were lost since it was last said.
    fn recover(&self) {
        if self.unreported.load(Relaxed) > 0 && self.may_report() {
            let lost = self.unreported.swap(0, Relaxed);
            error_log::report(
                Level::Alert,
                format_args!(
                    "write() to \"{}\" works again, {lost} more lines lost",
                    self.path.display(),
                ),
            );
        }
    }

    /// Is it the first time in this second?
    fn may_report(&self) -> bool {
        let second = clock::unix().as_secs();
        self.reported_second.swap(second, Relaxed) != second
    }

    /// Counts lines that a failure cost, and says so once a second at most.
    fn lose(&self, lines: usize, error: &io::Error) {
        DROPPED.fetch_add(lines as u64, Relaxed);
        self.unreported.fetch_add(lines as u64, Relaxed);
        if self.may_report() {
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
        let mut line = UnfinishedLine {
            start: buffer.bytes.len(),
            bytes: &mut buffer.bytes,
        };
        if !format(line.bytes) {
            return;
        }
        let start = std::mem::replace(&mut line.start, usize::MAX);
        drop(line);
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

/// A line that leaves again unless it is finished, also when a panic ends its making.
struct UnfinishedLine<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
}

impl Drop for UnfinishedLine<'_> {
    fn drop(&mut self) {
        self.bytes.truncate(self.start);
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
        match lost {
            Some((lines, error)) => file.lose(lines, &error),
            None => file.recover(),
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

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::os::unix::fs::symlink;

    use proptest::prelude::*;
    use tempfile::TempDir;

    use super::super::{dropped_lines, fixture, reopen_all};
    use super::*;

    fn directory() -> (TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("access.log");
        (directory, path)
    }

    fn channel(path: &Path, buffering: Option<Buffering>) -> ChannelUse {
        ChannelUse::open(path, buffering, &mut Vec::new()).expect("opens")
    }

    fn put(channel: &ChannelUse, line: &str) {
        channel.append(|out| {
            out.extend_from_slice(line.as_bytes());
            out.push(b'\n');
            true
        });
    }

    fn read(path: &Path) -> String {
        std::fs::read_to_string(path).expect("a text")
    }

    #[test]
    fn lines_of_an_unbuffered_log_wait_for_the_flush_of_their_thread() {
        let (_directory, path) = directory();
        let log = channel(&path, None);
        put(&log, "one");
        put(&log, "two");
        log.append(|out| {
            out.extend_from_slice(b"given up");
            false
        });
        assert_eq!(read(&path), "");
        assert!(is_waiting());
        std::thread::scope(|scope| {
            scope.spawn(flush_thread);
        });
        assert_eq!(read(&path), "", "another thread's flush is not ours");
        flush_thread();
        assert_eq!(read(&path), "one\ntwo\n");
        put(&log, "three");
        tick();
        assert_eq!(read(&path), "one\ntwo\nthree\n");
    }

    #[test]
    fn a_panic_in_the_midst_of_a_line_costs_that_line_alone() {
        let (_directory, path) = directory();
        let log = channel(&path, None);
        put(&log, "one");
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            log.append(|out| {
                out.extend_from_slice(b"half a line");
                std::panic::resume_unwind(Box::new(()));
            });
        }));
        assert!(panicked.is_err());
        flush_thread();
        assert_eq!(read(&path), "one\n");
        put(&log, "two");
        flush_thread();
        assert_eq!(read(&path), "one\ntwo\n");
    }

    #[test]
    fn an_unbuffered_log_keeps_a_bounded_number_of_bytes_waiting() {
        let (_directory, path) = directory();
        let log = channel(&path, None);
        let line = "x".repeat(1023);
        for _ in 0..=UNBUFFERED_SIZE / 1024 {
            put(&log, &line);
        }
        assert_eq!(read(&path).len(), UNBUFFERED_SIZE);
        flush_thread();
        assert_eq!(read(&path).len(), UNBUFFERED_SIZE + 1024);
    }

    #[test]
    fn a_thread_that_ends_leaves_no_line_behind() {
        let (_directory, path) = directory();
        let unbuffered = channel(&path, None);
        let buffered = channel(&path, Buffering::new(Some(1000), None, None));
        std::thread::scope(|scope| {
            // The end of the scope alone waits for the closure, not for the thread.
            let thread = scope.spawn(|| {
                put(&unbuffered, "one");
                put(&buffered, "two");
            });
            thread.join().expect("no panic");
        });
        let mut lines: Vec<_> = read(&path).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["one", "two"]);
    }

    #[test]
    fn a_buffer_is_written_when_the_next_line_does_not_fit() {
        let _alone = fixture::alone();
        tick();
        let (_directory, path) = directory();
        let log = channel(&path, Buffering::new(Some(10), None, None));
        put(&log, "1234");
        put(&log, "5678");
        flush_thread();
        tick();
        assert_eq!(read(&path), "", "it fits exactly");
        put(&log, "9");
        assert_eq!(read(&path), "1234\n5678\n");
        put(&log, "longer than the buffer");
        assert_eq!(read(&path), "1234\n5678\n9\nlonger than the buffer\n");
        put(&log, "a");
        finish_thread();
        assert!(read(&path).ends_with("buffer\na\n"));
    }

    #[test]
    fn a_buffer_that_waited_as_long_as_flush_says_is_written() {
        let _alone = fixture::alone();
        tick();
        let (_directory, path) = directory();
        let soon = channel(&path, Buffering::new(Some(99), Some(Duration::ZERO), None));
        let hour = Duration::from_secs(3600);
        let late = channel(&path, Buffering::new(Some(99), Some(hour), None));
        put(&soon, "soon");
        put(&late, "late");
        assert!(is_waiting());
        tick();
        assert_eq!(read(&path), "soon\n");
        assert!(is_waiting(), "the other one is still to be written");
        finish_thread();
        assert_eq!(read(&path), "soon\nlate\n");
        assert!(!is_waiting());
    }

    #[test]
    fn gzip_writes_members_that_are_one_file() {
        let (_directory, path) = directory();
        let log = channel(&path, Buffering::new(None, None, Some(1)));
        put(&log, "one");
        finish_thread();
        put(&log, "two");
        put(&log, "three");
        finish_thread();
        let mut text = String::new();
        let file = File::open(&path).expect("a file");
        flate2::read::MultiGzDecoder::new(file)
            .read_to_string(&mut text)
            .expect("gzip");
        assert_eq!(text, "one\ntwo\nthree\n");
    }

    #[test]
    fn lines_of_several_threads_stay_whole() {
        const THREADS: usize = 4;
        const LINES: usize = 500;
        let (_directory, path) = directory();
        let unbuffered = channel(&path, None);
        let buffered = channel(&path, Buffering::new(Some(8192), None, None));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let log = if thread % 2 == 0 {
                    &unbuffered
                } else {
                    &buffered
                };
                scope.spawn(move || {
                    for number in 0..LINES {
                        let text = format!("{thread}").repeat(1 + number % 700);
                        put(log, &format!("{thread} {number} {text}"));
                        if number % 3 == 0 {
                            flush_thread();
                        }
                    }
                    finish_thread();
                });
            }
        });
        let text = read(&path);
        let mut next = [0; THREADS];
        for line in text.lines() {
            let [thread, number, rest] = line
                .splitn(3, ' ')
                .collect::<Vec<_>>()
                .try_into()
                .expect("three parts");
            let position: usize = thread.parse().expect("a number");
            assert_eq!(number, next[position].to_string(), "in order");
            assert_eq!(rest, thread.repeat(1 + next[position] % 700));
            next[position] += 1;
        }
        assert_eq!(next, [LINES; THREADS]);
    }

    #[test]
    fn after_a_rotation_lines_go_to_the_new_file() {
        let _alone = fixture::alone();
        let (directory, path) = directory();
        let log = channel(&path, None);
        let error_log = open(&path, &mut Vec::new()).expect("opens");
        put(&log, "old");
        flush_thread();
        let moved = directory.path().join("access.log.1");
        std::fs::rename(&path, &moved).expect("renames");
        put(&log, "between");
        flush_thread();
        let errors = reopen_all();
        assert!(errors.iter().all(|error| error.path != path));
        put(&log, "new");
        flush_thread();
        error_log.write(Piece::Lines(b"error\n")).ok().expect("ok");
        assert_eq!(read(&moved), "old\nbetween\n");
        assert_eq!(read(&path), "new\nerror\n");
    }

    #[test]
    fn a_file_that_has_grown_is_moved_away_and_so_many_are_kept() {
        let _alone = fixture::alone();
        let (directory, path) = directory();
        let log = channel(&path, None);
        for text in ["first", "second", "third", "fourth"] {
            put(&log, text);
            flush_thread();
            let (moved, errors) = rotate(4, 2);
            assert!(moved >= 1 && errors.iter().all(|error| error.path != path));
            assert!(reopen_all().iter().all(|error| error.path != path));
        }
        put(&log, "x");
        flush_thread();
        rotate(4, 2);
        assert_eq!(read(&path), "x\n");
        let of = |number: u32| directory.path().join(format!("access.log.{number}"));
        assert_eq!(
            (read(&of(1)), read(&of(2))),
            ("fourth\n".into(), "third\n".into())
        );
        assert!(!of(3).exists());
    }

    #[test]
    fn a_link_is_not_moved_away() {
        let _alone = fixture::alone();
        let (directory, path) = directory();
        let target = directory.path().join("target");
        std::fs::write(&target, "").expect("a fresh file");
        symlink(&target, &path).expect("a fresh path");
        let log = channel(&path, None);
        put(&log, "line");
        flush_thread();
        rotate(1, 2);
        assert_eq!(read(&target), "line\n");
        assert!(path.is_symlink());
    }

    #[test]
    fn a_reopening_lets_buffered_lines_go_at_the_next_tick() {
        let _alone = fixture::alone();
        let (_directory, path) = directory();
        let log = channel(&path, Buffering::new(Some(1000), None, None));
        put(&log, "waits");
        let _ = reopen_all();
        assert!(is_waiting());
        tick();
        assert_eq!(read(&path), "waits\n");
    }

    #[test]
    fn a_log_that_cannot_be_reopened_stays_the_one_it_was() {
        let _alone = fixture::alone();
        let (directory, path) = directory();
        let log = channel(&path, None);
        let moved = directory.path().join("moved");
        std::fs::rename(&path, &moved).expect("renames");
        std::fs::create_dir(&path).expect("a directory in the way");
        let errors = reopen_all();
        let error = errors.iter().find(|error| error.path == path);
        assert_eq!(
            error.expect("an error").to_string(),
            format!("cannot open the log `{}`", path.display())
        );
        put(&log, "kept");
        flush_thread();
        assert_eq!(read(&moved), "kept\n");
    }

    #[test]
    fn one_path_is_one_file_and_is_closed_with_its_last_log() {
        let (_directory, path) = directory();
        let first = channel(&path, None);
        let again = channel(&path, None);
        let buffered = channel(&path, Buffering::new(Some(9), None, None));
        assert!(Arc::ptr_eq(&first.0, &again.0));
        assert!(Arc::ptr_eq(&first.0.file, &buffered.0.file));
        assert_ne!(first.0.index, buffered.0.index);
        put(&first, "line");
        let file = Arc::downgrade(&first.0.file);
        drop((first, again, buffered));
        assert_eq!(file.strong_count(), 1, "this thread has a line for it");
        tick();
        assert_eq!(file.strong_count(), 0);
        assert_eq!(read(&path), "line\n");
    }

    #[test]
    fn a_missing_directory_is_made_and_told() {
        let (directory, _) = directory();
        let parent = directory.path().join("a/b");
        let mut warnings = Vec::new();
        open(&parent.join("access.log"), &mut warnings).expect("opens");
        assert_eq!(warnings, [OpenWarning::DirectoryCreated(parent.clone())]);
        let mode = parent.metadata().expect("a directory").permissions().mode();
        assert_eq!(mode & 0o777, 0o750);
        let in_file = parent.join("access.log/error.log");
        assert!(open(&in_file, &mut Vec::new()).is_err());
    }

    #[test]
    fn standard_streams_are_known_by_name_and_by_link() {
        let (directory, _) = directory();
        let link = directory.path().join("link");
        symlink("/dev/stderr", &link).expect("a link");
        assert!(matches!(Standard::of(&link), Some(Standard::Error)));
        assert!(matches!(
            Standard::of(Path::new("/dev/stdout")),
            Some(Standard::Output)
        ));
        assert!(Standard::of(directory.path()).is_none());
        let log = open_stderr().expect("opens");
        log.write(Piece::Lines(b"")).ok().expect("writes");
        assert!(log.is_standard);
    }

    #[test]
    fn lines_lost_in_the_second_of_a_report_are_told_later() {
        let _alone = fixture::alone();
        let (directory, path) = directory();
        let errors = directory.path().join("error.log");
        error_log::copy_to_stderr(false);
        error_log::set_default(error_log::open_early(&errors).expect("opens"));
        let log = channel(&path, None);
        log.0.file.unreported.store(7, Relaxed);
        put(&log, "fits again");
        flush_thread();
        put(&log, "and again");
        flush_thread();
        error_log::set_default(error_log::ErrorLogs::new([].into()));
        let text = read(&errors);
        assert_eq!(text.matches("works again, 7 more lines lost").count(), 1);
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn behind_a_torn_line_a_new_one_begins() {
        let (_directory, path) = directory();
        let log = open(&path, &mut Vec::new()).expect("opens");
        std::fs::write(&path, "half").expect("writes");
        log.handle.write().is_torn = true;
        log.write(Piece::Lines(b"whole\n")).ok().expect("writes");
        log.write(Piece::Lines(b"next\n")).ok().expect("writes");
        assert_eq!(read(&path), "half\nwhole\nnext\n");
    }

    #[test]
    fn a_pipe_that_is_full_gets_its_lines_later_and_whole() {
        let _alone = fixture::alone();
        let (_directory, path) = directory();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600))
            .expect("a pipe");
        assert!(
            open(&path, &mut Vec::new()).is_err(),
            "nobody reads: an error instead of a wait without end"
        );
        let mut reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&path)
            .expect("opens");
        let log = channel(&path, None);
        let before = dropped_lines();
        let mut put_bytes = 0;
        let mut number = 0;
        while BACKLOGGED.load(Relaxed) == 0 || number % 10 != 0 {
            let line = format!("{number} {}", "y".repeat(997));
            put_bytes += line.len() + 1;
            put(&log, &line);
            flush_thread();
            number += 1;
        }
        assert!(is_waiting());
        let mut bytes = Vec::new();
        while bytes.len() < put_bytes {
            // What is there is read, and the next tick writes more.
            let _ = reader.read_to_end(&mut bytes);
            tick();
        }
        assert_eq!(BACKLOGGED.load(Relaxed), 0);
        let text = String::from_utf8(bytes).expect("a text");
        for (position, line) in text.lines().enumerate() {
            assert_eq!(line, format!("{position} {}", "y".repeat(997)));
        }
        assert_eq!(text.lines().count(), number);

        // When it stays full, lines are dropped at last, and the reader still sees whole ones.
        for _ in 0..1000 {
            put(&log, &"z".repeat(999));
            flush_thread();
        }
        assert!(dropped_lines() > before);
        let mut bytes = Vec::new();
        while BACKLOGGED.load(Relaxed) > 0 {
            let _ = reader.read_to_end(&mut bytes);
            tick();
        }
        let _ = reader.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).expect("a text");
        assert!(text.lines().all(|line| line == "z".repeat(999)));
        assert!(text.len() > BACKLOG_SIZE);
    }

    #[test]
    fn a_pipe_that_broke_costs_lines_and_nothing_else() {
        let _alone = fixture::alone();
        let (_directory, path) = directory();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o600))
            .expect("a pipe");
        let open_reader = || {
            OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open(&path)
                .expect("opens")
        };
        let reader = open_reader();
        let log = channel(&path, None);
        drop(reader);
        let before = dropped_lines();
        put(&log, "lost");
        flush_thread();
        assert!(dropped_lines() > before);
    }

    #[test]
    fn root_gives_new_files_to_the_user_but_not_those_of_others() {
        if !nix::unistd::geteuid().is_root() {
            // Only root can give files away; for others the owner is not touched.
            assert_eq!(owner(), None);
            return;
        }
        let _alone = fixture::alone();
        let (directory, path) = directory();
        let foreign = directory.path().join("foreign");
        std::fs::write(&foreign, "").expect("writes");
        let link = directory.path().join("link");
        symlink(&foreign, &link).expect("a link");
        set_owner(Some(65_534));
        let opened = (
            append_to(&path),
            append_to(&link),
            open(&directory.path().join("new/error.log"), &mut Vec::new()),
        );
        set_owner(None);
        assert!(opened.0.is_ok() && opened.1.is_ok() && opened.2.is_ok());
        let uid = |path: &Path| path.metadata().expect("a file").uid();
        assert_eq!(uid(&path), 65_534);
        assert_eq!(uid(&foreign), 0);
        assert_eq!(uid(&directory.path().join("new")), 65_534);
        assert_eq!(uid(&directory.path().join("new/error.log")), 65_534);
    }

    proptest! {
        #[test]
        fn a_cut_keeps_what_has_begun_and_splits_no_line(
            lines in prop::collection::vec("[a-z]{0,9}", 1..9),
            written: prop::sample::Index,
            room in 0_usize..40,
        ) {
            let text = lines.join("\n") + "\n";
            let bytes = text.as_bytes();
            let written = written.index(bytes.len());
            let kept = Piece::Lines(bytes).cut(written, room);
            prop_assert!(kept >= written && kept <= bytes.len());
            prop_assert!(kept == written || bytes[kept - 1] == b'\n');
            prop_assert!(kept == 0 || bytes[kept - 1] == b'\n');
            let is_begun = written > 0 && bytes[written - 1] != b'\n';
            let begun = match text[written..].find('\n') {
                Some(at) if is_begun => at + 1,
                _ => 0,
            };
            prop_assert!(kept - written <= room.max(begun));
            let member = Piece::Member(bytes).cut(written, room);
            prop_assert!(member == bytes.len() || (member == 0 && written == 0));
        }
    }
}
