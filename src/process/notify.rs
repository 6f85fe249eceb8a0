//! Telling the service manager how far we are (sd_notify(3)): one datagram to the socket that
//! `NOTIFY_SOCKET` names. Without that variable nothing is sent.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::time::{ClockId, clock_gettime};

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

#[cfg(test)]
mod tests {
    use super::*;

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
