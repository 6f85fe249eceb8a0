//! Telling the service manager how far we are (sd_notify(3)): one datagram to the socket that
//! `NOTIFY_SOCKET` names. Without that variable nothing is sent.
//!
//! The manager also keeps the listening sockets if it offers to (`FDSTORE`, set by systemd 254 and by
//! our unit for older ones). They stay open when the program ends and come back with its next start
//! ([`super::inherited`]), so that no connection is refused meanwhile. A socket file goes with the
//! program, so sockets that have one are not kept.

use std::ffi::OsStr;
use std::io::{IoSlice, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixStream};
use std::time::Duration;

use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::time::{ClockId, clock_gettime};

use crate::conf::typed::listen::Address;
use crate::net::listener::Sockets;

/// What the manager is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Every socket is bound and served; the line is for people who ask for the status.
    Ready(String),
    /// A configuration is being read; [`State::Ready`] follows, whatever came of it.
    Reloading,
    /// Nothing new is taken any more.
    Stopping,
    /// The main thread and all workers do their work, see [`super::watchdog`].
    Alive,
}

/// Tells it.
pub fn tell(state: &State) {
    if let Some(name) = std::env::var_os("NOTIFY_SOCKET") {
        // A manager that does not listen does not want to know.
        let _ = send(&name, &message(state));
    }
}

/// The sockets that the manager keeps are those of `now`; it has those of `before`.
pub fn keep_sockets(before: &Sockets, now: &Sockets) {
    let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|_| is_store_offered()) else {
        return;
    };
    // Without its help connections are refused during a restart, which is no reason to stop.
    for address in before.addresses() {
        if !now.addresses().any(|kept| kept == address) {
            let _ = send(&name, &let_go(address));
        }
    }
    for (address, sockets) in now.tcp() {
        if !before.addresses().any(|kept| kept == address) {
            let name_of_it = name_in_store(address);
            // Nothing is ever to be read from them, so the manager need not look.
            let text = format!("FDSTORE=1\nFDNAME={name_of_it}\nFDPOLL=0");
            for some in sockets.chunks(MOST_AT_ONCE) {
                let _ = send_with(&name, &text, some);
            }
        }
    }
}

/// The manager shall close the sockets of these addresses, which nobody serves any more; waits until
/// it has, as long as it does not take long.
pub fn forget_sockets(addresses: &[Address]) {
    let name = std::env::var_os("NOTIFY_SOCKET").filter(|_| is_store_offered());
    let Some(name) = name.filter(|_| !addresses.is_empty()) else {
        return;
    };
    for address in addresses {
        let _ = send(&name, &let_go(address));
    }
    // It closes what comes with a barrier once it has read all that was sent before
    // (sd_notify_barrier(3)).
    let Ok((mut ours, theirs)) = UnixStream::pair() else {
        return;
    };
    let is_sent = send_with(&name, "BARRIER=1", &[theirs.as_fd()]).is_ok();
    drop(theirs);
    if is_sent && ours.set_read_timeout(Some(PATIENCE)).is_ok() {
        let _ = ours.read(&mut [0]);
    }
}

/// How long the manager may take to close sockets.
const PATIENCE: Duration = Duration::from_secs(3);

/// What the kernel lets through in one message (`SCM_MAX_FD`).
const MOST_AT_ONCE: usize = 253;

fn is_store_offered() -> bool {
    let most = std::env::var("FDSTORE").ok();
    most.is_some_and(|most| most.parse().is_ok_and(|most: u32| most > 0))
}

fn let_go(address: &Address) -> String {
    format!("FDSTOREREMOVE=1\nFDNAME={}", name_in_store(address))
}

/// A colon would end it.
fn name_in_store(address: &Address) -> String {
    let text = address.to_string();
    text.replace(
        |letter: char| !letter.is_ascii_graphic() || letter == ':',
        "-",
    )
}

fn message(state: &State) -> String {
    match state {
        State::Ready(status) => {
            let number = std::process::id();
            format!("READY=1\nMAINPID={number}\nSTATUS={status}")
        }
        // The time tells the manager which request to reload this answers (`Type=notify-reload`).
        State::Reloading => {
            let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or_else(
                |_| String::new(),
                |now| {
                    let microseconds = now.tv_sec() * 1_000_000 + now.tv_nsec() / 1000;
                    format!("\nMONOTONIC_USEC={microseconds}")
                },
            );
            format!("RELOADING=1{time}\nSTATUS=reading the configuration")
        }
        State::Stopping => "STOPPING=1\nSTATUS=finishing what runs".to_owned(),
        State::Alive => "WATCHDOG=1".to_owned(),
    }
}

fn send(name: &OsStr, message: &str) -> std::io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A full queue must not stop the program.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(message.as_bytes(), &address)?;
    Ok(())
}

/// As [`send`], with descriptors.
fn send_with(name: &OsStr, message: &str, sockets: &[BorrowedFd<'_>]) -> std::io::Result<()> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => UnixAddr::new_abstract(name)?,
        path => UnixAddr::new(path)?,
    };
    let numbers: Vec<_> = sockets.iter().map(|socket| socket.as_raw_fd()).collect();
    sendmsg(
        UnixDatagram::unbound()?.as_raw_fd(),
        &[IoSlice::new(message.as_bytes())],
        &[ControlMessage::ScmRights(&numbers)],
        MsgFlags::MSG_DONTWAIT,
        Some(&address),
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_store_has_neither_colons_nor_spaces() {
        let name = |text: &str| name_in_store(&Address::Ip(text.parse().expect("an address")));
        assert_eq!(name("127.0.0.1:80"), "127.0.0.1-80");
        assert_eq!(name("[::1]:443"), "[--1]-443");
        let path = Address::Unix("/run/a b:ü".into());
        assert_eq!(name_in_store(&path), "unix-/run/a-b--");
    }

    #[test]
    fn a_datagram_reaches_a_path_and_an_abstract_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).expect("a fresh path");
        let name = format!("openclaw-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let abstract_name = UnixDatagram::bind_addr(&address).expect("a fresh name");
        let ready = State::Ready("serving".to_owned());
        send(path.as_os_str(), &message(&ready)).expect("somebody listens");
        send(OsStr::new(&format!("@{name}")), &message(&State::Stopping)).expect("as above");
        let mut buffer = [0; 128];
        let length = by_path.recv(&mut buffer).expect("was sent");
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.starts_with("READY=1\n"), "{text}");
        assert!(text.ends_with("\nSTATUS=serving"), "{text}");
        let length = abstract_name.recv(&mut buffer).expect("was sent");
        assert!(buffer[..length].starts_with(b"STOPPING=1\n"));
    }

    #[test]
    fn a_reload_is_told_with_the_time_of_the_system() {
        let read = || {
            let text = message(&State::Reloading);
            let time = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
            let (time, _) = time.and_then(|rest| rest.split_once('\n')).expect("a time");
            time.parse::<u64>().expect("a number")
        };
        let first = read();
        assert!(first > 0 && read() >= first);
    }

    #[test]
    fn a_manager_that_is_gone_is_no_harm() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("nobody");
        send(path.as_os_str(), "READY=1").expect_err("nobody listens");
    }
}
