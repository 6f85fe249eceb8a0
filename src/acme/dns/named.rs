//! BIND's `named` for tests: some zones, keys that may change them, no root, no network.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::message::{self, Answer, SOA, TXT};
use super::{fake, server};
use crate::conf::typed::acme_dns::{DnsApi, Transport, TsigAlgorithm};
use crate::conf::typed::secret::SecretSource;

const PROGRAM: &str = "/usr/sbin/named";

/// The key `short`, and `reader`, which may change nothing.
pub(super) const SECRET_256: &str = "c2VjcmV0IG9mIHRoZSBzaG9ydCBrZXk=";

/// The key `long`.
pub(super) const SECRET_512: &str = "c2VjcmV0IG9mIHRoZSBsb25nIGtleQ==";

/// A server that ends when it is dropped.
pub(super) struct Named {
    pub(super) address: SocketAddr,
    child: Child,
    _directory: TempDir,
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Named {
    /// Serves `example.org`, `deep.example.org`, `example.net` and `lan`. It says that `example.org` has
    /// a second server, which a test may play at [`Named::other`].
    pub(super) async fn start() -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "`{PROGRAM}` is missing (hint: `apt-get install bind9`)"
        );
        // A port that is free now may be taken when it is used.
        for _ in 0..10 {
            let server = Self::launch((Ipv4Addr::LOCALHOST, free_port()).into());
            if let Some(server) = server.ready().await {
                return server;
            }
        }
        panic!("`{PROGRAM}` does not start");
    }

    fn launch(address: SocketAddr) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = directory.path().display();
        let (ip, port) = (address.ip(), address.port());
        let mut conf = format!(
            "options {{
                directory \"{place}\";
                pid-file none;
                session-keyfile \"{place}/session.key\";
                listen-on port {port} {{ {ip}; }};
                listen-on-v6 {{ none; }};
                recursion no;
                dnssec-validation no;
                notify no;
            }};
            controls {{ }};
            logging {{ channel quiet {{ stderr; }}; category default {{ quiet; }}; }};
            key short {{ algorithm hmac-sha256; secret \"{SECRET_256}\"; }};
            key reader {{ algorithm hmac-sha256; secret \"{SECRET_256}\"; }};
            key long {{ algorithm hmac-sha512; secret \"{SECRET_512}\"; }};\n"
        );
        for (zone, records) in [
            (
                "example.org",
                "@ NS ns1.example.org.\n@ NS ns2.example.org.\n\
                 ns1 A 127.0.0.1\nns2 A 127.0.0.2\n\
                 _acme-challenge TXT unrelated\n\
                 _acme-challenge.alias CNAME middle\nmiddle CNAME challenges.example.net.\n\
                 circle CNAME back\nback CNAME circle\n",
            ),
            ("deep.example.org", "@ NS ns1.example.org.\n"),
            ("example.net", "@ NS ns1.example.org.\n"),
            ("lan", "@ NS ns1.example.org.\n"),
        ] {
            let text = format!(
                "$TTL 60\n@ SOA ns1.example.org. admin.example.org. 1 3600 600 86400 60\n{records}"
            );
            fs::write(directory.path().join(zone), text).expect("written");
            conf.push_str(&format!(
                "zone {zone} {{ type primary; file \"{zone}\"; \
                 allow-update {{ key short; key long; }}; }};\n"
            ));
        }
        let path = directory.path().join("named.conf");
        fs::write(&path, conf).expect("written");
        let child = Command::new(PROGRAM)
            .arg("-f")
            .arg("-c")
            .arg(&path)
            .args(["-n", "1", "-X", "none"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(directory.path().join("log")).expect("a log"))
            .spawn()
            .expect("it starts");
        Self {
            address,
            child,
            _directory: directory,
        }
    }

    /// When it answers; `None` if it ended.
    async fn ready(mut self) -> Option<Self> {
        let start = std::time::Instant::now();
        loop {
            if self.child.try_wait().expect("ours").is_some() {
                return None;
            }
            let question = message::question(server::identifier(), "example.net", SOA);
            if let Ok(bytes) = server::ask(self.address, Transport::Tcp, &question).await
                && Answer::parse(&bytes).is_some_and(|it| it.code == 0 && it.is_authoritative)
            {
                return Some(self);
            }
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "it does not answer"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The texts at a name, sorted.
    pub(super) async fn texts(&self, name: &str) -> Vec<String> {
        let question = message::question(server::identifier(), name, TXT);
        let bytes = server::ask(self.address, Transport::Udp, &question).await;
        let bytes = bytes.expect("an answer");
        let answer = Answer::parse(&bytes).expect("an answer");
        let texts = answer.records.iter().map(message::Found::text);
        let mut texts: Vec<_> = texts
            .map(|text| String::from_utf8(text).expect("ASCII"))
            .collect();
        texts.sort();
        texts
    }

    /// The address of the second server.
    pub(super) fn other(&self) -> SocketAddr {
        (Ipv4Addr::new(127, 0, 0, 2), self.address.port()).into()
    }

    /// The interface to change its zones.
    pub(super) fn api(&self) -> DnsApi {
        DnsApi::Rfc2136 {
            host: self.address.ip().to_string().into(),
            port: self.address.port(),
            transport: Transport::Tcp,
            key: "short".into(),
            algorithm: TsigAlgorithm::HmacSha256,
            secret: SecretSource::Literal(SECRET_256.into()),
        }
    }

    /// Puts a value.
    pub(super) async fn put(&self, name: &str, value: &str) {
        let provider = fake::provider(self.api(), None).await;
        provider.present(name, value).await.expect("put");
    }
}

/// A port that is free for both transports at the addresses of tests.
fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("an address").port();
        let is_free = UdpSocket::bind(("127.0.0.1", port)).is_ok()
            && UdpSocket::bind(("127.0.0.2", port)).is_ok();
        if is_free {
            return port;
        }
    }
}
