//! A backend that records every request exactly and answers as the request asks.
//!
//! The field `X-Answer` of a request says how it is answered: words separated by spaces, values with
//! percent escapes.
//!
//! | word | meaning |
//! | --- | --- |
//! | `status=404` | the status, 200 by default |
//! | `text=a%20b`, `body=1000` | the body itself, or so many bytes of a pattern |
//! | `type=text/html`, `notype` | the Content-Type, `text/plain` by default |
//! | `field=Name:value` | one more field; may repeat |
//! | `chunked`, `close`, `length=9` | the framing: chunked, until close, or a length that need not be true |
//! | `noframing` | neither Content-Length nor Transfer-Encoding, and no body |
//! | `trailer=Name:value` | a trailer field, with `chunked` |
//! | `cut=10` | the connection closes after so many bytes of the body |
//! | `interim=103` | an interim answer before the final one; may repeat |
//! | `early` | answer when the head is read, leave the body unread and close |
//! | `delay=50` | milliseconds before the answer |
//! | `drop` | close without an answer |
//! | `version=1.0` | the version in the status line |
//! | `reason=Fine` | the reason phrase |
//! | `raw=…` | these bytes and nothing else, then close |
//! | `bye` | say `Connection: close` and close |

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::ports::{Port, reserve};
use super::wire::{End, Field, Head, Reader};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The name of the backend it arrived at.
    pub backend: String,
    /// Which connection of that backend it came over, from 0.
    pub connection: usize,
    pub head: Head,
    pub body: Vec<u8>,
    pub trailers: Vec<Field>,
    number: usize,
}

/// What a backend does with the connection after an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    NextRequest,
    Close,
}

/// The requests that arrived, in order, at all the backends that share it.
#[derive(Clone, Default)]
pub struct Record {
    seen: Arc<Mutex<Vec<Seen>>>,
    count: Arc<AtomicUsize>,
}

impl Record {
    /// Every request so far, or since the last [`Record::take`].
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no writer panics").clone()
    }

    /// Hands out what is recorded and begins anew.
    pub fn take(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.seen.lock().expect("no writer panics"))
    }
}

/// A request whose body is not read yet, and the connection it came over.
pub struct Exchange<'a> {
    pub seen: Seen,
    pub reader: &'a mut Reader<Stream>,
    record: &'a Record,
}

impl Exchange<'_> {
    /// Reads the body and adds it to the record.
    pub fn read_body(&mut self) -> Result<(), End> {
        let mut body = Vec::new();
        let mut trailers = Vec::new();
        let end = if self.seen.head.lists("Transfer-Encoding", "chunked") {
            self.reader.chunked(&mut body, &mut trailers)
        } else {
            let length = self
                .seen
                .head
                .value("Content-Length")
                .map_or(Ok(0), |length| length.trim().parse())
                .map_err(|_| End::Malformed)?;
            self.reader.exactly(length, &mut body)
        };
        self.seen.body = body;
        self.seen.trailers = trailers;
        let mut record = self.record.seen.lock().expect("no writer panics");
        let entry = record
            .iter_mut()
            .rfind(|entry| entry.number == self.seen.number);
        // A test that took the record has no more interest in this request.
        if let Some(entry) = entry {
            entry.clone_from(&self.seen);
        }
        end
    }

    /// Sends bytes to the proxy, which may have gone.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.stream.write_all(bytes.as_ref()).is_ok()
    }
}

/// A stream of either family.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

