//! An alert as a letter, and the dialog with a mail server that takes it (RFC 5321).
//!
//! Owns what is said and what of the answers is believed. Invariants: no more than `MOST` bytes of a
//! server are read; a password goes over TLS only; nothing of an alert can begin another field of the
//! letter, or another command; what a server says after a password was sent is not told.

use std::fmt::Write as _;
use std::io;
use std::sync::Arc;

use data_encoding::BASE64;
use rustls::pki_types::ServerName;
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::TlsConnector;

use super::message::Message;
use crate::conf::typed::alerts::{Mail, MailSecurity};
use crate::tls::fetch::Fetcher;
use crate::unit::printable::escape;

/// Of all that a server says, so much is read.
const MOST: usize = 32 << 10;

/// Of what it says about a refusal, so much is told.
const TOLD: usize = 200;

/// Bytes of a word of a field that is not ASCII: its line has at most 76 letters with the field's name
/// (RFC 2047, section 2).
const WORD: usize = 36;

/// Sends a letter to all who are to get it; the error has no secret in it. Takes as long as the server
/// likes: the caller's patience ends it.
///
/// # Errors
///
/// What is wrong, for people. Nobody has the letter then, but for a server that ends in between.
pub async fn send(
    fetcher: &Fetcher,
    mail: &Mail,
    password: Option<&str>,
    letter: &str,
    host: &str,
) -> Result<(), String> {
    let connected = fetcher.connect(&mail.host, mail.port).await;
    let stream = connected.map_err(|error| error.to_string())?;
    let tls = async |stream| {
        let name = ServerName::try_from(mail.host.to_string());
        let name = name.map_err(|_| "its name cannot be checked".to_owned())?;
        let config: Arc<ClientConfig> = fetcher.tls().await.map_err(|error| error.to_string())?;
        let connector = TlsConnector::from(config);
        let secured = connector.connect(name, stream).await;
        secured.map_err(|error| format!("no TLS with `{}`: {}", mail.host, reason(&error)))
    };
    let hello = format!("EHLO {}", hello(host));
    match mail.security {
        MailSecurity::Tls => {
            let mut dialog = Dialog::new(tls(stream).await?);
            dialog.expect("the greeting", 220).await?;
            dialog.deliver(mail, password, letter, &hello).await
        }
        MailSecurity::Plain => {
            let mut dialog = Dialog::new(stream);
            dialog.expect("the greeting", 220).await?;
            dialog.deliver(mail, None, letter, &hello).await
        }
        MailSecurity::StartTls => {
            let mut dialog = Dialog::new(stream);
            dialog.expect("the greeting", 220).await?;
            let offers = dialog.ask(&hello, "EHLO", 250).await?;
            if !offers
                .iter()
                .any(|line| line.eq_ignore_ascii_case("STARTTLS"))
            {
                return Err("it offers no STARTTLS".to_owned());
            }
            dialog.ask("STARTTLS", "STARTTLS", 220).await?;
            // What somebody in between put there would be taken for the server's later.
            if !dialog.ahead.is_empty() {
                return Err("it said more before TLS began than it may".to_owned());
            }
            let mut dialog = Dialog::new(tls(dialog.stream).await?);
            dialog.deliver(mail, password, letter, &hello).await
        }
    }
}

/// Why there is no TLS, with the way out where there is one.
fn reason(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            "its certificate is signed by nobody who is trusted; `ca=` names who is".to_owned()
        }
        _ => error.to_string(),
    }
}

/// What this machine calls itself (RFC 5321, section 4.1.1.1): its name if that is one.
fn hello(host: &str) -> &str {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    match !host.is_empty() && host.bytes().all(is_fit) {
        true => host,
        false => "localhost",
    }
}

