//! A raw HTTP/1 client: it sends the bytes it is given and shows the bytes that come back.

use std::io::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::wire::{End, Field, Head, Reader, first};

/// How long a test waits for bytes before it calls the server stuck.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the end of an answer's body was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none: `HEAD`, 1xx, 204, 304.
    NoBody,
    Length,
    Chunked,
    UntilClose,
}

/// One answer as it stood on the wire.
#[derive(Debug, Clone)]
pub struct Answer {
    pub line: String,
    pub status: u16,
    pub fields: Vec<Field>,
    pub body: Vec<u8>,
    pub framing: Framing,
    pub trailers: Vec<Field>,
    /// How the connection ended, if it did before the answer was whole.
    pub cut: Option<End>,
    /// Bytes on the wire: the head with its empty line, and the body with its framing.
    pub head_size: usize,
    pub body_size: usize,
}

impl Answer {
    /// The value of the first field of this name, whatever its case.
    pub fn value(&self, name: &str) -> Option<&str> {
        first(&self.fields, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        super::wire::latin1(&self.body)
    }

    /// Whether the server said that it closes the connection after this answer.
    pub fn says_close(&self) -> bool {
        let head = Head {
            line: String::new(),
            fields: self.fields.clone(),
        };
        head.lists("Connection", "close")
            || (self.line.starts_with("HTTP/1.0") && !head.lists("Connection", "keep-alive"))
            || self.framing == Framing::UntilClose
    }
}

/// A connection to a server.
pub struct Client {
    reader: Reader<TcpStream>,
}

impl Client {
    /// Connects to a port of this machine.
    pub fn connect(port: u16) -> Self {
        Self::try_connect(port).expect("the server must accept a connection")
    }

    /// Connects to a port of this machine, where it may be that nothing listens.
    pub fn try_connect(port: u16) -> std::io::Result<Self> {
        Self::over(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?)
    }

    /// Connects from another address of the loopback.
    pub fn connect_from(address: Ipv4Addr, port: u16) -> Self {
        // A bound socket takes its port away from all others, for a minute after its end too.
        if address == Ipv4Addr::LOCALHOST {
            return Self::connect(port);
        }
        let connect = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((address, 0)).into())?;
            socket.connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
            Self::over(socket.into())
        };
        connect().expect("the server must accept a connection")
    }

    fn over(stream: TcpStream) -> std::io::Result<Self> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self {
            reader: Reader::new(stream),
        })
    }

    /// Sends bytes. A server that refuses may close before it has read them all: what it answered
    /// is still to be read, so a failed write is not a failed test.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.reader.stream.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends a request and reads its final answer.
    pub fn ask(&mut self, request: &str) -> Answer {
        self.send(request);
        let method = request.split(' ').next().unwrap_or_default();
        self.answer(method)
    }

    /// Reads the next final answer to a request of this method.
    pub fn answer(&mut self, method: &str) -> Answer {
        loop {
            let answer = self
                .next_answer(method)
                .unwrap_or_else(|end| panic!("the server must answer `{method}`, got {end:?}"));
            if answer.status >= 200 || answer.status == 101 {
                return answer;
            }
        }
    }

    /// Reads the next answer, interim ones too. `Err` says how the connection ended before it.
    pub fn next_answer(&mut self, method: &str) -> Result<Answer, End> {
        let before = self.reader.used;
        let head = self.reader.head()?;
        let head_size = self.reader.used - before;
        let status = head
            .line
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok())
            .ok_or(End::Malformed)?;
        let mut body = Vec::new();
        let mut trailers = Vec::new();
        let (framing, end) = if method == "HEAD" || status < 200 || matches!(status, 204 | 304) {
            (Framing::NoBody, Ok(()))
        } else if head.lists("Transfer-Encoding", "chunked") {
            let end = self.reader.chunked(&mut body, &mut trailers);
            (Framing::Chunked, end)
        } else if let Some(length) = head.value("Content-Length") {
            let length = length.trim().parse().map_err(|_| End::Malformed)?;
            (Framing::Length, self.reader.exactly(length, &mut body))
        } else {
            let end = match self.reader.until_end(&mut body) {
                End::Closed => Ok(()),
                other => Err(other),
            };
            (Framing::UntilClose, end)
        };
        Ok(Answer {
            status,
            line: head.line,
            fields: head.fields,
            body,
            framing,
            trailers,
            cut: end.err(),
            head_size,
            body_size: self.reader.used - before - head_size,
        })
    }

    /// Reads so many bytes of whatever comes, as in a tunnel.
    pub fn bytes(&mut self, count: usize) -> Result<Vec<u8>, End> {
        let mut bytes = Vec::new();
        self.reader.exactly(count, &mut bytes).map(|()| bytes)
    }

    /// Reads until the server ends the connection.
    pub fn rest(&mut self) -> (Vec<u8>, End) {
        let mut bytes = Vec::new();
        let end = self.reader.until_end(&mut bytes);
        (bytes, end)
    }

    /// Says that nothing more will be sent; the server may still send.
    pub fn finish_sending(&mut self) {
        // The server may have closed already: then there is nothing left to say.
        let _closed_already = self.reader.stream.shutdown(Shutdown::Write);
    }
}
