//! Connecting to a peer.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpSocket, UnixStream};

use super::stream::Stream;
use crate::conf::typed::listen::Address;

/// A connection to an address, from a local address if one is given. `keepalive` switches the
/// system's probes on (`proxy_socket_keepalive`).
pub async fn connect(
    address: &Address,
    bind: Option<SocketAddr>,
    keepalive: bool,
) -> io::Result<Stream> {
    match address {
        Address::Unix(path) => Ok(Stream::Unix(UnixStream::connect(path).await?)),
        Address::Ip(address) => {
            let socket = match (bind, address) {
                (Some(bind), _) => bound(*address, bind)?,
                (None, SocketAddr::V4(_)) => TcpSocket::new_v4()?,
                (None, SocketAddr::V6(_)) => TcpSocket::new_v6()?,
            };
            if keepalive {
                SockRef::from(&socket).set_keepalive(true)?;
            }
            Ok(Stream::Tcp(socket.connect(*address).await?))
        }
    }
}

/// A socket bound to a local address whose port, if none is named, the system chooses only when it
/// connects: so many connections to different peers may share one (IP_BIND_ADDRESS_NO_PORT).
fn bound(address: SocketAddr, bind: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    if bind.port() == 0 && bind.is_ipv4() {
        let _ = nix::sys::socket::setsockopt(
            &socket,
            nix::sys::socket::sockopt::IpBindAddressNoPort,
            &true,
        );
    }
    socket.bind(&bind.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}
