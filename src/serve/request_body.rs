//! The body of a request on its way to a peer: held in memory, in a temporary file, or streamed.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use super::downstream::{ClientError, Downstream};
use crate::http::buffer;
use crate::http::exchange::Exchange;
use crate::http::h1::chunked;

/// How much is read or sent at once.
const PIECE: usize = 32 << 10;

/// The body of a request.
#[derive(Debug)]
pub enum RequestBody {
    /// There is none.
    Empty,
    /// All of it, in memory.
    Memory(Vec<u8>),
    /// All of it, in a file.
    File(TemporaryFile),
    /// It is passed on as it arrives; nothing of it is kept.
    Stream {
        /// Its length, if the client told it; otherwise it is sent chunked.
        length: Option<u64>,
        /// Some of it was taken from the client: the request cannot be repeated.
        has_begun: bool,
    },
}

/// A file that is removed when it is no longer needed.
#[derive(Debug)]
pub struct TemporaryFile {
    file: File,
    path: PathBuf,
    length: u64,
}

impl TemporaryFile {
    /// A new file in a directory, which is made if it is missing; readable by its owner only.
    pub fn create(directory: &Path) -> std::io::Result<Self> {
        use std::os::unix::fs::OpenOptionsExt as _;
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut tries = 0;
        loop {
            let name = format!(
                "{:010}-{}",
                COUNT.fetch_add(1, Ordering::Relaxed),
                std::process::id()
            );
            let path = directory.join(name);
            match File::options()
                .read(true)
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
            {
                Ok(file) => {
                    return Ok(Self {
                        file,
                        path,
                        length: 0,
                    });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && tries == 0 => {
                    std::fs::create_dir_all(directory)?;
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && tries < 100 => {}
                Err(error) => return Err(error),
            }
            tries += 1;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.length += bytes.len() as u64;
        self.file.write_all(bytes)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // Whoever removed it before us did our work.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl RequestBody {
    /// Reads the body, or lets it stream. The inner error is the status to answer with.
    pub async fn prepare(
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        buffering: bool,
    ) -> Result<Result<Self, u16>, ClientError> {
        if downstream.is_body_complete() {
            return Ok(Ok(Self::Empty));
        }
        if !buffering {
            downstream.allow_body(exchange).await?;
            return Ok(Ok(Self::Stream {
                length: downstream.body_length(),
                has_begun: false,
            }));
        }
        let limit = exchange.settings.max_body_size.unwrap_or(u64::MAX);
        let in_memory = exchange.settings.body_buffer_size;
        let timeout = exchange.settings.body_timeout;
        let mut bytes = buffer::take_small();
        let mut file: Option<TemporaryFile> = None;
        loop {
            let is_complete = downstream
                .read_body(exchange, &mut bytes, PIECE, timeout)
                .await?;
            let length = file.as_ref().map_or(0, |file| file.length) + bytes.len() as u64;
            if length > limit {
                return Ok(Err(413));
            }
            if is_complete && file.is_none() {
                return Ok(Ok(match bytes.is_empty() {
                    true => Self::Empty,
                    false => Self::Memory(bytes),
                }));
            }
            if file.is_some() || bytes.len() > in_memory || is_complete {
                let kept = match &mut file {
                    Some(file) => Ok(file),
                    none => TemporaryFile::create(&exchange.settings.body_temp_path)
                        .map(|created| none.insert(created)),
                };
                if let Err(error) = kept.and_then(|file| file.append(&bytes)) {
                    tracing::error!(
                        "cannot keep a request body in {}: {error}",
                        exchange.settings.body_temp_path.display()
                    );
                    return Ok(Err(500));
                }
                bytes.clear();
            }
            if is_complete && let Some(file) = file {
                buffer::give_back(bytes);
                exchange.body_file = Some(file.path().to_owned());
                return Ok(Ok(Self::File(file)));
            }
        }
    }

    /// Its length; `None` when it is streamed and the client did not tell.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::Empty => Some(0),
            Self::Memory(bytes) => Some(bytes.len() as u64),
            Self::File(file) => Some(file.length),
            Self::Stream { length, .. } => *length,
        }
    }

    /// Could it be sent a second time?
    pub fn can_repeat(&self) -> bool {
        !matches!(
            self,
            Self::Stream {
                has_begun: true,
                ..
            }
        )
    }

    /// What of it is to be sent behind the head. `is_with_head` says that the head's write holds it.
    pub fn sender(&mut self, is_with_head: bool) -> Sender<'_> {
        let is_done = is_with_head || matches!(self, Self::Empty);
        if let Self::File(file) = self {
            // A second attempt sends from the start.
            let _ = file.file.rewind();
        }
        Sender {
            body: self,
            piece: Vec::new(),
            sent: 0,
            is_done,
            is_begun: false,
        }
    }

    /// Gives its memory back.
    pub fn give_back(self) {
        if let Self::Memory(bytes) = self {
            buffer::give_back(bytes);
        }
    }
}

/// Sends a body piece by piece.
#[derive(Debug)]
pub struct Sender<'a> {
    body: &'a mut RequestBody,
    piece: Vec<u8>,
    sent: usize,
    is_done: bool,
    is_begun: bool,
}

