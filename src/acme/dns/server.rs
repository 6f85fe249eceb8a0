//! Asking one name server, by datagram or connection.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::message::Answer;
use crate::conf::typed::acme_dns::Transport;

/// A datagram is sent again after this.
const RESEND: Duration = Duration::from_secs(2);

/// So many datagrams are sent.
const TRIES: u32 = 3;

/// One exchange over a connection.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Sends a message and gives the bytes of an answer to it; one that was cut comes again whole.
pub(super) async fn ask(
    server: SocketAddr,
    transport: Transport,
    message: &[u8],
) -> io::Result<Vec<u8>> {
    if transport == Transport::Udp {
        let answer = by_datagram(server, message).await?;
        match Answer::parse(&answer) {
            Some(parsed) if parsed.is_truncated => {}
            _ => return Ok(answer),
        }
    }
    tokio::time::timeout(TIMEOUT, by_connection(server, message))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A number that nobody can guess, for a message.
pub(super) fn identifier() -> u16 {
    let mut bytes = [0; 2];
    // Without it a datagram of somebody else could pass for the answer; but it is signed or harmless.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u16::from_be_bytes(bytes)
}

async fn by_datagram(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let local: SocketAddr = match server {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(local).await?;
    // Datagrams of others do not reach a connected socket.
    socket.connect(server).await?;
    let mut buffer = vec![0; 4096];
    for _ in 0..TRIES {
        socket.send(message).await?;
        let answer = async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                // The first two bytes are the identifier.
                if length >= 12 && buffer[..2] == message[..2] {
                    return io::Result::Ok(length);
                }
            }
        };
        if let Ok(length) = tokio::time::timeout(RESEND, answer).await {
            buffer.truncate(length?);
            return Ok(buffer);
        }
    }
    Err(io::ErrorKind::TimedOut.into())
}

async fn by_connection(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut out = length.to_be_bytes().to_vec();
    out.extend(message);
    stream.write_all(&out).await?;
    let mut buffer = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut buffer).await?;
    match buffer.len() >= 12 && buffer[..2] == message[..2] {
        true => Ok(buffer),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}