struct Dialog<S> {
    stream: S,
    /// What was read and not looked at.
    ahead: Vec<u8>,
    /// What may still be read.
    left: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Dialog<S> {
    const fn new(stream: S) -> Self {
        Self {
            stream,
            ahead: Vec::new(),
            left: MOST,
        }
    }

    /// Everything from the name on.
    async fn deliver(
        &mut self,
        mail: &Mail,
        password: Option<&str>,
        letter: &str,
        hello: &str,
    ) -> Result<(), String> {
        let offers = self.ask(hello, "EHLO", 250).await?;
        if let (Some((user, _)), Some(password)) = (&mail.login, password) {
            self.log_in(&offers, user, password).await?;
        }
        self.ask(&format!("MAIL FROM:<{}>", mail.from), "MAIL", 250)
            .await?;
        for to in &mail.to {
            self.ask(&format!("RCPT TO:<{to}>"), "RCPT", 250).await?;
        }
        self.ask("DATA", "DATA", 354).await?;
        // No line of a letter begins with a dot: its text is Base64.
        self.ask(&format!("{letter}\r\n."), "the letter", 250)
            .await?;
        // It has the letter; how it says goodbye does not matter.
        let _ = self.say("QUIT").await;
        let _ = self.stream.shutdown().await;
        Ok(())
    }

    /// RFC 4954, with what everybody offers.
    async fn log_in(
        &mut self,
        offers: &[String],
        user: &str,
        password: &str,
    ) -> Result<(), String> {
        let ways = offers.iter().find_map(|line| {
            let (word, ways) = line.split_once([' ', '='])?;
            word.eq_ignore_ascii_case("AUTH")
                .then(|| ways.to_ascii_uppercase())
        });
        let ways = ways.unwrap_or_default();
        let offers = |way: &str| ways.split([' ', '=']).any(|offered| offered == way);
        let base64 = |text: &str| BASE64.encode(text.as_bytes());
        let lines = if offers("PLAIN") {
            vec![(
                format!("AUTH PLAIN {}", base64(&format!("\0{user}\0{password}"))),
                235,
            )]
        } else if offers("LOGIN") {
            vec![
                ("AUTH LOGIN".to_owned(), 334),
                (base64(user), 334),
                (base64(password), 235),
            ]
        } else {
            return Err("it offers neither AUTH PLAIN nor AUTH LOGIN".to_owned());
        };
        for (line, code) in lines {
            self.say(&line).await?;
            let (said, _) = self.reply().await?;
            if said != code {
                // Its words may repeat what it was told.
                return Err(format!("it answered {said} to the login"));
            }
        }
        Ok(())
    }

    /// Says a line and gives the lines of the answer, which has a code.
    async fn ask(&mut self, line: &str, what: &str, code: u16) -> Result<Vec<String>, String> {
        self.say(line).await?;
        self.expect(what, code).await
    }

    async fn say(&mut self, line: &str) -> Result<(), String> {
        let broken = |error: io::Error| format!("the connection broke off: {}", error.kind());
        let line = format!("{line}\r\n");
        self.stream
            .write_all(line.as_bytes())
            .await
            .map_err(broken)?;
        self.stream.flush().await.map_err(broken)
    }

    async fn expect(&mut self, what: &str, code: u16) -> Result<Vec<String>, String> {
        let (said, lines) = self.reply().await?;
        // 251 is as good as 250 (RFC 5321, section 3.4).
        if said == code || (code == 250 && said == 251) {
            return Ok(lines);
        }
        let text = lines.join(" ");
        let text: String = escape(&text).chars().take(TOLD).collect();
        Err(format!("it answered {said} to {what}: {text}"))
    }

    /// An answer: its code, and the text of its lines.
    async fn reply(&mut self) -> Result<(u16, Vec<String>), String> {
        let mut lines = Vec::new();
        loop {
            let line = self.line().await?;
            let text = String::from_utf8_lossy(&line);
            let code = text.get(..3).and_then(|code| code.parse::<u16>().ok());
            let code = code.filter(|code| (200..600).contains(code));
            let Some(code) = code else {
                return Err("it does not speak SMTP".to_owned());
            };
            lines.push(text.get(4..).unwrap_or_default().trim_end().to_owned());
            if text.as_bytes().get(3) != Some(&b'-') {
                return Ok((code, lines));
            }
        }
    }

    async fn line(&mut self) -> Result<Vec<u8>, String> {
        loop {
            if let Some(end) = self.ahead.iter().position(|byte| *byte == b'\n') {
                let rest = self.ahead.split_off(end + 1);
                return Ok(std::mem::replace(&mut self.ahead, rest));
            }
            let mut part = [0; 1024];
            let room = part.len().min(self.left);
            if room == 0 {
                return Err(format!("it said more than {MOST} bytes"));
            }
            match self.stream.read(&mut part[..room]).await {
                Ok(0) => return Err("it ended the connection".to_owned()),
                Ok(count) => {
                    self.left -= count;
                    self.ahead.extend_from_slice(&part[..count]);
                }
                Err(error) => return Err(format!("the connection broke off: {}", error.kind())),
            }
        }
    }
}

impl Message<'_> {
    /// The letter that tells it (RFC 5322), with its empty last line left out.
    #[must_use]
    pub fn letter(&self, mail: &Mail) -> String {
        let at = i64::try_from(self.at).ok();
        let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
        let date = at.and_then(|at| {
            let zoned = at.to_zoned(jiff::tz::TimeZone::UTC);
            jiff::fmt::rfc2822::to_string(&zoned).ok()
        });
        let subject = format!("{}: {} ({})", self.host, self.text, self.kind);
        let subject: String = subject.chars().take(120).collect();
        let text = format!(
            "{}\r\n\r\nkind:      {}\r\nabout:     {}\r\nseverity:  {}\r\nmachine:   {}\r\n\
             number:    {}\r\n",
            escape(self.text),
            self.kind,
            escape(self.subject),
            self.severity,
            self.host,
            self.id
        );
        let mut letter = String::new();
        if let Some(date) = date {
            let _ = write!(letter, "Date: {date}\r\n");
        }
        // Writing to a string does not fail.
        let _ = write!(
            letter,
            "From: <{}>\r\nTo: <{}>\r\nSubject: {}\r\nMessage-ID: <{}@{}>\r\n\
             Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n",
            mail.from,
            mail.to.join(">,\r\n <"),
            words(&subject),
            self.id,
            hello(self.host),
        );
        // At most 76 letters in a line (RFC 2045, section 6.8).
        for line in BASE64.encode(text.as_bytes()).as_bytes().chunks(76) {
            let _ = write!(letter, "\r\n{}", String::from_utf8_lossy(line));
        }
        letter
    }
}

