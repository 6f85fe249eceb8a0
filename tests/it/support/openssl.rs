//! `openssl s_client`, for what a handshake comes to.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a handshake came to.
#[derive(Debug)]
pub struct Handshake {
    /// Everything that openssl says, on both channels.
    pub said: String,
}

/// Shakes hands with a server on this machine and goes; with a name unless `name` is empty.
pub fn shake_hands(port: u16, name: &str, arguments: &[&str]) -> Handshake {
    talk(port, name, arguments, "")
}

/// As [`shake_hands`], then asks for `/` and waits for the end of the answer.
pub fn request(port: u16, name: &str, arguments: &[&str]) -> Handshake {
    let text = format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n");
    // It would end with the text otherwise, before the answer.
    talk(port, name, &[arguments, &["-ign_eof"]].concat(), &text)
}

/// As [`shake_hands`], then sends some text.
pub fn talk(port: u16, name: &str, arguments: &[&str], text: &str) -> Handshake {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-connect", &format!("127.0.0.1:{port}")]);
    match name {
        "" => command.arg("-noservername"),
        name => command.args(["-servername", name]),
    };
    let mut child = command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl runs");
    if let Some(mut input) = child.stdin.take() {
        // It may have given up already.
        let _ = input.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().expect("openssl ends");
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    Handshake { said }
}

impl Handshake {
    /// Protocol and cipher; `None` if it failed.
    pub fn agreed(&self) -> Option<(&str, &str)> {
        let line = self.lines().find(|line| line.contains(", Cipher is "))?;
        let mut parts = line.split(", ");
        let (_, protocol, cipher) = (parts.next()?, parts.next()?, parts.next()?);
        Some((protocol, cipher.strip_prefix("Cipher is ")?))
            .filter(|(_, cipher)| *cipher != "(NONE)")
    }

    /// Was a session taken up again?
    pub fn is_resumed(&self) -> bool {
        self.lines().any(|line| line.starts_with("Reused, "))
    }

    /// The body of the answer, if it is one line.
    pub fn body(&self) -> Option<&str> {
        let (_, rest) = self.said.split_once("\r\n\r\n")?;
        rest.lines().next()
    }

    fn lines(&self) -> impl Iterator<Item = &str> {
        self.said.lines()
    }
}