impl Sender<'_> {
    /// Makes the next piece ready; `Ok(false)` when everything was sent.
    pub fn poll_next(
        &mut self,
        context: &mut Context<'_>,
        exchange: &mut Exchange,
        downstream: &mut Downstream,
        timeout: Duration,
    ) -> Poll<Result<bool, ClientError>> {
        if self.sent < self.pending_length() {
            return Poll::Ready(Ok(true));
        }
        if self.is_done {
            return Poll::Ready(Ok(false));
        }
        match &mut *self.body {
            RequestBody::Empty => self.is_done = true,
            // The whole body is one piece; it was not begun, or it would be pending or done.
            RequestBody::Memory(_) => {
                self.is_done = self.is_begun;
                self.is_begun = true;
            }
            RequestBody::File(file) => {
                self.piece.resize(PIECE, 0);
                self.sent = 0;
                let count = file
                    .file
                    .read(&mut self.piece)
                    .map_err(|error| ClientError::Closed(Some(error)))?;
                self.piece.truncate(count);
                self.is_done = count == 0;
            }
            RequestBody::Stream { length, has_begun } => {
                let is_chunked = length.is_none();
                self.piece.clear();
                self.sent = 0;
                // Room for the chunk's head, which is known only when its payload is.
                const HEAD: usize = 10;
                if is_chunked {
                    self.piece.extend_from_slice(&[0; HEAD]);
                }
                let before = self.piece.len();
                let is_complete = loop {
                    match downstream.poll_body(context, exchange, &mut self.piece, PIECE, timeout) {
                        Poll::Ready(Ok(false)) if self.piece.len() == before => {}
                        Poll::Ready(result) => break result?,
                        Poll::Pending => {
                            self.piece.clear();
                            return Poll::Pending;
                        }
                    }
                };
                let count = self.piece.len() - before;
                *has_begun |= count > 0;
                if is_chunked {
                    if count > 0 {
                        let mut head = Vec::with_capacity(HEAD);
                        chunked::write_chunk_head(&mut head, count);
                        self.sent = HEAD - head.len();
                        self.piece[self.sent..HEAD].copy_from_slice(&head);
                        self.piece.extend_from_slice(b"\r\n");
                    } else {
                        self.piece.clear();
                    }
                    if is_complete {
                        self.piece.extend_from_slice(chunked::LAST_CHUNK);
                    }
                }
                self.is_done = is_complete;
            }
        }
        Poll::Ready(Ok(self.sent < self.pending_length()))
    }

    fn pending_length(&self) -> usize {
        match &*self.body {
            RequestBody::Memory(bytes) if self.is_begun && !self.is_done => bytes.len(),
            RequestBody::Memory(_) => 0,
            _ => self.piece.len(),
        }
    }

    /// The bytes to write next.
    pub fn pending(&self) -> &[u8] {
        match &*self.body {
            RequestBody::Memory(bytes) => &bytes[self.sent..],
            _ => &self.piece[self.sent..],
        }
    }

    /// So many of them were written.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
        if matches!(&*self.body, RequestBody::Memory(bytes) if self.sent >= bytes.len()) {
            self.is_done = true;
            self.sent = 0;
        }
    }

    /// The peer takes no more of it.
    pub fn abandon(&mut self) {
        self.piece.clear();
        self.sent = 0;
        self.is_done = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_file_is_made_with_its_directory_and_removed_with_its_owner() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().join("client_body_temp");
        let mut file = TemporaryFile::create(&place).expect("created");
        file.append(b"abc").expect("written");
        let path = file.path().to_owned();
        assert_eq!(std::fs::read(&path).expect("readable"), b"abc");
        drop(file);
        assert!(!path.exists());
    }
}