type Script = dyn Fn(&mut Exchange<'_>) -> Then + Send + Sync;

/// A listening backend. When it is dropped it stops listening and cuts its connections.
pub struct Backend {
    address: Address,
    record: Record,
    connections: Arc<AtomicUsize>,
    stopping: Arc<AtomicBool>,
    failed: Arc<AtomicBool>,
    open: Arc<Mutex<HashMap<usize, Stream>>>,
    listener: Option<JoinHandle<()>>,
}

enum Address {
    Tcp(Port),
    Unix(PathBuf),
}

impl Backend {
    /// Starts a backend on a free port which answers as the requests ask.
    pub fn start() -> Self {
        Self::named("backend", &Record::default())
    }

    /// The same with a name of its own and a record shared with others.
    pub fn named(name: &str, record: &Record) -> Self {
        Self::listen(name, record, answer_as_asked)
    }

    /// The same on a Unix socket.
    pub fn on_path(name: &str, path: &Path, record: &Record) -> Self {
        let listener = UnixListener::bind(path).expect("the socket's path must be free");
        let accept = move || listener.accept().map(|(stream, _)| Stream::Unix(stream));
        let address = Address::Unix(path.to_owned());
        Self::serve(address, name, record, accept, Arc::new(answer_as_asked))
    }

    /// Starts a backend whose answers are a function.
    pub fn scripted(script: impl Fn(&mut Exchange<'_>) -> Then + Send + Sync + 'static) -> Self {
        Self::listen("backend", &Record::default(), script)
    }

    fn listen(
        name: &str,
        record: &Record,
        script: impl Fn(&mut Exchange<'_>) -> Then + Send + Sync + 'static,
    ) -> Self {
        let port = reserve();
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, port.number)).expect("a reserved port is free");
        let accept = move || {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        };
        Self::serve(Address::Tcp(port), name, record, accept, Arc::new(script))
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        match self.address {
            Address::Tcp(ref port) => port.number,
            Address::Unix(_) => panic!("a backend on a Unix socket has no port"),
        }
    }

    /// Its address as configurations write it.
    pub fn address(&self) -> String {
        match &self.address {
            Address::Tcp(port) => format!("127.0.0.1:{}", port.number),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.record.seen()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// How many connections are open now.
    pub fn open(&self) -> usize {
        self.open.lock().expect("no writer panics").len()
    }

    /// Is this connection still open? See [`Seen::connection`].
    pub fn is_open(&self, connection: usize) -> bool {
        let open = self.open.lock().expect("no writer panics");
        open.contains_key(&connection)
    }

    fn serve(
        address: Address,
        name: &str,
        record: &Record,
        accept: impl Fn() -> io::Result<Stream> + Send + 'static,
        script: Arc<Script>,
    ) -> Self {
        let mut backend = Self {
            address,
            record: record.clone(),
            connections: Arc::default(),
            stopping: Arc::default(),
            failed: Arc::default(),
            open: Arc::default(),
            listener: None,
        };
        let record = record.clone();
        let connections = Arc::clone(&backend.connections);
        let stopping = Arc::clone(&backend.stopping);
        let open = Arc::clone(&backend.open);
        let failed = Arc::clone(&backend.failed);
        let name = name.to_owned();
        backend.listener = Some(thread::spawn(move || {
            while let Ok(stream) = accept() {
                if stopping.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(copy) = stream.copy() else { continue };
                let connection = connections.fetch_add(1, Ordering::SeqCst);
                open.lock()
                    .expect("no writer panics")
                    .insert(connection, copy);
                let record = record.clone();
                let script = Arc::clone(&script);
                let name = name.clone();
                let open = Arc::clone(&open);
                let failed = Arc::clone(&failed);
                thread::spawn(move || {
                    let _closing = Closing {
                        connection,
                        open,
                        failed,
                    };
                    let mut reader = Reader::new(stream);
                    while let Ok(head) = reader.head() {
                        let seen = Seen {
                            backend: name.clone(),
                            connection,
                            head,
                            body: Vec::new(),
                            trailers: Vec::new(),
                            number: record.count.fetch_add(1, Ordering::SeqCst),
                        };
                        record
                            .seen
                            .lock()
                            .expect("no writer panics")
                            .push(seen.clone());
                        let mut exchange = Exchange {
                            seen,
                            reader: &mut reader,
                            record: &record,
                        };
                        if script(&mut exchange) == Then::Close {
                            break;
                        }
                    }
                });
            }
        }));
        backend
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::SeqCst);
        // One more connection wakes the thread that waits for connections, and it leaves.
        let woken = match &self.address {
            Address::Tcp(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, port.number)).is_ok(),
            Address::Unix(path) => UnixStream::connect(path).is_ok(),
        };
        if let Some(listener) = self.listener.take().filter(|_| woken) {
            listener.join().expect("the accepting thread cannot panic");
        }
        for stream in self.open.lock().expect("no writer panics").values() {
            stream.close();
        }
        let failed = self.failed.load(Ordering::SeqCst);
        assert!(
            !failed || thread::panicking(),
            "a backend could not do what it was asked"
        );
    }
}

/// Ends a connection when its thread ends, also by a panic.
struct Closing {
    connection: usize,
    open: Arc<Mutex<HashMap<usize, Stream>>>,
    failed: Arc<AtomicBool>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        if thread::panicking() {
            self.failed.store(true, Ordering::SeqCst);
        }
        let stream = self
            .open
            .lock()
            .expect("no writer panics")
            .remove(&self.connection);
        if let Some(stream) = stream {
            stream.close();
        }
    }
}

impl Stream {
    fn copy(&self) -> io::Result<Self> {
        match self {
            Self::Tcp(stream) => stream.try_clone().map(Self::Tcp),
            Self::Unix(stream) => stream.try_clone().map(Self::Unix),
        }
    }

    fn close(&self) {
        // It fails only where the proxy was first.
        let _closed_already = match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Both),
            Self::Unix(stream) => stream.shutdown(Shutdown::Both),
        };
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(buffer),
            Self::Unix(stream) => stream.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body of this length whose every part tells its place.