/// A text in a field: encoded words, of whole characters, one in a line (RFC 2047).
fn words(text: &str) -> String {
    let mut words = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (word, behind) = rest.split_at(rest.floor_char_boundary(WORD));
        words.push(format!("=?utf-8?B?{}?=", BASE64.encode(word.as_bytes())));
        rest = behind;
    }
    words.join("\r\n ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
    use tokio::io::{AsyncBufReadExt as _, BufReader};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::conf::typed::secret::SecretSource;
    use crate::tls::fetch::Trust;
    use crate::tls::provider::provider;

    const LONG: Duration = Duration::from_secs(60);

    fn mail(port: u16, security: MailSecurity) -> Mail {
        Mail {
            host: "localhost".into(),
            port,
            security,
            from: "proxy@example.com".into(),
            to: vec!["ann@example.com".into(), "bob@example.com".into()],
            login: Some(("ann".into(), SecretSource::Literal("pass word".into()))),
            authorities: None,
        }
    }

    const MESSAGE: Message<'_> = Message {
        id: "msg_1",
        at: 1_614_265_330,
        kind: "spend.spike",
        subject: "user \u{e4}\r\nBcc: x@example.com",
        severity: "bad",
        text: "der Nutzer `\u{e4}\u{1f600}` hat \r\nBcc: eve@example.com\r\n.\r\nQUIT viel gebraucht",
        host: "pi",
    };

    /// A certificate for localhost, and its root.
    fn acceptor() -> (TlsAcceptor, CertificateDer<'static>) {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are good names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
        let root = root.expect("a root");
        let key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(vec!["localhost".to_owned()])
            .and_then(|params| params.signed_by(&key, &root))
            .expect("a leaf");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = rustls::ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .expect("they fit");
        (TlsAcceptor::from(Arc::new(config)), root.der().clone())
    }

    /// Speaks as a mail server, offering ways to log in, and writes down what it is told.
    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
        stream: S,
        offers: &str,
        greets: bool,
        heard: &mut Vec<String>,
    ) -> S {
        let mut stream = BufReader::new(stream);
        if greets {
            stream.write_all(b"220 mail ready\r\n").await.expect("said");
        }
        let mut is_letter = false;
        loop {
            let mut line = String::new();
            if matches!(stream.read_line(&mut line).await, Err(_) | Ok(0)) {
                return stream.into_inner();
            }
            let line = line.trim_end().to_owned();
            let answer = match (&*line, is_letter) {
                (".", true) => "250 taken",
                (_, true) => "",
                (line, _) if line.starts_with("EHLO") => offers,
                ("DATA", _) => "354 go on",
                ("STARTTLS", _) => "220 go on",
                ("AUTH LOGIN" | "YW5u", _) => "334 VXNlcm5hbWU6",
                (line, _) if line.starts_with("AUTH") || line == "cGFzcyB3b3Jk" => "235 in",
                _ => "250 fine",
            };
            is_letter = (is_letter && line != ".") || line == "DATA";
            heard.push(line.clone());
            if line == "QUIT" {
                return stream.into_inner();
            }
            if !answer.is_empty() {
                let answer = format!("{answer}\r\n");
                stream.write_all(answer.as_bytes()).await.expect("said");
            }
            if line == "STARTTLS" {
                return stream.into_inner();
            }
        }
    }

    /// A mail server for one conversation: its port, its root, and what it was told.
    async fn server(
        security: MailSecurity,
        offers: &'static str,
    ) -> (u16, CertificateDer<'static>, JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let (acceptor, root) = acceptor();
        let heard = tokio::spawn(async move {
            let (stream, _) = listener.accept().await.expect("somebody");
            let mut heard = Vec::new();
            match security {
                MailSecurity::Plain => {
                    converse(stream, offers, true, &mut heard).await;
                }
                MailSecurity::Tls => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, offers, true, &mut heard).await;
                    }
                }
                MailSecurity::StartTls => {
                    let first = "250-mail\r\n250 STARTTLS";
                    let stream = converse(stream, first, true, &mut heard).await;
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, offers, false, &mut heard).await;
                    }
                }
            }
            heard
        });
        (port, root, heard)
    }

    async fn sent(
        security: MailSecurity,
        offers: &'static str,
        trusts: bool,
    ) -> (Result<(), String>, Vec<String>) {
        let (port, root, heard) = server(security, offers).await;
        let trust = if trusts {
            Trust::Roots(vec![root])
        } else {
            Trust::System
        };
        let fetcher = Fetcher::new(trust).expect("a fetcher");
        let mail = mail(port, security);
        let letter = MESSAGE.letter(&mail);
        let sending = send(&fetcher, &mail, Some("pass word"), &letter, "pi");
        let outcome = tokio::time::timeout(LONG, sending).await.expect("in time");
        drop(fetcher);
        (outcome, heard.await.expect("heard"))
    }

    #[tokio::test]
    async fn a_letter_goes_over_tls_with_a_login_and_to_all() {
        for (security, offers, login) in [
            (
                MailSecurity::Tls,
                "250-mail\r\n250 AUTH LOGIN PLAIN",
                &["AUTH PLAIN AGFubgBwYXNzIHdvcmQ="][..],
            ),
            (
                MailSecurity::StartTls,
                "250-mail\r\n250 AUTH LOGIN",
                &["AUTH LOGIN", "YW5u", "cGFzcyB3b3Jk"][..],
            ),
        ] {
            let (outcome, heard) = sent(security, offers, true).await;
            assert_eq!(outcome, Ok(()));
            let begin = match security {
                MailSecurity::StartTls => &["EHLO pi", "STARTTLS", "EHLO pi"][..],
                _ => &["EHLO pi"][..],
            };
            let expected = [
                begin,
                login,
                &[
                    "MAIL FROM:<proxy@example.com>",
                    "RCPT TO:<ann@example.com>",
                    "RCPT TO:<bob@example.com>",
                    "DATA",
                ],
            ]
            .concat();
            assert_eq!(heard[..expected.len()], expected);
            let end = heard.iter().rposition(|line| line == ".").expect("an end");
            assert_eq!(heard[end + 1..], ["QUIT"]);
        }
    }

    #[tokio::test]
    async fn a_password_goes_to_nobody_who_is_not_known() {
        for security in [MailSecurity::Tls, MailSecurity::StartTls] {
            let (outcome, heard) = sent(security, "250 AUTH PLAIN", false).await;
            let why = outcome.expect_err("not trusted");
            assert!(why.contains("no TLS"), "{why}");
            assert!(
                !heard.iter().any(|line| line.starts_with("AUTH")),
                "{heard:?}"
            );
        }
        let (outcome, heard) = sent(MailSecurity::Plain, "250 AUTH PLAIN", false).await;
        assert_eq!(outcome, Ok(()));
        assert!(
            !heard.iter().any(|line| line.starts_with("AUTH")),
            "{heard:?}"
        );
    }

    #[tokio::test]
    async fn a_server_that_talks_without_end_or_nonsense_is_given_up() {
        for (said, why) in [
            ("220-".to_owned() + &"x".repeat(MOST), "more than"),
            ("220-x\r\n".repeat(MOST), "more than"),
            (
                "HTTP/1.1 400 Bad Request\r\n".to_owned(),
                "does not speak SMTP",
            ),
            (
                "554 go \u{1b}[2J away\r\n".to_owned(),
                "554 to the greeting: go ^[[2J away",
            ),
            ("220".to_owned(), "ended the connection"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
            let port = listener.local_addr().expect("an address").port();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.expect("somebody");
                let _ = stream.write_all(said.as_bytes()).await;
            });
            let fetcher = Fetcher::new(Trust::Anything).expect("a fetcher");
            let mail = mail(port, MailSecurity::Plain);
            let sending = send(&fetcher, &mail, None, "", "pi");
            let outcome = tokio::time::timeout(LONG, sending).await.expect("in time");
            let told = outcome.expect_err("no letter");
            assert!(told.contains(why), "{told}");
        }
    }

    #[test]
    fn nothing_of_an_alert_begins_a_field_or_a_command() {
        let letter = MESSAGE.letter(&mail(25, MailSecurity::Plain));
        let (head, body) = letter.split_once("\r\n\r\n").expect("a head and a body");
        let fields: Vec<&str> = (head.split("\r\n"))
            .filter(|line| !line.starts_with(' '))
            .filter_map(|line| line.split_once(':').map(|(name, _)| name))
            .collect();
        let expected = [
            "Date",
            "From",
            "To",
            "Subject",
            "Message-ID",
            "Auto-Submitted",
            "MIME-Version",
            "Content-Type",
            "Content-Transfer-Encoding",
        ];
        assert_eq!(fields, expected);
        assert!(letter.is_ascii() && head.contains("Date: Thu, 25 Feb 2021 15:02:10 +0000"));
        assert!(
            letter
                .split("\r\n")
                .all(|line| line.len() <= 78 && !line.starts_with('.'))
        );
        let text = BASE64
            .decode(body.replace("\r\n", "").as_bytes())
            .expect("Base64");
        let text = String::from_utf8(text).expect("text");
        assert!(
            text.contains("viel gebraucht") && text.contains("\u{1f600}"),
            "{text}"
        );
        assert!(!text.contains("\r\nBcc:"), "{text}");
        // What readers put together again is what was said.
        let subject: String = head
            .split("\r\n")
            .filter_map(|line| line.split_once("=?utf-8?B?")?.1.strip_suffix("?="))
            .map(|word| {
                let bytes = BASE64.decode(word.as_bytes()).expect("Base64");
                String::from_utf8(bytes).expect("whole characters")
            })
            .collect();
        assert!(
            subject.starts_with("pi: der Nutzer `\u{e4}\u{1f600}`"),
            "{subject}"
        );
    }
}