pub fn pattern(length: usize) -> Vec<u8> {
    (0..)
        .flat_map(|line: u32| format!("{line:07}\n").into_bytes())
        .take(length)
        .collect()
}

/// Reads the body and answers by the field `X-Answer`, see the head of this file.
pub fn answer_as_asked(exchange: &mut Exchange<'_>) -> Then {
    let head = exchange.seen.head.clone();
    let asked: Vec<(&str, String)> = head
        .value("X-Answer")
        .unwrap_or_default()
        .split_ascii_whitespace()
        .map(|word| {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            (name, unescape(value))
        })
        .collect();
    let find = |name: &str| {
        asked
            .iter()
            .find(|(word, _)| *word == name)
            .map(|(_, value)| value.as_str())
    };
    let number = |name: &str| {
        find(name).map(|value| {
            value
                .parse::<usize>()
                .unwrap_or_else(|_| panic!("`{name}={value}` in X-Answer is no number"))
        })
    };
    let all = |name: &'static str| {
        asked
            .iter()
            .filter(move |(word, _)| *word == name)
            .map(|(_, value)| value.as_str())
    };
    if find("early").is_none() && exchange.read_body().is_err() {
        return Then::Close;
    }
    if let Some(delay) = number("delay") {
        thread::sleep(Duration::from_millis(delay as u64));
    }
    for status in all("interim") {
        exchange.send(format!(
            "HTTP/1.1 {status} Interim\r\nX-Interim: {status}\r\n\r\n"
        ));
    }
    if find("drop").is_some() {
        return Then::Close;
    }
    if let Some(raw) = find("raw") {
        exchange.send(raw.chars().map(|each| each as u8).collect::<Vec<u8>>());
        return Then::Close;
    }
    let body = match (find("text"), number("body")) {
        (Some(text), _) => text.chars().map(|each| each as u8).collect(),
        (None, Some(length)) => pattern(length),
        (None, None) => format!("answer of {}\n", exchange.seen.backend).into_bytes(),
    };
    let version = find("version").unwrap_or("1.1");
    let status = find("status").unwrap_or("200");
    let reason = find("reason").unwrap_or("Fine");
    let mut answer = format!("HTTP/{version} {status} {reason}\r\n");
    if find("notype").is_none() {
        let content_type = find("type").unwrap_or("text/plain");
        answer += &format!("Content-Type: {content_type}\r\n");
    }
    for field in all("field") {
        let (name, value) = field.split_once(':').unwrap_or((field, ""));
        answer += &format!("{name}: {value}\r\n");
    }
    let told_by_head =
        exchange.seen.head.line.starts_with("HEAD ") || matches!(status, "204" | "304");
    let bodiless = told_by_head || find("noframing").is_some();
    let chunked = find("chunked").is_some();
    let until_close = find("close").is_some();
    let last = (until_close && !told_by_head)
        || find("bye").is_some()
        || find("early").is_some()
        || find("cut").is_some()
        || exchange.seen.head.lists("Connection", "close")
        || exchange.seen.head.line.ends_with("HTTP/1.0");
    if chunked {
        answer += "Transfer-Encoding: chunked\r\n";
    } else if !until_close && find("noframing").is_none() && status != "204" {
        let length = number("length").unwrap_or(body.len());
        answer += &format!("Content-Length: {length}\r\n");
    }
    if find("bye").is_some() {
        answer += "Connection: close\r\n";
    }
    answer += "\r\n";
    let mut bytes = answer.chars().map(|each| each as u8).collect::<Vec<u8>>();
    let whole = number("cut").is_none_or(|cut| cut >= body.len());
    let body = &body[..number("cut").unwrap_or(body.len()).min(body.len())];
    if bodiless {
        // The head is all there is.
    } else if chunked {
        // Two chunks where there is enough for two: the seam must not show.
        for part in body
            .chunks(body.len().div_ceil(2).max(1))
            .filter(|part| !part.is_empty())
        {
            bytes.extend(format!("{:x}\r\n", part.len()).into_bytes());
            bytes.extend(part);
            bytes.extend(b"\r\n");
        }
        if whole {
            bytes.extend(b"0\r\n");
            for trailer in all("trailer") {
                let (name, value) = trailer.split_once(':').unwrap_or((trailer, ""));
                bytes.extend(format!("{name}: {value}\r\n").into_bytes());
            }
            bytes.extend(b"\r\n");
        }
    } else {
        bytes.extend(body);
    }
    if !exchange.send(bytes) || last {
        return Then::Close;
    }
    Then::NextRequest
}

/// Decodes percent escapes, byte for byte.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain += before;
        let digits = after.get(..2).unwrap_or_default();
        let byte = u8::from_str_radix(digits, 16)
            .unwrap_or_else(|_| panic!("`%{digits}` in X-Answer is no escape"));
        plain.push(char::from(byte));
        rest = &after[2..];
    }
    plain + rest
}
